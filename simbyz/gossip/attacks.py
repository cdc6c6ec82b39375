"""Attacks that know the graph: pure functions (key, honest, num_byzantine, *, ...) -> Byzantine
rows, as those of `simbyz.attacks`, made anew for each honest node that is attacked.

`honest` (m, d) are the vectors that meet at the node: its own, and those of the honest neighbours
that it hears, in the order of their numbers. What an attack asks for by a keyword-only name it is
given by the simulator:

    target      (d,)  the attacked node's own vector
    neighbours  (k, d)  those of its honest neighbours
    weights     (1 + k + b,)  mixing weights at the node: own, honest neighbours, Byzantine ones
    everyone    (h, d)  what all honest nodes send
    place       ()  the node's number among the honest ones
    fiedler     (h,)  unit vector of the honest graph's bottleneck, of an undirected graph
    result      (b, d) -> (d,)  what the node's rule would make of such Byzantine rows; with other
                rows (1 + k, r) for its own and its honest neighbours', of (b, r) -> (r,)
    own         (b, d)  what the Byzantine ones would have sent, where they compute gradients too

All but `sandwich` send equal rows; `factor` may be traced.
"""

from collections.abc import Callable
from inspect import signature
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays import moments
from simbyz._arrays.calling import asked, signature_of_all
from simbyz._arrays.checks import flag, require_callable
from simbyz._arrays.geometry import full_product
from simbyz._arrays.scales import unit_where_unusual
from simbyz._arrays.stacking import Byzantine, Honest
from simbyz.attacks.base import Attack
from simbyz.attacks.fixed import mean_and_deviation, shifted
from simbyz.attacks.rows import count, repeat
from simbyz.attacks.searched.line_search import Search, at_least_one, sequential
from simbyz.attacks.searched.span import in_span

Factor = float | jax.Array
# What the simulator tells an attack about a node and its network.
TOLD = ("target", "neighbours", "weights", "everyone", "place", "fiedler", "result")


def dissensus(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    target: jax.Array,
    neighbours: jax.Array,
    weights: jax.Array,
    factor: Factor = 1.0,
) -> Byzantine:
    """Away from the honest neighbours: x_i - ε Σ_j w_ij (x_j - x_i) / Σ_b w_ib.

    With ε = 1 plain gossip leaves the node where it is, with more it moves away from the others.

    Args:
      factor: ε.

    Reference: He, Karimireddy and Jaggi, Byzantine-robust decentralized learning via
      ClippedGossip, 2022.
    Convention: the program of Gaucher et al. (ICML 2025) leaves out the division, and searches the
      factor.
    """
    del key, honest
    of_neighbours, of_liars = _split(weights, num_byzantine)
    pull = full_product(of_neighbours, neighbours - target[None])
    share = jnp.sum(of_liars)
    row = target - factor * pull / jnp.where(share > 0, share, 1)
    return repeat(row.astype(target.dtype), num_byzantine)


def spectral_heterogeneity(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    target: jax.Array,
    everyone: jax.Array,
    place: jax.Array,
    fiedler: jax.Array,
    factor: Factor = 1.0,
) -> Byzantine:
    """Along the slowest disagreement of the graph: x_i + factor v_i Σ_j v_j x_j.

    v is the Fiedler vector of the honest graph: what nodes on either side of its bottleneck differ
    in grows.

    Raises:
      ValueError: when the simulator is made, on a directed graph.

    Reference: Gaucher et al., Unified breakdown analysis for Byzantine robust gossip, ICML 2025.
    """
    del key, honest
    row = target + factor * fiedler[place] * full_product(fiedler, everyone)
    return repeat(row.astype(target.dtype), num_byzantine)


def bridge_splitting(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    target: jax.Array,
    everyone: jax.Array,
    place: jax.Array,
    fiedler: jax.Array,
    factor: Factor = 1.0,
) -> Byzantine:
    """Each side of the bottleneck is pulled to itself: x_i + factor (mean of its side - mean of the
    other side).

    The sides are the signs of the Fiedler vector, 0 counted as positive.

    Raises:
      ValueError: when the simulator is made, on a directed graph.

    Reference: this library's; a plain reading of what two cliques with a bridge cannot bear.
    """
    del key, honest
    positive = fiedler >= 0
    side = (positive == positive[place]).astype(everyone.dtype)
    own = moments.weighted_mean(everyone, side, jnp.sum(side))
    others = jnp.sum(1 - side)
    other = moments.weighted_mean(everyone, 1 - side, jnp.where(others > 0, others, 1))
    other = jnp.where(others > 0, other, own)
    # Half of their difference is a float.
    row = shifted(target, 2 * factor, own / 2 - other / 2)
    return repeat(row.astype(target.dtype), num_byzantine)


def sandwich(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    target: jax.Array,
    factor: Factor = 1.0,
) -> Byzantine:
    """The node between two groups of attackers: x_i + factor σ and x_i - factor σ, by turns.

    σ is the coordinate-wise deviation of the vectors that meet at the node. Both groups are as far
    as its neighbours are, agree with each other on the node's own vector, and so hold it there.

    Raises:
      ValueError: fewer than two vectors meet.

    Reference: this library's reading of the name; no definition could be verified.
    """
    del key
    _, deviation = mean_and_deviation("sandwich", honest)
    signs = 1 - 2 * (jnp.arange(count(num_byzantine)) % 2)
    rows = target[None] + factor * signs[:, None] * deviation[None]
    return rows.astype(target.dtype)


def little_around(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    target: jax.Array,
    everyone: jax.Array,
    factor: Factor = 1.5,
) -> Byzantine:
    """A little is enough around the node itself: x_i + factor · deviation of all honest vectors.

    Raises:
      ValueError: fewer than two honest nodes.

    Reference: "sparse_little" in the program of Gaucher et al., ICML 2025, after Baruch et al.,
      NeurIPS 2019.
    """
    del key, honest
    _, deviation = mean_and_deviation("little_around", everyone)
    row = shifted(target, factor, deviation)
    return repeat(row.astype(target.dtype), num_byzantine)


def empire_around(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    target: jax.Array,
    everyone: jax.Array,
    factor: Factor = 1.0,
) -> Byzantine:
    """Along the honest mean from the node itself: x_i + factor · mean of all honest vectors.

    Reference: "sparse_empire" in the program of Gaucher et al., ICML 2025, after Xie et al., UAI
      2019.
    """
    del key, honest
    row = shifted(target, factor, moments.sure_mean(everyone))
    return repeat(row.astype(target.dtype), num_byzantine)


def searched(
    attack: Attack,
    *,
    evaluations: int = 16,
    search: Callable[..., Search] = sequential,
    symmetry: Literal["rotations"] | None = None,
    equal_rows: bool = False,
) -> Attack:
    """An attack with the factor >= 0 that moves each node's result farthest from what plain gossip
    of its honest neighbours would make of it.

        max over factor of ||result(rows) - (x_i + Σ_j w_ij (x_j - x_i))||²

    Args:
      attack: with a keyword `factor`, of this module or of `simbyz.attacks`.
      evaluations: how often the rule is evaluated, at each node.
      search: of `simbyz.attacks.searched.line_search`.
      symmetry: "rotations" if a rotation of all rows rotates the rule's result, as it does of all
        rules here but `bridge` and `ubar`, and the attack's rows lie on a straight line: then the
        search takes about as many numbers a row as rows meet at a node.
      equal_rows: the attack's rows are equal, as of all here but `sandwich`: with the symmetry, the
        basis is then of one of them in place of all.

    Returns:
      An attack (key, honest, num_byzantine, *, ...) that asks for what it needs.

    Raises:
      TypeError: an attack or a search that is no function, equal_rows that is no bool.
      ValueError: evaluations < 1, an unknown symmetry.

    Cost: `evaluations` times the rule at each node; with the symmetry, one `in_span` and as
      many small ones.
    Convention: the program of Gaucher et al. takes the factor of largest ||result||², as it does
      not keep the difference that it computes.
    """
    require_callable("attack", attack, "simbyz.gossip.attacks.dissensus")
    require_callable("search", search, "simbyz.attacks.searched.line_search.sequential")
    evaluations, equal_rows = at_least_one(evaluations), flag("equal_rows", equal_rows)
    if symmetry not in (None, "rotations"):
        raise ValueError(f'symmetry must be "rotations" or None, got {symmetry!r}')

    by_name = [one for one in signature(attack).parameters.values() if one.kind is one.KEYWORD_ONLY]
    options = [one for one in by_name if one.name not in (*TOLD, "factor")]

    def adapted(
        key: jax.Array, honest: jax.Array, num_byzantine: int, **told: jax.Array
    ) -> jax.Array:
        target, neighbours, weights = told["target"], told["neighbours"], told["weights"]
        of_neighbours, _ = _split(weights, num_byzantine)
        goal = target + full_product(of_neighbours, neighbours - target[None])
        asked_for = asked(attack, told) | {
            one.name: told[one.name] for one in options if one.name in told
        }
        result: Callable[..., jax.Array] = told["result"]  # type: ignore[assignment]

        def rows(factor: jax.Array) -> jax.Array:
            made: jax.Array = attack(key, honest, num_byzantine, factor=factor, **asked_for)
            return made

        # In which the vectors that meet have squares that are numbers.
        unit = unit_where_unusual(jnp.concatenate([target[None], neighbours]))

        def apart(made: jax.Array, goal: jax.Array) -> jax.Array:
            return jnp.sum(jnp.square(made * unit - goal * unit))

        def worth(factor: jax.Array) -> jax.Array:
            return apart(result(rows(factor)), goal)

        if symmetry is not None:
            different = 1 if equal_rows else num_byzantine
            ends = [rows(jnp.asarray(end, target.dtype))[:different] for end in (0, 1)]
            parts = [jnp.concatenate([target[None], neighbours]), *ends]
            numbers, _ = in_span(jnp.concatenate(parts))
            few, begin, end = jnp.split(numbers, np.cumsum([len(p) for p in parts[:-1]]))
            few_goal = few[0] + full_product(of_neighbours, few[1:] - few[:1])

            def worth(factor: jax.Array) -> jax.Array:
                sent = begin + factor * (end - begin)
                made = result(jnp.broadcast_to(sent, (num_byzantine, sent.shape[1])), few)
                return apart(made, few_goal)

        return rows(search(worth, evaluations, target.dtype).factor)

    asking = signature_of_all((attack, _needs), ("key", "honest", "num_byzantine"), TOLD)
    parameters = [*asking.parameters.values(), *options]
    vars(adapted)["__signature__"] = asking.replace(parameters=parameters)
    adapted.__name__ = f"searched_{getattr(attack, '__name__', 'attack')}"
    return adapted


def _needs(
    *,
    target: jax.Array,
    neighbours: jax.Array,
    weights: jax.Array,
    result: Callable[..., jax.Array],
) -> None:
    """What a search asks for itself."""


def _split(weights: jax.Array, num_byzantine: int) -> tuple[jax.Array, jax.Array]:
    """The weights of honest and of Byzantine neighbours."""
    honest = len(weights) - count(num_byzantine)
    return weights[1:honest], weights[honest:]


GRAPH_ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        dissensus,
        spectral_heterogeneity,
        bridge_splitting,
        sandwich,
        little_around,
        empire_around,
    )
}
