"""Every rule, pre-aggregator and attack on the device, beside the same program on the CPU."""

import concurrent.futures
import functools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.attack_strength.measure import fixed_attacks
from experiments.speed.gpu.journal import Result
from experiments.speed.gpu.sizes import Sizes
from experiments.speed.measured.rules import bound
from simbyz import aggregators, attacks
from simbyz.aggregators import AGGREGATORS

# Of float32 values, relative to the largest of their row.
TOLERANCE = 1e-5
# How products of float32 are asked for: as is usual on the device, which may be TF32; or in full,
# up to so many values: to trace and compile once more takes longest.
PRECISIONS = (None, "float32")
MOST_VALUES = 2**21
Function = Callable[[jax.Array], Any]


def check(sizes: Sizes, until: float) -> Iterator[Result]:
    """One result a function, size, precision of products, and kind of rows, then how many held.

    until: a time by `time.monotonic`, at which what is left is named and given up.
    """
    device, reference = jax.devices()[0], jax.devices("cpu")[-1]
    held, judged = 0, 0
    for n, d, f in sizes.stacks:
        precisions = PRECISIONS if n * d <= MOST_VALUES else PRECISIONS[:1]
        programs = [(reference, None), *((device, precision) for precision in precisions)]
        stacks = {kind: make(n, d, f) for kind, make in KINDS.items()}
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            waiting = {
                name: [pool.submit(_compiled, function, (n, d), *one) for one in programs]
                for name, function in functions_of(n, f).items()
                if not sizes.compared or name in sizes.compared
            }
            for name, compiling in _as_ready(waiting, until):
                for result in _compared(compiling, stacks, device, reference):
                    held += result.get("holds", False)
                    judged += "holds" in result
                    yield {"what": name, "n": n, "d": d, "f": f} | result
            pool.shutdown(wait=False, cancel_futures=True)
        if waiting:
            yield {"what": "not reached", "n": n, "d": d, "names": list(waiting)}
            break
    yield {"what": "all", "held": held, "results": judged}


def _as_ready(
    waiting: dict[str, list[concurrent.futures.Future]], until: float
) -> Iterator[tuple[str, list[concurrent.futures.Future]]]:
    """Takes out what is done, one by one, until nothing is left or the time is up."""
    while waiting and time.monotonic() <= until:
        done = [name for name, some in waiting.items() if all(one.done() for one in some)]
        if done:
            yield done[0], waiting.pop(done[0])
            continue
        pending = [one for some in waiting.values() for one in some if not one.done()]
        concurrent.futures.wait(pending, timeout=1, return_when=concurrent.futures.FIRST_COMPLETED)


def _compared(compiling, stacks, device, reference) -> Iterator[Result]:
    try:
        on_cpu, *on_device = [one.result() for one in compiling]
    except ValueError as error:  # of n and f
        yield {"refused": _first_line(error)}
        return
    except Exception as error:  # a compiler's own
        yield {"error_message": _first_line(error), "holds": False}
        return
    try:
        for kind, stack in stacks.items():
            began = time.perf_counter()
            wanted = jax.tree.map(np.asarray, on_cpu(jax.device_put(stack, reference)))
            cpu_seconds = time.perf_counter() - began
            rows = jax.device_put(stack, device)
            for precision, program in zip(PRECISIONS, on_device, strict=False):
                got = jax.tree.map(np.asarray, program(rows))
                apart = difference(got, wanted)
                yield {
                    "rows": kind,
                    "products": precision or "usual",
                    "error": apart,
                    "holds": apart <= TOLERANCE,
                    "cpu_seconds": cpu_seconds,
                }
    except Exception as error:  # a device's own
        yield {"error_message": _first_line(error), "holds": False}


def _compiled(
    function: Function, shape: tuple[int, int], device: jax.Device, precision: str | None
) -> jax.stages.Compiled:
    rows = jax.ShapeDtypeStruct(
        shape, jnp.float32, sharding=jax.sharding.SingleDeviceSharding(device)
    )
    with jax.default_matmul_precision(precision):
        return jax.jit(function).lower(rows).compile()


def difference(got: Any, wanted: Any) -> float:
    """The largest difference of two arrays relative to the largest finite value of its row; inf if
    other values are finite.
    """
    got, wanted = (np.asarray(values, np.float64) for values in (got, wanted))
    finite = np.isfinite(wanted)
    # Infinities must have their sign; NaN is NaN.
    same = np.array_equal(np.where(finite, 0, got), np.where(finite, 0, wanted), equal_nan=True)
    if got.shape != wanted.shape or not same:
        return float("inf")
    scale = np.max(np.where(finite, np.abs(wanted), 0), axis=-1, keepdims=True)
    scale = np.where(scale > 0, scale, 1)
    apart = np.abs(np.where(finite, got, 0) - np.where(finite, wanted, 0)) / scale
    return float(np.max(np.where(np.isnan(apart), np.inf, apart), initial=0))


def functions_of(n: int, f: int) -> dict[str, Function]:
    """Every rule and pre-aggregator, whether (n, f) bears it or not, and every attack of f rows on
    n - f.
    """
    masses = jnp.arange(1, n + 1, dtype=jnp.float32)
    found: dict[str, Function] = dict(bound(n, f))
    for name, rule in aggregators.WEIGHTED.items():
        found[name] = functools.partial(rule, f=f, masses=masses)
    for name, attack in attacks_of(f).items():
        found[f"attack: {name}"] = functools.partial(_attacked, attack, n, f)
    return found


def attacks_of(f: int) -> dict[str, Callable[..., jax.Array]]:
    """Every attack, (key, honest, num_byzantine) -> rows, with options where it needs some."""
    far = functools.partial(attacks.hidden_vulnerability, factor=10.0)
    found: dict[str, Callable[..., Any]] = fixed_attacks(f) | {"hidden_vulnerability": far}
    for rule in ("median", "krum"):
        found[f"adaptive, {rule}"] = attacks.adaptive("little", AGGREGATORS[rule], evaluations=8)
    found["learned_mimic"] = _learned_mimic
    return found


def _learned_mimic(key: jax.Array, honest: jax.Array, num_byzantine: int) -> jax.Array:
    state = attacks.start_mimic(key, honest.shape[1])
    return attacks.learned_mimic(key, honest, num_byzantine, state, warmup=5)[0]


def _attacked(attack: Callable[..., jax.Array], n: int, f: int, stack: jax.Array) -> jax.Array:
    return attack(jax.random.key(0), stack[: n - f], f)


def spread_rows(n: int, d: int, f: int) -> np.ndarray:
    """Rows around one another, each farther out than the one before, so that rounding alone does
    not change which is chosen.
    """
    del f
    generator = np.random.default_rng(n + d)
    rows = generator.standard_normal((n, d), np.float32)
    rows *= np.linspace(0.5, 2, n, dtype=np.float32)[:, None]
    return rows + generator.standard_normal(d, np.float32)[None]


def broken_rows(n: int, d: int, f: int) -> np.ndarray:
    """The same, the last f not finite or huge, in turns."""
    rows = spread_rows(n, d, f)
    for number in range(f):
        row = rows[n - 1 - number]
        kind = number % 5
        if kind == 0:
            row[:] = np.nan
        elif kind == 1:
            row[d // 2] = np.inf
        elif kind == 2:
            row[:] = -np.inf
        elif kind == 3:
            row[0] = np.nan
        else:
            row *= 1e30
    return rows


KINDS: dict[str, Callable[[int, int, int], np.ndarray]] = {
    "finite": spread_rows,
    "some broken": broken_rows,
}


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:300]
