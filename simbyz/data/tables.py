"""Tables: rows of features in place of images, of scikit-learn or from a file."""

import os
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simbyz.data.datasets import Dataset, scikit_learn

TABLES = ("breast_cancer", "wine")


def load_table(name: Literal["breast_cancer", "wine"]) -> Dataset:
    """A table that scikit-learn embeds: 569 rows of 30 features and two classes, or 178 of 13 and
    three. Every fifth row is a test row.

    Raises:
      ValueError: the name is unknown.
      FileNotFoundError: scikit-learn is not installed.
    """
    if name not in TABLES:
        raise ValueError(f"unknown table {name!r}, expected one of {', '.join(TABLES)}")
    made = getattr(scikit_learn(name), f"load_{name}")()
    return table(name, made.data, made.target)


def read_libsvm(path: str | os.PathLike[str], *, name: str | None = None) -> Dataset:
    """A table in the format of LIBSVM: in each line a label and `feature:value` for what is not 0.

    So comes `phishing` of the paper's program, 11,055 rows of 68 features and two classes. Labels
    are numbered in order. Every fifth row is a test row.

    Args:
      path: of the file, which may be compressed as .gz or .bz2.
      name: of the data set; the file's without its ending if None.

    Raises:
      OSError: the file can't be read, or scikit-learn is not installed.
      ValueError: it is of another format, damaged, or has a single class.
    """
    reader = scikit_learn(os.fspath(path))
    try:
        sparse, labels = reader.load_svmlight_file(os.fspath(path))
        rows = sparse.toarray()
    except (EOFError, MemoryError, OverflowError, ValueError, zlib.error) as error:
        raise ValueError(f"{path} is not of LIBSVM's format, or damaged: {error}") from error
    return table(name or Path(path).name.partition(".")[0], rows, labels)


def table(name: str, rows: np.ndarray, labels: np.ndarray) -> Dataset:
    """A data set of rows (N, features), of any labels; every fifth row is a test row. Features are
    centred and scaled by the training rows; a constant one is 0. One that is far from zero beside
    its deviation, such as a date, is kept less its mean, in float32.

    Raises:
      TypeError: rows are no real numbers.
      ValueError: rows are of another shape or fewer than two, or labels another number, missing,
        fractions or of kinds without an order; what `Dataset` refuses.
    """
    exact = _real(rows)
    rows = exact.astype(np.float32)
    if rows.ndim != 2 or np.shape(labels) != rows.shape[:1]:
        raise ValueError(
            f"a table has rows (N, features) and labels (N,), got {rows.shape} and "
            f"{np.shape(labels)}"
        )
    if len(rows) < 2:
        raise ValueError(f"a table has a training row and a test row, got {len(rows)} rows")
    labels = np.asarray(labels)
    missing = np.array([label is None or label != label for label in labels.tolist()], bool)
    if missing.any():
        raise ValueError(
            f"labels must be known, got {missing.sum()} of {len(labels)} that are None or NaN, "
            f"such as that of row {missing.argmax()}: leave these rows out"
        )
    if labels.dtype.kind == "f" and (broken := labels[labels % 1 != 0]).size:
        raise ValueError(
            f"labels must be classes, got numbers that are not whole, such as {broken[0]}: for a "
            "regression make a task of your own"
        )
    try:
        classes, labels = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise ValueError(f"labels must be of one kind, which has an order: {error}") from error
    is_test = np.arange(len(rows)) % 5 == 0
    far, mean = _far_from_zero(exact[~is_test])
    rows[:, far] = exact[:, far] - mean[far]
    train = rows[~is_test].astype(np.float64)
    deviation = train.std(axis=0)
    return Dataset(
        name,
        rows[~is_test],
        labels[~is_test].astype(np.int32),
        rows[is_test],
        labels[is_test].astype(np.int32),
        num_classes=len(classes),
        scale=1.0,
        mean=tuple(train.mean(axis=0).tolist()),
        deviation=tuple(np.where(deviation > 0, deviation, 1).tolist()),
        flip=False,
    )


def _real(rows: Any) -> np.ndarray:
    try:
        if not np.iscomplexobj(rows):
            return np.asarray(rows, np.float64)
    except (TypeError, ValueError) as error:  # texts, dates, pandas' NA, rows of unequal length
        raise TypeError(
            "a table has rows of real numbers (N, features), encode what is none, and fill or "
            f"leave out what is missing: {error}"
        ) from error
    raise TypeError("a table has rows of real numbers, got complex ones")


def _far_from_zero(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which features lose more than 12 of float32's 24 bits to their mean, and all means."""
    with np.errstate(invalid="ignore", over="ignore"):  # `Dataset` refuses what is not finite
        mean, deviation = rows.mean(axis=0), rows.std(axis=0)
        # What is below is rounding of the mean of a constant.
        return (deviation < np.abs(mean) * 2.0**-12) & (deviation > np.abs(mean) * 2.0**-44), mean
