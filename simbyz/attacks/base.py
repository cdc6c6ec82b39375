"""Attack: a function of what the honest workers send, with a memory or without."""

import functools
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, NamedTuple

import jax

from simbyz._arrays.calling import name_of, needs, require_taking
from simbyz._arrays.checks import require_arrays, require_callable
from simbyz._arrays.stacking import PyTree

EXAMPLE, NAMES = "simbyz.attacks.fall_of_empires", "key, honest, num_byzantine"

# (key, (h, d), num_byzantine, **options) -> (num_byzantine, d). Where the Byzantine workers compute
# gradients too, an attack that takes `own` is given it: (num_byzantine, d), what they would have
# sent.
Attack = Callable[..., jax.Array]


class StatefulAttack(NamedTuple):
    """An attack with a memory."""

    # d -> state before the first step
    start: Callable[[int], PyTree]
    # (key, (h, d), num_byzantine, state, **options) -> ((num_byzantine, d), state)
    send: Callable[..., tuple[jax.Array, PyTree]]
    # (state, aggregate (d,)) -> state, told what the rule made of it
    learn: Callable[[PyTree, jax.Array], PyTree] = lambda state, aggregate: state
    # whether all rows are messages on their way to the server, see `forging`
    forges: bool = False


def sending(attack: Attack | StatefulAttack) -> Callable[..., Any]:
    """The function that makes the Byzantine rows."""
    return attack.send if isinstance(attack, StatefulAttack) else attack


def check(attack: Any) -> None:
    """Raises TypeError where it is no attack, such as a function that makes one."""
    call = sending(attack)
    require_callable("attack", call, EXAMPLE)
    if "labels" in signature(call).parameters:
        name = name_of(call)
        raise TypeError(
            f"{name} is of labels: give make_simulator relabel=functools.partial({name}, "
            "num_classes=...) and no attack, and Config byzantine_gradients=True"
        )
    if not isinstance(attack, StatefulAttack):
        advice = "call it, if it makes one"
        require_taking("attack", call, NAMES, EXAMPLE, by_name=True, advice=advice)
        return
    of = "of a StatefulAttack"
    require_taking(f"start {of}", attack.start, "dimension", "jnp.zeros")
    send, learn = f"lambda {NAMES}, state: (rows, state)", "lambda state, aggregate: state"
    if not hasattr(call, "__wrapped__"):  # as of `with_memory`, which tells the plain attack's own
        require_taking(f"send {of}", call, f"{NAMES}, state", send, by_name=True)
    require_taking(f"learn {of}", attack.learn, "state, aggregate", learn)


def start_of(attack: Attack | StatefulAttack | None, dimension: int) -> PyTree:
    """Memory of an attack before the first step; None for one without memory."""
    if not isinstance(attack, StatefulAttack):
        return None
    memory = attack.start(dimension)
    require_arrays("start of a StatefulAttack", memory)
    return memory


def check_options(attack: Attack | StatefulAttack, options: Mapping[str, Any]) -> None:
    """Raises TypeError where an attack is given an option that it does not take, or lacks one that
    it needs.

    Args:
      attack: the attack.
      options: those of `Hyperparameters.attack`, and what the simulator adds that is asked for.
    """
    call = sending(attack)
    parameters = signature(call).parameters
    by_name = [name for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY]
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    if unknown := [name for name in options if name not in parameters and not takes_any]:
        raise TypeError(
            f"the attack {name_of(call)} takes no {', '.join(unknown)}, of "
            f"Hyperparameters(attack=...): its options are {', '.join(by_name) or 'none'}"
        )
    if lacking := [name for name in by_name if needs(call, name) and name not in options]:
        raise TypeError(
            f"the attack {name_of(call)} needs {', '.join(lacking)}: give it by "
            f"Hyperparameters(attack={{'{lacking[0]}': ...}}), or bind it, as by functools.partial"
        )


def check_own(attack: Attack | StatefulAttack, config: str, given: bool) -> None:
    """Raises ValueError where an attack needs what Byzantine ones would have sent, and they compute
    nothing; given: they do by this configuration.
    """
    call = sending(attack)
    if needs(call, "own") and not given:
        raise ValueError(
            f"the attack {name_of(call)} asks for own, what those who attack would have sent: set "
            f"{config}(byzantine_gradients=True)"
        )


def forges(attack: Attack | StatefulAttack | None) -> bool:
    """Whether the rows of an attack are messages on their way to the server."""
    return isinstance(attack, StatefulAttack) and attack.forges


def with_memory(attack: Attack | StatefulAttack) -> StatefulAttack:
    """The attack as one with a memory, empty if it has none; it is given what it asks for."""
    if isinstance(attack, StatefulAttack):
        return attack

    @functools.wraps(attack)
    def send(
        key: jax.Array, honest: jax.Array, num_byzantine: int, state: None, **options: Any
    ) -> tuple[jax.Array, None]:
        return attack(key, honest, num_byzantine, **options), state

    send.__name__ = name_of(attack)  # a configured one has none
    return StatefulAttack(lambda dimension: None, send)


def forging(attack: Attack | StatefulAttack) -> StatefulAttack:
    """An attack that makes messages, which the server takes in as it takes in all others.

    Elsewhere an attack replaces what the server holds of the Byzantine workers. Here it sees the
    honest workers' messages, such as the compressed differences of `feedback`, and what comes back
    is sent in their stead: the server adds it to what it holds, so that a forged message acts in
    all later steps. Nothing makes it short: a forger is not bound to what a compressor can make.

    Raises:
      TypeError: the attack is no function.
    """
    check(attack)
    return with_memory(attack)._replace(forges=True)
