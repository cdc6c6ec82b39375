"""The subset of rows with the smallest top eigenvalue of its covariance, by branch and bound.

Write λ(S) for the top eigenvalue of Σ_{i in S} (x_i - x̄_S)(x_i - x̄_S)ᵀ, with the mean x̄_S. It
does not decrease when S gets another row, so a set that is too spread already need not be
completed.

With D the squared distances, λ(S) < t just if zᵀ(t I + D_S / 2) z > 0 for all z ≠ 0 of sum zero
(D_S being the rows and columns in S), for there zᵀD z = -2 |Σ z_i x_i|². Such z are spanned by the
differences to one row b of S: the matrix H_jk = (t I + D / 2)_jk - D_jb / 2 - D_kb / 2 + t of the
others has to be positive definite. It is, just if Gaussian elimination meets no pivot <= 0; and
having eliminated the rows included so far, what is left of H tells at once which other rows can
still be included (H_jj > 0), and which only one without the other (H_jk² >= H_jj H_kk).
"""

import functools

import jax
import jax.numpy as jnp

from simbyz._arrays.chunks import first_carry


def subset_of_smallest_top_eigenvalue(distances: jax.Array, size: int) -> jax.Array:
    """The `size` rows whose scatter about their mean has the smallest top eigenvalue.

    Args:
      distances: squared, (n, n), symmetric, zero on the diagonal; may be inf.
      size: rows wanted, from 1 to n.

    Returns:
      (n,) booleans. Eigenvalues within n machine epsilons of each other count as equal; which of
      equal subsets is taken is not specified.
    """
    n = len(distances)
    precision = n * jnp.finfo(distances.dtype).eps
    # Rows in one place stand for each other.
    same = distances == 0
    State = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]

    def unfinished(state: State) -> jax.Array:
        return state[2] > 0

    def improve(state: State) -> State:
        included, alive, num_left, best, value = state
        matrices = jax.vmap(lambda rows: _eliminated(distances, rows, value * (1 - precision)))(
            included
        )
        included, alive, num_left, found, rows = _search(
            matrices, included, alive, num_left, same, size
        )
        new = jnp.where(found, top_eigenvalue(distances, rows), jnp.inf)
        # Not smaller by rounding alone: the search has passed it and goes on.
        better = new < value
        return included, alive, num_left, jnp.where(better, rows, best), jnp.minimum(new, value)

    # The first row of a subset is one of the first n - size + 1; the last entry is on top.
    ids = jnp.arange(n)
    first = jnp.arange(n - size, -1, -1)
    depth = n + len(first) + 1
    included = jnp.zeros((depth, n), dtype=bool).at[: len(first)].set(first[:, None] == ids[None])
    before = jax.vmap(lambda row: jnp.any(same & (ids < row)[:, None], axis=0))(first)
    alive = jnp.zeros((depth, n), dtype=bool).at[: len(first)].set(~before)
    best = _filtered(distances, size)
    start = (included, alive, jnp.asarray(len(first)), best, top_eigenvalue(distances, best))
    return jax.lax.while_loop(unfinished, improve, first_carry(start, distances))[3]


def top_eigenvalue(distances: jax.Array, rows: jax.Array) -> jax.Array:
    """λ of the rows of which a boolean is given; inf if two are infinitely far from each other."""
    gram, finite = _centered_gram(distances, rows)
    return jnp.where(finite, jnp.linalg.eigvalsh(gram)[-1], jnp.inf)


def _centered_gram(distances: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The inner products of some rows minus their mean, 0 for other rows; and if all are finite."""
    pairs = rows[:, None] & rows[None, :]
    finite = jnp.isfinite(distances)
    inside = jnp.where(pairs & finite, distances, 0)
    means = jnp.sum(inside, axis=1) / jnp.sum(rows)
    mean = jnp.sum(means) / jnp.sum(rows)
    gram = (means[:, None] + means[None, :] - inside - mean) / 2
    return jnp.where(pairs, gram, 0), jnp.all(finite | ~pairs)


def _filtered(distances: jax.Array, size: int) -> jax.Array:
    """A good subset to begin with: drop, one by one, the row that sticks out most.

    First those infinitely far from most, then along the top eigenvector.
    """
    n = len(distances)

    def drop(_: jax.Array, rows: jax.Array) -> jax.Array:
        far = jnp.sum(jnp.isinf(distances) & rows[None, :], axis=1)
        gram = _centered_gram(distances, rows)[0]
        vector = jnp.linalg.eigh(gram)[1][:, -1]
        score = jnp.where(jnp.any(far * rows > 0), far, jnp.square(vector))
        return rows & (jnp.arange(n) != jnp.argmax(jnp.where(rows, score, -1)))

    everyone = first_carry(jnp.ones(n, dtype=bool), distances)
    return jax.lax.fori_loop(0, n - size, drop, everyone)


def _eliminated(distances: jax.Array, included: jax.Array, t: jax.Array) -> jax.Array:
    """H / t after the elimination of the included rows but the first, which is the base b."""
    n = len(distances)
    # Rows that are 2t or more apart exclude each other, and 4t does so safely without overflow.
    relative = jnp.where(distances < 4 * t, distances / t, 4)
    base = jnp.argmax(included)
    column = relative[base] / 2
    matrix = jnp.eye(n, dtype=distances.dtype) + relative / 2
    matrix = matrix - column[:, None] - column[None, :] + 1

    def eliminate(row: jax.Array, matrix: jax.Array) -> jax.Array:
        return jnp.where(included[row] & (row != base), _without(matrix, row), matrix)

    return jax.lax.fori_loop(0, n, eliminate, matrix)


def _without(matrix: jax.Array, row: jax.Array) -> jax.Array:
    """One step of Gaussian elimination; the row itself becomes zero up to rounding."""
    column = matrix[row]
    return matrix - column[:, None] * (column / column[row])[None, :]


def _search(
    matrices: jax.Array,
    included: jax.Array,
    alive: jax.Array,
    num_left: jax.Array,
    same: jax.Array,
    size: int,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """Depth first, from a stack of partial subsets to the next subset that is small enough.

    Args:
      matrices: (depth, n, n), for each entry of the stack H after elimination.
      included, alive: (depth, n), the rows that an entry has, and those that it has or may get.
      num_left: how many entries the stack holds, at least one.
      same: (n, n), which rows are equal.
      size: rows wanted.

    Returns:
      included, alive, num_left: the stack without what was searched, to go on from.
      found: whether there was one.
      rows: (n,) booleans, the subset.
    """
    n = included.shape[1]
    ids = jnp.arange(n)
    Rows = tuple[jax.Array, jax.Array, jax.Array]  # matrix, has, may
    State = tuple[Rows, jax.Array, jax.Array, Rows]

    def searching(state: State) -> jax.Array:
        _, num_left, found, _ = state
        return (num_left >= 0) & ~found

    def step(state: State) -> State:
        stack, num_left, _, (matrix, has, may) = state
        pivots = jnp.diagonal(matrix)
        may = may & (has | (pivots > 0))
        open_ = may & ~has
        pairs = open_[:, None] & open_[None, :] & (ids[:, None] != ids[None, :])
        # Which part of one pivot is lost when the other row gets included; if all, they conflict.
        squares, products = jnp.square(matrix), pivots[:, None] * pivots[None, :]
        conflicts = pairs & (squares >= products)
        degrees = jnp.sum(conflicts, axis=1, dtype=jnp.int32)
        drops = jnp.sum(may, dtype=jnp.int32) - size
        # One of two rows in conflict is dropped, so one with more conflicts than drops is.
        hopeless = jnp.sum(degrees) > 2 * drops * jnp.max(degrees)
        may = may & ~(degrees > drops)
        hopeless = hopeless | (jnp.sum(may, dtype=jnp.int32) < size)
        found = (jnp.sum(has, dtype=jnp.int32) == size) & ~hopeless

        # Decide next about the row that says most about the others.
        losses = jnp.where(pairs, jnp.minimum(squares / products, 1), 0)
        row = jnp.argmax(jnp.where(may & ~has, jnp.sum(losses, axis=1), -1))
        # Without it, its equals are not needed either: it could take their place.
        without = (matrix, has, may & (has | ~same[row]))
        with_row = (_without(matrix, row), has | (ids == row), may)
        # Read after writing, or XLA would copy the stack. A found subset takes no entry.
        stack = jax.tree.map(lambda entries, entry: entries.at[num_left].set(entry), stack, without)
        current = jax.tree.map(
            lambda entries, entry: jnp.where(hopeless, entries[num_left - 1], entry),
            stack,
            with_row,
        )
        change = jnp.where(hopeless, -1, jnp.where(found, 0, 1))
        kept = jax.tree.map(functools.partial(jnp.where, found), (matrix, has, may), current)
        return stack, num_left + change, found, kept

    stack = (matrices, included, alive)
    last = jax.tree.map(lambda entries: entries[num_left - 1], stack)
    state = (stack, num_left - 1, first_carry(jnp.asarray(False), matrices), last)
    (_, included, alive), num_left, found, (_, rows, _) = jax.lax.while_loop(searching, step, state)
    return included, alive, jnp.maximum(num_left, 0), found, rows
