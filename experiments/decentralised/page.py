"""The page on Gaucher et al.'s comparison on MNIST: all its numbers are of the runs that are kept.

python -m experiments.decentralised.page            # writes docs/without-a-server-mnist.md
python -m experiments.decentralised.page RESULTS    # of the runs in a folder, which it keeps
"""

import sys
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from experiments.decentralised import pictures, tables
from experiments.decentralised.networks import network_of
from experiments.shared.files import save_figure, save_text
from experiments.shared.formats import in_markdown
from simbyz import records
from simbyz.gossip.graphs import algebraic_connectivity
from simbyz.records.checked_files import read_checked, write_checked

KEPT = Path(__file__).parent / "data" / "mnist.parquet"
DOCS = Path(__file__).parents[2] / "docs" / "without-a-server-mnist.md"
SETTING = ["dataset", "graph", "honest", "friends", "placement", "heterogeneity", "partition_seed"]
TRAINING = ["steps", "batch_size", "learning_rate", "momentum", "hidden"]
TRAINING += ["evaluations", "evaluate_every"]
CASE = ["rule", "f", "attack", "seed"]
OUTCOME = ["test_accuracy", "worst_accuracy", "best_accuracy", "consensus_distance"]
OUTCOME += ["byzantine_share", "training_loss", "wall_seconds", "code_digest", "jax_version"]
COLUMNS = [*SETTING, *TRAINING, *CASE, *OUTCOME]
CS_PLUS, NNA, BOTTLENECK = "clipped_gossip_plus", "gts", "spectral_heterogeneity"
NAMES = {CS_PLUS: "CS+", NNA: "NNA", "clipped_gossip": "CS-He", "ios": "IOS"}
MARGIN = 0.05  # of accuracy, below which a rule is said to hold

HEAD = """# Without a server, beside Gaucher et al. (ICML 2025) on MNIST

```sh
{command}
python -m experiments.decentralised.page results/decentralised
```

Gaucher, Dieuleveut and Hendrikx ([arXiv 2410.10418](https://arxiv.org/abs/2410.10418)) bound the
Byzantine neighbours b that gossip can bear by the algebraic connectivity μ₂ of the honest nodes'
graph, 2b < μ₂, give a rule that comes near (CS+), and compare it with three others on MNIST. Their
main comparison is on two worlds: two cliques of 13 honest nodes, each with eight friends in the
other, so that μ₂ = {bound:g}; f attackers that all of them hear; data by Dirichlet(1); momentum 0.9
at the nodes. That is done again here, in kind.
"""
READING = """
- Both attacks that know the graph, along its bottleneck and away from the neighbours, part the two
  worlds under NNA from f = 6 on, and under IOS from 6 and 8; CS+ keeps them together below the
  bound.
- Below the bound CS+ loses most to little around, which does not drive nodes apart, but leads them
  astray together.
- At f = 10 ten attackers who say what the node itself has are the third of its neighbours by which
  CS+ measures its radius. It is 0, and the nodes learn alone, under all four attacks alike.
"""
DIFFERENCES = """
## What is not the same

- The abstract and the authors' program were read, not the paper's figures: the verdicts are on what
  the abstract says.
- The paper trains a small convolutional network, 200 steps, at a rate of 0.1 that falls; here it is
  one hidden layer, and half the steps at a constant rate. The program has one seed, and every f
  from 1 to 11.
- Its attackers search 16 factors for the longest result, as the difference that the program
  computes is not kept; here they search 8 for the largest distance from honest gossip.
- It goes 1 / λ_max of the weighted Laplacian towards the neighbours; here a node takes the weights
  as they are.
- Its NNA keeps the wrong part of the neighbour that is dropped in part: see
  [Without a server](without-a-server.md).
- Accuracies are of all nodes, there of two.
"""


class Claim(NamedTuple):
    sentence: str
    found: str
    verdict: str


def keep(folder: Path) -> None:
    """The runs of a folder of results, into the table that is kept: those of its setting, but for
    seeds of a rule that are not done with all f and attacks.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: there are none; the kept ones stay.
    """
    runs = records.read_runs(folder).reindex(columns=COLUMNS)
    setting = read().iloc[0]
    for name in (*SETTING, *TRAINING):
        runs = runs[runs[name] == setting[name]]
    if runs.empty:
        raise ValueError(f"no run in {folder} is of the page's setting: see its command in {DOCS}")
    done = runs.groupby(["rule", "seed"])["f"].transform("size")
    runs = runs[done == done.max()].sort_values(CASE, ignore_index=True)
    write_checked(KEPT, pa.Table.from_pandas(runs, preserve_index=False), "table of runs")


def read() -> pd.DataFrame:
    return read_checked(KEPT).read().to_pandas()


def connectivity(runs: pd.DataFrame) -> float:
    """μ_2 of the honest nodes' graph, the same for all f."""
    first = runs.iloc[0]
    network = network_of(
        first["graph"], int(first["honest"]), 1, first["placement"], int(first["friends"])
    )
    return algebraic_connectivity(network.honest_graph)


def page(runs: pd.DataFrame) -> str:
    """The page in Markdown."""
    bound = connectivity(runs)
    attacked = runs[runs["f"] > 0]
    first = runs.iloc[0]
    minutes = runs["wall_seconds"].sum() / 60
    parts = [
        HEAD.format(command=_command(runs), bound=bound),
        f"{len(runs)} runs of {first['steps']} steps, batches of {first['batch_size']} a node, a "
        f"hidden layer of {first['hidden']}, a learning rate of {first['learning_rate']:g}; they "
        f"took {minutes:.0f} minutes, on one core that had other work, too. {_seeds(runs)}\n",
        "![Accuracy by number of attackers](without-a-server-mnist.png)\n",
        "## Under the worst of four attacks\n",
        _worst_cases(runs, bound),
        "Test accuracy, %, of the nodes' mean (and of the worst node), a mean over seeds, under "
        "the attack that leaves least of it. Without attackers all nodes' mean is "
        f"{100 * _free(runs).mean():.1f} %.\n",
        f"## {NAMES[CS_PLUS]} beside {NAMES[NNA]}, by attack\n",
        _gaps(attacked),
        f"Accuracy of {NAMES[CS_PLUS]} less that of {NAMES[NNA]}, points, a mean over seeds.\n",
        "## What the abstract says, and what these runs do\n",
        "| the abstract | these runs | |\n|---|---|---|",
        *(f"| {one.sentence} | {one.found} | {one.verdict} |" for one in claims(runs)),
        f"\nTo hold is to stay within {100 * MARGIN:g} points of the accuracy of the same seed "
        "without attackers; a verdict is on every seed alone, and points are of the seed with the "
        "least and the most.",
        READING + DIFFERENCES,
    ]
    return "\n".join(parts)


def claims(runs: pd.DataFrame) -> list[Claim]:
    """What the paper says in its abstract, each with what the runs give."""
    bound, free = connectivity(runs), _free(runs)
    rounding = 1e-9 * bound  # of eigenvalues
    below = runs[(runs["f"] > 0) & (2 * runs["f"] < bound - rounding)]
    above = runs[2 * runs["f"] > bound + rounding]
    return [
        _holds("CS+ holds up to the bound: 2f < μ₂", below, free),
        _breaks("No rule is promised beyond it: CS+ breaks at 2f > μ₂", above, free),
        _gap("There is a gap between CS+ and NNA below the bound", below),
        _widest("and it is widest under the attack along the bottleneck", below),
    ]


def _holds(sentence: str, below: pd.DataFrame, free: pd.Series) -> Claim:
    some = below[below["rule"] == CS_PLUS]
    losses = some["seed"].map(free) - some["test_accuracy"]
    worst, lost = some.loc[losses.idxmax()], losses.max()
    words = f"loses {100 * lost:.1f} points at most, at f = {worst['f']} under "
    return Claim(sentence, words + _plain(worst["attack"]), _verdict(lost <= MARGIN))


def _breaks(sentence: str, above: pd.DataFrame, free: pd.Series) -> Claim:
    lost = _least(above, CS_PLUS).rsub(free, level="seed")
    return Claim(sentence, f"loses {_span(lost)} points", _verdict(bool((lost > MARGIN).all())))


def _gap(sentence: str, below: pd.DataFrame) -> Claim:
    """At the f at which it is widest, by seed."""
    gaps = (_least(below, CS_PLUS) - _least(below, NNA)).unstack("seed")
    f = gaps.mean(axis=1).idxmax()
    found = gaps.loc[f]
    words = f"{_span(found)} points at f = {f}, each under its worst attack"
    return Claim(sentence, words, _verdict(bool((found > MARGIN).all())))


def _widest(sentence: str, below: pd.DataFrame) -> Claim:
    """Of the means over f, by seed."""
    means = below.groupby(["rule", "attack", "seed"])["test_accuracy"].mean()
    gaps = (means[CS_PLUS] - means[NNA]).unstack("seed")
    others = gaps.drop(BOTTLENECK)
    other = others.mean(axis=1).idxmax()
    words = (
        f"{_span(gaps.loc[BOTTLENECK])} points, a mean over f; the largest of the others is "
        f"{_span(others.loc[other])}, under {_plain(other)}"
    )
    return Claim(sentence, words, _verdict(bool((gaps.loc[BOTTLENECK] > others).all().all())))


def _least(runs: pd.DataFrame, rule: str) -> pd.Series:
    """Accuracy of a rule under its worst attack, by f and seed."""
    some = runs[runs["rule"] == rule]
    least: pd.Series = some.groupby(["f", "seed"])["test_accuracy"].min()
    return least


def _free(runs: pd.DataFrame) -> pd.Series:
    """Accuracy without attackers, by seed, of which not all rules have as many."""
    free: pd.Series = runs[runs["f"] == 0].groupby("seed")["test_accuracy"].mean()
    return free


def _worst_cases(runs: pd.DataFrame, bound: float) -> str:
    summary = tables.summarise(runs[runs["f"] > 0]).set_index(["f", "rule"])
    rules = _rules(runs)
    rows = []
    for f in sorted(set(runs["f"]) - {0}):
        sign = "below" if 2 * f < bound - 1e-6 else "above" if 2 * f > bound + 1e-6 else "equal"
        cells = {
            f"{NAMES[rule]} (`{rule}`)": f"{100 * row['test_accuracy']:.1f} "
            f"({100 * row['worst_node']:.1f}), {_plain(row['worst_attack'])}"
            for rule, row in ((rule, summary.loc[(f, rule)]) for rule in rules)
        }
        rows.append({"f": f, "2f beside μ₂": sign} | cells)
    return in_markdown(rows)


def _gaps(attacked: pd.DataFrame) -> str:
    means = attacked.groupby(["rule", "attack", "f"])["test_accuracy"].mean()
    gaps = (means[CS_PLUS] - means[NNA]).unstack("f")
    return in_markdown(
        {"attack": _plain(attack)}
        | {f"f = {f}": f"{100 * gap:+.1f}" for f, gap in gaps.loc[attack].items()}
        for attack in dict.fromkeys(attacked["attack"])
    )


def _command(runs: pd.DataFrame) -> str:
    """The command lines that give these runs, one for rules of the same seeds; what they leave out
    is the default.
    """
    first = runs.iloc[0]
    lists = " ".join(map(str, sorted(runs["f"].unique())))
    by_seeds: dict[str, list[str]] = {}
    for rule in _rules(runs):
        seeds = sorted(runs.loc[runs["rule"] == rule, "seed"].unique())
        by_seeds.setdefault(" ".join(map(str, seeds)), []).append(rule)
    return "\n".join(
        f"python -m experiments.decentralised --dataset {first['dataset']} "
        f"--graph {first['graph']} \\\n"
        f"    --friends {first['friends']:g} --honest {first['honest']} "
        f"--rule {' '.join(rules)} --f {lists} \\\n"
        f"    --batch-size {first['batch_size']} --evaluate-every {first['evaluate_every']} "
        f"--seeds {seeds}"
        for seeds, rules in by_seeds.items()
    )


def _seeds(runs: pd.DataFrame) -> str:
    """How many seeds each rule has, in words."""
    counts = runs.groupby("rule")["seed"].nunique()
    return f"Seeds: {', '.join(f'{NAMES[rule]} {counts[rule]}' for rule in _rules(runs))}."


def _rules(runs: pd.DataFrame) -> list[str]:
    """Those that were run, in the order of the page."""
    return [rule for rule in NAMES if rule in set(runs["rule"])]


def _span(values: pd.Series) -> str:
    """Points of the seeds, lowest to highest."""
    low, high = 100 * values.min(), 100 * values.max()
    return f"{low:.1f}" if len(values) == 1 else f"{low:.1f} to {high:.1f}"


def _plain(name: str) -> str:
    return str(name).replace("_", " ")


def _verdict(agrees: bool) -> str:
    return "agree" if agrees else "do not agree"


def main() -> None:
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__, end="")
        return
    if len(sys.argv) > 1:
        try:
            keep(Path(sys.argv[1]))
        except (OSError, ValueError) as error:
            sys.exit(f"error: {error}")
    runs = read()
    save_text(page(runs), DOCS)
    graph = str(runs["graph"].iloc[0])
    ((_, figure),) = pictures.by_attackers(runs, {graph: connectivity(runs)})
    save_figure(figure, DOCS.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
