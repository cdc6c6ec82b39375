"""Data sets: `load(name)` gives the images and labels, and how to turn pixels into inputs. Tables,
texts and users' own data have functions of their own.
"""

from simbyz.data.datasets import Dataset, load
from simbyz.data.leaf import read_leaf
from simbyz.data.tables import load_table, read_libsvm, table
from simbyz.data.text import characters, sonnets
from simbyz.data.tiny_imagenet import read_tiny_imagenet

__all__ = [
    "Dataset",
    "characters",
    "load",
    "load_table",
    "read_leaf",
    "read_libsvm",
    "read_tiny_imagenet",
    "sonnets",
    "table",
]
