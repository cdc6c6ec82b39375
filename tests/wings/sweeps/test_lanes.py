"""Lanes over many devices: the same bits on 1, 4 and 8 of them, and nothing compiled twice."""

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import jax
import numpy as np
import pytest

from simbyz.sweeps.lanes import copy_to, filled, gathered, over_lanes, quickly_compiled, spread

# Eleven lanes fill neither four devices nor eight: three rounds and two, the last ones padded.
SWEEPS = """
import sys
import jax
import numpy as np
jax.config.update("jax_num_cpu_devices", 8)
from simbyz import aggregators, attacks, data
from simbyz.sweeps import Lane, sweep
from simbyz.tasks import classification, models
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator

compilations = 0
def count(event, *_, **__):
    global compilations
    compilations += event == "/jax/core/compile/backend_compile_duration"
jax.monitoring.register_event_duration_secs_listener(count)

task = classification(data.load("digits"), models.Dense(hidden=8), batch_size=6)
config = Config(n=5, f=2, evaluate_every=3)
simulator = make_simulator(config, task, aggregators.median, attacks.a_little_is_enough)
lanes = [
    Lane(seed, Hyperparameters(rate, worker=Momentum(0.9), attack={"factor": -1.5}))
    for rate in (0.1, 0.3) for seed in range(6)
][:11]
out = {}
for number in (1, 4, 8):
    def run(lanes):
        devices = jax.devices()[:number]
        return list(sweep(simulator, lanes, task.data, steps=8, width=1, devices=devices))
    out[f"compilations of the first {number}"] = -compilations
    run(lanes[:1])
    out[f"compilations of the first {number}"] += compilations
    out[f"compilations of others {number}"] = -compilations
    results = run(lanes)
    out[f"compilations of others {number}"] += compilations
    out[f"index {number}"] = [result.index for result in results]
    out[f"parameters {number}"] = [result.parameters for result in results]
    for column in ("loss", "aggregate_norm", "accuracy"):
        out[f"{column} {number}"] = [result.columns[column] for result in results]
np.savez(sys.argv[1], **out)
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Results by name and number of devices, of a process with eight virtual ones."""
    file: Path = tmp_path_factory.mktemp("devices") / "sweeps.npz"
    subprocess.run(
        [sys.executable, "-c", SWEEPS, str(file)],
        check=True,
        timeout=300,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    with np.load(file) as found:
        return dict(found)


@pytest.mark.thorough
@pytest.mark.parametrize("number", [4, 8])
def test_the_same_bits_on_any_number_of_devices(swept, number: int) -> None:
    np.testing.assert_array_equal(swept[f"index {number}"], np.arange(11))
    for name in ("parameters", "loss", "aggregate_norm", "accuracy"):
        np.testing.assert_array_equal(swept[f"{name} {number}"], swept[f"{name} 1"], err_msg=name)
    # Not for being all the same: the lanes differ, and learn.
    assert len(np.unique(swept["parameters 1"], axis=0)) == 11
    assert (swept["accuracy 1"][:, -1] > swept["accuracy 1"][:, 0]).sum() > 5


@pytest.mark.parametrize("number", [1, 4, 8])
def test_one_compilation_for_all_rounds(swept, number: int) -> None:
    assert swept[f"compilations of the first {number}"] > 0
    assert swept[f"compilations of others {number}"] == 0


def test_whose_the_arguments_are() -> None:
    """x of a lane, y of a device, z of everybody, and a power that shapes the program."""
    devices = jax.local_devices()
    traced = []

    def function(x, y, z, power: int):
        traced.append(power)
        return x**power + y.sum() + z

    x = np.arange(6, dtype=np.float32)
    y = np.arange(3, dtype=np.float32)
    mapped = over_lanes(function, devices, ["lane", "device", "all", "static"])
    for _ in range(2):
        got = mapped(spread(x, 2), copy_to(devices, y), np.float32(10), 3)
    np.testing.assert_array_equal(gathered(got), x**3 + 3 + 10)
    assert got.shape == (2, 3) and len(got.sharding.device_set) == 2
    assert traced == [3]


@pytest.mark.slower
def test_compiled_quickly_lanes_keep_their_bits() -> None:
    devices = jax.local_devices()

    def draw(key):
        return {"some": jax.random.uniform(key, (3, 2)), "one": jax.random.normal(key)}

    usual = over_lanes(draw, devices, ["lane"])
    quick = quickly_compiled(usual)
    for width in (3, 1):
        keys = jax.vmap(jax.random.key)(np.arange(2 * width))
        got = quick(spread(keys, 2))
        assert got["some"].shape == (2, width, 3, 2)
        jax.tree.map(np.testing.assert_array_equal, got, usual(spread(keys, 2)))
        np.testing.assert_array_equal(gathered(got["one"]), jax.vmap(draw)(keys)["one"])


def test_a_round_is_filled_with_its_last_lane() -> None:
    assert filled("abc", 5) == list("abccc")
    assert filled("abc", 3) == list("abc")
    x = np.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(gathered(spread(x, 2)), x)


@pytest.mark.slower
@pytest.mark.parametrize("quickly", [False, True])
def test_what_nobody_can_call_any_more_is_forgotten(quickly):
    """With its programs, or a process that sweeps one simulator after the other only grows."""

    class Large:
        """Stands for what a simulator holds."""

    def mapped(large):
        def function(row):
            assert large is not None
            return row + 1

        found = over_lanes(function, jax.devices()[:1], ["lane"])
        return quickly_compiled(found) if quickly else found

    large = Large()
    function, held = mapped(large), weakref.ref(large)
    np.testing.assert_array_equal(function(np.zeros((1, 2, 3), np.float32)), np.ones((1, 2, 3)))
    del large
    gc.collect()
    assert held() is not None
    del function
    gc.collect()
    assert held() is None
