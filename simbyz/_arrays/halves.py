"""Halves: two results that share a computation, each public as a function of its own.

A rule's *core* takes the rows once and gives two functions without arguments: the aggregate, and
each row's weight in it. What both need is computed by the core, what only one needs by that one, so
that a half called alone costs what it would cost if there were no other. The core of a
pre-aggregator likewise gives the new rows, and their weights of the given ones.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec

import jax

from simbyz._arrays.stacking import PyTree

P = ParamSpec("P")


class Halves(NamedTuple):
    """The results of a core, each computed when it is called."""

    result: Callable[[], PyTree]  # the aggregate; of a pre-aggregator, the m new rows
    weights: Callable[[], jax.Array]  # (n,), each row's in it; (m, n), the given rows' in each


def halves(
    core: Callable[P, Halves],
) -> tuple[Callable[P, PyTree], Callable[P, jax.Array]]:
    """The two halves of a core as public functions, with its signature.

        krum, krum_selection = halves(_krum)

    Args:
      core: (updates, f, *, ...) -> Halves; its docstring is that of the first half.

    Returns:
      The function `name` of a core `_name`, which gives the result, and `name_selection`, which
      gives the weights.
    """
    name = core.__name__.removeprefix("_")
    core.__qualname__ = name  # which Python's own errors name, of an argument that is missing

    @functools.wraps(core)
    def result(*args: P.args, **kwargs: P.kwargs) -> PyTree:
        return core(*args, **kwargs).result()

    @functools.wraps(core)
    def weights(*args: P.args, **kwargs: P.kwargs) -> jax.Array:
        return core(*args, **kwargs).weights()

    signature = inspect.signature(core).replace(return_annotation=inspect.Signature.empty)
    pair = result, weights
    for half, its_name in zip(pair, (name, f"{name}_selection"), strict=True):
        half.__name__ = half.__qualname__ = its_name
        # A wrapper may copy these attributes, but is neither of the pair: see `core_of`.
        vars(half).update(__signature__=signature, core=core, halves=pair)
    weights.__doc__ = f"Each row's weight in `{name}`, with the same arguments: see there."
    return pair


def core_of(function: Callable[..., Any]) -> Callable[..., Halves] | None:
    """The core of a half, configured by functools.partial as the half is; None of no half."""
    if isinstance(function, functools.partial):
        core = core_of(function.func)
        return core and functools.partial(core, *function.args, **function.keywords)
    pair = getattr(function, "halves", ())
    return function.core if any(function is half for half in pair) else None  # type: ignore[attr-defined]


def selection_of(rule: Callable[..., PyTree]) -> Callable[..., jax.Array]:
    """The selection of a rule, (updates, f) -> each row's weight (n,), configured as the rule is.

        selection_of(functools.partial(krum, squared=False))
        selection_of(chain(nearest_neighbor_mixing, krum))

    Where the rule is a weighted mean of rows, weights @ updates is its aggregate.

    Raises:
      ValueError: a rule that is not made by `halves`: it gives its aggregate alone.
    """
    if isinstance(rule, functools.partial):
        return functools.partial(selection_of(rule.func), *rule.args, **rule.keywords)
    if core_of(rule) is None:
        raise ValueError(f"selection_of needs a rule made by `halves`, got {rule!r}")
    return rule.halves[1]  # type: ignore[attr-defined]


def share_a_core(rule: Callable[..., Any], selection: Callable[..., Any]) -> bool:
    """Whether they are the two halves of one core, configured alike."""
    (first, *of_rule), (second, *of_selection) = _configured(rule), _configured(selection)
    pair: tuple[Any, ...] = getattr(first, "halves", ())
    if len(pair) != 2 or first is not pair[0] or second is not pair[1]:
        return False
    return len(of_rule) == len(of_selection) and all(map(_alike, of_rule, of_selection))


def _configured(function: Callable[..., Any]) -> tuple[Any, ...]:
    if not isinstance(function, functools.partial):
        return (function,)
    return function.func, *function.args, *sorted(function.keywords.items())


def _alike(one: Any, other: Any) -> bool:
    """Whether two given values are the same; of arrays, only whether they are one array."""
    if isinstance(one, tuple) and isinstance(other, tuple):  # a name and its value
        return one[0] == other[0] and _alike(one[1], other[1])
    return one is other or (isinstance(one, int | float | str) and one == other)
