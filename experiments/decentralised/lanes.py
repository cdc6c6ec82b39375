"""Attacks by number, so that they are lanes of one compiled program.

Each is a direction from the node that it attacks, along which the factor is searched that moves it
farthest from honest gossip.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp

from simbyz._arrays.calling import asked
from simbyz.attacks.base import Attack
from simbyz.gossip import attacks

DIRECTIONS: dict[str, Attack] = {
    "spectral_heterogeneity": attacks.spectral_heterogeneity,
    "dissensus": attacks.dissensus,
    "little_around": attacks.little_around,
    "empire_around": attacks.empire_around,
    "bridge_splitting": attacks.bridge_splitting,
}


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
    known = {"target": target, "neighbours": neighbours, "weights": weights}
    known |= {"everyone": everyone, "place": place, "fiedler": fiedler}
    rows = [
        attack(key, honest, num_byzantine, factor=1.0, **asked(attack, known))[:1]
        for attack in DIRECTIONS.values()
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
