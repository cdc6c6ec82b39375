"""Data sets: what they hold, and a cache that never passes damage for data."""

import errno
import hashlib
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from simbyz.data import cache, datasets
from tests.support.paths import SHARED


def small(value: int = 0, **source: str) -> cache.Decoded:
    images = np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4, 1) + np.uint8(value)
    labels = np.arange(5, dtype=np.int32)
    arrays = (images, labels, images[:2].copy(), labels[:2].copy())
    return cache.Decoded(dict(zip(cache.ARRAYS, arrays, strict=True)), source, "two are copies")


def unreachable() -> cache.Decoded:
    raise FileNotFoundError("nothing is prepared")


def assert_same(first: cache.Decoded, second: cache.Decoded) -> None:
    assert (first.source, first.notice) == (second.source, second.notice)
    for name in cache.ARRAYS:
        assert first.arrays[name].dtype == second.arrays[name].dtype
        np.testing.assert_array_equal(first.arrays[name], second.arrays[name])


def test_digits_are_split_into_every_fifth_and_the_rest():
    from sklearn.datasets import load_digits

    data = datasets.load("digits")
    assert data.train_images.shape == (1437, 8, 8, 1) and data.test_images.shape == (360, 8, 8, 1)
    for images, labels in (
        (data.train_images, data.train_labels),
        (data.test_images, data.test_labels),
    ):
        assert images.dtype == np.uint8 and labels.dtype == np.int32
        assert labels.shape == images.shape[:1]
        assert images.max() == data.scale == 16
        assert not images.flags.writeable
        assert set(labels.tolist()) == set(range(data.num_classes))
    together = np.empty((1797, 8, 8), np.uint8)
    is_test = np.arange(1797) % 5 == 0
    together[is_test], together[~is_test] = data.test_images[..., 0], data.train_images[..., 0]
    labels = np.empty(1797, np.int32)
    labels[is_test], labels[~is_test] = data.test_labels, data.train_labels
    np.testing.assert_array_equal(together, load_digits().images)
    np.testing.assert_array_equal(labels, load_digits().target)
    assert data.notice == "" and not data.flip


def test_digits_are_the_same_where_scikit_learn_keeps_them_elsewhere(monkeypatch):
    read = datasets.decode_digits()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert_same(datasets.decode_digits(), read)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="'minst'.*mnist, fashion_mnist, cifar10, cifar100, digit"):
        datasets.load("minst")


@pytest.mark.parametrize("name", datasets.PREPROCESSING)
def test_preprocessing_has_one_mean_and_deviation_a_channel(name):
    channels = 3 if name.startswith(("cifar", "svhn")) else 1
    settings = datasets.PREPROCESSING[name]
    assert len(settings["mean"]) == len(settings["deviation"]) == channels


def test_a_cached_data_set_comes_back_as_it_went_in(tmp_path):
    folder = tmp_path / "below" / "set"
    with pytest.raises(OSError, match="^nothing is prepared$"):
        cache.read_or_decode(folder, unreachable)
    first = cache.read_or_decode(folder, lambda: small(version="1"))
    second = cache.read_or_decode(folder, unreachable)
    assert_same(first, second)
    for decoded in (first, second):
        assert not any(array.flags.writeable for array in decoded.arrays.values())
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [cache.MANIFEST, *(f"{name}.npy" for name in cache.ARRAYS)]
    )


def test_another_source_replaces_the_cache(tmp_path):
    cache.write(tmp_path, small(version="1"))
    decoded = cache.read_or_decode(
        tmp_path, lambda: small(7, version="2"), lambda source: source["version"] == "2"
    )
    assert_same(decoded, small(7, version="2"))
    assert_same(cache.read(tmp_path), small(7, version="2"))


def flip_a_byte(folder):
    path = folder / "train_images.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def cut_short(folder):
    path = folder / "test_labels.npy"
    path.write_bytes(path.read_bytes()[:-4])


def remove_an_array(folder):
    (folder / "test_images.npy").unlink()


def break_the_manifest(folder):
    (folder / cache.MANIFEST).write_text('{"format": 1')


def lose_an_entry(folder):
    change_manifest(folder, lambda manifest: manifest["arrays"].pop("train_labels"))


def change_the_format(folder):
    change_manifest(folder, lambda manifest: manifest.update(format=2))


def change_a_shape(folder):
    change_manifest(folder, lambda manifest: manifest["arrays"]["train_labels"].update(shape=[6]))


def change_a_type(folder):
    change_manifest(folder, lambda manifest: manifest["arrays"]["train_labels"].update(dtype="i,("))


def nest_the_manifest(folder):
    (folder / cache.MANIFEST).write_text("[" * 100_000)


def put_text_for_an_array(folder):
    (folder / "test_labels.npy").write_bytes(b"text")
    entry = {"sha256": hashlib.sha256(b"text").hexdigest()}
    change_manifest(folder, lambda manifest: manifest["arrays"]["test_labels"].update(entry))


def change_manifest(folder, change):
    path = folder / cache.MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


DAMAGES = {
    flip_a_byte: "train_images.npy",
    cut_short: "test_labels.npy",
    remove_an_array: "test_images.npy",
    break_the_manifest: cache.MANIFEST,
    lose_an_entry: cache.MANIFEST,
    change_the_format: cache.MANIFEST,
    change_a_shape: "train_labels.npy",
    change_a_type: cache.MANIFEST,
    nest_the_manifest: cache.MANIFEST,
    put_text_for_an_array: "test_labels.npy",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_named_and_decoded_anew(tmp_path, damage):
    cache.write(tmp_path, small())
    damage(tmp_path)
    named = pytest.warns(RuntimeWarning, match=DAMAGES[damage])
    refused = pytest.raises(OSError, match=f"{DAMAGES[damage]}.*can't be rebuilt: nothing is prep")
    with named, refused:
        cache.read_or_decode(tmp_path, unreachable)
    with pytest.warns(RuntimeWarning, match=DAMAGES[damage]):
        decoded = cache.read_or_decode(tmp_path, small)
    assert_same(decoded, small())
    assert_same(cache.read_or_decode(tmp_path, unreachable), small())


def test_a_folder_that_cannot_be_written_is_warned_of(tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(RuntimeWarning, match="can't be cached in .*file"):
        decoded = cache.read_or_decode(tmp_path / "file" / "set", small)
    assert_same(decoded, small())


@pytest.mark.parametrize("written", range(5))
def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, written):
    synced = []

    def sync(descriptor):
        synced.append(descriptor)
        if len(synced) > written:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        decoded = cache.read_or_decode(tmp_path, small)
    assert_same(decoded, small())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("renamed", range(5))
def test_a_death_between_renames_leaves_no_readable_manifest(tmp_path, monkeypatch, renamed):
    cache.write(tmp_path, small())
    replace, done = os.replace, []

    def die(source, target):
        done.append(target)
        if len(done) > renamed:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            cache.write(tmp_path, small(9))
    assert cache.read(tmp_path) is None
    assert not list(tmp_path.glob("*.tmp"))
    assert_same(cache.read_or_decode(tmp_path, lambda: small(9)), small(9))


def test_only_old_temporaries_are_removed(tmp_path):
    old, young = tmp_path / ".train_images.npy.1-ab.tmp", tmp_path / ".test_images.npy.2-cd.tmp"
    old.touch()
    young.touch()
    long_ago = time.time() - 2 * cache.STALE_AFTER_SECONDS
    os.utime(old, (long_ago, long_ago))
    cache.write(tmp_path, small())
    assert young.exists() and not old.exists()


def test_the_cache_folder_comes_from_argument_then_environment(monkeypatch):
    monkeypatch.delenv("SIMBYZ_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.cache_folder() == Path.home() / ".cache" / "simbyz"
    monkeypatch.setenv("XDG_CACHE_HOME", "xdg")
    assert cache.cache_folder() == Path("xdg/simbyz")
    monkeypatch.setenv("SIMBYZ_CACHE", "own")
    assert cache.cache_folder() == Path("own")
    assert cache.cache_folder("given") == Path("given")


def test_without_a_home_folder_the_message_says_what_to_set(monkeypatch):
    for name in ("SIMBYZ_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user of no entry
    with pytest.raises(FileNotFoundError, match="no home folder is known for ~/.cache: set HOME"):
        cache.cache_folder()
    with pytest.raises(FileNotFoundError, match="for ~nobody/tfds"):
        datasets.load("mnist", data_dir="~nobody/tfds")
    # TFDS asks for the folder as it is imported, which another test may have done.
    with pytest.raises(FileNotFoundError, match="in .*/tensorflow_datasets.*: set TFDS_DATA_DIR"):
        datasets.decode_prepared("mnist")


def test_load_serves_the_cache_until_another_copy_is_prepared(tmp_path, monkeypatch):
    def decode(name, data_dir):
        content = (Path(data_dir) / name / "3.0.1" / "dataset_info.json").read_bytes()
        return small(len(content), dataset_info=datasets.hashlib.sha256(content).hexdigest())

    for folder, content in (("first", "1"), ("second", "22")):
        path = tmp_path / folder / "mnist" / "3.0.1"
        path.mkdir(parents=True)
        (path / "dataset_info.json").write_text(content)
    monkeypatch.setattr(datasets, "decode_prepared", decode)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)

    def first_pixel(data_dir=None):
        data = datasets.load("mnist", data_dir=data_dir, cache_dir=tmp_path / "cache")
        assert data.notice == "two are copies"
        return data.train_images[0, 0, 0, 0]

    assert first_pixel(tmp_path / "first") == 1
    assert first_pixel() == 1
    assert first_pixel(tmp_path / "second") == 2
    assert first_pixel() == first_pixel(tmp_path / "nowhere") == 2
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "first"))
    assert first_pixel() == 1


def test_without_tensorflow_datasets_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(FileNotFoundError, match="mnist .*TFDS_DATA_DIR or --data-dir.*digits"):
        datasets.load("mnist", data_dir=tmp_path, cache_dir=tmp_path)


def test_what_nobody_can_prepare_is_an_error_that_names_the_folder(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow_datasets")
    monkeypatch.setattr(datasets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}.*tensorflow.*is not installed"):
        datasets.load("mnist", data_dir=tmp_path, cache_dir=tmp_path)


def test_substituted_images_are_noticed(monkeypatch):
    rng = np.random.default_rng(0)
    files, splits = {}, {}
    for split, names in (("train", ("one.bin", "two.bin")), ("test", ("three.bin",))):
        order = rng.permutation(3 * len(names))
        published = rng.integers(0, 256, (len(order), 2 + 3 * 4), np.uint8)
        files[split] = {
            name: datasets.hashlib.sha1(batch.tobytes()).hexdigest()
            for name, batch in zip(names, np.split(published, len(names)), strict=True)
        }
        shuffled = published[order]
        splits[split] = {
            "id": np.array([f"{split}_{place:05d}".encode() for place in order]),
            "coarse_label": shuffled[:, 0].astype(np.int32),
            "label": shuffled[:, 1].astype(np.int32),
            "image": shuffled[:, 2:].reshape(-1, 3, 2, 2).transpose(0, 2, 3, 1).copy(),
        }
    monkeypatch.setitem(datasets.PUBLISHED, "tiny", (("coarse_label", "label"), files))
    assert datasets.compare_with_published("tiny", splits) == ""
    last = splits["train"]["id"].tolist().index(b"train_00005")
    splits["train"]["image"][last, 0, 0, 0] ^= 1
    notice = datasets.compare_with_published("tiny", splits)
    assert "1 of its 3 files" in notice and "two.bin" in notice and "one.bin" not in notice


def test_prepared_mnist_is_decoded_once(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    prepared = SHARED / "data" / "tfds"
    if not (prepared / "mnist").is_dir():
        pytest.skip("no prepared MNIST beside the checkout")
    # All 70,000 images take ten seconds.
    monkeypatch.setattr(datasets, "SPLITS", {"train": "train[:600]", "test": "test[:50]"})
    data = datasets.load("mnist", data_dir=prepared, cache_dir=tmp_path)
    source = tfds.data_source("mnist", split="train", data_dir=prepared)
    for place in (0, 1, 499, 500, 599):
        np.testing.assert_array_equal(data.train_images[place], source[place]["image"])
        assert data.train_labels[place] == source[place]["label"]
    assert data.train_images.shape == (600, 28, 28, 1) and data.test_labels.shape == (50,)
    assert data.train_images.dtype == np.uint8 and data.test_labels.dtype == np.int32
    assert data.notice == ""
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    again = datasets.load("mnist", data_dir=prepared, cache_dir=tmp_path)
    np.testing.assert_array_equal(data.train_images, again.train_images)
