"""PyTorch tensors: any rule, selection, pre-aggregator or attack, called on them.

    krum = on_tensors(aggregators.krum)
    krum(gradients, f=2)  # a tensor (n, d) -> a tensor (d,)

Tensors go to JAX and results come back through DLPack: on one device nothing is copied, but for a
tensor that is no compact block of memory (`stack[:, 1:]`), or whose start is not aligned as XLA
wants it. Where JAX does not know the tensor's device, both ways lead over the CPU.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from simbyz._arrays.checks import integer, require_callable
from simbyz._arrays.stacking import PyTree

try:
    import torch
except ImportError as error:
    raise ImportError(
        f"simbyz.torch needs PyTorch, which can't be imported ({error}): pip install torch"
    ) from error

__all__ = ["on_tensors"]

Static = tuple[type, Any] | None


def on_tensors(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """The same function on tensors: tensors go in and come out where arrays did.

    Tensors may stand wherever the function takes arrays: `updates` and `honest`, an (n, d) tensor,
    or a dict of parameters stacked by worker, {"weight": (n, 3, 4), "bias": (n, 3)}, whose result
    is a dict again; and options such as `trusted`, `history`, `center` or `radius`. A list or tuple
    of flat tensors, one a worker, is stacked to (n, d). A `key` may be a `torch.Generator`, from
    which each call draws anew, an int, or a JAX key.

    It is compiled once for all tensors of the same shapes and the same other arguments: a number
    that differs from call to call had better be a tensor, too.

    Args:
      function: (updates, f, *, ...) -> arrays, or an attack (key, honest, num_byzantine, *, ...);
        configured by functools.partial, or a chain, or one of your own.

    Returns:
      A function with the same arguments. Results are on the device of the first tensor, and of the
      dtype that the function gives them, float64 of float64. They share no memory with arguments,
      and no gradient flows through.

    Raises:
      TypeError: what is no function, such as a rule that remembers.
      ValueError: in the call, a list of tensors that are not flat, a key of more than 32 bits;
        whatever the function refuses.
      TypeError: in the call, no argument is a tensor, one is sparse, a key is a number but no int,
        or several, or a further argument is neither tensor nor array and can't be hashed.
    """
    require_callable("function", function, "simbyz.aggregators.median")
    signature = inspect.signature(function)
    program = jax.jit(functools.partial(_called, function), static_argnums=(0, 1))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> PyTree:
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            bound.arguments[name] = _key(value) if name == "key" else _stacked(name, value)
        leaves, structure = jax.tree.flatten((bound.args, bound.kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        if not tensors:
            raise TypeError("no argument is a tensor: call the function itself on arrays")
        double = any(tensor.dtype == torch.float64 for tensor in tensors)
        with jax.enable_x64(double or jax.config.read("jax_enable_x64")):
            arrays = [_to_jax(leaf, tensors[0]) if _is_array(leaf) else None for leaf in leaves]
            # The type, too: 1, 1.0 and True are equal, and not the same argument.
            static = tuple(None if _is_array(leaf) else (type(leaf), leaf) for leaf in leaves)
            # Waited for: the caller may write into its tensors as soon as this returns.
            result = jax.block_until_ready(program(structure, static, *arrays))
            return jax.tree.map(lambda array: _to_torch(array, tensors), result)

    return call


def _called(
    function: Callable[..., PyTree], structure: Any, static: tuple[Static, ...], *arrays: jax.Array
) -> PyTree:
    leaves = [
        array if known is None else known[1] for known, array in zip(static, arrays, strict=True)
    ]
    args, kwargs = jax.tree.unflatten(structure, leaves)
    return function(*args, **kwargs)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor | jax.Array | np.ndarray)


def _stacked(name: str, value: Any) -> Any:
    """A list of flat tensors as one (n, d) tensor; anything else as it is."""
    if type(value) not in (list, tuple) or not value:
        return value
    if not all(isinstance(one, torch.Tensor) for one in value):
        return value
    shapes = [tuple(one.shape) for one in value]
    if len(shapes[0]) != 1 or len(set(shapes)) > 1:
        raise ValueError(
            f"{name}: a list holds one flat tensor (d,) a worker, got shapes {shapes}; give layers "
            "as a dict of tensors (n, ...), stacked by worker"
        )
    return torch.stack(list(value))


def _key(value: Any) -> Any:
    """A JAX key, of what PyTorch draws from.

    Raises:
      TypeError: a number that is no int, which would be cut, or several.
      ValueError: an int of more than 32 bits, which would be another's key.
    """
    if isinstance(value, torch.Generator):
        value = torch.randint(2**31 - 1, (), generator=value, device=value.device)
    if isinstance(value, torch.Tensor):
        if value.dim():
            raise TypeError(f"key must be an int, got a tensor of shape {tuple(value.shape)}")
        value = value.item()
    if not isinstance(value, bool | int | float | np.generic):
        return value
    seed = integer("key", value)
    if not -(2**31) <= seed < 2**32:
        raise ValueError(f"key must be of 32 bits, from -2^31 to 2^32 - 1, got {value}")
    return jax.random.key(seed)


def _to_jax(leaf: Any, first: Any) -> Any:
    if not isinstance(leaf, torch.Tensor):
        return leaf
    if leaf.layout != torch.strided:
        raise TypeError(f"tensors must be dense, got one of {leaf.layout}: give tensor.to_dense()")
    tensor = leaf.detach().to(first.device)
    if not (tensor.is_cpu or (tensor.is_cuda and jax.default_backend() == "gpu")):
        tensor = tensor.cpu()
    # A sign that waits to be applied, as of the imaginary part of a conjugate, would not go along.
    return jax.dlpack.from_dlpack(tensor.resolve_conj().resolve_neg().contiguous())


def _to_torch(array: jax.Array, given: list[Any]) -> Any:
    tensor = torch.from_dlpack(array).to(given[0].device)
    if any(tensor.data_ptr() == one.data_ptr() for one in given):
        return tensor.clone()
    return tensor
