"""Attacks on data: Byzantine workers that compute as they should, on examples they mislabelled.

Each is (labels, num_classes, *, options) -> labels, integers from 0 to num_classes - 1, and goes
into the simulator as `relabel`, which applies it to the Byzantine workers' own batches:

    config = Config(n=25, f=5, byzantine_gradients=True)
    relabel = functools.partial(label_flipping, num_classes=10)
    make_simulator(config, task, rule, attack=None, relabel=relabel)

Their gradients are computed in the same `vmap` as the honest ones, and are clipped and gather
momentum like them. TypeError: num_classes or the labels are not integers. ValueError: no class, or
labels that name none (if not traced).
"""

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.checks import NUMBERS, integer


def label_flipping(labels: jax.Array, num_classes: int) -> jax.Array:
    """num_classes - 1 - y: the order of the classes reversed; of an odd number the class in the
    middle keeps its label.

    Reference: Biggio et al., Support vector machines under adversarial label noise, ACML 2011, for
      labels; Karimireddy et al., Learning from history, ICML 2021, for this map of them.
    """
    return _checked("label_flipping", labels, num_classes) - 1 - labels


def label_shifting(labels: jax.Array, num_classes: int) -> jax.Array:
    """y + 1, the last class becoming the first: no class keeps its label."""
    num_classes = _checked("label_shifting", labels, num_classes)
    return (labels + 1) % num_classes


def targeted_label_flipping(
    labels: jax.Array, num_classes: int, *, source: int, target: int
) -> jax.Array:
    """Examples of one class labelled as another; all others keep their label.

    Args:
      source, target: the two classes.

    Raises:
      ValueError: a class that there is not.

    Reference: Tolpegin et al., Data poisoning attacks against federated learning systems, ESORICS
      2020.
    """
    num_classes = _checked("targeted_label_flipping", labels, num_classes)
    source, target = integer("source", source), integer("target", target)
    if not (0 <= source < num_classes and 0 <= target < num_classes):
        raise ValueError(
            f"source and target must be from 0 to {num_classes - 1}, got {source} and {target}"
        )
    return jnp.where(labels == source, target, labels)


def dynamic_label_flipping(labels: jax.Array, num_classes: int, *, logits: jax.Array) -> jax.Array:
    """The class that the model, as it stands, thinks least likely: another one as it learns.

    Args:
      logits: (..., at least num_classes) of the examples; the simulator gives them.

    Returns:
      Of equally unlikely classes the first.

    Raises:
      ValueError: fewer logits than classes.

    Reference: Shejwalkar et al., Back to the drawing board, IEEE S&P 2022, who ask a model of the
      attacker's own; here it is the one that the server sends.
    """
    num_classes = _checked("dynamic_label_flipping", labels, num_classes)
    if logits.shape[-1] < num_classes:
        raise ValueError(
            f"dynamic_label_flipping needs a logit a class, {num_classes}, got {logits.shape[-1]}"
        )
    least = jnp.argmin(logits[..., :num_classes], axis=-1)
    return jax.lax.stop_gradient(least).astype(labels.dtype)


def _checked(attack: str, labels: jax.Array, num_classes: int) -> int:
    num_classes = integer("num_classes", num_classes)
    if num_classes < 1:
        raise ValueError(f"{attack} needs num_classes >= 1, got {num_classes}")
    if not isinstance(labels, NUMBERS):
        raise TypeError(f"{attack} needs labels that are integers, got {type(labels).__name__}")
    if not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
        raise TypeError(f"{attack} needs labels that are integers, got {jnp.result_type(labels)}")
    if not isinstance(labels, jax.core.Tracer):
        outside = np.extract((labels < 0) | (labels >= num_classes), labels)
        if outside.size:
            raise ValueError(
                f"{attack} needs labels from 0 to num_classes - 1 = {num_classes - 1}, "
                f"got {outside[0]}"
            )
    return num_classes
