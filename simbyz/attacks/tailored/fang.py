"""Attacks that Fang et al. tailored to a rule: deviate as far as possible from the honest mean's
direction, and be taken.

In the paper the workers send models, and the attackers push the global model against the direction
it would move in. Here they send gradients, which a model moves against: sign(mean) below is minus
the paper's s, and the model that the paper starts from is zero.
"""

import functools

import jax
import jax.numpy as jnp

from simbyz._arrays import moments
from simbyz._arrays.checks import flag, integer, random_key
from simbyz._arrays.chunks import kept
from simbyz._arrays.geometry import distances_between, full_product
from simbyz._arrays.scales import unit_of_rows, wide
from simbyz._arrays.stacking import Byzantine, Honest, ravel
from simbyz.attacks.fixed import mean_and_deviation, shifted
from simbyz.attacks.rows import count, factors, seen

# The size is halved this often at most: by then it is a millionth of where it started.
HALVINGS = 20


def fang_krum(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    f: int,
    neighbours: int | None = None,
    squared: bool = True,
    known: int | None = None,
) -> Byzantine:
    """-λ · sign(mean), λ as large as Krum still picks, by halving.

    λ starts at S / ((n - 2f - 1) √d) + max_i ||x_i|| / √d, where S is the least, over honest rows,
    of the sum of the distances to the n - f - 2 nearest honest ones: the paper's bound on what can
    be picked, derived for num_byzantine = f. More attackers than that might go further.

    Args:
      f: the Byzantine rows that Krum is told to tolerate.
      neighbours: distances in a row's score; n - f - 2 if None.
      squared: whether the distances are squared, as in `krum`.
      known: the attackers see the first `known` honest rows alone, and take them for all; all if
        None.

    Returns:
      Equal rows. Where Krum picks none of the sizes, the smallest of them.

    Raises:
      ValueError: n - f - 2 or neighbours below 1 or too large, or n < 2f + 2.

    Cost: one h × h × d matrix product, and the scores of all sizes at once.
    Reference: Fang et al., Local model poisoning attacks to Byzantine-robust federated learning,
      USENIX Security 2020.
    Convention: equal rows, as in the paper's analysis; its program spreads them by 1e-5. It stops
      halving at λ = 1e-5, which has no meaning for gradients of another size; here after 20.
    """
    del key
    stack, unravel = ravel(honest)
    num_byzantine, f = count(num_byzantine), integer("f", f)
    if num_byzantine == 0:
        return unravel(stack[:0])
    rows, squared = seen(stack, known), flag("squared", squared)
    h, d = rows.shape
    n = h + num_byzantine
    if f < 0 or n < f + 3 or n < 2 * f + 2:
        raise ValueError(f"fang_krum needs n >= f + 3 and n >= 2f + 2, got n={n}, f={f}")
    neighbours = n - f - 2 if neighbours is None else integer("neighbours", neighbours)
    if not 1 <= neighbours < n:
        raise ValueError(f"neighbours must be from 1 to n - 1 = {n - 1}, got {neighbours}")

    unit = unit_of_rows(rows)
    rows = wide(rows) * unit
    sign = jnp.sign(moments.mean(rows))
    between, finer = distances_between(rows)
    between = between / finer / finer
    norms = jnp.sum(jnp.square(rows), axis=1)
    along = full_product(rows, sign)
    length = jnp.sum(jnp.square(sign))

    def score(squares: jax.Array) -> jax.Array:
        distances = squares if squared else jnp.sqrt(squares)
        return jnp.sum(jnp.sort(distances, axis=-1)[..., :neighbours], axis=-1)

    # Away from itself: +inf on the diagonal, sorted behind all others.
    others = jnp.where(jnp.eye(h, dtype=bool), jnp.inf, between)

    def is_picked(size: jax.Array) -> jax.Array:
        """Whether Krum takes -size · sign, sent by all attackers, over every honest row."""
        to_rows = jnp.maximum(jnp.square(size) * length + 2 * size * along + norms, 0)
        attackers = jnp.broadcast_to(to_rows[:, None], (h, num_byzantine))
        honest_scores = score(jnp.concatenate([others, attackers], axis=1))
        attack_score = score(jnp.concatenate([jnp.zeros(num_byzantine - 1, rows.dtype), to_rows]))
        return attack_score < jnp.min(honest_scores)

    nearest = jnp.sort(jnp.sqrt(others), axis=1)[:, : max(1, min(n - f - 2, h - 1))]
    nearest = jnp.where(jnp.isfinite(nearest), nearest, 0)
    largest = jnp.min(jnp.sum(nearest, axis=1)) / (n - 2 * f - 1) + jnp.sqrt(jnp.max(norms))
    sizes = largest / jnp.sqrt(d) * 0.5 ** jnp.arange(HALVINGS + 1, dtype=rows.dtype)
    picked = jax.vmap(is_picked)(sizes)
    size = sizes[jnp.where(jnp.any(picked), jnp.argmax(picked), HALVINGS)]
    row = (-size / unit * sign).astype(stack.dtype)
    return unravel(jnp.broadcast_to(row, (num_byzantine, d)))


def fang_trimmed_mean(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    base: float | jax.Array = 2.0,
    known: int | None = None,
) -> Byzantine:
    """Drawn beyond the honest values, coordinate by coordinate, on the side away from sign(mean).

    Where the mean is positive, uniformly from the interval between the least honest value m and
    m / base (m > 0) or base · m (else). Where it is not, from between the largest value M and
    base · M (M > 0) or M / base (else). With partial knowledge, from 3 to 4 deviations beyond the
    mean of what is seen, on the same side.

    Args:
      base: the paper's b, above 1; may be traced. Not used with partial knowledge.
      known: the attackers see the first `known` honest rows alone; all, and the exact extremes, if
        None.

    Returns:
      Rows of different draws.

    Raises:
      ValueError: partial knowledge of a single row, or a base not above 1 (if not traced).

    Reference: Fang et al., Local model poisoning attacks to Byzantine-robust federated learning,
      USENIX Security 2020.
    Convention: the sample deviation; the authors' program divides by the number of rows.
    """
    random_key("fang_trimmed_mean", key)
    factors("fang_trimmed_mean", base=base)
    if not isinstance(base, jax.core.Tracer) and not float(base) > 1:
        raise ValueError(f"fang_trimmed_mean needs base > 1, got base={base}")
    stack, unravel = ravel(honest)
    rows = seen(stack, known)
    mean = moments.sure_mean(rows)
    if known is None:
        # Whole rows at a time: XLA:CPU makes one pass of it, not of a reduction over the workers.
        low = functools.reduce(jnp.minimum, list(rows))
        high = functools.reduce(jnp.maximum, list(rows))
        below = jnp.where(low > 0, low / base, low * base)
        above = jnp.where(high > 0, high * base, high / base)
        inner = jnp.where(mean > 0, low, high)
        outer = jnp.where(mean > 0, below, above)
    else:
        if len(rows) < 2:
            raise ValueError("fang_trimmed_mean needs known >= 2 for a deviation, got 1")
        mean, deviation = mean_and_deviation("fang_trimmed_mean", rows)
        away = jnp.where(mean > 0, -1, 1) * deviation
        inner, outer = shifted(mean, 3.0, away), shifted(mean, 4.0, away)
    shape = (count(num_byzantine), stack.shape[1])
    draws = jax.random.uniform(key, shape, stack.dtype)
    drawn = kept(inner)[None] + draws * kept(outer - inner)[None]
    return unravel(drawn.astype(stack.dtype))
