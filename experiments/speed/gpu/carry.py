"""A cached data set in a few files that can be carried to a machine without a network, and back.

Colour images are kept as lossless WebP, in columns as high as the format allows: CIFAR-10's take
0.54 of their size. Everything else is deflated. Each array is checked by its SHA-256 on arrival,
and the notice of what the copy is not goes along.
"""

import hashlib
import io
import json
import operator
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from simbyz import records
from simbyz.data import cache
from simbyz.records.whole_files import write_whole

MANIFEST = "manifest.json"
PART = 56 * 2**20
# WebP allows no more pixels on a side.
MOST_PIXELS = 16_383
# What reading an archive raises of which bits have changed: RuntimeError where these say that it is
# encrypted, or compressed in another way.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, OSError, RuntimeError)


def pack(name: str, folder: Path, part: int = PART) -> list[Path]:
    """Writes a cached data set as files of at most `part` bytes, as few as that takes, all alike.

    Raises:
      FileNotFoundError: it is not cached.
      OSError: a file can't be written.
    """
    where = cache.cache_folder() / name
    decoded = cache.read(where)
    if decoded is None:
        raise FileNotFoundError(f"{name} is not cached in {where}: load it once with simbyz.data")
    records.prepare_folder(folder)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        arrays = {}
        for key, array in decoded.arrays.items():
            digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
            arrays[key] = {"shape": array.shape, "dtype": array.dtype.str, "sha256": digest}
            if array.ndim == 4 and array.shape[-1] == 3:
                for number, column in enumerate(_columns(array)):
                    archive.writestr(f"{key}/{number:05}.webp", column)
            else:
                archive.writestr(f"{key}.bin", array.tobytes())
        known = {"name": name, "source": decoded.source, "notice": decoded.notice}
        archive.writestr(MANIFEST, json.dumps(known | {"arrays": arrays}))
    whole = packed.getbuffer()
    count = -(-len(whole) // part)
    each = -(-len(whole) // count)
    paths = [folder / f"{name}.{number}-of-{count}" for number in range(1, count + 1)]
    for number, path in enumerate(paths):
        content = whole[number * each : (number + 1) * each]
        write_whole(path, operator.methodcaller("write", content), "part")
    return paths


def unpack(name: str, folder: Path) -> Path:
    """Puts a data set that was packed into the cache, where `simbyz.data.load` finds it.

    Returns:
      The cache's folder of it.

    Raises:
      FileNotFoundError: some of the files are not there.
      ValueError: they are damaged, or of another data set.
    """
    found = {}
    for path in folder.glob(f"{name}.*-of-*"):
        if match := re.fullmatch(r"(\d+)-of-(\d+)", path.name.removeprefix(f"{name}.")):
            found[int(match[1]), int(match[2])] = path
    counts = {count for _, count in found}
    if len(counts) != 1 or len(found) != (count := max(counts)):
        there = sorted(path.name for path in found.values()) or "none"
        raise FileNotFoundError(f"{folder} must hold all files of one packing, it holds {there}")
    whole = b"".join(found[number, count].read_bytes() for number in range(1, count + 1))
    try:
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            known = json.loads(archive.read(MANIFEST))
            arrays = {key: _array(archive, key, **own) for key, own in known["arrays"].items()}
    except DAMAGED as error:
        raise ValueError(f"what was packed of {name} is damaged: {error}") from error
    if known["name"] != name:
        raise ValueError(f"the files hold {known['name']}, not {name}")
    where = cache.cache_folder() / name
    cache.write(where, cache.Decoded(arrays, known["source"], known["notice"]))
    return where


def _columns(images: np.ndarray) -> Iterator[bytes]:
    _, height, width, channels = images.shape
    at_once = MOST_PIXELS // height
    for start in range(0, len(images), at_once):
        column = np.ascontiguousarray(images[start : start + at_once])
        file = io.BytesIO()
        image = Image.fromarray(column.reshape(-1, width, channels))
        image.save(file, "WEBP", lossless=True, quality=90, method=4, exact=True)
        yield file.getvalue()


def _array(
    archive: zipfile.ZipFile, key: str, shape: list[int], dtype: str, sha256: str
) -> np.ndarray:
    columns = sorted(name for name in archive.namelist() if name.startswith(f"{key}/"))
    if columns:
        parts = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in columns]
        array = np.concatenate([part.reshape(-1, *shape[1:]) for part in parts])
    else:
        array = np.frombuffer(archive.read(f"{key}.bin"), dtype).reshape(shape)
    if list(array.shape) != shape or hashlib.sha256(array.tobytes()).hexdigest() != sha256:
        raise ValueError(f"{key} is damaged: its SHA-256 is not the recorded one")
    return array
