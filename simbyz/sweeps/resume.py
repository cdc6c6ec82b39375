"""Resuming: a sweep's state from chunk to chunk, to a checkpoint and back, bit for bit."""

import dataclasses
import functools
import hashlib
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.stacking import PyTree
from simbyz.records.provenance import versions
from simbyz.simulator.metrics import Metrics
from simbyz.simulator.state import Simulator
from simbyz.sweeps.checkpoints import Checkpoint, Checkpoints, Header, find, save
from simbyz.sweeps.lanes import gathered


class Keeper:
    """Writes the checkpoints of a sweep when they are due, and finds the one to go on from."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        names: Sequence[str],
        numbers: Sequence[str],
        devices: Sequence[jax.Device],
        digests: Callable[[], Mapping[str, str]],
        **program: int | bool,
    ) -> None:
        """Args:
          checkpoints: where, how often, and by which code.
          names: of all lanes.
          numbers: their digests, see `digest_of`.
          devices: of the sweep.
          digests: of the simulator and the data, see `digests_of`.
          program: what else shapes the compiled program.

        Raises:
          TypeError: a name is no text, or the checkpoints are of another kind.
          ValueError: two lanes have the same name, or one has none.
        """
        if not isinstance(checkpoints, Checkpoints):
            raise TypeError(
                f"checkpoints must be Checkpoints(folder, every, program, finished), "
                f"got {checkpoints!r}"
            )
        if other := [name for name in names if not isinstance(name, str)]:
            raise TypeError(f"a lane's name must be text, got {other[0]!r}")
        if "" in names or len(set(names)) < len(names):
            raise ValueError("checkpoints need a name of its own for each lane: Lane(..., name=)")
        compiled = {
            **{name: versions()[name] for name in ("jax_version", "jaxlib_version")},
            "device": devices[0].device_kind,
            "devices": len(devices),
        }
        self.checkpoints = dataclasses.replace(
            checkpoints, program={**checkpoints.program, **compiled, **program}
        )
        self._digests = digests
        self._numbers = dict(zip(names, numbers, strict=True))
        self._last: Path | None = None
        self._written = time.monotonic()

    @functools.cached_property
    def _of_this(self) -> Checkpoints:
        """What tells simulators apart takes a second to find, and where nothing is kept, none."""
        program = {**self.checkpoints.program, **self._digests()}
        return dataclasses.replace(self.checkpoints, program=program)

    def latest(self, names: Sequence[str]) -> Checkpoint | None:
        """The checkpoint to go on from with some of these runs."""
        if not self.checkpoints.folder.is_dir():
            self._last = None
            return None
        self._last, checkpoint = find(self._of_this, names, self._numbers)
        return checkpoint

    def due(self) -> bool:
        return time.monotonic() - self._written >= self.checkpoints.every

    def save(
        self,
        names: Sequence[str],
        step: int,
        steps: int,
        seconds: float,
        states: PyTree,
        parts: Sequence[Metrics],
    ) -> None:
        """Writes a checkpoint; where that fails, the runs go on without, and a warning says so.

        Args:
          names: of the runs.
          step: the next one.
          steps: of the whole run.
          seconds: that a run took so far.
          states: leaves (devices, width, ...).
          parts: metrics so far, leaves (devices, width, steps).
        """
        count = len(names)
        leaves = [gathered(_data(leaf)) for leaf in jax.tree.leaves(states)]
        arrays = [leaf[:count] for leaf in (*leaves, *jax.tree.leaves(joined(parts)))]
        numbers = {name: self._numbers[name] for name in names}
        header = Header(tuple(names), step, steps, seconds, dict(self._of_this.program), numbers)
        try:
            self._last = save(self.checkpoints.folder, Checkpoint(header, arrays), self._last)
        except OSError as error:
            warnings.warn(f"{error}; going on without", RuntimeWarning, stacklevel=3)
        self._written = time.monotonic()


def digest_of(seed: int, hyperparameters: PyTree, dtype: np.dtype) -> str:
    """Digest of what a run's numbers depend on beside the program: a name does not tell it. The
    type is that in which the run is given its hyperparameters.
    """
    leaves, structure = jax.tree.flatten(hyperparameters)
    numbers = [np.asarray(leaf, dtype) for leaf in leaves]
    said = [int(seed), str(structure), *((one.shape, one.tobytes().hex()) for one in numbers)]
    return hashlib.sha256(repr(said).encode()).hexdigest()


def digests_of(
    simulator: Simulator, data: PyTree, hyperparameters: PyTree, dtype: np.dtype
) -> dict[str, str]:
    """Digests of the simulator, which is that of the programs of the first state and of a step:
    of the rule, the attack, the model and their options; and of what the data hold.

    Args:
      simulator: of the sweep.
      data: of the task.
      hyperparameters: of a lane.
      dtype: that they are given in.
    """
    key, step, look_ahead = jax.random.key(0), np.int32(0), np.bool_(True)
    numbers = jax.tree.map(lambda _: jax.ShapeDtypeStruct((), dtype), hyperparameters)
    initialise = jax.jit(simulator.initialise)
    advance = jax.jit(simulator.advance, static_argnums=5)
    state, arrays = jax.eval_shape(initialise, key), jax.eval_shape(lambda: data)
    programs = [
        initialise.lower(key),
        advance.lower(state, numbers, arrays, key, step, 1, look_ahead),
    ]
    text = "".join(program.as_text() for program in programs)
    held = hashlib.sha256()
    for leaf in jax.tree.leaves(data):
        held.update(np.asarray(_data(leaf) if isinstance(leaf, jax.Array) else leaf).tobytes())
    return {
        "simulator": hashlib.sha256(text.encode()).hexdigest()[:16],
        "data": held.hexdigest()[:16],
    }


def restored(
    checkpoint: Checkpoint, names: Sequence[str], states: PyTree, metrics: Metrics
) -> tuple[PyTree, Metrics]:
    """The states and the metrics so far of the lanes named.

    Args:
      checkpoint: that holds all of them.
      names: a lane each, devices · width of them.
      states: of any such lanes: tells structure, shapes and types.
      metrics: likewise, for which columns there are.
    """
    rows = [checkpoint.header.runs.index(name) for name in names]
    leaves, structure = jax.tree.flatten(states)
    devices = leaves[0].shape[0]
    arrays: list[Any] = [
        array[rows].reshape(devices, len(rows) // devices, *array.shape[1:])
        for array in checkpoint.arrays
    ]
    carried, before = arrays[: len(leaves)], arrays[len(leaves) :]
    typed = [_typed(array, leaf) for array, leaf in zip(carried, leaves, strict=True)]
    columns = jax.tree.unflatten(jax.tree.structure(metrics), before)
    return jax.tree.unflatten(structure, typed), columns


def joined(parts: Sequence[Metrics]) -> Metrics:
    """Metrics of leaves (devices, width, steps) one after the other: (devices · width, steps)."""
    return jax.tree.map(lambda *leaves: np.concatenate(list(map(gathered, leaves)), axis=1), *parts)


def latest_accuracy(parts: Sequence[Metrics], count: int) -> float:
    """The mean over the first `count` lanes of what was evaluated last; NaN before that."""
    for part in reversed(parts):
        accuracy = gathered(part.accuracy)[:count]
        evaluated = np.flatnonzero(np.isfinite(accuracy).any(axis=0))
        if evaluated.size:
            return float(np.mean(accuracy[:, evaluated[-1]]))
    return float("nan")


def _data(leaf: jax.Array) -> jax.Array:
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def _typed(array: np.ndarray, like: jax.Array) -> jax.typing.ArrayLike:
    if jax.dtypes.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(like))
    return array.view(
        like.dtype
    )  # a type that NumPy's files don't know comes back without its name
