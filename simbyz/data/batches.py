"""Batches drawn, flipped and normalised inside the compiled step, from uint8 images on the
device.

What draws them takes the key of the whole run, and the number of the first one wanted, counted from
the start of the run, which may be traced: a batch does not depend on where a program starts. Where
each worker has examples of its own, counts (n,), at least 1 each, may be traced too, and a batch
does not depend on the other workers.
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

    It orders the numbers by 32-bit random keys, twice or more.
    """
    if n > 2**16:
        return jax.random.permutation(key, n)
    shuffled = jnp.arange(n, dtype=jnp.uint32)
    for _ in range(math.ceil(3 * math.log(max(n, 1)) / math.log(2**32 - 1))):
        key, own = jax.random.split(key)
        keys = jax.random.bits(own, (n,), jnp.uint32)
        shuffled = shuffled[_order(keys & 0xFFFF, keys >> 16)]
    return shuffled.astype(jnp.int32)


def _order(*digits: jax.Array) -> jax.Array:
    """The stable order (m,) of m <= 2^16 elements by digits (m,) uint32 below 2^16, the last one
    counting most.

    XLA:CPU sorts one array 8 times as fast as keys with values. So it sorts by one digit after the
    other, each time as 16 bits of key over 16 bits of place.
    """
    places = jnp.arange(len(digits[0]), dtype=jnp.uint32)

    def by(digit: jax.Array) -> jax.Array:
        return jnp.sort((digit << 16) | places) & 0xFFFF

    order = by(digits[0])
    for digit in digits[1:]:
        order = order[by(digit[order])]
    return order


def pack(images: np.ndarray) -> np.ndarray:
    """uint8 images (N, ...) as rows of uint32, or of bytes where their number is no multiple of 4;
    floats as rows of themselves.

    XLA:CPU gathers element by element: four bytes at once take half the time.
    """
    rows = np.ascontiguousarray(images).reshape(len(images), -1)
    return rows if rows.dtype != np.uint8 or rows.shape[1] % 4 else rows.view("<u4")


def take(rows: jax.Array, indices: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The images at `indices` of those that `pack` packed, (..., *shape); an index past the end
    reads the last one.
    """
    taken = jnp.take(rows, indices, axis=0, mode="clip")
    if taken.dtype == jnp.uint32:
        taken = jax.lax.bitcast_convert_type(taken, jnp.uint8)
    return taken.reshape(*indices.shape, *shape)


def own_passes(
    key: jax.Array,
    first_step: jax.Array,
    num_steps: int,
    *,
    counts: jax.Array,
    largest: int,
    batch_size: int,
) -> jax.Array:
    """Consecutive batches of each worker's shuffled passes over its own examples.

    Every example of a worker appears once in each of its passes; a pass ends in a short batch where
    batch_size does not divide what the worker holds, and then a new shuffle starts, at different
    steps for workers that hold different numbers. A worker with fewer than batch_size examples has
    all of them in every batch.

    Args:
      largest: an int, at least the largest of the counts.

    Returns:
      (num_steps, n, batch_size) int32 positions in each worker's own examples; `largest` stands for
      none, in a short batch.

    Cost: n sorts of num_steps · batch_size + 2 · largest elements, whatever the counts; of up to
      2^16 elements in half of the time on a CPU.
    """
    # The passes that a worker needs, put in a row, have at most this many elements.
    length = (num_steps - 1) * batch_size + 2 * largest

    def worker(number: jax.Array, count: jax.Array) -> jax.Array:
        own_key = jax.random.fold_in(key, number)
        per_pass = -(-count // batch_size)
        first_pass = first_step // per_pass
        # All passes of the run in a row; from there, what is wanted here.
        element = jnp.arange(length)
        bits = jax.vmap(lambda one: jax.random.bits(jax.random.fold_in(own_key, one)))(
            first_pass * count + element
        )
        # One sort shuffles all passes, whatever their length. Of two examples one pair in 2^32 has
        # equal bits, and keeps its order.
        of_pass, example = element // count, element % count
        if length <= 2**16:
            shuffled = example[_order(bits & 0xFFFF, bits >> 16, of_pass.astype(jnp.uint32))]
        else:
            *_, shuffled = jax.lax.sort((of_pass, bits, example), num_keys=2)

        step = first_step + jnp.arange(num_steps)
        place = (step % per_pass)[:, None] * batch_size + jnp.arange(batch_size)[None]
        start = (step // per_pass - first_pass)[:, None] * count
        return jnp.where(place < count, shuffled[start + place], largest).astype(jnp.int32)

    return jax.vmap(worker, out_axes=1)(jnp.arange(len(counts)), counts)


def own_draws(
    key: jax.Array, first_step: jax.Array, num_steps: int, *, counts: jax.Array, batch_size: int
) -> jax.Array:
    """Batches drawn uniformly and with replacement from each worker's own examples.

    Returns:
      (num_steps, n, batch_size) int32 positions in each worker's own examples.
    """

    def draw(step: jax.Array, number: jax.Array, count: jax.Array) -> jax.Array:
        own_key = jax.random.fold_in(jax.random.fold_in(key, step), number)
        return jax.random.randint(own_key, (batch_size,), 0, count)

    workers = jax.vmap(draw, in_axes=(None, 0, 0))
    steps = first_step + jnp.arange(num_steps)
    return jax.vmap(workers, in_axes=(0, None, None))(steps, jnp.arange(len(counts)), counts)


def normalise(
    images: jax.Array, scale: float, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> jax.Array:
    """(x / scale - mean) / deviation per channel: uint8 or float32 (..., channels) to float32."""
    if jnp.issubdtype(images.dtype, jnp.floating):
        # The mean first: it may be large beside the deviation.
        centered = images / scale - jnp.asarray(mean).reshape((1,) * (images.ndim - 1) + (-1,))
        return centered / jnp.asarray(deviation).reshape((1,) * (images.ndim - 1) + (-1,))
    # As one multiplication and one addition, with constants computed once in double precision.
    slope = jnp.asarray([1 / (scale * s) for s in deviation], jnp.float32)
    offset = jnp.asarray([-m / s for m, s in zip(mean, deviation, strict=True)], jnp.float32)
    slope, offset = (a.reshape((1,) * (images.ndim - 1) + (-1,)) for a in (slope, offset))
    return images.astype(jnp.float32) * slope + offset


def random_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Each image (B, height, width, channels) mirrored left to right with probability one half."""
    flipped = jax.random.bernoulli(key, shape=(images.shape[0], 1, 1, 1))
    return jnp.where(flipped, images[:, :, ::-1, :], images)
