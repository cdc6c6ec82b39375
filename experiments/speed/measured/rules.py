"""Aggregation rules beside the floor: one pass over the stack, and one n × n × d matrix product."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.speed.peers import peers
from experiments.speed.timing import Timing, compiled_lanes, interleaved
from simbyz import aggregators, preaggregators
from simbyz._arrays import moments

# (n, d, f): the paper's MNIST network and its two f, its CIFAR-10 network, a large one, and many
# workers.
SIZES = (
    (51, 79_510, 24),
    (51, 79_510, 12),
    (25, 1_310_922, 5),
    (100, 1_000_000, 20),
    (201, 79_510, 40),
)


def _fltrust(updates: jax.Array, f: int) -> jax.Array:
    return aggregators.fltrust(updates, f, trusted=updates[0])


NAMES: dict[str, Callable[..., Any]] = {
    **aggregators.AGGREGATORS,
    **preaggregators.PREAGGREGATORS,
    "fltrust": _fltrust,
    "krum (released)": aggregators.multi_krum,
    "bulyan (released)": aggregators.bulyan,
}


def bound(n: int, f: int) -> dict[str, Callable[[jax.Array], jax.Array]]:
    """Every rule, whether (n, f) bears it or not, as a function of the stack alone."""
    options: dict[str, dict[str, Any]] = {
        "centered_clipping": {"radius": 1.0},
        "clipping": {"radius": 1.0},
        "bucketing": {"bucket_size": 2, "key": jax.random.key(0)},
        "dnc": {"key": jax.random.key(0)},
        "krum (released)": {"neighbours": n - f - 1, "squared": False},
        "bulyan (released)": {"variant": "released"},
    }
    return {
        name: functools.partial(rule, f=f, **options.get(name, {})) for name, rule in NAMES.items()
    }


def rules(n: int, f: int, only: Sequence[str] = ()) -> dict[str, Callable[[jax.Array], jax.Array]]:
    """Those that (n, f) bears, or of them those named, if any are."""
    usable: dict[str, Callable[[jax.Array], jax.Array]] = {}
    for name, rule in bound(n, f).items():
        if only and name not in only:
            continue
        try:
            jax.eval_shape(rule, jax.ShapeDtypeStruct((n, 2), jnp.float32))
        except (ValueError, TypeError):  # refused at this (n, f)
            continue
        usable[name] = rule
    return usable


def measure(
    sizes: Sequence[tuple[int, int, int]] = SIZES,
    *,
    repetitions: int = 7,
    only: Sequence[str] = (),
    beside_peers: bool = True,
    released: Path | None = None,
    lanes: int = 1,
    tell: Callable[[str], None] = print,
) -> pd.DataFrame:
    """One row a rule and size: milliseconds, passes over the stack, compile time.

    `passes` is the time over that of summing the rows once (the floor). `beyond_product` is the
    same after taking off one n × n × d matrix product, for the rules that need distances.
    `against_torch` and `against_numpy`: how many times as long the fastest peer of that kind takes.
    lanes: so many stacks at once, as in a sweep; times are one's.
    """
    rows = []
    for n, d, f in sizes:
        stacks = jax.random.normal(jax.random.key(n), (lanes, n, d), jnp.float32)
        programs = {
            "floor: one pass": moments.mean,
            "floor: n × n × d product": lambda x: jnp.matmul(x, x.T, precision="highest"),
        } | rules(n, f, only)
        calls, compile_seconds = {}, {}
        for name, function in programs.items():
            calls[name], compile_seconds[name] = compiled_lanes(function, stacks)
        if beside_peers:
            host = np.array(stacks[0])
            theirs, left_out = peers(host, f, released)
            for reason in left_out:
                tell(reason)
            calls["numpy sort(axis=0)"] = functools.partial(np.sort, host, axis=0)
            calls |= {
                name: call
                for name, call in theirs.items()
                if not only or name.partition(": ")[2] in only
            }
        timings = interleaved(calls, repetitions)
        one_pass = timings["floor: one pass"].median
        product = timings["floor: n × n × d product"].median
        for name, timing in timings.items():
            rows.append(
                {
                    "n": n,
                    "d": d,
                    "f": f,
                    "what": name,
                    "milliseconds": 1e3 * timing.median / lanes,
                    "least": 1e3 * timing.least / lanes,
                    "most": 1e3 * timing.most / lanes,
                    "passes": timing.median / one_pass,
                    "beyond_product": (timing.median - product) / one_pass,
                    "compile_seconds": compile_seconds.get(name, np.nan),
                    "against_torch": _fastest(timings, "torch", name) / timing.median,
                    "against_numpy": _fastest(timings, "numpy", name) / timing.median,
                }
            )
    return pd.DataFrame(rows)


def _fastest(timings: dict[str, Timing], kind: str, rule: str) -> float:
    """Seconds of the fastest peer of a kind at a rule of ours, NaN if there is none."""
    its_own = rule in timings and rule in NAMES
    names = [n for n in timings if its_own and n.endswith(f" {kind}: {rule}")]
    return min((timings[name].median for name in names), default=np.nan)
