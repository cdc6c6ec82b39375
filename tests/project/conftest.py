"""Programs of pages and commands are many, and each is run for a moment."""

from tests.support.quickly import quick_programs

__all__ = ["quick_programs"]
