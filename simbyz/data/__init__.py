"""Data sets: `load(name)` gives the images and labels, and how to turn pixels into inputs."""

from simbyz.data.datasets import Dataset, load

__all__ = ["Dataset", "load"]
