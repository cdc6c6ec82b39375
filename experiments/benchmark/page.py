"""The page on the runs that are kept with the benchmark: every number in it is of their table.

python -m experiments.benchmark.page    # writes docs/benchmark.md
"""

from pathlib import Path

import pandas as pd

from experiments.benchmark.__main__ import Options, named_in_full
from experiments.benchmark.answers import poisoning, ranking
from experiments.benchmark.results import KEPT, read_table
from experiments.benchmark.simulate import refusals_of
from experiments.benchmark.tables import reasons
from experiments.shared.files import save_text

DOCS = Path(__file__).parents[2] / "docs" / "benchmark.md"
HEAD = """# Which rule holds: the benchmark

```sh
python -m experiments.benchmark                              # every rule on digits: no download
python -m experiments.benchmark --rule mypackage.myrule:my_rule      # yours beside them, in minutes
python -m experiments.benchmark --full --dry-run             # what the whole catalogue would take
```

Every rule of the library against an attack of each family, at several f and kinds of data, with
momentum 0.9 at the workers. A server does not know the attack: the learning rate of each rule, f
and kind of data is the one whose worst attack leaves the highest accuracy on a validation split
(a fifth of the training images). What is reported is the accuracy on the test set, at that rate,
under the attack that is worst there.
Rules and attacks are the library's defaults but for what stands in
`experiments/benchmark/entries/catalogue.py`.

## A rule of your own

```python
# mypackage/myrule.py, in the folder that you start in, or installed
import jax.numpy as jnp


def my_rule(updates, f):  # (n, d), f -> (d,)
    return jnp.sort(updates, axis=0)[len(updates) // 2]
```

`--rule mypackage.myrule:my_rule` trains it alone; the others come from your results, or from the
runs that are kept here. `--attack mypackage.mine:my_attack` likewise, of (key, honest,
num_byzantine) -> (num_byzantine, d). A rule may ask for a `key`, refuse an (n, f) by a
ValueError, or be a `StatefulRule`. A change of its file is a new rule.
"""
READING = """## How to read it

- f counts the attackers present and those tolerated, among all n workers; Byzantine workers hold
  a share of the data, too, which they use under `none` and, mislabelled, under `label_flipping`.
- Intervals are of differences seed by seed, by Student's t; with three seeds they are wide. The
  attack that is worst is worst on the same seeds, so that worst cases are a little too low, those
  of close attacks most.
- The default attacks stay in sight of the honest rows, as those do that fear to be found out:
  `average` holds here, though a single row of NaN ends it (`--attack nan`).
- A rule *breaks* at the smallest f tried at which its worst accuracy is below half of the best
  unattacked accuracy of any rule on the same data.
- Step times are the runs' own, gradients and all, on one core: the least of each rule's sweeps.
  The share of a rule is its distance to `average`.
- `--momentum 0.9 0` tells what momentum adds, `--pre none nnm arc bucketing` the other
  pre-aggregators; `--f`, `--heterogeneity`, `--attack` and the rest are in `--help`. All rules
  and attacks of an f are branches of one compiled program, which each lane goes through by
  numbers of its own.
"""


POISONING = """## Mislabelled data against made-up gradients

```sh
{command}
```

Where data differ between workers, and Byzantine ones do no more than mislabel theirs, the mean is
more robust than robust rules, say Peng, Li and Ling (JMLR 26(27), 2025). Here is each rule beside
`average`, at the learning rate that is best for it under the threat alone; *better* and *worse* are
beyond the noise of {seeds} seeds:
"""
THREATS = {"labels": "flipped labels", "gradients": "made-up gradients"}


def page(runs: pd.DataFrame, poisoned: pd.DataFrame) -> str:
    """The page in Markdown.

    Args:
      runs: the default's.
      poisoned: those of which the section on mislabelled data is made.
    """
    table, costs = ranking.worst_cases(runs), ranking.costs(runs)
    first = runs.iloc[0]
    cells = list(dict.fromkeys(zip(table["f"], table["heterogeneity"], strict=True)))
    names = [f"f/n = {f / first['n']:.2g}, {level}" for f, level in cells]
    parts = [
        HEAD,
        f"## {first['dataset']}, n = {first['n']}\n",
        f"{len(runs):,} runs of {first['steps']} steps, batches of {first['batch_size']}, a hidden "
        f"layer of {first['hidden']}, {runs['seed'].nunique()} seeds, learning rates "
        f"{' and '.join(f'{rate:g}' for rate in sorted(runs['learning_rate'].unique()))}. Attacks: "
        f"{', '.join(f'`{name}`' for name in dict.fromkeys(runs['attack']))}.\n",
        "Test accuracy in % ± deviation over seeds, under the worst attack, the best mean over the "
        "columns first:\n",
        _ranking(table, costs, cells, names),
        "![The ranking](benchmark-ranking.png)\n",
        _refused(runs),
        "## What it says\n",
        "\n".join(_says(runs, table, cells, names)) + "\n",
        _poisoning(poisoned),
        READING,
    ]
    return "\n".join(part for part in parts if part)


def _ranking(table: pd.DataFrame, costs: pd.DataFrame, cells: list, names: list[str]) -> str:
    broken = ranking.breakdown(table).groupby(ranking.DEFENCE)["breakdown"].min()
    speed = costs.groupby(["rule", "pre"])["microseconds"].max()
    keys = ["rule", "pre", "f", "heterogeneity"]
    rows = table.set_index(keys).to_dict("index")
    lines = ["| rule | " + " | ".join(names) + " | breaks at f | µs a step |"]
    lines.append("|---|" + "---|" * (len(names) + 2))
    for rule, pre, momentum in ranking.order(table, cells).index:
        row = [f"`{rule}`" + ("" if pre == "none" else f" after {pre}")]
        for cell in cells:
            found = rows.get((rule, pre, *cell))
            row.append(
                "refused"
                if found is None
                else f"{100 * found['test_accuracy']:.1f} ± {100 * found['deviation']:.1f}, "
                + found["worst_attack"].replace("_", " ")
            )
        point = broken[rule, pre, momentum]
        row += ["-" if pd.isna(point) else f"{int(point)}", f"{speed[rule, pre]:.0f}"]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def _refused(runs: pd.DataFrame) -> str:
    options = named_in_full(Options())
    cells = dict.fromkeys(zip(runs["pre"], runs["f"].astype(int), strict=True))
    found = refusals_of(options.rule, cells, (), int(runs["n"].iloc[0]))
    return "Refused: " + "; ".join(reasons(found)) + ".\n" if found else ""


def _says(runs: pd.DataFrame, table: pd.DataFrame, cells: list, names: list[str]) -> list[str]:
    lines = []
    for (f, level), name in zip(cells, names, strict=True):
        some = table[(table["f"] == f) & (table["heterogeneity"] == level)]
        best = some.iloc[0]
        apart = int(some["beyond_noise"].sum())
        worst = some["worst_attack"].value_counts()
        lines.append(
            f"- **{name}**: best is {_name(best)} with {100 * best['test_accuracy']:.1f} %, where "
            f"nobody attacks {100 * some['unattacked'].max():.1f} %; the worst attack is mostly "
            f"{worst.index[0].replace('_', ' ')} (on {worst.iloc[0]} of {len(some)}). Of "
            f"{len(some) - 1} pairs of neighbours in this ranking, more than the seeds' noise lies "
            f"between {apart}."
        )
    for row in ranking.gains(runs, "pre", "none").to_dict("records"):
        lines.append(
            f"- Mixing ({row['pre']}) at f = {row['f']}, {row['heterogeneity']}, adds "
            f"{100 * row['mean']:+.1f} points ({100 * row['low']:+.1f} to "
            f"{100 * row['high']:+.1f}) to the worst accuracy, a mean over {row['rules']} rules, "
            f"of which {row['better']} gain."
        )
    return lines


def _poisoning(runs: pd.DataFrame) -> str:
    found = poisoning.against_average(runs)
    levels = list(dict.fromkeys(runs["heterogeneity"]))
    seeds = sorted(runs["seed"].unique())
    command = (
        "python -m experiments.benchmark --attack "
        f"{' '.join(dict.fromkeys(runs['attack']))} \\\n"
        f"    --heterogeneity {' '.join(levels)} --seeds {' '.join(map(str, seeds))}"
    )
    lines = [
        POISONING.format(command=command, seeds=len(seeds)),
        "| threat | f/n, data | `average` | the best rule | rules better | rules worse |",
        "|---|---|---|---|---|---|",
    ]
    for row in found.to_dict("records"):
        lines.append(
            f"| {THREATS[row['threat']]} | {row['f'] / runs['n'].iloc[0]:.2g}, "
            f"{row['heterogeneity']} | {100 * row['average']:.1f} | {100 * row['best']:.1f}, "
            f"`{row['rule']}` | {row['better']} of {row['rules']} | {row['worse']} |"
        )
    labels = found[found["threat"] == "labels"]
    agree = labels["better"] < labels["worse"]
    lines.append(
        f"\nUnder flipped labels more rules are worse than the mean than better in {agree.sum()} "
        f"of {len(labels)} settings, and none is better in {(labels['better'] == 0).sum()}: "
        + _verdict(labels)
    )
    return "\n".join(lines) + "\n"


def _verdict(labels: pd.DataFrame) -> str:
    if (labels["better"] == 0).all():
        return "the claim holds on these data."
    if (labels["better"] > labels["worse"]).all():
        return "the claim does not hold on these data."
    return "the claim holds of some rules and settings on these data, not of all."


def _name(row: pd.Series) -> str:
    return f"`{row['rule']}`" + ("" if row["pre"] == "none" else f" after {row['pre']}")


if __name__ == "__main__":
    tables = (read_table(KEPT / f"{name}.parquet") for name in ("digits", "digits-labels"))
    save_text(page(*tables), DOCS)
