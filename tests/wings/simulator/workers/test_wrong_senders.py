"""Wrong settings of senders are refused, each in one line; and what privacy comes to."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from simbyz import attacks
from simbyz.aggregators import Root, adaptive_federated_averaging, median, safeguard, zeno
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.simulator.metrics import attack_success_rate
from simbyz.simulator.workers import (
    average,
    by_chance,
    byz_clip21_sgd2m,
    byz_dm21,
    byz_ef21_sgdm,
    byz_vr_dm21,
    chain,
    clipped,
    compress,
    corrected_average,
    delayed_momentum,
    epsilon,
    every,
    feedback,
    late,
    momentum,
    normalised,
    optax_sender,
    private_noise,
    quantise,
    rand_k,
    rosdhb,
    sign,
    top_k,
    until,
    when_present,
)
from tests.wings.simulator.quadratic import quadratic
from tests.wings.simulator.workers.test_compression import ROWS, sent_by

KEY = jax.random.key(0)


def simulator_of(sender, attack=attacks.fall_of_empires, **options):
    config = Config(n=5, f=1, **{"momentum_at": (), **options})
    return make_simulator(config, quadratic(), median, attack, senders=[sender])


def advance(sender, worker=None, **options):
    """Traces a step, without a run."""
    simulator = simulator_of(sender, **options)
    jax.eval_shape(
        lambda state: simulator.advance(state, Hyperparameters(0.1, worker), {}, KEY, 0, 1),
        jax.eval_shape(simulator.initialise, KEY),
    )


def apply_once(sender):
    simulator = simulator_of(sender)
    state, rows = simulator.initialise(KEY), jnp.ones((4, 4))
    simulator.apply(state, Hyperparameters(0.1), KEY, 0, rows, rows[0])


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
    "beta": (lambda: rosdhb(1, 1.0), r"beta must be in \[0, 1\), got 1.0"),
    "beta above": (lambda: rosdhb(1, 1.5), r"beta must be in \[0, 1\), got 1.5"),
    "beta 0": (lambda: byz_clip21_sgd2m(0.0, 0.5, 1.0), r"beta must be in \(0, 1\], got 0.0"),
    "eta": (lambda: byz_ef21_sgdm(2.0, top_k(1)), r"eta must be in \(0, 1\], got 2.0"),
    "eta 0": (lambda: byz_dm21(0, top_k(1)), r"eta must be in \(0, 1\], got 0"),
    "eta nan": (lambda: byz_vr_dm21(np.nan, top_k(1)), r"eta must be in \(0, 1\], got nan"),
    "alpha": (lambda: delayed_momentum(0.0, 0.5), r"alpha must be in \(0, 1\]"),
    "several weights": (lambda: average(np.ones(2) / 2), r"weight must be one number, got shape"),
    "several bounds": (lambda: clipped(np.ones(3)), "bound must be one number"),
    "clip21 noise": (lambda: byz_clip21_sgd2m(0.5, 0.5, 1.0, -1), "noise must be finite and"),
    "clip21 bound": (lambda: byz_clip21_sgd2m(0.5, 0.5, -1.0), "bound must be above 0, got -1.0"),
    "masks make larger": (lambda: sent_by(feedback(rand_k(3))), "feedback needs a contraction"),
    "signs make larger": (lambda: sent_by(feedback(sign(scaled=False))), "needs a contraction"),
    "levels make larger": (
        lambda: sent_by(feedback(quantise(1))),
        "of d=6 coordinates at a rate below 0.816, got rate=1.0",
    ),
    "masks at a rate": (lambda: sent_by(feedback(rand_k(2), rate=0.7)), "a rate below 0.667, got"),
    "stream": (lambda: by_chance(0.5, stream=-1), "stream must be at least 0, got -1"),
    "stream above": (lambda: by_chance(0.5, stream=2**32), r"stream must be below 2\^32, .* got"),
    "levels above": (lambda: quantise(2**31), r"levels must be at most 2\^31 - 1, .* got 2147483"),
    "present": (lambda: sent_by(when_present(lambda key, step, w: w / 2)), "must return bools"),
    "noise after": (lambda: sent_by(chain(average(0.5), private_noise(1.0))), "after the clip"),
    "noise twice": (
        lambda: advance(chain(private_noise(1.0), corrected_average(0.5))),
        "private_noise is of one gradient a step, .* as corrected_average, has one noise for both",
    ),
    "worker": (
        lambda: advance(private_noise(1.0), Momentum(0.9), momentum_at=("worker",)),
        r"private_noise is .* with momentum_at=\(\), one local step",
    ),
    "nowhere": (lambda: advance(momentum()), r"takes its numbers from Hyperparameters\(worker="),
    "local": (lambda: advance(private_noise(1.0), local_steps=2), "directly after the clip"),
    "two corrections": (
        lambda: advance(
            corrected_average(0.5), Momentum(0.9), momentum_at=("worker",), variance_reduction=True
        ),
        "variance_reduction keeps one last point for all workers here, .* as corrected_average",
    ),
    "apply": (lambda: apply_once(corrected_average(0.5)), "two gradients of a batch, apply is"),
    "optimiser": (lambda: optax_sender(optax.adam(0.1)), "belongs to the server"),
    "its step": (lambda: optax_sender(normalised()), "belongs to the server"),
    "one class": (lambda: attack_success_rate(3, 3), "must be two classes, got 3 and 3"),
    "no class": (lambda: attack_success_rate(-1, 3), "must be two classes, got -1 and 3"),
    "shrink": (lambda: attacks.poisoned_fl(shrink=2.0), "shrink must be from 0 to 1, got 2.0"),
    "warmup": (lambda: attacks.mimicking(warmup=0), "warmup must be at least 1, got 0"),
    "short first": (lambda: safeguard(windows=(1, 5)), "the longer one first"),
    "ban": (lambda: adaptive_federated_averaging(ban=2.0), "ban must be from 0 to 1, got 2.0"),
    "penalty": (
        lambda: zeno(ROWS[0], 1, root=Root(ROWS[0, 0], 0.1, np.sum), penalty=-1.0),
        "zeno needs penalty >= 0, got penalty=-1.0",
    ),
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
    "several multipliers": (
        lambda: epsilon(**PRIVATE | {"multiplier": np.ones(2)}),
        "multiplier must be one number",
    ),
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
        (lambda: average(True), "weight must be a number, got True"),
        (lambda: feedback(top_k(1), noise="x"), "noise must be a number, got 'x'"),
        (lambda: clipped("2"), "bound must be a number, got '2'"),
        (lambda: private_noise(None), "multiplier must be a number, got None"),
        (lambda: epsilon(**PRIVATE | {"delta": "x"}), "delta must be a number, got 'x'"),
        (lambda: epsilon(**PRIVATE | {"batch_size": 1.5}), "batch_size must be an int"),
        (lambda: rosdhb(1, "x"), "beta must be a number, got 'x'"),
        (lambda: rosdhb(0.1, 0.9), "k must be an int, got 0.1"),
        (lambda: byz_ef21_sgdm(top_k(1), 0.1), "eta must be a number"),
        (lambda: byz_ef21_sgdm(0.1, 10), "compressor must be a Compressor"),
        (lambda: delayed_momentum(None, 0.5), "alpha must be a number, got None"),
        (lambda: by_chance(0.5, stream=0.5), "stream must be an int"),
        (lambda: until(True, 2), "step must be an int, got True"),
        (lambda: every(2, 1.5), "count must be an int"),
        (lambda: when_present(by_chance), "present must be a function, such as by_chance"),
        (lambda: when_present(by_chance(0.5), "momentum"), "a chain is of senders"),
        (lambda: chain([average(0.5)]), "a chain is of senders"),
        (lambda: chain(top_k(1)), "a chain is of senders"),
        (lambda: optax_sender(optax.adam), "transformation must be optax's"),
        (lambda: advance(top_k(1)), "senders must be a list of Sender"),
        (lambda: advance(average), "senders must be a list of Sender"),
        (lambda: advance(average(0.5), attack=attacks.free_riding), "attack must be .* call it"),
        (lambda: advance(average(0.5), attack=attacks.xfed), "got xfed: call it"),
        (lambda: attacks.intermittent(attacks.poisoned_fl, 2, 1), "got poisoned_fl: call it"),
        (lambda: feedback(top_k(1), rate=None), "rate must be a number, got None"),
    ],
)
def test_other_kinds_are_refused(call, message):
    with pytest.raises(TypeError, match=message) as refused:
        call()
    assert "\n" not in str(refused.value)


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


@pytest.mark.parametrize("batch_size", [10, 100])
def test_epsilon_of_next_to_no_noise_and_of_boundless_noise(batch_size):
    # As of no noise: 1 / multiplier² is beyond what a float holds, or next to that.
    for multiplier in (1e-154, 1e-160, 1e-170, 5e-324):
        assert epsilon(**PRIVATE | {"multiplier": multiplier, "batch_size": batch_size}) > 1e300
    # log A = 0: what the conversion to (ε, δ) costs is left, least of the largest order, 512.
    left = np.log1p(-1 / 512) - np.log(1e-5 * 512) / 511
    for multiplier in (1e150, 1e200, 1.7e308):
        got = epsilon(**PRIVATE | {"multiplier": multiplier, "batch_size": batch_size})
        np.testing.assert_allclose(got, left, rtol=1e-9)
