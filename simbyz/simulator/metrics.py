"""The columns of a step: what it tells about the attack and the defence, as the paper studies them.

Vectors of three kinds are sent or made in a step: *sampled* (each honest worker's gradient, after
clipping), *honest* (what it sends, momentum included) and *attack* (the Byzantine rows); the
*aggregate* is what the rule makes of the last two.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from inspect import Parameter, signature
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from simbyz._arrays import moments
from simbyz._arrays.calling import asked, asks_for, name_of, require_known
from simbyz._arrays.checks import integer, require_callable, require_shape
from simbyz._arrays.geometry import gram
from simbyz.simulator.certificates import CERTIFICATES, certify
from simbyz.simulator.config import Config, the_decay
from simbyz.simulator.participation import Identities, Round, apart, in_rounds
from simbyz.tasks.task import Task


class Metrics(NamedTuple):
    """One scalar a step and a column. NaN: not defined (no attacker, no previous step, nothing
    evaluated). None: not asked for, see `Config.study`, `Config.certify`, and weights.

    deviation: √(Σ_i ||v_i - v̄||² / (count - 1)); norm: ||v̄||; largest: the largest |coordinate|
    of v̄, where v̄ is the mean of the vectors of that kind (the aggregate is its own mean).
    Deviations, norms and the distance from the start are infinite from 1.8e19 on, where squares in
    float32 are: what is told of kept runs that diverged goes by that.
    """

    step: jax.Array
    # Consumed by all honest workers before this step. Beyond 2^31 it is right in a sweep alone, on
    # the host: a device counts in 32 bits.
    training_points: jax.Array
    loss: jax.Array  # mean over honest workers, regularisation included
    learning_rate: jax.Array  # that acts in this step, the schedule's factor included
    distance_from_start: jax.Array  # ||θ - θ_0||, before the update
    sampled_deviation: jax.Array
    honest_deviation: jax.Array
    attack_deviation: jax.Array
    sampled_norm: jax.Array
    honest_norm: jax.Array
    attack_norm: jax.Array
    aggregate_norm: jax.Array
    sampled_largest: jax.Array
    honest_largest: jax.Array
    attack_largest: jax.Array
    aggregate_largest: jax.Array
    cosine_sampled_honest: jax.Array
    cosine_sampled_attack: jax.Array
    cosine_sampled_aggregate: jax.Array
    cosine_honest_attack: jax.Array
    cosine_honest_aggregate: jax.Array
    cosine_attack_aggregate: jax.Array
    cosine_sampled_previous: jax.Array  # with the sampled mean of the step before
    curvature: jax.Array  # composite curvature: see `Past`
    attack_acceptance: jax.Array  # share of the aggregate's weight that Byzantine rows hold
    accuracy: jax.Array  # top-1, whole test set, before the update
    # Of `Config.certify`, else None and no part of the program: see `certificates.certify`.
    coefficient: jax.Array | None = None
    distance: jax.Array | None = None
    mass: jax.Array | None = None  # of those who take part, with weights; 0: nothing changes
    own: dict[str, jax.Array] | None = None  # the columns that a user adds, see `Column`


class Column(Protocol):
    """A column of a user's own: a scalar of the values of a step that it asks for by keyword-only
    parameters of their names: those of `Seen`, such as `bits` (w,), and `honest` (h, d),
    `byzantine` (b, d), `honest_weights` (h,), `byzantine_weights` (b,), both None where nobody
    tells, `step`, `hyperparameters`.

        def largest_loss(*, losses):
            return jnp.max(losses)

    One that asks for `predicted` or `labels`, the classes (N,) of the test set as the model has
    them and as they are, is computed where the accuracy is, and NaN in between; it is given these
    alone.
    """

    def __call__(self, **values: Any) -> jax.Array: ...


# What a column may ask for: beside `Seen`, and of the test set.
TOLD = ("honest", "byzantine", "honest_weights", "byzantine_weights", "step", "hyperparameters")
OF_TEST_SET = ("predicted", "labels")
EXAMPLE = "lambda *, losses: losses.max()"

# The columns that the vectors of a step give.
STUDIED = set(Metrics._fields) - set(CERTIFICATES)
STUDIED -= {
    "step",
    "training_points",
    "loss",
    "learning_rate",
    "distance_from_start",
    "accuracy",
    "mass",
    "own",
}


def judges(column: Column) -> bool:
    """Whether a column is of the test set."""
    return asks_for(column, "predicted") or asks_for(column, "labels")


def check(
    columns: Mapping[str, Column], task: Task | None = None, told: Collection[str] = ()
) -> None:
    """Raises TypeError where columns are no functions by name, ValueError where one has the name of
    another, asks for the classes of the test set and the task has none, or for what no column is
    told, by default of `Seen` and its kind.
    """
    if not isinstance(columns, Mapping):
        raise TypeError(f"columns must be a dict of functions by name, got {columns!r}")
    if taken := sorted(set(columns) & set(Metrics._fields)):
        raise ValueError(f"columns have names of their own, got {taken}, which every run has")
    for name, column in columns.items():
        if not isinstance(name, str):  # which no file of a run could hold
            raise TypeError(f"columns must have texts for names, got {name!r}")
        require_callable(f"column {name!r}", column, EXAMPLE)
        of_places = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        asking = signature(column).parameters.values()
        if by_place := [
            one.name for one in asking if one.kind in of_places and one.default is one.empty
        ]:
            raise TypeError(
                f"column {name!r} must ask for values by keyword-only parameters, such as "
                f"{EXAMPLE}, got {name_of(column)}, which takes {', '.join(by_place)} by place"
            )
        if judges(column) and (task is None or task.predict is None):
            raise ValueError(
                f"column {name!r} asks for classes of the test set, which are not predicted here: "
                "in a run with a server give a task with `predict`, as classification(...) does"
            )
        known = OF_TEST_SET if judges(column) else (told or (*Seen._fields, *TOLD))
        require_known(f"column {name!r}", column, known)


def judged(
    columns: Mapping[str, Column], predicted: jax.Array, labels: jax.Array
) -> dict[str, jax.Array]:
    """The columns that are of the test set."""
    known = dict(zip(OF_TEST_SET, (predicted, labels), strict=True))
    return scalars(columns, known, [name for name in columns if judges(columns[name])])


def scalars(
    columns: Mapping[str, Column], values: Mapping[str, Any], names: Iterable[str]
) -> dict[str, jax.Array]:
    """The values of these columns, of the values that each asks for.

    Raises:
      ValueError: one is no scalar.
    """
    found = {name: columns[name](**asked(columns[name], values)) for name in names}
    for name, value in found.items():
        require_shape(f"column {name!r}", value, (), "a scalar")
    return {name: jnp.asarray(value, jnp.float32) for name, value in found.items()}


def metrics_of(config: Config, columns: dict[str, jax.Array], own: dict[str, jax.Array]) -> Metrics:
    """The columns by name, with NaN for those that are not defined, and the user's."""
    # Of the parameters' type: branches of a step, of which not all define a column, return one.
    nan = jnp.full((), jnp.nan, columns["distance_from_start"].dtype)
    of_steps = STUDIED.union(CERTIFICATES)
    columns = {k: v.astype(nan.dtype) if k in of_steps else v for k, v in columns.items()}
    nothing = dict.fromkeys(Metrics._fields, nan) | {"own": own or None}
    left_out = {"mass"} | (set() if config.certify else set(CERTIFICATES))
    left_out |= set() if config.study else STUDIED
    return Metrics(**nothing | dict.fromkeys(left_out) | columns)


class Past(NamedTuple):
    """Memory of earlier steps for the composite curvature
    s_t = μ Σ_{i=0}^{w-1} μ^i <s̄_t, s̄_{t-1-i}>.

    The sum is kept as one vector, P_t = Σ μ^i s̄_{t-1-i}, by P_{t+1} = s̄_t + μ P_t - μ^w s̄_{t-w}:
    O(d) a step for any window w. Without a window nothing leaves the sum, and no past vector has to
    be kept. A step without honest workers adds nothing: there s̄ is 0.
    """

    previous: jax.Array  # (d,) s̄_{t-1}; zero at the first step
    discounted: jax.Array  # (d,) P_t
    window: jax.Array | None  # (w, d), the newest first; None without a window


def no_past(dimension: int, window: int | None) -> Past:
    """The memory before the first step; window None: all past gradients count."""
    zero = jnp.zeros(dimension)
    return Past(
        previous=zero,
        discounted=zero,
        window=None if window is None else jnp.zeros((window, dimension)),
    )


def remember(past: Past, sampled_mean: jax.Array, momentum: jax.typing.ArrayLike) -> Past:
    """The past of the next step."""
    discounted = sampled_mean + momentum * past.discounted
    window = past.window
    if window is not None:
        discounted = discounted - momentum ** len(window) * window[-1]
        window = jnp.concatenate([sampled_mean[None], window[:-1]])
    return Past(previous=sampled_mean, discounted=discounted, window=window)


def study(
    *,
    step: jax.Array,
    sampled: jax.Array,
    honest: jax.Array,
    attack: jax.Array,
    aggregate: jax.Array,
    past: Past,
    momentum: jax.typing.ArrayLike,
    weights: jax.Array | None,
) -> tuple[dict[str, jax.Array], jax.Array]:
    """The columns that come from the vectors of a step.

    Args:
      step: number of the step, from 0.
      sampled, honest: (h, d); h may be 0.
      attack: (b, d); b may be 0.
      aggregate: (d,).
      past: of the steps before.
      momentum: μ of the curvature.
      weights: (b,) of the Byzantine rows in the aggregate, or None where the rule does not tell.

    Returns:
      Those that are defined, by their names in `Metrics`, and the mean (d,) of the sampled vectors
      for the past, 0 without any.
    """
    kinds = {"sampled": sampled, "honest": honest, "attack": attack}
    sent = {kind: stack for kind, stack in kinds.items() if len(stack)}
    means = {kind: moments.mean(stack) for kind, stack in sent.items()} | {"aggregate": aggregate}
    deviations = [jnp.sqrt(moments.variance(stack)) for stack in sent.values()]
    # All norms and inner products at once: one small matrix product reads every vector once. (The
    # norm of the coordinate-wise deviations is the deviation.)
    vectors = jnp.stack([*means.values(), *deviations, past.previous, past.discounted])
    inner = gram(vectors)
    norms = jnp.sqrt(jnp.diagonal(inner))
    # XLA:CPU's maximum of many values passes over NaN.
    largest = jnp.where(jnp.isnan(norms), jnp.nan, jnp.max(jnp.abs(vectors), axis=1))

    names = list(means)
    columns = {}
    for i, name in enumerate(names):
        columns[f"{name}_norm"] = norms[i]
        columns[f"{name}_largest"] = largest[i]
    for first, second in (
        ("sampled", "honest"),
        ("sampled", "attack"),
        ("sampled", "aggregate"),
        ("honest", "attack"),
        ("honest", "aggregate"),
        ("attack", "aggregate"),
    ):
        if first in means and second in means:
            i, j = names.index(first), names.index(second)
            columns[f"cosine_{first}_{second}"] = inner[i, j] / norms[i] / norms[j]
    for i, name in enumerate(sent, start=len(means)):
        columns[f"{name}_deviation"] = norms[i]
    if "sampled" in means:
        columns["cosine_sampled_previous"] = inner[0, -2] / norms[0] / norms[-2]
        columns["curvature"] = jnp.where(step > 0, momentum * inner[0, -1], jnp.nan)
    if weights is not None:
        columns["attack_acceptance"] = jnp.sum(weights)
    return columns, means.get("sampled", jnp.zeros_like(aggregate))


class Seen(NamedTuple):
    """Values of a step, for its columns: of the w workers that compute, and of all n."""

    sampled: jax.Array  # (w, d)
    losses: jax.Array  # (w,)
    stack: jax.Array  # (n, d)
    aggregate: jax.Array  # (d,)
    weights: jax.Array | None  # (n,) of each row in the aggregate, or None where nobody tells
    bits: jax.Array  # (w,) of each worker's message


def bits_sent(*, bits: jax.Array) -> jax.Array:
    """Column: bits that a worker sent in this step, the mean over those that compute."""
    return jnp.mean(bits)


def true_positive_rate(*, byzantine_weights: jax.Array | None) -> jax.Array:
    """Column: share of the Byzantine rows that the rule leaves out, with weight 0; NaN without any,
    or without a selection.
    """
    return _share_left_out(byzantine_weights)


def false_positive_rate(*, honest_weights: jax.Array | None) -> jax.Array:
    """Column: share of the honest rows that the rule leaves out, likewise."""
    return _share_left_out(honest_weights)


def attack_success_rate(source: int, target: int) -> Callable[..., jax.Array]:
    """Column: share of the test images of one class that the model takes for another, as
    `targeted_label_flipping` wants it; NaN without such images.

        make_simulator(..., columns={"success": attack_success_rate(source=3, target=7)})

    Raises:
      TypeError, ValueError: they are no two classes.
    """
    source, target = integer("source", source), integer("target", target)
    if min(source, target) < 0 or source == target:
        raise ValueError(f"source and target must be two classes, got {source} and {target}")

    def success(*, predicted: jax.Array, labels: jax.Array) -> jax.Array:
        return jnp.mean(predicted == target, where=labels == source, dtype=jnp.float32)

    return success


def _share_left_out(weights: jax.Array | None) -> jax.Array:
    if weights is None or not len(weights):
        return jnp.float32(jnp.nan)
    return jnp.mean(weights == 0, dtype=jnp.float32)


def tell(
    config: Config,
    round: Round,
    seen: Seen,
    past: Past | None,
    known: dict[str, jax.Array],
    more: Mapping[str, Column],
    of_test_set: Mapping[str, jax.Array],
) -> tuple[Metrics, Past | None]:
    """The columns of a step, of the honest workers and of the Byzantine rows as a kind; and the
    past of the next one.

    Args:
      config: of the run.
      round: of the step.
      seen: what it made.
      past: of the steps before; None without `config.study`.
      known: the columns that others tell, by name.
      more: a user's own.
      of_test_set: those of them that are `judged`.
    """
    decay = the_decay(round.hyperparameters)

    def of(one: Config, who: Identities) -> tuple[Metrics, Past | None]:
        honest, attack = apart(one, who, seen.stack)
        sampled, _ = apart(one, who, seen.sampled)
        losses, _ = apart(one, who, seen.losses)
        weights = None if seen.weights is None else apart(one, who, seen.weights)
        columns, new = known | {"loss": jnp.mean(losses)}, past
        if past is not None:
            studied, sampled_mean = study(
                step=round.step,
                sampled=sampled,
                honest=honest,
                attack=attack,
                aggregate=seen.aggregate,
                past=past,
                momentum=decay,
                weights=None if weights is None else weights[1],
            )
            columns, new = columns | studied, remember(past, sampled_mean, decay)
        if config.certify and one.honest:
            columns |= certify(seen.aggregate, honest)
        of_kinds = (None, None) if weights is None else weights
        more_told = (honest, attack, *of_kinds, round.step, round.hyperparameters)
        values = seen._asdict() | dict(zip(TOLD, more_told, strict=True))
        own = scalars(more, values, [name for name in more if name not in of_test_set])
        return metrics_of(config, columns, {**own, **of_test_set}), new

    return in_rounds(config, round.part, of)


def log_ratio(deviation: jax.typing.ArrayLike, norm: jax.typing.ArrayLike) -> jax.Array:
    """Natural logarithm of the variance-norm ratio (deviation / norm)²."""
    return 2 * (jnp.log(deviation) - jnp.log(norm))
