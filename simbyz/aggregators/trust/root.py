"""Rules that try each row on a few examples that the server holds itself.

In a run a rule that asks for a keyword-only `root` is given one, of a task that holds such examples
(`simbyz.tasks.classification(root=...)`); elsewhere it is made by hand:

    root = Root(parameters, 0.1, lambda parameters: mean_loss(parameters, examples, labels))
    zeno(updates, f=3, root=root)

Non-finite values: a row whose loss is not finite counts as the worst. The choice carries no
derivative. Of equal scores the earlier rows win.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from simbyz._arrays.calling import name_of, require_rule
from simbyz._arrays.checks import not_negative, require, require_shape
from simbyz._arrays.geometry import squared_norms
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.scales import nan_as_inf
from simbyz._arrays.stacking import PyTree, Row, Updates, ravel, row_like
from simbyz.aggregators.base import mean_of_some
from simbyz.aggregators.coordinate import average
from simbyz.aggregators.filters.lowest_scores import lowest

__all__ = [
    "BY_ROOT",
    "Root",
    "loss_function_rejection",
    "loss_function_rejection_selection",
    "zeno",
    "zeno_selection",
]


class Root(NamedTuple):
    """Root: where the server stands in a step, and its loss on examples of its own."""

    parameters: Row  # θ, (d,) or a pytree like an aggregate
    rate: float | jax.Array  # learning rate γ: an aggregate x leads to θ - γ x
    loss: Callable[[PyTree], jax.Array]  # of parameters, a scalar


def losses_after(
    root: Root, stack: jax.Array, unravel: Callable[[jax.Array], PyTree]
) -> tuple[jax.Array, jax.Array]:
    """The loss () where the server stands, and those (n,) after a step along each row alone."""
    require_root(root)
    start = row_like(root.parameters, jax.eval_shape(unravel, stack), stack)
    points = start[None] - root.rate * stack
    return loss_at(root, unravel(start)), jax.vmap(lambda row: loss_at(root, unravel(row)))(points)


def loss_at(root: Root, parameters: PyTree) -> jax.Array:
    """The loss () of the parameters: of any other shape, it would be spread over rows in silence.

    Raises:
      ValueError: it is no scalar.
    """
    loss = root.loss(parameters)
    require_shape("the loss of root", loss, (), "a scalar")
    return loss


def require_root(root: Any) -> None:
    """Raises TypeError where no `Root` is given."""
    if not isinstance(root, Root):
        raise TypeError(f"root must be a Root(parameters, rate, loss), got {type(root).__name__}")


def _zeno(updates: Updates, f: int, *, root: Root, penalty: float | jax.Array = 0.0) -> Halves:
    """The mean of the n - f rows along which the server's own loss falls most.

    (1 / (n - f)) Σ x_i over the n - f rows of the largest L(θ) - L(θ - γ x_i) - ρ ||x_i||².

    Args:
      f: rows left out; any number below n, since the server's loss needs no majority.
      root: θ, γ and the loss L on the server's own examples.
      penalty: ρ of the squared norm, 0 or more; may be traced.

    Raises:
      ValueError: n < f + 1, or a penalty that is negative or NaN (if not traced).

    Weights: 1/(n - f) for a chosen row, else 0.
    Cost: n losses on the server's examples, and two passes over the stack.
    Reference: Xie, Koyejo and Gupta, Zeno: distributed stochastic gradient descent with suspicion-
      based fault-tolerance, ICML 2019.
    Convention: the paper draws the server's examples anew in each step; here they are all that
      `root` holds. It takes ρ in proportion to γ.
    """
    stack, unravel = ravel(updates)
    f = require("zeno", len(stack), f, 1, 1)
    not_negative("zeno", "penalty", penalty)
    rows = jax.lax.stop_gradient(stack)
    _, after = losses_after(root, rows, unravel)  # the loss before is the same of each
    after = jnp.where(jnp.isfinite(after), after, jnp.inf)
    squares, unit = squared_norms(rows)
    # By a unit at a time, since its square may be no float, nor that of a row.
    scores = after + penalty / unit * squares / unit
    return mean_of_some(stack, lowest(scores, len(stack) - f), unravel)


zeno, zeno_selection = halves(_zeno)


def _loss_function_rejection(
    updates: Updates,
    f: int,
    *,
    root: Root,
    rule: Callable[[jax.Array, int], jax.Array] = average,
) -> Halves:
    """Another rule on the n - f rows that are left without those that raise the server's loss most.

    Left out are the f rows of the largest L(θ - γ R(all)) - L(θ - γ R(all but i)).

    Args:
      f: rows left out, and what the other rule is told to tolerate.
      root: θ, γ and the loss L on the server's own examples.
      rule: R, (stack, f) -> row.

    Raises:
      ValueError: n < f + 2, or what the rule raises for n - 1 or for n - f rows.

    Weights: 1/(n - f) for a row that is left, else 0.
    Cost: n times the other rule and the loss on the server's examples.
    Reference: Fang et al., Local model poisoning attacks to Byzantine-robust federated learning,
      USENIX Security 2020, as LFR; by the error rate in place of the loss it is ERR.
    Convention: by the mean, one row among several that are huge is not missed when it alone is left
      out: then a robust rule is to be given.
    """
    stack, unravel = ravel(updates)
    n = len(stack)
    f = require("loss_function_rejection", n, f, 1, 2)
    require_root(root)
    require_rule("loss_function_rejection", rule)
    rows, start = jax.lax.stop_gradient(stack), row_like(root.parameters, updates, stack)

    def without(row: jax.Array) -> jax.Array:
        others = jnp.arange(n - 1)
        left = rows[others + (others >= row)]
        made = rule(left, f)
        require_shape(f"the rule {name_of(rule)}", made, start.shape, "an aggregate (d,)")
        return loss_at(root, unravel(start - root.rate * made))

    # The loss with all rows is the same of each. One that is lost without a row, too, is not its.
    losses = jax.lax.map(without, jnp.arange(n))
    left = lowest(-nan_as_inf(losses), n - f)
    if rule is average:
        return mean_of_some(stack, left, unravel)
    return Halves(
        lambda: unravel(rule(stack[jnp.sort(left)], f)),
        lambda: jnp.zeros(n).at[left].set(1 / (n - f)),
    )


loss_function_rejection, loss_function_rejection_selection = halves(_loss_function_rejection)

BY_ROOT: dict[str, Callable[..., PyTree]] = {
    rule.__name__: rule for rule in (zeno, loss_function_rejection)
}
