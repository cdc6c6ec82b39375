"""One compiled program of many rules and attacks: which of them a lane runs is a number of its own.

To compile a rule by itself takes a second, and a whole run ten times as long: so the rules that
take equally many rows, alone and behind pre-aggregators that leave these as they are, and the
attacks, are branches of one program. Lanes go through the branches one after the other, each
through its own alone.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.benchmark.entries.catalogue import (
    ASCENT,
    NONE,
    SAME_ROWS,
    attack_of,
    behind,
    kind,
    rule_of,
)
from experiments.defence_matrix.lanes import SEARCHED, searched
from simbyz._arrays.calling import asked, asks_for
from simbyz.aggregators.base import Rule, StatefulRule
from simbyz.attacks import gradient_ascent
from simbyz.simulator import Config, Simulator, State, make_simulator
from simbyz.tasks import Task

ITERATIONS, CLIMBERS = 10, 4  # of the climb


class Program(NamedTuple):
    """What a compiled program can run: all combinations of these."""

    n: int
    f: int
    rules: tuple[str, ...]
    pres: tuple[str, ...]
    attacks: tuple[str, ...]
    evaluations: int

    def numbers(self, rule: str, pre: str, attack: str) -> dict[str, int]:
        """What tells a lane its rule, pre-aggregator and attack: `Hyperparameters.attack`."""
        return {
            "rule": self.rules.index(rule),
            "pre": self.pres.index(pre),
            "attack": self.attacks.index(attack),
        }


class Memory(NamedTuple):
    """Memory of the rule of a lane: its number, its pre-aggregator's, and what each remembers."""

    rule: jax.Array
    pre: jax.Array
    memories: tuple[Any, ...]


def simulator_of(program: Program, task: Task) -> Simulator:
    config = Config(
        n=program.n, f=program.f, byzantine_gradients=True, evaluate_every=None, study=False
    )
    rule, attack = defence_of(program), attack_among(program)
    return _told(make_simulator(config, task, rule, attack))


def defence_of(program: Program) -> StatefulRule:
    """The rule of a lane's number."""
    rules = _rules(program)
    alone = jax.custom_batching.sequential_vmap(_chosen(program))

    def aggregate(
        stack: jax.Array, f: int, *, key: jax.Array, state: Memory, **trusted: jax.Array
    ) -> jax.Array:
        return alone(stack, key, state, trusted)

    def start(zeros: jax.Array) -> Memory:
        first = jnp.int32(0)
        return Memory(first, first, tuple(rule.start(zeros) for rule in rules))

    def learn(state: Memory, stack: jax.Array, aggregate: jax.Array) -> Memory:
        memories = zip(rules, state.memories, strict=True)
        told = tuple(rule.learn(memory, stack, aggregate) for rule, memory in memories)
        return state._replace(memories=told)

    return StatefulRule(_trusting(aggregate, rules), start, learn)


def attack_among(program: Program) -> Callable[..., jax.Array]:
    """The attack of a lane's number, all of one kind."""
    searching = kind(program.attacks[0]) == "searched"
    known, start = _chosen(program), defence_of(program).start

    def attack(
        key: jax.Array,
        honest: jax.Array,
        num_byzantine: int,
        *,
        own: jax.Array,
        rule: jax.Array | float,
        pre: jax.Array | float,
        attack: jax.Array | float,
        **trusted: jax.Array,
    ) -> jax.Array:
        @jax.custom_batching.sequential_vmap
        def chosen(
            key: jax.Array,
            honest: jax.Array,
            own: jax.Array,
            rule: jax.Array,
            pre: jax.Array,
            attack: jax.Array,
            trusted: dict[str, jax.Array],
        ) -> jax.Array:
            if searching:
                # As its attacker knows it: with a draw of its own, and before its first step.
                memory = start(jnp.zeros_like(honest[0]))._replace(rule=rule, pre=pre)

                def defence(stack: jax.Array, f: int) -> jax.Array:
                    return known(stack, key, memory, trusted)

                branches = [_searching(name, program, defence) for name in program.attacks]
            else:
                branches = [attack_of(name, num_byzantine) for name in program.attacks]
            return jax.lax.switch(attack, branches, key, honest, own)

        numbers = (jnp.asarray(one, jnp.int32) for one in (rule, pre, attack))
        return chosen(key, honest, own, *numbers, trusted)

    return _trusting(attack, _rules(program)) if searching else attack


def _trusting(
    function: Callable[..., jax.Array], rules: Sequence[StatefulRule]
) -> Callable[..., jax.Array]:
    """The function, which asks for a gradient on the server's own examples if any rule does."""
    given = inspect.signature(function)
    keywords = [one for one in given.parameters.values() if one.kind is not one.VAR_KEYWORD]
    if any(asks_for(rule.aggregate, "trusted") for rule in rules):
        keywords.append(inspect.Parameter("trusted", inspect.Parameter.KEYWORD_ONLY))
    vars(function).update(__signature__=given.replace(parameters=keywords))
    return function


def _told(simulator: Simulator) -> Simulator:
    """The simulator, whose rule is told the numbers that a lane's attack has."""

    def advance(state: State, hyperparameters: Any, *rest: Any) -> Any:
        numbers = {
            name: jnp.asarray(hyperparameters.attack[name], jnp.int32) for name in ("rule", "pre")
        }
        told = state._replace(rule=state.rule._replace(**numbers))
        return simulator.advance(told, hyperparameters, *rest)

    return simulator._replace(advance=advance)


def _chosen(program: Program) -> Callable[..., jax.Array]:
    """(stack, key, memory, trusted) -> the aggregate of the rule and pre-aggregator of the memory's
    numbers, computed alone where these are no lanes' own; `trusted` by that name, if it is known.
    """
    f, rules = program.f, _rules(program)

    def of(rule: StatefulRule, number: int) -> Callable[..., jax.Array]:
        def aggregate(
            stack: jax.Array, key: jax.Array, memory: Memory, trusted: dict[str, jax.Array]
        ) -> jax.Array:
            known = {"key": key, "state": memory.memories[number]} | trusted
            result = rule.aggregate(stack, f, **asked(rule.aggregate, known))
            return jnp.asarray(result, stack.dtype)

        return aggregate

    # Behind a pre-aggregator that changes the number of rows each rule is joined to it.
    mixers = [SAME_ROWS.get(pre, SAME_ROWS[NONE]) for pre in program.pres]
    mixing = [lambda stack, mix=mix: mix(stack, f) for mix in mixers]
    aggregating = [of(rule, number) for number, rule in enumerate(rules)]

    def chosen(
        stack: jax.Array, key: jax.Array, memory: Memory, trusted: dict[str, jax.Array]
    ) -> jax.Array:
        mixed = jax.lax.switch(memory.pre, mixing, stack)
        return jax.lax.switch(memory.rule, aggregating, mixed, key, memory, trusted)

    return chosen


def _rules(program: Program) -> list[StatefulRule]:
    """Each with a memory, that of a rule without it empty."""
    (first, *_), rules = program.pres, [rule_of(name) for name in program.rules]
    joined = rules if first in SAME_ROWS else [behind(first, rule) for rule in rules]
    return [
        rule
        if isinstance(rule, StatefulRule)
        else StatefulRule(rule, lambda zeros: (), lambda state, stack, aggregate: state)
        for rule in joined
    ]


def _searching(name: str, program: Program, defence: Rule) -> Callable[..., jax.Array]:
    if name == ASCENT:
        climb = gradient_ascent(defence, iterations=ITERATIONS, climbers=CLIMBERS)
        return lambda key, honest, own: climb(key, honest, program.f)
    empire, little = SEARCHED[name]
    search = searched(defence, program.evaluations)
    return lambda key, honest, own: search(key, honest, program.f, empire=empire, little=little)
