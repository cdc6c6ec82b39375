"""The one place where devices become an axis: lanes, `width` of them at once on each device.

`vmap` inside a device, `pmap` across devices. Lanes that are missing from a full round are copies
of the last one, whose results nobody reads.
"""

import contextlib
import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import jax
import numpy as np

from simbyz._arrays.stacking import PyTree

Lane = TypeVar("Lane")
Array = TypeVar("Array", jax.Array, np.ndarray)
# Whose an argument is: each lane's own, leaves (devices, width, ...); each device's, leaves
# (devices, ...), see `copy_to`; everybody's; or what shapes the program.
Whose = Literal["lane", "device", "all", "static"]


def over_lanes(
    function: Callable[..., Any],
    devices: Sequence[jax.Device],
    arguments: Sequence[Whose],
    *,
    donated: Sequence[int] = (),
) -> jax.stages.Wrapped:
    """`function` of one lane, compiled for the lanes of all devices.

    Args:
      function: of as many positional arguments as are listed.
      devices: to run on.
      arguments: whose each argument is.
      donated: numbers of the arguments whose memory the results may take.

    Returns:
      A function of all lanes, with results (devices, width, ...).
    """
    in_a_device = tuple(0 if whose == "lane" else None for whose in arguments)
    across = tuple(0 if whose in ("lane", "device") else None for whose in arguments)

    def of_a_device(*values: Any) -> Any:
        return jax.vmap(function, in_axes=in_a_device)(*values)

    mapped = jax.pmap(
        of_a_device,
        in_axes=across,
        static_broadcasted_argnums=[i for i, whose in enumerate(arguments) if whose == "static"],
        donate_argnums=tuple(donated),
        devices=devices,
    )
    _forget_with(mapped, of_a_device)
    return mapped


def _forget_with(mapped: Callable[..., Any], function: Callable[..., Any]) -> None:
    """Let go of the programs of a mapped function together with it.

    JAX 0.10.2 keeps them for good: the cache of `pmap` is weak in the function that is mapped, and
    what it keeps of it holds the function.
    """
    with contextlib.suppress(ImportError, AttributeError):  # other versions
        from jax._src.pmap import _cached_shard_map

        evict = getattr(_cached_shard_map, "evict_function")  # noqa: B009 - unknown to type checkers
        weakref.finalize(mapped, evict, function).atexit = False


def quickly_compiled(mapped: jax.stages.Wrapped) -> Callable[..., Any]:
    """A program of `over_lanes`, of a function of arrays that takes longer to compile than to run:
    on a CPU, LLVM is asked for its first level of optimisation instead of its third.
    """

    @functools.lru_cache(maxsize=4)
    def program(*arrays: jax.ShapeDtypeStruct) -> Callable[..., Any]:
        return mapped.lower(*arrays).compile({"xla_backend_optimization_level": "1"})

    def call(*arrays: jax.Array) -> Any:
        # Among several processes a program compiled ahead wants arrays of all of them.
        if jax.default_backend() != "cpu" or jax.process_count() > 1:
            return mapped(*arrays)
        shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays]
        return program(*shapes)(*arrays)

    return call


def copy_to(devices: Sequence[jax.Device], data: PyTree) -> PyTree:
    """One copy of the data on each device: leaves (devices, ...)."""
    return _copier(tuple(devices))(np.arange(len(devices)), data)


@functools.lru_cache(maxsize=4)
def _copier(devices: tuple[jax.Device, ...]) -> Callable[[np.ndarray, PyTree], PyTree]:
    return jax.pmap(lambda device, data: data, in_axes=(0, None), devices=devices)


def filled(lanes: Sequence[Lane], count: int) -> list[Lane]:
    """The lanes, and copies of the last one up to `count`."""
    return [*lanes, *[lanes[-1]] * (count - len(lanes))]


def spread(leaf: Array, devices: int) -> Array:
    """(devices · width, ...) -> (devices, width, ...)."""
    return leaf.reshape(devices, -1, *leaf.shape[1:])


def gathered(leaf: jax.typing.ArrayLike) -> np.ndarray:
    """(devices, width, ...) -> (devices · width, ...), on the host."""
    leaf = np.asarray(leaf)
    return leaf.reshape(-1, *leaf.shape[2:])
