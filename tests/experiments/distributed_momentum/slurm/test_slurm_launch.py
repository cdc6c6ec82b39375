"""The launcher of a grid on a cluster, with Slurm and the simulator made up."""

import dataclasses
import re
import sys
from types import SimpleNamespace

import pytest

from experiments.distributed_momentum.__main__ import command
from experiments.distributed_momentum.commands import grid as grid_command
from experiments.distributed_momentum.commands.grid import select
from experiments.distributed_momentum.running import campaign
from experiments.distributed_momentum.slurm import launch as slurm_launch
from experiments.distributed_momentum.slurm import ledger
from experiments.distributed_momentum.slurm import queue as slurm_queue
from experiments.distributed_momentum.slurm import request as slurm_request
from experiments.distributed_momentum.slurm.job import Work
from experiments.distributed_momentum.slurm.ledger import Job
from experiments.distributed_momentum.slurm.log import last_error
from experiments.distributed_momentum.slurm.queue import Key, NoAnswer, Queued
from experiments.distributed_momentum.slurm.request import SlurmRequest
from simbyz import data, records
from tests.support import fake_runs
from tests.support.fake_runs import FEW, FEW_ARGUMENTS


class FakeSlurm:
    """Takes arrays, and at each question runs one more of its jobs as `fates` say: a fate is how
    many runs the job finishes and the state that it ends in.
    """

    def __init__(self):
        self.fates: list[tuple[int, str]] = []
        self.queue: dict[Key, Queued] = {}
        self.waiting: list[tuple[Key, Work]] = []
        self.arrays: list[list[Work]] = []
        self.computed: list[str] = []
        self.parameters: dict = {}
        self.silent = 0  # questions without an answer

    def update_parameters(self, **parameters):
        self.parameters |= parameters

    def submit_array(self, works):
        self.arrays.append(works)
        number = len(self.arrays)
        for index, work in enumerate(works):
            key = Key(self.parameters["job_name"], index)
            assert key == work.key
            self.queue[key] = Queued(f"{number}_{index}", "PENDING")
            self.waiting.append((key, work))
        return [SimpleNamespace(job_id=f"{number}_{index}") for index in range(len(works))]

    def ask(self):
        if self.silent:
            self.silent -= 1
            raise NoAnswer("squeue: no answer")
        answer = dict(self.queue)
        if self.waiting:
            key, work = self.waiting.pop(0)
            self.limit, state = self.fates.pop(0) if self.fates else (99, "COMPLETED")
            try:
                work()
            except (SystemExit, RuntimeError):
                pass
            self.queue[key] = self.queue[key]._replace(state=state)
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
    fake = FakeSlurm()
    digits = data.load("digits")
    submitit = SimpleNamespace(SlurmExecutor=lambda folder: fake)
    monkeypatch.setattr(slurm_launch, "require_slurm", lambda: submitit)
    monkeypatch.setattr(slurm_launch, "EVERY", 0.0)
    monkeypatch.setattr(slurm_queue, "ask", fake.ask)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("experiments.distributed_momentum.slurm.job.prepare_devices", lambda: None)
    monkeypatch.setattr(campaign, "simulate", fake.simulate)
    monkeypatch.setattr(grid_command.data, "load", lambda name, data_dir: digits)
    return fake


def grid(folder, *more: str) -> int:
    return command(["grid", *FEW_ARGUMENTS, "--results", str(folder), "--launcher", "slurm", *more])


class TestLaunching:
    def test_a_job_for_each_program(self, slurm, tmp_path, capsys):
        assert grid(tmp_path, "--partition", "gpu", "--memory", "1.5", "--gpus", "2") == 0
        assert [[len(work.runs) for work in array] for array in slurm.arrays] == [[4, 4]]
        rules = [{run.cell.rule for run in work.runs} for work in slurm.arrays[0]]
        assert rules == [{"median"}, {"trmean"}]
        assert len(slurm.computed) == len(records.read_runs(tmp_path)) == 8
        asked = {key: slurm.parameters[key] for key in ("partition", "mem", "gpus_per_node")}
        assert asked == {"partition": "gpu", "mem": "1536MB", "gpus_per_node": 2}
        assert slurm.parameters["additional_parameters"] == {"requeue": True}
        assert "8 runs to do in 2 Slurm jobs, 0 of them submitted" in capsys.readouterr().out
        assert [job.state for job in ledger.read(tmp_path)] == ["COMPLETED"] * 2
        assert grid(tmp_path) == 0  # and then there is nothing left
        assert len(slurm.arrays) == 1
        assert "nothing to run: 8 runs on disk" in capsys.readouterr().out

    def test_a_failed_job_is_tried_again_for_what_it_left(self, slurm, tmp_path, capsys):
        slurm.fates = [(3, "FAILED")]
        assert grid(tmp_path) == 0
        assert [[len(work.runs) for work in array] for array in slurm.arrays] == [[4, 4], [1]]
        error = capsys.readouterr().err
        assert re.search(
            r"failed: job 1_0 \(FAILED\), 1 of its 4 runs are missing: it wrote no log "
            r"\[.*1_0_0_log.err\]; these go into another job, attempt 1 of 3\n",
            error,
        )
        assert len(slurm.computed) == 8

    def test_within_a_limit(self, slurm, tmp_path, capsys):
        # Each attempt of the first job ends without a run, once after one.
        slurm.fates = [(0, "FAILED"), (99, "COMPLETED"), (1, "TIMEOUT"), *[(0, "FAILED")] * 9]
        assert grid(tmp_path, "--retries", "1") == 1
        attempts = [[job.attempt, job.state] for job in ledger.read(tmp_path)]
        assert attempts == [
            [1, "FAILED"],
            [1, "COMPLETED"],
            [2, "TIMEOUT"],
            [1, "FAILED"],  # of what the one before, which got on, had left
            [2, "FAILED"],
        ]
        captured = capsys.readouterr()
        assert captured.err.count("given up after 2 attempts") == 1
        assert "(8 runs asked for, 3 failed)" in captured.out
        assert len(records.read_runs(tmp_path)) == 5

    def test_what_somebody_cancelled_waits_for_the_next_command(self, slurm, tmp_path, capsys):
        slurm.fates = [(1, "CANCELLED")]
        assert grid(tmp_path) == 1
        assert "not tried again, as somebody cancelled it" in capsys.readouterr().err
        assert len(slurm.arrays) == 1
        assert grid(tmp_path) == 0
        assert len(records.read_runs(tmp_path)) == len(slurm.computed) == 8

    def test_what_failed_while_no_command_waited(self, slurm, tmp_path, monkeypatch, capsys):
        def interrupt(_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(slurm_launch.time, "sleep", interrupt)
            assert grid(tmp_path) == 130
        assert "stopped waiting: the jobs 1_0 1_1 go on" in capsys.readouterr().err
        slurm.fates = [(2, "FAILED")]
        slurm.ask()
        assert grid(tmp_path) == 0
        assert "note: job 1_0 (FAILED), 2 of its 4 runs are missing" in capsys.readouterr().err
        assert [[len(work.runs) for work in array] for array in slurm.arrays] == [[4, 4], [2]]
        assert len(slurm.computed) == 8

    def test_a_second_command_waits_for_the_jobs_of_the_first(self, slurm, tmp_path, monkeypatch):
        def interrupt(_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(slurm_launch.time, "sleep", interrupt)
            assert grid(tmp_path) == 130
        assert [job.state for job in ledger.read(tmp_path)] == [None, None]
        assert grid(tmp_path, "--seeds", "1", "2", "3") == 0
        # The third seed's runs are new: a job for each program.
        assert [[len(work.runs) for work in array] for array in slurm.arrays] == [[4, 4], [2, 2]]
        assert len(slurm.computed) == 12

    def test_a_command_killed_between_writing_and_knowing_the_number(self, slurm, tmp_path):
        """sbatch took the jobs, and nobody wrote their numbers down: their names find them."""
        submit = slurm.submit_array

        def killed(works):
            submit(works)
            raise MemoryError

        slurm.submit_array = killed
        assert grid(tmp_path) == 2
        slurm.submit_array = submit
        assert [job.number for job in ledger.read(tmp_path)] == [None, None]
        assert grid(tmp_path) == 0
        assert len(slurm.arrays) == 1
        assert [job.number for job in ledger.read(tmp_path)] == ["1_0", "1_1"]

    def test_slurm_does_not_answer_for_a_while(self, slurm, tmp_path, capsys, monkeypatch):
        ask = slurm.ask

        def first_then_silence():
            monkeypatch.setattr(slurm_queue, "ask", ask)
            slurm.silent = 3
            return dict(slurm.queue)

        monkeypatch.setattr(slurm_queue, "ask", first_then_silence)
        assert grid(tmp_path) == 0
        assert capsys.readouterr().err.count("note: squeue: no answer; asking until") == 1
        assert len(slurm.arrays) == 1

    def test_two_commands_at_once(self, slurm, tmp_path, capsys):
        with ledger.held(tmp_path):
            assert grid(tmp_path) == 1
        assert "another command submits jobs" in capsys.readouterr().err
        assert not slurm.arrays

    def test_a_refusal(self, slurm, tmp_path, capsys):
        def refuse(_):
            print("a repetition", file=sys.stderr)
            raise RuntimeError("sbatch: error: invalid partition\nsbatch: error: more")

        slurm.submit_array = refuse
        assert grid(tmp_path) == 2
        error = capsys.readouterr().err
        assert error == "error: Slurm took no job: sbatch: error: invalid partition\n"


class TestWork:
    def test_a_job_leaves_alone_what_a_later_one_was_given(self, tmp_path):
        runs = tuple(select(FEW)[:3])
        ledger.folder_of(tmp_path).mkdir()
        jobs = [
            Job("a", 0, [run.file for run in runs[:2]], 1),
            Job("b", 0, [runs[0].file], 2),
        ]
        ledger.write(tmp_path, jobs)
        old = Work(Key("a", 0), runs, tmp_path, lambda plan: 0)
        assert old.own_runs() == [runs[1], runs[2]]
        assert dataclasses.replace(old, key=Key("b", 0)).own_runs() == [runs[0], runs[2]]


class TestRequest:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("--gpus 1", "--gpus is for a cluster: it needs --launcher slurm"),
            ("--launcher slurm --time 0", "--time must be at least 1, got 0"),
            ("--launcher slurm --memory -1", "--memory must be a positive number of GB, got -1"),
            ("--launcher slurm --memory nan", "--memory must be a positive number of GB, got nan"),
            ("--launcher slurm --retries -1", "--retries must be at least 0, got -1"),
            ("--launcher slurm --jobs-at-once 0", "--jobs-at-once must be at least 1, got 0"),
            ("--launcher slurm --partition a\tb", "--partition must be a name without blanks"),
            (
                "--launcher slurm --coordinator a:1 --num-processes 2 --process-id 0",
                "--coordinator goes with --launcher local, got --launcher slurm",
            ),
            ("--launcher slurm --sbatch qos", "--sbatch takes name=value, such as account=lab"),
            ("--launcher slurm --sbatch time=5", "--sbatch can't set time, which this command"),
        ],
    )
    def test_what_is_wrong_with_it(self, arguments, message, tmp_path, capsys):
        folder = tmp_path / "results"
        chosen = ["grid", *FEW_ARGUMENTS, "--results", str(folder), *arguments.split(" ")]
        assert command(chosen) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
        assert not folder.exists()

    def test_no_submitit(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "submitit", None)
        assert grid(tmp_path / "results") == 2
        assert "needs submitit: python -m pip install 'simbyz[slurm]'" in capsys.readouterr().err

    def test_no_slurm(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace())
        monkeypatch.setenv("PATH", str(tmp_path))
        assert grid(tmp_path / "results") == 2
        error = capsys.readouterr().err
        assert "needs Slurm's sbatch, srun, squeue, not found on the PATH" in error
        assert not (tmp_path / "results").exists()

    def test_submitit_takes_all_of_it(self, tmp_path, monkeypatch):
        """What is asked for stands in the script that sbatch reads."""
        monkeypatch.setenv("SUBMITIT_LOG_LEVEL", "NOCONFIG")  # it would take pytest's streams
        submitit = pytest.importorskip("submitit")
        monkeypatch.setattr(slurm_request.shutil, "which", lambda name: "/bin/true")
        request = SlurmRequest("slurm", "gpu", 90, 0.5, 2, 6, jobs_at_once=3, sbatch=("qos=high",))
        request.check()
        executor = submitit.SlurmExecutor(tmp_path)
        executor.update_parameters(**request.parameters(), job_name="simbyz-1")
        executor.parameters["map_count"] = 9
        text = executor._make_submission_file_text("true", "")
        for option in (
            "array=0-8%3",
            "cpus-per-task=6",
            "gpus-per-node=2",
            "job-name=simbyz-1",
            "mem=512MB",
            "partition=gpu",
            "qos=high",
            "requeue",
            "time=90",
        ):
            assert f"#SBATCH --{option}\n" in text


class TestQueue:
    def test_what_squeue_says(self):
        text = "N/A|7|RUNNING|simbyz-a\n 0|9_0|PENDING|simbyz-b\n11|9_11|CANCELLED|odd|name\n"
        assert slurm_queue.read(text) == {
            Key("simbyz-a", 0): Queued("7", "RUNNING"),
            Key("simbyz-b", 0): Queued("9_0", "PENDING"),
            Key("odd|name", 11): Queued("9_11", "CANCELLED"),
        }

    @pytest.mark.parametrize(
        ("script", "message"),
        [
            ("echo 'slurm_load_jobs error: Unable to contact' >&2; exit 1", "Unable to contact"),
            ("exec sleep 5", "timed out"),
        ],
    )
    def test_no_answer_is_not_an_empty_queue(self, script, message, tmp_path, monkeypatch):
        (tmp_path / "squeue").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "squeue").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        with pytest.raises(NoAnswer, match=message):
            slurm_queue.ask(timeout=0.5)

    def test_which_states_end_a_job(self):
        assert slurm_queue.has_ended("TIMEOUT") and slurm_queue.has_ended(slurm_queue.FORGOTTEN)
        for state in ("PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED", "NEW_ONE"):
            assert not slurm_queue.has_ended(state)


class TestLedger:
    def test_reads_what_it_wrote(self, tmp_path):
        ledger.folder_of(tmp_path).mkdir()
        jobs = [Job("a", 0, ["x", "y"], 1, "12_0", "FAILED"), Job("b", 0, ["y"], 2)]
        ledger.write(tmp_path, jobs)
        assert ledger.read(tmp_path) == jobs
        assert ledger.owners(jobs) == {"x": jobs[0], "y": jobs[1]}
        assert ledger.read(tmp_path / "none") == []

    def test_a_damaged_one_is_the_users_to_move(self, slurm, tmp_path, capsys):
        ledger.folder_of(tmp_path).mkdir()
        (ledger.folder_of(tmp_path) / "jobs.json").write_text("[{]")
        assert grid(tmp_path) == 2
        assert "jobs.json can't be read" in capsys.readouterr().err
        assert not slurm.arrays


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("failed: a: E: b\nTraceback\nValueError: x\nsrun: error: 1\n", "failed: a: E: b"),
        (
            " 12.0 %, 5 s passed\nTraceback\nmod.ImportError: x\nsrun: error: y\n",
            "mod.ImportError: x",
        ),
        (
            " 12.0 %, 5 s passed\nsrun: error: vm: task 0: Killed\n",
            "srun: error: vm: task 0: Killed",
        ),
        (
            "slurmstepd: error: *** STEP 1 CANCELLED DUE TO TIME LIMIT ***\n\n",
            "slurmstepd: error: ***",
        ),
        ("\n", "its log is empty"),
        (None, "it wrote no log"),
    ],
)
def test_the_telling_line_of_a_log(text, expected, tmp_path):
    path = tmp_path / "1_0_log.err"
    if text is not None:
        path.write_text(text)
    assert last_error(path).startswith(expected)
