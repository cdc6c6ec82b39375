"""Without a server: the runs, their table and pictures, lanes against the library, refusals."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest

from experiments.decentralised import lanes, networks, pictures, tables
from experiments.decentralised.__main__ import SMOKE, command, main, runs_of, write
from simbyz import records
from simbyz.gossip import GossipConfig, make_gossip
from simbyz.simulator import Hyperparameters
from simbyz.tasks.problems import quadratic
from tests.support.printed import assert_refused, printed


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    options = dataclasses.replace(SMOKE, results=tmp_path_factory.mktemp("results"))
    return options, main(options)


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


@pytest.mark.parametrize("name", networks.GRAPHS)
def test_each_graph_hears_as_many_liars_everywhere_and_is_drawn(name):
    network = networks.network_of(name, 12, 2, networks.EVERYWHERE)
    assert [len(network.liars_of(i)) for i in network.honest] == [2] * 12
    assert network.byzantine == (12, 13)
    drawn = pictures.places(network)
    assert drawn.shape == (14, 2) and np.isfinite(drawn).all()
    assert len(np.unique(drawn.round(6), axis=0)) == 14


@pytest.mark.thorough
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
        ("--honest 1000000", "takes at least 4,000 GB of memory"),
    ],
)
def test_what_cannot_be_run_is_refused(arguments, message, tmp_path, capsys):
    assert_refused(command, arguments, message, tmp_path, capsys)
