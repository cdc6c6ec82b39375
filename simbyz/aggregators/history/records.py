"""Records of each worker, of which some take part in a step."""

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import require
from simbyz._arrays.halves import Halves
from simbyz._arrays.scales import wide
from simbyz._arrays.stacking import Updates, ravel
from simbyz.aggregators.base import mean_by

Workers = jax.Array | None  # (p,) numbers of those whose rows are seen; None for all


def of(workers: Workers, records: jax.Array) -> jax.Array:
    """The records (p, ...) of those who take part, of all (n, ...)."""
    return records if workers is None else records[workers]


def kept(workers: Workers, records: jax.Array, new: jax.Array) -> jax.Array:
    """All records (n, ...), with new ones (p, ...) of those who take part."""
    return new if workers is None else records.at[workers].set(new)


def finite_only(stack: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The rows, with zeros for those that are not finite in every coordinate, and which are."""
    finite = jnp.all(jnp.isfinite(stack), axis=1)
    return jnp.where(finite[:, None], stack, 0), finite


def mean_of_good(rule: str, updates: Updates, f: int, good: jax.Array) -> Halves:
    """The halves of a mean of the finite rows of the workers who are good, (n,) booleans;
    zeros of none.

    Raises:
      ValueError: n < 2f + 1, or fewer rows than workers.
    """
    stack, unravel = ravel(updates)
    require(rule, len(stack), f, 2, 1)
    if len(stack) != len(good):
        raise ValueError(
            f"{rule} watches {len(good)} workers, all in each step, got {len(stack)} rows"
        )
    weights = wide((good & finite_only(stack)[1]).astype(stack.dtype))
    return mean_by(weights, jnp.maximum(jnp.sum(weights), 1), stack, unravel)
