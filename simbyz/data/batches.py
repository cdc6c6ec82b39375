"""Batches drawn, flipped and normalised inside the compiled step, from uint8 images on the
device.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np


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
        return permutation(jax.random.fold_in(key, number), num_examples)

    passes = jax.vmap(shuffle)(first_pass + jnp.arange(num_passes))
    missing = per_pass * batch_size - num_examples
    passes = jnp.pad(passes, ((0, 0), (0, missing)), constant_values=num_examples)
    batches = passes.reshape(num_passes * per_pass, batch_size).astype(jnp.int32)
    return jax.lax.dynamic_slice_in_dim(batches, first_batch - first_pass * per_pass, num_batches)


def permutation(key: jax.Array, n: int) -> jax.Array:
    """`jax.random.permutation` of 0 ... n - 1, the same numbers in half the time on a CPU.

    It orders the numbers by 32-bit random keys, twice or more. XLA:CPU sorts one array 8 times as
    fast as keys with values, so up to 2^16 numbers are ordered by one half of the keys, then by the
    other, each time as 16 bits of key over 16 bits of place: a radix sort, stable.
    """
    if n > 2**16:
        return jax.random.permutation(key, n)
    places = jnp.arange(n, dtype=jnp.uint32)

    def order(halves: jax.Array) -> jax.Array:
        return jnp.sort((halves << 16) | places) & 0xFFFF

    shuffled = places
    for _ in range(math.ceil(3 * math.log(max(n, 1)) / math.log(2**32 - 1))):
        key, own = jax.random.split(key)
        keys = jax.random.bits(own, (n,), jnp.uint32)
        by_low = order(keys & 0xFFFF)
        shuffled = shuffled[by_low[order(keys[by_low] >> 16)]]
    return shuffled.astype(jnp.int32)


def pack(images: np.ndarray) -> np.ndarray:
    """uint8 images (N, ...) as rows of uint32, or of bytes where their number is no multiple of 4.

    XLA:CPU gathers element by element: four bytes at once take half the time.
    """
    rows = np.ascontiguousarray(images).reshape(len(images), -1)
    return rows if rows.shape[1] % 4 else rows.view("<u4")


def take(rows: jax.Array, indices: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The images at `indices` of those that `pack` packed, (..., *shape) uint8; an index past the
    end reads the last one.
    """
    taken = jnp.take(rows, indices, axis=0, mode="clip")
    if taken.dtype == jnp.uint32:
        taken = jax.lax.bitcast_convert_type(taken, jnp.uint8)
    return taken.reshape(*indices.shape, *shape)


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
