"""What a model is told of training: the warning for one whose training mode is left off."""

import warnings

import flax.linen as nn
import jax
import numpy as np
import pytest

from simbyz.data import Dataset
from simbyz.tasks import Conv, Dense, WideResNet, classification

IMAGES, LABELS = np.zeros((4, 8, 8, 1), np.uint8), np.arange(4) % 2
SMALL = Dataset("small", IMAGES, LABELS, IMAGES, LABELS, 2, 255.0, (0.0,), (1.0,), False)


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, images, train=False):
        x = nn.BatchNorm(use_running_average=not train)(images.reshape(len(images), -1))
        return nn.Dense(2)(x)


class Noisy(nn.Module):
    """Noise by hand, where no layer of flax says so."""

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Dense(2)(images.reshape(len(images), -1))
        return x + jax.random.normal(self.make_rng("dropout"), x.shape) if train else x


class Fixed(nn.Module):
    """Knows nothing of training."""

    @nn.compact
    def __call__(self, images):
        return nn.Dense(2)(images.reshape(len(images), -1))


def task(module, **more):
    return classification(SMALL, module, batch_size=2, **more)


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (Normalised(), "Normalised has batch statistics, without effect"),
        (Noisy(), "Noisy has dropout, without effect"),
        (Conv(num_classes=2), "Conv has dropout"),
        (WideResNet(10, 1, 2, batch_norm="batch"), "WideResNet has batch statistics and dropout"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_training_mode_that_is_off_is_told_once(module, told):
    with pytest.warns(UserWarning, match=told) as caught:
        task(module)
    assert len(caught) == 1 and caught[0].filename == __file__
    # Said on purpose, either way, it is not.
    for mode in (False, True):
        task(module, train_mode=mode)


@pytest.mark.parametrize("module", [Dense(num_classes=2), Fixed(), Conv(2, dropout=0.0)])
def test_others_are_told_nothing(module):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task(module)
