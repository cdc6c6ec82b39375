"""A rule that scores rows by groups of coordinates, in which a few bad ones can't hide."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from simbyz._arrays.calling import name_of, require_rule
from simbyz._arrays.checks import (
    integer,
    random_key,
    require,
    require_shape,
)
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.scales import unit_of_rows, wide
from simbyz._arrays.stacking import Updates, ravel
from simbyz.aggregators.base import mean_of_some
from simbyz.aggregators.coordinate import median
from simbyz.aggregators.filters.lowest_scores import lowest

__all__ = ["gas", "gas_selection"]

GROUPS = 1000


def _gas(
    updates: Updates,
    f: int,
    *,
    groups: int | None = None,
    key: jax.Array | None = None,
    rule: Callable[..., jax.Array] = median,
) -> Halves:
    """Gradient splitting: the mean of the n - f rows that are closest to a rule's result, summed
    over groups of coordinates.

    (1 / (n - f)) Σ x_i over the n - f rows of least Σ_q ||x_i^(q) - rule(x^(q))||, x^(q) being the
    coordinates of group q.

    Args:
      groups: p, from 1 to d, as equal as can be; if None 1000, or d if that is fewer.
      key: puts the coordinates in a random order first; in their own order if None. The simulator
        gives that of the step.
      rule: (updates, f) -> aggregate of the rows of a group.

    Returns:
      The aggregate. The choice carries no derivative.

    Raises:
      ValueError: n < 2f + 1, groups out of range, or what the rule refuses.
      TypeError: a key or a rule that is none.

    Weights: 1/(n - f) for a chosen row, else 0.
    Cost: the rule's on all groups, and two passes over the stack.
    Reference: Liu et al., Byzantine-robust learning on heterogeneous data via gradient splitting,
      ICML 2023.
    Convention: the authors' program (ff1e544) draws the groups anew in each step, all but the last
      of ⌈d / p⌉ coordinates, and takes a median, a trimmed mean, Multi-Krum of the n - f best, or a
      Bulyan that chooses all rows at once of each; here the default is the median.
    """
    stack, unravel = ravel(updates)
    n, d = stack.shape
    f = require("gas", n, f, 2, 1)
    groups = min(GROUPS, d) if groups is None else integer("groups", groups)
    if not 1 <= groups <= d:
        raise ValueError(f"gas needs 1 <= groups <= d, got groups={groups}, d={d}")
    require_rule("gas", rule)
    # Of half precision the rule's result is not rounded.
    rows = wide(jax.lax.stop_gradient(stack))
    if key is not None:
        random_key("gas", key)
        rows = rows[:, jax.random.permutation(key, d)]
    unit = unit_of_rows(rows)

    def distances(group: jax.Array) -> jax.Array:
        """Of the rows (n, k) of a group to its result."""
        made = rule(group, f)
        require_shape(f"the rule {name_of(rule)}", made, group.shape[1:], "an aggregate of a group")
        apart = group * unit - (wide(made) * unit)[None]
        return jnp.sqrt(jnp.sum(jnp.square(apart), axis=1))

    # The first groups are one longer than the others.
    size, longer = divmod(d, groups)
    cut = longer * (size + 1)
    scores = jnp.zeros(n, unit.dtype)
    for part, width in ((rows[:, :cut], size + 1), (rows[:, cut:], size)):
        if part.shape[1]:
            of_groups = jax.vmap(distances, in_axes=1)(part.reshape(n, -1, width))
            scores = scores + jnp.sum(of_groups, axis=0)
    return mean_of_some(stack, lowest(scores, n - f), unravel)


gas, gas_selection = halves(_gas)
