"""The search: many climbers side by side, each a configuration of all n rows that only gets worse.

A rule that treats workers alike has its worst honest set S anywhere, so the first n - f rows are
taken as S and the last f as the Byzantine ones, and all n rows are free. Nothing changes if all
rows are moved or scaled together: the honest ones are kept at mean 0 and mean squared norm 1.

Rules are piecewise smooth, and what is worst sits on edges, where ties decide whom a rule takes. So
a step is made of a gradient, of noise on some of the rows, or of a jump of a row onto another one;
it is kept where it makes the coefficient larger. All in float64, so that no rounding makes a worst
case.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from simbyz.simulator.certificates import realised_coefficient

Rule = Callable[[jax.Array, int], jax.Array]  # ((n, d), f) -> (d,)

PROPOSALS = 8
# Byzantine rows no farther than this from the honest mean, in units of the honest deviation: where
# the coefficient grows with it, the rule has none.
REACH = 1e3
STARTS = ("minority", "clusters", "spread", "far")


class Found(NamedTuple):
    """The worst configuration of some climbers."""

    coefficient: float
    rows: np.ndarray  # (n, d), the n - f honest ones first, at mean 0 and mean squared norm 1
    start: str  # the kind of the start it was climbed from
    history: np.ndarray  # (iterations + 1,) largest coefficient by then


def normalised(rows: jax.Array, f: int) -> jax.Array:
    """Rows (n, d) moved and scaled until the first n - f have mean 0 and mean squared norm 1; the
    others pulled to within `REACH`. Not finite where the honest rows all agree.
    """
    honest = rows[: len(rows) - f]
    rows = rows - jnp.mean(honest, axis=0)[None]
    honest = rows[: len(rows) - f]
    rows = rows / jnp.sqrt(jnp.mean(jnp.sum(jnp.square(honest), axis=1)))
    norms = jnp.sqrt(jnp.sum(jnp.square(rows), axis=1, keepdims=True))
    return rows * jnp.minimum(1, REACH / jnp.maximum(norms, 1))


def coefficient(rule: Rule, rows: jax.Array, f: int) -> jax.Array:
    """The rule's coefficient of normalised rows; -1, which no climb keeps, where
    that is not finite or the honest rows agree.

    Against the rows' own mean, which is 0 but for rounding: a climb finds that. Likewise rows that
    agree have the spread of their mean's rounding, which is scaled up to 1; their own is 0.
    """
    honest = rows[: len(rows) - f]
    value = realised_coefficient(rule(rows, f), honest)
    spread = jnp.mean(jnp.sum(jnp.square(honest - honest[:1]), axis=1))  # 1 or more, or tiny
    return jnp.where(jnp.isfinite(value) & (spread > 0.5), value, -1.0)


def start(key: jax.Array, kind: jax.Array, n: int, f: int, d: int) -> jax.Array:
    """A configuration (n, d) of a kind, by its number in `STARTS`.

    minority: f honest rows at one place, all others at another, the case that the floor f/(n - 2f)
    is proved with. clusters: all rows at a few places. spread: normal. far: normal, the Byzantine
    ones three deviations out in one direction.
    """
    keys = jax.random.split(key, 4)
    noise = jax.random.normal(keys[0], (n, d))
    one = jnp.zeros(d).at[0].set(1.0)
    minority = (jnp.arange(n) < f)[:, None] * one[None] + 1e-3 * noise
    places = jax.random.normal(keys[1], (3, d))
    clusters = places[jax.random.randint(keys[2], (n,), 0, 3)] + 1e-2 * noise
    far = noise + 3 * (jnp.arange(n) >= n - f)[:, None] * one[None]
    return jnp.stack([minority, clusters, noise, far])[kind]


def climb(rule: Rule, rows: jax.Array, f: int, key: jax.Array, iterations: int):
    """The configuration (n, d) reached from normalised rows, and (iterations + 1,) coefficients."""
    n, d = rows.shape

    def value_of(rows: jax.Array) -> jax.Array:
        return coefficient(rule, normalised(rows, f), f)

    def uphill(rows: jax.Array) -> jax.Array:
        slope = jax.grad(value_of)(rows)
        norm = jnp.sqrt(jnp.sum(jnp.square(slope)))
        usable = jnp.isfinite(norm) & (norm > 0)
        return jnp.where(usable, slope / jnp.where(usable, norm, 1), 0) * jnp.sqrt(n)

    def propose(rows: jax.Array, slope: jax.Array, size: jax.Array, i: jax.Array, key: jax.Array):
        keys = jax.random.split(key, 5)
        share = jnp.where(i == 0, 1.0, jax.random.uniform(keys[0], maxval=1.5))
        moved = jax.random.bernoulli(keys[1], 0.5, (n, 1)) & (i > 0)
        noise = jax.random.normal(keys[2], (n, d)) / jnp.sqrt(d)
        stepped = rows + size * (share * slope + moved * noise)
        # Every fourth puts a row onto another one, or near it.
        whose, onto = jax.random.randint(keys[3], (2,), 0, n)
        near = jnp.where(i % 8 == 3, 0.0, size) * jax.random.normal(keys[4], (d,)) / jnp.sqrt(d)
        jumped = rows.at[whose].set(rows[onto] + near)
        return normalised(jnp.where(i % 4 == 3, jumped, stepped), f)

    def iteration(state, key: jax.Array):
        rows, value, size = state
        slope = uphill(rows)
        keys = jax.random.split(key, PROPOSALS)
        candidates = jax.vmap(propose, in_axes=(None, None, None, 0, 0))(
            rows, slope, size, jnp.arange(PROPOSALS), keys
        )
        values = jax.vmap(lambda rows: coefficient(rule, rows, f))(candidates)
        best = jnp.argmax(values)
        better = values[best] > value
        rows = jnp.where(better, candidates[best], rows)
        value = jnp.maximum(values[best], value)
        size = jnp.clip(size * jnp.where(better, 1.5, 0.85), 1e-7, 2.0)
        return (rows, value, size), value

    first = coefficient(rule, rows, f)
    (rows, _, _), values = jax.lax.scan(
        iteration, (rows, first, jnp.full((), 0.3)), jax.random.split(key, iterations)
    )
    return rows, jnp.concatenate([first[None], values])


@functools.cache
def starts(n: int, f: int, d: int) -> Callable:
    """(keys, kinds of starts) -> where each climber begins; apart from the climb, so that what
    draws them is compiled once for all rules.
    """
    return jax.jit(jax.vmap(lambda key, kind: normalised(start(key, kind, n, f, d), f)))


@functools.cache
def program(rule: Rule, f: int, iterations: int) -> Callable:
    """(rows, keys) -> what each climber reaches, and its coefficients; one for all seeds."""
    return jax.jit(jax.vmap(lambda rows, key: climb(rule, rows, f, key, iterations)))


def search(
    rule: Rule, n: int, f: int, d: int, *, restarts: int, iterations: int, seed: int
) -> Found:
    """The worst that `restarts` climbers find, of all kinds of starts in turn.

    Raises:
      ValueError: whatever the rule refuses.
    """
    with jax.enable_x64(True):
        kinds = jnp.arange(restarts) % len(STARTS)
        keys = jax.vmap(jax.random.split)(jax.random.split(jax.random.key(seed), restarts))
        rows = starts(n, f, d)(keys[:, 0], kinds)
        rows, values = program(rule, f, iterations)(rows, keys[:, 1])
        rows, values = np.asarray(rows), np.asarray(values)
    best = int(np.argmax(values[:, -1]))
    return Found(
        coefficient=float(values[best, -1]),
        rows=rows[best],
        start=STARTS[best % len(STARTS)],
        history=values.max(axis=0),
    )
