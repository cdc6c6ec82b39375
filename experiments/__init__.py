"""Experiments: each a module, run as `python -m experiments.NAME`, described by its `--help`."""
