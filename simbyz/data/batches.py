"""Batches drawn, flipped and normalised inside the compiled step, from uint8 images on the
device.
"""

import jax
import jax.numpy as jnp


def shared_pass(
    key: jax.Array,
    first_batch: jax.Array,
    num_batches: int,
    *,
    num_examples: int,
    batch_size: int,
) -> jax.Array:
    """Consecutive batches of one shuffled pass over the data that all workers share.

    Every example appears once a pass; the last batch of a pass is short where batch_size does not
    divide num_examples; then a new shuffle starts. Pass p is shuffled by key folded with p, so that
    batch b is the same wherever a program starts, and nothing has to be carried from step to step.

    Args:
      key: of the whole run.
      first_batch: number of the first batch wanted, counted from the start of the run; may be
      traced.
      num_batches, num_examples, batch_size: ints.

    Returns:
      (num_batches, batch_size) int32 indices of examples; `num_examples` stands for none, in a
      short batch.
    """
    per_pass = -(-num_examples // batch_size)
    first_pass = first_batch // per_pass
    num_passes = (num_batches - 1) // per_pass + 2

    def shuffle(number: jax.Array) -> jax.Array:
        return jax.random.permutation(jax.random.fold_in(key, number), num_examples)

    passes = jax.vmap(shuffle)(first_pass + jnp.arange(num_passes))
    missing = per_pass * batch_size - num_examples
    passes = jnp.pad(passes, ((0, 0), (0, missing)), constant_values=num_examples)
    batches = passes.reshape(num_passes * per_pass, batch_size).astype(jnp.int32)
    return jax.lax.dynamic_slice_in_dim(batches, first_batch - first_pass * per_pass, num_batches)


def normalise(
    images: jax.Array, scale: float, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> jax.Array:
    """(x / scale - mean) / deviation per channel: uint8 (..., channels) to float32."""
    # As one multiplication and one addition, with constants computed once in double precision.
    slope = jnp.asarray([1 / (scale * s) for s in deviation], jnp.float32)
    offset = jnp.asarray([-m / s for m, s in zip(mean, deviation, strict=True)], jnp.float32)
    slope, offset = (a.reshape((1,) * (images.ndim - 1) + (-1,)) for a in (slope, offset))
    return images.astype(jnp.float32) * slope + offset


def random_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Each image (B, height, width, channels) mirrored left to right with probability one half."""
    flipped = jax.random.bernoulli(key, shape=(images.shape[0], 1, 1, 1))
    return jnp.where(flipped, images[:, :, ::-1, :], images)
