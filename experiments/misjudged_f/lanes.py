"""Attacks, and how many workers follow them, by number: lanes of one compiled program.

The program has as many possible attackers as any of its runs; in a run of fewer the others send
what they computed, as the honest workers that they are.
"""

from typing import get_args

import jax
import jax.numpy as jnp

from experiments.misjudged_f.options import AttackName

ATTACKS = get_args(AttackName)
LITTLE = -1.5
NEGATED = 100.0
NOBODY = "none"  # the attack of runs with f = 0


def number(attack: str) -> int:
    return 0 if attack == NOBODY else ATTACKS.index(attack)


def attack(
    key: jax.Array,
    honest: jax.Array,
    num_byzantine: int,
    *,
    own: jax.Array,
    which: jax.Array,
    present: jax.Array,
) -> jax.Array:
    """Rows of those who may be Byzantine: the last `present` of them are, and send one row."""
    rows = jnp.concatenate([honest, own])
    n = len(rows)
    good = (jnp.arange(n) < n - present)[:, None]
    count = n - present
    mean = jnp.sum(jnp.where(good, rows, 0), axis=0) / count
    variance = jnp.sum(jnp.where(good, jnp.square(rows - mean[None]), 0), axis=0) / (count - 1)
    sent = [rows[0], mean + LITTLE * jnp.sqrt(variance), -mean, -NEGATED * mean]
    chosen = (jnp.arange(len(sent)) == which)[:, None]
    row = jnp.sum(jnp.where(chosen, jnp.stack(sent), 0), axis=0)
    return jnp.where(good[n - num_byzantine :], own, row[None])
