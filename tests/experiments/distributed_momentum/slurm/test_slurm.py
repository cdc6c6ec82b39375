"""The grid on a real Slurm: jobs that are killed in every way lose no run and repeat none."""

import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from simbyz import records
from simbyz.data import cache
from tests.support import slurm_cluster
from tests.support.paths import ROOT
from tests.support.slurm_cluster import answer, processes, until

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(
        bool(slurm_cluster.missing()), reason=f"no {', '.join(slurm_cluster.missing())} here"
    ),
]

# Seconds that nothing takes, however busy the machine is.
LONG = 600

# Twelve runs of one program: two attacks, two places of momentum, three seeds.
ONE_PROGRAM = "--rule median --attack little empire --seeds 1 2 3"
# Four more, of another program.
TWO_PROGRAMS = "--rule median --attack none little empire --seeds 1 2 3"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment of a cluster whose jobs find a small MNIST in their cache."""
    folder = tmp_path_factory.mktemp("cache")
    generator = np.random.default_rng(0)
    labels = np.arange(300, dtype=np.int32) % 10
    images = generator.integers(0, 255, (300, 28, 28, 1)).astype(np.uint8)
    parts = (images[:200], labels[:200], images[200:], labels[200:])
    arrays = dict(zip(cache.ARRAYS, parts, strict=True))
    cache.write(folder / "mnist", cache.Decoded(arrays, {"library": "test"}))
    root = str(ROOT)
    with slurm_cluster.cluster() as environment:
        environment |= {"SIMBYZ_CACHE": str(folder), "TFDS_DATA_DIR": str(folder / "none")}
        yield environment | {"PYTHONPATH": root, "PYTHONUNBUFFERED": "1"}


class Grid:
    """Commands on one folder of results, and all files that ever lay in it."""

    def __init__(self, environment: dict[str, str], folder: Path, chosen: str):
        self.environment, self.results = environment, folder / "results"
        self.chosen = "--dataset mnist --f 24 --learning-rate 0.5 --nesterov off " + chosen
        self.seen: dict[str, set[tuple[int, int]]] = defaultdict(set)
        self.started: list[subprocess.Popen] = []
        self.done = threading.Event()
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()

    def watch(self) -> None:
        """A run that is computed twice is a second file of its name."""
        while not self.done.wait(0.05):
            for path in self.results.glob("*.parquet"):
                status = path.stat()
                self.seen[path.name].add((status.st_ino, status.st_mtime_ns))

    def start(self, more: str = "", memory: float = 2) -> subprocess.Popen:
        command = [sys.executable, str(ROOT / "tests" / "support" / "slurm_grid.py")]
        command += [*self.chosen.split(), "--results", str(self.results)]
        command += ["--launcher", "slurm", "--cpus", "2", f"--memory={memory}", *more.split()]
        process = subprocess.Popen(
            command, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        self.done.set()
        self.watcher.join()
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def until_some_are_finished(self) -> None:
        command = self.started[-1]
        until(lambda: len(self.seen) >= 2 or command.poll() is not None, LONG, "a finished run")
        assert command.poll() is None, command.communicate()[1]

    def job(self) -> str:
        """The number of the job that runs."""
        return answer(self.environment, "squeue", "-h", "--states=running", "-o", "%i").split()[0]

    def nothing_is_lost_or_repeated(self, runs: int) -> None:
        assert len(records.read_runs(self.results)) == len(self.seen) == runs
        assert {name: len(files) for name, files in self.seen.items() if len(files) > 1} == {}


@pytest.fixture
def grid(slurm, tmp_path, request) -> Iterator[Grid]:
    grid = Grid(slurm, tmp_path, request.param)
    try:
        yield grid
    finally:
        grid.end()


@pytest.mark.parametrize("grid", [ONE_PROGRAM], indirect=True)
def test_a_cancelled_job_goes_on_with_the_next_command(grid):
    command = grid.start("--partition all --time 7 --gpus 1", memory=1.5)
    grid.until_some_are_finished()
    asked = answer(grid.environment, "scontrol", "show", "job", grid.job()).split()
    limits = {
        "Partition=all",
        "TimeLimit=00:07:00",
        "MinMemoryNode=1.50G",
        "TresPerNode=gres:gpu:1",
    }
    assert limits | {"CPUs/Task=2", "Requeue=1"} <= set(asked)
    answer(grid.environment, "scancel", grid.job())
    _, error = command.communicate(timeout=LONG)
    assert command.returncode == 1
    assert "(CANCELLED)" in error and "not tried again, as somebody cancelled it" in error
    left = 12 - len(records.read_runs(grid.results))
    assert 0 < left < 12
    output, error = (again := grid.start()).communicate(timeout=LONG)
    assert again.returncode == 0, error
    assert f"{left} runs to do in 1 Slurm jobs, 0 of them submitted earlier" in output
    grid.nothing_is_lost_or_repeated(12)


@pytest.mark.parametrize("grid", [TWO_PROGRAMS], indirect=True)
def test_a_job_that_is_killed_is_tried_again(grid):
    command = grid.start()
    grid.until_some_are_finished()
    job = grid.job()
    for pid in processes(f"SLURM_CONF={grid.environment['SLURM_CONF']}", "submitit.core._submit"):
        os.kill(pid, signal.SIGKILL)
    output, error = command.communicate(timeout=LONG)
    assert command.returncode == 0, error
    assert "in 2 Slurm jobs, 0 of them submitted earlier" in output
    assert f"failed: job {job} (FAILED)" in error and "these go into another job" in error
    grid.nothing_is_lost_or_repeated(15)


@pytest.mark.parametrize("grid", [ONE_PROGRAM], indirect=True)
def test_a_requeued_job_goes_on_and_a_new_command_waits_for_it(grid):
    command = grid.start()
    grid.until_some_are_finished()
    command.kill()
    command.communicate()
    job = grid.job()
    answer(grid.environment, "scontrol", "requeue", job)
    # Slurm lets it wait for two minutes, unless told otherwise when it is in the queue again.
    state = ("squeue", "-h", "-o", "%T", f"--jobs={job}")
    until(lambda: answer(grid.environment, *state) == "PENDING", LONG, "the requeued job")
    answer(grid.environment, "scontrol", "update", f"JobId={job}", "StartTime=now")
    assert len(grid.seen) < 12
    output, error = (again := grid.start()).communicate(timeout=LONG)
    assert again.returncode == 0, error
    assert "in 1 Slurm jobs, 1 of them submitted earlier" in output
    assert "failed:" not in error
    grid.nothing_is_lost_or_repeated(12)


@pytest.mark.parametrize("grid", [ONE_PROGRAM], indirect=True)
def test_a_partition_that_is_not_there(grid):
    _, error = (command := grid.start("--partition nowhere")).communicate(timeout=LONG)
    assert command.returncode == 1
    assert error.count("\n") == 1 and "invalid partition" in error
    assert not grid.seen
