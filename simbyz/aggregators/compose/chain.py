"""Several pre-aggregators and a rule, one after the other, as one rule."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax

from simbyz._arrays.calling import (
    ASKED,
    asked,
    asks_for,
    name_of,
    require_known,
    require_of_updates,
    signature_of_all,
)
from simbyz._arrays.checks import random_key
from simbyz._arrays.geometry import full_product
from simbyz._arrays.halves import Halves, core_of, halves
from simbyz._arrays.stacking import PyTree, ravel


def chain(*parts: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """The rule "part after part": (updates, f) -> rule(... second(first(updates, f), f) ..., f).

        rule = chain(nearest_neighbor_mixing, partial(clipping, radius=2.0), trimmed_mean)
        rule(updates, f=3)

    Every part is given the same f, and checks it against the rows that it sees. After `bucketing`
    these are fewer, ⌈n/s⌉, with still up to f bad ones, so the rule's own condition counts buckets.

    `selection_of` a chain gives each given row's weight (n,) in the aggregate: the rule's weights,
    multiplied by the rows' weights in what each part made of them. Of parts and a rule that are
    linear in the rows they choose, weights @ updates is the aggregate: mixing and buckets of what
    Krum takes, say. A clipped row weighs the less.

    A part whose signature has a keyword-only `key` without a value, as `bucketing` has, makes the
    result ask for a key as well: rule(updates, f, key=key). One such part gets that key itself;
    several get jax.random.split(key, how many), in order. Without such a part no key is accepted.
    Likewise `masses`, `state` and what else the simulator gives, see `ASKED`: each part that asks
    is given them as they are. Masses stay with their rows, so that what a row holds after
    `nearest_neighbor_mixing` counts by the mass of the worker that it was; after `bucketing` rows
    are no worker's, and a weighted rule refuses them.

    Args:
      *parts: callables (updates, f), configured by functools.partial; all but the last return a
        stack, the last one the aggregate. A chain is a rule and may be a part, too.

    Returns:
      A callable (updates, f), with keyword-only parameters for what its parts ask for; it returns
      what its last part returns. It raises ValueError, at trace time, where a part refuses its
      (n, f), and says which part.

    Raises:
      ValueError: no part, or one that needs what a chain is not given.
      TypeError: a part that is no function.
    """
    if not parts:
        raise ValueError("chain needs at least one part, the rule")
    for part in parts:
        require_of_updates("each part of a chain", part)
        require_known(f"the part {name_of(part)} of a chain", part, ASKED)
    signature = signature_of_all(parts, ("updates", "f"), ASKED)
    num_keys = sum(asks_for(part, "key") for part in parts)

    def core(*arguments: Any, **options: Any) -> Halves:
        given = signature.bind(*arguments, **options).arguments
        updates, f, key = given.pop("updates"), given.pop("f"), given.pop("key", None)
        if key is not None:
            random_key("chain", key)
        several = num_keys > 1 and key is not None
        keys = list(jax.random.split(key, num_keys)) if several else [key] * num_keys
        return _in_turn(parts, updates, f, keys, given)

    core.__name__ = f"chain({', '.join(name_of(part) for part in parts)})"
    core.__doc__ = f"The rule {', then '.join(name_of(part) for part in parts)}."
    vars(core).update(__signature__=signature, parts=parts)  # what it asks for depends on its parts
    return halves(core)[0]


def parts_of(rule: Any) -> tuple[Any, ...]:
    """The parts of a chain, those of chains in it too; of another rule itself."""
    core = core_of(rule)
    while isinstance(core, functools.partial):
        core = core.func
    parts = getattr(core, "parts", None)
    return (rule,) if parts is None else tuple(one for part in parts for one in parts_of(part))


def _in_turn(
    parts: tuple[Callable[..., PyTree], ...],
    updates: PyTree,
    f: int,
    keys: list[jax.Array | None],
    shared: dict[str, Any],
) -> Halves:
    @contextlib.contextmanager
    def of_part(number: int) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            n, name = len(ravel(updates)[0]), name_of(parts[number])
            place = f"part {number + 1} of {len(parts)}, {name}, of a chain given n={n}"
            raise ValueError(f"{error} ({place})") from error

    given, done = updates, []
    for number, part in enumerate(parts):
        key = keys.pop(0) if asks_for(part, "key") else None
        with of_part(number):
            done.append(_both(part, given, f, asked(part, {**shared, "key": key})))
            if number < len(parts) - 1:
                given = done[-1].result()

    def result() -> PyTree:
        with of_part(len(parts) - 1):
            return done[-1].result()

    def weights() -> jax.Array:
        of_parts = []
        for number, both in enumerate(done):
            with of_part(number):
                of_parts.append(both.weights())
        # Weights of rows (m,) are weights (n,) of those that they are made of, by (m, n) weights.
        return functools.reduce(full_product, reversed(of_parts))

    return Halves(result, weights)


def _both(part: Callable[..., PyTree], updates: PyTree, f: int, options: dict[str, Any]) -> Halves:
    core = core_of(part)
    if core is not None:
        return core(updates, f, **options)
    result = part(updates, f, **options)

    def weights() -> jax.Array:
        raise ValueError("rows have weights in what is made by `halves` alone")

    return Halves(lambda: result, weights)
