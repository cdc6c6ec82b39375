"""Aggregation rules beside the floor: one pass over the stack, and one n × n × d matrix product."""

import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.speed.timing import compiled, interleaved
from simbyz import aggregators, moments

# (n, d, f): the paper's MNIST network and its two f, its CIFAR-10 network, and a large one.
SIZES = ((51, 79_510, 24), (51, 79_510, 12), (25, 1_310_922, 5), (100, 1_000_000, 20))


def rules(n: int, f: int) -> dict[str, Callable[[jax.Array], jax.Array]]:
    """Every rule that (n, f) bears, as a function of the stack alone."""
    options: dict[str, dict[str, Any]] = {
        "centered_clipping": {"radius": 1.0},
        "dnc": {"key": jax.random.key(0)},
        "krum (released)": {"neighbours": n - f - 1, "squared": False},
        "bulyan (released)": {"variant": "released"},
    }
    named: dict[str, Callable[..., Any]] = {
        **aggregators.AGGREGATORS,
        "krum (released)": aggregators.multi_krum,
        "bulyan (released)": aggregators.bulyan,
    }
    usable: dict[str, Callable[[jax.Array], jax.Array]] = {}
    for name, rule in named.items():
        bound = functools.partial(rule, f=f, **options.get(name, {}))
        try:
            jax.eval_shape(bound, jax.ShapeDtypeStruct((n, 2), jnp.float32))
        except (ValueError, TypeError):  # refused at this (n, f), or it needs a trusted vector
            continue
        usable[name] = bound
    return usable


def byzfl(stack: np.ndarray, f: int) -> tuple[dict[str, Callable[[], object]], str]:
    """ByzFL's rules on the same stack, in PyTorch; or none, and why."""
    for package in ("torch", "byzfl"):
        if importlib.util.find_spec(package) is None:
            return {}, f"byzfl: left out, {package} is not installed"
    try:
        import byzfl
        import torch
    except Exception as error:  # one that was built for another PyTorch raises RuntimeError
        return {}, f"byzfl: left out, it can't be imported ({str(error).splitlines()[0]})"

    torch.set_num_threads(1)
    tensor = torch.from_numpy(stack)
    theirs = {
        "median": byzfl.Median(),
        "trimmed_mean": byzfl.TrMean(f),
        "meamed": byzfl.Meamed(f),
        "krum": byzfl.Krum(f),
        "multi_krum": byzfl.MultiKrum(f),
        "geometric_median": byzfl.GeometricMedian(),
        "centered_clipping": byzfl.CenteredClipping(tau=1.0),
    }
    return {f"byzfl {name}": functools.partial(rule, tensor) for name, rule in theirs.items()}, ""


def measure(
    sizes: Sequence[tuple[int, int, int]] = SIZES,
    *,
    repetitions: int = 7,
    only: Sequence[str] = (),
    peers: bool = True,
    tell: Callable[[str], None] = print,
) -> pd.DataFrame:
    """One row a rule and size: milliseconds, passes over the stack, compile time.

    `passes` is the time over that of summing the rows once (the floor). `beyond_product` is the
    same after taking off one n × n × d matrix product, for the rules that need distances.
    """
    rows = []
    for n, d, f in sizes:
        stack = jax.random.normal(jax.random.key(n), (n, d), jnp.float32)
        programs = {
            "floor: one pass": moments.mean,
            "floor: n × n × d product": lambda x: jnp.matmul(x, x.T, precision="highest"),
        } | {name: rule for name, rule in rules(n, f).items() if not only or name in only}
        calls, compile_seconds = {}, {}
        for name, function in programs.items():
            calls[name], compile_seconds[name] = compiled(function, stack)
        if peers:
            host = np.array(stack)
            theirs, left_out = byzfl(host, f)
            if left_out:
                tell(left_out)
            calls["numpy sort(axis=0)"] = functools.partial(np.sort, host, axis=0)
            calls |= theirs
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
                    "milliseconds": 1e3 * timing.median,
                    "least": 1e3 * timing.least,
                    "most": 1e3 * timing.most,
                    "passes": timing.median / one_pass,
                    "beyond_product": (timing.median - product) / one_pass,
                    "compile_seconds": compile_seconds.get(name, np.nan),
                }
            )
    return pd.DataFrame(rows)
