"""Decoded data sets kept on disk as plain arrays, so that slow decoding happens once.

A cached data set is a folder with one .npy file an array and a manifest that holds the SHA-256
of each. The manifest is written last: without it nothing counts as cached, and with it every byte
is checked before use, so neither a crash nor a damaged disk can pass for data.
"""

import dataclasses
import hashlib
import json
import os
import secrets
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
MANIFEST = "manifest.json"
FORMAT = 1
STALE_AFTER_SECONDS = 3600.0


class CorruptCache(ValueError):
    """A cached file is not what its manifest says; the message names the file."""


@dataclasses.dataclass(frozen=True, eq=False)
class Decoded:
    """The arrays of a data set (the keys are ARRAYS), and where they come from."""

    arrays: dict[str, np.ndarray]
    source: dict[str, str]
    notice: str = ""


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder of all cached data sets: the argument, else SIMBYZ_CACHE, else the user's.

    Raises:
      FileNotFoundError: see `in_home`.
    """
    chosen = cache_dir or os.environ.get("SIMBYZ_CACHE")
    if chosen:
        return in_home(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else in_home("~/.cache")) / "simbyz"


def in_home(path: str | os.PathLike[str]) -> Path:
    """The path, with the home folder in place of a `~` that it begins with.

    Raises:
      FileNotFoundError: there is none, as for a user that the system does not know.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(
            f"no home folder is known for {path}: set HOME, or give a path without ~ (that of the "
            "cache is SIMBYZ_CACHE)"
        ) from error


def read_or_decode(
    folder: Path,
    decode: Callable[[], Decoded],
    is_current: Callable[[dict[str, str]], bool] = lambda source: True,
) -> Decoded:
    """Reads the cache in `folder`, or decodes the data set and caches it.

    A damaged cache and a folder that can't be written are warned of, never fatal by themselves.

    Args:
      folder: the cache of this one data set.
      decode: gives the data set when the cache has none; raises OSError when it can't.
      is_current: whether a cache with this `source` still stands for what `decode` would give.

    Raises:
      OSError: nothing usable is cached and `decode` failed.
    """
    damage = None
    try:
        cached = read(folder)
        if cached is not None and is_current(cached.source):
            return cached
    except CorruptCache as error:
        damage = error
        warnings.warn(f"{error}; decoding the data set again", RuntimeWarning, stacklevel=3)
    try:
        decoded = decode()
    except OSError as error:
        if damage is None:
            raise
        raise OSError(f"{damage}, and it can't be rebuilt: {error}") from error
    try:
        write(folder, decoded)
    except OSError as error:
        warnings.warn(
            f"the decoded data set can't be cached in {folder} ({error.strerror or error}): "
            "it will be decoded anew each time",
            RuntimeWarning,
            stacklevel=3,
        )
    for array in decoded.arrays.values():
        array.flags.writeable = False  # as a cached one is
    return decoded


def read(folder: Path) -> Decoded | None:
    """Reads a cached data set as read-only memory maps.

    Returns:
      The data set, or None when none is cached.

    Raises:
      CorruptCache: a file is damaged, missing or unreadable.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CorruptCache(f"cached {path} can't be read ({error.strerror or error})") from error
    try:
        manifest = json.loads(text)
        if manifest["format"] != FORMAT:
            raise ValueError(f"format {manifest['format']}, expected {FORMAT}")
        entries = {name: manifest["arrays"][name] for name in ARRAYS}
        expected = {
            name: (tuple(entry["shape"]), np.dtype(entry["dtype"]), str(entry["sha256"]))
            for name, entry in entries.items()
        }
        source, notice = dict(manifest["source"]), str(manifest["notice"])
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError) as error:
        raise CorruptCache(f"cached {path} is not a valid manifest ({error!r})") from error
    arrays = {name: _read_array(folder / f"{name}.npy", *expected[name]) for name in ARRAYS}
    return Decoded(arrays, source, notice)


def write(folder: Path, decoded: Decoded) -> None:
    """Caches a data set: whole, or (when an exception leaves this function) not at all.

    Raises:
      OSError: the folder can't be written or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_stale_temporaries(folder)
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    temporaries: dict[str, Path] = {}
    entries = {}
    try:
        # Everything that can fill the disk happens before the first file changes its name.
        for name in ARRAYS:
            array = decoded.arrays[name]
            path = temporaries[f"{name}.npy"] = folder / f".{name}.npy.{token}.tmp"
            with open(path, "xb") as file:
                np.save(file, array, allow_pickle=False)
                _sync(file)
            entries[name] = {
                "shape": array.shape,
                "dtype": array.dtype.str,
                "sha256": _sha256(path),
            }
        manifest = {
            "format": FORMAT,
            "source": decoded.source,
            "notice": decoded.notice,
            "arrays": entries,
        }
        path = temporaries[MANIFEST] = folder / f".{MANIFEST}.{token}.tmp"
        with open(path, "xb") as file:
            file.write(json.dumps(manifest, indent=2).encode())
            _sync(file)
        # A crash from here on leaves a folder without a manifest, which reads as no cache.
        (folder / MANIFEST).unlink(missing_ok=True)
        for name, path in temporaries.items():
            os.replace(path, folder / name)
    finally:
        for path in temporaries.values():
            path.unlink(missing_ok=True)


def _read_array(path: Path, shape: tuple[int, ...], dtype: np.dtype, sha256: str) -> np.ndarray:
    try:
        found = _sha256(path)
        array = np.load(path, mmap_mode="r", allow_pickle=False) if found == sha256 else None
    except OSError as error:
        raise CorruptCache(f"cached {path} can't be read ({error.strerror or error})") from error
    except (ValueError, EOFError) as error:
        raise CorruptCache(f"cached {path} is no array ({error})") from error
    if array is None:
        raise CorruptCache(f"cached {path} is damaged (its SHA-256 is not the recorded one)")
    if array.shape != shape or array.dtype != dtype:
        raise CorruptCache(
            f"cached {path} holds {array.dtype} {array.shape}, its manifest says {dtype} {shape}"
        )
    return array


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _remove_stale_temporaries(folder: Path) -> None:
    # A younger one may belong to another process that is writing the same data set now.
    for path in folder.glob(".*.tmp"):
        try:
            if time.time() - path.stat().st_mtime > STALE_AFTER_SECONDS:
                path.unlink()
        except FileNotFoundError:
            continue  # another process removed it first
