"""The networks: the paper's, parameter by parameter, and their initial distribution."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from simbyz.tasks.models import Conv, Dense, SmallConv
from tests.support.paths import GOLDEN

RECORDED = GOLDEN / "trajectories.json"

# Measured in float64: relative differences from the paper's program of at most 2e-14 (the
# gradient's sum, which cancels) and 2e-15 (the rest). The margin is for another machine's sums.
GOLDEN_TOLERANCE = 1e-11

# Networks of the paper's program, and the height of the images that their dense layers flatten.
PROGRAM_MODELS = {
    ("simples-full", False): (Dense(), 28),
    ("simples-conv", False): (SmallConv(), 4),
    ("empire-cnn", False): (Conv(num_classes=10), 8),
    ("empire-cnn", True): (Conv(num_classes=100), 8),
}


def golden_models() -> list[dict]:
    return json.loads(RECORDED.read_text())["models"]


def num_parameters(parameters: dict) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(parameters))


# PyTorch's layers are called c, b and f (convolution, batch norm, dense) and numbered from 1.
FLAX_LAYERS = {"c": "Conv", "b": "FrozenBatchNorm", "f": "Dense"}


def from_pytorch(flat: np.ndarray, shapes: list, height: int) -> dict:
    """Flax's parameters from PyTorch's, concatenated in PyTorch's order and layout."""
    parameters = {}
    start = 0
    for name, shape in shapes:
        array = flat[start : start + math.prod(shape)].reshape(shape)
        start += array.size
        layer, kind = name.removeprefix("_").split(".")
        flax_layer = f"{FLAX_LAYERS[layer[0]]}_{int(layer[1:]) - 1}"
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        elif layer == "f1" and kind == "weight":
            # This layer reads the flattened images, channels first there and last here.
            features, inputs = shape
            image = array.reshape(features, inputs // height**2, height, height)
            array = image.transpose(0, 2, 3, 1).reshape(features, inputs)
        flax_kind = "bias" if kind == "bias" else "scale" if layer[0] == "b" else "kernel"
        parameters.setdefault(flax_layer, {})[flax_kind] = array
    assert start == flat.size
    return parameters


@pytest.mark.slower
@pytest.mark.parametrize("index", range(8))
def test_loss_and_gradient_of_the_papers_program(index: int) -> None:
    entry = golden_models()[index]
    module, height = PROGRAM_MODELS[entry["model"], bool(entry["args"])]
    num_images = entry["input_shape"][0]
    with jax.enable_x64(True):
        flat = 0.05 * np.sin(1.7 * np.arange(entry["d"]) + 0.3)
        parameters = from_pytorch(flat, entry["params_shapes"], height)
        size = math.prod(entry["input_shape"])
        images = np.sin(0.37 * np.arange(size)).reshape(entry["input_shape"])
        images = images.transpose(0, 2, 3, 1)
        labels = (3 * np.arange(num_images)) % module.num_classes
        # The program multiplies by the factor of its l2 term in two places: it acts squared.
        l2 = (entry["l2"] or 0.0) ** 2

        def loss_fn(parameters: dict) -> jax.Array:
            logits = module.apply({"params": parameters}, images)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return jnp.mean(losses) + l2 * optax.tree.norm(parameters), logits

        # Compiled quickly, a convolution's gradient was 1e-8 off.
        (loss, logits), gradient = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(parameters)
        places = from_pytorch(np.arange(entry["d"]), entry["params_shapes"], height)
        leaves = jax.tree.leaves(jax.device_get(gradient))
        assert all(leaf.dtype == np.float64 for leaf in leaves)
        gradient_sum = sum(np.sum(leaf) for leaf in leaves)
        gradient_norm = np.sqrt(sum(np.sum(leaf**2) for leaf in leaves))

    with np.load(RECORDED.with_suffix(".npz")) as file:
        kinds = ("idx", "grad_at_idx", "logits")
        numbers, expected, expected_logits = (file[f"{entry['key']}/{kind}"] for kind in kinds)
    in_pytorchs_order = np.empty(entry["d"])
    for place, leaf in zip(jax.tree.leaves(places), leaves, strict=True):
        in_pytorchs_order[np.ravel(place)] = np.ravel(leaf)
    np.testing.assert_allclose(
        in_pytorchs_order[numbers],
        expected,
        rtol=0,
        atol=GOLDEN_TOLERANCE * gradient_norm,
    )
    # The program's networks end in a log-softmax.
    np.testing.assert_allclose(
        np.asarray(logits) - np.log(np.sum(np.exp(logits), axis=1, keepdims=True)),
        expected_logits,
        rtol=GOLDEN_TOLERANCE,
    )
    np.testing.assert_allclose(loss, entry["loss"], rtol=GOLDEN_TOLERANCE)
    np.testing.assert_allclose(gradient_norm, entry["grad_norm"], rtol=GOLDEN_TOLERANCE)
    np.testing.assert_allclose(gradient_sum, entry["grad_sum"], rtol=GOLDEN_TOLERANCE)


def test_every_golden_model_is_compared() -> None:
    assert len(golden_models()) == 8


@pytest.mark.parametrize(
    ("module", "shape", "count"),
    [
        (Dense(), (28, 28, 1), 79_510),
        (Dense(), (8, 8, 1), 64 * 100 + 100 + 1_010),
        (SmallConv(), (28, 28, 1), 431_080),
        (Conv(), (32, 32, 3), 1_310_922),
        (Conv(num_classes=100), (32, 32, 3), 2_384_036),
        (Conv(batch_norm="batch"), (32, 32, 3), 1_310_922),
    ],
    ids=["dense", "dense-digits", "small-conv", "conv-10", "conv-100", "conv-batch-norm"],
)
def test_number_of_parameters_and_of_logits(
    module: nn.Module, shape: tuple[int, ...], count: int
) -> None:
    images = jnp.zeros((2, *shape))
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    logits = jax.eval_shape(module.apply, variables, images)
    assert num_parameters(variables["params"]) == count
    assert logits.shape == (2, module.num_classes)


def test_frozen_batch_norm_has_no_statistics() -> None:
    images = jnp.zeros((1, 8, 8, 3))
    frozen = jax.eval_shape(Conv().init, jax.random.key(0), images)
    batch = jax.eval_shape(Conv(batch_norm="batch").init, jax.random.key(0), images)
    assert set(frozen) == {"params"}
    assert set(batch) == {"params", "batch_stats"}


def test_an_unknown_batch_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_norm"):
        Conv(batch_norm="layer").init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


@functools.cache
def tiny_images() -> np.ndarray:
    """Two images each of three workers."""
    return np.random.default_rng(0).normal(size=(3, 2, 4, 4, 3)).astype(np.float32)


@functools.cache
def initial_parameters(module: nn.Module, height: int, channels: int) -> dict:
    images = jnp.zeros((1, height, height, channels))
    parameters = jax.jit(module.init)(jax.random.key(0), images)["params"]
    return jax.tree.map(np.asarray, parameters)


def batch_norm_variables() -> tuple[Conv, dict]:
    """The network with true batch norm, with the parameters of the frozen one (drawing is slow)."""
    module = Conv(batch_norm="batch", dropout=0.0)
    parameters = {
        name.replace("FrozenBatchNorm", "BatchNorm"): layer
        for name, layer in initial_parameters(Conv(), 4, 3).items()
    }
    key = jax.random.key(0)
    statistics = jax.jit(lambda: module.init(key, tiny_images()[0])["batch_stats"])()
    return module, {"params": parameters, "batch_stats": statistics}


@pytest.mark.slower
def test_initial_distribution_is_pytorchs() -> None:
    dense = initial_parameters(Dense(), 28, 1)
    conv = initial_parameters(Conv(), 4, 3)
    layers = [
        (dense["Dense_0"], 784),
        (dense["Dense_1"], 100),
        (conv["Conv_0"], 3 * 9),
        (conv["Conv_1"], 64 * 9),
        (conv["Conv_2"], 64 * 9),
        (conv["Conv_3"], 128 * 9),
        (conv["Dense_0"], 128),
        (conv["Dense_1"], 128),
    ]
    for layer, fan_in in layers:
        for kind in ("kernel", "bias"):
            assert_uniform(layer[kind].astype(np.float64).ravel(), fan_in**-0.5)
    for name in (f"FrozenBatchNorm_{i}" for i in range(4)):
        np.testing.assert_array_equal(conv[name]["scale"], 1)
        np.testing.assert_array_equal(conv[name]["bias"], 0)


def assert_uniform(values: np.ndarray, bound: float) -> None:
    """Within ±bound, with a uniform's mean and variance up to four standard errors."""
    # The bound itself is rounded to float32.
    assert np.max(np.abs(values)) <= bound * (1 + 1e-6)
    standard_error = bound / np.sqrt(3 * values.size)
    assert abs(np.mean(values)) < 4 * standard_error
    # The variance of x² is bound⁴ (1/5 - 1/9) for a uniform x.
    standard_error = bound**2 * np.sqrt(4 / 45 / values.size)
    assert abs(np.mean(values**2) - bound**2 / 3) < 4 * standard_error


def test_weights_and_biases_are_drawn_from_different_keys() -> None:
    layer = initial_parameters(Dense(), 28, 1)["Dense_0"]
    assert not np.any(layer["kernel"] == layer["bias"][:, None])


@pytest.mark.slower
def test_training_mode_updates_batch_statistics_a_worker_each() -> None:
    module, variables = batch_norm_variables()
    images = tiny_images()

    def forward(images: jax.Array) -> tuple[jax.Array, dict]:
        return module.apply(variables, images, train=True, mutable=["batch_stats"])

    together = jax.tree.map(np.asarray, jax.jit(jax.vmap(forward))(images))
    forward = jax.jit(forward)
    alone = [jax.tree.map(np.asarray, forward(images[worker])) for worker in range(3)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *alone)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), together, stacked
    )

    _, state = together
    for old, new in zip(
        jax.tree.leaves(variables["batch_stats"]),
        jax.tree.leaves(state["batch_stats"]),
        strict=True,
    ):
        assert np.all(np.any(new != np.asarray(old)[None], axis=1))


def test_running_statistics_move_a_tenth_of_the_way() -> None:
    module, variables = batch_norm_variables()
    images = tiny_images()[0]
    first = variables["params"]["Conv_0"]

    def running_and_batch() -> tuple[dict, jax.Array]:
        _, state = module.apply(variables, images, train=True, mutable=["batch_stats"])
        convolved = nn.relu(nn.Conv(64, (3, 3)).apply({"params": first}, images))
        return state["batch_stats"]["BatchNorm_0"], convolved

    running, convolved = jax.tree.map(np.asarray, jax.jit(running_and_batch)())
    mean, variance = np.mean(convolved, axis=(0, 1, 2)), np.var(convolved, axis=(0, 1, 2))
    np.testing.assert_allclose(running["mean"], 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(running["var"], 0.9 + 0.1 * variance, rtol=1e-4, atol=1e-6)


def test_initial_batch_statistics_are_the_frozen_ones() -> None:
    module, variables = batch_norm_variables()
    images = tiny_images()[0]
    frozen_variables = {"params": initial_parameters(Conv(), 4, 3)}
    np.testing.assert_allclose(
        jax.jit(module.apply)(variables, images),
        jax.jit(Conv().apply)(frozen_variables, images),
        rtol=1e-4,
        atol=1e-6,
    )


def test_dropout_acts_in_training_with_a_key_only() -> None:
    images = tiny_images()[0]
    variables = {"params": initial_parameters(Conv(), 4, 3)}
    apply = jax.jit(Conv().apply, static_argnames="train")
    one, same, other = (
        apply(variables, images, train=True, rngs={"dropout": jax.random.key(seed)})
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert np.any(np.asarray(one) != np.asarray(other))

    inference = apply(variables, images)
    without_key = apply(variables, images, train=True)
    not_training = apply(variables, images, rngs={"dropout": jax.random.key(1)})
    np.testing.assert_array_equal(without_key, inference)
    np.testing.assert_array_equal(not_training, inference)


def test_dropout_acts_a_worker_each_under_vmap() -> None:
    images = np.broadcast_to(tiny_images()[0], (3, 2, 4, 4, 3))
    variables = {"params": initial_parameters(Conv(), 4, 3)}

    def forward(images: jax.Array, key: jax.Array) -> jax.Array:
        return Conv().apply(variables, images, train=True, rngs={"dropout": key})

    logits = jax.jit(jax.vmap(forward))(images, jax.random.split(jax.random.key(0), 3))
    logits = np.asarray(logits)
    assert np.any(logits[0] != logits[1])
    assert np.any(logits[1] != logits[2])


def test_conv_pools_images_of_odd_sides():
    """9 × 7 pixels are 4 × 3, then 2 × 1, as with flax's pool, before the dense layers."""
    images = jnp.zeros((2, 9, 7, 3))
    parameters = jax.eval_shape(Conv().init, jax.random.key(0), images)["params"]
    assert parameters["Dense_0"]["kernel"].shape == (128, 2 * 1 * 128)
