"""Runs on disk: they come back as they went in, and half of one is never a run."""

import errno
import functools
import math
import os
import shutil
import time

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simbyz.records import parquet as records

NAME = "digits-little-krum-f_3"
CONFIGURATION = {"seed": 1, "rule": "krum", "f": 3, "learning_rate": 0.5, "radius": math.inf}
COLUMNS = {
    "step": np.arange(4),
    "loss": np.array([3.0, 2.0, np.nan, np.inf], np.float32),
    "accuracy": np.array([np.nan, 0.25, np.nan, 0.5]),
}
SUMMARY = {"highest_accuracy": 0.5, "final_loss": math.nan, "device_kind": "none"}


def write(folder, name=NAME, columns=COLUMNS, summary=SUMMARY, **changes):
    return records.write_run(folder, name, CONFIGURATION | changes, columns, summary)


def write_nothing_more(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_run_comes_back_as_it_went_in(tmp_path):
    path = write(tmp_path / "results")
    assert path == records.run_path(tmp_path / "results", NAME, CONFIGURATION)
    assert path.name.startswith(f"{NAME}-seed_1-") and path.suffix == ".parquet"
    runs = records.read_runs(tmp_path / "results")
    assert len(runs) == 1
    row = runs.iloc[0].to_dict()
    assert math.isnan(row.pop("final_loss"))
    assert row.pop("file") == path.name
    assert len(row.pop("digest")) == len(row.pop("settings")) == 10
    assert row == {"name": NAME, **CONFIGURATION, "highest_accuracy": 0.5, "device_kind": "none"}
    steps = records.read_steps(tmp_path / "results")
    assert list(steps) == ["name", "seed", "digest", "step", "loss", "accuracy"]
    for key, column in COLUMNS.items():
        assert steps[key].dtype == column.dtype
        np.testing.assert_array_equal(steps[key], column)
    assert set(steps["name"]) == {NAME} and set(steps["seed"]) == {1}


def test_the_names_in_a_file_s_schema_are_those_of_kept_runs(tmp_path):
    metadata = pq.read_schema(write(tmp_path)).metadata
    assert {b"simbyz.name", b"simbyz.configuration", b"simbyz.summary"} <= metadata.keys()


def test_runs_and_steps_join(tmp_path):
    for seed in (3, 1, 2):
        write(tmp_path, seed=seed, columns={"step": np.arange(seed)})
    write(tmp_path, name="another", attack="nan", columns={"step": np.arange(2)})
    runs, steps = records.read_runs(tmp_path), records.read_steps(tmp_path)
    joined = steps.merge(runs, on=["name", "seed", "digest"])
    assert len(joined) == len(steps) == 8
    sizes = joined.groupby(["name", "seed"], observed=True).size().to_dict()
    assert sizes == {("another", 1): 2, (NAME, 1): 1, (NAME, 2): 2, (NAME, 3): 3}
    assert runs["attack"].isna().sum() == 3


def test_some_runs_in_the_order_of_their_files(tmp_path):
    files = [write(tmp_path, seed=seed).name for seed in (1, 2, 3)]
    found = records.read_runs(tmp_path, files=[files[2], files[0]])
    assert found["seed"].tolist() == [3, 1] and found["file"].tolist() == [files[2], files[0]]
    assert records.read_runs(tmp_path, files=[]).empty


def test_a_second_file_of_a_run_does_not_count(tmp_path):
    """A copy, as of a file manager, made each seed count twice in means and deviations."""
    kept, moved = (write(tmp_path, seed=seed) for seed in (1, 2))
    for name in ("a copy.parquet", "another.parquet"):
        shutil.copy(kept, tmp_path / name)
    moved = moved.rename(tmp_path / "moved.parquet")  # the only one of its run
    for read in (records.read_runs, records.read_steps):
        with pytest.warns(RuntimeWarning, match=f"{kept.name} is of the same run") as told:
            found = read(tmp_path)
        assert len(told) == 2
        assert sorted(found["seed"].unique()) == [1, 2]
        assert len(found) == (2 if read is records.read_runs else 8)
    assert set(records.read_runs(tmp_path, files=[moved.name])["file"]) == {moved.name}
    assert len(records.read_runs(tmp_path, files=["a copy.parquet", kept.name])) == 2


def test_steps_of_some_runs_and_columns_only(tmp_path):
    paths = [write(tmp_path, seed=seed) for seed in range(3)]
    write(tmp_path, name="without", columns={"step": np.arange(2)})
    steps = records.read_steps(tmp_path, files=[paths[2].name], columns=["accuracy"])
    assert list(steps) == ["name", "seed", "digest", "accuracy"] and set(steps["seed"]) == {2}
    steps = records.read_steps(tmp_path, columns=["accuracy"])
    assert steps["accuracy"].isna().sum() == 3 * 2 + 2


def test_a_column_that_no_run_has_and_one_name_for_a_list(tmp_path):
    path = write(tmp_path)
    steps = records.read_steps(tmp_path, columns=["loss", "other", "seed"])
    assert steps.columns.tolist() == ["name", "seed", "digest", "loss"]
    assert steps["seed"].eq(1).all() and len(steps) == 4
    for read in (records.read_runs, records.read_steps):
        with pytest.raises(TypeError, match="files must be a list of names, got 'digits"):
            read(tmp_path, files=path.name)
    with pytest.raises(TypeError, match="columns must be a list of names, got 'loss'"):
        records.read_steps(tmp_path, columns="loss")


def test_a_column_of_several_types_is_of_their_common_one(tmp_path):
    def steps(folder, *columns, name="c"):
        for seed, column in enumerate(columns):
            write(tmp_path / folder, seed=seed, columns={"step": np.arange(2), **column})
        return records.read_steps(tmp_path / folder)[name]

    flags = {"c": np.array([True, False])}
    found = steps("floats", flags, {"c": np.array([0.5, np.nan], np.float32)})
    np.testing.assert_array_equal(found, [1, 0, 0.5, np.nan])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(steps("half", flags, {"c": np.float16([2, 3])}), [1, 0, 2, 3])
    np.testing.assert_array_equal(steps("ints", flags, {"c": np.array([2, 3])}), [1, 0, 2, 3])
    found = steps("lacking", flags, {})
    np.testing.assert_array_equal(found, [1, 0, np.nan, np.nan])
    assert found.dtype == np.float64
    assert steps("flags", flags, flags).dtype == bool
    # 2^53 + 1 is no float64.
    found = steps("large", {"c": np.array([2**53 + 1, 0])}, {"c": np.array([1.5, 2.0])})
    np.testing.assert_array_equal(found, [2.0**53, 0, 1.5, 2])


@pytest.mark.skipif(os.name != "posix", reason="permissions of files")
def test_a_file_that_one_may_not_read_is_named_and_stays(tmp_path, monkeypatch):
    path = write(tmp_path)
    before = path.read_bytes()
    # As of another user's; root may read all.
    monkeypatch.setattr(os, "access", lambda file, mode: file != path)
    with pytest.raises(PermissionError, match=f"run {path} can't be read: Permission denied"):
        records.is_finished(tmp_path, NAME, CONFIGURATION)
    with pytest.raises(PermissionError, match=f"run {path} can't be read: Permission denied"):
        write(tmp_path)
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [before]


def test_arrays_and_scalars_of_jax_are_taken(tmp_path):
    write(
        tmp_path,
        columns={"loss": jnp.ones(2)},
        summary={"highest": jnp.float32(0.5), "many": np.arange(2)},
    )
    row = records.read_runs(tmp_path).iloc[0]
    assert row["highest"] == 0.5 and row["many"] == [0, 1]


def test_an_empty_folder_gives_empty_tables(tmp_path):
    assert list(records.read_runs(tmp_path)) == list(records.RUN_COLUMNS)
    assert records.read_steps(tmp_path, columns=["loss"]).empty
    with pytest.raises(FileNotFoundError, match="there is no results folder .*missing"):
        records.read_runs(tmp_path / "missing")


def test_the_file_name_follows_from_the_configuration_alone(tmp_path):
    shuffled = dict(reversed(CONFIGURATION.items()))
    path = records.run_path(tmp_path, NAME, CONFIGURATION)
    assert records.run_path(tmp_path, NAME, shuffled) == path
    assert records.run_path(tmp_path, NAME, shuffled | {"radius": -math.inf}) != path
    assert records.run_path(tmp_path, NAME, shuffled | {"seed": 2}) != path


def test_a_run_is_finished_once_it_is_whole(tmp_path):
    assert not records.is_finished(tmp_path / "missing", NAME, CONFIGURATION)
    path = write(tmp_path)
    assert records.is_finished(tmp_path, NAME, CONFIGURATION)
    assert not records.is_finished(tmp_path, NAME, CONFIGURATION | {"seed": 2})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.warns(RuntimeWarning, match=f"skipped {path}: .* it is damaged"):
        assert not records.is_finished(tmp_path, NAME, CONFIGURATION)
    with pytest.warns(RuntimeWarning, match=f"set aside: {path}"):
        write(tmp_path)
    assert records.is_finished(tmp_path, NAME, CONFIGURATION)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"summary": {"rule": "median"}}, "two values for rule"),
        ({"summary": {"file": "x"}}, "two values for file"),
        ({"digest": "x"}, "two values for digest"),
        ({"columns": {"seed": np.arange(2)}}, "two values for seed"),
        ({"seed": None}, "seed of .* must be a whole number, got None"),
        ({"seed": 1.5}, "seed of .* must be a whole number, got 1.5"),
        ({"seed": True}, "seed of .* must be a whole number, got True"),
        ({"seed": [1, 2]}, r"seed of .* must be a whole number, got \[1, 2\]"),
        ({"attack": "NaN"}, "the text 'NaN' would be read as a float"),
        ({"columns": {"simbyz.run": np.arange(2)}}, "two values for simbyz.run"),
        ({"columns": {}}, "equally long"),
        ({"columns": {"a": np.arange(2), "b": np.arange(3)}}, "equally long.*'b': 3"),
        ({"columns": {"a": np.ones((2, 2))}}, r"'a' must be a 1-D array.*\(2, 2\)"),
        ({"columns": {"a": np.array(["x"])}}, "'a' must be a 1-D array of numbers"),
        ({"options": {"nested": 1}}, "must be flat.*options"),
        ({"name": "a/b"}, "can't name a file"),
        ({"name": ""}, "can't name a file"),
        ({"name": "a" * 250}, "can't name a file"),
    ],
)
def test_mistakes_are_refused_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_what_a_file_can_t_hold_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"values must be numbers, texts.* got \{1\}"):
        write(tmp_path, summary={"found": {1}})
    with pytest.raises(TypeError, match="a column's name must be text, got 3"):
        write(tmp_path, columns={3: np.arange(2)})
    for name in ("columns", "summary"):
        with pytest.raises(TypeError, match=f"{name} must be values by name, such as a dict, got"):
            write(tmp_path, **{name: [1]})
    for call in (records.settings_digest, functools.partial(records.run_path, tmp_path, NAME)):
        with pytest.raises(TypeError, match="configuration must be values by name, .* got None"):
            call(None)
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_needs_a_seed(tmp_path):
    with pytest.raises(ValueError, match="no seed"):
        records.run_path(tmp_path, NAME, {"rule": "krum"})


@pytest.mark.parametrize("place", ["fsync", "replace"])
def test_a_full_disk_leaves_the_earlier_run_alone(tmp_path, monkeypatch, place):
    before = write(tmp_path).read_bytes()
    monkeypatch.setattr(os, place, write_nothing_more)
    with pytest.raises(OSError, match=f"{NAME}.*No space left on device"):
        write(tmp_path, summary={"highest_accuracy": 1.0})
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_a_writer_that_dies_in_the_middle_leaves_nothing(tmp_path, monkeypatch):
    def die(table, file, **options):
        file.write(b"PAR1 and not much more")
        raise KeyboardInterrupt

    monkeypatch.setattr(pq, "write_table", die)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not records.is_finished(tmp_path, NAME, CONFIGURATION)


def test_damaged_and_foreign_files_are_skipped_with_a_warning(tmp_path):
    good = write(tmp_path)
    (tmp_path / "cut.parquet").write_bytes(good.read_bytes()[:-20])
    (tmp_path / "empty.parquet").touch()
    pq.write_table(pa.table({"x": [1]}), tmp_path / "foreign.parquet")
    for read in (records.read_runs, records.read_steps):
        with pytest.warns(RuntimeWarning) as warned:
            table = read(tmp_path)
        messages = " ".join(str(warning.message) for warning in warned)
        assert len(warned) == 3
        assert all(name in messages for name in ("cut.parquet", "empty.parquet", "foreign.parquet"))
        assert set(table["name"]) == {NAME}


def test_a_flipped_bit_in_the_data_is_found(tmp_path):
    column = np.random.default_rng(0).normal(size=1000)
    path = write(tmp_path, columns={"loss": column})
    content = bytearray(path.read_bytes())
    content[4000] ^= 1
    path.write_bytes(content)
    with pytest.warns(RuntimeWarning, match=path.name):
        assert records.read_steps(tmp_path).empty


def test_only_old_temporaries_of_ours_are_cleaned(tmp_path):
    path = write(tmp_path)
    left = path.with_name(f".{path.name}.123-0a1b2c3d.tmp")
    young = path.with_name(f".{path.name}.124-0a1b2c3d.tmp")
    foreign = tmp_path / ".notes.tmp"
    for file in (left, young, foreign):
        file.write_bytes(b"half")
    for file in (left, foreign):
        os.utime(file, (time.time() - 3600,) * 2)
    assert len(records.read_runs(tmp_path)) == 1
    assert records.clean(tmp_path) == [left]
    assert not left.exists() and young.exists() and foreign.exists()
    for seconds in (-1, float("nan"), "60"):
        with pytest.raises(ValueError, match="older_than must be a number of seconds from 0 on"):
            records.clean(tmp_path, older_than=seconds)
    assert records.clean(tmp_path, older_than=0.0) == [young]
    assert records.is_whole(str(path)) and not records.is_whole(str(young))


def test_a_folder_of_results_is_tried_before_it_is_needed(tmp_path, monkeypatch):
    folder = records.prepare_folder(tmp_path / "new" / "results")
    assert folder.is_dir() and list(folder.iterdir()) == []
    (tmp_path / "file").touch()
    for bad in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=f"results folder {bad} can't be written: .*--results"):
            records.prepare_folder(bad)
    with pytest.raises(OSError, match="figures folder .* give another with --figures"):
        records.prepare_folder(tmp_path / "file", "figures")
    with pytest.raises(OSError, match="can't be written"):
        write(tmp_path / "file" / "below")
    monkeypatch.setattr(records.Path, "write_bytes", write_nothing_more)
    with pytest.raises(OSError, match="No space left on device; give another"):
        records.prepare_folder(folder)
    assert list(folder.iterdir()) == []
