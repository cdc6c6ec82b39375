"""One run cut over devices: the numbers of the whole, what is sent, and what each device holds."""

import functools
import os
import re
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from experiments.scale import sharded as sharded
from experiments.scale.__main__ import command
from experiments.scale.measure import collectives
from simbyz import aggregators, attacks, data
from simbyz._arrays.chunks import SHARD
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.sweeps.mesh import mesh_of, padded, shard, shardings_of
from simbyz.tasks import Task, classification, models
from tests.support.paths import DOCS
from tests.support.rules import refer

N, F, D = 11, 2, 24
ROWS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
ROWS[3] = np.inf
# What the devices send each other for a rule: numbers of each all-reduce.
SENT = {
    "average": [],
    "median": [],
    "trimmed_mean": [],
    "meamed": [],
    "multi_krum": [N, N, N * N],  # the rows' largest values, and those from the middle row
    "bulyan": [N, N, N * N],
    "faba": [N, N, N * N],
    "smea": [N, N, N * N],
    "geometric_median": [N, N, N],  # in each iteration
    "centered_clipping": [N, N],
    "cge": [N, N],
    "phocas": [],
    "krum": [N, N, N * N],
    "caf": [N, N, N * N],
    "minimum_diameter_averaging": [N, N, N * N],
    "minimum_variance_averaging": [N, N, N * N],
    "dnc": [2 * N, N, N * N + N],
    "aksel": [N, N, N],
    "monna": [N, N, N],
    "median_of_means": [N],  # which rows are finite
    "robust_learning_rate": [N],
    "norm_bounded_mean": [2 * N, 2 * N],
    "medoid": [N, N, N * N],
    "filter_l2": [N, N, N * N],
    "huber_center": [N, N, N, 2 * N, N],
}
OPTIONS = {
    "centered_clipping": {"radius": 1.0},
    "dnc": {"key": jax.random.key(0), "c": 1.0},
}


@pytest.mark.slower
@pytest.mark.parametrize("name", SENT)
def test_what_a_rule_sends(name: str) -> None:
    options = OPTIONS.get(name, {})
    rule = functools.partial(aggregators.AGGREGATORS[name], f=F, **options)
    mesh = mesh_of(jax.devices())

    def in_mesh(rows: jax.Array) -> jax.Array:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return rule(rows)

    columns = NamedSharding(mesh, PartitionSpec(None, SHARD))
    rows = ROWS if name != "average" else np.nan_to_num(ROWS, posinf=1)
    cut = jax.device_put(rows, columns)
    program = jax.jit(in_mesh, out_shardings=NamedSharding(mesh, PartitionSpec(SHARD)))
    text = program.lower(cut).compile().as_text()
    assert list(collectives(text)) == [("all-reduce", numbers) for numbers in SENT[name]]
    np.testing.assert_allclose(program(cut), refer(name, options, rows, F), rtol=1e-5, atol=1e-6)


def problem(task):
    config = Config(n=9, f=3, momentum_at=("worker", "update"), nesterov=True)
    return config, make_simulator(config, task, aggregators.multi_krum, attacks.a_little_is_enough)


@pytest.mark.slower
def test_a_run_over_two_devices_is_the_run_on_one() -> None:
    """d is odd, so that it takes padding; each worker looks ahead from a point of its own."""
    task = classification(data.load("digits"), models.Dense(hidden=5), batch_size=6)
    key, steps = jax.random.key(1), 4
    momentum = {"worker": Momentum(0.9), "update": Momentum()}
    given = Hyperparameters(
        0.3, clip=2.0, l2=1e-3, attack={"factor": jnp.float32(-1.5)}, **momentum
    )
    config, simulator = problem(task)
    state = jax.jit(simulator.initialise)(key)
    d = state.parameters.size
    assert d % 2
    alone, told = jax.jit(simulator.advance, static_argnums=5)(
        state, given, task.data, key, jnp.int32(0), steps
    )

    mesh = mesh_of(jax.devices())
    task = padded(task, 2)
    config, simulator = problem(task)
    run = shard(simulator, config, task, mesh)
    state = run.initialise(key)
    assert state.senders[-1].addressable_shards[0].data.shape == (6, (d + 1) // 2)
    text = run.advance.lower(state, given, task.data, key, jnp.int32(0), steps).compile().as_text()
    sent = list(collectives(text))
    # All to all: the gradients, and the points that they are taken at.
    assert sum(n for kind, n in sent if kind == "all-to-all") == 2 * 6 * (d + 1) // 2
    assert [n for kind, n in sent if kind == "all-reduce"].count(81) <= 1
    state, metrics = run.advance(state, given, task.data, key, jnp.int32(0), steps)
    assert state.parameters[d] == 0
    np.testing.assert_allclose(state.parameters[:d], alone.parameters, rtol=1e-4, atol=1e-6)
    for name in ("loss", "honest_deviation", "aggregate_norm", "cosine_sampled_honest"):
        np.testing.assert_allclose(
            getattr(metrics, name), getattr(told, name), rtol=1e-4, err_msg=name
        )


def test_a_padded_task_reads_its_own_parameters() -> None:
    """For the root set and for predictions, too."""

    def of_parameters(data, parameters, *rest, **options):
        return parameters, options

    own, key = jnp.arange(3.0), jax.random.key(0)
    task = Task({}, lambda key: (own, {}), of_parameters, of_parameters, of_parameters, 1)
    task = task._replace(root_loss=of_parameters, predict=of_parameters)
    larger = padded(task, 2)
    parameters, _ = larger.initialise(key)
    assert sum(leaf.size for leaf in jax.tree.leaves(parameters)) == 4
    given = {}, parameters, {}
    for call in (larger.accuracy, larger.root_loss, larger.predict):
        np.testing.assert_array_equal(call(*given, key)[0], own)
    read, options = larger.loss(*given, (), key, relabel=abs)
    np.testing.assert_array_equal(read, own)
    assert options == {"relabel": abs}
    assert padded(task._replace(predict=None), 2).predict is None


@pytest.mark.slower
@pytest.mark.parametrize(("at_once", "nesterov"), [(3, False), (1, True)])
def test_workers_in_turns_on_each_device(at_once: int, nesterov: bool) -> None:
    """Of a device's five workers: the same numbers and the same sent as at once, for less memory.
    With Nesterov each has a point of its own.
    """
    mesh = mesh_of(jax.devices())
    task = padded(classification(data.load("digits"), models.Dense(hidden=50), batch_size=512), 2)
    key = jax.random.key(1)
    given = Hyperparameters(0.3, worker=Momentum(0.9), attack={"factor": -1.5})
    ends, sent, memory = [], [], []
    for together in (None, at_once):
        config = Config(n=12, f=2, nesterov=nesterov, workers_at_once=together)
        simulator = make_simulator(config, task, aggregators.median, attacks.a_little_is_enough)
        run = shard(simulator, config, task, mesh)
        state = run.initialise(key)
        program = run.advance.lower(state, given, task.data, key, jnp.int32(0), 2).compile()
        sent.append(sorted(collectives(program.as_text())))
        memory.append(program.memory_analysis().temp_size_in_bytes)
        state, metrics = program(state, given, task.data, key, jnp.int32(0))
        ends.append((state.parameters, metrics.loss))
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert sent[0] == sent[1]
    assert memory[1] < (0.5 if at_once == 1 else 1) * memory[0]


def test_what_can_not_be_cut() -> None:
    task = classification(data.load("digits"), models.Dense(hidden=5), batch_size=6)
    _, simulator = problem(task)
    mesh = mesh_of(jax.devices())
    state = jax.eval_shape(simulator.initialise, jax.random.key(0))
    with pytest.raises(ValueError, match="d = [0-9]+ can't be cut among 2 devices: see"):
        shardings_of(state, mesh)
    odd = Config(n=9, f=2, workers_at_once=1)
    with pytest.raises(ValueError, match="multiple of the 2 devices, got 7"):
        shard(simulator, odd, padded(task, 2), mesh)
    some = Config(n=9, f=3, participants=8, byzantine_participants=2)
    with pytest.raises(ValueError, match="participants must be None, got 8"):
        shard(simulator, some, padded(task, 2), mesh)


def test_devices_that_are_none() -> None:
    with pytest.raises(ValueError, match="devices must name at least one"):
        mesh_of([])
    with pytest.raises(ValueError, match="devices must name each once"):
        mesh_of(jax.devices()[:1] * 2)


@pytest.mark.slower
def test_a_folder_that_can_not_be_written_is_found_first(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sharded.jax.config, "update", lambda *_: None)
    monkeypatch.setattr(sharded, "main", lambda options: pytest.fail("computed something"))
    (tmp_path / "file").touch()
    assert command(["sharded", "--results", str(tmp_path / "file")]) == 2
    assert "can't be written: it is a file; give another" in capsys.readouterr().err


def test_a_rule_that_refuses_does_so_first(monkeypatch) -> None:
    monkeypatch.setattr(sharded.measure, "plan", lambda *_: pytest.fail("planned something"))
    options = sharded.Options(n=10, f=4, d=100, rule=("median", "multi_krum"), devices=(1,))
    with pytest.raises(ValueError, match=r"multi_krum needs n >= 2f \+ 3, got n=10, f=4"):
        sharded.main(options)


def test_collectives_in_a_text() -> None:
    text = """
      %a = f32[3,5]{1,0} all-gather(%x), dimensions={0}
      ROOT %b = (f32[4]{0}, /*index=1*/bf16[2,2]{1,0}, f32[]) all-reduce(%y, %z, %w), to=%add
      %c = (f32[7]{0}, f32[7]{0}) all-to-all-start(%u)
      %d = f32[9]{0} add(%all-gather.1, %b)
    """
    assert list(collectives(text)) == [("all-gather", 15), ("all-reduce", 9), ("all-to-all", 14)]


PAGE = (DOCS / "scale.md").read_text(encoding="utf-8")
(RUN,) = re.findall(r"^```python$\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
# The page's run as one of two processes with a device each; the parameters go to a file.
PROCESS = """
import sys, jax
address, process, file, run = sys.argv[1:]
jax.config.update("jax_num_cpu_devices", 1)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(address, 2, int(process))
exec(run)
assert mesh.size == 2
everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
np.save(file, np.asarray(jax.jit(lambda x: x, out_shardings=everywhere)(state.parameters)))
"""


@pytest.mark.slower
def test_the_run_of_the_page_here_and_on_two_processes(tmp_path, capsys) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    files = [str(tmp_path / f"{process}.npy") for process in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, address, str(process), file, RUN],
            stdout=subprocess.DEVNULL,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )
        for process, file in enumerate(files)
    ]
    try:
        here: dict = {}
        exec(RUN, here)
        for process in processes:
            assert process.wait(timeout=200) == 0
    finally:
        for process in processes:
            process.kill()
    assert here["mesh"].size == 2
    accuracies = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert len(accuracies) == 4 and 0.85 < accuracies[-1] <= 1
    for file in files:
        together = np.load(file)
        np.testing.assert_allclose(together, here["state"].parameters, rtol=1e-3, atol=1e-4)


@pytest.mark.slower
def test_the_experiment_on_eight_devices(tmp_path) -> None:
    """The command, in a process that has them: a device holds an eighth, each rule sends what it
    must, and the small run is the one on a single device.
    """
    n, f, d = 40, 8, 100_001
    rules = ["median", "multi_krum"]
    arguments = f"--n {n} --f {f} --d {d} --devices 1 8 --results {tmp_path} --rule".split()
    done = subprocess.run(
        [sys.executable, "-m", "experiments.scale", "sharded", *arguments, *rules],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    plans = pd.read_csv(tmp_path / "plans.csv").set_index(["rule", "devices"])
    padded_d = 100_008
    for rule, numbers in zip(rules, (0, 2 * n + n * n), strict=True):
        one, eight = plans.loc[(rule, 1)], plans.loc[(rule, 8)]
        assert one["state_gb"] / 7.9 > eight["state_gb"]
        # But for a few copies of the whole θ, and a chunk of the rows.
        assert eight["peak_gb"] < one["peak_gb"] / 8 + 5 * 4 * d / 1e9
        assert eight["all_to_all"] == (n - f) * padded_d // 8
        # Beside the rule: the scale and the norm of each gradient, and the study columns.
        assert 0 <= eight["all_reduce"] - numbers - 3 * (n - f) < 100
    assert {path.name for path in tmp_path.iterdir()} == {"plans.csv", "memory.pdf", "memory.png"}
    differences = re.findall(r"one device and on 8: differ by (\S+)", done.stdout + done.stderr)
    assert len(differences) == 2 and all(float(difference) < 1e-5 for difference in differences)
