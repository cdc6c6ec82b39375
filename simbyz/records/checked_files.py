"""Parquet files with the SHA-256 of all their bytes in them, so that damage never reads as numbers.

The digest stands in the footer, under `KEY`, and is of the file with zeros in its place. A file
from before there were digests has none: of such a one only the checksums of its pages are checked.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from simbyz.records.whole_files import write_whole

KEY = b"simbyz.sha256"
SIZE = 2 * hashlib.sha256().digest_size
ZEROS = b"0" * SIZE
BETWEEN = 2  # bytes, from a key in the footer to its value: a field's type and the length
# What reading a file may raise that is no such file, or is damaged.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, pa.ArrowException)


def write_checked(path: Path, table: pa.Table, what: str, **options: Any) -> None:
    """Writes a table with its digest, whole or not at all.

    Args:
      path: of the file; an earlier one is replaced.
      table: the content; what its schema's metadata says is covered, too.
      what: what the file is, for the error.
      options: of `pyarrow.parquet.write_table`.

    Raises:
      OSError: it can't be written; nothing is left of it.
    """
    metadata = {**(table.schema.metadata or {}), KEY: ZEROS}
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), file, **options)
    content = file.getbuffer()
    place = _place_of_digest(content)
    content[place : place + SIZE] = _digest(content, place)
    write_whole(path, lambda target: target.write(content), what)


def read_checked(path: Path) -> pq.ParquetFile:
    """Opens a table after all its bytes were checked.

    Raises:
      ValueError: it is damaged, by its digest.
      OSError, pyarrow.ArrowException: it can't be read, or is no such file.
    """
    content = path.read_bytes()
    place = _place_of_digest(content)
    if place < 0:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        file.read()
        return file
    if content[place : place + SIZE] != _digest(content, place):
        raise ValueError("its SHA-256 is wrong: it is damaged")
    return pq.ParquetFile(pa.BufferReader(content))


def _place_of_digest(content: bytes | memoryview) -> int:
    found = bytes(content).rfind(KEY)
    return found if found < 0 else found + len(KEY) + BETWEEN


def _digest(content: bytes | memoryview, place: int) -> bytes:
    view = memoryview(content)
    digest = hashlib.sha256(view[:place])
    digest.update(ZEROS)
    digest.update(view[place + SIZE :])
    return digest.hexdigest().encode()
