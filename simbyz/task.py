"""What is learnt: a model on a data set, as the pure functions that the simulator calls."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from simbyz.data.batches import normalise, pack, random_flip, shared_pass, take
from simbyz.data.datasets import Dataset

PyTree = Any


class Task(NamedTuple):
    """A learning problem. `data` lives on the device once and is passed to every function that
    reads it.

    `variables` of a model that are not parameters (running statistics) are its `model_state`.
    """

    data: PyTree
    # key -> (parameters, model_state)
    initialise: Callable[[jax.Array], tuple[PyTree, PyTree]]
    # (key, first_step, num_steps, num_workers) -> pytree of leaves (num_steps, num_workers, ...)
    batches: Callable[[jax.Array, jax.Array, int, int], PyTree]
    # (data, parameters, model_state, one worker's batch, key) -> (loss, model_state)
    loss: Callable[[PyTree, PyTree, PyTree, PyTree, jax.Array], tuple[jax.Array, PyTree]]
    # (data, parameters, model_state, key) -> accuracy on the whole test set
    accuracy: Callable[[PyTree, PyTree, PyTree, jax.Array], jax.Array]
    # training points in a batch, the paper's count: a short batch counts in full
    batch_size: int


class ImageData(NamedTuple):
    """The arrays of a `Dataset` on the device: uint8 images, int32 labels."""

    train_images: jax.Array  # packed: see `simbyz.data.batches.pack`
    train_labels: jax.Array
    test_images: jax.Array
    test_labels: jax.Array


# Test images evaluated at once: enough for full speed, few enough for a convolutional network's
# memory.
TEST_BATCH = 1000


def classification(
    dataset: Dataset, module: nn.Module, *, batch_size: int, train_mode: bool = False
) -> Task:
    """Image classification by a flax module, by cross-entropy, with batches from one shared
    shuffled pass.

    Args:
      dataset: images and labels.
      module: images (B, height, width, channels) -> logits (B, num_classes), called with `train`.
      batch_size: examples a worker and a step.
      train_mode: gradients with dropout and batch statistics. The paper's program computes them
        with the network in inference mode (False).

    Raises:
      ValueError: batch_size below 1 or above the number of training images.
    """
    num_examples, *shape = dataset.train_images.shape
    if not 1 <= batch_size <= num_examples:
        raise ValueError(
            f"batch_size must be from 1 to {num_examples}, the training images of {dataset.name}, "
            f"got {batch_size}"
        )

    def prepare(key: jax.Array, images: jax.Array) -> jax.Array:
        images = random_flip(key, images) if dataset.flip else images
        return normalise(images, dataset.scale, dataset.mean, dataset.deviation)

    def initialise(key: jax.Array) -> tuple[PyTree, PyTree]:
        state = module.init(key, jnp.zeros((1, *shape)))
        return state.pop("params"), state

    def batches(key: jax.Array, first_step: jax.Array, num_steps: int, num_workers: int) -> PyTree:
        indices = shared_pass(
            key,
            first_step * num_workers,
            num_steps * num_workers,
            num_examples=num_examples,
            batch_size=batch_size,
        )
        return indices.reshape(num_steps, num_workers, batch_size)

    def loss(
        data: ImageData, parameters: PyTree, model_state: PyTree, batch: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, PyTree]:
        flip_key, dropout_key = jax.random.split(key)
        # An index past the end stands for no example: it reads the last one and weighs nothing.
        images = prepare(flip_key, take(data.train_images, batch, shape))
        labels = jnp.take(data.train_labels, batch, mode="clip")
        present = batch < num_examples
        variables = {"params": parameters, **model_state}
        if train_mode:
            logits, model_state = module.apply(
                variables,
                images,
                train=True,
                rngs={"dropout": dropout_key},
                mutable=list(model_state),
            )
        else:
            logits = module.apply(variables, images)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.sum(losses, where=present) / jnp.sum(present), model_state

    def accuracy(
        data: ImageData, parameters: PyTree, model_state: PyTree, key: jax.Array
    ) -> jax.Array:
        variables = {"params": parameters, **model_state}
        images, labels = data.test_images, data.test_labels
        size = max(s for s in range(1, TEST_BATCH + 1) if len(labels) % s == 0)

        def correct(part: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            number, images, labels = part
            images = prepare(jax.random.fold_in(key, number), images)
            logits = module.apply(variables, images)
            return jnp.sum(jnp.argmax(logits, axis=-1) == labels)

        parts = (
            jnp.arange(len(labels) // size),
            images.reshape(-1, size, *images.shape[1:]),
            labels.reshape(-1, size),
        )
        return jnp.sum(jax.lax.map(correct, parts)) / len(labels)

    data = ImageData(
        pack(dataset.train_images), dataset.train_labels, dataset.test_images, dataset.test_labels
    )
    return Task(data, initialise, batches, loss, accuracy, batch_size)
