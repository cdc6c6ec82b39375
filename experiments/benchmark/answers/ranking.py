"""From runs to the table: worst cases, breakdown points, and what is beyond the seeds' noise."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped]

CELL = ["rule", "pre", "f", "heterogeneity", "momentum"]
DEFENCE = ["rule", "pre", "momentum"]
NONE = "none"
CONFIDENCE = 0.95


class Difference(NamedTuple):
    """A mean of paired differences, with Student's interval over seeds; NaN below two seeds."""

    mean: float
    low: float
    high: float

    @property
    def beyond_noise(self) -> bool:
        return bool(self.low > 0 or self.high < 0)


def difference(first: pd.Series, second: pd.Series) -> Difference:
    """Of two series by seed: one value a seed, the same seeds."""
    return interval((first - second).to_numpy())


def interval(values: np.ndarray) -> Difference:
    """The mean of one value a seed, and its interval."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Difference(mean, np.nan, np.nan)
    margin = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values)
    return Difference(mean, mean - float(margin), mean + float(margin))


def chosen(runs: pd.DataFrame, cell: Sequence[str] = CELL) -> pd.DataFrame:
    """The runs of each cell at the learning rate whose worst attack leaves the highest accuracy on
    the validation split, a mean over seeds; at the earlier of equal ones.
    """
    keys = [*cell, "learning_rate"]
    means = runs.groupby([*keys, "attack"], sort=False)["validation_accuracy"].mean()
    worst = means.groupby(level=keys, sort=False).min()
    best = worst.groupby(level=list(cell), sort=False).idxmax()
    taken = pd.DataFrame(list(best), columns=keys)
    return runs.merge(taken, on=keys, how="inner")


def under_attack(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a cell and attack: mean and deviation over seeds of the test accuracy of the chosen
    runs.
    """
    groups = chosen(runs).groupby([*CELL, "attack"], sort=False)
    table = groups["test_accuracy"].agg(test_accuracy="mean", deviation="std")
    return table.assign(diverged=groups["diverged"].sum()).reset_index()


def worst_cases(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a cell, the best of each f, heterogeneity and momentum first.

    `test_accuracy` is the least over attacks of the mean over seeds; `worst_attack`, `deviation`
    and `diverged` are of that attack; `unattacked` is the accuracy without one. `difference`, `low`
    and `high` tell by how much the next row is worse, seed by seed, and whether that is
    `beyond_noise`.
    """
    best = chosen(runs)
    rates = best.groupby(CELL, sort=False)["learning_rate"].first()
    by_attack = under_attack(runs)
    rows = by_attack.loc[by_attack.groupby(CELL, sort=False)["test_accuracy"].idxmin()]
    rows = rows.rename(columns={"attack": "worst_attack"}).set_index(CELL)
    calm = by_attack[by_attack["attack"] == NONE].set_index(CELL)["test_accuracy"]
    rows = rows.assign(unattacked=calm, learning_rate=rates).reset_index()
    seeds = by_seed(runs)
    parts = []
    for _, some in rows.groupby(["f", "heterogeneity", "momentum"], sort=False):
        some = some.sort_values("test_accuracy", ascending=False, kind="stable")
        series = [seeds[tuple(key)] for key in some[CELL].itertuples(index=False, name=None)]
        pairs = [difference(a, b) for a, b in itertools.pairwise(series)]
        pairs.append(Difference(np.nan, np.nan, np.nan))
        parts.append(
            some.assign(
                rank=range(1, len(some) + 1),
                difference=[pair.mean for pair in pairs],
                low=[pair.low for pair in pairs],
                high=[pair.high for pair in pairs],
                beyond_noise=[pair.beyond_noise for pair in pairs],
            )
        )
    return pd.concat(parts, ignore_index=True)


def by_seed(runs: pd.DataFrame) -> dict[tuple, pd.Series]:
    """Of each cell, the accuracy of each seed under the attack that is worst on average."""
    found = {}
    for cell, some in chosen(runs).groupby(CELL, sort=False):
        by_attack = some.groupby("attack", sort=False)["test_accuracy"]
        worst = some[some["attack"] == by_attack.mean().idxmin()]
        found[cell] = worst.set_index("seed")["test_accuracy"].sort_index()
    return found


def breakdown(table: pd.DataFrame) -> pd.DataFrame:
    """One row a defence and heterogeneity: the smallest f at which its worst accuracy is below half
    of the best unattacked accuracy of any rule on the same data, NaN where none is; from
    `worst_cases`.
    """
    best = table.groupby(["f", "heterogeneity", "momentum"])["unattacked"].transform("max")
    broken = table["f"].where(table["test_accuracy"] < best / 2)
    groups = table.assign(breakdown=broken).groupby([*DEFENCE, "heterogeneity"], sort=False)
    return groups["breakdown"].min().reset_index()


def gains(runs: pd.DataFrame, what: str, base: object) -> pd.DataFrame:
    """What another value of a column, "pre" or "momentum", adds to the worst accuracy, over the
    base's: a row a value, f and heterogeneity, see `paired`.
    """
    place = CELL.index(what)
    cells = by_seed(runs)
    parts = []
    for value in dict.fromkeys(cell[place] for cell in cells if cell[place] != base):
        some = {cell: one for cell, one in cells.items() if cell[place] == value}
        others = {cell: cells.get((*cell[:place], base, *cell[place + 1 :])) for cell in some}
        if len(found := paired(some, others)):
            found.insert(0, what, value)
            parts.append(found)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def paired(cells: dict[tuple, pd.Series], others: dict[tuple, pd.Series | None]) -> pd.DataFrame:
    """By how much the accuracies of cells are above those of others by the same key: a row an f and
    heterogeneity, the mean over rules of paired differences, with an interval over seeds. Both are
    as `by_seed` has them; a cell without another is left out.
    """
    groups: dict[tuple, list[pd.Series]] = {}
    for cell, one in cells.items():
        if (other := others.get(cell)) is not None:
            groups.setdefault((cell[2], cell[3]), []).append(one - other)
    rows = []
    for (f, level), differences in groups.items():
        found = interval(np.mean([one.to_numpy() for one in differences], axis=0))
        better = sum(one.mean() > 0 for one in differences)
        rows.append(
            {"f": f, "heterogeneity": level, "rules": len(differences), "better": better}
            | found._asdict()
        )
    return pd.DataFrame(rows)


def level_with_the_best(runs: pd.DataFrame) -> pd.DataFrame:
    """One row an f, heterogeneity and momentum: the best defence, and the `others` that it is not
    better than beyond the noise of the seeds, pair by pair, the best first.
    """
    groups: dict[tuple, dict[tuple, pd.Series]] = {}
    for (rule, pre, *where), one in by_seed(runs).items():
        groups.setdefault(tuple(where), {})[rule, pre] = one
    rows = []
    for setting, found in groups.items():
        best, *rest = sorted(found, key=lambda name: -found[name].mean())
        gaps = {name: difference(found[best], found[name]) for name in rest}
        level = [name for name, gap in gaps.items() if not gap.beyond_noise]
        rows.append(
            dict(zip(("f", "heterogeneity", "momentum"), setting, strict=True))
            | {"best": best, "others": level, "of": len(found)}
        )
    return pd.DataFrame(rows)


def comparable(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs under those attacks, and of those seeds, that every cell has; all runs where there
    are none such.
    """
    count = runs.groupby(CELL, sort=False).ngroups
    same = ["attack", "seed"]
    cells = runs[[*CELL, *same]].drop_duplicates().groupby(same).size()
    common = pd.MultiIndex.from_frame(runs[same]).isin(cells.index[cells == count])
    return runs[common] if common.any() else runs


def costs(runs: pd.DataFrame) -> pd.DataFrame:
    """Microseconds of a run's step by rule, pre-aggregator and f, gradients and all: the least of
    its sweeps, of which a program's first one also compiled it.
    """
    seconds = runs.assign(microseconds=1e6 * runs["seconds"] / runs["steps"])
    return seconds.groupby(["rule", "pre", "f"], sort=False)["microseconds"].min().reset_index()


def order(table: pd.DataFrame, cells: Sequence[tuple]) -> pd.Series:
    """The mean worst accuracy of each defence over these cells (f, heterogeneity), one that it
    refuses counting as 0, the best first.
    """
    sums = table.groupby(DEFENCE, sort=False)["test_accuracy"].sum() / len(cells)
    return sums.sort_values(ascending=False, kind="stable")
