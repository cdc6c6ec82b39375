"""Compressor: what of a vector fits into a message, and how many bits that message takes.

A compressor acts on the rows (w, d) of the workers that compute. Those that draw are given a key of
the step: masks come from a seed that worker and server share, so that no index is sent.

Bits are of 32-bit floats; nothing is said of a message's header.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import at_least, flag, number
from simbyz._arrays.ranks.long_rows import only_largest
from simbyz._arrays.scales import divided, own_lengths, unit_of

FLOAT_BITS = 32


class Compressor(NamedTuple):
    """compress: (key, numbers of the workers (w,), vectors (w, d)) -> (w, d). bits: d -> bits of
    one worker's message. limit: d -> the rates of `feedback` below it make differences smaller:
    ||x - rate · C(x)|| < ||x|| for each x, as a mean square. At a rate of 1 that is a contraction;
    2 / (1 + ω) where C(x) is x on average, with a variance of at most ω ||x||².
    """

    compress: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    bits: Callable[[int], float]
    limit: Callable[[int], float] = lambda d: math.inf


def _fits(name: str, k: int, d: int) -> None:
    if k > d:
        raise ValueError(f"{name} keeps at most all d={d} coordinates, got k={k}")


def top_k(k: int) -> Compressor:
    """The k coordinates of the largest size of each row, NaN the largest; of equal ones the first.

    Raises:
      ValueError: k < 1, or when traced k > d.

    Reference: Stich, Cordonnier and Jaggi, Sparsified SGD with memory, NeurIPS 2018.
    """
    at_least("k", k, 1)

    def compress(key: jax.Array, workers: jax.Array, vectors: jax.Array) -> jax.Array:
        _fits("top_k", k, vectors.shape[1])
        if k == vectors.shape[1]:
            return vectors
        return only_largest(vectors, k)

    return Compressor(compress, lambda d: k * (FLOAT_BITS + math.ceil(math.log2(d))))


def rand_k(k: int, *, shared: bool = True, scaled: bool = True) -> Compressor:
    """k coordinates drawn alike, anew in each step.

    Args:
      k: how many.
      shared: one mask for all workers, else one a worker.
      scaled: kept coordinates are multiplied by d / k, so that the mean over masks is the vector.
        Error feedback wants them as they are.

    Raises:
      TypeError: shared or scaled is neither True nor False.
      ValueError: k < 1, or when traced k > d.

    Reference: Stich, Cordonnier and Jaggi, NeurIPS 2018; one mask for all is of Gupta et al.,
      arXiv 2508.17129.
    """
    at_least("k", k, 1)
    shared, scaled = flag("shared", shared), flag("scaled", scaled)

    def mask(key: jax.Array, d: int) -> jax.Array:
        return jnp.zeros(d, bool).at[jax.random.permutation(key, d)[:k]].set(True)

    def compress(key: jax.Array, workers: jax.Array, vectors: jax.Array) -> jax.Array:
        d = vectors.shape[1]
        _fits("rand_k", k, d)
        key = jax.random.fold_in(key, 0)
        if shared:
            kept = mask(key, d)[None]
        else:
            kept = jax.vmap(lambda worker: mask(jax.random.fold_in(key, worker), d))(workers)
        return jnp.where(kept, vectors * (d / k if scaled else 1.0), 0.0)

    return Compressor(
        compress, lambda d: k * FLOAT_BITS, lambda d: 2 * k / d if scaled else math.inf
    )


def quantise(levels: int) -> Compressor:
    """Each coordinate's share of the row's length, rounded by chance to a multiple of 1 / levels,
    so that the mean over chance is the vector. Its variance is at most (√d / levels - 1) ||x||²
    where levels² <= d / 4, of a row of equal sizes, and less than ||x||² where not.

    Raises:
      ValueError: levels < 1, or more than 31 bits hold.

    Reference: Alistarh, Grubic, Li, Tomioka and Vojnovic, QSGD, NeurIPS 2017. Bits are those of a
      float, and of a sign and a level a coordinate, without the paper's Elias code.
    """
    if at_least("levels", levels, 1) > 2**31 - 1:
        raise ValueError(f"levels must be at most 2^31 - 1, a sign and 31 bits, got {levels}")

    def compress(key: jax.Array, workers: jax.Array, vectors: jax.Array) -> jax.Array:
        def one(worker: jax.Array, row: jax.Array) -> jax.Array:
            largest = jnp.max(jnp.abs(row))
            shape = divided(row, jnp.where(largest > 0, largest, 1))  # its square is a number
            length = jnp.linalg.norm(shape)
            steps = jnp.abs(shape) / jnp.where(length > 0, length, 1) * levels
            drawn = jax.random.uniform(jax.random.fold_in(own, worker), row.shape)
            level = jnp.floor(steps) + (drawn < steps - jnp.floor(steps))
            return jnp.sign(row) * (level / levels) * length * largest

        own = jax.random.fold_in(key, 1)
        return jax.vmap(one)(workers, vectors)

    def bits(d: int) -> float:
        return FLOAT_BITS + d * (1 + math.ceil(math.log2(levels + 1)))

    return Compressor(compress, bits, lambda d: 2 * levels / math.sqrt(d))


def sign(*, scaled: bool = True) -> Compressor:
    """The sign of each coordinate, times the mean size of the row's if scaled.

    Reference: Karimireddy, Rebjock, Stich and Jaggi, Error feedback fixes SignSGD, ICML 2019;
      unscaled Bernstein et al., signSGD, ICML 2018.
    """
    scaled = flag("scaled", scaled)

    def compress(key: jax.Array, workers: jax.Array, vectors: jax.Array) -> jax.Array:
        if not scaled:
            return jnp.sign(vectors)
        sizes = jnp.abs(vectors)
        unit = unit_of(jnp.max(sizes, axis=1, keepdims=True))  # in which the sum is a float
        return jnp.sign(vectors) * (jnp.mean(sizes * unit, axis=1, keepdims=True) / unit)

    return Compressor(
        compress, lambda d: d + (FLOAT_BITS if scaled else 0), lambda d: math.inf if scaled else 0.0
    )


def clipped(bound: float | jax.Array) -> Compressor:
    """x · min(1, bound / ||x||), of at most this l2 norm (inf: of any): no shorter message, the
    contraction of clipped differences.

    Raises:
      ValueError: the bound is not above 0.

    Reference: Khirirat et al., Clip21, 2023.
    """
    number("bound", bound, "above 0", lambda one: one > 0)

    def compress(key: jax.Array, workers: jax.Array, vectors: jax.Array) -> jax.Array:
        units, ratios = own_lengths(vectors).factors(bound)
        return vectors * units[:, None] * ratios[:, None]

    return Compressor(compress, lambda d: d * FLOAT_BITS)
