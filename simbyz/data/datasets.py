"""The data sets of the field: images, labels, and the published preprocessing of each.

`digits` is embedded in scikit-learn. The others come through TensorFlow Datasets, which is imported
only when the cache of decoded arrays (`simbyz.data.cache`) has nothing; TensorFlow itself is needed
only to prepare a data set that no folder holds yet.
"""

import dataclasses
import functools
import hashlib
import importlib.util
import numbers
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from simbyz._arrays.checks import at_least, flag
from simbyz.data import cache

SPLITS = {"train": "train", "test": "test"}


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels as they are published, and how pixels become inputs of a network.

    Floats of any shape, such as rows of a table or embeddings, stand in place of images where they
    are meant to: with scale 1, as `mean` and `deviation` are in their own units.

    Two data sets are equal only when they are the same object: arrays have no single truth value.

    Attributes:
      name: what `load` calls it.
      train_images, test_images: uint8 (N, height, width, channels); or floats (N, ...), features
        last, all finite. Neither split is empty.
      train_labels, test_labels: ints (N,), from 0 to num_classes - 1.
      num_classes: at least 2.
      scale: the pixel value that is mapped to 1; 1 for floats.
      mean, deviation: one a channel or feature, or one for all; an input is (pixel / scale - mean)
        / deviation.
      flip: whether images are mirrored at random, in training and when they are evaluated.
      notice: what every result made from this copy must say, empty when there is nothing to say.

    Raises:
      TypeError: an array of another kind or dtype, a number that is none.
      ValueError: arrays of other shapes or lengths, an empty split, a label or a float out of
        range, a normalisation that is none.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    num_classes: int
    scale: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    flip: bool
    notice: str = ""

    def __post_init__(self) -> None:
        classes = at_least("num_classes", self.num_classes, 2)
        flag("flip", self.flip)
        for split in SPLITS:
            inputs, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            _check_inputs(f"{split}_images", inputs, self.scale)
            _check_labels(f"{split}_labels", labels, len(inputs), classes)
        train, test = self.train_images, self.test_images
        if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
            raise ValueError(
                "train_images and test_images must be of one shape and dtype, got "
                f"{train.dtype} {train.shape[1:]} and {test.dtype} {test.shape[1:]}"
            )
        if self.flip and train.ndim != 4:
            raise ValueError(f"flip needs images (N, height, width, channels), got {train.shape}")
        _check_normalisation(self, train.shape[-1])


def require_dataset(dataset: Any) -> None:
    """Raises TypeError where a `Dataset` is asked for, and something else is given."""
    if not isinstance(dataset, Dataset):
        raise TypeError(f"dataset must be a Dataset, such as load('digits'), got {dataset!r}")


def _check_inputs(name: str, inputs: Any, scale: float) -> None:
    if not isinstance(inputs, np.ndarray | jax.Array):
        raise TypeError(f"{name} must be an array, got {type(inputs).__name__}: np.asarray of it")
    floats = inputs.dtype.kind == "f"
    if inputs.dtype != np.uint8 and not floats:
        raise TypeError(f"{name} must be uint8 pixels or floats, got {inputs.dtype}")
    if floats and scale != 1:
        raise ValueError(
            f"{name} are {inputs.dtype}: floats are given with scale=1.0, and mean and deviation "
            f"in their own units, got scale={scale} (pixels from 0 to 255 are .astype(np.uint8))"
        )
    if inputs.ndim < 2 or (not floats and inputs.ndim != 4) or 0 in inputs.shape:
        shape = "(N, ...)" if floats else "(N, height, width, channels)"
        raise ValueError(f"{name} must be {shape}, none of them 0, got shape {inputs.shape}")
    with np.errstate(over="ignore"):
        finite = not floats or bool(np.all(np.isfinite(np.asarray(inputs).astype(np.float32))))
    if not finite:
        raise ValueError(f"{name} must be finite in float32: leave out or fill what is not")


def _check_labels(name: str, labels: Any, count: int, classes: int) -> None:
    if not isinstance(labels, np.ndarray | jax.Array) or labels.dtype.kind not in "iu":
        got = getattr(labels, "dtype", type(labels).__name__)
        raise TypeError(f"{name} must be an array of ints, got {got}")
    if labels.shape != (count,):
        raise ValueError(f"{name} must be one an image, ({count},), got shape {labels.shape}")
    least, most = labels.min(), labels.max()
    if least < 0 or most >= classes:
        raise ValueError(
            f"{name} must be from 0 to num_classes - 1 = {classes - 1}, got "
            f"{least if least < 0 else most}"
        )


def _check_normalisation(dataset: Dataset, channels: int) -> None:
    for name in ("mean", "deviation"):
        values = np.asarray(getattr(dataset, name))
        if values.shape not in ((1,), (channels,)) or values.dtype.kind not in "iuf":
            raise ValueError(
                f"{name} must be a tuple of {channels} numbers, one a channel or feature, or of 1 "
                f"for all, got {getattr(dataset, name)!r}"
            )
    mean, deviation = np.asarray(dataset.mean), np.asarray(dataset.deviation)
    if len(mean) != len(deviation):
        raise ValueError(
            f"mean and deviation must be as many, got {len(mean)} and {len(deviation)}"
        )
    if not (np.all(np.isfinite(mean)) and np.all(np.isfinite(deviation) & (deviation > 0))):
        raise ValueError(
            "mean must be finite, deviation positive and finite (1 for a feature that is constant)"
            f", got {dataset.mean} and {dataset.deviation}"
        )
    number = isinstance(dataset.scale, numbers.Real) and not isinstance(dataset.scale, bool)
    if not (number and 0 < dataset.scale < float("inf")):
        raise ValueError(f"scale must be positive and finite, got {dataset.scale!r}")


_CIFAR = {"mean": (0.4914, 0.4822, 0.4465), "deviation": (0.2023, 0.1994, 0.2010), "flip": True}

PREPROCESSING: dict[str, dict[str, Any]] = {
    "mnist": dict(num_classes=10, scale=255.0, mean=(0.1307,), deviation=(0.3081,), flip=False),
    "fashion_mnist": dict(num_classes=10, scale=255.0, mean=(0.0,), deviation=(1.0,), flip=True),
    "cifar10": dict(num_classes=10, scale=255.0, **_CIFAR),
    "cifar100": dict(num_classes=100, scale=255.0, **_CIFAR),
    "digits": dict(num_classes=10, scale=16.0, mean=(0.0,), deviation=(1.0,), flip=False),
    "svhn": dict(num_classes=10, scale=255.0, mean=(0.5,) * 3, deviation=(0.25,) * 3, flip=False),
    "emnist": dict(num_classes=62, scale=255.0, mean=(0.0,), deviation=(1.0,), flip=False),
}

# What TensorFlow Datasets calls those that it calls otherwise.
PREPARED_AS = {"svhn": "svhn_cropped", "emnist": "emnist/byclass"}

# The columns of labels in a record of the published binary files, and the SHA-1 of each file.
PUBLISHED = {
    "cifar10": (
        ("label",),
        {
            "train": {
                "data_batch_1.bin": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
                "data_batch_2.bin": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
                "data_batch_3.bin": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
                "data_batch_4.bin": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
                "data_batch_5.bin": "26e2849e66a845b7f1e4614ae70f4889ae604628",
            },
            "test": {"test_batch.bin": "67eb016db431130d61cd03c7ad570b013799c88c"},
        },
    ),
    "cifar100": (
        ("coarse_label", "label"),
        {
            "train": {"train.bin": "e207cd2e05b73b1393c74c7f5e7bea451d63e08e"},
            "test": {"test.bin": "8fb6623e830365ff53cf14adec797474f5478006"},
        },
    ),
}


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Loads a data set by name: "mnist", "fashion_mnist", "cifar10", "cifar100", "digits", "svhn"
    (the cropped images) or "emnist" (by class, 62 of them, rows and columns swapped as published).

    The first load of a data set decodes its images (10-30 s), later ones map the decoded arrays.

    Args:
      name: one of the names above.
      data_dir: the folder where TensorFlow Datasets keeps prepared data; by default TFDS_DATA_DIR,
        else the folder that TensorFlow Datasets uses by itself.
      cache_dir: where decoded arrays are kept; by default SIMBYZ_CACHE, else the user's cache.

    Raises:
      ValueError: the name is unknown.
      OSError: the data set is neither cached nor prepared, and could not be prepared.
    """
    if name not in PREPROCESSING:
        raise ValueError(f"unknown data set {name!r}, expected one of {', '.join(PREPROCESSING)}")
    if name == "digits":
        decoded = decode_digits()
    else:
        data_dir = data_dir or os.environ.get("TFDS_DATA_DIR") or None
        prepared = _fingerprints(name, data_dir)
        decoded = cache.read_or_decode(
            cache.cache_folder(cache_dir) / name,
            functools.partial(decode_prepared, name, data_dir),
            # Without a prepared copy to compare with, the cache is all there is.
            lambda source: not prepared or source.get("dataset_info") in prepared,
        )
    fields: dict[str, Any] = {**decoded.arrays, **PREPROCESSING[name]}
    return Dataset(name, **fields, notice=decoded.notice)


def decode_digits() -> cache.Decoded:
    """The 1,797 digits of 8x8 pixels that scikit-learn carries; every fifth is a test image."""
    table = _digits_table()  # an image a row, its label last
    images = table[:, :-1].astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = table[:, -1].astype(np.int32)
    is_test = np.arange(len(labels)) % 5 == 0
    parts = (images[~is_test], labels[~is_test], images[is_test], labels[is_test])
    for array in parts:
        array.flags.writeable = False
    return cache.Decoded(dict(zip(cache.ARRAYS, parts, strict=True)), {"library": "scikit-learn"})


def _digits_table() -> np.ndarray:
    """(1797, 65), from scikit-learn's own file: importing it to read that takes a second."""
    found = importlib.util.find_spec("sklearn")
    for folder in found.submodule_search_locations or () if found is not None else ():
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    return np.column_stack(scikit_learn("digits").load_digits(return_X_y=True))


def scikit_learn(what: str) -> Any:
    """Its data sets, or what is missing without them."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise FileNotFoundError(
            f"{what} is read by scikit-learn, which can't be imported ({error}): install "
            "scikit-learn"
        ) from error
    return datasets


def decode_prepared(name: str, data_dir: str | os.PathLike[str] | None = None) -> cache.Decoded:
    """Decodes a data set that TensorFlow Datasets has prepared, preparing it first if need be.

    Images stay in the order of the prepared files.

    Raises:
      FileNotFoundError: it isn't prepared, and could not be.
    """
    where = data_dir or "~/tensorflow_datasets"
    try:
        import tensorflow_datasets as tfds

        if not sys.stderr.isatty():
            tfds.disable_progress_bar()
        known_as = PREPARED_AS.get(name, name)
        builder = tfds.builder(known_as, data_dir=data_dir, file_format="array_record")
        where = builder.data_dir
        if not builder.is_prepared():
            # Asked before and not after: without it the download succeeds and is then of no use.
            if importlib.util.find_spec("tensorflow") is None:
                raise ModuleNotFoundError(
                    "not there, and tensorflow, which could prepare it, is not installed"
                )
            builder.download_and_prepare(file_format="array_record")
        splits = {
            split: _read_split(builder.as_data_source(split=source), f"{name} {split}")
            for split, source in SPLITS.items()
        }
        info = (Path(builder.data_dir) / "dataset_info.json").read_bytes()
    except Exception as error:  # TFDS raises its own, TensorFlow's, the network's and PIL's
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise FileNotFoundError(
            f"{name} can't be read as array_record in {where} ({reason[0]}): set TFDS_DATA_DIR or "
            "--data-dir to the folder that holds it prepared, or install tensorflow and give an "
            "empty folder to download and prepare it in, or use digits, which needs neither"
        ) from error
    return cache.Decoded(
        {
            f"{split}_{kind}": splits[split][column]
            for split in SPLITS
            for kind, column in (("images", "image"), ("labels", "label"))
        },
        {
            "library": f"tensorflow-datasets {tfds.__version__}",
            "version": str(builder.version),
            "dataset_info": hashlib.sha256(info).hexdigest(),
        },
        compare_with_published(name, splits),
    )


def compare_with_published(name: str, splits: dict[str, dict[str, np.ndarray]]) -> str:
    """Notice of how the decoded images differ from the published ones, empty when nothing does.

    A prepared CIFAR does not say what it was prepared from, but its records keep their place in the
    published binary files, so those can be rebuilt and their SHA-1 compared.
    """
    if name not in PUBLISHED:
        return ""
    label_columns, files = PUBLISHED[name]
    differing, total = [], 0
    for split, digests in files.items():
        columns = splits[split]
        order = np.argsort([int(text.rpartition(b"_")[2]) for text in columns["id"].tolist()])
        planes = columns["image"].transpose(0, 3, 1, 2).reshape(len(order), -1)
        labels = [columns[column].astype(np.uint8)[:, None] for column in label_columns]
        records = np.concatenate([*labels, planes], axis=1)[order]
        total += len(digests)
        for (file, digest), batch in zip(
            digests.items(), np.array_split(records, len(digests)), strict=True
        ):
            if hashlib.sha1(batch.tobytes(), usedforsecurity=False).hexdigest() != digest:
                differing.append(file)
    if not differing:
        return ""
    return (
        f"{name} here is not the published one: {len(differing)} of its {total} files differ from "
        f"the published SHA-1 ({', '.join(differing)}), so some images are substitutes"
    )


def _read_split(source: Sequence[dict[str, Any]], description: str) -> dict[str, np.ndarray]:
    from tqdm import tqdm  # comes with TensorFlow Datasets, and only reading from it is slow

    size = 500
    parts: dict[str, list[np.ndarray]] = {}
    # disable=None: a bar on a terminal, silence elsewhere.
    with tqdm(total=len(source), desc=f"decoding {description}", disable=None) as bar:
        for start in range(0, len(source), size):
            records = source.__getitems__(range(start, min(start + size, len(source))))  # type: ignore[attr-defined]
            for column in records[0]:
                values = np.stack([record[column] for record in records])
                if values.ndim == 1 and values.dtype.kind == "i":  # a label
                    values = values.astype(np.int32)
                parts.setdefault(column, []).append(values)
            bar.update(len(records))
    return {column: np.concatenate(values) for column, values in parts.items()}


def _fingerprints(name: str, data_dir: str | os.PathLike[str] | None) -> set[str]:
    if data_dir is None:
        return set()
    known_as = PREPARED_AS.get(name, name)
    infos = cache.in_home(data_dir).glob(f"{known_as}/*/dataset_info.json")
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in infos}
