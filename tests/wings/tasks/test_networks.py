"""Further networks: as many parameters as published, and a step that lowers the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from simbyz import data
from simbyz.tasks import (
    VGG,
    CharTransformer,
    Conv,
    Dense,
    ResNet,
    SmallConv,
    ViT,
    WideResNet,
    classification,
)
from tests.support.compiled import quick_jit

# As published; of ResNet-20 the shortcuts' convolutions and norms besides: 2,560 + 192.
SIZES = [
    (ResNet(18), (32, 32, 3), 11_173_962),
    (ResNet(20), (32, 32, 3), 269_722 + 2_752),
    (VGG(), (32, 32, 3), 9_225_610),
    (ViT(), (32, 32, 3), 810_890),
    (CharTransformer(num_classes=51), (16,), None),
]


@pytest.mark.parametrize(("module", "shape", "size"), SIZES)
def test_sizes(module, shape, size):
    inputs = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    logits, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), inputs)
    assert logits.shape == (2, module.num_classes) and set(variables) == {"params"}
    found = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert found == size or size is None


DIGITS = data.load("digits")
SMALL = [
    pytest.param(ResNet(20, width=2), DIGITS, marks=pytest.mark.slower),
    (VGG(plan=(4, "pool", 4, "pool", "pool", "pool")), DIGITS),
    pytest.param(ViT(width=8, depth=1, heads=2), DIGITS, marks=pytest.mark.slower),
    (CharTransformer(num_classes=51, width=8, depth=1, heads=2), data.sonnets(6)[0]),
]


@pytest.mark.parametrize(("module", "dataset"), SMALL, ids=lambda one: type(one).__name__)
def test_a_step_down(module, dataset):
    task = classification(dataset, module, batch_size=8)
    parameters, state = quick_jit(task.initialise)(jax.random.key(1))

    @quick_jit
    def losses(parameters):
        def loss(parameters):
            return task.loss(task.data, parameters, state, jnp.arange(8), jax.random.key(0))[0]

        value, gradient = jax.value_and_grad(loss)(parameters)
        moved = optax.tree.add_scale(parameters, -1e-3, gradient)
        return value, loss(moved), optax.tree.norm(gradient)

    before, after, norm = losses(parameters)
    assert np.isfinite(before) and 0 < norm and after < before


def test_a_token_is_told_from_those_before_it():
    """The last place sees all others: none of them is without effect."""
    module = CharTransformer(num_classes=5, width=8, depth=1, heads=2)
    codes = np.array([[0.0, 1, 2, 3]])
    variables = jax.jit(module.init)(jax.random.key(0), codes)
    logits = jax.jit(module.apply)
    for place in range(4):
        other = codes.copy()
        other[0, place] = 4
        assert np.abs(logits(variables, codes) - logits(variables, other)).max() > 1e-6


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (ResNet(34), "depth must be 18 or 20, got 34"),
        (ResNet(width=0), "width must be at least 1, got 0"),
        (VGG(plan=(8, 0)), "a number of channels must be at least 1, got 0"),
        (VGG(plan=("pol",)), "a number of channels must be an int, got 'pol'"),
        (ViT(patch=3), "patch must divide"),
        (ViT(patch=0), "patch must be at least 1, got 0"),
        (ViT(width=10), "heads must divide width=10, got 4"),
        (ViT(depth=-1), "depth must be at least 0, got -1"),
        (CharTransformer(heads=0), "heads must be at least 1, got 0"),
        (CharTransformer(width=1.5), "width must be an int, got 1.5"),
        (WideResNet(depth=10, width=0), "width must be at least 1, got 0"),
        (Dense("a"), "the units of a layer must be an int, got 'a'"),
        (Dense(True), "the units of a layer must be an int, got True"),
    ],
)
def test_wrong_sizes_are_refused(module, words):
    with pytest.raises(ValueError, match=words):
        classification(DIGITS, module, batch_size=8)


@pytest.mark.parametrize(
    ("module", "least"),
    [(SmallConv(), 16), (Conv(), 4), (WideResNet(10, 1), 1), (ResNet(), 1), (VGG(), 1), (ViT(), 1)],
)
def test_what_are_no_images_are_refused_by_networks_for_images(module, least):
    words = rf"{type(module).__name__} fails on .*: they must be images .* of at least {least} by"
    with pytest.raises(ValueError, match=rf"{words} .* got \(1, 13\): Dense\(\) takes any"):
        classification(data.load_table("wine"), module, batch_size=8)
    if least > 8:
        with pytest.raises(ValueError, match=rf"{words} .* got \(1, 8, 8, 1\)"):
            classification(DIGITS, module, batch_size=8)
