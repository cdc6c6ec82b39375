"""Trained parameters on disk: one .npz file a run beside its Parquet file, whole or not at all.

The file is NumPy's archive of named arrays, which any program reads. The name of an array is the
way to it, such as "parameters/params/Dense_0/kernel". The archive's comment is the SHA-256 of all
bytes before it, so that damage never reads as numbers.
"""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simbyz.records.json_values import require_mapping
from simbyz.records.parquet import run_path
from simbyz.records.whole_files import write_whole

SIZE = 2 * hashlib.sha256().digest_size
BETWEEN = "/"  # in names of arrays
ENDING = ".npy"  # of their files in the archive


def parameters_path(
    folder: str | os.PathLike[str], name: str, configuration: Mapping[str, Any]
) -> Path:
    """Where the trained parameters of the run of this configuration lie; see `run_path`."""
    return run_path(folder, name, configuration).with_suffix(".npz")


def write_parameters(
    folder: str | os.PathLike[str],
    name: str,
    configuration: Mapping[str, Any],
    trees: Mapping[str, Any],
) -> Path:
    """Writes what a run trained in place of any earlier file; returns the path.

    Args:
      folder, name, configuration: as in `run_path`.
      trees: nested mappings, lists and tuples of arrays by name, such as {"parameters": ...,
        "model_state": ...}. What NumPy has no type for, such as bfloat16, is written as float32.

    Raises:
      TypeError: the trees are not given by name.
      ValueError: something is no array of numbers, or a name holds "/".
      OSError: the file can't be written; nothing is left of it.
    """
    path = parameters_path(folder, name, configuration)
    require_mapping("trees", trees)
    file = io.BytesIO()
    # As `numpy.savez` does, which takes some names for its own arguments.
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in dict(_leaves(trees, ())).items():
            with archive.open(name + ENDING, "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
        archive.comment = b"0" * SIZE
    content = file.getvalue()[:-SIZE]
    whole = content + hashlib.sha256(content).hexdigest().encode()
    write_whole(path, lambda target: target.write(whole), "parameters")
    return path


def has_parameters(
    folder: str | os.PathLike[str], name: str, configuration: Mapping[str, Any]
) -> bool:
    """Whether the trained parameters of the run of this configuration are on disk, undamaged."""
    path = parameters_path(folder, name, configuration)
    return path.exists() and _is_whole(path.read_bytes())


def read_parameters(folder: str | os.PathLike[str], file: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what a run trained.

    Args:
      folder: the results.
      file: of the run, as in the column `file` of `read_runs`, or of the parameters.

    Returns:
      Nested dicts of arrays, as they were given to `write_parameters`; of a list or tuple, a dict
      of its places as text. A mapping without arrays is left out.

    Raises:
      FileNotFoundError: the run's parameters were not kept.
      ValueError: the file is damaged, or none of simbyz.
    """
    path = (Path(folder) / file).with_suffix(".npz")
    if not path.exists():
        raise FileNotFoundError(
            f"there are no parameters {path}: runs keep them with --save-parameters"
        )
    content = path.read_bytes()
    if not _is_whole(content):
        raise ValueError(f"{path}: its SHA-256 is wrong: it is damaged, or no file of simbyz")
    trees: dict[str, Any] = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            *way, last = name.removesuffix(ENDING).split(BETWEEN)
            tree = trees
            for step in way:
                tree = tree.setdefault(step, {})
            with archive.open(name) as entry:
                tree[last] = np.lib.format.read_array(entry, allow_pickle=False)
    return trees


def _is_whole(content: bytes) -> bool:
    return hashlib.sha256(content[:-SIZE]).hexdigest().encode() == content[-SIZE:]


def _leaves(tree: Any, way: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(tree, list | tuple):
        tree = {str(place): leaf for place, leaf in enumerate(tree)}
    if isinstance(tree, Mapping):
        for name, leaf in tree.items():
            if not isinstance(name, str) or BETWEEN in name or not name:
                raise ValueError(f"a name of parameters must be text without '/', got {name!r}")
            yield from _leaves(leaf, (*way, name))
        return
    array = np.asarray(tree)
    if array.dtype.kind == "V" and "float" in array.dtype.name:
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"{BETWEEN.join(way)} must be an array of numbers, got {type(tree).__name__}"
        )
    yield BETWEEN.join(way), array
