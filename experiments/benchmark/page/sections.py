"""The page, section by section: tables and sentences, each of the runs that it is given."""

import functools
import itertools
import math
from collections.abc import Mapping

import pandas as pd

from experiments.benchmark.answers import attacks, ranking
from experiments.benchmark.entries.catalogue import ALL_ATTACKS, ASCENT, FAMILIES, PREAGGREGATORS
from experiments.benchmark.entries.parts import PARTS, RANKING, part_of
from experiments.benchmark.options import SEEDS, Options
from experiments.benchmark.page import poisoned, words
from experiments.benchmark.page.markdown import data_of, name_of, percent, points, spoken
from experiments.benchmark.page.tables import reasons
from experiments.benchmark.simulate import refusals_of
from experiments.benchmark.study import AXES, named_in_full
from experiments.shared.formats import rows_in_markdown
from simbyz.aggregators import AGGREGATORS

TITLES = {"digits": "digits", "mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}


def page(tables: Mapping[str, pd.DataFrame]) -> str:
    """The page in Markdown, from runs by data set, the first of which has all parts."""
    (first, whole), *others = tables.items()
    parts = [
        words.HEAD.format(root_examples=whole["root_examples"].max()),
        words.OWN,
        f"## {TITLES[first]}\n",
        _setting(whole),
        *_ranking(first, part_of(PARTS[RANKING], whole)),
    ]
    for name, section in (
        ("attacks", _attacks),
        ("searched", _searched),
        ("climbed", _climbed),
        ("mixing", functools.partial(_gains, what="pre", base="none")),
        ("momentum", functools.partial(_gains, what="momentum", base=0.0)),
    ):
        parts += [f"### {PARTS[name].question}\n", section(part_of(PARTS[name], whole))]
    parts.append(poisoned.section(part_of(PARTS["labels"], whole)))
    for name, runs in others:
        parts += [f"## {TITLES[name]}\n", _setting(runs) + _lacking(runs), *_ranking(name, runs)]
        parts.append(_agreement(first, part_of(PARTS[RANKING], whole), runs))
    return "\n".join([*parts, words.LEFT_OUT.format(all_of_them=_all(whole)), words.READING])


def _all(runs: pd.DataFrame) -> int:
    """How many combinations there are of all that the runs and the catalogue have."""
    columns = ["f", "heterogeneity", "momentum", "learning_rate"]
    counts = [runs[name].nunique() for name in columns]
    return math.prod([*map(len, (AGGREGATORS, PREAGGREGATORS, ALL_ATTACKS, SEEDS)), *counts])


def _setting(runs: pd.DataFrame) -> str:
    first = runs.iloc[0]
    rates = " and ".join(f"{rate:g}" for rate in sorted(runs["learning_rate"].unique()))
    more = sorted(set(runs["seed"]) & set(PARTS["labels"].more_seeds))
    seeds = sorted(set(runs["seed"]).difference(more))
    where = f", and {' and '.join(map(str, more))} for mislabelled data" if more else ""
    return (
        f"{len(runs):,} runs of {first['steps']} steps, n = {first['n']} workers with batches of "
        f"{first['batch_size']}, a hidden layer of {first['hidden']}, learning rates {rates}, "
        f"seeds {min(seeds)} to {max(seeds)}{where}.\n"
    )


def _lacking(runs: pd.DataFrame) -> str:
    """What of a default command's grid is not among the runs."""
    options = named_in_full(Options())
    axes = {name: getattr(options, name) for name in AXES if name != "rule"}
    axes["seed"] = options.seeds
    gone = [
        f"{name.replace('_', ' ')} {value}"
        for name, values in axes.items()
        for value in values
        if value not in set(runs[name])
    ]
    there = set(zip(runs["f"], runs["heterogeneity"], strict=True))
    gone += [
        f"f {f} on {level}"
        for f, level in itertools.product(options.f, options.heterogeneity)
        if (f, level) not in there and f in set(runs["f"]) and level in set(runs["heterogeneity"])
    ]
    return f"Of the default's grid they lack {', '.join(gone)}, for want of time.\n" if gone else ""


def _ranking(name: str, runs: pd.DataFrame) -> list[str]:
    """Worst cases of all rules, where they break, and what that says."""
    table, n = ranking.worst_cases(runs), int(runs["n"].iloc[0])
    table = table.sort_values("f", kind="stable")
    cells = sorted(
        dict.fromkeys(zip(table["f"], table["heterogeneity"], strict=True)),
        key=lambda cell: (list(dict.fromkeys(table["heterogeneity"])).index(cell[1]), cell[0]),
    )
    families = ", ".join(f"`{one}`" for one in FAMILIES if one in set(runs["attack"]))
    return [
        f"### {PARTS[RANKING].question}\n",
        f"Test accuracy in %, mean over {runs['seed'].nunique()} seeds, under the worst of "
        f"{families}; the best mean over the columns first, a refusal counting as 0. The deviation "
        f"over seeds is {100 * table['deviation'].median():.1f} in the middle, and below "
        f"{100 * table['deviation'].quantile(0.9):.1f} in nine of ten.\n",
        _worst_cases(table, ranking.costs(runs), cells, n),
        _refused(runs),
        f"![The ranking](benchmark-{name}.png)\n",
        "A rule breaks at f/n =\n",
        _breakdown(table, n),
        "\n".join(_says(runs, table, cells, n)) + "\n",
    ]


def _worst_cases(table: pd.DataFrame, costs: pd.DataFrame, cells: list, n: int) -> str:
    speed = costs.groupby(["rule", "pre"])["microseconds"].max()
    keys = ["rule", "pre", "f", "heterogeneity"]
    accuracy = table.set_index(keys)["test_accuracy"].to_dict()
    heads = [f"{level} {f / n:.2g}" for f, level in cells]
    rows = []
    for (rule, pre, _), mean in ranking.order(table, cells).items():
        found = [accuracy.get((rule, pre, *cell)) for cell in cells]
        shown = ["-" if one is None else percent(one) for one in found]
        rows.append([f"`{rule}`", *shown, percent(mean), f"{speed[rule, pre]:.0f}"])
    return rows_in_markdown(["rule", *heads, "mean", "µs a step"], rows)


def _refused(runs: pd.DataFrame) -> str:
    options = named_in_full(Options())
    cells = dict.fromkeys(zip(runs["pre"], runs["f"].astype(int), strict=True))
    found = refusals_of(options.rule, sorted(cells), (), int(runs["n"].iloc[0]))
    return "Refused (-): " + "; ".join(reasons(found)) + ".\n" if found else ""


def _breakdown(table: pd.DataFrame, n: int) -> str:
    found = ranking.breakdown(table)
    levels = list(dict.fromkeys(table["heterogeneity"]))
    rows = []
    for f in [*sorted(set(table["f"])), None]:
        row = ["none of these" if f is None else f"{f / n:.2g}"]
        for level in levels:
            some = found[found["heterogeneity"] == level]
            here = some["breakdown"].isna() if f is None else some["breakdown"] == f
            row.append(", ".join(f"`{rule}`" for rule in some[here]["rule"]))
        rows.append(row)
    return rows_in_markdown(["f/n", *levels], rows)


def _says(runs: pd.DataFrame, table: pd.DataFrame, cells: list, n: int) -> list[str]:
    level_with = ranking.level_with_the_best(runs).set_index(["f", "heterogeneity"])
    lines = []
    for f, level in cells:
        some = table[(table["f"] == f) & (table["heterogeneity"] == level)]
        some = some.sort_values("test_accuracy", ascending=False, kind="stable")
        best, ties = some.iloc[0], level_with.loc[(f, level)]
        worst = some["worst_attack"].value_counts()
        others = [f"`{rule}`" for rule, _ in ties["others"]]
        among = f": {', '.join(others)}" if 0 < len(others) <= 6 else ""
        lines.append(
            f"- **{data_of(f, n, level)}**: best is {name_of(best)} with "
            f"{percent(best['test_accuracy'])} % (where nobody attacks, the best has "
            f"{percent(some['unattacked'].max())} %); within the seeds' noise of it "
            f"{'is' if len(others) == 1 else 'are'} {len(others)} of the "
            f"{ties['of'] - 1} others{among}. The worst attack is mostly "
            f"{spoken(worst.index[0])} (on {worst.iloc[0]})."
        )
    return lines


def _attacks(runs: pd.DataFrame) -> str:
    n, counted = int(runs["n"].iloc[0]), attacks.worst_for(runs)
    fs = sorted(set(runs["f"]))
    rows = [[f"`{attack}`", *(str(by_f.get(f, 0)) for f in fs)] for attack, by_f in counted.items()]
    level = runs["heterogeneity"].iloc[0]
    added = attacks.beyond(runs, FAMILIES)
    return "\n".join(
        [
            f"On how many rules an attack is the worst, of all {runs['attack'].nunique() - 1} that "
            f"do not search, on {level}; those that are of none are left out:\n",
            rows_in_markdown(["attack", *(f"f/n = {f / n:.2g}" for f in fs)], rows),
            f"![Rules and attacks at f/n = {max(fs) / n:.2g}](benchmark-attacks.png)\n",
            "\n".join(
                f"- **{data_of(row['f'], n, row['heterogeneity'])}**: all of them instead of one "
                f"of each family change the worst accuracy by {points(row)}, a mean over "
                f"{row['rules']} rules, of which {row['worse']} lose more than a point."
                for row in added.to_dict("records")
            )
            + "\n",
        ]
    )


def _searched(runs: pd.DataFrame) -> str:
    n = int(runs["n"].iloc[0])
    worst = ranking.worst_cases(runs)
    more = [name for name in dict.fromkeys(runs["attack"]) if name not in FAMILIES]
    lines = [
        f"- **{data_of(row['f'], n, row['heterogeneity'])}**: {' and '.join(map(_code, more))}, "
        f"which try {runs['evaluations'].iloc[0]} lengths on the rule in each step, change the "
        f"worst accuracy by {points(row)}, a mean over {row['rules']} rules, of which "
        f"{row['worse']} lose more than a point. They are the worst of all on "
        f"{worst['worst_attack'].isin(more).sum()} rules."
        for row in attacks.beyond(runs, FAMILIES).to_dict("records")
    ]
    return "\n".join(lines) + "\n"


def _climbed(runs: pd.DataFrame) -> str:
    """The climb beside the worst of all other attacks, rule by rule, each at the learning rate that
    is best against all.
    """
    n, cell = int(runs["n"].iloc[0]), runs[["f", "heterogeneity"]].iloc[0]
    found = ranking.under_attack(runs).sort_values("test_accuracy", kind="stable")
    climb = found[found["attack"] == ASCENT].set_index("rule")["test_accuracy"]
    others = found[found["attack"] != ASCENT].drop_duplicates("rule").set_index("rule")
    rows = [
        [f"`{rule}`", percent(climb[rule]), percent(row["test_accuracy"]), spoken(row["attack"])]
        for rule, row in others.sort_values("test_accuracy", ascending=False).iterrows()
    ]
    worst = int((climb[others.index] < others["test_accuracy"]).sum())
    lines = [
        f"{_code(ASCENT)} looks for the rows that move a rule's aggregate farthest from the honest "
        "mean, and evaluates the rule about 4,000 times for that in each step. "
        f"{data_of(cell['f'], n, cell['heterogeneity'])}, accuracy in %:\n",
        rows_in_markdown(["rule", "under the climb", "under the worst other", "which is"], rows),
        f"It is the worst of all on {worst} of {len(rows)} rules"
        + (
            ": what moves an aggregate farthest in a step is not what costs most over all steps.\n"
            if 2 * worst < len(rows)
            else ".\n"
        ),
    ]
    return "\n".join(lines)


def _gains(runs: pd.DataFrame, what: str, base: object) -> str:
    n = int(runs["n"].iloc[0])
    added = ranking.gains(runs, what, base)
    unit = {"pre": "before a rule", "momentum": "momentum"}[what]
    rows = [
        [
            str(row[what]),
            data_of(row["f"], n, row["heterogeneity"]),
            points(row),
            f"{row['better']} of {row['rules']}",
            "yes" if row["low"] > 0 or row["high"] < 0 else "no",
        ]
        for row in added.to_dict("records")
    ]
    heads = [unit, "f/n, data", "adds to the worst accuracy", "rules better", "beyond noise"]
    best = [
        f"- {data_of(f, n, level)}: best of all is {name_of(row)} with "
        f"{percent(row['test_accuracy'])} %."
        for (f, level), row in _best(runs, what).items()
    ]
    return rows_in_markdown(heads, rows) + "\n" + "\n".join(best) + "\n"


def _best(runs: pd.DataFrame, what: str) -> dict[tuple, pd.Series]:
    table = ranking.worst_cases(runs)
    places = table.groupby(["f", "heterogeneity"], sort=False)["test_accuracy"].idxmax()
    return {cell: table.loc[place] for cell, place in places.items()}


def _agreement(name: str, whole: pd.DataFrame, runs: pd.DataFrame) -> str:
    """How alike the rules rank on two data sets, over the cells that both have."""
    both = []
    for some in (whole, runs):
        table = ranking.worst_cases(some)
        both.append(table.set_index(["f", "heterogeneity", "rule"])["test_accuracy"])
    joined = pd.concat(both, axis=1, keys=["here", "there"], join="inner")
    ranks = [
        f"{some['here'].corr(some['there'], method='spearman'):.2f} at "
        f"{data_of(f, int(runs['n'].iloc[0]), level)}"
        for (f, level), some in joined.groupby(level=[0, 1], sort=False)
    ]
    return f"The ranks of rules correlate with those on {TITLES[name]} (Spearman) by " + (
        ", ".join(ranks) + ".\n"
    )


def _code(name: str) -> str:
    return f"`{name}`"
