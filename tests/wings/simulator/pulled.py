"""The task of workers that pull the parameters (2,) towards targets of their own."""

import jax.numpy as jnp

from simbyz.tasks import Task


def pulled(targets, start):
    """Worker i pulls towards its own target, read from its batch: its gradient is θ - target."""

    def batches(arrays, key, first_step, num_steps, num_workers):
        return jnp.broadcast_to(arrays[:num_workers], (num_steps, num_workers, 2))

    def loss(arrays, parameters, model_state, batch, key):
        return jnp.sum(jnp.square(parameters - batch)) / 2, model_state

    return Task(
        data=jnp.asarray(targets),
        initialise=lambda key: (jnp.asarray(start, jnp.float32), {}),
        batches=batches,
        loss=loss,
        accuracy=lambda *_: jnp.float32(0),
        batch_size=1,
    )
