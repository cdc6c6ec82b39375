"""Workers that count by what they hold: the masses that the simulator gives to a weighted rule.

    weights = by_counts(partition.counts, claimed=1e6, cap=500)
    make_simulator(config, task, weighted_median, attack, weights=weights)

A server can't check a claim. `claimed` is what Byzantine workers say they hold, `cap` the most that
the server believes of anyone: with it, b of them hold at most b · cap of the mass, and the weighted
medians bear them where the honest masses, capped too, add up to more.

Who has no mass can't move the model. A step in which nobody who takes part has any changes nothing,
momenta and memories included; the column `mass` is 0 there. A pre-aggregator before the rule asks
for no masses: what it mixes into other rows counts there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from simbyz._arrays.calling import asks_for
from simbyz._arrays.checks import in_a_line, number
from simbyz._arrays.stacking import PyTree
from simbyz.aggregators.base import Rule, StatefulRule
from simbyz.aggregators.weighted.rules import WEIGHTED
from simbyz.simulator.config import Config
from simbyz.simulator.participation import Participants

SMALLEST = float(np.finfo(np.float32).tiny)
LARGEST = float(np.finfo(np.float32).max)


class Weighting(NamedTuple):
    """Masses of the workers, as far as they are known before a run; see `by_counts`."""

    counts: np.ndarray  # (n,), or those of the workers that compute where the others claim
    claimed: np.ndarray | None  # (), or (b,) of the Byzantine workers
    cap: float | None


def by_counts(
    counts: ArrayLike, *, claimed: ArrayLike | None = None, cap: float | None = None
) -> Weighting:
    """Each worker's mass is the number of its samples, as it says.

    Args:
      counts: (n,), such as `Partition.counts`; or (w,), of the w workers that compute gradients,
        with `claimed` for the others.
      claimed: what each Byzantine worker of a step says instead of its count: a number, or (b,).
        Their counts if None, so that they are as honest about it as they are about nothing else.
      cap: no worker counts for more than this. No cap if None.

    Raises:
      ValueError: counts are not one list of numbers from 0 on, with a positive one; a claim below
        0, or an infinite one without a cap; a cap of 0 or below; a number that float32 can't hold.
    """
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 1 or not np.all(_held(counts)) or not np.any(counts):
        raise ValueError(
            "counts must be finite numbers (n,) from 0 on, one of them positive, got "
            f"{in_a_line(counts)}"
        )
    if cap is not None:
        number("cap", cap, "positive or None", lambda one: one >= SMALLEST)
    if claimed is not None:
        claimed = np.asarray(claimed, np.float64)
        if claimed.ndim > 1 or not np.all(claimed >= 0):
            raise ValueError(
                "claimed must be a number from 0 on, or one a Byzantine worker, got "
                f"{in_a_line(claimed)}"
            )
        if not np.all(_held(claimed if cap is None else np.minimum(claimed, cap))):
            raise ValueError(
                f"claimed must be finite numbers, or given a cap, got {in_a_line(claimed)}"
            )
    return Weighting(counts, claimed, cap)


def _held(masses: np.ndarray) -> np.ndarray:
    """Whether float32 holds each of these masses as what it is: 0, or positive and finite."""
    return (masses == 0) | ((masses >= SMALLEST) & (masses <= LARGEST))


def check(config: Config, rule: Rule | StatefulRule, weights: Weighting | None) -> None:
    """Whether the workers, the rule and the weights go together.

    Raises:
      TypeError: weights that are not made by `by_counts`.
      ValueError: a rule without a weighted form and weights, or the reverse; another number of
        counts than of workers, or of claims than of Byzantine ones; nobody ever has a mass.
    """
    if weights is not None and not isinstance(weights, Weighting):
        raise TypeError(f"weights must be made by by_counts(counts), got {weights!r}")
    call = rule.aggregate if isinstance(rule, StatefulRule) else rule
    weighs = asks_for(call, "masses")
    if weights is None:
        if weighs:
            raise ValueError("the rule asks for masses: give weights=by_counts(counts)")
        return
    if not weighs:
        name = getattr(call, "__name__", repr(call))
        raise ValueError(
            f"{name} takes no masses, so that weights can't act: the rules with masses are "
            f"{', '.join(WEIGHTED)}, and your own with a keyword-only `masses`"
        )
    counts, claimed, _ = weights
    known = {config.n} if claimed is None else {config.n, config.computing}
    if len(counts) not in known:
        one_of = " or ".join(str(number) for number in sorted(known, reverse=True))
        raise ValueError(
            f"weights must count the samples of {one_of} workers, got {len(counts)}; Byzantine "
            "workers without samples claim some: by_counts(counts, claimed=...)"
        )
    if claimed is not None and claimed.shape not in ((), (config.byzantine,)):
        raise ValueError(
            f"claimed must be a number or ({config.byzantine},), one a Byzantine worker, "
            f"got {claimed.shape}"
        )
    draws = _draws(config, weights)
    if all(number == 0 or not np.any(masses) for draw in draws for number, masses in draw):
        raise ValueError(
            "nobody who takes part ever has a mass, so that no step would change anything: "
            f"got counts={in_a_line(counts)}, claimed={claimed}"
        )


def may_vanish(config: Config, weights: Weighting) -> bool:
    """Whether there may be a step in which nobody has a mass."""
    return any(
        all(number <= np.sum(masses == 0) for number, masses in draw)
        for draw in _draws(config, weights)
    )


def _draws(config: Config, weights: Weighting) -> list[list[tuple[int, np.ndarray]]]:
    """What a step may be: how many take part, of whom with which masses."""
    counts, claimed, _ = weights
    if claimed is None and config.redraw:  # whoever is Byzantine, all count by what they hold
        return [[(one.n, counts)] for one in config.rounds]
    honest = counts if config.redraw else counts[: config.honest]
    rest = counts[config.honest :] if claimed is None else claimed
    byzantine = np.broadcast_to(rest, (config.byzantine,))
    return [[(one.honest, honest), (one.byzantine, byzantine)] for one in config.rounds]


def masses_of(config: Config, weights: Weighting, part: Participants) -> jax.Array:
    """The masses of those who take part in a step, in the workers' order."""
    counts, claimed, cap = weights
    masses = jnp.zeros(config.n).at[: len(counts)].set(counts)
    if claimed is not None and config.byzantine:
        masses = masses.at[part.identities.byzantine].set(claimed)
    return (masses if cap is None else jnp.minimum(masses, cap))[part.workers]


def total(masses: jax.Array) -> jax.Array:
    """What those who take part in a step count for, all together (): the column `mass`."""
    return jnp.sum(jnp.where(jnp.isfinite(masses) & (masses > 0), masses, 0))


def kept_without(mass: jax.Array, before: PyTree, after: PyTree) -> PyTree:
    """The state after a step; that before it where nobody has a mass."""
    return jax.tree.map(lambda old, new: jnp.where(mass > 0, new, old), before, after)
