"""Attacks in time: some steps only, and workers that send on what they got.

They are made for the simulator, which carries their memory.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import at_least, integer, number, reached
from simbyz._arrays.stacking import PyTree
from simbyz.attacks.base import Attack, StatefulAttack, check, with_memory


def intermittent(
    attack: Attack | StatefulAttack, period: int, active: int, *, first: int = 0
) -> StatefulAttack:
    """An attack in the first `active` of each `period` steps, from step `first` on. In the others
    the Byzantine workers send what honest ones do: row i is honest row i, from the start again
    where there are more, or what they computed where nobody is honest. An attack with a memory
    learns in all steps.

    Args:
      attack: on (h, d) arrays.
      period, active: 0 <= active <= period, period at least 1.
      first: at least 0.

    Raises:
      TypeError: the attack is no function, or the others are no ints.
      ValueError: an int out of its range.
    """
    check(attack)
    inner = with_memory(attack)
    if integer("period", period) < 1 or not 0 <= integer("active", active) <= period:
        raise ValueError(f"0 <= active <= period is needed, got period={period}, active={active}")
    period, active = reached("period", period), reached("active", active)
    first = reached("first", at_least("first", first, 0))

    def start(dimension: int) -> tuple[jax.Array, PyTree]:
        return jnp.int32(0), inner.start(dimension)

    @functools.wraps(inner.send)
    def send(
        key: jax.Array,
        honest: jax.Array,
        num_byzantine: int,
        state: tuple[jax.Array, PyTree],
        **options: Any,
    ) -> tuple[jax.Array, tuple[jax.Array, PyTree]]:
        step, memory = state
        rows, memory = inner.send(key, honest, num_byzantine, memory, **options)
        now = (step >= first) & ((step - first) % period < active)
        copied = jnp.arange(num_byzantine) % max(len(honest), 1)
        disguise = honest[copied] if len(honest) else options["own"]
        return jnp.where(now, rows, disguise), (step, memory)

    def learn(state: tuple[jax.Array, PyTree], aggregate: jax.Array) -> tuple[jax.Array, PyTree]:
        step, memory = state
        return step + 1, inner.learn(memory, aggregate)

    return StatefulAttack(start, send, learn, inner.forges)


def free_riding(noise: float | jax.Array = 0.0) -> StatefulAttack:
    """Workers that compute nothing, and send the last aggregate back, 0 in the first step, with
    Gaussian noise of this deviation in each coordinate as a disguise.

    Raises:
      ValueError: noise is negative or NaN.

    Reference: Lin, Du and Liu, Free-riders in federated learning: attacks and defenses, 2019, whose
      disguised free riders add noise; not copied from their program.
    """
    number("noise", noise, "at least 0", lambda one: one >= 0)

    def send(
        key: jax.Array, honest: jax.Array, num_byzantine: int, last: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        drawn = jax.random.normal(key, (num_byzantine, honest.shape[1]), honest.dtype)
        return (last[None] + noise * drawn).astype(honest.dtype), last

    send.__name__ = "free_riding"
    return StatefulAttack(jnp.zeros, send, lambda last, aggregate: aggregate.astype(last.dtype))
