"""Certificates: in each step the coefficient that the rule realised, beside its published bound.

See `simbyz.theory.robustness`; `Config.certify` asks for the columns.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays import moments
from simbyz._arrays.calling import name_of
from simbyz._arrays.checks import integer, require_callable
from simbyz._arrays.geometry import distances_between
from simbyz.aggregators import AGGREGATORS
from simbyz.aggregators.base import Rule, StatefulRule
from simbyz.aggregators.compose.chain import parts_of
from simbyz.preaggregators import adaptive_robust_clipping, bucketing, nearest_neighbor_mixing
from simbyz.theory import robustness, sharp

CERTIFICATES = ("coefficient", "distance")  # the columns
# What float32 adds to a coefficient: with f = 0 the bound of the trimmed mean is 0.
ROUNDING = 1e-6


def realised_coefficient(aggregate: jax.Array, honest: jax.Array) -> jax.Array:
    """||F - x̄_H||² / ((1/|H|) Σ ||x_i - x̄_H||²), over the rows H that are known to be honest.

    Where |H| = n - f this is a lower bound on the rule's κ, and a step is certified by an upper
    bound if it stays below. The largest over all S would need C(n, f) subsets; in a simulation the
    honest one is known, and it alone matters to the run.

    Args:
      aggregate: (d,).
      honest: (h, d).

    Returns:
      A scalar, at least float32: 0 where the aggregate is the honest mean, +inf where it is not and
      the honest rows agree, NaN where either is not finite. Where they agree, what differs from
      them by rounding is their mean. Distances count as long as their squares are numbers: in
      float32 those from 1e-19 to 1e19.

    Raises:
      ValueError: other shapes.

    Cost: two passes over the honest rows.
    """
    _require_shapes("realised_coefficient", aggregate, honest)
    dtype = jnp.promote_types(honest.dtype, jnp.float32)
    honest, aggregate = honest.astype(dtype), aggregate.astype(dtype)
    center = moments.mean(honest)
    distance = jnp.sum(jnp.square(aggregate - center))
    variance = jnp.sum(jnp.square(honest - center[None])) / len(honest)
    exact = (distance == 0) | _is_what_all_sent(aggregate, honest)
    return jnp.where(exact, 0.0, distance / variance)


def realised_lambda(*, aggregate: jax.Array, honest: jax.Array) -> jax.Array:
    """Column: ||F - x̄_H|| / max_{i,j in H} ||x_i - x_j||, over the rows H that are known to be
    honest.

    A rule is an (f, λ)-resilient average if this is at most λ for every H of n - f rows: a lower
    bound, as `realised_coefficient` is of κ.

        make_simulator(Config(..., certify=True), ..., columns={"lambda": realised_lambda})

    Returns:
      A scalar: 0 where the aggregate is the honest mean, +inf where it is not and the honest rows
      agree, NaN where either is not finite, or nobody is honest. Where they agree, what differs
      from them by rounding is their mean.

    Raises:
      ValueError: other shapes than an aggregate (d,) and honest rows (h, d).

    Cost: one h × h × d matrix product.
    Reference: Farhadkhani et al., Byzantine machine learning made easy by resilient averaging of
      momentums, ICML 2022.
    """
    _require_shapes("realised_lambda", aggregate, honest)
    if not len(honest):
        return jnp.float32(jnp.nan)
    dtype = jnp.promote_types(honest.dtype, jnp.float32)
    aggregate, honest = aggregate.astype(dtype), honest.astype(dtype)
    squares, unit = distances_between(honest)
    distance = jnp.linalg.norm((aggregate - moments.mean(honest)) * unit)
    exact = (distance == 0) | _is_what_all_sent(aggregate, honest)
    ratio = jnp.where(exact, 0.0, distance / jnp.sqrt(jnp.max(squares)))
    finite = jnp.all(jnp.isfinite(honest)) & jnp.all(jnp.isfinite(aggregate))
    return jnp.where(finite, ratio, jnp.nan)


def _is_what_all_sent(aggregate: jax.Array, honest: jax.Array) -> jax.Array:
    """Whether all honest rows are equal, and the aggregate (d,) is one of them but for rounding.

    As nodes without a server are before their first step: a mean of equal rows may be off by as
    many roundings as there are rows, and there is no variance to which that would be little.
    """
    if not len(honest):
        return jnp.array(False)
    rounding = len(honest) * jnp.finfo(honest.dtype).eps * jnp.abs(honest[0])
    close = jnp.all(jnp.abs(aggregate - honest[0]) <= rounding)
    return close & jnp.all(honest == honest[:1])


def _require_shapes(of: str, aggregate: jax.Array, honest: jax.Array) -> None:
    if np.ndim(honest) != 2 or np.shape(aggregate) != np.shape(honest)[1:]:
        raise ValueError(
            f"{of} needs an aggregate (d,) and honest rows (h, d), got {np.shape(aggregate)} and "
            f"{np.shape(honest)}"
        )


def certify(aggregate: jax.Array, honest: jax.Array) -> dict[str, jax.Array]:
    """The columns of a step: `realised_coefficient`, and the distance of the aggregate (d,) from
    the mean of what the honest workers sent (h, d). ValueError: other shapes.
    """
    _require_shapes("certify", aggregate, honest)
    distance = jnp.linalg.norm(aggregate - moments.mean(honest))
    return {"coefficient": realised_coefficient(aggregate, honest), "distance": distance}


def coefficient_bound(rule: Rule | StatefulRule, n: int, f: int) -> float | None:
    """The bound on κ that is proved of a rule as it is configured, behind pre-aggregators too.

        coefficient_bound(chain(nearest_neighbor_mixing, trimmed_mean), n=14, f=4)

    Returns:
      The bound, None where nothing is proved: of a rule that has none in `simbyz.theory.robustness`
      or is configured otherwise than in its proof (krum of distances that are not squared, a
      geometric median of finitely many iterations), behind `clipping` of a given radius, and for
      n < 2f + 1.

    Raises:
      TypeError: the rule is none, or n or f is no int; so do the bounds below.
    """
    published = functools.partial(_known, PUBLISHED)
    return _bound(parts_of(rule), n, f, published, COEFFICIENTS_BEFORE)


def least_coefficient_bound(rule: Rule | StatefulRule, n: int, f: int) -> float | None:
    """The least bound on κ that is known of a rule as it is configured, by `simbyz.theory.sharp`,
    behind pre-aggregators too: never more than `coefficient_bound`, which is the published one and
    what the runs' tables have. None where nothing is proved.
    """
    least = functools.partial(_known, sharp.LEAST_KNOWN_COEFFICIENTS)
    return _bound(parts_of(rule), n, f, least, LEAST_BEFORE)


def resilience_bound(rule: Rule | StatefulRule, n: int, f: int) -> float | None:
    """The bound on λ, see `realised_lambda`, likewise: the least of what follows from κ and what is
    proved of λ.
    """
    coefficient = least_coefficient_bound(rule, n, f)
    following = None if coefficient is None else robustness.resilience(n, f, coefficient)
    proved = _bound(parts_of(rule), n, f, _resilience, RESILIENCES_BEFORE)
    known = [bound for bound in (following, proved) if bound is not None]
    return min(known, default=None)


def _bound(
    parts: Sequence[Any],
    n: int,
    f: int,
    of_rule: Callable[[Any, dict[str, Any], int, int], float | None],
    before: Mapping[Any, Callable[..., float]],
) -> float | None:
    """Of the last part, carried through those before it."""
    if not isinstance(parts[0], StatefulRule):
        require_callable("rule", parts[0], "simbyz.aggregators.median")
    n, f = integer("n", n), integer("f", f)
    function, options = _configured(parts[0])
    if n < 2 * f + 1:
        return None
    if len(parts) == 1:
        return of_rule(function, options, n, f)
    size = options.pop("bucket_size", None if function is bucketing else 1)
    options.pop("key", None)
    if function not in before or options or size is None or not 1 <= size <= n:
        return None
    bound = _bound(parts[1:], -(-n // size), f, of_rule, before)
    if bound is None:
        return None
    of_buckets = (size,) if function is bucketing else ()
    return before[function](n, f, *of_buckets, bound)


def _configured(part: Any) -> tuple[Any, dict[str, Any]]:
    """A function and its options, those left out that are as by default."""
    options: dict[str, Any] = {}
    while isinstance(part, functools.partial):
        positional = {"positional": part.args} if part.args else {}
        options, part = {**positional, **part.keywords, **options}, part.func
    usual = inspect.signature(part).parameters if callable(part) else {}
    return part, {k: v for k, v in options.items() if k not in usual or usual[k].default is not v}


def _resilience(rule: Any, options: dict[str, Any], n: int, f: int) -> float | None:
    coefficient = _known(sharp.LEAST_KNOWN_COEFFICIENTS, rule, options, n, f)
    following = None if coefficient is None else robustness.resilience(n, f, coefficient)
    known = [following, _known(sharp.RESILIENCES, rule, options, n, f)]
    return min((bound for bound in known if bound is not None), default=None)


def _known(
    bounds: Mapping[str, Callable[..., float]], rule: Any, options: dict[str, Any], n: int, f: int
) -> float | None:
    """Of a rule whose options the proof has, too; no rule of finite steps is the exact one."""
    name = name_of(rule)
    if AGGREGATORS.get(name) is not rule or name not in bounds or name == "geometric_median":
        return None
    proved = inspect.signature(bounds[name]).parameters
    if set(options) - set(proved):
        return None
    try:
        return bounds[name](n, f, **options)
    except ValueError:  # of other numbers nothing is proved
        return None


# Of krum any number of neighbours is told by the bound for the mean of m rows; of the median the
# published one is of either middle.
PUBLISHED: dict[str, Callable[..., float]] = robustness.COEFFICIENT_BOUNDS | {
    "median": lambda n, f, midpoint=False: robustness.median_coefficient(n, f),
    "krum": functools.partial(robustness.multi_krum_coefficient, m=1),
    "multi_krum": robustness.multi_krum_coefficient,
}
COEFFICIENTS_BEFORE: dict[Any, Callable[..., float]] = {
    nearest_neighbor_mixing: robustness.mixing_coefficient,
    adaptive_robust_clipping: robustness.adaptive_clipping_coefficient,
    bucketing: robustness.bucketing_coefficient,
}
LEAST_BEFORE = COEFFICIENTS_BEFORE | {nearest_neighbor_mixing: sharp.mixing_coefficient}
# What is proved of mixing and of clipping is proved of κ.
RESILIENCES_BEFORE: dict[Any, Callable[..., float]] = {bucketing: robustness.bucketing_resilience}


def summarise(columns: Mapping[str, np.ndarray], bound: float | None) -> dict[str, float | None]:
    """Summary of a run's certificates.

    A bound proved for f holds for the honest rows however many they are, if those are n - f or
    more: their mean is the mean over their subsets of n - f rows, and a square of a mean is at most
    the mean of the squares; their variance is at least the subsets' on average.

    Args:
      columns: of a run, (steps + 1,) each; the last row took no step.
      bound: on the coefficient of the rule, None where nothing is known.

    Returns:
      largest_coefficient: of the steps where it is a number; None without any.
      coefficient_bound: the bound.
      certified_share: steps with a coefficient (not NaN) of at most the bound; None without one.
      mean_acceptance, mean_distance: over the steps where they are finite; None without any.
    """
    values = {name: np.asarray(columns[name][:-1], float) for name in CERTIFICATES}
    acceptance = columns.get("attack_acceptance")  # none without `Config.study`
    coefficient = values["coefficient"]
    numbers = coefficient[~np.isnan(coefficient)]
    certified = None
    if bound is not None and coefficient.size:
        certified = float(np.mean(coefficient <= bound * (1 + ROUNDING) + ROUNDING))
    return {
        "largest_coefficient": float(numbers.max()) if numbers.size else None,
        "coefficient_bound": bound,
        "certified_share": certified,
        "mean_acceptance": None
        if acceptance is None
        else _mean(np.asarray(acceptance[:-1], float)),
        "mean_distance": _mean(values["distance"]),
    }


def _mean(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.mean(finite)) if finite.size else None
