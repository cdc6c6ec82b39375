"""The section on runs that were computed again."""

import pandas as pd

from experiments.distributed_momentum.analysis.again import CONFIDENCE, compare
from experiments.shared.formats import in_markdown

POINTS = (0.1, 0.5, 1.0, 2.0)  # of accuracy


def section(runs: pd.DataFrame, again: pd.DataFrame) -> str:
    """What the comparison says, in Markdown; nothing if no run was computed again."""
    both, configurations = compare(runs, again)
    if both.empty:
        return ""
    rows = []
    parts = list(both.groupby("dataset"))
    for dataset, some in [*parts, ("all", both)] if len(parts) > 1 else parts:
        sizes = (100 * some["difference"].abs()).round(9)  # a point is no binary fraction
        rows.append(
            {
                "data set": dataset,
                "runs": len(some),
                "equal": int((some["difference"] == 0).sum()),
                **{f"within {limit:g}": int((sizes <= limit).sum()) for limit in POINTS},
                "largest": f"{sizes.max():.2f}",
                "mean": f"{100 * some['difference'].mean():+.3f}",
            }
        )
    off = configurations[configurations["difference"].abs() > configurations["allowed"]]
    seeds = ", ".join(map(str, sorted(both["seed"].unique())))
    return (
        "## Computed again\n\n"
        f"{len(both)} of {len(runs)} runs, of {len(configurations)} configurations with seed"
        f"{'s' * (both['seed'].nunique() > 1)} {seeds}, were computed once more, by later code on "
        "another machine. Differences of highest accuracies, new less old, in points:\n\n"
        + in_markdown(rows)
        + "\nOf a configuration, the mean over the seeds that were computed again is off by more "
        f"than its spread over seeds allows ({100 * CONFIDENCE:g} % of pairs of such means are "
        f"closer) in {len(off)} of {len(configurations)}.\n"
        + "".join(
            f"\n- `{row['name']}`: {100 * row['difference']:+.2f}, allowed "
            f"{100 * row['allowed']:.2f}"
            for row in off.to_dict("records")
        )
        + "\n" * bool(len(off))
    )
