"""Rules at the nodes of a graph under attacks that know the graph, beside the graph's connectivity.

Every combination of the options is trained; attackers search the factor that moves each node
farthest. Ends in a table, a heatmap over graphs, curves with the worst node, and each graph with
its nodes' accuracies. The same command again runs only what is missing. The default takes 4 to 5
minutes on two cores, most of them to compile.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from experiments.decentralised import pictures, tables
from experiments.decentralised.networks import TWO_WORLDS, network_of
from experiments.decentralised.runs import Run, product
from experiments.decentralised.simulate import NO_LIARS, check, code, simulate
from experiments.distributed_momentum.figures.panels import named
from experiments.shared.files import save_figure, save_table
from experiments.shared.formats import Output, PaperName, Printer
from experiments.shared.mixing import refuse_other_code
from experiments.shared.options import command_line
from experiments.shared.options.checks import check_memory, check_options
from experiments.shared.options.question import folder_of
from experiments.shared.progress import Progress, tell
from experiments.shared.run import CHECKPOINTED, run, start
from simbyz import records
from simbyz.data import Dataset, load
from simbyz.gossip import Network, robustness_condition
from simbyz.gossip.graphs import algebraic_connectivity

GraphName = Literal[
    "complete",
    "two_worlds",
    "ring",
    "torus",
    "regular",
    "erdos_renyi",
    "random_geometric",
    "small_world",
]
RuleName = Literal[
    "gossip",
    "clipped_gossip",
    "clipped_gossip_plus",
    "gts",
    "ios",
    "bridge",
    "remove_then_clip",
    "monna",
    "trimmed_mean",
    "geometric_median",
]
AttackName = Literal[
    "spectral_heterogeneity", "dissensus", "little_around", "empire_around", "bridge_splitting"
]


@dataclasses.dataclass(frozen=True)
class Grid:
    """The grid: all combinations of these are trained."""

    dataset: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    """digits needs no download."""
    graph: tuple[GraphName, ...] = ("complete", "two_worlds", "ring")
    """Of the honest nodes; ring, regular and small_world have four neighbours a node."""
    rule: tuple[RuleName, ...] = ("clipped_gossip", "clipped_gossip_plus", "gts")
    """At each node."""
    attack: tuple[AttackName, ...] = (
        "spectral_heterogeneity",
        "dissensus",
        "little_around",
        "empire_around",
    )
    """Directions from the attacked node, along which the factor is searched."""
    f: tuple[int, ...] = (1, 2)
    """Byzantine neighbours of each honest node, or Byzantine nodes: see placement. 0 for none."""
    heterogeneity: tuple[str, ...] = ("dirichlet:1",)
    """Of the honest nodes' data: iid, extreme, gamma:SIMILARITY, dirichlet:ALPHA."""
    seeds: tuple[int, ...] = (1, 2)
    """Of initial weights and batches."""


@dataclasses.dataclass(frozen=True)
class Nodes:
    """The nodes."""

    honest: int = 16
    """Honest nodes."""
    placement: Literal["everywhere", "random", "central"] = "everywhere"
    """Of Byzantine nodes: f beside the graph, heard by all; or f of its nodes, any or those that
    most ways lead through."""
    friends: int | None = None
    """Of each node of two_worlds in the other world; a sixth of the honest nodes if not given."""
    beyond_the_bound: bool = True
    """Run networks that a rule's guarantee does not speak of, too; the lines below the table tell
    which these are."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """The setting of all runs."""

    steps: int = 100
    """Steps of a run."""
    batch_size: int = 16
    """Examples a node and a step."""
    learning_rate: float = 0.5
    """The same in all steps."""
    momentum: float = 0.9
    """μ of m ← μ m + (1 - μ) gradient, at the nodes."""
    hidden: int = 16
    """Width of the network's one hidden layer."""
    partition_seed: int = 0
    """Of the partition of the data, the same in all runs."""
    evaluations: int = 8
    """How often an attacker evaluates the rule at each node in a step."""
    evaluate_every: int = 10
    """Steps between two accuracies of the nodes, which cost as much as many steps on MNIST."""


@dataclasses.dataclass(frozen=True)
class Pictures:
    """How pictures are drawn."""

    paper: PaperName = "screen"
    """Width of the pictures: what they take, a column of a page, or a page."""


@dataclasses.dataclass(frozen=True)
class Storage(command_line.Storage):
    """Where results go, and where data come from."""

    results: Path = Path("results/decentralised")
    allow_mixed: bool = False
    """Let runs of different code stand in one table."""


@dataclasses.dataclass(frozen=True)
class Options(Grid, Nodes, Setting, Pictures, Storage, Output):
    """The training, and how it is done."""


# Seconds, not minutes: what the tests run.
SMOKE = Options(
    graph=("two_worlds",),
    rule=("gts",),
    attack=("spectral_heterogeneity", "dissensus"),
    f=(1,),
    honest=6,
    seeds=(1,),
    steps=20,
    hidden=4,
    evaluations=2,
)
AXES = ("graph", "rule", "f", "heterogeneity", "attack")


class Results(NamedTuple):
    runs: pd.DataFrame  # one row a run
    summary: pd.DataFrame  # one row a graph, rule, f and heterogeneity


def runs_of(options: Options) -> list[Run]:
    axes = {name: getattr(options, name) for name in AXES} | {"seed": options.seeds}
    shared = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(Run)
        if field.name not in axes
    }
    runs = product(shared, axes)
    calm = [dataclasses.replace(run, attack=NO_LIARS) if run.f == 0 else run for run in runs]
    return list(dict.fromkeys(calm))


def prepare(options: Options) -> tuple[list[Run], Dataset]:
    """Check everything that can be before the first step.

    Raises:
      ValueError, OSError: what is wrong and what is allowed, in one line.
    """
    check_options(options, *AXES)
    if least := [f for f in options.f if f < 0]:
        raise ValueError(f"f must be at least 0, got {least[0]}")
    if options.friends is not None and TWO_WORLDS not in options.graph:
        raise ValueError(f"friends are of {TWO_WORLDS}, got --graph {' '.join(options.graph)}")
    check_memory(4 * options.honest**2, f"honest = {options.honest}")
    for graph in options.graph:
        for f in options.f:
            network(options, graph, f)
    runs = runs_of(options)
    dataset = load(options.dataset, data_dir=options.data_dir)
    check(runs, dataset, options.beyond_the_bound)
    if not options.allow_mixed:
        named = [(run.name, run.configuration) for run in runs]
        refuse_other_code(named, options.results, code())
    records.prepare_folder(options.results)
    return runs, dataset


def main(options: Options) -> Results:
    """Run what is asked for and not on disk yet."""
    return compute(options, *prepare(options))


def compute(
    options: Options,
    runs: Sequence[Run],
    dataset: Dataset,
    stop: Callable[[], bool] = lambda: False,
) -> Results:
    """The runs, from their files, and their summary."""
    records.clean(options.results)
    progress = Progress(total=len(runs) * options.steps)
    try:
        simulate(runs, dataset, options.results, progress.add, stop=stop)
    finally:
        progress.close()
    found = records.read_runs(options.results, files=[run.file for run in runs])
    return Results(found, tables.summarise(found))


def network(options: Options, graph: str, f: int) -> Network:
    """The network that runs of this graph and f are of."""
    return network_of(graph, options.honest, f, options.placement, options.friends)


def bounds_of(options: Options) -> dict[str, float]:
    """μ_2 of each graph's honest nodes, with the most attackers."""
    return {
        graph: algebraic_connectivity(network(options, graph, max(options.f)).honest_graph)
        for graph in options.graph
    }


def write(options: Options, results: Results) -> list[Path]:
    """The table as CSV, and the pictures."""
    folder = folder_of(options, Grid, Nodes, Setting, but=("beyond_the_bound",))
    paths = [folder / "decentralised.csv"]
    save_table(results.summary, paths[0])
    drawn = [("heatmap", pictures.heatmap(results.summary, options.paper))]
    runs = results.runs
    columns = ["step", "accuracy", "accuracy_worst"]
    steps = records.read_steps(options.results, files=list(runs["file"]), columns=columns)
    drawn += pictures.curves(steps, runs, options.paper)
    drawn += pictures.by_attackers(runs, bounds_of(options), options.paper)
    cells = ["graph", "rule", "f", "heterogeneity"]
    for (graph, rule, f, level), some in runs.groupby(cells, sort=False):
        worst = some.loc[some["test_accuracy"].idxmin()]
        title = f"{graph}, {rule}, f = {f},\n{level}, {worst['attack']}".replace("_", " ")
        picture = pictures.network_picture(
            network(options, graph, f), list(worst["node_accuracies"]), title, options.paper
        )
        drawn.append((f"graph-{graph}-{rule}-f_{f}-{level.replace(':', '_')}", picture))
    for name, figure in drawn:
        paths.append(folder / f"{named(name, options.paper)}.png")
        save_figure(figure, paths[-1], dpi=110 if options.paper == "screen" else 300)
    return paths


def execute(
    options: Options, prepared: tuple[list[Run], Dataset], stop: Callable[[], bool]
) -> None:
    """Run what is missing; print and write all of it."""
    results = compute(options, *prepared, stop)
    conditions = {
        (graph, f): robustness_condition(network(options, graph, f)).words
        for graph in options.graph
        for f in options.f
    }
    tables.print_table(
        results.summary,
        conditions,
        f"{options.dataset}, {options.honest} honest nodes, {options.steps} steps, "
        f"{len(options.seeds)} seeds",
        Printer(options.format),
    )
    tell("drawing pictures")
    paths = write(options, results)
    print(f"written: {paths[0]} and {len(paths) - 1} pictures beside it")


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run` for exit codes."""
    return run(Options, arguments, "decentralised", __doc__, prepare, execute, stopped=CHECKPOINTED)


if __name__ == "__main__":
    start(command)
