"""Several rules in one compiled program: which of them a run has is a number of its own.

Each has a branch, so that the rest of a step is traced and compiled once for all of them.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from simbyz.aggregators.base import Rule, StatefulRule
from simbyz.simulator import Simulator, State

NUMBER = "rule"  # its name among the numbers of a run's attack, which takes it and does without


def among(rules: Sequence[Rule]) -> StatefulRule:
    """The rule of the number that it remembers."""

    def aggregate(stack: jax.Array, f: int, *, state: jax.Array) -> jax.Array:
        # One lane after the other: a batched number would have all branches computed.
        @jax.custom_batching.sequential_vmap
        def one(stack: jax.Array, number: jax.Array) -> jax.Array:
            return jax.lax.switch(number, [lambda rows, r=r: r(rows, f) for r in rules], stack)

        return one(stack, state)

    return StatefulRule(aggregate, lambda zeros: jnp.int32(0), lambda state, *rest: state)


def told(simulator: Simulator) -> Simulator:
    """The simulator of such a rule, which is told the number of each run."""

    def advance(state: State, hyperparameters: Any, *rest: Any) -> Any:
        number = jnp.asarray(hyperparameters.attack[NUMBER], jnp.int32)
        return simulator.advance(state._replace(rule=number), hyperparameters, *rest)

    return simulator._replace(advance=advance)
