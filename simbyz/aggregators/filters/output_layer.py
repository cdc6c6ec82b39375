"""A rule that looks for mislabelled data in what a model's output neurons learn.

Non-finite values: a row that is not finite, or (in float32) some 1e19 times as long as the middle
one, is in no cluster and is never averaged.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import needs_at_least, require, require_callable
from simbyz._arrays.geometry import full_product, gram
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.lengths import lengths_to, safe_sqrt
from simbyz._arrays.moments import weighted_mean
from simbyz._arrays.ranks.many_rows import sum_of
from simbyz._arrays.scales import wide
from simbyz._arrays.stacking import PyTree, Updates, ravel

__all__ = ["lfighter", "lfighter_selection"]


def _lfighter(
    updates: Updates,
    f: int,
    *,
    neurons: Callable[[PyTree], jax.Array] | None = None,
    iterations: int = 10,
) -> Halves:
    """The mean of one of two clusters of rows, told apart by the two output neurons that move most.

    Of the c output neurons, those two are taken whose vectors are longest, summed over the workers:
    where labels are flipped, the source's and the target's. By these, the rows are split in two by
    k-means. The cluster C of the larger dissimilarity

        (|C| / m) (1 - (1 / |C|) Σ_{i in C} min(0, min_{j in C} cos(z_i, z_j)))

    is averaged, m rows being finite, and z_i the two vectors of row i: attackers with one aim are
    alike, and few.

    Args:
      neurons: updates -> (n, c, k), what each worker sends for the k weights of each of the c
        output neurons. In a run, where updates are rows:
        `lambda rows: jax.vmap(unravel)(rows)["output"]["kernel"].swapaxes(1, 2)`. None: each
        coordinate is a neuron.
      iterations: of k-means, from the two rows farthest apart; at least 1.

    Returns:
      The aggregate; zeros if no row is finite. The choice carries no derivative. Rows that are not
      finite are left out before; no length is bounded, and f is checked, but not used.

    Raises:
      ValueError: n < 2f + 1, iterations < 1, or neurons of another shape.
      TypeError: neurons that are no function.

    Weights: 1/m for each of m rows of the cluster.
    Cost: one pass over the stack, and of the two neurons an n × n matrix.
    Reference: Jebreel, Domingo-Ferrer, Sánchez and Blanco-Justicia, LFighter: defending against
      label-flipping attacks in federated learning, Neural Networks, 2024.
    Convention: the authors' program starts k-means at random and adds the biases' sizes to the
      neurons' lengths; with at most two classes it clusters by both, as here. Its cosine of a row
      with itself is 0, hence the min with 0.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    require("lfighter", n, f, 2, 1)
    iterations = needs_at_least("lfighter", "iterations", iterations, 1)
    if neurons is None:
        vectors = stack[:, :, None]
    else:
        require_callable("neurons", neurons, "lambda rows: rows.reshape(n, classes, -1)")
        vectors = jnp.asarray(neurons(updates))
        if vectors.ndim != 3 or len(vectors) != n or vectors.size == 0:
            raise ValueError(
                f"lfighter needs neurons of shape (n, c, k), n={n}, got shape {vectors.shape}"
            )
    chosen = jax.lax.stop_gradient(_good(stack, vectors, iterations))
    count = jnp.maximum(jnp.sum(chosen), 1)
    used = chosen.astype(jnp.promote_types(stack.dtype, jnp.float32))
    return Halves(
        lambda: unravel(weighted_mean(stack, used, count).astype(stack.dtype)),
        lambda: chosen / count,
    )


lfighter, lfighter_selection = halves(_lfighter)


def _good(stack: jax.Array, vectors: jax.Array, iterations: int) -> jax.Array:
    """Which rows are in the cluster that is averaged, (n,)."""
    lengths = lengths_to(None, stack)
    vectors = jnp.where(lengths.finite[:, None, None], wide(vectors) * lengths.unit, 0)
    moved = sum_of(lambda row: safe_sqrt(jnp.sum(jnp.square(row), axis=1)), vectors)
    most = jnp.argmax(moved)
    second = jnp.argmax(moved.at[most].set(-1))
    # Of a single one nothing else is the second.
    two = jnp.stack([most, second])[: len(moved)]
    points = vectors[:, two].reshape(len(stack), -1)
    inner = gram(points)
    squares = jnp.diagonal(inner)
    first = _two_means(inner, lengths.finite, iterations)
    roots = safe_sqrt(squares)
    cosines = inner / roots[:, None] / roots[None, :]

    def dissimilarity(members: jax.Array) -> jax.Array:
        """Times m."""
        among = jnp.where(members[None, :] & ~jnp.eye(len(stack), dtype=bool), cosines, 0)
        return jnp.sum(jnp.where(members, 1 - jnp.minimum(jnp.min(among, axis=1), 0), 0))

    second = lengths.finite & ~first
    return jnp.where(dissimilarity(second) > dissimilarity(first), second, first)


def _two_means(inner: jax.Array, valid: jax.Array, iterations: int) -> jax.Array:
    """Which of the valid points are in the first of two clusters by k-means, (n,), from inner
    products (n, n): it starts from the two points farthest apart.
    """
    n = len(inner)
    squares = jnp.diagonal(inner)
    apart = squares[:, None] + squares[None, :] - 2 * inner
    pairs = jnp.where(valid[:, None] & valid[None, :], apart, -1)
    i, j = jnp.divmod(jnp.argmax(pairs), n)

    def nearer(_: jax.Array, first: jax.Array) -> jax.Array:
        """Those nearer to the first mean: of ||x - mean||² what differs between two means."""
        weights = jnp.stack([first, valid & ~first]).astype(inner.dtype)
        weights = weights / jnp.maximum(jnp.sum(weights, axis=1, keepdims=True), 1)
        along = full_product(weights, inner)
        own = jnp.sum(along * weights, axis=1)
        to = own[:, None] - 2 * along
        return valid & (to[0] <= to[1])

    start = valid & (apart[i] <= apart[j])
    return jax.lax.fori_loop(0, iterations, nearer, start)
