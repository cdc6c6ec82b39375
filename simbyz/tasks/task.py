"""Task: a model on a data set, as the pure functions that the simulator calls."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from simbyz._arrays.checks import integer
from simbyz._arrays.stacking import PyTree
from simbyz.data.batches import (
    normalise,
    own_draws,
    own_passes,
    pack,
    random_flip,
    shared_pass,
    take,
)
from simbyz.data.datasets import Dataset
from simbyz.data.partition import Partition


class Task(NamedTuple):
    """A learning problem. `data` lives on the device once and is passed to every function that
    reads it.

    `variables` of a model that are not parameters (running statistics) are its `model_state`.
    """

    data: PyTree
    # key -> (parameters, model_state)
    initialise: Callable[[jax.Array], tuple[PyTree, PyTree]]
    # (data, key, first_step, num_steps, num_workers) -> pytree of leaves (num_steps, num_workers,
    # ...)
    batches: Callable[[PyTree, jax.Array, jax.Array, int, int], PyTree]
    # (data, parameters, model_state, one worker's batch, key) -> (loss, model_state); under a data
    # attack also relabel=, a function of the batch's labels
    loss: Callable[..., tuple[jax.Array, PyTree]]
    # (data, parameters, model_state, key) -> accuracy on the whole test set
    accuracy: Callable[[PyTree, PyTree, PyTree, jax.Array], jax.Array]
    # training points in a batch, the paper's count: a short batch counts in full
    batch_size: int
    # whether the workers draw from one pass, so that a batch depends on how many they are
    shared_pass: bool = False


class ImageData(NamedTuple):
    """The arrays of a `Dataset` on the device: uint8 images, int32 labels; and whose is which."""

    train_images: jax.Array  # packed: see `simbyz.data.batches.pack`
    train_labels: jax.Array
    test_images: jax.Array
    test_labels: jax.Array
    partition: Partition | None = None


def test_images_at_once(platform: str) -> int:
    """On a CPU so few that what a network makes of them stays in the cache; elsewhere enough for
    full speed, few enough for a convolutional network's memory.
    """
    return 250 if platform == "cpu" else 1000


def classification(
    dataset: Dataset,
    module: nn.Module,
    *,
    batch_size: int,
    train_mode: bool = False,
    partition: Partition | None = None,
    replacement: bool = False,
    dtype: jnp.dtype | None = None,
) -> Task:
    """Image classification by a flax module, by cross-entropy.

    Where batches come from: without a partition, from one shuffled pass that all workers share, as
    in the paper's program; with one, from each worker's own shuffled passes over its own examples;
    with replacement, from uniform draws out of its own examples, or out of all without a partition.

    Args:
      dataset: images and labels.
      module: images (B, height, width, channels) -> logits (B, num_classes), called with `train`.
      batch_size: examples a worker and a step.
      train_mode: gradients with dropout and batch statistics. The paper's program computes them
        with the network in inference mode (False). A short batch is filled up with its own examples
        for its statistics.
      partition: of the training images, among as many workers as ask for batches. It is part of the
        task's data: another one of the same shape goes through the same compiled program.
      replacement: draw each example of a batch anew.
      dtype: what the network computes in, such as bfloat16: its inputs and parameters are rounded
        to it. Parameters, gradients and the loss stay float32. As the parameters are if None.

    Raises:
      TypeError: batch_size is no int.
      ValueError: batch_size below 1 or above the number of training images; a partition that is
        not of these images or, when batches are traced, of another number of workers.
    """
    num_examples, shape = len(dataset.train_images), dataset.train_images.shape[1:]
    batch_size = integer("batch_size", batch_size)
    if not 1 <= batch_size <= num_examples:
        raise ValueError(
            f"batch_size must be from 1 to {num_examples}, the training images of {dataset.name}, "
            f"got {batch_size}"
        )
    if partition is not None:
        _check_partition(partition, num_examples, dataset.name)

    short = not replacement and (partition is not None or num_examples % batch_size > 0)

    def prepare(key: jax.Array, images: jax.Array) -> jax.Array:
        images = random_flip(key, images) if dataset.flip else images
        return normalise(images, dataset.scale, dataset.mean, dataset.deviation)

    def forward(parameters: PyTree, model_state: PyTree, images: jax.Array, **options: Any) -> Any:
        if dtype is not None:
            parameters, images = optax.tree.cast((parameters, images), dtype)
        return module.apply({"params": parameters, **model_state}, images, **options)

    def initialise(key: jax.Array) -> tuple[PyTree, PyTree]:
        state = module.init(key, jnp.zeros((1, *shape)))
        return state.pop("params"), state

    def batches(
        data: ImageData, key: jax.Array, first_step: jax.Array, num_steps: int, num_workers: int
    ) -> PyTree:
        """Indices of examples (num_steps, num_workers, batch_size), `num_examples` for none."""
        if data.partition is None and not replacement:
            indices = shared_pass(
                key,
                first_step * num_workers,
                num_steps * num_workers,
                num_examples=num_examples,
                batch_size=batch_size,
            )
            return indices.reshape(num_steps, num_workers, batch_size)
        if data.partition is None:
            counts = jnp.full(num_workers, num_examples)
            return own_draws(key, first_step, num_steps, counts=counts, batch_size=batch_size)
        owned, counts = (jnp.asarray(leaf) for leaf in data.partition)
        if len(counts) != num_workers:
            raise ValueError(
                f"the partition is among {len(counts)} workers, batches are for {num_workers}: "
                "make the partition for the workers that compute gradients"
            )
        if replacement:
            own = own_draws(key, first_step, num_steps, counts=counts, batch_size=batch_size)
        else:
            own = own_passes(
                key,
                first_step,
                num_steps,
                counts=counts,
                largest=owned.shape[1],
                batch_size=batch_size,
            )

        def look_up(owned: jax.Array, own: jax.Array) -> jax.Array:
            return jnp.take(owned, own, mode="fill", fill_value=num_examples)

        return jax.vmap(look_up, in_axes=(0, 1), out_axes=1)(owned, own)

    def loss(
        data: ImageData,
        parameters: PyTree,
        model_state: PyTree,
        batch: jax.Array,
        key: jax.Array,
        relabel: Callable[[jax.Array], jax.Array] = lambda labels: labels,
    ) -> tuple[jax.Array, PyTree]:
        flip_key, dropout_key = jax.random.split(key)
        # An index past the end stands for no example: it reads the last one and weighs nothing.
        present = batch < num_examples
        if train_mode and short:
            # Nor in batch statistics: there the batch's own stand in its place, in turns.
            batch = batch[jnp.arange(len(batch)) % jnp.sum(present)]
        images = prepare(flip_key, take(data.train_images, batch, shape))
        labels = relabel(jnp.take(data.train_labels, batch, mode="clip"))
        if train_mode:
            logits, model_state = forward(
                parameters,
                model_state,
                images,
                train=True,
                rngs={"dropout": dropout_key},
                mutable=list(model_state),
            )
        else:
            logits = forward(parameters, model_state, images)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.sum(losses, where=present) / jnp.sum(present), model_state

    def accuracy(
        data: ImageData, parameters: PyTree, model_state: PyTree, key: jax.Array
    ) -> jax.Array:
        images, labels = data.test_images, data.test_labels
        # As few parts of one size as will do, of which the last may be filled up: no label is -1.
        parts = -(-len(labels) // test_images_at_once(jax.default_backend()))
        size = -(-len(labels) // parts)
        if missing := parts * size - len(labels):
            images = jnp.pad(images, ((0, missing), *[(0, 0)] * (images.ndim - 1)))
            labels = jnp.pad(labels, (0, missing), constant_values=-1)

        def correct(part: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            number, images, labels = part
            images = prepare(jax.random.fold_in(key, number), images)
            logits: Any = forward(parameters, model_state, images)
            return jnp.sum(jnp.argmax(logits, axis=-1) == labels)

        stacked = (
            jnp.arange(parts),
            images.reshape(parts, size, *images.shape[1:]),
            labels.reshape(parts, size),
        )
        return jnp.sum(jax.lax.map(correct, stacked)) / len(data.test_labels)

    arrays: Any = dataset  # of NumPy, which JAX takes as its own
    packed: Any = pack(arrays.train_images)
    data = ImageData(
        packed,
        arrays.train_labels,
        arrays.test_images,
        arrays.test_labels,
        partition,
    )
    shared = partition is None and not replacement
    return Task(data, initialise, batches, loss, accuracy, batch_size, shared)


def _check_partition(partition: Partition, num_examples: int, name: str) -> None:
    indices, counts = (np.asarray(leaf) for leaf in partition)
    if indices.ndim != 2 or counts.shape != indices.shape[:1]:
        raise ValueError(
            f"a partition has indices (n, largest) and counts (n,), got {indices.shape} and "
            f"{counts.shape}"
        )
    if not np.all((counts >= 1) & (counts <= indices.shape[1])):
        raise ValueError(f"each worker of a partition needs an example, got counts {counts}")
    held = indices[np.arange(indices.shape[1])[None] < counts[:, None]]
    if held.min() < 0 or held.max() >= num_examples:
        raise ValueError(
            f"the partition names example {held.max()}, {name} has {num_examples} training images: "
            "make it from train_labels"
        )
