"""Whether a module is one that a task can train, and whether training means anything to it."""

import inspect
import warnings
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from simbyz._arrays.checks import flag


def check_module(
    module: nn.Module, shape: tuple[int, ...], num_classes: int, train_mode: bool | None
) -> None:
    """Trace a module on an input of this shape (1, ...), so that a wrong one is told at once.

    Raises:
      TypeError: it is no flax.linen module, or train_mode no bool.
      ValueError: it does not take the input, has no parameters, too few logits or, in training
        mode, no parameter `train`.
    """
    if not isinstance(module, nn.Module):
        made = isinstance(module, type) and issubclass(module, nn.Module)
        raise TypeError(
            "module must be a flax.linen module, such as simbyz.tasks.Dense(), got "
            + (f"a class: give {module.__name__}(...)" if made else f"{_kind(module)}")
        )
    name, train = type(module).__name__, has_train(module)
    if train_mode is not None and flag("train_mode", train_mode) and not train:
        raise ValueError(
            f"train_mode=True tells a module so by a parameter `train`, which {name} lacks: "
            "def __call__(self, inputs, train=False)"
        )
    key, inputs = jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32)
    try:
        logits, variables = jax.eval_shape(module.init_with_output, key, inputs)
    except Exception as error:  # flax, JAX and the module raise what they like
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{name} fails on inputs of shape {shape}: {reason}") from error
    if "params" not in variables:
        raise ValueError(f"{name} has no parameters to train")
    if getattr(logits, "ndim", 0) != 2 or logits.shape[-1] < num_classes:
        got = getattr(logits, "shape", type(logits).__name__)
        raise ValueError(
            f"{name} must give logits (B, classes) of at least the data set's {num_classes} "
            f"classes, got {got} for a batch of 1"
        )
    if train_mode is None and (lost := _lost(module, variables, inputs, train)):
        warnings.warn(
            f"{name} has {' and '.join(lost)}, without effect while gradients are taken in "
            "inference mode, the default: give train_mode=True to classification to train with "
            "them, or train_mode=False to say that this is meant",
            stacklevel=3,  # where `classification` is called
        )


def has_train(module: nn.Module) -> bool:
    """Whether a module takes `train` by name."""
    return "train" in inspect.signature(module.__call__).parameters


def _lost(module: nn.Module, variables: Any, inputs: Any, train: bool) -> list[str]:
    """What a module has that acts in training mode alone."""
    state = {name: value for name, value in variables.items() if name != "params"}
    lost = ["batch statistics"] if state else []

    def trained(variables: Any, inputs: jax.Array, key: jax.Array) -> Any:
        options: dict[str, Any] = {"rngs": {"dropout": key}, "mutable": list(state)}
        return module.apply(variables, inputs, train=True, **options)

    if train:
        jaxpr = jax.make_jaxpr(trained)(variables, inputs, jax.random.key(0)).jaxpr
        drawn = jaxpr.invars[-1]
        if any(drawn is used for equation in jaxpr.eqns for used in equation.invars):
            lost.append("dropout")
    return lost


def _kind(module: Any) -> str:
    if callable(module) and hasattr(module, "__name__"):
        return f"the function {module.__name__}"
    return f"a {type(module).__module__}.{type(module).__name__}"
