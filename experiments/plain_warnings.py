"""Warnings that a command prints: one line each, without the place in the program."""

import warnings


def print_plain_warnings() -> None:
    """What is told of files and checkpoints, on one line; other warnings stay as they are."""
    usual = warnings.formatwarning

    def formatted(message, category, *place, **more):
        if category is RuntimeWarning:
            return f"warning: {message}\n"
        return usual(message, category, *place, **more)

    warnings.formatwarning = formatted
