"""The settings of a run: those that shape the program, and those that may be traced."""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.checks import NUMBERS, at_least, flag, integer, number

Place = Literal["worker", "update", "server"]
PLACES: tuple[Place, ...] = get_args(Place)


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings that shape the compiled program.

    n: workers. f: Byzantine workers that the rule is told to tolerate. num_byzantine: those present
    (f if None), from none to all. byzantine_gradients: those present compute gradients too, and
    gather momentum; an attack gets what they would have sent as `own`, and without an attack they
    send it. redraw: who is Byzantine is drawn anew in every step, while all compute; without it,
    the last workers are. momentum_at: the places where momentum may be kept; each costs its state,
    and `Hyperparameters` names the same ones, see `agree`.
    nesterov: gradients are taken at θ - learning rate · (the momentum about to be applied), unless
    a run of the program is told not to look ahead. evaluate_every: steps between evaluations, the
    first before step 0; None: after the last step only.
    curvature_window: past gradients in the composite curvature (all if None). workers_at_once:
    gradients computed together (all if None); fewer take less memory, and on a CPU no more time
    once one worker's work fills a core. certify: the columns `coefficient` and `distance` too.
    study: the columns that tell of a step's vectors, such as their norms and cosines, which cost a
    small network's step more than its aggregation does.
    local_steps: steps that a worker takes by itself in each step of the run, see
    `simbyz.simulator.workers.local_steps`. variance_reduction: momentum is corrected by a second
    gradient of the same batch, where the last one was taken; see
    `simbyz.simulator.workers.variance_reduction`.
    participants: workers drawn to take part in each step (all if None).
    byzantine_participants: how many of them are Byzantine (as chance has it if None), see
    `simbyz.simulator.participation`.
    """

    n: int
    f: int
    num_byzantine: int | None = None
    byzantine_gradients: bool = False
    redraw: bool = False
    momentum_at: tuple[Place, ...] = ("worker",)
    nesterov: bool = False
    evaluate_every: int | None = 5
    curvature_window: int | None = None
    workers_at_once: int | None = None
    certify: bool = False
    study: bool = True
    local_steps: int = 1
    variance_reduction: bool = False
    participants: int | None = None
    byzantine_participants: int | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is bool:
                flag(field.name, value)
            elif field.type is int or (field.type == int | None and value is not None):
                integer(field.name, value)
        self._check_places()
        at_least("n", self.n, 1)
        at_least("f", self.f, 0)
        if not 0 <= self.byzantine <= self.n:
            raise ValueError(
                f"num_byzantine (f if not given) must be from 0 to n = {self.n}, "
                f"got {self.byzantine}"
            )
        if self.honest == 0 and not self.byzantine_gradients:
            raise ValueError(
                f"with num_byzantine = n = {self.n} no worker computes anything: "
                "set byzantine_gradients, or take fewer"
            )
        at_least("local_steps", self.local_steps, 1)
        self._check_variance_reduction()
        self._check_participants()
        for name in ("evaluate_every", "curvature_window", "workers_at_once"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1 or None, got {value}")

    @property
    def byzantine(self) -> int:
        return self.f if self.num_byzantine is None else self.num_byzantine

    @property
    def honest(self) -> int:
        return self.n - self.byzantine

    @property
    def computing(self) -> int:
        """Workers that compute gradients: the honest ones, or all."""
        return self.n if self.byzantine_gradients or self.redraw or self.chance else self.honest

    @property
    def chance(self) -> bool:
        """Whether the number of Byzantine participants differs from step to step."""
        return len(self._counts()) > 1

    @property
    def rounds(self) -> "tuple[Config, ...]":
        """The steps there may be: that of a run of the participants alone, by how many of them are
        Byzantine, in increasing order.
        """
        if self.participants is None:
            return (self,)
        return tuple(
            dataclasses.replace(
                self,
                n=self.participants,
                num_byzantine=count,
                redraw=self.redraw or self.chance,
                participants=None,
                byzantine_participants=None,
            )
            for count in self._counts()
        )

    def _counts(self) -> range:
        p, exactly = self.participants, self.byzantine_participants
        if p is None:
            return range(self.byzantine, self.byzantine + 1)
        if exactly is not None:
            return range(exactly, exactly + 1)
        return range(max(0, p - self.honest), min(self.byzantine, p) + 1)

    def _check_places(self) -> None:
        at = self.momentum_at
        if isinstance(at, str) or not isinstance(at, Collection):
            raise ValueError(f"momentum_at must be a tuple, such as ('worker',), got {at!r}")
        if unknown := [place for place in at if place not in PLACES]:
            raise ValueError(f"momentum_at takes worker, update and server, got {unknown}")
        if len(set(at)) < len(at):
            raise ValueError(f"momentum_at must name a place once, got {at}")

    def _check_variance_reduction(self) -> None:
        at = self.momentum_at
        if not self.variance_reduction:
            return
        if not at:
            raise ValueError(
                "variance_reduction corrects momentum, of which there is none: give momentum_at"
            )
        if self.local_steps > 1 and set(at) != {"worker"}:
            raise ValueError(
                "variance_reduction with local steps corrects the momentum that acts in them: give "
                f"momentum_at=('worker',), got {at}"
            )
        if self.participants is not None and "worker" in at and set(at) != {"worker"}:
            raise ValueError(
                "variance_reduction goes back to a participant's own last point with momentum at "
                f"the worker, to the last step's else: give one place in momentum_at, got {at}"
            )

    def _check_participants(self) -> None:
        p, exactly = self.participants, self.byzantine_participants
        if p is None:
            if exactly is not None:
                raise ValueError(f"byzantine_participants needs participants, got {exactly}")
            return
        if not 1 <= p <= self.n:
            raise ValueError(f"participants must be from 1 to n = {self.n}, got {p}")
        least, most = max(0, p - self.honest), min(self.byzantine, p)
        if exactly is not None and not least <= exactly <= most:
            raise ValueError(
                f"byzantine_participants must be from {least} to {most}, with {p} participants of "
                f"{self.honest} honest and {self.byzantine} Byzantine workers, got {exactly}"
            )
        if (most if exactly is None else exactly) == p and not self.byzantine_gradients:
            raise ValueError(
                f"all {p} participants could be Byzantine, of whom none computes anything: take "
                "more participants, fewer byzantine_participants, or set byzantine_gradients"
            )


class Momentum(NamedTuple):
    """m ← decay · m + gain · input. By default the input passes; dampening δ is gain = 1 - δ."""

    decay: float | jax.Array = 0.0
    gain: float | jax.Array = 1.0


class Hyperparameters(NamedTuple):
    """Numbers that may be traced.

    worker, update, server: the momentum at each place of `Config.momentum_at`, None at the others.
    clip: bound on the l2 norm of a worker's regularised gradient. l2: factor λ in the loss + λ
    ||θ||, the norm itself and not its square, as in the paper's program. weight_decay: θ ← θ - lr
    (... + weight_decay θ). attack, schedule: keyword arguments of the attack and of the schedule.
    local_learning_rate: of the local steps, times the schedule's factor too; learning_rate if None.
    """

    learning_rate: float | jax.Array
    worker: Momentum | None = None
    update: Momentum | None = None
    server: Momentum | None = None
    clip: float | jax.Array = jnp.inf
    l2: float | jax.Array = 0.0
    weight_decay: float | jax.Array = 0.0
    attack: dict[str, float | jax.Array] = {}  # noqa: RUF012 (never mutated)
    schedule: dict[str, float | jax.Array] = {}  # noqa: RUF012
    local_learning_rate: float | jax.Array | None = None


def momenta_of(hyperparameters: Hyperparameters) -> dict[Place, Momentum]:
    """The momentum at each place that has one."""
    given = {place: getattr(hyperparameters, place) for place in PLACES}
    return {place: momentum for place, momentum in given.items() if momentum is not None}


FINITE = "a finite number", math.isfinite
NOT_NEGATIVE = "finite and at least 0", lambda value: 0 <= value < math.inf
RANGES = {
    "learning_rate": FINITE,
    "local_learning_rate": FINITE,
    "clip": ("at least 0, inf for none", lambda value: value >= 0),
    "l2": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "decay": FINITE,
    "gain": FINITE,
}


def check_numbers(hyperparameters: Hyperparameters) -> None:
    """Whether all are numbers, those that are not traced in their ranges.

    Raises:
      TypeError: one is no number, or a place has something else than a `Momentum`.
      ValueError: a number out of its range, or several in its place.
    """
    if not isinstance(hyperparameters, Hyperparameters):
        raise TypeError(
            "hyperparameters must be Hyperparameters(learning_rate=...), such as "
            f"Hyperparameters(0.1), got {hyperparameters!r}"
        )
    values = hyperparameters._asdict()
    for place in PLACES:
        momentum = values.pop(place)
        if not isinstance(momentum, Momentum | None):
            raise TypeError(
                f"{place} must be a Momentum, such as {place}=Momentum(0.9), or None, "
                f"got {momentum!r}"
            )
        for name, value in () if momentum is None else momentum._asdict().items():
            number(f"{name} of Momentum at the {place}", value, *RANGES[name])
    for name in ("attack", "schedule"):
        options = values.pop(name)
        if not isinstance(options, Mapping):
            raise TypeError(f"{name} must be a dict of its keyword arguments, got {options!r}")
        for option, value in options.items():
            _numbers(f"{name}[{option!r}]", value)
    for name, value in values.items():
        if name != "local_learning_rate" or value is not None:
            number(name, value, *RANGES[name])


def _numbers(name: str, value: Any) -> None:
    """Raises TypeError unless it is a number, or an array of them."""
    if not isinstance(value, NUMBERS):
        raise TypeError(f"{name} must be a number, got {value!r}")


def agree(config: Config, hyperparameters: Hyperparameters) -> None:
    """Whether both name the same places of momentum, and what they say goes together.

    Which places have a momentum is known of traced numbers too, so that a place that one of them
    forgot is always found. Runs that share one program, each with its momentum elsewhere, say
    `Momentum()` at the places that are not theirs. See also `one_place`.

    Raises:
      TypeError, ValueError: they differ; a local learning rate acts nowhere; variance reduction of
        a decay of 1 or more; see `check_numbers`.
    """
    check_numbers(hyperparameters)
    kept, given = set(config.momentum_at), set(momenta_of(hyperparameters))
    for place in PLACES:
        if place in given - kept:
            raise ValueError(
                f"Hyperparameters has momentum at the {place}, for which "
                f"Config(momentum_at={config.momentum_at}) keeps no state: add the place there"
            )
        if place in kept - given:
            raise ValueError(
                f"Config(momentum_at={config.momentum_at}) keeps momentum at the {place}, of which "
                f"Hyperparameters has none: give {place}=Momentum(...), or leave the place out"
            )
    if hyperparameters.local_learning_rate is not None and config.local_steps == 1:
        raise ValueError(
            "local_learning_rate needs Config(local_steps=...) of 2 or more: with one local step "
            "nothing depends on it"
        )
    one_place(hyperparameters)
    if config.variance_reduction:
        _corrects(hyperparameters)


def _corrects(hyperparameters: Hyperparameters) -> None:
    """Raises ValueError where a known decay leaves no mean that variance reduction corrects."""
    exact = jax.dtypes.canonicalize_dtype(float)  # as the program has it, where 1 - 1e-8 is 1
    for place, (decay, _) in momenta_of(hyperparameters).items():
        if not isinstance(decay, jax.core.Tracer) and not np.asarray(decay, exact) < 1:
            raise ValueError(
                "variance_reduction corrects the mean that momentum is, by decay / (1 - decay) in "
                f"{exact}: give a decay below 1, got {decay} at the {place}"
            )


def one_place(hyperparameters: Hyperparameters) -> None:
    """Whether at most one place has a decay: the curvature, and the correction of variance
    reduction, have no meaning for two. Asked of numbers that are known, as those of a sweep's
    lanes; of traced ones `the_decay` is NaN.

    Raises:
      ValueError: two places have one.
    """
    decays = {place: momentum.decay for place, momentum in momenta_of(hyperparameters).items()}
    known = {k: v for k, v in decays.items() if not isinstance(v, jax.core.Tracer)}
    decaying = [place for place, decay in known.items() if np.any(np.asarray(decay) != 0)]
    if len(decaying) > 1:
        raise ValueError(
            f"momentum decays at one place of a run, got {' and '.join(decaying)}: its composite "
            "curvature would have two meanings"
        )


def the_decay(hyperparameters: Hyperparameters) -> jax.Array | float:
    """The decay of the place that has one, 0 without any; NaN where two places have one."""
    decays = [momentum.decay for momentum in momenta_of(hyperparameters).values()]
    if len(decays) < 2:
        return decays[0] if decays else 0.0
    nonzero = jnp.sum(jnp.stack([jnp.asarray(decay) != 0 for decay in decays]))
    return jnp.where(nonzero > 1, jnp.nan, sum(decays))
