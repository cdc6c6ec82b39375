"""Rules of groups: the workers' rows in a few means, and a robust rule among these."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.calling import name_of, require_rule
from simbyz._arrays.checks import (
    integer,
    random_key,
    require,
    require_shape,
)
from simbyz._arrays.geometry import full_product
from simbyz._arrays.halves import Halves, halves, selection_of
from simbyz._arrays.moments import means_of_chosen
from simbyz._arrays.redo import are_finite
from simbyz._arrays.stacking import Updates, ravel
from simbyz.aggregators.coordinate import median

__all__ = ["median_of_means", "median_of_means_selection"]


def _median_of_means(
    updates: Updates,
    f: int,
    *,
    groups: int | None = None,
    key: jax.Array | None = None,
    rule: Callable[..., jax.Array] = median,
) -> Halves:
    """The median of the means of k groups of rows, as equal as can be.

    F = rule(y_0, ..., y_(k-1), f), y_g the mean of the rows at the places ⌈gn/k⌉ to ⌈(g+1)n/k⌉ - 1.

    Args:
      groups: k, from 2f + 1 to n; 2f + 1 if None, the largest groups of which f bad rows cannot
        spoil half.
      key: puts the rows in a random order first; in the order of the workers if None. A fixed key
        is a fixed order: for a new one each step, see `bucketing` in front of `median`.
      rule: (updates, f) -> aggregate of the k means; the geometric median, configured, is Chen's.

    Returns:
      The aggregate. A group with a row that is not finite has a mean of NaN, which the rule must
      bear: up to f of them.

    Raises:
      ValueError: n < 2f + 1, groups out of range, or what the rule refuses.
      TypeError: a key or a rule that is none.

    Weights: the rule's of the groups, each shared equally by its rows; of a rule without a
      selection, none: ValueError.
    Cost: a k × n × d matrix product, and the rule's of k rows.
    Reference: Chen, Su and Xu, Distributed statistical machine learning in adversarial settings,
      2017; of numbers, Nemirovsky and Yudin, 1983.
    Convention: the paper takes the geometric median, and k at least 2(1 + ε)f; here the default is
      coordinate-wise, the lower of two middle values for an even k. `bucketing` is told the size of
      a group instead, and leaves the last one smaller.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    f = require("median_of_means", n, f, 2, 1)
    groups = 2 * f + 1 if groups is None else integer("groups", groups)
    if not 2 * f + 1 <= groups <= n:
        raise ValueError(
            f"median_of_means needs 2f + 1 <= groups <= n, got groups={groups}, n={n}, f={f}"
        )
    require_rule("median_of_means", rule)
    members = jnp.asarray(np.arange(n) * groups // n == np.arange(groups)[:, None])
    if key is not None:
        random_key("median_of_means", key)
        members = jnp.zeros_like(members).at[:, jax.random.permutation(key, n)].set(members)
    means = means_of_chosen(stack, members, are_finite(stack))

    def weights() -> jax.Array:
        shares = members / jnp.sum(members, axis=1, keepdims=True)
        of_groups = selection_of(rule)(means, f)
        return full_product(of_groups, shares)

    def aggregate() -> jax.Array:
        row = rule(means, f)
        require_shape(f"the rule {name_of(rule)}", row, means.shape[1:], "an aggregate (d,)")
        return row

    return Halves(lambda: unravel(aggregate()), weights)


median_of_means, median_of_means_selection = halves(_median_of_means)
