"""A user's own rule or attack, given as module:name, such as mypackage.myrule:my_rule.

What is wrong with it is said in one line before anything is computed.
"""

import contextlib
import functools
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from simbyz._arrays.calling import ASKED, asked
from simbyz.aggregators.base import StatefulRule


class Wrong(ValueError):
    """It is no rule or attack at all, as against a rule that refuses an (n, f)."""


def is_own(name: str) -> bool:
    return ":" in name


def load(name: str) -> Any:
    """The object at module:name.

    Raises:
      Wrong: there is none, it can't be imported, or it is nothing to call.
    """
    path, _, attribute = name.partition(":")
    if not path or not attribute:
        raise Wrong(f"{name!r} must be module:name, such as mypackage.myrule:my_rule")
    try:
        module = importlib.import_module(path)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{path}.".startswith(f"{error.name}."):
            raise Wrong(
                f"{name}: there is no module {error.name}: it must lie in the folder that this is "
                "started in, or be installed"
            ) from error
        raise Wrong(f"{name}: {path} can't be imported: {_line(error)}") from error
    if not hasattr(module, attribute):
        raise Wrong(f"{name}: module {path} has no {attribute}")
    found = getattr(module, attribute)
    if not (callable(found) or isinstance(found, StatefulRule)):
        raise Wrong(f"{name} must be a function, got {type(found).__name__}")
    return found


def digest(name: str) -> str:
    """A digest of the file that an own function is named in, and of those that it stands in where
    it comes from elsewhere, so that runs of an earlier version are not taken for those of this one;
    empty for the library's.
    """
    if not is_own(name):
        return ""
    found = load(name)
    parts = found if isinstance(found, StatefulRule) else (found,)
    modules = [name.partition(":")[0], *(_module_of(part) for part in parts)]
    files = [getattr(sys.modules.get(one), "__file__", None) for one in dict.fromkeys(modules)]
    content = [Path(file).read_bytes() for file in files if file]
    return hashlib.sha256(b"".join(content)).hexdigest()[:10] if content else "unknown"


def _module_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(inspect.unwrap(function), "__module__", None) or ""


def check_rule(name: str, rule: Callable[..., Any] | StatefulRule, n: int, d: int, f: int) -> None:
    """Raises Wrong unless it is a rule: (updates (n, d), f) -> floats (d,)."""
    stateful = isinstance(rule, StatefulRule)
    function = rule.aggregate if isinstance(rule, StatefulRule) else rule
    stack, row = jax.ShapeDtypeStruct((n, d), jnp.float32), jax.ShapeDtypeStruct((d,), jnp.float32)

    def aggregate(stack: jax.Array, key: jax.Array, zeros: jax.Array) -> Any:
        known: dict[str, Any] = {"key": key, "trusted": zeros}
        known |= {"state": rule.start(zeros)} if stateful else {}  # type: ignore[union-attr]
        known = asked(function, known)
        _bind(name, function, (stack, f), known, "(updates, f)")
        return function(stack, f, **known)

    with _in_a_line(name):
        given = jax.eval_shape(aggregate, stack, _key(), row)
    _check_shape(name, given, (d,), "an aggregate (d,)")
    if isinstance(rule, StatefulRule):
        _check_memory(name, rule, stack, row)


def _check_memory(name: str, rule: StatefulRule, stack: Any, row: Any) -> None:
    """Raises Wrong unless what a rule learns is of the kind of what it starts with."""

    def memories(stack: jax.Array, aggregate: jax.Array) -> tuple[Any, Any]:
        given = rule.start(jnp.zeros_like(aggregate)), stack, aggregate
        _bind(f"{name}'s learn", rule.learn, given, {}, "(state, updates, aggregate)")
        return given[0], rule.learn(*given)

    with _in_a_line(name):
        first, later = jax.eval_shape(memories, stack, row)
    kinds = [jax.tree.map(lambda leaf: f"{leaf.dtype} {leaf.shape}", one) for one in (first, later)]
    if kinds[0] != kinds[1]:
        raise Wrong(f"{name}'s learn must return what start does, here {kinds[0]}, got {kinds[1]}")


def check_attack(name: str, attack: Callable[..., Any], n: int, d: int, f: int) -> None:
    """Raises Wrong unless it is an attack: (key, honest (h, d), num_byzantine) -> floats
    (num_byzantine, d).
    """
    honest = jax.ShapeDtypeStruct((n - f, d), jnp.float32)

    def rows(key: jax.Array, honest: jax.Array) -> Any:
        _bind(name, attack, (key, honest, f), {}, "(key, honest, num_byzantine)")
        return attack(key, honest, f)

    with _in_a_line(name):
        given = jax.eval_shape(rows, _key(), honest)
    _check_shape(name, given, (f, d), "a row an attacker, (num_byzantine, d),")


def _key() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0))


def _bind(name: str, function: Callable, given: tuple, known: dict, wanted: str) -> None:
    try:
        inspect.signature(function).bind(*given, **known)
    except TypeError as error:
        raise Wrong(
            f"{name} must take {wanted}{_behind_a_star(function, wanted)}: {error}"
        ) from error


def _behind_a_star(function: Callable, wanted: str) -> str:
    """Where a rule's parameters stand that it asks for, if it has such a one before a star."""
    for name, parameter in inspect.signature(function).parameters.items():
        if name in ASKED and name not in wanted and parameter.kind is not parameter.KEYWORD_ONLY:
            return f", and what it asks for behind a star, as in {wanted[:-1]}, *, {name})"
    return ""


def _check_shape(name: str, given: Any, shape: tuple[int, ...], what: str) -> None:
    if getattr(given, "shape", None) != shape or not jnp.issubdtype(given.dtype, jnp.floating):
        got = f"{given.dtype} {given.shape}" if hasattr(given, "shape") else type(given).__name__
        raise Wrong(f"{name} must return {what} of floats, here {shape}, got {got}")


@contextlib.contextmanager
def _in_a_line(name: str) -> Iterator[None]:
    """What a function raises while it is traced, as `Wrong` in one line; its own ValueErrors,
    which refuse an (n, f), as they are.
    """
    try:
        yield
    except ValueError:
        raise
    except jax.errors.JAXTypeError as error:
        raise Wrong(
            f"{name} can't be compiled: write it with jax.numpy, without a branch on an array's "
            f"values ({_line(error)})"
        ) from error
    except (Exception, SystemExit) as error:
        raise Wrong(f"{name} fails: {_line(error)}") from error


def _line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
