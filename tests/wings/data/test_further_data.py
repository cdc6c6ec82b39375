"""Tables, texts, and data of users: read as they are written, made here in the same format."""

import dataclasses
import gzip
import io
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import datasets as embedded

from simbyz import data
from simbyz.data import partition, root
from simbyz.data.batches import normalise


@pytest.mark.parametrize("name", ["breast_cancer", "wine"])
def test_tables(name):
    made, table = getattr(embedded, f"load_{name}")(), data.load_table(name)
    is_test = np.arange(len(made.data)) % 5 == 0
    np.testing.assert_array_equal(table.train_images, made.data[~is_test].astype(np.float32))
    np.testing.assert_array_equal(table.test_images, made.data[is_test].astype(np.float32))
    np.testing.assert_array_equal(table.train_labels, made.target[~is_test])
    inputs = (table.train_images - table.mean) / np.array(table.deviation)
    np.testing.assert_allclose(inputs.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(inputs.std(axis=0), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="unknown table 'iris', expected one of breast_cancer"):
        data.load_table("iris")


def test_a_table_has_a_label_a_row():
    for rows, labels in ((np.ones((10, 2)), range(9)), (np.ones(10), range(10))):
        with pytest.raises(ValueError, match=r"rows \(N, features\) and labels \(N,\), got \(10,"):
            data.table("one", rows, list(labels))


@pytest.mark.usefixtures("unchecked_shapes")
def test_what_is_no_table_and_no_text():
    rows, labels = np.ones((10, 2)), [0, 1] * 5
    with pytest.raises(TypeError, match="rows of real numbers, got complex ones"):
        data.table("waves", rows * 1j, labels)
    for none in ([["a", "b"]] * 10, [[1.0], [1.0, 2.0]] * 5, pd.DataFrame({"x": [pd.NA] * 10})):
        with pytest.raises(TypeError, match="real numbers .*, encode what is none, and fill or"):
            data.table("none", none, labels)
    with pytest.raises(ValueError, match="labels must be classes, got .* such as 0.5: for a regr"):
        data.table("slopes", rows, np.array([0.0, 1.0, 0.5, 2.0, 3.0] * 2))
    with pytest.raises(ValueError, match="a training row and a test row, got 1 rows"):
        data.table("one", rows[:1], labels[:1])
    with pytest.raises(ValueError, match="labels must be of one kind, which has an order: '<'"):
        data.table("mixed", rows, np.array(["a", 1] * 5, object))
    for texts in ("abcdef", ["abcdef", 3]):
        with pytest.raises(TypeError, match="texts must be a list of str, got "):
            data.characters("none", texts, length=2)


def test_a_scale_of_numpy_is_a_number():
    digits = data.load("digits")
    assert dataclasses.replace(digits, scale=np.float32(16)).scale == 16


def test_a_file_of_libsvm(tmp_path):
    lines = ["-1 1:0.5 3:-2", "1 2:1", "1 1:0.25 2:-1 3:4", "-1 3:1", "-1 1:1 2:1", "1 1:2"]
    path = tmp_path / "phishing.txt"
    path.write_text("\n".join(lines) + "\n")
    dataset = data.read_libsvm(path)
    assert (dataset.name, dataset.num_classes) == ("phishing", 2)
    np.testing.assert_array_equal(dataset.test_images, [[0.5, 0, -2], [2, 0, 0]])
    np.testing.assert_array_equal(
        dataset.train_images, [[0, 1, 0], [0.25, -1, 4], [0, 0, 1], [1, 1, 0]]
    )
    assert dataset.train_labels.tolist() == [1, 1, 0, 0] and dataset.test_labels.tolist() == [0, 1]
    with pytest.raises(FileNotFoundError):
        data.read_libsvm(tmp_path / "none")
    packed = gzip.compress(path.read_bytes() * 50)
    damaged = {
        "cut.gz": packed[:40],
        "changed.gz": packed[:20] + bytes(10) + packed[30:],
        "far.txt": b"1 99999999999:1\n",
        "other.txt": b"label 1:1\n",
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is not of LIBSVM's format, or damaged"):
            data.read_libsvm(tmp_path / name)


def test_a_constant_feature_is_zero():
    rows = np.stack([np.arange(10), np.full(10, 3)], axis=1)
    dataset = data.table("two", rows, ["no", "yes"] * 5)
    assert dataset.mean[1] == 3 and dataset.deviation[1] == 1
    assert dataset.train_labels.tolist() == [1, 0, 1, 0, 0, 1, 0, 1]


@pytest.mark.parametrize("missing", [None, np.nan])
def test_a_table_without_a_label(missing):
    rows, labels = np.eye(10, dtype=np.float32), [0.0, 1.0] * 5
    labels[3] = labels[7] = missing
    with pytest.raises(ValueError, match="got 2 of 10 that are None or NaN, such as that of row 3"):
        data.table("ten", rows, labels)


def test_a_feature_far_from_zero_keeps_its_digits():
    """Seconds of 2023 are in steps of 128 in float32, which 0.1 holds to its last bit."""
    seconds = 1.7e9 + np.random.default_rng(0).integers(0, 300, 40)
    rows = np.stack([seconds, np.full(40, 0.1), np.arange(40.0)], axis=1)
    dataset = data.table("dates", rows, np.arange(40) % 2)
    is_test = np.arange(40) % 5 == 0
    train = seconds[~is_test]
    for images, values in ((dataset.train_images, train), (dataset.test_images, seconds[is_test])):
        got = normalise(images, dataset.scale, dataset.mean, dataset.deviation)
        np.testing.assert_allclose(got[:, 0], (values - train.mean()) / train.std(), atol=1e-5)
        np.testing.assert_array_equal(got[:, 1], 0)
    np.testing.assert_array_equal(dataset.train_images[:, 2], np.arange(40)[~is_test])


def test_a_partition_by_owners():
    shares = partition.by_owner(np.array([2, 0, 2, 1, 2, 0]))
    assert shares.counts.tolist() == [2, 1, 3]
    assert shares.indices.tolist() == [[1, 5, 6], [3, 6, 6], [0, 2, 4]]
    for owners, kind in (
        ([0, 2], ValueError),
        ([-1, 0], ValueError),
        ([0, 10**15], ValueError),  # more than memory could count up to
        ([0.0], TypeError),
    ):
        with pytest.raises(kind, match="owners must be"):
            partition.by_owner(np.array(owners))


def test_a_text_that_is_for_the_test_alone():
    """Of the examples every fifth is for the test: the first, and of these texts the sixth."""
    for texts, lost in ((["abc", "abcdefg"], 0), (["abcdefg", "abc"], 1)):
        with pytest.raises(ValueError, match=f"text {lost} has one example.* 4 characters"):
            data.characters("two", texts, length=2)


def test_characters_are_told_from_those_before():
    dataset, shares = data.characters("two", ["abcab", "bbabc"], length=2)
    letters = "abc"

    def shown(inputs, labels):
        texts = ["".join(letters[int(code)] for code in row) for row in inputs]
        return [f"{text}>{letters[label]}" for text, label in zip(texts, labels, strict=True)]

    assert shown(dataset.test_images, dataset.test_labels) == ["ab>c", "ab>c"]
    assert shown(dataset.train_images, dataset.train_labels) == ["bc>a", "ca>b", "bb>a", "ba>b"]
    assert shares.counts.tolist() == [2, 2] and dataset.num_classes == 3
    with pytest.raises(ValueError, match="longer than length=5"):
        data.characters("two", ["abcab", "bbabcc"], length=5)
    sonnets, owners = data.sonnets(length=20)
    assert sonnets.train_images.shape[1] == 20 and len(owners.counts) == 6
    assert owners.counts.sum() == len(sonnets.train_labels)


def leaf(folder, split, users):
    (folder / split).mkdir(parents=True, exist_ok=True)
    held = {
        user: {"x": (np.full((count, 4), code) / 10).tolist(), "y": [code] * count}
        for user, (count, code) in users.items()
    }
    content = {"users": [*users], "num_samples": [len(one["y"]) for one in held.values()]}
    path = folder / split / f"{min(users)}.json"
    path.write_text(json.dumps(content | {"user_data": held}))


def test_users_are_workers(tmp_path):
    leaf(tmp_path, "train", {"ann": (2, 1), "bob": (3, 2)})
    leaf(tmp_path, "train", {"cid": (1, 3)})
    leaf(tmp_path, "test", {"ann": (1, 1), "cid": (2, 3)})
    options = {"shape": (2, 2, 1), "num_classes": 5}
    dataset, shares = data.read_leaf(tmp_path, **options)
    assert shares.counts.tolist() == [2, 3, 1] and dataset.test_labels.tolist() == [1, 3, 3]
    for worker, code in enumerate((1, 2, 3)):
        held = shares.indices[worker, : shares.counts[worker]]
        np.testing.assert_allclose(dataset.train_images[held], code / 10)
        assert set(dataset.train_labels[held].tolist()) == {code}
    few, shares = data.read_leaf(tmp_path, users=2, **options)
    assert few.train_labels.tolist() == [1, 1, 2, 2, 2] and few.test_labels.tolist() == [1]
    with pytest.raises(ValueError, match="users must be from 1 to 3, got 4"):
        data.read_leaf(tmp_path, users=4, **options)
    with pytest.raises(ValueError, match=r"ann.json is not of LEAF's form, or not of \(3, 3, 1\)"):
        data.read_leaf(tmp_path, shape=(3, 3, 1), num_classes=5)
    with pytest.raises(FileNotFoundError, match="run LEAF's preprocess.sh"):
        data.read_leaf(tmp_path / "train")


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"x": [[0.0]], "y": [0.5]}, "the labels of ann must be whole numbers"),
        ({"x": [[0.0]], "y": ["1"]}, "the labels of ann must be whole numbers"),
        ({"x": [[0.0]], "y": [1, 2]}, "ann has 2 labels"),
        ({"x": [[10**400]], "y": [1]}, "not of LEAF's form"),
        ({"x": [[0.0]], "y": [1]}, "ann stands twice"),
    ],
)
def test_no_label_is_cut_and_no_user_comes_twice(held, message, tmp_path):
    (tmp_path / "train").mkdir()
    content = json.dumps({"users": ["ann", "ann"], "user_data": {"ann": held}})
    (tmp_path / "train" / "a.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        data.read_leaf(tmp_path, shape=(1,))


def field(number, content):
    """A field of bytes in the encoding of protocol buffers."""
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def example(name, image, label):
    """A `tf.train.Example` as TensorFlow Datasets writes it, without TensorFlow."""
    png = io.BytesIO()
    Image.fromarray(image.squeeze()).save(png, "PNG")
    features = {
        "id": field(1, field(1, name.encode())),
        "image": field(1, field(1, png.getvalue())),
        "label": field(3, field(1, bytes([label]))),
    }
    entries = (field(1, key.encode()) + field(2, value) for key, value in features.items())
    return field(1, b"".join(field(1, entry) for entry in entries))


@pytest.mark.parametrize(
    ("name", "known_as", "shape"),
    [("svhn", "svhn_cropped", (32, 32, 3)), ("emnist", "emnist/byclass", (28, 28, 1))],
)
def test_what_is_prepared_is_read(name, known_as, shape, tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    writer = pytest.importorskip("array_record.python.array_record_module").ArrayRecordWriter
    rng = np.random.default_rng(0)
    images = {"train": rng.integers(0, 256, (7, *shape), np.uint8)}
    images["test"] = images["train"][2:5]
    builder = tfds.builder(known_as, data_dir=tmp_path, file_format="array_record")
    folder = Path(builder.data_dir)
    folder.mkdir(parents=True)
    splits = []
    for split, held in images.items():
        template = tfds.core.ShardedFileTemplate(
            data_dir=folder, dataset_name=builder.name, split=split, filetype_suffix="array_record"
        )
        path = template.sharded_filepath(shard_index=0, num_shards=1)
        file = writer(str(path), "group_size:1")
        for label, image in enumerate(held):
            file.write(example(f"{split}_{label}", image, label))
        file.close()
        told = {"shard_lengths": [len(held)], "num_bytes": 1, "filename_template": template}
        splits.append(tfds.core.SplitInfo(name=split, **told))
    builder.info.set_splits(tfds.core.SplitDict(splits))
    builder.info.write_to_directory(folder)

    loaded = data.load(name, data_dir=tmp_path, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(loaded.train_images, images["train"])
    np.testing.assert_array_equal(loaded.test_images, images["test"])
    assert loaded.train_labels.tolist() == [*range(7)] and loaded.test_labels.tolist() == [0, 1, 2]
    assert loaded.notice == "" and loaded.num_classes == {"svhn": 10, "emnist": 62}[name]
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    again = data.load(name, data_dir=tmp_path, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(again.train_images, images["train"])


def test_root_examples_of_what_is_none():
    digits, key = data.load("digits"), jax.random.key(0)
    for labels in ("labels", np.zeros((3, 3), int), None):
        with pytest.raises(
            ValueError, match=r"labels must be those of the training set \(N,\), got"
        ):
            root.draw(key, labels, 2)
    with pytest.raises(TypeError, match="^a root set needs a key as jax.random.key"):
        root.draw(0, digits.train_labels, 2)
    with pytest.raises(TypeError, match="^dataset must be a Dataset, .* got 'digits'"):
        root.hold_out("digits", [1])
