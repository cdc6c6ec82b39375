"""Study: runs without a server, their summary, table and pictures."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from experiments.decentralised import pictures, tables
from experiments.decentralised.networks import EVERYWHERE, TWO_WORLDS, network_of
from experiments.decentralised.options import Grid, Nodes, Options, Setting
from experiments.decentralised.runs import Run
from experiments.decentralised.simulate import NO_LIARS, check, code, simulate
from experiments.distributed_momentum.figures.panels import named
from experiments.shared.files import save_figures, save_table
from experiments.shared.formats import Printer, counted, tell_written
from experiments.shared.mixing import refuse_other_code
from experiments.shared.options.checks import check_hidden, check_memory, check_options
from experiments.shared.options.question import folder_of
from experiments.shared.progress import Ask, drawing, never, run_all
from experiments.shared.runs import combinations
from simbyz import records
from simbyz.data import Dataset, load
from simbyz.gossip import Network, robustness_condition
from simbyz.gossip.graphs import algebraic_connectivity

AXES = ("graph", "rule", "f", "heterogeneity", "attack")


class Results(NamedTuple):
    runs: pd.DataFrame  # one row a run
    summary: pd.DataFrame  # one row a graph, rule, f and heterogeneity


def runs_of(options: Options) -> list[Run]:
    runs = combinations(Run, options, AXES)
    calm = [dataclasses.replace(run, attack=NO_LIARS) if run.f == 0 else run for run in runs]
    return list(dict.fromkeys(calm))


def prepare(options: Options) -> tuple[list[Run], Dataset]:
    """The runs and their data, all checked that can be before the first step."""
    check_options(options, *AXES)
    if least := [f for f in options.f if f < 0]:
        raise ValueError(f"f must be at least 0, got {least[0]}")
    if options.friends is not None and TWO_WORLDS not in options.graph:
        raise ValueError(f"friends are of {TWO_WORLDS}, got --graph {' '.join(options.graph)}")
    check_memory(4 * options.honest**2, f"honest = {options.honest}")
    most = max(options.f)
    check_memory(16 * options.honest * most, f"f = {most} beside {options.honest} honest nodes")
    for graph in options.graph:
        for f in options.f:
            network(options, graph, f)
    runs = runs_of(options)
    dataset = load(options.dataset, data_dir=options.data_dir)
    check_hidden(options.hidden, options.honest + max(options.f), dataset.train_images.shape[1:])
    check(runs, dataset, options.beyond_the_bound)
    refuse_other_code(runs, options, code())
    records.prepare_folder(options.results)
    return runs, dataset


def main(options: Options) -> Results:
    """Run what is asked for and not on disk yet."""
    return compute(options, *prepare(options))


def compute(options: Options, runs: Sequence[Run], dataset: Dataset, stop: Ask = never) -> Results:
    """The runs, from their files, and their summary."""
    run_all(simulate, runs, dataset, options.results, stop)
    found = records.read_runs(options.results, files=[run.file for run in runs])
    return Results(found, tables.summarise(found))


def network(options: Options, graph: str, f: int) -> Network:
    """The network that runs of this graph and f are of.

    Raises:
      ValueError: there is none.
    """
    nodes = options.honest if options.placement == EVERYWHERE else options.honest + f
    friends = options.friends
    if friends is not None and graph == TWO_WORLDS and not 1 <= friends <= nodes // 2:
        raise ValueError(
            f"friends must be from 1 to {nodes // 2}, the nodes of the other world, got {friends}"
        )
    return network_of(graph, options.honest, f, options.placement, options.friends)


def write(options: Options, results: Results) -> list[Path]:
    """The table as CSV, and the pictures."""
    folder = folder_of(options, Grid, Nodes, Setting, but=("beyond_the_bound",))
    table = save_table(results.summary, folder / "decentralised.csv")
    drawn = [("heatmap", pictures.heatmap(results.summary, options.paper))]
    runs = results.runs
    columns = ["step", "accuracy", "accuracy_worst"]
    steps = records.read_steps(options.results, files=list(runs["file"]), columns=columns)
    drawn += pictures.curves(steps, runs, options.paper)
    bounds: dict[str, float] = {
        name: algebraic_connectivity(network(options, name, max(options.f)).honest_graph)
        for name in options.graph
    }
    drawn += pictures.by_attackers(runs, bounds, options.paper)
    cells = ["graph", "rule", "f", "heterogeneity"]
    for (graph, rule, f, level), some in runs.groupby(cells, sort=False):
        worst = some.loc[some["test_accuracy"].idxmin()]
        title = f"{graph}, {rule}, f = {f},\n{level}, {worst['attack']}".replace("_", " ")
        picture = pictures.network_picture(
            network(options, graph, f), list(worst["node_accuracies"]), title, options.paper
        )
        drawn.append((f"graph-{graph}-{rule}-f_{f}-{level.replace(':', '_')}", picture))
    pictured = ((named(name, options.paper), figure) for name, figure in drawn)
    dpi = 110 if options.paper == "screen" else 300
    return [table, *save_figures(pictured, folder, dpi=dpi)]


def execute(options: Options, prepared: tuple[list[Run], Dataset], stop: Ask) -> None:
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
        f"{counted(len(options.seeds), 'seed')}",
        Printer(options.format),
    )
    drawing(stop)
    tell_written(write(options, results), options.format, pictures=True)
