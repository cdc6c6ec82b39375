"""Programs of one step over a mesh: their memory and what their devices send."""

import functools
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.speed.measured.memory import HYPERPARAMETERS, bytes_of, linear
from simbyz import aggregators, attacks
from simbyz.aggregators.base import Rule
from simbyz.simulator import Config, State, make_simulator
from simbyz.sweeps.mesh import Sharded, mesh_of, padded, shard, shardings_of

OPTIONS: dict[str, dict[str, Any]] = {"centered_clipping": {"radius": 1.0}}
COLLECTIVES = ("all-gather", "all-to-all", "all-reduce", "reduce-scatter", "collective-permute")


class Problem(NamedTuple):
    sharded: Sharded
    mesh: jax.sharding.Mesh
    state: State  # shapes alone


def defence(rule: str) -> Rule:
    return functools.partial(aggregators.AGGREGATORS[rule], **OPTIONS.get(rule, {}))


def problem(n: int, f: int, d: int, rule: str, devices: Sequence[jax.Device]) -> Problem:
    """A step with momentum at the workers, attacked, whose gradients cost nothing to make.

    Raises:
      ValueError: by the rule that refuses (n, f), when it is lowered.
    """
    mesh = mesh_of(devices)
    task = padded(linear(d), len(devices))
    config = Config(n=n, f=f, momentum_at=("worker",))
    simulator = make_simulator(config, task, defence(rule), attacks.a_little_is_enough)
    state = jax.eval_shape(simulator.initialise, jax.random.key(0))
    return Problem(shard(simulator, config, task, mesh), mesh, state)


def plan(n: int, f: int, d: int, rule: str, devices: Sequence[jax.Device]) -> dict[str, Any]:
    """A row: what one device holds and sends in a step, as XLA plans it; nothing is run.

    state: of the run, donated. sent: numbers in the result of each kind of collective.
    """
    asked = problem(n, f, d, rule, devices)
    state = jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
        asked.state,
        shardings_of(asked.state, asked.mesh),
    )
    key = jax.random.key(0)
    program = asked.sharded.advance.lower(  # type: ignore[attr-defined]  # of jax.jit
        state, HYPERPARAMETERS, {}, key, jnp.int32(0), 1
    ).compile()
    donated, others, temporaries = bytes_of(program)
    sent = pd.Series(0, COLLECTIVES)
    for kind, numbers in collectives(program.as_text()):
        sent[kind] += numbers
    return {
        "devices": len(devices),
        "n": n,
        "f": f,
        "d": d,
        "rule": rule,
        "state_gb": donated / 1e9,
        "temporaries_gb": temporaries / 1e9,
        "peak_gb": (donated + others + temporaries) / 1e9,
        **{kind.replace("-", "_"): int(numbers) for kind, numbers in sent.items()},
    }


def collectives(text: str) -> Iterator[tuple[str, int]]:
    """(kind, numbers in the result on one device) of each collective in the text of a program."""
    kinds = "|".join(COLLECTIVES)
    for result, kind in re.findall(rf"^.*? = (.*?) ({kinds})(?:-start)?\(", text, re.MULTILINE):
        shapes = re.findall(r"\b[a-z]+[0-9]+[a-z0-9]*\[([0-9,]*)\]", result)
        yield kind, sum(math.prod(map(int, filter(None, shape.split(",")))) for shape in shapes)


def run(
    n: int, f: int, d: int, rule: str, devices: Sequence[jax.Device], steps: int = 3
) -> np.ndarray:
    """The parameters (d,) after some steps, really run."""
    asked = problem(n, f, d, rule, devices)
    key = jax.random.key(1)
    state = asked.sharded.initialise(key)
    state, _ = asked.sharded.advance(state, HYPERPARAMETERS, {}, key, jnp.int32(0), steps)
    return np.asarray(state.parameters)[:d]
