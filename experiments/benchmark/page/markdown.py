"""Names and numbers as the page writes them."""

from collections.abc import Mapping
from typing import Any

import pandas as pd


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def points(row: Mapping[str, Any]) -> str:
    """A `Difference` in points of accuracy, with its interval."""
    mean, low, high = (f"{100 * row[name]:+.1f}" for name in ("mean", "low", "high"))
    return f"{mean} points ({low} to {high})"


def data_of(f: int, n: int, level: str) -> str:
    return f"f/n = {f / n:.2g}, {level}"


def name_of(row: pd.Series) -> str:
    """A defence's name, with what comes before the rule, and that there is no momentum."""
    before = "" if row["pre"] == "none" else f" after {row['pre']}"
    return f"`{row['rule']}`{before}{'' if row['momentum'] else ' without momentum'}"


def spoken(name: str) -> str:
    return name.replace("_", " ")
