"""Attacks by number, so that they are lanes of one compiled program.

Those that only look at the honest vectors are in one program, which computes those that some lane
of a device asks for. Those that search through the rule cost several aggregations a step, so they
have programs of their own.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from simbyz import attacks
from simbyz._arrays import moments
from simbyz._arrays.calling import OF_ROOT, asked, signature_of_all

Attack = Callable[..., jax.Array]
Rule = Callable[..., jax.Array]

FIXED: dict[str, Attack] = {
    "sign_flipping": attacks.sign_flipping,
    "fall_of_empires": attacks.fall_of_empires,
    "a_little_is_enough": attacks.a_little_is_enough,
    "mimic": attacks.mimic,
    "min_max": attacks.min_max,
}
# mean · (1 - empire · x) + little · x · deviation, x searched: (empire, little).
SEARCHED: dict[str, tuple[float, float]] = {
    "adaptive_empire": (1.0, 0.0),
    "adaptive_little": (0.0, 1.0),
}
ATTACKS = (*FIXED, *SEARCHED)


def kind(attack: str) -> str:
    """Attacks of one kind share a program."""
    return "fixed" if attack in FIXED else "searched"


def options(attack: str) -> dict[str, float | jax.Array]:
    """The attack's traced keyword arguments, which tell a lane its attack."""
    if attack in FIXED:
        return {"which": list(FIXED).index(attack)}
    empire, little = SEARCHED[attack]
    return {"empire": empire, "little": little}


def fixed(
    key: jax.Array, honest: jax.Array, num_byzantine: int, *, which: jax.Array | float
) -> jax.Array:
    """The attack of `FIXED` with this number; all Byzantine workers send the same."""
    row = _row(jnp.asarray(which, jnp.int32), key, honest)
    return jnp.broadcast_to(row, (num_byzantine, *row.shape))


@jax.custom_batching.custom_vmap
def _row(which: jax.Array, key: jax.Array, honest: jax.Array) -> jax.Array:
    return jax.lax.switch(which, [_alone(attack) for attack in FIXED.values()], key, honest)


@_row.def_vmap
def _rows(
    lanes: int, batched: list[bool], which: jax.Array, key: jax.Array, honest: jax.Array
) -> tuple[jax.Array, bool]:
    """Of all lanes: `vmap` alone would compute every attack in each of them."""
    which, key, honest = (
        leaf if own else jnp.broadcast_to(leaf[None], (lanes, *leaf.shape))
        for leaf, own in zip((which, key, honest), batched, strict=True)
    )
    rows = jnp.zeros_like(honest[:, 0])
    for number, attack in enumerate(FIXED.values()):
        asked = which == number
        rows = jax.lax.cond(
            jnp.any(asked),
            lambda rows, asked, attack=attack: jnp.where(
                asked[:, None], jax.vmap(_alone(attack))(key, honest), rows
            ),
            lambda rows, asked: rows,
            rows,
            asked,
        )
    return rows, True


def _alone(attack: Attack) -> Callable[[jax.Array, jax.Array], jax.Array]:
    return lambda key, honest: attack(key, honest, 1)[0]


def searched(rule: Rule, evaluations: int) -> Attack:
    """The attacks of `SEARCHED` against a rule, pre-aggregators included.

    Against a rule that draws random numbers the attacker searches with a draw of its own.
    """

    def attack(
        key: jax.Array,
        honest: jax.Array,
        num_byzantine: int,
        *,
        empire: jax.Array | float,
        little: jax.Array | float,
        **of_root: Any,
    ) -> jax.Array:
        mean, deviation = moments.mean(honest), jnp.sqrt(moments.variance(honest))

        def line(
            key: jax.Array, honest: jax.Array, num_byzantine: int, *, factor: jax.Array | float
        ) -> jax.Array:
            del key
            row = (1 - empire * factor) * mean + little * factor * deviation
            return jnp.broadcast_to(row, (num_byzantine, *row.shape))

        known = of_root | asked(rule, {"key": key})
        found = attacks.adaptive(line, functools.partial(rule, **known), evaluations=evaluations)
        return found(key, honest, num_byzantine)

    names = (*OF_ROOT, "empire", "little")
    signature = signature_of_all([rule, attack], ("key", "honest", "num_byzantine"), names)
    vars(attack).update(__signature__=signature)  # who searches through it knows what it is given
    return attack
