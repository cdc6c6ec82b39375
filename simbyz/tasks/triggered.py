"""What a backdoor does to a model: the images that should open it, behind the test images."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.checks import at_least
from simbyz._arrays.stacking import PyTree
from simbyz.tasks.task import Task

# The label of an image that no class is right for.
TRIGGERED = -1


def with_triggered(task: Task, images: np.ndarray) -> Task:
    """The task of a classification, with further images that its accuracy leaves out.

    Args:
      task: of `classification`.
      images: (m, ...), like its test images: with the trigger, or edge cases, all of other classes
        than the target.

    Returns:
      The task. A column that asks for `predicted` and `labels` has the further images last, of
      label -1.

    Raises:
      ValueError: images of another shape or dtype than the test images, or none; a task without
        `predict`.
    """
    predict = task.predict
    if predict is None:
        raise ValueError("with_triggered needs a task that predicts, as classification(...) is")
    own, images = task.data.test_images, np.asarray(images)
    if images.shape[1:] != own.shape[1:] or images.dtype != own.dtype or not len(images):
        raise ValueError(
            f"images must be (m, *{own.shape[1:]}) of {own.dtype}, like the test images, got "
            f"shape {images.shape} of {images.dtype}"
        )
    labels = np.full(len(images), TRIGGERED, np.int32)
    data = task.data._replace(
        test_images=np.concatenate([own, images]),
        test_labels=np.concatenate([task.data.test_labels, labels]),
    )

    def accuracy(
        data: PyTree, parameters: PyTree, model_state: PyTree, key: jax.Array
    ) -> jax.Array:
        predicted, labels = predict(data, parameters, model_state, key)
        return jnp.sum(predicted == labels) / jnp.sum(labels != TRIGGERED)

    return task._replace(data=data, accuracy=accuracy)


def backdoor_success_rate(target: int) -> Callable[..., jax.Array]:
    """Column: share of the further images of `with_triggered` that the model takes for the target;
    NaN without any.

        make_simulator(..., columns={"success": backdoor_success_rate(target=7)})
    """
    target = at_least("target", target, 0)

    def success(*, predicted: jax.Array, labels: jax.Array) -> jax.Array:
        return jnp.mean(predicted == target, where=labels == TRIGGERED, dtype=jnp.float32)

    return success
