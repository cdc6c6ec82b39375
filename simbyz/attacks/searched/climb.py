"""Climbing: starts along rays from the honest mean, and ascent from them by gradient and chance.

A *gain* is what rows (b, d) are worth to the attacker: (1,), or (d,) where each coordinate is
climbed on its own. All that compares, steps and keeps below broadcasts over either.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays import moments
from simbyz._arrays.geometry import full_product, gram
from simbyz._arrays.scales import length_of, unit, unit_where_unusual

Gain = Callable[[jax.Array], jax.Array]

# On each ray: from well inside the honest cloud to well outside, and out of sight; closer together
# where each coordinate takes its own, which is all that its start can choose.
FACTORS = (*(2 ** (k / 4) for k in range(-8, 17)), 2.0**15)
OWN_FACTORS = (*(2 ** (k / 12) for k in range(-24, 49)), 2.0**15)
NEIGHBOURS = (1, 2, 3, 5, 8)
PROPOSALS = 8


class Start(NamedTuple):
    rows: jax.Array  # (b, d)
    gain: jax.Array  # (1,) or (d,)


Climbed = tuple[Start, jax.Array]  # the best rows, and how far a step goes or what was better


def rays(honest: jax.Array, deviation: jax.Array, own_coordinates: bool) -> jax.Array:
    """Directions (r, d), each as long as the deviation: ± the deviation, against the mean, and
    unless each coordinate is climbed on its own, from the mean towards each honest row and the
    middle of its nearest, and away from each honest row.

    A row's distances to the honest bound how far out a rule that chooses rows still takes it. A few
    honest rows near the ray shorten some of them, and that is enough.
    """
    mean = moments.sure_mean(honest)
    centered = honest - mean[None]
    size = length_of(deviation)
    found = [deviation[None], -deviation[None], (-size * unit(mean))[None]]
    if not own_coordinates:
        inner = gram(centered * unit_where_unusual(centered))
        squares = jnp.diagonal(inner)
        nearest = jnp.argsort(squares[:, None] + squares[None] - 2 * inner, axis=1)
        counts = [count for count in NEIGHBOURS if count < len(honest)]
        middles = [jnp.mean(centered[nearest[:, :count]], axis=1) for count in counts]
        towards = jnp.concatenate([*middles, -centered])
        found.append(size * jax.vmap(unit)(towards))
    return jnp.concatenate(found)


def farthest_on_rays(
    gain: Gain, mean: jax.Array, directions: jax.Array, num_byzantine: int
) -> Start:
    """The best point of each ray, all attackers at it: leaves (r, ...)."""
    alone = jax.eval_shape(gain, jnp.zeros((num_byzantine, *mean.shape), mean.dtype)).size == 1
    factors = jnp.asarray(FACTORS if alone else OWN_FACTORS, mean.dtype)

    def place(direction: jax.Array, factor: jax.Array) -> jax.Array:
        row = mean + factor * direction
        return jnp.broadcast_to(row, (num_byzantine, *row.shape))

    def on_ray(direction: jax.Array) -> Start:
        gains = jax.lax.map(lambda factor: gain(place(direction, factor)), factors)
        best = jnp.argmax(gains, axis=0)  # (1,) or (d,): a factor, or one a coordinate
        return Start(place(direction, factors[best]), jnp.max(gains, axis=0))

    return jax.lax.map(on_ray, directions)


def climb(
    gain: Gain,
    start: Start,
    honest: jax.Array,
    deviation: jax.Array,
    key: jax.Array,
    iterations: int,
) -> Start:
    """The best rows found from a start.

    A step is: s · (uphill · a + noise). Uphill is the normalised gradient; noise mixes the honest
    rows' deviations, so that it has their covariance; both are as large as the honest deviation.
    a is 1 without noise in the first proposal of an iteration, and uniform in [0, 1.5] in the
    others, of which every other one moves all attackers alike. s grows where a proposal was better
    and shrinks where none was.
    """
    centered = honest - moments.sure_mean(honest)[None]
    b, h = len(start.rows), len(honest)
    whole = start.gain.size == 1
    scale = length_of(deviation)[None] if whole else deviation

    def total(rows: jax.Array) -> jax.Array:
        gains = gain(rows)
        return jnp.sum(jnp.where(jnp.isfinite(gains), gains, 0))

    def uphill(rows: jax.Array) -> jax.Array:
        slope = jax.grad(total)(rows)
        slope = slope * unit_where_unusual(slope)
        square = jnp.sum(jnp.square(slope), axis=None if whole else 0, keepdims=True)
        usable = jnp.isfinite(square) & (square > 0)
        return jnp.where(usable, slope / jnp.sqrt(jnp.where(usable, square, 1)), 0) * jnp.sqrt(b)

    def iteration(state: Climbed, key: jax.Array) -> tuple[Climbed, None]:
        (rows, value), size = state
        slope = uphill(rows) * scale[None]

        def propose(best: Climbed, inputs: tuple[jax.Array, jax.Array]) -> tuple[Climbed, None]:
            (best_rows, best_value), better = best
            i, key = inputs
            mix_key, share_key = jax.random.split(key)
            mix = jax.random.normal(mix_key, (b, h), rows.dtype) / jnp.sqrt(h - 1)
            mix = jnp.where(i % 2 == 1, mix[:1], mix)
            noise = full_product(mix, centered)
            share = jax.random.uniform(share_key, maxval=1.5)
            move = jnp.where(i == 0, slope, share * slope + noise)
            candidate = rows + size[None] * move
            found = gain(candidate)
            up = found > best_value
            kept = Start(
                jnp.where(up[None], candidate, best_rows), jnp.where(up, found, best_value)
            )
            return (kept, better | up), None

        keys = jax.random.split(key, PROPOSALS)
        (best, better), _ = jax.lax.scan(
            propose, (Start(rows, value), value != value), (jnp.arange(PROPOSALS), keys)
        )
        size = jnp.clip(size * jnp.where(better, 1.4, 0.9), 1e-4, 2)
        return (best, size), None

    size = jnp.full_like(start.gain, 0.3)
    (best, _), _ = jax.lax.scan(iteration, (start, size), jax.random.split(key, iterations))
    return best
