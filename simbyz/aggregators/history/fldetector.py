"""FLDetector: who sends something else than his last vector predicts is found out."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import needs_at_least
from simbyz._arrays.geometry import full_product
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.scales import unit_where_unusual, wide
from simbyz._arrays.stacking import Updates
from simbyz.aggregators.base import StatefulRule
from simbyz.aggregators.history.records import finite_only, mean_of_good


class Trail(NamedTuple):
    """What was sent and made of it, and where the parameters were; the newest last."""

    rows: jax.Array  # (n, d) last
    aggregate: jax.Array  # (d,) last
    parameters: jax.Array  # (d,) last
    moves: jax.Array  # (window, d) of the parameters
    turns: jax.Array  # (window, d) of the aggregates
    misses: jax.Array  # (window, n) each row's share of the distances from what was predicted
    found: jax.Array  # (n,) booleans
    step: jax.Array  # ()


def fldetector(window: int = 10, *, references: int = 20) -> StatefulRule:
    """FLDetector: the mean, without those whose vectors are unlike what their last one predicts.

    Predicted of worker i is its last vector + H (θ - last θ), with H the L-BFGS approximation of
    the Hessian from the last `window` moves of θ and turns of the aggregate. Its score is the mean
    over `window` steps of its distance from that, each step's distances made to add up to 1. Once
    the gap statistic says that the scores are not one cluster, those of the upper one of two, by
    2-means, are left out for good.

        rule = fldetector()
        make_simulator(config, task, rule, attack, selection=selection_of(rule.aggregate))

    Args:
      window: steps, at least 1. Nobody is found before step 2 · window.
      references: uniform samples that the gap statistic compares with, at least 2.

    Returns:
      A rule (updates, f, state) with a memory of (n + 2 · window, d). f is checked alone, n >= 2f +
      1. Who is found in a step is left out from the next one on. Where liars are easier to predict
      than the honest, as minus the honest mean is, it is the honest that it finds. A row that is
      not finite counts as zeros in a score, and has weight 0. All workers have to take part in each
      step.

    Raises:
      TypeError: the window or the references are no ints.
      ValueError: a window below 1, references below 2. When called: n < 2f + 1, a single worker, or
        fewer rows than workers.

    Cost: two (window × d) products with their like and three passes over the stack a step.
    Reference: Zhang et al., FLDetector: defending federated learning against model poisoning
      attacks via detecting malicious clients, KDD 2022; L-BFGS as its program has it.
    Convention: the paper starts training anew without whom it found; here it goes on. The gap
      statistic is Tibshirani's for one cluster against two, with squared distances.
    """
    needs_at_least("fldetector", "window", window, 1)
    needs_at_least("fldetector", "references", references, 2)

    def _fldetector(updates: Updates, f: int = 0, *, state: Trail) -> Halves:
        return mean_of_good("fldetector", updates, f, ~state.found)

    def learn(
        state: Trail,
        stack: jax.Array,
        aggregate: jax.Array,
        *,
        key: jax.Array,
        parameters: jax.Array,
    ) -> Trail:
        rows, _ = finite_only(wide(stack))
        aggregate, parameters = wide(aggregate), wide(parameters)
        move, turn = parameters - state.parameters, aggregate - state.aggregate
        turned = hessian_product(state.moves, state.turns, move)
        # In a unit in which all have squares: a row of 1e20 would make every share NaN.
        unit = unit_where_unusual(jnp.concatenate([state.rows, rows, turned[None]]))
        predicted = state.rows * unit + (turned * unit)[None]
        distances = jnp.linalg.norm(predicted - rows * unit, axis=1)
        total = jnp.sum(distances)
        misses = _pushed(state.misses, distances / jnp.where(total > 0, total, 1))
        scores = jnp.mean(misses, axis=0)
        late = state.step >= 2 * window
        now = late & ~jnp.any(state.found) & (gap(key, scores, references) > 0)
        return Trail(
            rows=rows,
            aggregate=aggregate,
            parameters=parameters,
            # Of the first step there is no move, nor a turn.
            moves=jnp.where(state.step > 0, _pushed(state.moves, move), state.moves),
            turns=jnp.where(state.step > 0, _pushed(state.turns, turn), state.turns),
            misses=misses,
            found=state.found | (now & (scores >= _split(scores)[1])),
            step=state.step + 1,
        )

    def start(zeros: jax.Array, *, n: int) -> Trail:
        if n < 2:
            raise ValueError(f"fldetector compares workers with each other, at least 2, got n={n}")
        zeros = wide(zeros)
        rows = jnp.zeros((n, zeros.size), zeros.dtype)
        pairs = jnp.zeros((window, zeros.size), zeros.dtype)
        misses = jnp.zeros((window, n), zeros.dtype)
        found = jnp.zeros(n, bool)
        return Trail(rows, zeros, zeros, pairs, pairs, misses, found, jnp.int32(0))

    return StatefulRule(halves(_fldetector)[0], start, learn)


def hessian_product(moves: jax.Array, turns: jax.Array, vector: jax.Array) -> jax.Array:
    """B v (d,) of the L-BFGS matrix B of these moves and turns (w, d), the oldest first, in its
    compact form; 0 where they determine none.
    """
    # Of moves in one unit and turns in another, B v is in that of the turns.
    unit_of_moves = unit_where_unusual(jnp.concatenate([moves, vector[None]]))
    unit_of_turns = unit_where_unusual(turns)
    moves, turns = moves * unit_of_moves, turns * unit_of_turns
    vector = vector * unit_of_moves

    products = full_product(moves, turns.T)
    scale = full_product(turns[-1], moves[-1]) / full_product(moves[-1], moves[-1])
    lower = jnp.tril(products, -1)
    matrix = jnp.block(
        [
            [scale * full_product(moves, moves.T), lower],
            [lower.T, -jnp.diag(jnp.diagonal(products))],
        ]
    )
    both = jnp.concatenate([scale * moves, turns])
    result = scale * vector - full_product(
        jnp.linalg.solve(matrix, full_product(both, vector)), both
    )
    result = result / unit_of_turns
    return jnp.where(jnp.all(jnp.isfinite(result)), result, 0)


def gap(key: jax.Array, values: jax.Array, references: int) -> jax.Array:
    """The gap statistic of values (n,): positive where they are two clusters and not one.

    gap(2) - s_2 - gap(1), with gap(k) = E log W*_k - log W_k, W the squares within k clusters, W*
    those of uniform samples, and s_2 = √(1 + 1 / references) times the deviation of log W*_2.
    """
    low, high = jnp.min(values), jnp.max(values)
    spread = jnp.where(high > low, high - low, 1)
    drawn = jax.random.uniform(key, (references, len(values)), values.dtype)

    def logarithms(values: jax.Array) -> jax.Array:
        return jnp.log(jnp.stack([jnp.var(values) * len(values), _split(values)[0]]))

    ours = logarithms((values - low) / spread)
    theirs = jax.vmap(logarithms)(drawn)
    gaps = jnp.mean(theirs, axis=0) - ours
    slack = jnp.std(theirs[:, 1]) * jnp.sqrt(1 + 1 / references)
    return jnp.where(high > low, gaps[1] - slack - gaps[0], -jnp.inf)


def _split(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """By 2-means of values (n,), exactly: the sum of squares within, and the least of the upper."""
    ordered = jnp.sort(values)
    below = jnp.arange(len(values))[None, :] < jnp.arange(1, len(values))[:, None]

    def within(chosen: jax.Array) -> jax.Array:
        mean = jnp.mean(jnp.broadcast_to(ordered, chosen.shape), axis=1, where=chosen)
        squares = jnp.square(ordered[None] - mean[:, None])
        return jnp.sum(squares, axis=1, where=chosen)

    sums = within(below) + within(~below)
    best = jnp.argmin(sums)
    return sums[best], ordered[best + 1]


def _pushed(records: jax.Array, newest: jax.Array) -> jax.Array:
    return jnp.concatenate([records[1:], newest[None]])
