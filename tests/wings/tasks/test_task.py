"""The accuracy on a test set, whatever its size."""

import dataclasses

import jax
import numpy as np
import pytest

from simbyz import data
from simbyz.tasks import Dense, classification

DIGITS = data.load("digits")


@pytest.mark.slower
@pytest.mark.parametrize("size", [1, 7, 250, 251, 257])  # 251 and 257 are prime, a part holds 250
def test_every_image_counts_once(size):
    few = dataclasses.replace(
        DIGITS, test_images=DIGITS.test_images[:size], test_labels=DIGITS.test_labels[:size]
    )
    task = classification(few, Dense(hidden=8), batch_size=4)
    parameters, model_state = task.initialise(jax.random.key(0))
    got = jax.jit(task.accuracy)(task.data, parameters, model_state, jax.random.key(1))
    first, second = (
        {name: np.asarray(array, np.float64) for name, array in parameters[layer].items()}
        for layer in ("Dense_0", "Dense_1")
    )
    pixels = np.asarray(few.test_images, np.float64) / 16  # as the digits are scaled
    hidden = np.maximum(pixels.reshape(size, -1) @ first["kernel"].T + first["bias"], 0)
    logits = hidden @ second["kernel"].T + second["bias"]
    assert got == pytest.approx(np.mean(logits.argmax(1) == few.test_labels), abs=1e-6)


@pytest.mark.parametrize("dtype", ["floaty", int, "int8", np.bool_])
def test_a_type_that_is_no_float_is_refused(dtype, unchecked_shapes):
    with pytest.raises(TypeError, match="^dtype must be floating point, such as jnp.bfloat16, or "):
        classification(data.load("digits"), Dense(hidden=8), batch_size=4, dtype=dtype)
