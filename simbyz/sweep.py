"""Many runs of one program: seeds and traced hyperparameters as batch axes.

`vmap` inside a device, `pmap` across devices, and as many rounds as that takes. XLA's rounding
differs between `vmap` widths, and between one device and several, so both are fixed for a whole
sweep and the last round is padded up to them: a run's numbers then do not depend on which other
runs went with it, to the last bit.
"""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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
    data = _replicate(data, devices)
    at_once = len(devices) * width
    for first in range(0, len(lanes), at_once):
        began = time.perf_counter()
        some = list(lanes[first : first + at_once])
        padded = some + [some[-1]] * (at_once - len(some))
        keys, hyperparameters = _stack(padded, len(devices), width)
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
    """The simulator's functions over (devices, width) lanes: only here, devices become an axis.

    Cached, so that the same simulator compiles once however often it is swept.
    """

    def initialise(keys: jax.Array) -> State:
        return jax.vmap(simulator.initialise)(keys)

    def advance(states, hyperparameters, data, keys, first_step, num_steps, look_ahead):
        def lane(state: State, hyperparameters: Hyperparameters, key: jax.Array):
            return simulator.advance(
                state, hyperparameters, data, key, first_step, num_steps, look_ahead
            )

        return jax.vmap(lane)(states, hyperparameters, keys)

    def finish(states, data, keys, step):
        return jax.vmap(lambda state, key: simulator.finish(state, data, key, step))(states, keys)

    return _Programs(
        initialise=jax.pmap(initialise, devices=devices),
        advance=jax.pmap(
            advance,
            in_axes=(0, 0, 0, 0, None, None, None),
            static_broadcasted_argnums=5,
            donate_argnums=0,
            devices=devices,
        ),
        finish=jax.pmap(finish, in_axes=(0, 0, 0, None), devices=devices),
    )


def _replicate(data: PyTree, devices: Sequence[jax.Device]) -> PyTree:
    """One copy of the data on each device."""
    copy = jax.pmap(lambda device, data: data, in_axes=(0, None), devices=devices)
    return copy(np.arange(len(devices)), data)


def _stack(lanes: Sequence[Lane], devices: int, width: int) -> tuple[jax.Array, Hyperparameters]:
    def shape(leaf: jax.Array) -> jax.Array:
        return leaf.reshape(devices, width, *leaf.shape[1:])

    seeds = np.asarray([lane.seed for lane in lanes])
    hyperparameters = jax.tree.map(
        lambda *values: shape(jnp.asarray(values, jnp.float32)),
        *[lane.hyperparameters for lane in lanes],
    )
    return shape(jax.vmap(jax.random.key)(seeds)), hyperparameters


def _results(
    first: int, count: int, parts: list[Metrics], states: State, seconds: float
) -> Iterator[Result]:
    def by_lane(leaf: jax.Array) -> np.ndarray:
        return np.asarray(leaf).reshape(-1, *leaf.shape[2:])

    metrics = jax.tree.map(
        lambda *leaves: np.concatenate(list(map(by_lane, leaves)), axis=1), *parts
    )
    parameters = by_lane(states.parameters)
    for lane in range(count):
        columns = {name: leaf[lane] for name, leaf in metrics._asdict().items()}
        yield Result(first + lane, columns, parameters[lane], seconds)
