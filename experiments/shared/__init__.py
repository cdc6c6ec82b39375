"""Shared by the experiments: command lines, stopping, devices, progress."""
