"""Several pre-aggregators and a rule, one after the other, as one rule."""

import functools
import inspect
from collections.abc import Callable
from inspect import Parameter
from typing import Any

import jax

from simbyz._arrays.calling import asks_for
from simbyz._arrays.stacking import PyTree, ravel

ASKED = ("key", "masses", "state")  # what a part may ask for, and the simulator gives


def chain(*parts: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """The rule "part after part": (updates, f) -> rule(... second(first(updates, f), f) ..., f).

        rule = chain(nearest_neighbor_mixing, partial(clipping, radius=2.0), trimmed_mean)
        rule(updates, f=3)

    Every part is given the same f, and checks it against the rows that it sees. After `bucketing`
    these are fewer, ⌈n/s⌉, with still up to f bad ones, so the rule's own condition counts buckets.

    Leaf by leaf, as `layerwise=True` of a rule: jax.tree.map(lambda leaf: rule(leaf, f), updates).

    A part whose signature has a keyword-only `key` without a value, as `bucketing` has, makes the
    result ask for a key as well: rule(updates, f, key=key). One such part gets that key itself;
    several get jax.random.split(key, how many), in order. Without such a part no key is accepted.
    Likewise `masses` and `state`, as weighted rules and rules with memory ask for: each part that
    asks is given them as they are. Masses stay with their rows, so that what a row holds after
    `nearest_neighbor_mixing` counts by the mass of the worker that it was; after `bucketing` rows
    are no worker's, and a weighted rule refuses them.

    Args:
      *parts: callables (updates, f), configured by functools.partial; all but the last return a
        stack, the last one the aggregate. A chain is a rule and may be a part, too.

    Returns:
      A callable (updates, f), with keyword-only `key`, `masses` and `state` where a part asks for
      them, which returns what its last part returns. It raises ValueError, at trace time, where a
      part refuses its (n, f), and says which part.

    Raises:
      ValueError: no part.
    """
    if not parts:
        raise ValueError("chain needs at least one part, the rule")
    num_keys = sum(asks_for(part, "key") for part in parts)
    wanted = [name for name in ASKED if any(asks_for(part, name) for part in parts)]
    signature = inspect.Signature(
        [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("updates", "f")]
        + [Parameter(name, Parameter.KEYWORD_ONLY) for name in wanted]
    )

    def chained(*arguments: Any, **options: Any) -> PyTree:
        given = signature.bind(*arguments, **options).arguments
        updates, f = given.pop("updates"), given.pop("f")
        keys = given.pop("key", None)
        keys = [keys] if num_keys == 1 else jax.random.split(keys, num_keys) if num_keys else []
        return _in_turn(parts, updates, f, list(keys), given)

    chained.__signature__ = signature  # type: ignore[attr-defined]  # what `asks_for` reads
    chained.__name__ = f"chain({', '.join(_name(part) for part in parts)})"
    return chained


def _in_turn(
    parts: tuple[Callable[..., PyTree], ...],
    updates: PyTree,
    f: int,
    keys: list[jax.Array],
    shared: dict[str, Any],
) -> PyTree:
    remaining = iter(keys)
    given = updates
    for number, part in enumerate(parts, 1):
        options = {name: shared[name] for name in shared if asks_for(part, name)}
        if asks_for(part, "key"):
            options["key"] = next(remaining)
        try:
            given = part(given, f, **options)
        except ValueError as error:
            n = len(ravel(updates)[0])
            raise ValueError(
                f"{error} (part {number} of {len(parts)}, {_name(part)}, of a chain given n={n})"
            ) from error
    return given


def _name(part: Callable[..., Any]) -> str:
    while isinstance(part, functools.partial):
        part = part.func
    return getattr(part, "__name__", repr(part))
