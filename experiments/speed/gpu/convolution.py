"""The step of the paper's CIFAR network: its convolutions by each method, in each precision.

All workers' gradients are taken at one point, so that the forward pass and the gradient of the
images are plain convolutions of all workers' images. What differs is the gradient of the kernels,
one a worker.
"""

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.speed import floor
from experiments.speed.gpu import ceilings
from experiments.speed.gpu.journal import Result
from experiments.speed.gpu.sizes import FULL, Sizes, conv_cell, conv_images
from experiments.speed.measured.step import advance, evaluation, gradients
from experiments.speed.problems import Problem, problem_of
from simbyz.data import Dataset
from simbyz.tasks.layers import convolve_same

Convolution = Callable[[jax.Array, jax.Array], jax.Array]


def plain(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """JAX's own: (B, H, W, C), (3, 3, C, D) -> (B, H, W, D); under `vmap` the gradients of the
    kernels are one grouped convolution.
    """
    return jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _kernel_gradient_of_one(images: jax.Array, gradient: jax.Array) -> jax.Array:
    """By JAX's own, one worker's after the other's."""
    shape = (3, 3, images.shape[-1], gradient.shape[-1])
    kernel = jax.ShapeDtypeStruct(shape, images.dtype)
    (result,) = jax.linear_transpose(lambda kernel: plain(images, kernel), kernel)(gradient)
    return result


def _kernel_gradient_by_columns(images: jax.Array, gradient: jax.Array) -> jax.Array:
    """One product of the windows, laid out as columns, (9 C, B · H · W) · (B · H · W, D)."""
    _, height, width, channels = images.shape
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = [
        padded[:, i : i + height, j : j + width] for i, j in itertools.product(range(3), range(3))
    ]
    columns = jnp.concatenate(windows, axis=-1).reshape(-1, 9 * channels)
    product = columns.T @ gradient.reshape(-1, gradient.shape[-1])
    return product.reshape(3, 3, channels, -1)


def with_kernel_gradient(
    kernel_gradient: Callable[[jax.Array, jax.Array], jax.Array],
) -> Convolution:
    """`plain`, its kernel's gradient by the given function of images and gradient."""

    @jax.custom_vjp
    def convolution(images: jax.Array, kernel: jax.Array) -> jax.Array:
        return plain(images, kernel)

    def forward(images: jax.Array, kernel: jax.Array):
        return plain(images, kernel), (images, kernel)

    def backward(saved: tuple[jax.Array, jax.Array], gradient: jax.Array):
        images, kernel = saved
        mirrored = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
        return plain(gradient, mirrored), kernel_gradient(images, gradient)

    convolution.defvjp(forward, backward)
    return convolution


ONE_BY_ONE = "one by one"  # the workers; of all other methods their gradients are taken at once
METHODS: dict[str, Convolution] = {
    "grouped": plain,
    "products": convolve_same,
    "columns": with_kernel_gradient(_kernel_gradient_by_columns),
    "folded": with_kernel_gradient(jax.custom_batching.sequential_vmap(_kernel_gradient_of_one)),
    ONE_BY_ONE: plain,
}


def measure(sizes: Sizes, until: float, known: Sequence[Result]) -> Iterator[Result]:
    """Gradients by each method and precision, then steps and the evaluation by the fastest.

    `share` is of the rate of a large product in that precision, by the operations of the network's
    products. `apart` is from the first method's gradients in float32, relative to their length.
    """
    images, rates = conv_images(sizes), ceilings.of(known)
    fastest: dict[str, tuple[float, str]] = {}
    wanted: np.ndarray | None = None
    f = sizes.conv_f[0]
    steps = 2 if sizes is not FULL else 10

    @functools.cache
    def problem_in(half: bool) -> Problem:
        return _problem(sizes, images, sizes.rules[0], f, half)

    for precision, method in itertools.product(ceilings.PRECISIONS, METHODS):
        if time.monotonic() > until:
            yield {"what": "not reached", "method": method, "precision": precision}
            break
        common = {"what": "gradients", "f": f, "method": method, "precision": precision}
        try:
            problem = problem_in(precision == "bfloat16")
            result, got = _gradients(problem, images, steps, method, precision)
        except Exception as error:  # a compiler's or a device's own; the next may do
            yield common | {"error_message": f"{type(error).__name__}: {error}"[:300]}
            continue
        wanted = got if wanted is None else wanted
        apart = float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))
        share = result["flops"] / rates.get(f"product {precision}", float("nan"))
        yield common | result | {"share": share, "apart": apart}
        best = fastest.get(precision, (float("inf"), ""))
        fastest[precision] = min(best, (result["milliseconds"], method))
    yield from _steps(sizes, images, fastest, steps, until)


def _steps(
    sizes: Sizes, images: Dataset, fastest: dict[str, tuple[float, str]], steps: int, until: float
) -> Iterator[Result]:
    order = itertools.product(("tf32", "bfloat16", "float32"), sizes.conv_f, sizes.rules)
    for precision, f, rule in order:
        if precision not in fastest:
            continue
        method = fastest[precision][1]
        common = {"f": f, "rule": rule, "method": method, "precision": precision}
        if time.monotonic() > until:
            yield {"what": "not reached"} | common
            return
        try:
            problem = _problem(sizes, images, rule, f, precision == "bfloat16")
            function = advance(problem, steps)
            result = _timed(function, problem.arguments, steps, method, precision)
            yield {"what": "step"} | common | result
            if (f, rule) == (sizes.conv_f[0], sizes.rules[0]):
                result = _timed(evaluation(problem), problem.arguments, 1, method, precision)
                yield {"what": "evaluation"} | common | result
        except Exception as error:
            yield {"what": "step"} | common | {"error_message": f"{type(error).__name__}: {error}"}


def _problem(sizes: Sizes, images: Dataset, rule: str, f: int, half: bool) -> Problem:
    # No evaluation but at step 0, and the timed steps begin after it.
    precision = "bfloat16" if half else None
    cell = conv_cell(sizes, rule, f, evaluate_every=10**6, precision=precision)
    return problem_of(cell, images)


def _gradients(
    problem: Problem, images: Dataset, steps: int, method: str, precision: str
) -> tuple[Result, np.ndarray]:
    """Their seconds, and those of the last step, (h · d,)."""
    cell = problem.cell
    function, arguments = gradients(problem, steps, 1 if method == ONE_BY_ONE else None)
    program, seconds = compile_by(function, arguments, method, precision)
    _, made = program(*arguments)
    leaves = [np.asarray(leaf, np.float32).ravel() for leaf in jax.tree.leaves(made)]
    each = ceilings.seconds(lambda: program(*arguments)) / steps
    count = (cell.n - cell.f) * cell.batch_size
    products = floor.products(
        images.train_images.shape[1:], images.num_classes, count, gradient=True
    )
    result: Result = {
        "milliseconds": 1e3 * each,
        "flops": sum(product.flops for product in products) / each,
        "compile_seconds": seconds,
    }
    return result | ceilings.memory(program), np.concatenate(leaves)


def _timed(function: Callable, arguments: tuple, steps: int, method: str, precision: str) -> Result:
    program, seconds = compile_by(function, arguments, method, precision)
    each = ceilings.seconds(lambda: program(*arguments)) / steps
    return {"milliseconds": 1e3 * each, "compile_seconds": seconds} | ceilings.memory(program)


def compile_by(
    function: Callable, arguments: tuple, method: str, precision: str
) -> tuple[jax.stages.Compiled, float]:
    """The function compiled with its network's 3 × 3 convolutions by a method; and the seconds.

    Raises:
      ValueError: it has none.
    """
    convolution, replaced = METHODS[method], []

    def intercept(call, arguments, options, context):
        module = context.module
        if not isinstance(module, nn.Conv) or context.method_name != "__call__":
            return call(*arguments, **options)
        if module.is_initializing():
            return call(*arguments, **options)
        replaced.append(module.name)
        kernel, bias = (module.get_variable("params", name) for name in ("kernel", "bias"))
        result = convolution(arguments[0], kernel)
        return result + jnp.broadcast_to(bias, result.shape)

    products, _ = ceilings.PRECISIONS[precision]
    began = time.perf_counter()
    with nn.intercept_methods(intercept), jax.default_matmul_precision(products):
        # Anew: a trace kept from another method would be taken again.
        program = jax.jit(functools.partial(function)).lower(*arguments).compile()
    if not replaced:
        raise ValueError("the network has no convolution of flax's to put another in the place of")
    return program, time.perf_counter() - began
