"""Functions compiled once a process, whichever test file asks: compiling is what tests cost."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib

# Of the compiler's two generators of code the one that takes half of the other's time, and a
# program in one piece instead of 32. Other versions may not know the options.
QUICK = (
    {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
    if jaxlib.__version__.startswith("0.10.")
    else None
)

LONG_IN_LANES = ("bulyan", "minimum_diameter_averaging", "minimum_variance_averaging", "smea")

_programs: dict[tuple, tuple[Callable, tuple]] = {}


def quick_jit(function: Callable, **options: Any) -> Callable:
    """jax.jit for what is compared up to a tolerance: compiled in half the time where few
    optimisations are asked for. Not for what has to have the same bits in two programs.
    """
    quick = jax.config.read("jax_disable_most_optimizations")
    return jax.jit(function, compiler_options=QUICK if quick else None, **options)


def compiled(function: Callable, **fixed: Any) -> Callable:
    """`function` with some arguments fixed, under jit: the same program for the same arguments,
    which are compared by their values, arrays by identity.
    """
    return _once(lambda given: given, "value", function, fixed)


def compiled_gradient(function: Callable, **fixed: Any) -> Callable:
    """The derivative of the summed result by the first argument, likewise."""
    return _once(
        lambda given: jax.grad(lambda rows: jnp.sum(given(rows))), "gradient", function, fixed
    )


def compiled_lanes(function: Callable, **fixed: Any) -> Callable:
    """The function over a leading axis of its first argument, likewise."""
    return _once(jax.vmap, "lanes", function, fixed)


def products_with_all_digits(function: Callable, *arguments: Any) -> int:
    """The number of products in the traced function, after checking that none lets a GPU round its
    factors to TF32, as the default does.
    """
    program = str(jax.make_jaxpr(function)(*arguments))
    products = program.count("dot_general")
    assert products == program.count("precision=(Precision.HIGHEST")
    return products


def _once(of: Callable, kind: str, function: Callable, fixed: dict[str, Any]) -> Callable:
    values = tuple(id(value) if hasattr(value, "shape") else value for value in fixed.values())
    key = (kind, function, tuple(fixed), values, tuple(map(type, fixed.values())))
    if key not in _programs:
        # What is compared by identity has to live as long.
        # The quick generator repeats what lanes share: over Bulyan's it did not come to an end.
        slow = kind == "lanes" and getattr(function, "__name__", "") in LONG_IN_LANES
        jit = jax.jit if slow else quick_jit
        _programs[key] = jit(of(partial(function, **fixed))), tuple(fixed.values())
    return _programs[key][0]
