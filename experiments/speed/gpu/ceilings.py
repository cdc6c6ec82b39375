"""Ceilings of the device: the rates of a copy and of large matrix products."""

import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp

from experiments.speed.gpu.journal import Result
from experiments.speed.gpu.sizes import Sizes
from experiments.speed.timing import interleaved
from simbyz._arrays.stacking import PyTree

REPETITIONS = 5
# What factors are rounded to: how products are asked for, and the dtype they are given in.
PRECISIONS = {
    "float32": ("float32", jnp.float32),
    "tf32": ("tensorfloat32", jnp.float32),
    "bfloat16": (None, jnp.bfloat16),
}


def seconds(call: Callable[[], object], repetitions: int = REPETITIONS) -> float:
    """The median, after one call to warm up."""
    calls = {"it": lambda: jax.block_until_ready(call())}
    return interleaved(calls, repetitions)["it"].median


def ceilings(sizes: Sizes) -> Iterator[Result]:
    """Bytes a second, read and written both counted, and operations a second by precision."""
    yield {"what": "copy", "bytes_a_second": 2 * sizes.copied / _copying(sizes.copied)}
    for name, (precision, dtype) in PRECISIONS.items():
        with jax.default_matmul_precision(precision):
            factor = jax.random.normal(jax.random.key(1), (sizes.side,) * 2, dtype)
            product = jax.jit(jnp.matmul).lower(factor, factor).compile()
            each = seconds(functools.partial(product, factor, factor))
        yield {"what": f"product {name}", "flops": 2 * sizes.side**3 / each}


def _copying(size: int) -> float:
    """Seconds; of values that change, for a plain copy could be left out by the compiler."""
    source = jax.random.normal(jax.random.key(0), (size // 4,))
    copy = jax.jit(lambda values: values + 1)
    return seconds(lambda: copy(source))


def of(results: Sequence[Result]) -> dict[str, float]:
    """The rates among results, by what was measured; the latest of each."""
    known = [r for r in results if r.get("part") == "ceilings"]
    rates = {r["what"]: r.get("bytes_a_second", r.get("flops")) for r in known}
    return {name: rate for name, rate in rates.items() if rate is not None}


def memory(program: jax.stages.Compiled) -> Result:
    """The memory that a compiled program asks for, and the device's peak so far, in GB."""
    plan = program.memory_analysis()
    stats: PyTree = jax.local_devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return {
        "temporaries_gb": plan.temp_size_in_bytes / 1e9 if plan is not None else None,
        "peak_gb_so_far": None if peak is None else peak / 1e9,
    }
