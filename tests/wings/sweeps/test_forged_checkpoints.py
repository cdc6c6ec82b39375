"""Checkpoints that are not what a sweep wrote, and folders that two processes share."""

import hashlib
import io
import json
import shutil

import jax
import numpy as np
import pytest

from simbyz.records.whole_files import write_whole
from simbyz.simulator.metrics import Metrics
from simbyz.sweeps.checkpoints import (
    CHECKSUM_SIZE,
    Checkpoint,
    Checkpoints,
    Header,
    discard,
    find,
    headers,
    load,
    save,
)
from simbyz.sweeps.resume import restored

PROGRAM = {"code_digest": "abc", "steps": 100}
HEADER = Header(("a", "b"), 50, 100, 1.5, PROGRAM)
ARRAYS = [np.arange(6, dtype=np.float32).reshape(2, 3)]
MISSING = object()


def forge(path, change=lambda line: line, arrays=None):
    """Writes a checkpoint anew with another first line or other arrays, and the right checksum."""
    line, _, before = path.read_bytes()[:-CHECKSUM_SIZE].partition(b"\n")
    content = change(line) + b"\n" + (before if arrays is None else arrays)
    path.write_bytes(content + hashlib.sha256(content).digest())


def with_value(key, value):
    def change(line):
        values = json.loads(line) | {key: value}
        if value is MISSING:
            del values[key]
        return json.dumps(values).encode()

    return change


VALUES = {
    "format": [None, 1, "simbyz checkpoint 0", MISSING],
    "runs": [None, 3, "ab", [], [1], [None, "b"], {"a": 1}, MISSING],
    "step": [None, -1, 2.5, "50", True, 101, 10**30, [50], MISSING],
    "steps": [None, "100", 49, 101, 10**30, {}, MISSING],
    "seconds": [None, "1", -1, float("nan"), float("inf"), MISSING],
    "program": [None, [], "abc", 3, {"code_digest": None}, {"code_digest": ["abc"]}, MISSING],
    "arrays": [None, -1, 1.0, "1", True, MISSING],
    "numbers": [None, 3, ["x"], {"a": 1}],
    "more": [1],
}


@pytest.mark.parametrize("key", VALUES)
def test_a_forged_first_line_is_named_and_passed_over(tmp_path, key):
    for value in VALUES[key]:
        path = save(tmp_path, Checkpoint(HEADER, ARRAYS))
        forge(path, with_value(key, value))
        named = f"skipped {path}: its first line is no checkpoint's: it is damaged"
        with pytest.warns(RuntimeWarning) as told:
            assert find(Checkpoints(tmp_path, 0, PROGRAM, lambda run: False), ["a"]) == (None, None)
        assert [str(one.message) for one in told] == [named], value
        discard(tmp_path, lambda run: True)


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b'"text"', b"\xff\xfe", b"[" * 100_000])
def test_a_first_line_of_another_kind(tmp_path, line):
    path = save(tmp_path, Checkpoint(HEADER, ARRAYS))
    forge(path, lambda _: line)
    with pytest.warns(RuntimeWarning, match="first line is no checkpoint's"):
        assert list(headers(tmp_path)) == []


@pytest.mark.parametrize("count", [0, 2, 2**31 - 1])
def test_another_number_of_arrays(tmp_path, count):
    path = save(tmp_path, Checkpoint(HEADER, ARRAYS))
    forge(path, with_value("arrays", count))
    with pytest.raises(ValueError, match="its arrays are .*: it is damaged"):
        load(path)


def test_an_array_larger_than_any_memory(tmp_path):
    path = save(tmp_path, Checkpoint(HEADER, ARRAYS))
    file = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (2, 10**14)}
    np.lib.format.write_array_header_1_0(file, header)
    forge(path, arrays=file.getvalue())
    with pytest.raises(ValueError, match="its arrays are none: it is damaged"):
        load(path)


STATES = {"x": np.zeros((2, 1, 3), np.float32)}  # of two devices, one run each
TEMPLATE = Metrics(**dict.fromkeys(Metrics._fields))._replace(
    loss=jax.ShapeDtypeStruct((2, 1), np.float32)
)
LOSSES = np.ones((2, 50), np.float32)


def test_runs_come_back_in_the_order_that_they_are_asked_for_in():
    right = Checkpoint(HEADER, [*ARRAYS, LOSSES])
    states, metrics = restored(right, ["b", "a"], STATES, TEMPLATE)
    np.testing.assert_array_equal(states["x"][:, 0], ARRAYS[0][::-1])
    np.testing.assert_array_equal(metrics.loss[:, 0], LOSSES)


@pytest.mark.parametrize("what", ["folder", "file"])
def test_another_process_cleans_up_in_the_middle(tmp_path, what):
    """It removes the folder, or the file that is being written, as often as it likes."""
    path, calls = tmp_path / "checkpoints" / "file", []

    def write(file):
        calls.append(file.write(b"whole"))
        if len(calls) < 5:
            (left,) = path.parent.iterdir()
            left.unlink()
            if what == "folder":
                path.parent.rmdir()

    write_whole(path, write)
    assert path.read_bytes() == b"whole" and len(calls) == 5
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_goes_while_it_is_listed(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    save(folder, Checkpoint(HEADER, ARRAYS))
    real = type(folder).glob

    def vanishing(self, pattern):
        shutil.rmtree(folder, ignore_errors=True)
        yield from real(self, pattern)
        raise FileNotFoundError(folder)

    monkeypatch.setattr(type(folder), "glob", vanishing)
    assert list(headers(folder)) == []
    discard(folder, lambda run: True)
