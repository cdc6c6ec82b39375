"""One grid over several processes: real ones, on this host."""

import dataclasses
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from experiments.distributed_momentum.commands.grid import Options, select
from experiments.distributed_momentum.grid.programs import programs
from experiments.distributed_momentum.running.processes import owners
from experiments.shared.options.hosts import Hosts, check_hosts
from simbyz import records
from tests.support.fake_runs import FEW, FEW_ARGUMENTS
from tests.support.paths import ROOT

MEDIAN = [word for word in FEW_ARGUMENTS if word != "trmean"]  # four runs of one program


def start(
    number: int, arguments: list[str], folder: Path, **environment: dict[int, str]
) -> list[subprocess.Popen]:
    """The processes of a grid; environment: of some of them, by variable and number."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = str(ROOT / "tests" / "support" / "grid_process.py")
    common = [sys.executable, script, *arguments, "--results", str(folder)]
    common += ["--coordinator", f"127.0.0.1:{port}"]
    return [
        subprocess.Popen(
            [*common, "--num-processes", str(number), "--process-id", str(process)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
            | {name: of[process] for name, of in environment.items() if process in of},
        )
        for process in range(number)
    ]


def ends(processes: list[subprocess.Popen], seconds: float = 120) -> list[tuple[int, str, str]]:
    """Exit codes and what was said; none outlives the test."""
    try:
        said = [process.communicate(timeout=seconds) for process in processes]
        return [
            (process.returncode, *texts) for process, texts in zip(processes, said, strict=True)
        ]
    finally:
        for process in processes:
            process.kill()


def written(said: list[tuple[int, str, str]]) -> list[list[str]]:
    """Names and seeds of the runs that each process wrote, without their digests."""
    return [re.findall(r"^wrote (.*)-[0-9a-f]+\.parquet$", out, re.MULTILINE) for _, out, _ in said]


def asked_for(options: Options) -> list[str]:
    return [f"{run.cell.name}-seed_{run.seed}" for run in select(options)]


def test_two_processes_share_a_grid(tmp_path: Path) -> None:
    said = ends(start(2, FEW_ARGUMENTS, tmp_path, SECONDS={0: "0.1", 1: "0"}))
    assert [code for code, *_ in said] == [0, 0], said
    by_process = written(said)
    assert [len(files) for files in by_process] == [4, 4]
    assert sorted(chain(*by_process)) == sorted(asked_for(FEW))
    assert len(records.read_runs(tmp_path)) == 8
    assert "process 1 of 2: 4 runs to do on 2 devices" in said[1][1]


@pytest.mark.slower
def test_a_killed_process_ends_the_others_and_nothing_is_lost(tmp_path: Path) -> None:
    """First the coordinator, then another one as the same command goes on."""
    many = [*FEW_ARGUMENTS, *map(str, range(3, 50))]  # 66 seconds for each of three processes
    slow = dict.fromkeys(range(3), "1")
    told: list[str] = []
    for victim in (0, 2):
        processes = start(3, many, tmp_path, SECONDS=slow, DIES_AFTER={victim: "2"})
        try:
            processes[victim].wait(300)
            died = time.monotonic()
        finally:
            said = ends(processes)
        assert time.monotonic() - died < 60
        for process, (code, _, errors) in enumerate(said):
            assert code == (-9 if process == victim else 1), errors
            last = f"error: process {process} of 3 ends: another one died"
            assert process == victim or errors.splitlines()[-1].startswith(last)
        by_process = written(said)
        assert len(by_process[victim]) == 2 and all(by_process)
        told += chain(*by_process)
    runs = records.read_runs(tmp_path)
    there = [f"{name}-seed_{seed}" for name, seed in zip(runs["name"], runs["seed"], strict=True)]
    # Each of the two that end may do so between writing a run and saying it.
    assert len(told) == len(set(told))
    assert set(told) <= set(there) and len(there) <= len(told) + 4

    # The same command again: what is on disk is not run twice, and all the rest is.
    few = [*FEW_ARGUMENTS, "3", "4"]
    said = ends(start(2, few, tmp_path, SECONDS=dict.fromkeys(range(2), "0")))
    assert [code for code, *_ in said] == [0] * 2
    times = Counter(chain(there, *written(said)))
    wanted = asked_for(dataclasses.replace(FEW, seeds=(1, 2, 3, 4)))
    assert set(times.values()) == {1} and times.keys() >= set(wanted)
    assert times.keys() == {*wanted, *there}


@pytest.mark.thorough
def test_the_same_bits_from_one_process_and_from_two_one_of_them_killed(tmp_path: Path) -> None:
    """Real runs: what was lost is run again, to the bits of one process that nobody killed."""
    seeds = [*MEDIAN, "3", "4"]  # eight runs
    assert ends(start(1, seeds, tmp_path / "one"))[0][0] == 0
    said = ends(start(2, seeds, tmp_path / "two", DIES_AFTER={1: "1"}), 400)
    assert [code for code, *_ in said] == [1, -9], said
    assert 1 <= len(records.read_runs(tmp_path / "two")) < 8
    said = ends(start(2, seeds, tmp_path / "two"), 400)
    assert [code for code, *_ in said] == [0, 0], said
    assert (records.read_runs(tmp_path / "two")["num_devices"] == 2).all()
    one, again = (records.read_steps(tmp_path / folder) for folder in ("one", "two"))
    assert len(one) == 8 * 4
    for column in ("seed", "step", "loss", "aggregate_norm", "accuracy"):
        np.testing.assert_array_equal(one[column], again[column], err_msg=column)


@pytest.mark.slower
def test_processes_that_were_asked_for_other_runs(tmp_path: Path) -> None:
    processes = start(2, MEDIAN, tmp_path)
    processes[1].kill()
    processes[1].communicate()
    arguments = [*processes[1].args]
    arguments[arguments.index("median")] = "trmean"
    processes[1] = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for code, _, errors in ends(processes):
        assert code == 2 and "processes [1] were asked for other runs than process 0" in errors
    assert not list(tmp_path.glob("*.parquet"))


@pytest.mark.parametrize("processes", [1, 3, 7])
def test_shares_of_equal_time(processes: int) -> None:
    runs = select(Options(dataset=("mnist", "cifar10"), seeds=(1, 2)))[::-1]

    def seconds(run) -> float:
        return 1 + 10 * (run.cell.rule == "krum") + 100 * (run.cell.dataset == "cifar10")

    owner = owners(runs, seconds, processes)
    times = np.bincount(owner, [seconds(run) for run in runs], minlength=processes)
    longest = max(map(seconds, runs))
    assert times.max() - times.min() <= 2 * longest
    owner_of = dict(zip(runs, owner, strict=True))
    compiled = [len({owner_of[run] for run in group}) for group in programs(runs)]
    assert sum(compiled) <= len(compiled) + processes - 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, 2, None), "go together, got no --coordinator, --num-processes 2, no --process-id"),
        (("here:1", None, 0), "go together, got --coordinator here:1, no --num-processes"),
        (("here", 2, 0), "must be HOST:PORT, such as 10.0.0.1:1234, got 'here'"),
        (("here:0", 2, 0), "must be HOST:PORT"),
        (("here:65536", 2, 0), "must be HOST:PORT"),
        (("::1:80", 2, 0), "must be HOST:PORT"),
        (("here:1", 0, 0), "--num-processes must be at least 1, got 0"),
        (("here:1", 2, 2), "--process-id must be from 0 to 1 with --num-processes 2, got 2"),
        (("here:1", 2, -1), "--process-id must be from 0 to 1"),
    ],
)
def test_wrong_processes(given, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check_hosts(Hosts(*given))


@pytest.mark.parametrize("given", [(None, None, None), ("h:1", 1, 0), ("[::1]:65535", 4, 3)])
def test_right_processes(given) -> None:
    check_hosts(Hosts(*given))
