"""Checks of arguments, with messages that name what was got, what is allowed and what to do."""

import math
import operator
from collections.abc import Callable, Iterable
from inspect import signature
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

NUMBERS = int | float | np.generic | np.ndarray | jax.Array


def integer(name: str, value: Any) -> int:
    """The value as an int.

    Raises:
      TypeError: it is none, is a bool, or is traced.
    """
    if isinstance(value, jax.core.Tracer):
        raise TypeError(
            f"{name} must be an int, got a traced value: under a transformation fix it before, by "
            f'functools.partial or jax.jit(..., static_argnames="{name}")'
        )
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be an int, got {value}")
    try:
        return operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name} must be an int, got {value!r}") from error


def at_least(name: str, value: Any, least: int) -> int:
    """The value as an int that is not below the least.

    Raises:
      TypeError: it is no int.
      ValueError: it is below.
    """
    number = integer(name, value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def needs_at_least(of: str, name: str, value: Any, least: int) -> int:
    """`at_least`, of what a rule or its like needs."""
    number = integer(name, value)
    if number < least:
        raise ValueError(f"{of} needs {name} >= {least}, got {name}={number}")
    return number


def require(rule: str, n: int, f: int, slope: int, offset: int) -> int:
    """The checked f, if n >= slope · f + offset; these are static ints, so this runs at trace time.

    Raises:
      TypeError: n or f is not an integer, or is traced.
      ValueError: f is negative, or the inequality does not hold.
    """
    try:
        n, f = integer("n", n), integer("f", f)
    except TypeError as error:
        raise TypeError(f"{rule}: {error}") from error
    if f < 0:
        raise ValueError(f"{rule} needs f >= 0, got n={n}, f={f}")
    if n < slope * f + offset:
        raise ValueError(f"{rule} needs n >= {slope}f + {offset}, got n={n}, f={f}")
    return f


def one_number(of: str, name: str, value: Any) -> None:
    """Checks that a value is one number, which may be traced: several would be spread over rows or
    coordinates in silence.

    Raises:
      TypeError: it is no number.
      ValueError: it is several.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, NUMBERS):
        raise TypeError(f"{of} needs a number as {name}, got {value!r}")
    if np.shape(value):
        raise ValueError(f"{of} needs one number as {name}, got shape {np.shape(value)}")


def not_negative(of: str, name: str, value: Any) -> None:
    """Checks one number that may be traced, its sign where it is not.

    Raises:
      TypeError: it is no number.
      ValueError: it is several, or negative or NaN (if not traced).
    """
    one_number(of, name, value)
    # As a float: within a trace, comparing an array makes a traced value of it.
    if not isinstance(value, jax.core.Tracer) and not float(value) >= 0:
        raise ValueError(f"{of} needs {name} >= 0, got {name}={value}")


def share_below_one(of: str, name: str, value: Any) -> Any:
    """The value as NumPy's, if it is a share that counts can be taken of.

    Raises:
      TypeError: it is no number, or is traced.
      ValueError: it is several, or not from 0 to below 1.
    """
    one_number(of, name, value)
    require_fixed(of, name, value)
    if not 0 <= float(value) < 1:
        raise ValueError(f"{of} needs 0 <= {name} < 1, got {name}={value}")
    return np.asarray(value)[()]


def require_fixed(of: str, name: str, value: Any) -> None:
    """Raises TypeError where a number that counts are made of is traced."""
    if isinstance(value, jax.core.Tracer):
        raise TypeError(f"{of} needs a {name} that is not traced: fix it before, by partial")


def number(name: str, value: Any, words: str, holds: Callable[[float], bool]) -> None:
    """Checks one number that may be traced, its range where it is not.

    Args:
      name: of the number.
      value: of any kind.
      words: the range, such as "at least 0".
      holds: whether a float is in it.

    Raises:
      TypeError: it is no number.
      ValueError: out of its range, or several.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, NUMBERS):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if np.shape(value):
        raise ValueError(
            f"{name} must be one number, got shape {np.shape(value)}: several are runs of their own"
        )
    if not isinstance(value, jax.core.Tracer) and not holds(float(value)):
        raise ValueError(f"{name} must be {words}, got {value}")


# Steps and workers are counted in ints of 32 bits: beyond this none is ever reached.
NEVER = 2**31 - 1


def reached(name: str, value: Any) -> int:
    """A number of a step, a worker or a period as an int that 32 bits hold: what is larger, such as
    `sys.maxsize` for a step that never comes, is the largest of these, which never comes either.

    Raises:
      TypeError: it is no int.
    """
    return min(integer(name, value), NEVER)


def random_key(of: str, key: Any) -> None:
    """Checks a key of random numbers.

    Raises:
      TypeError: it is none.
    """
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and shape == ()
    raw = dtype == jnp.uint32 and shape is not None and len(shape) == 1
    if not typed and not raw:
        raise TypeError(f"{of} needs a key as jax.random.key(0) gives, got {key!r}")


def flag(name: str, value: Any) -> bool:
    """The value, if it is True or False.

    Raises:
      TypeError: it is neither: any other would count as one of them in silence.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def require_callable(what: str, value: Any, example: str) -> None:
    """Raises TypeError where a function is asked for, such as the example, and none is given, or
    one of Python's own, such as `max`, that does not tell its parameters.
    """
    if not callable(value):
        raise TypeError(f"{what} must be a function, such as {example}, got {value!r}")
    try:
        signature(value)
    except ValueError as error:
        raise TypeError(
            f"{what} must be a function that tells its parameters, such as {example}, got "
            f"{value!r}: put it into a function of your own"
        ) from error


def require_arrays(what: str, given: Any) -> None:
    """Raises TypeError where a pytree that a user's function gave holds something else."""
    for leaf in jax.tree.leaves(given):
        if not isinstance(leaf, NUMBERS):
            raise TypeError(f"{what} must give arrays or numbers, got {type(leaf).__name__}")


def require_devices(devices: Any) -> list[jax.Device]:
    """These devices, or the one, as a list, each once.

    Raises:
      TypeError: something else is among them.
      ValueError: none, or one twice.
    """
    found = list(devices) if isinstance(devices, Iterable) else [devices]
    if not all(isinstance(device, jax.Device) for device in found):
        raise TypeError(f"devices must be of jax.local_devices(), got {devices}")
    if not found:
        raise ValueError("devices must name at least one, such as jax.local_devices() does")
    if len(set(found)) < len(found):
        raise ValueError(f"devices must name each once, got {devices}")
    return found


def in_a_line(values: Any) -> str:
    """An array in the one line that an error is, its middle left out where it is long."""
    return np.array2string(np.asarray(values), max_line_width=10**9, threshold=30).replace("\n", "")


def require_shape(what: str, value: Any, shape: tuple[int, ...], words: str) -> None:
    """Whether a user's function gave an array of this shape.

    Args:
      what: gave it, such as "the rule krum".
      value: that it gave.
      shape: expected.
      words: what this stands for, such as "an aggregate (d,)".

    Raises:
      ValueError: it gave another.
    """
    kinds = jax.Array | jax.ShapeDtypeStruct | np.ndarray | np.generic | float | int
    is_array = isinstance(value, kinds)
    if not is_array or np.shape(value) != shape:
        got = f"shape {np.shape(value)}" if is_array else type(value).__name__
        raise ValueError(f"{what} must return {words} of shape {shape}, got {got}")


def require_floats(what: str, value: Any) -> None:
    """Raises ValueError where an array that a user's function gave is not floating point."""
    if not jnp.issubdtype(jnp.asarray(value).dtype, jnp.floating):
        raise ValueError(f"{what} must return floats, got {jnp.asarray(value).dtype}")


def floor_of_product(share: Any, number: Any) -> Any:
    """⌊share · number⌋, where a product that rounding alone keeps from a whole number counts as it:
    29 for 0.29 of 100, though 0.29 * 100 < 29 in floating point.

    Args:
      share: a number, or an array of them.
      number: likewise.

    Returns:
      An int, or an array of ints.
    """
    bits = [np.finfo(type(one)).eps for one in (share, number) if isinstance(one, np.floating)]
    rounding = max(1e-12, *(4 * float(eps) for eps in bits)) if bits else 1e-12
    product = np.asarray(share, np.float64) * np.asarray(number, np.float64) * (1 + rounding)
    return math.floor(product) if product.ndim == 0 else np.floor(product).astype(int)
