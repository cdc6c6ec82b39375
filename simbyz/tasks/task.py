"""Task: a model on a data set, as the pure functions that the simulator calls."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike, DTypeLike

from simbyz._arrays.calling import asked
from simbyz._arrays.checks import flag, in_a_line, integer
from simbyz._arrays.scales import wide
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
from simbyz.data.datasets import Dataset, require_dataset
from simbyz.data.partition import Partition
from simbyz.data.partition.schemes import require_partition
from simbyz.data.root import Examples, root_examples
from simbyz.tasks.modules import check_module, has_train


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
    # (data, parameters, model_state, key) -> mean loss over the root set, the examples that the
    # server holds itself; None without any
    root_loss: Callable[[PyTree, PyTree, PyTree, jax.Array], jax.Array] | None = None
    # (data, parameters, model_state, key) -> classes (N,) of the test set, predicted and true; None
    # where there are none
    predict: Callable[[PyTree, PyTree, PyTree, jax.Array], tuple[jax.Array, jax.Array]] | None = (
        None
    )


class ImageData(NamedTuple):
    """The arrays of a `Dataset` on the device: uint8 images or float32 inputs, int32 labels; and
    whose is which.
    """

    train_images: jax.Array  # packed: see `simbyz.data.batches.pack`
    train_labels: jax.Array
    test_images: jax.Array
    test_labels: jax.Array
    partition: Partition | None = None
    root: PyTree = None  # packed images and labels of the root set, if there is one


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
    train_mode: bool | None = None,
    partition: Partition | None = None,
    replacement: bool = False,
    dtype: DTypeLike | None = None,
    root: Dataset | ArrayLike | None = None,
) -> Task:
    """Classification of images, or of other inputs, by a flax module, by cross-entropy.

    Where batches come from: without a partition, from one shuffled pass that all workers share, as
    in the paper's program; with one, from each worker's own shuffled passes over its own examples;
    with replacement, from uniform draws out of its own examples, or out of all without a partition.

    Args:
      dataset: images and labels.
      module: a flax.linen module, images (B, height, width, channels) -> logits (B, classes), of
        at least the data set's classes. With a parameter `train` it is told whether it is trained.
      batch_size: examples a worker and a step.
      train_mode: gradients with dropout and batch statistics; a short batch is filled up with its
        own examples for its statistics. The paper's program computes them with the network in
        inference mode: False. None: in inference mode too, and a warning says so if the network
        has dropout or batch statistics.
      partition: of the training images, among as many workers as ask for batches. It is part of the
        task's data: another one of the same shape goes through the same compiled program.
      replacement: draw each example of a batch anew.
      dtype: what the network computes in, such as bfloat16: its inputs and parameters are rounded
        to it. Parameters, gradients and the loss stay float32. As the parameters are if None.
      root: the examples that the server holds itself, for rules that ask for them: numbers of
        training images, which the workers keep too, such as `simbyz.data.root.draw` gives; or a
        data set, whose training images they are, such as `simbyz.data.root.hold_out` takes away
        from the workers. Their loss is computed as the workers compute theirs, over all of them.

    Raises:
      TypeError: data set, module, partition, batch_size, root or an option of another kind.
      ValueError: a module that does not take these inputs, or has too few logits or no parameters;
        train_mode for a module without a parameter `train`; batch_size below 1 or above the number
        of training images; a root set without an example, or of others than such images; a
        partition that is not of these images or, when batches are traced, of another number of
        workers.
    """
    batch_size = integer("batch_size", batch_size)
    _check_kinds(dataset, replacement, dtype)
    num_examples, shape = len(dataset.train_images), dataset.train_images.shape[1:]
    if not 1 <= batch_size <= num_examples:
        raise ValueError(
            f"batch_size must be from 1 to {num_examples}, the training images of {dataset.name}, "
            f"got {batch_size}"
        )
    check_module(module, (1, *shape), dataset.num_classes, train_mode)
    _check_partition(partition, num_examples, dataset.name)
    held = None if root is None else root_examples(dataset, root)
    inference = {"train": False} if has_train(module) else {}
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

    def mean_loss(
        examples: tuple[jax.Array, jax.Array],
        parameters: PyTree,
        model_state: PyTree,
        batch: jax.Array,
        key: jax.Array,
        relabel: Callable[..., jax.Array],
    ) -> tuple[jax.Array, PyTree]:
        """Over a batch of indices of these images and labels; one past their end is no example: it
        reads the last one and weighs nothing.
        """
        images, labels = examples
        flip_key, dropout_key = jax.random.split(key)
        present = batch < len(labels)
        if train_mode and short:
            # Nor in batch statistics: there the batch's own stand in its place, in turns.
            batch = batch[jnp.arange(len(batch)) % jnp.sum(present)]
        inputs = prepare(flip_key, take(images, batch, shape))
        if train_mode:
            logits, model_state = forward(
                parameters,
                model_state,
                inputs,
                train=True,
                rngs={"dropout": dropout_key},
                mutable=list(model_state),
            )
        else:
            logits = forward(parameters, model_state, inputs, **inference)
        logits = wide(logits)
        labels = jnp.take(labels, batch, mode="clip")
        labels = relabel(labels, **asked(relabel, {"logits": logits}))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.sum(losses, where=present) / jnp.sum(present), model_state

    def loss(
        data: ImageData,
        parameters: PyTree,
        model_state: PyTree,
        batch: jax.Array,
        key: jax.Array,
        relabel: Callable[..., jax.Array] = lambda labels: labels,
    ) -> tuple[jax.Array, PyTree]:
        examples = data.train_images, data.train_labels
        return mean_loss(examples, parameters, model_state, batch, key, relabel)

    def root_loss(
        data: ImageData, parameters: PyTree, model_state: PyTree, key: jax.Array
    ) -> jax.Array:
        whole = jnp.arange(len(data.root[1]))
        value, _ = mean_loss(data.root, parameters, model_state, whole, key, lambda labels: labels)
        return value

    def logits_of(
        parameters: PyTree, model_state: PyTree, key: jax.Array, images: jax.Array
    ) -> Any:
        return forward(parameters, model_state, prepare(key, images), **inference)

    batches = _reader(num_examples, batch_size, replacement)
    predict = _predictor(logits_of)

    def accuracy(
        data: ImageData, parameters: PyTree, model_state: PyTree, key: jax.Array
    ) -> jax.Array:
        predicted, labels = predict(data, parameters, model_state, key)
        return jnp.sum(predicted == labels) / len(labels)

    shared = partition is None and not replacement
    data = _data_of(dataset, partition, held)
    own_loss = None if held is None else root_loss
    return Task(data, initialise, batches, loss, accuracy, batch_size, shared, own_loss, predict)


def _reader(
    num_examples: int, batch_size: int, replacement: bool
) -> Callable[[ImageData, jax.Array, jax.Array, int, int], jax.Array]:
    """Which examples each worker reads, see `classification`."""

    def batches(
        data: ImageData, key: jax.Array, first_step: jax.Array, num_steps: int, num_workers: int
    ) -> jax.Array:
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
                "make the partition for the workers that compute gradients, the honest ones or, "
                "with byzantine_gradients or redraw, all"
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

    return batches


def _predictor(
    logits_of: Callable[[PyTree, PyTree, jax.Array, jax.Array], jax.Array],
) -> Callable[[ImageData, PyTree, PyTree, jax.Array], tuple[jax.Array, jax.Array]]:
    """The classes of the whole test set, as a network has them and as they are."""

    def predict(
        data: ImageData, parameters: PyTree, model_state: PyTree, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        images, labels = data.test_images, data.test_labels
        # As few parts of one size as will do, of which the last may be filled up.
        parts = -(-len(labels) // test_images_at_once(jax.default_backend()))
        size = -(-len(labels) // parts)
        if missing := parts * size - len(labels):
            images = jnp.pad(images, ((0, missing), *[(0, 0)] * (images.ndim - 1)))

        def classes(part: tuple[jax.Array, jax.Array]) -> jax.Array:
            number, images = part
            logits = logits_of(parameters, model_state, jax.random.fold_in(key, number), images)
            return jnp.argmax(logits, axis=-1)

        stacked = jnp.arange(parts), images.reshape(parts, size, *images.shape[1:])
        return jax.lax.map(classes, stacked).reshape(-1)[: len(labels)], jnp.asarray(labels)

    return predict


def _data_of(dataset: Dataset, partition: Partition | None, root: Examples | None) -> ImageData:
    def inputs(images: np.ndarray) -> Any:  # of NumPy, which JAX takes as its own
        return np.asarray(images, None if images.dtype == np.uint8 else np.float32)

    def ints(labels: np.ndarray) -> Any:
        return np.asarray(labels, np.int32)

    train: Any = pack(inputs(dataset.train_images))
    test = inputs(dataset.test_images)
    own = None if root is None else (pack(inputs(root[0])), ints(root[1]))
    return ImageData(
        train, ints(dataset.train_labels), test, ints(dataset.test_labels), partition, own
    )


def _check_kinds(dataset: Dataset, replacement: bool, dtype: Any) -> None:
    require_dataset(dataset)
    flag("replacement", replacement)
    try:
        floating = dtype is None or jnp.issubdtype(dtype, jnp.floating)
    except TypeError:  # NumPy's own, of a text that names none
        floating = False
    if not floating:
        raise TypeError(f"dtype must be floating point, such as jnp.bfloat16, or None, got {dtype}")


def _check_partition(partition: Partition | None, num_examples: int, name: str) -> None:
    if partition is None:
        return
    require_partition(partition)
    indices, counts = (np.asarray(leaf) for leaf in partition)
    if not all(leaf.dtype.kind in "iu" for leaf in (indices, counts)):
        raise TypeError(f"a partition is of ints, got {indices.dtype} and {counts.dtype}")
    if indices.ndim != 2 or counts.shape != indices.shape[:1]:
        raise ValueError(
            f"a partition has indices (n, largest) and counts (n,), got {indices.shape} and "
            f"{counts.shape}"
        )
    if not len(counts):
        raise ValueError("a partition is among at least one worker, got none")
    if not np.all((counts >= 1) & (counts <= indices.shape[1])):
        raise ValueError(
            f"each worker of a partition needs an example, got counts {in_a_line(counts)}"
        )
    held = indices[np.arange(indices.shape[1])[None] < counts[:, None]]
    wrong = held.min() if held.min() < 0 else held.max()
    if not 0 <= wrong < num_examples:
        raise ValueError(
            f"the partition names example {wrong}, {name} has "
            f"{num_examples} training images: make it from train_labels"
        )
