"""Warnings that a command prints: one line each, without the place in the program."""

import logging
import sys
import warnings

CLEAR = "\r\x1b[K"  # back to the start of a terminal's line, and all of it away


def print_plain_warnings() -> None:
    """Warnings of files and checkpoints on one line and once, however many parts of a command
    meet the file; other warnings stay as they are.
    """
    usual, told = warnings.formatwarning, set()

    def formatted(message, category, *place, **more):
        if category is RuntimeWarning:
            line = f"warning: {message}\n"
            again = line in told
            told.add(line)
            start = CLEAR if sys.stderr.isatty() else ""  # over what stands there for a while
            return "" if again else start + line
        return usual(message, category, *place, **more)

    warnings.formatwarning = formatted
    # What TensorFlow Datasets has to say of a folder comes as an error of ours, too.
    logging.getLogger("absl").setLevel(logging.ERROR)
