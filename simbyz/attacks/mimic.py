"""Mimic: all attackers send what one honest worker sends.

Nothing that is sent is false, yet one worker counts num_byzantine + 1 times: under heterogeneous
data its own view outweighs the others'. Which worker is fixed, or learned in a warm-up.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays import moments
from simbyz._arrays.checks import at_least, integer, number, random_key, reached
from simbyz._arrays.geometry import full_product
from simbyz._arrays.scales import unit_where_unusual, wide
from simbyz._arrays.stacking import Byzantine, Honest, PyTree, ravel
from simbyz.attacks.base import StatefulAttack
from simbyz.attacks.rows import repeat


def mimic(key: jax.Array, honest: Honest, num_byzantine: int, *, worker: int = 0) -> Byzantine:
    """A copy of one honest row, always the same one.

    Args:
      worker: the row copied, from 0.

    Returns:
      Equal rows.

    Raises:
      ValueError: no such row.

    Reference: Karimireddy et al., Byzantine-robust learning on heterogeneous datasets via
      bucketing, ICLR 2022.
    """
    del key
    stack, unravel = ravel(honest)
    worker = integer("worker", worker)
    if not 0 <= worker < len(stack):
        raise ValueError(f"worker must be from 0 to h - 1 = {len(stack) - 1}, got {worker}")
    return unravel(repeat(stack[worker], num_byzantine))


class MimicState(NamedTuple):
    """Memory of `learned_mimic`."""

    step: jax.Array  # steps seen
    mean: jax.Array  # (d,) mean of the honest means
    direction: jax.Array  # (d,) unit vector, estimate of where the honest rows vary most
    worker: jax.Array  # the row to copy


def start_mimic(key: jax.Array, dimension: int) -> MimicState:
    """Nothing learned yet: a direction drawn at random.

    Args:
      key: of the draw.
      dimension: d, coordinates of a row.
    """
    random_key("start_mimic", key)
    dimension = at_least("dimension", dimension, 1)
    direction = jax.random.normal(key, (dimension,))
    return MimicState(
        step=jnp.zeros((), jnp.int32),
        mean=jnp.zeros(dimension),
        direction=direction / jnp.linalg.norm(direction),
        worker=jnp.zeros((), jnp.int32),
    )


def learned_mimic(
    key: jax.Array,
    honest: PyTree,
    num_byzantine: int,
    state: MimicState,
    *,
    warmup: int | jax.Array,
) -> tuple[PyTree, MimicState]:
    """A copy of the honest row that lies farthest out where the honest rows vary most.

    In each step t < warmup: mean ← (t · mean + honest mean) / (t + 1); with c = Σ_i (x_i - mean)
    <x_i - mean, direction>, direction ← the unit vector along t · direction + c / ||c||, a step of
    power iteration; worker ← argmax_i |<direction, x_i>|. Afterwards the worker stays.

    Args:
      state: of the step before; `start_mimic` before the first.
      warmup: steps that are learned from, at least 1; may be traced.

    Returns:
      Equal rows. The state for the next step.

    Cost: two passes over the rows in a step, also after the warm-up.
    Reference: Karimireddy et al., Byzantine-robust learning on heterogeneous datasets via
      bucketing, ICLR 2022.
    Convention: the authors' program takes the largest <direction, x_i> with its sign, which depends
      on the sign of the first draw.
    """
    del key
    stack, unravel = ravel(honest)
    rows = wide(stack)
    t = state.step.astype(rows.dtype)
    warmup = reached("warmup", warmup) if isinstance(warmup, int) else warmup
    mean = (t * state.mean + moments.sure_mean(rows)) / (t + 1)
    offsets = rows - mean[None]
    along = full_product(offsets, state.direction)
    along = along * unit_where_unusual(along)  # what matters is the direction of the sum
    varied = full_product(along, offsets)
    direction = _unit_or(t * state.direction + _unit_or(varied, state.direction), state.direction)
    reach = jnp.abs(full_product(rows, direction))
    learned = MimicState(state.step, mean, direction, jnp.argmax(reach).astype(jnp.int32))
    state = jax.tree.map(lambda new, old: jnp.where(t < warmup, new, old), learned, state)
    sent = unravel(repeat(stack[state.worker], num_byzantine))
    return sent, state._replace(step=state.step + 1)


def _unit_or(vector: jax.Array, instead: jax.Array) -> jax.Array:
    """A vector divided by its norm, or another where it is zero."""
    vector = vector * unit_where_unusual(vector)
    norm = jnp.linalg.norm(vector)
    return jnp.where(norm > 0, vector / jnp.where(norm > 0, norm, 1), instead)


def mimicking(*, warmup: int, key: jax.Array | None = None) -> StatefulAttack:
    """`learned_mimic` for the simulator, which carries its state.

    Rows are numbered as the honest workers are in a step: with identities redrawn, a number names
    another worker each time.

    Args:
      warmup: steps that are learned from, at least 1.
      key: of the first direction; the same one in all runs if None.

    Raises:
      TypeError: a key that is none.
      ValueError: warmup below 1 (if not traced).
    """
    number("warmup", warmup, "at least 1", lambda one: one >= 1)
    key = jax.random.key(0) if key is None else key
    random_key("mimicking", key)
    return StatefulAttack(
        start=functools.partial(start_mimic, key),
        send=functools.partial(learned_mimic, warmup=warmup),
    )
