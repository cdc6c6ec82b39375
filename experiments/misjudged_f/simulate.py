"""One compiled program a problem and rule: f, f̂, attacks, data and seeds are its lanes."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.misjudged_f import lanes, problems
from experiments.misjudged_f.options import Setting
from experiments.misjudged_f.problems import QUADRATIC, Case, Learnt
from experiments.shared.runs import grouped
from experiments.shared.stopping import side_by_side
from experiments.worst_case.rules import rule_of
from simbyz._arrays.stacking import PyTree
from simbyz.aggregators.base import StatefulRule
from simbyz.data import Dataset
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator

# Rules that make nothing of f̂.
WITHOUT_F = ("average", "median", "geometric_median")
COMPILER: dict[str, str | bool] = {"xla_backend_optimization_level": "1"}
# A run that ends so many lengths of its start away has diverged: what is bounded is not so far.
DIVERGED = 1e6
AT_ONCE = 65  # lanes in one call of a program; between two, one may stop


@dataclasses.dataclass(frozen=True)
class Run:
    """One run, but for its setting."""

    problem: str
    data: str
    rule: str
    f: int
    tolerated: int
    attack: str
    seed: int


def rule_by_lane(rule: str, tolerated: Sequence[int]) -> StatefulRule:
    """The rule for every f̂: its state, which stays, is the number of the one that a lane has."""

    def aggregate(rows: jax.Array, f: int, *, state: jax.Array) -> jax.Array:
        del f
        branches = [functools.partial(rule_of(rule), f=one) for one in tolerated]
        return jax.lax.switch(state, branches, rows)

    return StatefulRule(
        aggregate, start=lambda zeros: jnp.int32(0), learn=lambda state, rows, result: state
    )


def program(
    learnt: Learnt, rule: str, tolerated: Sequence[int], largest_f: int, setting: Setting
) -> Callable:
    """(the task's data, what differs of all cases, key, number of the case's, of f̂, of the attack,
    f) -> parameters (d,) at the end, how far from the start in lengths of it, and accuracy.
    """
    config = Config(
        n=setting.n,
        f=max(tolerated),
        num_byzantine=largest_f,
        byzantine_gradients=True,
        evaluate_every=None,
        study=False,
    )
    simulator = make_simulator(
        config,
        learnt.task,
        rule_by_lane(rule, tolerated),
        lanes.attack,
        schedule=problems.falling(setting.steps),
    )

    def run(
        data: PyTree,
        stacked: PyTree,
        key: jax.Array,
        number: jax.Array,
        which_f: jax.Array,
        which: jax.Array,
        present: jax.Array,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        own = jax.tree.map(lambda leaf: leaf[number], stacked)
        data = data._replace(**{learnt.differs: own})
        hyperparameters = Hyperparameters(
            setting.learning_rate,
            worker=Momentum(setting.momentum, 1 - setting.momentum),
            attack={"which": which, "present": present},
        )
        state = simulator.initialise(key)._replace(rule=which_f)
        state, _ = simulator.advance(state, hyperparameters, data, key, 0, setting.steps)
        end = simulator.finish(state, data, key, jnp.int32(setting.steps))
        away = jnp.linalg.norm(state.parameters - state.start) / jnp.linalg.norm(state.start)
        return state.parameters, away, end.accuracy

    return run


def learnt_of(
    name: str, runs: Sequence[Run], setting: Setting, datasets: Mapping[str, Dataset]
) -> Learnt:
    """The problem of this name, with the data of all of these runs."""
    cases = list(dict.fromkeys(case_of(run) for run in runs))
    if name == QUADRATIC:
        return problems.quadratic(setting.n, setting.zeta, setting.sigma, cases)
    return problems.images(
        datasets[name], setting.n, setting.hidden, setting.batch_size, setting.partition_seed, cases
    )


def case_of(run: Run) -> Case:
    return Case(run.data, run.f, run.tolerated)


def measure(
    runs: Sequence[Run],
    setting: Setting,
    datasets: Mapping[str, Dataset],
    progress: Callable[[int, str], None] = lambda done, text: None,
) -> pd.DataFrame:
    """One row a run, in their order: what it is, and how it ended. Of quadratics that is
    `squared_gradient_norm`, infinite where that is beyond all numbers, of images
    `test_accuracy`.

    progress: told the runs done since the last call and what goes on; may raise to stop.
    """
    groups = grouped(runs, lambda run: (run.problem, run.rule))
    largest_f = max(run.f for run in runs)

    def one(group: list[Run]) -> pd.DataFrame:
        name, rule = group[0].problem, group[0].rule
        tolerated = list(dict.fromkeys(run.tolerated for run in group))
        # One branch for rules that make nothing of f̂.
        known = tolerated[:1] if rule in WITHOUT_F else tolerated
        learnt = learnt_of(name, group, setting, datasets)
        numbers = [
            (
                run.seed,
                learnt.numbers[case_of(run)],
                known.index(run.tolerated) if len(known) > 1 else 0,
                lanes.number(run.attack),
                run.f,
            )
            for run in group
        ]
        compiled, ended = None, []
        for start in range(0, len(numbers), AT_ONCE):
            some = numbers[start : start + AT_ONCE]
            filled = [*some, *[some[-1]] * (AT_ONCE - len(some))]
            seeds, *others = (np.array(column, np.int32) for column in zip(*filled, strict=True))
            given = (learnt.task.data, learnt.stacked, jax.vmap(jax.random.key)(seeds), *others)
            if compiled is None:
                run = program(learnt, rule, known, largest_f, setting)
                lanes_of = jax.jit(jax.vmap(run, in_axes=(None, None, 0, 0, 0, 0, 0)))
                compiled = lanes_of.lower(*given).compile(COMPILER)
            ended.append([np.asarray(leaf)[: len(some)] for leaf in compiled(*given)])
            progress(len(some), f"{name}, {rule}")
        return _rows(group, setting, *map(np.concatenate, zip(*ended, strict=True)))

    # Much of the time goes into compiling, which threads do side by side.
    rows = pd.concat(side_by_side(one, groups), ignore_index=True)
    order = {run: place for place, run in enumerate(runs)}
    places = [order[run] for group in groups for run in group]
    return rows.iloc[np.argsort(places)].reset_index(drop=True)


def _rows(
    group: Sequence[Run],
    setting: Setting,
    parameters: np.ndarray,
    away: np.ndarray,
    accuracy: np.ndarray,
) -> pd.DataFrame:
    rows = pd.DataFrame(group).assign(n=setting.n, steps=setting.steps)
    rows["diverged"] = ~(away < DIVERGED)
    if group[0].problem == QUADRATIC:
        norms = problems.squared_gradient_norm(setting.n, setting.zeta, setting.sigma, parameters)
        return rows.assign(zeta=setting.zeta, sigma=setting.sigma, squared_gradient_norm=norms)
    return rows.assign(test_accuracy=accuracy)
