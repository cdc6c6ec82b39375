"""Attacks that know the rule: a factor searched against the very rule in use."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from simbyz._arrays import moments
from simbyz._arrays.calling import (
    OF_ROOT,
    asks_for,
    name_of,
    require_rule,
    require_taking,
    signature_of_all,
    takes_option,
)
from simbyz._arrays.checks import flag
from simbyz._arrays.chunks import kept
from simbyz._arrays.scales import unit_where_unusual, wide
from simbyz._arrays.stacking import PyTree, ravel
from simbyz.attacks.fixed import a_little_is_enough, fall_of_empires
from simbyz.attacks.rows import aggregate_of, count
from simbyz.attacks.searched.line_search import Search, at_least_one, sequential
from simbyz.attacks.searched.span import in_span

Attack = Callable[..., PyTree]
Rule = Callable[..., PyTree]
# (aggregate (d,), honest mean (d,)) -> what each coordinate is worth to the attacker, (d,)
Objective = Callable[[jax.Array, jax.Array], jax.Array]


def _little_negative(
    key: jax.Array, honest: PyTree, num_byzantine: int, *, factor: float | jax.Array
) -> PyTree:
    return a_little_is_enough(key, honest, num_byzantine, factor=-factor)


DIRECTIONS: dict[str, Attack] = {
    "little": a_little_is_enough,
    "little-negative": _little_negative,
    "empire": fall_of_empires,
}


def adaptive(
    direction: str | Attack,
    rule: Rule,
    *,
    evaluations: int = 16,
    f: int | None = None,
    search: Callable[..., Search] = sequential,
    symmetry: Literal["rotations"] | None = None,
    objective: Objective | None = None,
    knows_root: bool = True,
) -> Attack:
    """The attack of a family whose factor x >= 0 moves this rule most.

        max over x of Σ_k objective(rule(honest, direction(x)), honest mean)_k

    Args:
      direction: "little" (mean + x · deviation), "little-negative" (mean - x · deviation), "empire"
        ((1 - x) · mean), or any attack with a keyword `factor`.
      rule: (updates, f) -> aggregate, as the server will call it.
      evaluations: how often the rule is evaluated; twice as often by `looking_ahead`.
      f: what the rule is told to tolerate; as many as there are attackers if None.
      search: of simbyz.attacks.searched.line_search: `sequential`; or one that evaluates several
        factors together (docs/speed-rules.md compares them): `looking_ahead`, never weaker than
        `sequential`, at twice its evaluations in half as many rounds; `bracketing`, at the same
        number, stronger more often than weaker. Configured by functools.partial.
      symmetry: "rotations" if a rotation of all rows rotates the rule's result (SYMMETRIES in
        gradient_ascent.py tells): then the search takes h + 2 numbers a row in place of d, and the
        time of about one aggregation in all. The direction must be a straight line, as the named
        ones are. To be asked for: what a callable keeps to is not known, and coordinates cut over a
        mesh would have to be gathered.
      objective: `squared_distance` if None.
      knows_root: against a rule that asks for `trusted` or `root`, of examples that the server
        holds: whether the attacker knows them. If not, the honest mean stands for `trusted`.

    Returns:
      An attack (key, honest, num_byzantine) -> the Byzantine rows; it asks for `trusted` and `root`
      where the rule does and the attacker knows them.

    Raises:
      TypeError: a search or an objective that is no function of as much.
      ValueError: evaluations < 1, an unknown direction or symmetry, a rule that needs what is not
        bound, such as a key, or asks for `root` where the attacker knows none; whatever the rule
        refuses, when the attack is traced.

    Cost: `evaluations` times the rule, or one `in_span` and as many small ones.
    Reference: the released program of Distributed Momentum (ICLR 2021), where a negative factor
      asks for the sequential search.
    Convention: that program searches on the negated side when `negative` is set, and then sends the
      positive side at the factor it found; "little-negative" sends what it searched.
    """
    require_rule("adaptive", rule, OF_ROOT)
    chosen, evaluations = _direction(direction), at_least_one(evaluations)
    knows_root = flag("knows_root", knows_root)
    require_taking(
        "search", search, "gain, evaluations, dtype", f"{sequential.__module__}.sequential"
    )
    require_objective(objective)
    if symmetry not in (None, "rotations"):
        raise ValueError(f'symmetry must be "rotations" or None, got {symmetry!r}')

    wanted = [name for name in OF_ROOT if asks_for(rule, name)]
    if "root" in wanted and not knows_root:
        raise ValueError(
            f"{name_of(rule)} asks for root, the loss on the server's examples, for which nothing "
            "else can stand: knows_root=True, or a rule with a root of the attacker's own"
        )

    def attack(key: jax.Array, honest: PyTree, num_byzantine: int, **known: Any) -> PyTree:
        num_byzantine = count(num_byzantine)
        if not num_byzantine:
            return chosen(key, honest, num_byzantine, factor=0.0)
        if wanted and not knows_root:
            stack, unravel = ravel(honest)
            known = {"trusted": unravel(moments.sure_mean(stack))}
        found = search_factor(
            key,
            honest,
            num_byzantine,
            direction=direction,
            rule=functools.partial(rule, **known) if known else rule,
            evaluations=evaluations,
            f=f,
            search=search,
            symmetry=symmetry,
            objective=objective,
        )
        return chosen(key, honest, num_byzantine, factor=found.factor)

    asking = [rule] if knows_root else []
    signature = signature_of_all(asking, ("key", "honest", "num_byzantine"), OF_ROOT)
    vars(attack).update(__signature__=signature)  # what it asks for depends on the rule
    return attack


def search_factor(
    key: jax.Array,
    honest: PyTree,
    num_byzantine: int,
    *,
    direction: str | Attack,
    rule: Rule,
    evaluations: int = 16,
    f: int | None = None,
    search: Callable[..., Search] = sequential,
    symmetry: Literal["rotations"] | None = None,
    objective: Objective | None = None,
) -> Search:
    """The search of `adaptive`, with the same arguments: the factor, and all that was tried."""
    chosen = _direction(direction)
    stack, _ = ravel(honest)
    dtype = jnp.promote_types(stack.dtype, jnp.float32)

    if symmetry is None:
        place = honest

        # A named direction sends equal rows. One of them, repeated as it is joined to the honest,
        # takes XLA:CPU one pass; all of them would be written first and then copied, which takes a
        # quarter of an aggregation by Krum.
        different = num_byzantine if callable(direction) else 1

        def rows(factor: jax.Array) -> PyTree:
            sent = chosen(key, honest, different, factor=factor)
            return jax.tree.map(
                lambda leaf: jnp.broadcast_to(leaf, (num_byzantine, *leaf.shape[1:])), sent
            )

    else:
        ends = [ravel(chosen(key, honest, 1, factor=factor))[0] for factor in (0.0, 1.0)]
        numbers, _ = in_span(jnp.concatenate([stack, *ends]).astype(dtype))
        place, begin, end = numbers[:-2], numbers[-2], numbers[-1]

        def rows(factor: jax.Array) -> PyTree:
            row = begin + factor * (end - begin)
            return jnp.broadcast_to(row, (num_byzantine, *row.shape))

    terms = squared_distance if objective is None else objective

    # XLA:CPU fuses a sorting network into the sum of what it gives, in a loop of one number at a
    # time: by a trimmed mean or phocas, 5 to 10 times as slow as one that ends in memory.
    def stored_first(aggregate: jax.Array, mean: jax.Array) -> jax.Array:
        return terms(kept(aggregate), mean)

    worth = worth_of(rule, place, num_byzantine if f is None else f, stored_first)
    return search(lambda factor: jnp.sum(worth(rows(factor))), evaluations, dtype)


def worth_of(
    rule: Rule, honest: PyTree, f: int, objective: Objective | None = None
) -> Callable[[PyTree], jax.Array]:
    """Byzantine rows -> what each coordinate of the aggregate is worth: (d,), at least float32.

    The objective is given the aggregate and the mean in a unit in which the honest rows have
    squares: 1, unless all are below 1e-12 or one is above 1e12.
    """
    objective = squared_distance if objective is None else objective
    stack = ravel(honest)[0]
    mean, unit = moments.sure_mean(stack), unit_where_unusual(stack)

    def worth(byzantine: PyTree) -> jax.Array:
        updates = jax.tree.map(lambda *both: jnp.concatenate(both), honest, byzantine)
        aggregate = aggregate_of(rule, rule(updates, f), honest, stack)
        return objective(wide(aggregate) * unit, wide(mean) * unit)

    return worth


def require_objective(objective: Any) -> None:
    """Raises TypeError where it is neither None nor a function of the aggregate and the mean."""
    if objective is not None:
        example = f"{opposition.__module__}.opposition"
        require_taking("objective", objective, "aggregate, mean", example)


def squared_distance(aggregate: jax.Array, mean: jax.Array) -> jax.Array:
    """The terms of ||aggregate - mean||²."""
    return jnp.square(aggregate - mean)


def opposition(aggregate: jax.Array, mean: jax.Array) -> jax.Array:
    """The terms of -<aggregate, mean>: how much the step goes against the honest mean."""
    return -aggregate * mean


def _direction(direction: str | Attack) -> Attack:
    if callable(direction) and takes_option(direction, "factor"):
        return direction
    if not isinstance(direction, str) or direction not in DIRECTIONS:
        got = name_of(direction) if callable(direction) else repr(direction)
        raise ValueError(
            f"direction must be one of {', '.join(DIRECTIONS)}, or an attack with a keyword "
            f"factor; got {got}"
        )
    return DIRECTIONS[direction]
