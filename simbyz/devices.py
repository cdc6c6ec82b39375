"""The one place where devices become an axis: lanes, `width` of them at once on each device.

`vmap` inside a device, `pmap` across devices. Lanes that are missing from a full round are copies
of the last one, whose results nobody reads.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import jax
import numpy as np

PyTree = Any
Lane = TypeVar("Lane")
# Whose an argument is: each lane's own, leaves (devices, width, ...); each device's, leaves
# (devices, ...), see `copy_to`; everybody's; or what shapes the program.
Whose = Literal["lane", "device", "all", "static"]


def over_lanes(
    function: Callable[..., Any],
    devices: Sequence[jax.Device],
    arguments: Sequence[Whose],
    *,
    donated: Sequence[int] = (),
) -> Callable[..., Any]:
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
    return jax.pmap(
        lambda *values: jax.vmap(function, in_axes=in_a_device)(*values),
        in_axes=across,
        static_broadcasted_argnums=[i for i, whose in enumerate(arguments) if whose == "static"],
        donate_argnums=tuple(donated),
        devices=devices,
    )


def lane_by_lane(
    function: Callable[[PyTree], PyTree], devices: Sequence[jax.Device]
) -> Callable[[PyTree], PyTree]:
    """`over_lanes` of a function of one argument, each lane's own, with a device's lanes in turns:
    for what is done once, and takes longer to compile than to run, the more so under `vmap`.
    """
    return jax.pmap(functools.partial(jax.lax.map, function), devices=devices)


def copy_to(devices: Sequence[jax.Device], data: PyTree) -> PyTree:
    """One copy of the data on each device: leaves (devices, ...)."""
    return _copier(tuple(devices))(np.arange(len(devices)), data)


@functools.lru_cache(maxsize=4)
def _copier(devices: tuple[jax.Device, ...]) -> Callable[[np.ndarray, PyTree], PyTree]:
    return jax.pmap(lambda device, data: data, in_axes=(0, None), devices=devices)


def filled(lanes: Sequence[Lane], count: int) -> list[Lane]:
    """The lanes, and copies of the last one up to `count`."""
    return [*lanes, *[lanes[-1]] * (count - len(lanes))]


def spread(leaf: jax.Array, devices: int) -> jax.Array:
    """(devices · width, ...) -> (devices, width, ...)."""
    return leaf.reshape(devices, -1, *leaf.shape[1:])


def gathered(leaf: jax.typing.ArrayLike) -> np.ndarray:
    """(devices, width, ...) -> (devices · width, ...), on the host."""
    leaf = np.asarray(leaf)
    return leaf.reshape(-1, *leaf.shape[2:])
