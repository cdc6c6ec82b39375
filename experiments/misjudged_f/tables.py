"""From runs to tables: what each f̂ costs for each f, beside what theory says."""

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments.misjudged_f.bounds import bound, floor
from experiments.misjudged_f.lanes import NOBODY
from experiments.misjudged_f.problems import QUADRATIC
from experiments.shared.formats import add_numbers, add_words

CELL = ["problem", "rule", "f", "tolerated"]
# The data and the attack that the floor is proved with; with f = 0 it takes no attacker.
FLOORS_CASES = (("minority", "mimic"), ("minority", NOBODY))


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a problem, rule, f and f̂; of quadratics errors are ||∇f||² / ζ².

    Quadratics: `worst` is the largest mean over seeds of all data and attacks, `where` it was, and
    `floors_case` that of the data and the attack that the floor is proved with (NaN if not run).
    Images: `worst` is the least mean accuracy, `deviation` over seeds there. `diverged` counts the
    runs that did; their error is infinite.
    """
    rows = []
    for cell, group in runs.groupby(CELL, sort=False):
        problem, rule, f, tolerated = cell
        quadratic = problem == QUADRATIC
        if quadratic:
            values = group["squared_gradient_norm"].mask(group["diverged"], np.inf)
            values = values / group["zeta"] ** 2
        else:
            values = group["test_accuracy"]
        cases = group.assign(value=values).groupby(["data", "attack"], sort=False)["value"]
        means = cases.mean()
        worst = means.idxmax() if quadratic else means.idxmin()
        n = int(group["n"].iloc[0])
        found = [means[case] for case in means.index if case in FLOORS_CASES]
        rows.append(
            dict(zip(CELL, cell, strict=True))
            | {
                "n": n,
                "floor": floor(n, f, tolerated),
                "bound": bound(rule, n, f, tolerated),
                "worst": means[worst],
                "where": ", ".join(worst),
                "deviation": _deviation(cases.get_group(worst)),
                "floors_case": found[0] if found else np.nan,
                "diverged": int(group["diverged"].sum()),
                "runs": len(group),
            }
        )
    return pd.DataFrame(rows)


def _deviation(values: pd.Series) -> float:
    return float(values.std(ddof=1)) if np.isfinite(values).all() else np.nan


def print_tables(summary: pd.DataFrame, titles: dict[str, str], console: Console) -> None:
    """A table a problem, within 100 columns: a line a rule and f, a column an f̂."""
    for problem, part in summary.groupby("problem", sort=False):
        quadratic = problem == QUADRATIC
        every = list(dict.fromkeys(part["tolerated"]))
        shown = Table(title=titles[str(problem)], caption=CAPTIONS[quadratic])
        add_words(shown, "rule")
        add_numbers(shown, "f", *(f"f̂ = {tolerated}" for tolerated in every))
        for rule, group in part.groupby("rule", sort=False):
            cells = group["worst"].map(number) if quadratic else group.apply(_accuracy, axis=1)
            _add(shown, str(rule), group.assign(cell=cells), every)
            if quadratic:
                n = group["n"].iloc[0]
                shown.add_row("", "bound", *(number(bound(str(rule), n, 0, one)) for one in every))
            shown.add_section()
        if quadratic:
            some = part.drop_duplicates(["f", "tolerated"])
            _add(shown, "floor", some.assign(cell=some["floor"].map(number)), every)
        console.print(shown)


def _add(shown: Table, name: str, rows: pd.DataFrame, every: list[int]) -> None:
    for f, line in rows.groupby("f", sort=False):
        shown.add_row(name, str(f), *line.set_index("tolerated")["cell"].loc[every])
        name = ""


CAPTIONS = {
    True: "squared gradient norm at the end over ζ², a mean over seeds, of the worst data and "
    "attack; ∞: runs diverged. floor: f̂ / (n - f - f̂), ∞ for f̂ < f; bound: the rule's published κ "
    "at f̂, which holds for f ≤ f̂",
    False: "test accuracy, % ± deviation over seeds, under the worst attack; ✕: some runs diverged",
}


def number(value: float) -> str:
    if np.isnan(value):
        return "-"
    if np.isinf(value):
        return "∞"
    if value >= 10_000:
        return f"{value:.1e}"
    return f"{value:.3f}" if value < 100 else f"{value:.1f}"


def _accuracy(row: pd.Series) -> str:
    spread = "" if np.isnan(row["deviation"]) else f" ± {100 * row['deviation']:.1f}"
    return f"{100 * row['worst']:.1f}{spread}" + "✕" * (row["diverged"] > 0)
