"""FoolsGold: workers whose histories resemble each other's count for less."""

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import not_negative, require
from simbyz._arrays.geometry import gram
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.scales import divided, wide
from simbyz._arrays.stacking import Updates, ravel
from simbyz.aggregators.base import StatefulRule, mean_by
from simbyz.aggregators.history.records import Workers, finite_only, kept, of

MOST = 0.99  # of a weight before its logarithm is taken


def foolsgold(confidence: float | jax.Array = 1.0) -> StatefulRule:
    """FoolsGold: a mean in which workers that point the same way over time count for less.

    With H_i the sum of all that worker i sent, this step included, c_ij = cos(H_i, H_j) and v_i =
    max_j≠i c_ij, at least 0: where v_i < v_j, c_ij ← c_ij v_i / v_j, so that who is like a liar by
    chance is pardoned; a_i = 1 - max_j≠i c_ij, within [0, 1], over the largest a; and the weight is
    confidence · (ln(a_i / (1 - a_i)) + 0.5), within [0, 1].

        rule = foolsgold()
        make_simulator(config, task, rule, attack, selection=selection_of(rule.aggregate))

    Args:
      confidence: κ of the paper, 0 or more; may be traced.

    Returns:
      A rule (updates, f, state, workers) with a memory of (n, d). f is checked alone, n >= f + 1:
      any number of liars is borne if they resemble each other more than the honest do, as on data
      that differ; on equal data it is the honest who resemble each other. A row that is not finite
      has weight 0, and leaves no trace. If all weights are 0, all finite rows count alike. A sum
      that is no float is kept as half of itself. What was sent, now and before, changes the weights
      without a derivative.

    Raises:
      ValueError: a confidence that is negative or NaN (if not traced).

    Cost: one n × n × d matrix product and three passes over the stack a step.
    Reference: Fung, Yoon and Beschastnikh, The limitations of federated learning in sybil settings,
      RAID 2020.
    Convention: the paper adds the weighted rows up, programs divide by n; here by the sum of the
      weights. All coordinates are indicative features.
    """
    not_negative("foolsgold", "confidence", confidence)

    def _foolsgold(
        updates: Updates, f: int = 0, *, state: jax.Array, workers: Workers = None
    ) -> Halves:
        stack, unravel = ravel(updates)
        require("foolsgold", len(stack), f, 1, 1)
        rows, finite = finite_only(wide(stack))
        histories = jax.lax.stop_gradient(_longer(of(workers, state), rows))
        weights = _weights(histories, confidence) * finite
        weights = jnp.where(jnp.any(weights > 0), weights, finite)
        total = jnp.sum(weights)
        total = jnp.where(total > 0, total, 1)
        return mean_by(weights, total, stack, unravel)

    def learn(
        state: jax.Array, stack: jax.Array, aggregate: jax.Array, *, workers: Workers = None
    ) -> jax.Array:
        return kept(workers, state, _longer(of(workers, state), finite_only(wide(stack))[0]))

    def start(zeros: jax.Array, *, n: int) -> jax.Array:
        return jnp.zeros((n, zeros.size), wide(zeros).dtype)

    return StatefulRule(halves(_foolsgold)[0], start, learn)


def _longer(histories: jax.Array, rows: jax.Array) -> jax.Array:
    """Histories with these rows; half of one that would be no float, as its direction counts."""
    longer = histories + rows
    whole = jnp.all(jnp.isfinite(longer), axis=1, keepdims=True)
    return jnp.where(whole, longer, histories / 2 + rows / 2)


def _weights(histories: jax.Array, confidence: float | jax.Array) -> jax.Array:
    largest = jnp.max(jnp.abs(histories), axis=1, keepdims=True)
    units = divided(histories, jnp.where(largest > 0, largest, 1))
    norms = jnp.sqrt(jnp.sum(jnp.square(units), axis=1, keepdims=True))
    similar = gram(units / jnp.where(norms > 0, norms, 1))
    similar = jnp.where(jnp.eye(len(similar), dtype=bool), 0, similar)
    most = jnp.max(similar, axis=1)
    ratios = most[:, None] / jnp.where(most > 0, most, 1)[None, :]
    similar = similar * jnp.where(most[:, None] < most[None, :], ratios, 1)
    apart = jnp.clip(1 - jnp.max(similar, axis=1), 0, 1)
    apart = apart / jnp.where(jnp.any(apart > 0), jnp.max(apart), 1)
    apart = jnp.where(apart == 1, MOST, apart)
    # The logarithm of 0 is -inf, which is 0 of a weight, but of its derivative by confidence NaN.
    known = jnp.where(apart > 0, apart, MOST)
    logits = jnp.log(known / (1 - known)) + 0.5
    return jnp.where(apart > 0, jnp.clip(confidence * logits, 0, 1), 0)
