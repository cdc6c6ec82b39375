"""Workers that count by what they hold: the masses that the simulator gives to a weighted rule.

    weights = by_counts(partition.counts, claimed=1e6, cap=500)
    make_simulator(config, task, weighted_median, attack, weights=weights)

A server can't check a claim. `claimed` is what Byzantine workers say they hold, `cap` the most that
the server believes of anyone: with it, b of them hold at most b · cap of the mass, and the weighted
medians bear them where the honest masses, capped too, add up to more.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from simbyz._arrays.calling import asks_for
from simbyz.aggregators.base import Rule, StatefulRule
from simbyz.aggregators.weighted.rules import WEIGHTED
from simbyz.simulator.config import Config
from simbyz.simulator.participation import Participants


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
        0; a cap of 0 or below.
    """
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 1 or not np.all(np.isfinite(counts) & (counts >= 0)) or not np.any(counts):
        raise ValueError(
            f"counts must be finite numbers (n,) from 0 on, one of them positive, got {counts}"
        )
    if claimed is not None:
        claimed = np.asarray(claimed, np.float64)
        if claimed.ndim > 1 or not np.all(claimed >= 0):
            raise ValueError(
                f"claimed must be a number from 0 on, or one a Byzantine worker, got {claimed}"
            )
    if cap is not None and not cap > 0:
        raise ValueError(f"cap must be positive or None, got {cap}")
    return Weighting(counts, claimed, cap)


def check(config: Config, rule: Rule | StatefulRule, weights: Weighting | None) -> None:
    """Whether the workers, the rule and the weights go together.

    Raises:
      ValueError: a rule without a weighted form and weights, or the reverse; another number of
        counts than of workers, or of claims than of Byzantine ones.
    """
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


def masses_of(config: Config, weights: Weighting, part: Participants) -> jax.Array:
    """The masses of those who take part in a step, in the workers' order."""
    counts, claimed, cap = weights
    masses = jnp.zeros(config.n).at[: len(counts)].set(jnp.asarray(counts, jnp.float32))
    if claimed is not None and config.byzantine:
        masses = masses.at[part.identities.byzantine].set(jnp.asarray(claimed, jnp.float32))
    return (masses if cap is None else jnp.minimum(masses, cap))[part.workers]
