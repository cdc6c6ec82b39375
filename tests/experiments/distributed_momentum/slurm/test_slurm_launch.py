"""The launcher of a grid on a cluster, with Slurm and the simulator made up."""

import re
import sys
from types import SimpleNamespace

import pytest

from experiments.distributed_momentum.__main__ import command
from experiments.distributed_momentum.commands import grid as grid_command
from experiments.distributed_momentum.running import campaign
from experiments.distributed_momentum.slurm import launch as slurm_launch
from experiments.distributed_momentum.slurm import queue as slurm_queue
from experiments.distributed_momentum.slurm import request as slurm_request
from experiments.distributed_momentum.slurm.queue import Queued
from experiments.distributed_momentum.slurm.request import Slurm, parameters
from simbyz import data, records
from tests.support import fake_runs
from tests.support.fake_runs import FEW_ARGUMENTS


class FakeSlurm:
    """Takes arrays, and at each question runs one more of its jobs as `fates` say: a fate is how
    many runs the job finishes and the state that it ends in.
    """

    def __init__(self):
        self.fates: list[tuple[int, str]] = []
        self.jobs: dict[str, tuple] = {}  # by number: function and runs
        self.queue: dict[str, Queued] = {}
        self.waiting: list[str] = []
        self.arrays: list[list[int]] = []  # runs of each job
        self.computed: list[str] = []
        self.parameters: dict = {}
        self.silent = 0  # questions without an answer

    def update_parameters(self, **parameters):
        self.parameters |= parameters

    def map_array(self, function, parts):
        self.arrays.append([len(part) for part in parts])
        numbers = [f"{len(self.arrays)}_{index}" for index in range(len(parts))]
        for number, part in zip(numbers, parts, strict=True):
            self.jobs[number] = (function, part)
            self.queue[number] = Queued("PENDING", self.parameters["job_name"])
        self.waiting += numbers
        return [SimpleNamespace(job_id=number) for number in numbers]

    def job(self, folder, number):
        assert folder.name == "slurm"
        return SimpleNamespace(submission=lambda: SimpleNamespace(args=[self.jobs[number][1]]))

    def ask(self):
        if self.silent:
            self.silent -= 1
            raise OSError("squeue: no answer")
        answer = dict(self.queue)
        if self.waiting:
            number = self.waiting.pop(0)
            self.limit, state = self.fates.pop(0) if self.fates else (99, "COMPLETED")
            function, runs = self.jobs[number]
            try:
                function(runs)
            except (SystemExit, RuntimeError):
                pass
            self.queue[number] = self.queue[number]._replace(state=state)
        return answer

    def simulate(self, runs, dataset, folder, progress, **_):
        for run in runs:
            if self.limit == 0:
                raise RuntimeError("out of memory")
            self.limit -= 1
            assert run.file not in self.computed
            self.computed.append(run.file)
            fake_runs.write(folder, run, 0.9)


@pytest.fixture
def slurm(monkeypatch):
    fake, digits = FakeSlurm(), data.load("digits")
    submitit = SimpleNamespace(SlurmExecutor=lambda folder: fake, SlurmJob=fake.job)
    for module in (slurm_launch, grid_command):
        monkeypatch.setattr(module, "require_slurm", lambda: submitit)
    monkeypatch.setattr(slurm_launch, "EVERY", 0.0)
    monkeypatch.setattr(slurm_queue, "ask", fake.ask)
    monkeypatch.setattr(slurm_launch.signal, "signal", lambda *_: None)
    monkeypatch.setattr(slurm_launch, "prepare_devices", lambda: None)
    monkeypatch.setattr(slurm_launch, "print_plain_warnings", lambda: None)
    monkeypatch.setattr(campaign, "simulate", fake.simulate)
    monkeypatch.setattr(data, "load", lambda name, data_dir: digits)
    return fake


def grid(folder, *more: str, seeds: str = "1 2") -> int:
    few = [*FEW_ARGUMENTS[: FEW_ARGUMENTS.index("--seeds") + 1], *seeds.split()]
    return command(["grid", *few, "--results", str(folder), "--launcher", "slurm", *more])


def stopped_grid(folder, monkeypatch, *more: str) -> None:
    """A command that is stopped as soon as it waits."""
    with monkeypatch.context() as patched:
        patched.setattr(slurm_launch.Stop, "within", lambda *_: True)
        assert grid(folder, *more) == 130


def test_a_job_for_each_program(slurm, tmp_path, capsys):
    assert grid(tmp_path, "--partition", "gpu", "--memory", "1.5", "--gpus", "2") == 0
    assert slurm.arrays == [[4, 4]]
    rules = [{run.cell.rule for run in runs} for _, runs in slurm.jobs.values()]
    assert rules == [{"median"}, {"trmean"}]
    assert len(slurm.computed) == len(records.read_runs(tmp_path)) == 8
    asked = {key: slurm.parameters[key] for key in ("partition", "mem", "gpus_per_node")}
    assert asked == {"partition": "gpu", "mem": "1536MB", "gpus_per_node": 2}
    assert slurm.parameters["additional_parameters"] == {"requeue": True}
    assert "8 runs to do in 2 Slurm jobs, 0 of them submitted" in capsys.readouterr().out
    assert grid(tmp_path) == 0  # and then there is nothing left
    assert len(slurm.arrays) == 1
    assert "nothing to run: 8 runs on disk" in capsys.readouterr().out


def test_a_failed_job_is_tried_again_for_what_it_left(slurm, tmp_path, capsys):
    slurm.fates = [(3, "FAILED")]
    assert grid(tmp_path) == 0
    assert slurm.arrays == [[4, 4], [1]]
    assert re.search(
        r"failed: job 1_0 \(FAILED\), 1 of its 4 runs are missing: it wrote no log "
        r"\[.*1_0_0_log.err\]; these go into another job, attempt 1 of 3\n",
        capsys.readouterr().err,
    )


def test_within_a_limit(slurm, tmp_path, capsys):
    # Each attempt of the first job ends without a run, once after one.
    fates = [(0, "FAILED"), (99, "COMPLETED"), (1, "TIMEOUT"), *[(0, "FAILED")] * 9]
    slurm.fates = fates
    assert grid(tmp_path, "--retries", "1") == 1
    assert slurm.arrays == [[4, 4], [4], [3], [3]]  # the third of what one that got on had left
    captured = capsys.readouterr()
    assert captured.err.count("given up after 2 attempts") == 1
    assert "(8 runs asked for, 3 failed)" in captured.out
    assert len(records.read_runs(tmp_path)) == 5


def test_what_somebody_cancelled_waits_for_the_next_command(slurm, tmp_path, capsys):
    slurm.fates = [(1, "CANCELLED")]
    assert grid(tmp_path) == 1
    assert "not tried again, as somebody cancelled it" in capsys.readouterr().err
    assert slurm.arrays == [[4, 4]]
    assert grid(tmp_path) == 0
    assert len(records.read_runs(tmp_path)) == len(slurm.computed) == 8


def test_a_command_finds_the_jobs_of_one_that_was_stopped(slurm, tmp_path, monkeypatch, capsys):
    stopped_grid(tmp_path, monkeypatch)
    assert "stopped: the jobs 1_0 1_1 go on; the same command" in capsys.readouterr().err
    slurm.queue["7"] = Queued("RUNNING", "simbyz-another-folder")
    assert grid(tmp_path, seeds="1 2 3") == 0
    assert slurm.arrays == [[4, 4], [2, 2]]  # the third seed's runs are new
    assert "in 4 Slurm jobs, 2 of them submitted earlier" in capsys.readouterr().out
    assert len(slurm.computed) == 12


def test_no_answer_is_not_an_empty_queue(slurm, tmp_path, monkeypatch, capsys):
    slurm.silent = 1
    assert grid(tmp_path) == 1
    assert "error: squeue: no answer" in capsys.readouterr().err
    assert not slurm.arrays
    stopped_grid(tmp_path, monkeypatch)
    ask = slurm.ask

    def once():
        monkeypatch.setattr(slurm_queue, "ask", ask)
        slurm.silent = 3
        return dict(slurm.queue)

    monkeypatch.setattr(slurm_queue, "ask", once)
    assert grid(tmp_path) == 0
    assert slurm.arrays == [[4, 4]] and slurm.silent == 0


def test_two_commands_at_once(slurm, tmp_path, monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(
        slurm_launch.Cluster, "earlier", lambda self: codes.append(grid(tmp_path)) or []
    )
    assert grid(tmp_path) == 0
    assert codes == [1]
    assert "error: another command waits for the jobs of" in capsys.readouterr().err


def test_a_refusal(slurm, tmp_path, capsys):
    def refuse(*_):
        print("a repetition", file=sys.stderr)
        raise RuntimeError("sbatch: error: invalid partition\nsbatch: error: more")

    slurm.map_array = refuse
    assert grid(tmp_path) == 1
    error = capsys.readouterr().err
    assert error == "error: Slurm took no job: sbatch: error: invalid partition\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--gpus 1", "--gpus is for a cluster: it needs --launcher slurm"),
        ("--launcher slurm --time 0", "time must be at least 1, got 0"),
        ("--launcher slurm --memory nan", "memory must be positive and finite, got nan"),
        ("--launcher slurm --retries -1", "retries must be at least 0, got -1"),
        ("--launcher slurm --jobs-at-once 0", "jobs_at_once must be at least 1, got 0"),
        ("--launcher slurm --partition a\tb", "--partition must be a name without blanks"),
        (
            "--launcher slurm --coordinator a:1 --num-processes 2 --process-id 0",
            "--coordinator goes with --launcher local, got --launcher slurm",
        ),
        ("--launcher slurm --sbatch qos", "--sbatch takes name=value, such as account=lab"),
        ("--launcher slurm --sbatch time=5", "--sbatch can't set time, which this command"),
    ],
)
def test_what_is_wrong_with_a_request(arguments, message, tmp_path, capsys):
    folder = tmp_path / "results"
    assert command(["grid", *FEW_ARGUMENTS, "--results", str(folder), *arguments.split(" ")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not folder.exists()


def test_without_submitit_or_slurm(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert grid(tmp_path / "results") == 2
    assert "needs submitit: python -m pip install 'simbyz[slurm]'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert grid(tmp_path / "results") == 2
    assert "needs Slurm's sbatch, srun, squeue, not found on" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_submitit_takes_all_of_a_request(tmp_path, monkeypatch):
    """The request stands in the script that sbatch reads."""
    monkeypatch.setenv("SUBMITIT_LOG_LEVEL", "NOCONFIG")  # it would take pytest's streams
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(slurm_request.shutil, "which", lambda name: "/bin/true")
    request = Slurm("slurm", "gpu", 90, 0.5, 2, 6, jobs_at_once=3, sbatch=("qos=high",))
    executor = submitit.SlurmExecutor(tmp_path)
    executor.update_parameters(**parameters(request), job_name="simbyz-1")
    executor.parameters["map_count"] = 9
    text = executor._make_submission_file_text("true", "")
    options = "array=0-8%3 cpus-per-task=6 gpus-per-node=2 job-name=simbyz-1 mem=512MB \
        partition=gpu qos=high requeue time=90"
    for option in options.split():
        assert f"#SBATCH --{option}\n" in text


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'slurm_load_jobs error: Unable to contact' >&2; exit 1", "Unable to contact"),
        ("exec sleep 5", "timed out"),
    ],
)
def test_squeue_that_fails(script, message, tmp_path, monkeypatch):
    (tmp_path / "squeue").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(OSError, match=message):
        slurm_queue.ask(timeout=0.5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("failed: a: E: b\nsrun: error: 1\n", "failed: a: E: b"),
        ("Traceback\nmod.ImportError: x\nsrun: error: y\n", "mod.ImportError: x"),
        (" 12.0 %\nsrun: error: vm: task 0: Killed\n\n", "srun: error: vm: task 0: Killed"),
        ("\n", "its log is empty"),
    ],
)
def test_the_telling_line_of_a_log(text, expected, tmp_path):
    path = tmp_path / "1_0_log.err"
    path.write_text(text)
    assert slurm_launch.last_error(path) == expected
