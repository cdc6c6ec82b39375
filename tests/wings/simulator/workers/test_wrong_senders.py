"""Wrong settings of senders are refused, each in one line; and what privacy comes to."""

import numpy as np
import pytest

from simbyz.simulator.workers import (
    average,
    by_chance,
    clipped,
    compress,
    corrected_average,
    delayed_momentum,
    epsilon,
    every,
    feedback,
    late,
    private_noise,
    quantise,
    rand_k,
    rosdhb,
    sign,
    top_k,
    until,
    when_present,
)
from tests.wings.simulator.workers.test_compression import sent_by

PRIVATE = {"multiplier": 1.0, "batch_size": 10, "examples": 100, "steps": 10, "delta": 1e-5}
WRONG = {
    "k 0": (lambda: top_k(0), "k must be at least 1, got 0"),
    "k below": (lambda: rand_k(-1), "k must be at least 1, got -1"),
    "k above": (lambda: sent_by(compress(top_k(7))), "at most all d=6 coordinates, got k=7"),
    "masks above": (lambda: sent_by(compress(rand_k(7))), "rand_k keeps .* got k=7"),
    "levels": (lambda: quantise(0), "levels must be at least 1"),
    "bound 0": (lambda: clipped(0.0), "bound must be above 0, got 0.0"),
    "bound nan": (lambda: clipped(float("nan")), "bound must be above 0, got nan"),
    "rate 0": (lambda: feedback(top_k(1), rate=0), r"rate must be in \(0, 1\], got 0"),
    "rate 2": (lambda: feedback(top_k(1), rate=2.0), r"rate must be in"),
    "noise": (lambda: feedback(top_k(1), noise=-1.0), "noise must be finite and at least 0"),
    "noise inf": (lambda: feedback(top_k(1), noise=float("inf")), "noise must be finite"),
    "weight 0": (lambda: average(0.0), r"weight must be in \(0, 1\]"),
    "weight 2": (lambda: corrected_average(2.0), "weight must be in"),
    "weight nan": (lambda: average(float("nan")), "weight must be in"),
    "beta": (lambda: rosdhb(1, 1.0), "weight must be in"),
    "alpha": (lambda: delayed_momentum(0.0, 0.5), "weight must be in"),
    "chance 0": (lambda: by_chance(0.0), "probability must be in"),
    "chance 2": (lambda: delayed_momentum(0.5, 2.0), "probability must be in"),
    "late": (lambda: late(-1), "steps must be at least 0, got -1"),
    "until": (lambda: until(-1, 2), "must be at least 0, got -1, 2"),
    "count": (lambda: until(1, -2), "must be at least 0, got 1, -2"),
    "every": (lambda: every(0, 2), "period must be at least 1, .* got 0, 2"),
    "shape": (lambda: sent_by(when_present(lambda key, step, workers: True)), "present must"),
    "multiplier": (lambda: private_noise(-1.0), "multiplier must be finite and at least 0"),
    "no batch": (lambda: epsilon(**PRIVATE | {"batch_size": 0}), "batch_size <= examples"),
    "batch": (lambda: epsilon(**PRIVATE | {"batch_size": 101}), "batch_size <= examples"),
    "steps": (lambda: epsilon(**PRIVATE | {"steps": -1}), "steps must be at least 0"),
    "delta": (lambda: epsilon(**PRIVATE | {"delta": 1.0}), r"delta must be in \(0, 1\)"),
    "deviation": (lambda: epsilon(**PRIVATE | {"multiplier": -1}), "multiplier must be finite"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_are_refused_in_one_line(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=message) as refused:
        call()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compress("top_k"), "must be a Compressor, such as top_k"),
        (lambda: feedback(top_k), "must be a Compressor"),
        (lambda: top_k(0.1), "k must be an int"),
        (lambda: late(1.5), "steps must be an int"),
        (lambda: when_present(0.5), "present must be a function"),
        (lambda: rand_k(2, shared="own"), "shared must be True or False, got 'own'"),
        (lambda: rand_k(2, scaled=1), "scaled must be True or False, got 1"),
        (lambda: sign(scaled="no"), "scaled must be True or False"),
        (lambda: average("x"), "must be a number, got 'x'"),
        (lambda: feedback(top_k(1), rate=None), "rate must be a number, got None"),
    ],
)
def test_other_kinds_are_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    ("multiplier", "batch_size", "examples", "steps", "delta", "expected"),
    [  # by dp-accounting 0.6.0, RdpAccountant of the same orders
        (1.0, 60, 6000, 1000, 1e-5, 2.1077530754515745),
        (2.0, 25, 600, 300, 1e-5, 1.7362323926010466),
        (0.7, 10, 1000, 50, 1e-6, 3.95390288901421),
        (4.0, 100, 100, 20, 1e-5, 5.377728336819822),
    ],
)
def test_epsilon_is_another_accountant_s(multiplier, batch_size, examples, steps, delta, expected):
    got = epsilon(
        multiplier=multiplier, batch_size=batch_size, examples=examples, steps=steps, delta=delta
    )
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_epsilon_without_noise_and_steps():
    assert epsilon(**PRIVATE | {"multiplier": 0.0}) == np.inf
    assert epsilon(**PRIVATE | {"steps": 0}) == 0
