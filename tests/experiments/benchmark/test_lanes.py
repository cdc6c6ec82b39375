"""The benchmark's runs: a lane is a run by itself, whatever else is in its program."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmark import simulate
from experiments.benchmark.__main__ import SMOKE, main
from experiments.benchmark.entries.catalogue import RADIUS, behind, rule_of
from experiments.benchmark.entries.parts import RANKING
from experiments.benchmark.program import Program, attack_among, defence_of, simulator_of
from experiments.benchmark.runs import programs
from experiments.benchmark.study import prepare
from experiments.defence_matrix.runs import shares_of
from experiments.defence_matrix.simulate import split
from simbyz import aggregators, attacks
from simbyz.data import load, root
from simbyz.preaggregators import nearest_neighbor_mixing
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.sweeps import Lane, sweep
from simbyz.tasks import Dense, classification
from tests.support.compiled import compiled


def plain(run, dataset):
    """Accuracy and parameters of a run by the simulator alone, without a number of anything."""
    training, _ = split(dataset, run.validation)
    share = shares_of([run.heterogeneity], training.train_labels, run.n, run.partition_seed)
    held = root.draw(jax.random.key(run.partition_seed), training.train_labels, 100)
    task = classification(
        training,
        Dense(run.hidden, dataset.num_classes),
        batch_size=run.batch_size,
        partition=share[run.heterogeneity],
        root=held if run.rule == "fltrust" else None,
    )
    relabel = attack = None
    if run.attack in attacks.DATA_ATTACKS:
        relabel = functools.partial(attacks.DATA_ATTACKS[run.attack], num_classes=10)
    elif run.attack != "none":
        attack = attacks.ATTACKS[run.attack]
        if run.attack == "sign_flipping":  # of the honest mean, not of its own
            attack = lambda key, honest, count: attacks.sign_flipping(key, honest, count)  # noqa: E731
    config = Config(n=run.n, f=run.f, byzantine_gradients=True, evaluate_every=None, study=False)
    rule = behind(run.pre, rule_of(run.rule))
    simulator = make_simulator(config, task, rule, attack, relabel=relabel)
    numbers = Hyperparameters(
        run.learning_rate,
        worker=Momentum(run.momentum, 1 - run.momentum),
        weight_decay=run.weight_decay,
    )
    (result,) = sweep(simulator, [Lane(run.seed, numbers)], task.data, steps=run.steps, width=1)
    return result


@pytest.mark.slower
def test_lanes_go_through_their_own_branches():
    """Of lanes side by side, each its own rule, pre-aggregator and attack, as called alone."""
    names = ("median", "trimmed_mean", "centered_clipping")
    sent = ("none", "fall_of_empires", "mimic")
    program = Program(7, 2, names, ("none", "nnm"), sent, evaluations=1)
    rows = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    key, defence, attack = jax.random.key(0), defence_of(program), attack_among(program)
    lanes = [
        program.numbers(rule, pre, attack)
        for rule, pre, attack in (
            ("trimmed_mean", "nnm", "mimic"),
            ("median", "none", "none"),
            ("centered_clipping", "none", "fall_of_empires"),
        )
    ]

    def of_lane(rule, pre, attacked):
        byzantine = attack(key, rows[:5], 2, own=rows[5:], rule=rule, pre=pre, attack=attacked)
        stack = jnp.concatenate([rows[:5], byzantine])
        memory = defence.start(jnp.zeros(5))._replace(rule=rule, pre=pre)
        return byzantine, defence.aggregate(stack, 2, key=key, state=memory)

    numbers = [jnp.asarray([lane[name] for lane in lanes]) for name in ("rule", "pre", "attack")]
    got = jax.jit(jax.vmap(of_lane))(*numbers)
    sending = [rows[[0, 0]], rows[5:], np.tile(-0.1 * rows[:5].mean(axis=0), (2, 1))]
    for lane, byzantine in enumerate(sending):
        np.testing.assert_allclose(got[0][lane], byzantine, rtol=1e-5, atol=1e-6)
    stacks = [np.concatenate([rows[:5], byzantine]) for byzantine in sending]
    mixed = compiled(nearest_neighbor_mixing, f=2)(stacks[0])
    want = [
        compiled(aggregators.trimmed_mean, f=2)(mixed),
        compiled(aggregators.median, f=2)(stacks[1]),
        compiled(aggregators.centered_clipping, f=2, radius=RADIUS)(stacks[2]),
    ]
    np.testing.assert_allclose(got[1], np.stack(want), rtol=1e-5, atol=1e-6)


@pytest.mark.slower
def test_a_lane_is_the_run_by_itself(tmp_path):
    """Every kind of branch: a rule with a key, with a memory, behind mixing; sent and poisoned."""
    options = dataclasses.replace(
        SMOKE,
        rule=("median", "centered_clipping", "dnc", "fltrust"),
        pre=("none", "nnm"),
        attack=("none", "gaussian", "sign_flipping", "label_flipping"),
        f=(2,),
        learning_rate=(0.5,),
        seeds=(3,),
        steps=4,
    )
    prepared = prepare(dataclasses.replace(options, results=tmp_path))
    table = main_of(prepared)
    for rule, pre, attack in (
        ("median", "none", "sign_flipping"),
        ("centered_clipping", "none", "gaussian"),
        ("dnc", "nnm", "none"),
        ("median", "nnm", "label_flipping"),
        ("fltrust", "none", "sign_flipping"),
    ):
        (run,) = [
            run for run in prepared.runs if (run.rule, run.pre, run.attack) == (rule, pre, attack)
        ]
        alone = plain(run, prepared.dataset)
        np.testing.assert_allclose(
            table[run].parameters, alone.parameters, rtol=1e-4, atol=1e-6, err_msg=str(run)
        )


def main_of(prepared):
    """The results of all runs, by run; rules that the server judges by have a program."""
    first = prepared.runs[0]
    training, _ = split(prepared.dataset, first.validation)
    share = shares_of(["iid"], training.train_labels, first.n, 0)["iid"]
    found, groups = {}, programs(prepared.runs)
    assert [program.rules for program in groups][1:] == [("fltrust",)]
    for program, group in groups.items():
        task = simulate.task_of(group[0], training, share)
        simulator = simulator_of(program, task)
        for some in simulate.batches(group):
            data = simulate.data_of(some[0], task.data, training, share)
            lanes = [Lane(run.seed, simulate.hyperparameters_of(run, program)) for run in some]
            results = sweep(simulator, lanes, data, steps=first.steps, width=2)
            found |= dict(zip(some, results, strict=True))
    return found


def test_only_the_byzantine_workers_examples_are_mislabelled():
    training, _ = split(load("digits"), 0.2)
    share = shares_of(["dirichlet:1"], training.train_labels, 8, 0)["dirichlet:1"]
    labels = training.train_labels
    got = simulate.mislabelled("label_flipping", labels, share, 2, 10)
    for worker in range(8):
        held = np.asarray(share.indices)[worker, : int(share.counts[worker])]
        want = 9 - labels[held] if worker >= 6 else labels[held]
        np.testing.assert_array_equal(got[held], want)


@pytest.mark.slower
def test_searched_attacks_and_buckets(tmp_path):
    options = dataclasses.replace(
        SMOKE,
        rule=("median",),
        pre=("none", "bucketing"),
        attack=("none", "adaptive_little", "gradient_ascent", "fang_krum"),
        f=(1,),
        learning_rate=(0.5,),
        seeds=(1,),
        steps=2,
        evaluations=2,
        results=tmp_path,
    )
    runs = main(options)[RANKING].runs
    assert len(runs) == 2 * 4 and np.isfinite(runs["training_loss"]).all()
