"""Many runs of one program: seeds and traced hyperparameters as batch axes.

As many at once as fit all devices, and as many rounds as that takes. XLA's rounding differs
between `vmap` widths, so the width is fixed for a whole sweep and the last round is padded up to
it: a run's numbers then do not depend on which other runs went with it, to the last bit.
"""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from simbyz.devices import copy_to, filled, gathered, over_lanes, spread
from simbyz.metrics import Metrics
from simbyz.training import Hyperparameters, Simulator, State

PyTree = Any

# Steps in one call of the compiled program: results come to the host, and progress is told, in
# between.
CHUNK = 50


class Lane(NamedTuple):
    """One run of a sweep."""

    seed: int
    hyperparameters: Hyperparameters


class Result(NamedTuple):
    """A finished run: its place in the sweep, its columns (steps + 1,) by name, and the final
    parameters.

    The last row of the columns tells of the state after the last step, NaN where that takes another
    step.
    """

    index: int  # type: ignore[assignment]  # hides the method of a tuple, as is meant
    columns: dict[str, np.ndarray]
    parameters: np.ndarray
    seconds: float  # of its round, compilation included, divided by the runs in it


def sweep(
    simulator: Simulator,
    lanes: Sequence[Lane],
    data: PyTree,
    *,
    steps: int,
    width: int,
    look_ahead: bool = True,
    devices: Sequence[jax.Device] | None = None,
    progress: Callable[[int], None] = lambda run_steps: None,
) -> Iterator[Result]:
    """Run every lane, `width` at once on each device.

    Args:
      simulator: of the configuration that the lanes share.
      lanes: seeds and hyperparameters, the latter of one structure.
      data: of the task.
      steps: steps of each run.
      width: lanes that one device runs at once.
      look_ahead: False for lanes without Nesterov, where the simulator's program has both.
      devices: all local ones if None.
      progress: called with the number of steps done since the last call, summed over runs.

    Yields:
      Each run's result, in order, as soon as its round is finished.
    """
    devices = jax.local_devices() if devices is None else list(devices)
    programs = _programs(simulator, tuple(devices))
    data = copy_to(devices, data)
    at_once = len(devices) * width
    for first in range(0, len(lanes), at_once):
        began = time.perf_counter()
        some = list(lanes[first : first + at_once])
        keys, hyperparameters = _stack(filled(some, at_once), len(devices))
        states = programs.initialise(keys)
        parts = []
        for step in range(0, steps, CHUNK):
            count = min(CHUNK, steps - step)
            states, metrics = programs.advance(
                states, hyperparameters, data, keys, np.int32(step), count, np.bool_(look_ahead)
            )
            parts.append(jax.device_get(metrics))
            progress(count * len(some))
        last = jax.device_get(programs.finish(states, data, keys, np.int32(steps)))
        parts.append(jax.tree.map(lambda leaf: leaf[..., None], last))
        seconds = (time.perf_counter() - began) / len(some)
        yield from _results(first, len(some), parts, states, seconds)


class _Programs(NamedTuple):
    initialise: Callable[..., State]
    advance: Callable[..., tuple[State, Metrics]]
    finish: Callable[..., Metrics]


@functools.lru_cache(maxsize=4)
def _programs(simulator: Simulator, devices: tuple[jax.Device, ...]) -> _Programs:
    """The simulator's functions over lanes, cached, so that the same simulator compiles once
    however often it is swept.
    """

    return _Programs(
        initialise=over_lanes(simulator.initialise, devices, ["lane"]),
        advance=over_lanes(
            simulator.advance,
            devices,
            ["lane", "lane", "device", "lane", "all", "static", "all"],
            donated=[0],
        ),
        finish=over_lanes(simulator.finish, devices, ["lane", "device", "lane", "all"]),
    )


def _stack(lanes: Sequence[Lane], devices: int) -> tuple[jax.Array, Hyperparameters]:
    seeds = np.asarray([lane.seed for lane in lanes])
    hyperparameters = jax.tree.map(
        lambda *values: spread(jnp.asarray(values, jnp.float32), devices),
        *[lane.hyperparameters for lane in lanes],
    )
    return spread(jax.vmap(jax.random.key)(seeds), devices), hyperparameters


def _results(
    first: int, count: int, parts: list[Metrics], states: State, seconds: float
) -> Iterator[Result]:
    metrics = jax.tree.map(
        lambda *leaves: np.concatenate(list(map(gathered, leaves)), axis=1), *parts
    )
    parameters = gathered(states.parameters)
    for lane in range(count):
        columns = {name: leaf[lane] for name, leaf in metrics._asdict().items()}
        yield Result(first + lane, columns, parameters[lane], seconds)
