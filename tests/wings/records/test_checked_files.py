"""Files that know their own digest: no flipped bit gives other numbers, and none goes unnamed."""

import hashlib
import json
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simbyz import records
from simbyz.records.checked_files import KEY, read_checked, write_checked
from simbyz.records.parquet import CONFIGURATION, DAMAGED, NAME, SUMMARY

RUN = {"seed": 1, "rule": "krum"}
COLUMNS = {"step": np.arange(40), "loss": np.random.default_rng(0).normal(size=40)}
GIVEN = {"final_accuracy": 0.6389}


def write(folder, **summary):
    return records.write_run(folder, "a-run", RUN, COLUMNS, GIVEN | summary)


def flipped(content, place):
    """One bit of the byte at this place, another one of each byte."""
    return content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]


def without_digest(path):
    """The same run as it was written before there were digests."""
    table = pq.read_table(path)
    metadata = {key: table.schema.metadata[key] for key in (NAME, CONFIGURATION, SUMMARY)}
    pq.write_table(table.replace_schema_metadata(metadata), path, write_page_checksum=True)
    return path


def read_all(folder):
    """What the folder says of its runs, and what it tells of files beside."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = (
            records.is_finished(folder, "a-run", RUN),
            len(records.read_runs(folder)) == 1,
            len(records.read_steps(folder)) == 40,
        )
    return found, [str(one.message) for one in told]


def test_the_digest_is_of_all_other_bytes(tmp_path):
    path = write(tmp_path)
    content = path.read_bytes()
    digest = pq.read_metadata(path).metadata[KEY]
    assert content.count(digest) == 1
    expected = hashlib.sha256(content.replace(digest, b"0" * 64)).hexdigest()
    assert digest == expected.encode()


def test_every_byte_counts(tmp_path):
    """Only a flip in the name of the digest is not told: the content then is as it was."""
    path = tmp_path / "table.parquet"
    write_checked(path, pa.table({"x": [1.5, 2.5]}), "table")
    content, table = path.read_bytes(), pq.read_table(path)
    key = range(content.rindex(KEY), content.rindex(KEY) + len(KEY))
    for place in range(len(content)):
        path.write_bytes(flipped(content, place))
        if place in key:
            assert read_checked(path).read().equals(table)
        else:
            with pytest.raises(ValueError, match="it is damaged"):
                read_checked(path)


def test_every_cut_is_told(tmp_path):
    path = write(tmp_path)
    content = path.read_bytes()
    for size in range(0, len(content), 61):
        path.write_bytes(content[:size])
        found, told = read_all(tmp_path)
        assert not any(found) and len(told) == 3, size


def test_all_readers_agree_on_a_damaged_run(tmp_path):
    """In its pages, its footer, its summary: named by each, counted by none."""
    path = write(tmp_path)
    content = path.read_bytes()
    for place in [*range(4, len(content), 97), content.rindex(b"0.6389") + 3]:
        path.write_bytes(flipped(content, place))
        found, told = read_all(tmp_path)
        assert not any(found)
        assert len(told) == 3 and all(str(path) in one for one in told)
    path.write_bytes(content)
    assert read_all(tmp_path) == ((True, True, True), [])


def test_other_numbers_under_the_same_digest(tmp_path):
    """As a program writes that copies the metadata and changes the values."""
    path = write(tmp_path)
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "loss", pa.array(np.zeros(40))), path)
    assert not any(read_all(tmp_path)[0])
    summary = {SUMMARY: json.dumps({"final_accuracy": 0.9})}
    pq.write_table(table.replace_schema_metadata(table.schema.metadata | summary), path)
    assert not any(read_all(tmp_path)[0])


def test_a_run_from_before_stays_a_run(tmp_path):
    path = without_digest(write(tmp_path))
    assert KEY not in pq.read_metadata(path).metadata
    assert read_all(tmp_path) == ((True, True, True), [])
    assert records.read_runs(tmp_path)["final_accuracy"].tolist() == [0.6389]
    np.testing.assert_array_equal(records.read_steps(tmp_path)["loss"], COLUMNS["loss"])


def test_a_damaged_page_of_a_run_from_before(tmp_path):
    path = without_digest(write(tmp_path))
    content = path.read_bytes()
    place = pq.read_metadata(path).row_group(0).column(1).dictionary_page_offset + 100
    path.write_bytes(flipped(content, place))
    found, told = read_all(tmp_path)
    assert not any(found) and all(path.name in one for one in told)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (CONFIGURATION, "[1]"),
        (CONFIGURATION, "{}"),
        (SUMMARY, "null"),
        (SUMMARY, "{"),
        (NAME, b"\xff"),
    ],
)
def test_metadata_of_another_kind_is_no_run(tmp_path, key, value):
    path = write(tmp_path)
    table = pq.read_table(path)
    write_checked(path, table.replace_schema_metadata(table.schema.metadata | {key: value}), "run")
    found, told = read_all(tmp_path)
    assert not any(found) and len(told) == 3


def test_what_a_file_says_of_itself_is_not_taken_for_its_place(tmp_path):
    path = write(tmp_path)
    table = pq.read_table(path)
    summary = {SUMMARY: json.dumps({"file": "../other.parquet", "name": "other", "digest": "x"})}
    write_checked(path, table.replace_schema_metadata(table.schema.metadata | summary), "run")
    (row,) = records.read_runs(tmp_path).to_dict("records")
    assert (row["file"], row["name"]) == (path.name, "a-run")


def test_a_damaged_run_is_set_aside_by_the_new_one(tmp_path):
    path = write(tmp_path)
    content = path.read_bytes()
    path.write_bytes(flipped(content, 200))
    with pytest.warns(RuntimeWarning, match=f"skipped {path}: its SHA-256 is wrong"):
        assert not records.is_finished(tmp_path, "a-run", RUN)
    with pytest.warns(RuntimeWarning, match=f"set aside: {path} as {path.name}{DAMAGED}"):
        write(tmp_path)
    assert path.read_bytes() == content
    assert (tmp_path / (path.name + DAMAGED)).read_bytes() == flipped(content, 200)
    assert read_all(tmp_path) == ((True, True, True), [])
    write(tmp_path, notice="a whole one is replaced")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_where_a_damaged_run_would_go_costs_no_run(tmp_path):
    path = write(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:100])
    (tmp_path / (path.name + DAMAGED)).mkdir()
    with pytest.warns(RuntimeWarning, match=f"set aside: {path} as {path.name}{DAMAGED}1"):
        write(tmp_path)
    assert path.read_bytes() == content
    assert (tmp_path / f"{path.name}{DAMAGED}1").read_bytes() == content[:100]
