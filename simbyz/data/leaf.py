"""Data of users of their own: the JSON files of LEAF, such as FEMNIST's."""

import json
import os
from pathlib import Path

import numpy as np

from simbyz._arrays.checks import integer
from simbyz.data.datasets import Dataset
from simbyz.data.partition import Partition, by_owner


def read_leaf(
    folder: str | os.PathLike[str],
    *,
    name: str = "femnist",
    shape: tuple[int, ...] = (28, 28, 1),
    num_classes: int = 62,
    users: int | None = None,
) -> tuple[Dataset, Partition]:
    """A data set as LEAF's scripts leave it, and who wrote what: each user is a worker.

    The folder holds `train` and `test` with files *.json of {"users": [...], "user_data": {user:
    {"x": [...], "y": [...]}}}. The pixels of FEMNIST are floats from 0 to 1, 1 being white.

    Args:
      folder: the `data` folder of LEAF's data set.
      name: of the data set.
      shape: of an input.
      num_classes: at least the largest label + 1.
      users: how many of the training users to take, in the files' order; all if None.

    Returns:
      The data set, with the test examples of these users, or of all who have some if none of them
      has; and its partition.

    Raises:
      FileNotFoundError: a split without a file.
      ValueError: a file of another form, fewer users than asked for, or what `Dataset` refuses.

    Reference: Caldas et al., LEAF: a benchmark for federated settings, 2018.
    """
    inputs, labels, owners, names = _split(Path(folder) / "train", shape)
    users = len(names) if users is None else integer("users", users)
    if not 1 <= users <= len(names):
        raise ValueError(f"users must be from 1 to {len(names)}, got {users}")
    of_test, test_labels, test_owners, test_names = _split(Path(folder) / "test", shape)
    taken = owners < users
    known = np.isin([test_names[owner] for owner in test_owners], names[:users])
    known = known if known.any() else ~known
    dataset = Dataset(
        name,
        inputs[taken],
        labels[taken],
        of_test[known],
        test_labels[known],
        num_classes=num_classes,
        scale=1.0,
        mean=(0.0,),
        deviation=(1.0,),
        flip=False,
    )
    return dataset, by_owner(owners[taken])


def _split(
    folder: Path, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Inputs, labels, the numbers of their users, and the users' names."""
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise FileNotFoundError(f"no *.json in {folder}: run LEAF's preprocess.sh")
    inputs, labels, owners = [], [], []
    names: list[str] = []
    for path in paths:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            for user in content["users"]:
                held = content["user_data"][user]
                inputs.append(np.asarray(held["x"], np.float32).reshape(-1, *shape))
                given = np.asarray(held["y"])
                if given.size and given.dtype.kind not in "iu":
                    raise ValueError(f"the labels of {user} must be whole numbers")
                labels.append(given.astype(np.int32))
                if len(inputs[-1]) != len(labels[-1]):
                    raise ValueError(f"{user} has {len(labels[-1])} labels")
                if user in names:
                    raise ValueError(f"{user} stands twice")
                owners.append(np.full(len(labels[-1]), len(names)))
                names.append(user)
        except (ArithmeticError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not of LEAF's form, or not of {shape}: {error}") from error
    return np.concatenate(inputs), np.concatenate(labels), np.concatenate(owners), names
