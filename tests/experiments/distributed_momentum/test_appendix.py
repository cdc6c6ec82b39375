"""The appendix: the Wide-ResNet, parameter by parameter, its settings, and a narrow run."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.distributed_momentum.__main__ import command
from experiments.distributed_momentum.commands.appendix import select
from experiments.distributed_momentum.grid.cells import appendix_names, cells
from experiments.distributed_momentum.grid.programs import hyperparameters_of, schedule_of
from experiments.distributed_momentum.grid.settings import APPENDIX
from experiments.distributed_momentum.options.appendix import SMOKE, Options
from experiments.distributed_momentum.running.estimate import dimension
from experiments.distributed_momentum.running.simulate import check
from simbyz import records
from simbyz.data import Dataset
from simbyz.tasks.models import WideResNet
from tests.support.printed import assert_refused

IMAGES = jnp.zeros((2, 32, 32, 3))


def convolve(image: np.ndarray, layer: dict, stride: int = 1) -> np.ndarray:
    """A convolution padded on both sides, one output pixel at a time."""
    kernel = layer["kernel"]
    size = len(kernel)
    margin = (size - 1) // 2
    padded = np.pad(image, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    places = range(0, image.shape[1], stride)
    rows = [
        [np.einsum("bijc,ijcd->bd", padded[:, y : y + size, x : x + size], kernel) for x in places]
        for y in places
    ]
    return np.array(rows).transpose(2, 0, 1, 3) + layer["bias"]


def forward(parameters: dict, x: np.ndarray, blocks: int) -> np.ndarray:
    """The network in inference mode, with parameters in the order of their numbers."""
    convolutions = (parameters[f"Conv_{i}"] for i in itertools.count())
    norms = (parameters[f"FrozenBatchNorm_{i}"] for i in itertools.count())

    def activate(x: np.ndarray) -> np.ndarray:
        layer = next(norms)
        return np.maximum(x / np.sqrt(1 + 1e-5) * layer["scale"] + layer["bias"], 0)

    x = convolve(x, next(convolutions))
    for stage in range(3):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            inner = convolve(activate(x), next(convolutions))
            inner = convolve(activate(inner), next(convolutions), stride)
            if inner.shape != x.shape:
                x = convolve(x, next(convolutions), stride)
            x = x + inner
    dense = parameters["Dense_0"]
    return activate(x).mean(axis=(1, 2)) @ dense["kernel"].T + dense["bias"]


def shapes(module: WideResNet) -> dict:
    variables = jax.eval_shape(module.init, jax.random.key(0), IMAGES)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
        for path, leaf in jax.tree.leaves_with_path(variables["params"])
    }


def size(found: dict, *endings: str) -> int:
    return sum(int(np.prod(shape)) for name, shape in found.items() if name.endswith(endings))


class TestNetwork:
    def test_28_10_has_36_489_290_parameters(self):
        found = shapes(WideResNet())
        total = size(found, "")
        biases = size({k: v for k, v in found.items() if k.startswith("Conv")}, "bias")
        assert total == 36_489_290
        # 16, then in each stage two convolutions a block and the 1 × 1 one
        assert biases == 16 + 9 * (160 + 320 + 640) == 10_096
        # As the authors of Wide-ResNet count it: without the biases of convolutions.
        assert total - biases == 36_479_194

    def test_layers(self):
        found = shapes(WideResNet())
        convolutions = [name for name in found if name.startswith("Conv") and "kernel" in name]
        assert len(convolutions) == 25 + 3  # 28 layers: 25 of 3 × 3 here, 1 dense, and 3 shortcuts
        ones = [found[name] for name in convolutions if found[name][:2] == (1, 1)]
        assert sorted(ones) == [(1, 1, 16, 160), (1, 1, 160, 320), (1, 1, 320, 640)]
        assert found["Dense_0/kernel"] == (10, 640)

    @pytest.mark.parametrize("train", [False, True])
    def test_logits(self, train):
        module = WideResNet(10, 2, num_classes=7)
        variables = jax.eval_shape(module.init, jax.random.key(0), IMAGES)

        def apply(variables):
            return module.apply(variables, IMAGES, train=train, rngs={"dropout": jax.random.key(1)})

        assert jax.eval_shape(apply, variables).shape == (2, 7)

    def test_against_numpy(self):
        module = WideResNet(10, 2, num_classes=3)
        generator = np.random.default_rng(0)
        image = generator.normal(size=(1, 8, 8, 3))
        template = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros(image.shape))["params"]
        parameters = jax.tree.map(lambda leaf: generator.normal(0, 0.2, leaf.shape), template)
        with jax.enable_x64(True):
            got = jax.jit(module.apply)({"params": parameters}, image)
        np.testing.assert_allclose(got, forward(parameters, image, blocks=1), rtol=1e-10)

    @pytest.mark.parametrize("depth", [4, 11, 27])
    def test_depths_that_there_are_not(self, depth):
        with pytest.raises(ValueError, match=f"depth must be 10, 16, 22, 28 ..., got {depth}"):
            jax.eval_shape(WideResNet(depth).init, jax.random.key(0), IMAGES)


class TestGrid:
    def test_configurations(self):
        runs = select(Options())
        names = {run.cell.name for run in runs}
        # unattacked at each f; krum and median at both, bulyan at f = 2; two attacks, two places
        assert len(names) == 2 + (2 + 3) * 2 * 2 == 22
        assert len(runs) == 5 * 22
        assert names == appendix_names()
        assert "cifar10-average-n_7-lr_pow-nesterov" in names
        assert "cifar10-little-bulyan-f_2-lr_pow-at_worker-nesterov" in names
        assert all(run.cell.in_paper and run.cell.nesterov for run in runs)

    def test_settings(self):
        cell = select(Options(rule=("krum",), f=(4,), attack=("little",)))[0].cell
        assert (cell.n, cell.f, cell.batch_size, cell.steps) == (11, 4, 20, 20_000)
        assert (cell.momentum, cell.clip, cell.evaluate_every) == (0.99, 5.0, 100)
        assert hyperparameters_of(cell).l2 == pytest.approx((5e-4) ** 2)
        assert dimension(cell) == 36_489_290

    def test_learning_rates(self):
        cell = cells("cifar10", nesterov=(True,), own=APPENDIX)[0]
        schedule = schedule_of(cell)
        rates = [
            0.02 * float(schedule(jnp.int32(step))) for step in (0, 7999, 8000, 15_999, 16_000)
        ]
        np.testing.assert_allclose(rates, [0.02, 0.02, 0.004, 0.004, 0.0008], rtol=1e-6)

    def test_a_narrow_network_is_unusual(self):
        cell = select(dataclasses.replace(SMOKE, attack=("none",)))[0].cell
        assert cell.name == (
            "cifar10-average-n_7-lr_pow-nesterov-depth_10-width_1-batch_size_2-steps_2"
        )
        assert not cell.in_paper

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("--depth 12", "depth must be 10, 16, 22, 28 ..., got 12"),
            ("--width 0", "width must be at least 1, got 0"),
            ("--f 3", "the appendix has --f 4 and --f 2, got 3"),
            ("--batch-size 0", "batch_size must be from 1 to 50000, the training images"),
            ("--batch-size 50001", "got 50001"),
            # 9 · 64² · (2k - 1) of the last stage's k blocks: 7 of them, 4 in the paper's network.
            ("--width 92", "depth 28 and width 92 has more than 2.2e+09 parameters"),
            ("--width 2000000000 --dry-run", "take a smaller one"),
            ("--depth 2000000002 --dry-run", "take a smaller one"),
            ("--seeds -1", "seeds must be from 0"),
            ("--steps 0", "steps must be at least 1, got 0"),
        ],
    )
    def test_bad_input(self, arguments, message, tmp_path, capsys):
        assert_refused(command, f"appendix {arguments}", message, tmp_path, capsys)

    def test_dry_run(self, tmp_path, capsys):
        assert command(["appendix", "--dry-run", "--results", str(tmp_path / "results")]) == 0
        output = capsys.readouterr().out
        assert "110 runs of 22 configurations to do" in output
        assert "7 compiled programs" in output
        assert not (tmp_path / "results").exists()


def small_cifar() -> Dataset:
    generator = np.random.default_rng(0)

    def images(count):
        return generator.integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)

    labels = np.arange(40, dtype=np.int32) % 10
    return Dataset(
        "cifar10",
        images(40),
        labels,
        images(10),
        labels[:10],
        10,
        255.0,
        (0.5,) * 3,
        (0.2,) * 3,
        True,
    )


@pytest.mark.slower
def test_every_program_traces():
    narrow = dataclasses.replace(SMOKE, rule=(), f=(), conventions="published")
    check([run.cell for run in select(narrow)], small_cifar())


@pytest.mark.slower
def test_a_narrow_network_from_end_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "simbyz.data.load",
        lambda name, data_dir: small_cifar(),
    )
    arguments = "--rule median --f 4 --attack none little --momentum-at worker --seeds 1 --depth 10"
    arguments += " --width 1 --batch-size 2 --steps 2 --results"
    assert command(["appendix", *arguments.split(), str(tmp_path)]) == 0
    runs = records.read_runs(tmp_path)
    assert sorted(runs["attack"]) == ["little", "none"]
    steps = records.read_steps(tmp_path, columns=["loss"])
    assert np.isfinite(steps["loss"].dropna()).all() and len(steps) == 6
    assert command(["appendix", *arguments.split(), str(tmp_path)]) == 0
    assert "nothing to run: 2 runs on disk" in capsys.readouterr().out
