"""Checks of what a task's functions return, in the words of `Task`, when they are traced.

A task of one's own is a few functions, and JAX would tell a mistake in them by its own insides.
"""

from typing import Any

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import at_least, require_floats, require_shape
from simbyz._arrays.stacking import PyTree
from simbyz.tasks.task import Task


def template_of(task: Task) -> tuple[PyTree, PyTree]:
    """The shapes of a task's parameters and of its model's state.

    Raises:
      TypeError: its batch_size is no int.
      ValueError: `initialise` returns something else, or parameters that are not floats;
        batch_size is below 1.
    """
    at_least("the task's batch_size", task.batch_size, 1)
    made = jax.eval_shape(task.initialise, jax.eval_shape(jax.random.key, 0))
    parameters, model_state = _pair("initialise", "(parameters, model_state)", made)
    leaves = jax.tree.leaves(parameters)
    if not leaves:
        raise ValueError("the task's initialise must return parameters, got none")
    for leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"the task's parameters must be floats, got {leaf.dtype}")
    return parameters, model_state


def checked_batches(batches: PyTree, num_steps: int, num_workers: int) -> PyTree:
    """The batches, if each leaf is of so many steps and workers.

    Raises:
      ValueError: one is not.
    """
    for leaf in jax.tree.leaves(batches):
        if jnp.shape(leaf)[:2] != (num_steps, num_workers):
            raise ValueError(
                "the task's batches must return leaves (num_steps, num_workers, ...) = "
                f"({num_steps}, {num_workers}, ...), got shape {jnp.shape(leaf)}"
            )
    return batches


def checked_loss(made: Any, model_state: PyTree) -> tuple[jax.Array, PyTree]:
    """What `loss` returned, if it is a loss and a state like the one that it was given.

    Raises:
      ValueError: it is not.
    """
    loss, after = _pair("loss", "(loss, model_state)", made)
    require_shape("the task's loss", loss, (), "a mean over the batch")
    require_floats("the task's loss", loss)
    given: Any = jax.tree.structure(model_state)
    got: Any = jax.tree.structure(after)
    if got != given and jax.tree.leaves((after, model_state)):
        raise ValueError(
            "the task's loss must return the model_state that it is given, changed or not: "
            f"{given}, got {got}"
        )
    return loss, after


def checked_accuracy(accuracy: Any) -> jax.Array:
    """What `accuracy` returned, in single precision.

    Raises:
      ValueError: it is no number.
    """
    require_shape("the task's accuracy", accuracy, (), "a number")
    return jnp.asarray(accuracy, jnp.float32)


def _pair(function: str, words: str, made: Any) -> tuple[Any, Any]:
    if not (isinstance(made, tuple) and len(made) == 2):
        raise ValueError(
            f"the task's {function} must return a tuple {words}, {{}} for no state, got "
            f"{type(made).__name__}"
        )
    return made[0], made[1]
