"""Where a run's random numbers come from: one key, folded with a purpose, then with the step.

The same seed therefore gives the same initial weights and the same order of data under every rule
and attack.
"""

import jax

INITIALISE, BATCHES, WORKERS, EVALUATE, ATTACK, REDRAW, OTHER_BATCHES, RULE, PARTICIPATE = range(9)
SEND, FEEDBACK_NOISE, NOISE, PRESENCE, SAMPLE, ROOT = range(9, 15)


def of_step(key: jax.Array, purpose: int, step: jax.Array) -> jax.Array:
    """The key of one purpose in one step."""
    return jax.random.fold_in(jax.random.fold_in(key, purpose), step)
