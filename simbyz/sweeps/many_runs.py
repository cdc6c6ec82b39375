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

from simbyz._arrays.calling import require_taking
from simbyz._arrays.checks import NUMBERS, flag, integer, require_devices
from simbyz._arrays.stacking import PyTree
from simbyz.simulator import Hyperparameters, Simulator, State
from simbyz.simulator.config import check_numbers, one_place
from simbyz.simulator.metrics import Metrics
from simbyz.sweeps.checkpoints import Checkpoint, Checkpoints, discard
from simbyz.sweeps.lanes import copy_to, filled, gathered, over_lanes, quickly_compiled, spread
from simbyz.sweeps.resume import (
    Keeper,
    digest_of,
    digests_of,
    joined,
    latest_accuracy,
    restored,
)

# Steps in one call of the compiled program, unless it is told otherwise: results come to the host,
# and progress is told, in between.
CHUNK = 50
LARGEST_SEED = 2**31 - 1  # JAX keeps 32 bits of a seed: larger ones would be others' again


class Lane(NamedTuple):
    """One run of a sweep."""

    seed: int
    hyperparameters: Hyperparameters
    name: str = ""  # what no other run has; asked for where checkpoints are kept


class Result(NamedTuple):
    """A finished run: its place in the sweep, its columns (steps + 1,) by name, what it trained.

    The last row of the columns tells of the state after the last step, NaN where that takes another
    step. `simulator.unravel` makes the model's own pytree of (d,) parameters.
    """

    index: int  # type: ignore[assignment]  # hides the method of a tuple, as is meant
    columns: dict[str, np.ndarray]
    parameters: np.ndarray  # (d,), of runs without a server (h, d)
    seconds: float  # of its round, compilation included, divided by the runs in it
    model_state: PyTree  # running statistics of the model, {} if it has none


class Stopped(KeyboardInterrupt):
    """A sweep ended between two chunks as it was asked to."""


def sweep(
    simulator: Simulator,
    lanes: Sequence[Lane],
    data: PyTree,
    *,
    steps: int,
    width: int,
    chunk: int | None = None,
    look_ahead: bool = True,
    devices: Sequence[jax.Device] | None = None,
    progress: Callable[[int, float], None] = lambda run_steps, accuracy: None,
    watch: Callable[[int, dict[str, np.ndarray]], None] | None = None,
    checkpoints: Checkpoints | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Result]:
    """Run every lane, `width` at once on each device.

    Args:
      simulator: of the configuration that the lanes share.
      lanes: seeds and hyperparameters, the latter of one structure.
      data: of the task.
      steps: steps of each run, at least 1.
      width: lanes that one device runs at once, at least 1.
      chunk: steps in one call of the compiled program, `CHUNK` if None. Batches are drawn for as
        many steps at once, which sorts all examples that a worker holds.
      look_ahead: False for lanes without Nesterov, where the simulator's program has both.
      devices: all local ones if None.
      progress: called with the number of steps done since the last call, summed over runs, and the
        mean of the latest accuracies (NaN before the first).
      watch: called after each chunk for each run in it, with the run's place in the sweep and its
        columns of these steps; with all of a run's calls in turn, its `Result.columns`. A run that
        goes on from a checkpoint begins with all the steps before it.
      checkpoints: where to keep what is not finished, and to go on from; a run that goes on from
        there has the same bits as one that was never interrupted. One of a run of the same name
        with another seed, other hyperparameters, another simulator or other data is not taken, and
        a warning says so. None: nowhere.
      stop: asked after each chunk of steps.

    Yields:
      Each run's result as soon as its round is finished, in order but for runs that go on from a
      checkpoint, which come first.

    Raises:
      Stopped: `stop` said so; a checkpoint is written.
      TypeError: something is of another kind than asked for.
      ValueError: steps, width or chunk below 1; no device, or one twice; a lane's seed is not from
        0 to 2^31 - 1, its numbers are out of range or of another structure, or do not go with the
        simulator's configuration, or its momentum decays at two places;
        there are checkpoints, and lanes have no names of their own.
    """
    lanes = list(lanes)
    _check_lanes(lanes)
    chunk = CHUNK if chunk is None else chunk
    for name, value in {"steps": steps, "width": width, "chunk": chunk}.items():
        if integer(name, value) < 1:
            none = " or None" if name == "chunk" else ""
            raise ValueError(f"{name} must be at least 1{none}, got {value}")
    flag("look_ahead", look_ahead)
    require_taking("progress", progress, "run_steps, accuracy", "lambda run_steps, accuracy: None")
    if watch is not None:
        require_taking("watch", watch, "index, columns", "lambda index, columns: None")
    require_taking("stop", stop, "", "lambda: False")
    if not isinstance(simulator, Simulator):
        raise TypeError(f"simulator must be made by make_simulator, got {simulator!r}")
    if not all(isinstance(leaf, NUMBERS) for leaf in jax.tree.leaves(data)):
        raise TypeError(f"data must be a task's arrays, task.data, got {type(data).__name__}")
    for lane in lanes:
        simulator.check(lane.hyperparameters)
    devices = require_devices(jax.local_devices() if devices is None else devices)
    dtype = _type_of_numbers(simulator)
    keeper = None
    if checkpoints is not None:
        names = [lane.name for lane in lanes]
        program = {"width": width, "steps": steps, "chunk": chunk, "look_ahead": look_ahead}
        numbers = [digest_of(lane.seed, lane.hyperparameters, dtype) for lane in lanes]
        any_lane = lanes[0].hyperparameters if lanes else None
        digests = functools.partial(digests_of, simulator, data, any_lane, dtype)
        keeper = Keeper(checkpoints, names, numbers, devices, digests, **program)
    return _rounds(
        _Asked(
            simulator=simulator,
            lanes=lanes,
            data=data,
            devices=tuple(devices),
            dtype=dtype,
            steps=steps,
            width=width,
            chunk=chunk,
            look_ahead=np.bool_(look_ahead),
            progress=progress,
            watch=watch,
            keeper=keeper,
            stop=stop,
        )
    )


class _Asked(NamedTuple):
    """A sweep that is checked: see `sweep`."""

    simulator: Simulator
    lanes: list[Lane]
    data: PyTree
    devices: tuple[jax.Device, ...]
    dtype: np.dtype  # of traced hyperparameters
    steps: int
    width: int
    chunk: int
    look_ahead: np.bool_
    progress: Callable[[int, float], None]
    watch: Callable[[int, dict[str, np.ndarray]], None] | None
    keeper: Keeper | None
    stop: Callable[[], bool]


def _check_lanes(lanes: Sequence[Lane]) -> None:
    for lane in lanes:
        if not isinstance(lane, Lane):
            raise TypeError(f"lanes must be a list of Lane(seed, hyperparameters), got {lane!r}")
        if not 0 <= integer("seed", lane.seed) <= LARGEST_SEED:
            raise ValueError(f"seed must be from 0 to 2^31 - 1, got {lane.seed}")
        check_numbers(lane.hyperparameters)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(lane)):
            raise TypeError("a sweep compiles its own program: call it outside jit, vmap and grad")
        one_place(lane.hyperparameters)
    structures: list[Any] = [jax.tree.structure(lane.hyperparameters) for lane in lanes]
    if other := [number for number, one in enumerate(structures) if one != structures[0]]:
        raise ValueError(
            "the hyperparameters of all lanes must name the same things, which those of lane "
            f"{other[0]} and lane 0 don't: {lanes[other[0]].hyperparameters} and "
            f"{lanes[0].hyperparameters}"
        )


def _rounds(asked: _Asked) -> Iterator[Result]:
    """Rounds of as many lanes as fit all devices, or of those that a checkpoint holds."""
    asked = asked._replace(data=copy_to(asked.devices, asked.data))
    waiting = list(range(len(asked.lanes)))
    while waiting:
        if asked.stop():
            raise Stopped
        some, saved = waiting[: len(asked.devices) * asked.width], None
        if asked.keeper is not None:
            saved = asked.keeper.latest([asked.lanes[i].name for i in waiting])
        if saved is not None:
            some = [i for i in waiting if asked.lanes[i].name in saved.header.runs]
        waiting = [i for i in waiting if i not in some]
        yield from _round(asked, some, saved)
        if asked.keeper is not None:
            discard(asked.keeper.checkpoints.folder, asked.keeper.checkpoints.finished)


def _round(asked: _Asked, some: list[int], saved: Checkpoint | None) -> list[Result]:
    """These lanes from the first step, or from the checkpoint, to the last."""
    began, steps, keeper = time.perf_counter(), asked.steps, asked.keeper
    programs = _programs(asked.simulator, asked.devices)
    filled_up = filled([asked.lanes[i] for i in some], len(asked.devices) * asked.width)
    keys, hyperparameters = _stack(filled_up, len(asked.devices), asked.dtype)
    states, done = programs.initialise(keys), 0
    parts: list[Metrics] = []

    def tell(count: int, part: Metrics) -> None:
        parts.append(part)
        asked.progress(count * len(some), latest_accuracy(parts, len(some)))
        show(part)

    def show(part: Metrics) -> None:
        if asked.watch is not None:
            counted = asked.simulator.points_in_a_step
            for index, columns in zip(some, _columns([part], len(some), counted), strict=True):
                asked.watch(index, columns)

    if saved is not None:
        template = jax.eval_shape(programs.finish, states, asked.data, keys, np.int32(steps))
        states, before = restored(saved, [lane.name for lane in filled_up], states, template)
        done = saved.header.step
        began -= saved.header.seconds * len(some)
        tell(done, before)
    for step in range(done, steps, asked.chunk):
        count = min(asked.chunk, steps - step)
        states, metrics = programs.advance(
            states, hyperparameters, asked.data, keys, np.int32(step), count, asked.look_ahead
        )
        tell(count, jax.device_get(metrics))
        if step + count == steps:
            break
        stop = asked.stop()
        if keeper is not None and (stop or keeper.due()):
            seconds = (time.perf_counter() - began) / len(some)
            names = [asked.lanes[i].name for i in some]
            keeper.save(names, step + count, steps, seconds, states, parts)
        if stop:
            raise Stopped
    last = jax.device_get(programs.finish(states, asked.data, keys, np.int32(steps)))
    parts.append(jax.tree.map(lambda leaf: leaf[..., None], last))
    show(parts[-1])
    seconds = (time.perf_counter() - began) / len(some)
    return list(_results(some, parts, states, seconds, asked.simulator.points_in_a_step))


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
        initialise=quickly_compiled(over_lanes(simulator.initialise, devices, ["lane"])),
        advance=over_lanes(
            simulator.advance,
            devices,
            ["lane", "lane", "device", "lane", "all", "static", "all"],
            donated=[0],
        ),
        finish=over_lanes(simulator.finish, devices, ["lane", "device", "lane", "all"]),
    )


def _type_of_numbers(simulator: Simulator) -> np.dtype:
    """The type of traced hyperparameters: double precision where the parameters have it. Elsewhere
    numbers of more digits than a run computes with would change its rounding.
    """
    single, double = np.dtype(np.float32), np.dtype(np.float64)
    if jnp.result_type(float) != double:
        return single
    parameters = jax.eval_shape(simulator.initialise, jax.random.key(0)).parameters
    return double if parameters.dtype == double else single


def _stack(
    lanes: Sequence[Lane], devices: int, dtype: np.dtype
) -> tuple[jax.Array, Hyperparameters]:
    seeds = spread(np.asarray([lane.seed for lane in lanes]), devices)
    hyperparameters = jax.tree.map(
        lambda *values: spread(np.asarray(values, dtype), devices),
        *[lane.hyperparameters for lane in lanes],
    )
    return _keys(seeds), hyperparameters


_keys = jax.jit(jax.vmap(jax.vmap(jax.random.key)))


def _results(
    indices: list[int], parts: list[Metrics], states: State, seconds: float, counted: int | float
) -> Iterator[Result]:
    parameters = gathered(states.parameters)
    model_states = jax.tree.map(_on_host, states.model_state)
    for lane, columns in enumerate(_columns(parts, len(indices), counted)):
        model_state = jax.tree.map(lambda leaf, lane=lane: leaf[lane], model_states)
        yield Result(indices[lane], columns, parameters[lane], seconds, model_state)


def _columns(
    parts: Sequence[Metrics], count: int, counted: int | float
) -> list[dict[str, np.ndarray]]:
    """Those of the first lanes, by name; so many training points are counted in a step."""
    metrics = joined(parts)
    if isinstance(counted, int) and counted * int(metrics.step.max()) > np.iinfo(np.int32).max:
        metrics = metrics._replace(training_points=counted * metrics.step.astype(np.int64))
    asked_for = metrics._replace(own=None)._asdict() | (metrics.own or {})
    asked_for = {name: leaf for name, leaf in asked_for.items() if leaf is not None}
    return [{name: leaf[lane] for name, leaf in asked_for.items()} for lane in range(count)]


def _on_host(leaf: jax.Array) -> np.ndarray | jax.Array:
    """As `gathered`; random keys, which NumPy does not know, stay JAX's."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf.reshape(-1, *leaf.shape[2:])
    return gathered(leaf)
