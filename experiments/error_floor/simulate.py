"""One compiled program a rule and f: all heterogeneities, data, attacks and seeds are its lanes."""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.error_floor.options import Runs
from experiments.misjudged_f.problems import DIMENSION, falling, problem
from experiments.shared.stopping import side_by_side
from experiments.worst_case.rules import rule_of
from simbyz import aggregators, attacks
from simbyz._arrays import moments
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.tasks.problems import Problem
from simbyz.theory import robustness

LEARNING_RATE, MOMENTUM = 0.5, 0.9
# How far the data of shifted workers are from everybody's, in units of ζ.
SHIFT = 2.0


RULES: dict[str, Callable] = {
    name: rule_of(name)
    for name in ("average", "median", "trimmed_mean", "krum", "mixed_trimmed_mean")
} | {
    "geometric_median": functools.partial(
        aggregators.geometric_median, smoothing=1e-6, iterations=32
    )
}
# Data of the honest workers: f of them share a tilt and the others the opposite, or all differ.
DATA = ("minority", "spread")
ATTACKS = ("majority", "shifted", "little", "flipped")


def attack(
    key: jax.Array, honest: jax.Array, num_byzantine: int, *, which: jax.Array, shift: jax.Array
) -> jax.Array:
    """All attacks by number, so that they are lanes of one program.

    majority: as the first worker, whose data are of the kind that most have. shifted: as an honest
    worker whose data are like everybody's but for a tilt. little: a little is enough. flipped: the
    honest mean times -1.
    """
    mean = moments.mean(honest)
    (little,) = attacks.a_little_is_enough(key, honest, 1)
    row = jnp.stack([honest[0], mean + shift, little, -mean])[which]
    return jnp.broadcast_to(row, (num_byzantine, *row.shape))


def problems(n: int, f: int, sigma: float) -> list[Problem]:
    """The quadratics of `DATA`, of ζ = 1: of one key, hence of one f, with other tilts."""
    return [problem(n - f, 1.0, sigma, minority) for minority in (f, None)]


def program(rule: str, n: int, f: int, steps: int, sigma: float) -> Callable:
    """(key, ζ, number of the data, number of the attack) -> ||∇f||² after the last step."""
    both = problems(n, f, sigma)
    tilts = jnp.stack([problem.task.data.tilts for problem in both])
    task = both[0].task
    simulator = make_simulator(
        Config(n=n, f=f, momentum_at=("worker",), evaluate_every=None, study=False),
        task,
        RULES[rule],
        attack,
        schedule=falling(steps),
    )
    direction = jnp.full(DIMENSION, DIMENSION**-0.5)

    def run(key: jax.Array, zeta: jax.Array, kind: jax.Array, which: jax.Array) -> jax.Array:
        data = task.data._replace(tilts=zeta * tilts[kind])
        hyperparameters = Hyperparameters(
            LEARNING_RATE,
            worker=Momentum(MOMENTUM, 1 - MOMENTUM),
            attack={"which": which, "shift": SHIFT * zeta * direction},
        )
        state, _ = simulator.advance(
            simulator.initialise(key), hyperparameters, data, key, 0, steps
        )
        gradient = jnp.mean(both[0].gradients(data, state.parameters), axis=0)
        return jnp.sum(jnp.square(gradient))

    return run


def measure(asked: Runs, progress: Callable[[str], None]) -> pd.DataFrame:
    """One row a run: its setting, the squared gradient norm at its end (infinite if it diverged),
    and the floor.
    """
    n, sigma, steps = asked.n, asked.sigma, asked.steps
    lanes = itertools.product(asked.zeta, range(len(DATA)), range(len(ATTACKS)), asked.seeds)
    zeta, kind, which, seed = (np.array(column) for column in zip(*lanes, strict=True))
    keys = jax.vmap(jax.random.key)(seed)
    # The arrays are tiny: a fifth of the time to compile for a CPU, and as fast to run.
    on_cpu = jax.default_backend() == "cpu"
    options = {"xla_backend_optimization_level": "1"} if on_cpu else None

    def one(cell: tuple[str, int]) -> pd.DataFrame:
        rule, tolerated = cell
        run = jax.jit(jax.vmap(program(rule, n, tolerated, steps, sigma)), compiler_options=options)
        error = np.asarray(run(keys, zeta.astype(np.float32), kind, which))
        columns = {
            "rule": rule,
            "n": n,
            "f": tolerated,
            "zeta": zeta,
            "sigma": sigma,
            "steps": steps,
            "data": np.array(DATA)[kind],
            "attack": np.array(ATTACKS)[which],
            "seed": seed,
            "squared_gradient_norm": np.where(np.isfinite(error), error, np.inf),
            "floor": robustness.coefficient_floor(n, tolerated) * zeta**2,
        }
        progress(f"{rule}, f = {tolerated}")
        return pd.DataFrame(columns)

    # Nearly all of the time goes into compiling, which threads do side by side.
    cells = itertools.product(asked.rule, asked.f)
    return pd.concat(side_by_side(one, cells), ignore_index=True)
