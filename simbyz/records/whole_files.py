"""Files that are written whole or not at all, whatever happens in between."""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

ATTEMPTS = 10


def write_whole(
    path: Path, write: Callable[[BinaryIO], object], what: str = "file", remedy: str = ""
) -> None:
    """Writes a file in place of any earlier one, and on the disk before this returns.

    The content goes to a temporary file beside it, which then takes its name: whoever reads finds
    the earlier file or the new one, and never a part. A process that is killed leaves the temporary
    file behind, and the earlier one as it was.

    Args:
      path: of the file; its folder is made.
      write: writes the content to the open file; may be called again for another one.
      what: what the file is, for the error.
      remedy: what to do about it, behind the error.

    Raises:
      OSError: it can't be written, as on a full disk; nothing is left of it. Devices and pipes stay
        what they are.
    """
    for again in range(ATTEMPTS):
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise OSError("it is a device or a pipe")
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
            return
        except OSError as error:
            # Another process cleans the folder up, or removes it while it is empty.
            if isinstance(error, FileNotFoundError | FileExistsError) and again < ATTEMPTS - 1:
                continue
            reason = error.strerror or error
            raise OSError(f"{what} {path} can't be written: {reason}{remedy}") from error
        finally:
            with contextlib.suppress(OSError):  # none after success, and the first error says more
                temporary.unlink()


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # Windows and some network file systems know no such thing
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
