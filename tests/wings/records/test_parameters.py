"""Trained parameters on disk: what goes in comes out, and damage never reads as numbers."""

import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import records

CONFIGURATION = {"seed": 3, "rule": "median"}
KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3) / 7
TREES = {
    "parameters": {"params": {"Dense_0": {"kernel": KERNEL, "bias": np.array([1.5, np.nan])}}},
    "model_state": {"batch_stats": {"mean": np.zeros((0, 2)), "steps": np.int32(4)}},
}


def test_what_goes_in_comes_out(tmp_path):
    path = records.write_parameters(tmp_path, "median", CONFIGURATION, TREES)
    run = records.run_path(tmp_path, "median", CONFIGURATION)
    assert path == records.parameters_path(tmp_path, "median", CONFIGURATION)
    assert (path.parent, path.stem) == (run.parent, run.stem)
    for file in (run.name, path.name):
        found = records.read_parameters(tmp_path, file)
        dense = found["parameters"]["params"]["Dense_0"]
        np.testing.assert_array_equal(dense["kernel"], KERNEL, strict=True)
        np.testing.assert_array_equal(dense["bias"], [1.5, np.nan])
        statistics = found["model_state"]["batch_stats"]
        assert statistics["mean"].shape == (0, 2)
        np.testing.assert_array_equal(statistics["steps"], np.int32(4), strict=True)
    # As the page has it: any program that reads NumPy's archives.
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["parameters/params/Dense_0/kernel"], KERNEL)
    assert zipfile.ZipFile(path).testzip() is None


def test_sequences_narrow_floats_and_no_state(tmp_path):
    trees = {"parameters": [jnp.bfloat16([1.5, 2.0]), (np.float64(1 / 3),)], "model_state": {}}
    path = records.write_parameters(tmp_path, "median", CONFIGURATION, trees)
    found = records.read_parameters(tmp_path, path.name)
    assert found.keys() == {"parameters"}
    np.testing.assert_array_equal(found["parameters"]["0"], np.float32([1.5, 2]), strict=True)
    assert found["parameters"]["1"]["0"] == 1 / 3


def test_any_name_is_kept(tmp_path):
    """Also those of NumPy's own arguments and of its files in an archive."""
    names = ["file", "allow_pickle", "kwds", "arr_0", "a", "a.npy", "a.npy.npy", "ä b\n"]
    trees = {name: np.float32([place]) for place, name in enumerate(names)}
    path = records.write_parameters(tmp_path, "median", CONFIGURATION, trees)
    found = records.read_parameters(tmp_path, path.name)
    assert list(found) == names
    for name, array in trees.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    assert zipfile.ZipFile(path).testzip() is None


def test_any_damaged_byte_is_told(tmp_path):
    where = tmp_path, "median", CONFIGURATION
    assert not records.has_parameters(*where)
    path = records.write_parameters(*where, TREES)
    assert records.has_parameters(*where)
    content = path.read_bytes()
    for place in range(0, len(content), 37):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ValueError, match="its SHA-256 is wrong"):
            records.read_parameters(tmp_path, path.name)
        assert not records.has_parameters(*where)
    for rest in (content[:-1], content[: len(content) // 2], b""):
        path.write_bytes(rest)
        with pytest.raises(ValueError, match="its SHA-256 is wrong"):
            records.read_parameters(tmp_path, path.name)


def test_what_a_killed_writer_left_goes(tmp_path):
    path = records.write_parameters(tmp_path, "median", CONFIGURATION, TREES)
    left = path.with_name(f".{path.name}.123-0a1b2c3d.tmp")
    left.write_bytes(b"a part")
    assert records.clean(tmp_path, older_than=0) == [left]
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_refused(tmp_path):
    for trees, told in (
        ({"a/b": KERNEL}, "text without '/', got 'a/b'"),
        ({"": KERNEL}, "text without '/', got ''"),
        ({1: KERNEL}, "text without '/', got 1"),
        ({"a": {"b": "word"}}, "a/b must be an array of numbers, got str"),
        ({"a": None}, "a must be an array of numbers, got NoneType"),
    ):
        with pytest.raises(ValueError, match=told):
            records.write_parameters(tmp_path, "median", CONFIGURATION, trees)
    with pytest.raises(TypeError, match="trees must be values by name, such as a dict, got array"):
        records.write_parameters(tmp_path, "median", CONFIGURATION, KERNEL)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError, match="--save-parameters"):
        records.read_parameters(tmp_path, "median-seed_3.parquet")
