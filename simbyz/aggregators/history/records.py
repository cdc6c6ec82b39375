"""Records of each worker, of which some take part in a step."""

import jax
import jax.numpy as jnp

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
