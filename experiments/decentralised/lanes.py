"""Attacks by number, so that they are lanes of one compiled program.

Each is a direction from the node that it attacks, along which the factor is searched that moves it
farthest from honest gossip.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp

from simbyz.attacks.base import Attack
from simbyz.gossip import attacks

DIRECTIONS: dict[str, Attack] = {
    "spectral_heterogeneity": attacks.spectral_heterogeneity,
    "dissensus": attacks.dissensus,
    "little_around": attacks.little_around,
    "empire_around": attacks.empire_around,
    "bridge_splitting": attacks.bridge_splitting,
}


def _row(key: jax.Array, honest: jax.Array, attack: Attack, **told: jax.Array) -> jax.Array:
    return attack(key, honest, 1, factor=1.0, **told)


def number(attack: str) -> int:
    return list(DIRECTIONS).index(attack)


def _along(
    key: jax.Array,
    honest: jax.Array,
    num_byzantine: int,
    *,
    target: jax.Array,
    neighbours: jax.Array,
    weights: jax.Array,
    everyone: jax.Array,
    place: jax.Array,
    fiedler: jax.Array,
    which: jax.Array,
    factor: jax.Array | float,
) -> jax.Array:
    """target + factor · (the direction of this number)."""
    around = functools.partial(_row, key, honest, target=target, everyone=everyone)
    along = functools.partial(around, place=place, fiedler=fiedler)
    away = attacks.dissensus(
        key, honest, num_byzantine, target=target, neighbours=neighbours, weights=weights
    )
    rows = [
        along(attacks.spectral_heterogeneity),
        away[:1],
        around(attacks.little_around),
        around(attacks.empire_around),
        along(attacks.bridge_splitting),
    ]
    chosen = jnp.arange(len(rows)) == which
    direction = jnp.sum(jnp.where(chosen[:, None], jnp.concatenate(rows) - target[None], 0), axis=0)
    row = target + factor * direction
    return jnp.broadcast_to(row, (num_byzantine, *row.shape))


@functools.cache
def attack_of(evaluations: int, symmetry: Literal["rotations"] | None = None) -> Attack:
    """All of `DIRECTIONS`, told which by `Hyperparameters.attack`.

    symmetry: of the rule, as in `attacks.searched`.
    """
    return attacks.searched(_along, evaluations=evaluations, symmetry=symmetry, equal_rows=True)
