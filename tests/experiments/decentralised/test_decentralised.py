"""Without a server: the runs, their table and pictures, lanes against the library, refusals."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments.decentralised import lanes, networks, pictures, simulate, tables
from experiments.decentralised.__main__ import SMOKE, command, main
from experiments.decentralised.study import runs_of, write
from simbyz import records
from simbyz._arrays.calling import asks_for
from simbyz.gossip import GossipConfig, make_gossip
from simbyz.simulator import Hyperparameters
from simbyz.tasks.problems import quadratic
from tests.support.printed import assert_refused, printed


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    options = dataclasses.replace(SMOKE, results=tmp_path_factory.mktemp("results"))
    return options, main(options)


@pytest.mark.slower
def test_a_run_a_file_and_a_row_a_cell(finished):
    options, (runs, summary) = finished
    assert len(runs) == 2 and len(summary) == 1
    assert runs["test_accuracy"].between(0, 1).all()
    nodes = np.array(runs["node_accuracies"].tolist())
    assert nodes.shape == (2, options.honest)
    np.testing.assert_allclose(nodes.mean(axis=1), runs["test_accuracy"], atol=1e-6)
    np.testing.assert_allclose(nodes.min(axis=1), runs["worst_accuracy"], atol=1e-6)
    assert summary["test_accuracy"].item() == runs["test_accuracy"].min()
    steps = records.read_steps(options.results, columns=["consensus_distance", "byzantine_share"])
    assert (steps.groupby("digest", observed=True).size() == options.steps + 1).all()
    assert not list((options.results / "checkpoints").glob("*"))


def test_nothing_is_run_twice(finished, monkeypatch):
    options, results = finished
    monkeypatch.setattr(
        "experiments.decentralised.simulate.sweep", lambda *_, **__: pytest.fail("ran again")
    )
    pd.testing.assert_frame_equal(main(options).summary, results.summary)


def test_table_and_pictures(finished):
    options, results = finished
    written = {path.name for path in write(options, results)}
    assert written >= {"decentralised.csv", "heatmap.png", "curves-two_worlds-f_1-dirichlet_1.png"}
    assert len(list(options.results.rglob("graph-*.png"))) == 1
    shown = printed(tables.print_table, results.summary, {("two_worlds", 1): "words"}, "title")
    assert "gts" in shown and "two_worlds, f = 1: words" in shown
    wide = results.summary.assign(
        graph="random_geometric",
        rule="clipped_gossip_plus",
        heterogeneity="dirichlet:0.1",
        deviation=0.123,
        consensus_distance=1.3e12,
    )
    printed(tables.print_table, wide, {}, "title")


@pytest.mark.parametrize("paper, width", [("screen", None), ("column", 3.35), ("page", 7.0)])
def test_pictures_are_as_wide_as_the_paper(paper, width):
    rows = [
        {
            "graph": graph,
            "rule": rule,
            "f": f,
            "heterogeneity": level,
            "attack": attack,
            "digest": f"{number}",
            "test_accuracy": 0.1 * f + 0.2,
            "worst_accuracy": 0.1 * f,
        }
        for number, (graph, rule, f, level, attack) in enumerate(
            itertools.product(
                ["two_worlds", "ring"],
                ["gts", "clipped_gossip_plus"],
                [1, 2],
                ["iid", "dirichlet:1"],
                ["dissensus", "little_around", "empire_around"],
            )
        )
    ]
    runs = pd.DataFrame(rows)
    steps = runs[["digest"]].merge(pd.DataFrame({"step": [0, 10]}), how="cross")
    steps = steps.assign(accuracy=0.5, accuracy_worst=0.4)
    drawn = dict(pictures.curves(steps, runs, paper))
    drawn |= dict(pictures.by_attackers(runs, {"two_worlds": 4.0, "ring": 0.7}, paper))
    assert len(drawn) == 2 * 2 * 2 + 2 * 2
    by_f = drawn["by_attackers-two_worlds-iid"].axes[0]
    assert [list(line.get_xdata()) for line in by_f.lines[:2]] == [[1, 2]] * 2
    np.testing.assert_allclose(by_f.lines[0].get_ydata(), [0.3, 0.4])
    np.testing.assert_allclose(by_f.lines[1].get_ydata(), [0.1, 0.2])
    assert list(by_f.lines[-1].get_xdata()) == [2, 2]  # 2 f = μ_2
    summary = runs.rename(columns={"worst_accuracy": "worst_node"})
    summary = summary[summary["attack"] == "dissensus"].assign(diverged=0)
    drawn["heatmap"] = pictures.heatmap(summary, paper)
    network = networks.network_of("two_worlds", 6, 1, networks.EVERYWHERE)
    drawn["graph"] = pictures.network_picture(network, [0.1] * 5 + [np.nan], "title", paper)
    assert width is None or {figure.get_figwidth() for figure in drawn.values()} <= {width, 5.0}


def test_rules_that_turn_with_their_rows_do():
    """As the search for factors among few numbers takes for granted."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(9, 5))
    turned, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    weights = jnp.asarray(rng.dirichlet(np.ones(9)), jnp.float32)
    for name in simulate.ROTATING:
        rule = simulate.RULES[name]
        options = {"weights": weights} if asks_for(rule, "weights") else {}
        made, other = (
            np.asarray(rule(jnp.asarray(some, jnp.float32), 2, **options))
            for some in (rows, rows @ turned)
        )
        np.testing.assert_allclose(other, made @ turned, atol=1e-5)


def test_the_summary_is_of_the_worst_attack():
    rows = [
        {
            "graph": "ring",
            "rule": "gts",
            "f": 1,
            "heterogeneity": "iid",
            "attack": attack,
            "seed": seed,
            "test_accuracy": accuracy,
            "worst_accuracy": accuracy / 2,
            "best_accuracy": 1.0,
            "consensus_distance": 3.0,
            "byzantine_share": np.nan,
        }
        for attack, accuracies in (("dissensus", (0.8, 0.6)), ("little_around", (0.9, 0.3)))
        for seed, accuracy in enumerate(accuracies)
    ]
    (row,) = tables.summarise(pd.DataFrame(rows)).to_dict("records")
    assert (row["worst_attack"], row["seeds"]) == ("little_around", 2)
    assert row["test_accuracy"] == pytest.approx(0.6) and row["worst_node"] == pytest.approx(0.3)
    assert row["deviation"] == pytest.approx(np.std([0.9, 0.3], ddof=1))
    assert (row["diverged"], row["consensus_distance"]) == (0, 3.0)


def test_a_run_that_diverged_is_marked_and_its_nodes_are_far_apart():
    """Of distances 3 and NaN the mean was 3."""
    cell = {
        "graph": "ring",
        "rule": "gossip",
        "f": 1,
        "heterogeneity": "iid",
        "attack": "dissensus",
    }
    outcome = {"test_accuracy": 0.1, "worst_accuracy": 0.1, "best_accuracy": 0.1}
    distances = (3.0, np.nan)
    rows = [
        cell
        | outcome
        | {
            "attack": "dissensus",
            "seed": seed,
            "consensus_distance": distance,
            "byzantine_share": 0.0,
        }
        for seed, distance in enumerate(distances)
    ]
    summary = tables.summarise(pd.DataFrame(rows))
    assert (summary["diverged"][0], summary["consensus_distance"][0]) == (1, np.inf)
    shown = printed(tables.print_table, summary, {}, "title")
    assert "10.0✕ ± 0.0" in shown and "✕: some runs diverged" in shown and "∞" in shown
    figure = pictures.heatmap(summary)
    assert [text.get_text() for text in figure.axes[0].texts] == ["10✕\n(10)"]
    assert figure.get_suptitle().endswith("✕: some runs diverged")


@pytest.mark.parametrize("name", networks.GRAPHS)
def test_each_graph_hears_as_many_liars_everywhere_and_is_drawn(name):
    network = networks.network_of(name, 12, 2, networks.EVERYWHERE)
    assert [len(network.liars_of(i)) for i in network.honest] == [2] * 12
    assert network.byzantine == (12, 13)
    drawn = pictures.places(network)
    assert drawn.shape == (14, 2) and np.isfinite(drawn).all()
    assert len(np.unique(drawn.round(6), axis=0)) == 14


@pytest.mark.slower
def test_lanes_are_the_attacks():
    network = networks.network_of("two_worlds", 6, 2, networks.EVERYWHERE)
    task = quadratic(jax.random.key(0), 6, 3).task
    vectors = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    config = GossipConfig(network, momentum=False, evaluate_every=None)

    def sent(attack, **options):
        simulator = make_gossip(config, task, lambda rows, f: rows[-1], attack)

        @jax.jit
        def one(options):
            zeros = np.zeros_like(vectors)
            given = Hyperparameters(0.0, attack=options)
            state = simulator.start(vectors, {})
            return simulator.apply(state, given, jax.random.key(0), 0, zeros, zeros[:, 0])[0]

        return np.asarray(one(options).parameters)

    for name, attack in lanes.DIRECTIONS.items():
        made = sent(lanes._along, which=np.float32(lanes.number(name)), factor=1.4)
        np.testing.assert_allclose(made, sent(attack, factor=1.4), rtol=1e-4, atol=1e-5)


def test_without_attackers_there_is_one_run_a_seed():
    options = dataclasses.replace(SMOKE, f=(0, 1), seeds=(1, 2))
    assert [run.attack for run in runs_of(options) if run.f == 0] == ["none"] * 2
    assert len(runs_of(options)) == 2 + 2 * 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--f -1", "f must be at least 0, got -1"),
        ("--honest 5 --graph ring --rule gts --f 5", "gts needs n >= 2f + 1"),
        ("--honest 7 --graph torus", "a torus has equal rows"),
        ("--placement central --graph complete --honest 3 --f 2 --rule bridge", "bridge needs"),
        ("--learning-rate 0", "learning_rate must be positive"),
        ("--heterogeneity dirichlet", "heterogeneity must be iid"),
        ("--graph ring --no-beyond-the-bound", "clipped_gossip needs an undirected graph with 2b"),
        ("--graph ring --friends 2", "friends are of two_worlds, got --graph ring"),
        ("--graph two_worlds --friends 9", "friends must be from 1 to 8, the nodes of the other"),
        ("--honest 1000000", "takes at least 4,000 GB of memory"),
        ("--f 2000000000", "f = 2000000000 beside 16 honest nodes takes at least 512 GB of memory"),
        ("--hidden 2000000000", "take a smaller layer"),
    ],
)
def test_what_cannot_be_run_is_refused(arguments, message, tmp_path, capsys):
    assert_refused(command, arguments, message, tmp_path, capsys)
