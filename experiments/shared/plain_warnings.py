"""Warnings that a command prints: one line each, without the place in the program."""

import logging
import warnings


def print_plain_warnings() -> None:
    """Warnings of files and checkpoints on one line; others stay as they are."""
    usual = warnings.formatwarning

    def formatted(message, category, *place, **more):
        if category is RuntimeWarning:
            return f"warning: {message}\n"
        return usual(message, category, *place, **more)

    warnings.formatwarning = formatted
    # What TensorFlow Datasets has to say of a folder comes as an error of ours, too.
    logging.getLogger("absl").setLevel(logging.ERROR)
