"""ByzFL's benchmark: step for step beside ByzFL where it is installed, and the command line."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from jax.flatten_util import ravel_pytree

from experiments.byzfl_conformance import ours, theirs
from experiments.byzfl_conformance.__main__ import Options, command
from experiments.byzfl_conformance.search import expand_then_shrink
from experiments.byzfl_conformance.setting import Setting
from experiments.byzfl_conformance.study import compare
from experiments.shared.load_byzfl import load_byzfl
from simbyz.data import Dataset
from simbyz.simulator.workers.gradients import draw_batches
from tests.reference import searches as reference_searches
from tests.support.printed import assert_refused


@functools.cache
def small_mnist():
    """Images of the size of MNIST's, and labels that they tell of."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, size=400).astype(np.int32)
    images = rng.integers(0, 120, size=(400, 28, 28, 1)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 4] += 120
    parts = (images[:300], labels[:300], images[300:], labels[300:])
    return Dataset("mnist", *parts, 10, 255.0, (0.1307,), (0.3081,), flip=False)


@pytest.mark.slower
@pytest.mark.parametrize("peak", [0.0, 3.0, 17.0, 55.0, 1e5])
@pytest.mark.parametrize("evaluations", [1, 2, 12])
def test_search(peak, evaluations):
    search = jax.jit(lambda: expand_then_shrink(lambda x: -jnp.abs(x - peak), evaluations))()
    best, tried = reference_searches.expand_then_shrink(lambda x: -abs(x - peak), evaluations)
    np.testing.assert_allclose(search.probes, tried, rtol=1e-6)
    assert float(search.factor) == pytest.approx(best)


@pytest.fixture
def byzfl():
    try:
        return load_byzfl()
    except ImportError as error:
        pytest.skip(f"ByzFL can't be imported ({error}): pip install '.[peers]'")


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")  # ByzFL's and torch's own
@pytest.mark.parametrize(
    ("attack", "steps"),
    [
        ("sign_flipping", 6),
        ("a_little_is_enough", 6),
        ("optimal_a_little_is_enough", 2),
        ("optimal_inner_product_manipulation", 2),
    ],
)
def test_step_for_step(byzfl, attack, steps):
    """The same initial weights and the same batches: the same weights and losses to 1e-5."""
    _, torch = byzfl
    sizes = {"honest": 6, "batch_size": 8, "evaluations": 8}
    # A decay that would show in 1e-5 were it missing.
    setting = Setting(attack, f=2, gamma=0.5, steps=steps, weight_decay=0.05, **sizes)
    dataset = small_mnist()
    task = ours.task_of(setting, dataset)
    key = jax.random.key(1)
    batches = np.asarray(draw_batches(ours.config_of(setting), task, task.data, key, 0, steps))
    assert (batches < 300).all()  # full ones
    images = theirs.tensors(dataset, dataset.train_images, dataset.train_labels)
    loaders = [
        torch.utils.data.DataLoader(images, batch_size=8, sampler=batches[:, i].ravel().tolist())
        for i in range(setting.honest)
    ]
    training = theirs.Training(setting, dataset, 1, loaders)
    start = training.parameters()
    losses = [training.step() for _ in range(steps)]

    simulator = ours.simulator_of(setting, task)
    state = simulator.start(jnp.asarray(start), {})
    state, metrics = jax.jit(simulator.advance, static_argnums=5)(
        state, ours.hyperparameters_of(setting), task.data, key, 0, steps
    )
    np.testing.assert_allclose(metrics.loss, losses, rtol=1e-5)
    np.testing.assert_allclose(state.parameters, training.parameters(), rtol=0, atol=1e-5)
    assert np.abs(training.parameters() - start).max() > 1e-3
    accuracy = simulator.finish(state, task.data, key, steps).accuracy
    assert training.server.compute_test_accuracy() == pytest.approx(float(accuracy), abs=0.011)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_gradients_are_torchs(byzfl):
    """Of the network and its loss, at the weights that torch starts from."""
    _, torch = byzfl
    setting = Setting("sign_flipping", honest=1, f=0, batch_size=20)
    dataset = small_mnist()
    training = theirs.Training(setting, dataset, 3, loaders=[
        torch.utils.data.DataLoader(
            theirs.tensors(dataset, dataset.train_images, dataset.train_labels), batch_size=20
        )
    ])  # fmt: skip
    start = training.parameters()
    loss = training.clients[0].compute_gradients()
    # As weights, to have them in our layout.
    for weights in training.server.model.parameters():
        weights.data.zero_()
    training.server.set_parameters(training.clients[0].get_flat_gradients())
    task = ours.task_of(setting, dataset)
    _, unravel = ravel_pytree(task.initialise(jax.random.key(0))[0])

    def of_vector(vector):
        return task.loss(task.data, unravel(vector), {}, jnp.arange(20), jax.random.key(0))[0]

    value, gradient = jax.value_and_grad(of_vector)(jnp.asarray(start))
    assert float(value) == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(gradient, training.parameters(), atol=1e-6)


def test_without_byzfl_its_side_is_left_out(tmp_path, monkeypatch, capsys):
    def missing(*_):
        raise ImportError("no module named torch")

    monkeypatch.setattr(theirs, "load_byzfl", missing)
    outcome = ours.Outcome(np.array([0.9, 0.92]), 3.0, 1.0)
    monkeypatch.setattr(ours, "run", lambda *_: outcome)
    table = compare(Options(seeds=(1, 2), results=tmp_path), small_mnist())
    assert "ByzFL is left out: no module named torch" in capsys.readouterr().err
    assert table["simbyz_accuracy"].tolist() == pytest.approx([0.91, 0.91])
    assert table["byzfl_accuracy"].isna().all() and table["ratio"].isna().all()


def test_command(tmp_path, capsys, monkeypatch):
    outcomes = {
        "ours": ours.Outcome(np.array([0.9, 0.92]), 3.0, 1.0),
        "theirs": ours.Outcome(np.array([0.89, 0.93]), 30.0, 1.0, diverged=1),
    }
    monkeypatch.setattr(ours, "run", lambda *_: outcomes["ours"])
    monkeypatch.setattr(theirs, "run", lambda *_: outcomes["theirs"])
    module = "experiments.byzfl_conformance.study"
    monkeypatch.setattr(f"{module}.load", lambda *_, **__: small_mnist())
    assert command(["--seeds", "1", "2", "--results", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines()[:-1])) <= 100
    assert "91.00 ± 2.83 ✕1" in output and "✕: so many seeds diverged" in output
    assert "10.0" in output and "…" not in output
    table = pd.read_csv(tmp_path / "byzfl_conformance.csv")
    assert table["ratio"].tolist() == [10.0, 10.0]
    (tmp_path / "byzfl_conformance.csv").unlink()
    (tmp_path / "byzfl_conformance.csv").mkdir()
    assert command(["--seeds", "1", "2", "--results", str(tmp_path)]) == 1
    assert "error: " in capsys.readouterr().err


@pytest.mark.slower
def test_all_seeds_in_one_program():
    """Each seed ends as alone, to within an image or two of a hundred."""
    setting = Setting("sign_flipping", f=1, gamma=0.5, steps=5, honest=3, batch_size=8)
    both = ours.run(setting, small_mnist(), (1, 2)).accuracies
    alone = [ours.run(setting, small_mnist(), (seed,)).accuracies[0] for seed in (1, 2)]
    np.testing.assert_allclose(both, alone, atol=0.021)
    assert both.shape == (2,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--f 0", "f must be from 1 to 9"),
        ("--f 10", "f must be from 1 to 9, below half of all beside 10 honest workers, got 10"),
        ("--gamma 2", "gamma must be from 0 to 1, got 2.0"),
        ("--steps 0", "steps must be at least 1, got 0"),
        ("--seeds", "seeds must name at least one"),
        ("--seeds -1", "seeds must be from 0 to 2^31 - 1, got [-1]"),
    ],
)
def test_bad_input(arguments, message, tmp_path, capsys):
    assert_refused(command, arguments, message, tmp_path, capsys)
