"""Attacks by number, so that they are lanes of one compiled program.

The Byzantine workers' labels are flipped in all of them, and their gradients computed; what they
send is that where the attack is `label_flipping`, and forged where it is another.
"""

import jax
import jax.numpy as jnp

from simbyz.attacks import a_little_is_enough, fall_of_empires, mimic

ATTACKS = ("little", "empire", "mimic", "label_flipping")


def number(attack: str) -> int:
    return ATTACKS.index(attack)


def attack(
    key: jax.Array, honest: jax.Array, num_byzantine: int, *, own: jax.Array, which: jax.Array
) -> jax.Array:
    """The attack of this number; what was computed where no honest worker takes part to learn
    from.
    """
    if len(honest) == 0:
        return own
    # One row has no deviation.
    little = a_little_is_enough if len(honest) > 1 else mimic
    forged = [one(key, honest, 1) for one in (little, fall_of_empires, mimic)]
    chosen = jnp.arange(len(forged)) == which
    row = jnp.sum(jnp.where(chosen[:, None], jnp.concatenate(forged), 0), axis=0)
    return jnp.where(which == number("label_flipping"), own, row[None])
