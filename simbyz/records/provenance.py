"""What computed a run: its code, versions, device and time.

The digest of the code is one of what the sources say, not of how they are laid out: comments,
docstrings and line breaks don't count, nor do the files that only keep or describe results.
"""

import ast
import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path

PACKAGES = ("simbyz", "jax", "jaxlib", "flax", "optax", "numpy")
# Of simbyz, without influence on a run's numbers: folders, and files by their paths.
NO_NUMBERS = (
    "records/",
    "theory/",
    "sweeps/checkpoints.py",
    "sweeps/mesh.py",
    "sweeps/resume.py",
    "_arrays/shapes.py",
)


def provenance() -> dict[str, str | int]:
    """Versions, device and machine, and the time, to go into a run's summary."""
    import jax  # not at the top: tables are also read where no accelerator should be claimed

    device = jax.devices()[0]
    return versions() | {
        "device_kind": device.device_kind,
        "device_platform": device.platform,
        "num_devices": jax.local_device_count(),
        "machine": platform.machine(),
        "num_cpus": os.cpu_count() or 0,
        "time_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Of Python and the packages that compute: `jax_version` and the like, "unknown" if absent."""
    found = {"python_version": platform.python_version()}
    found |= {f"{package}_version": "unknown" for package in PACKAGES}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[f"{package}_version"] = importlib.metadata.version(package)
    return found


@functools.cache
def code_digest(*own: Path) -> str:
    """The digest of simbyz as far as it decides numbers, and of an experiment's own sources.

    Once a process: what is edited later is not what runs.

    Args:
      own: files of the experiment that decide numbers.
    """
    package = Path(__file__).parents[1]
    ours = [
        path
        for path in package.rglob("*.py")
        if not path.relative_to(package).as_posix().startswith(NO_NUMBERS)
    ]
    return digest_of([*ours, *own], package.parent)


def digest_of(sources: Iterable[Path], root: Path) -> str:
    """The digest of what Python files say, by their paths under `root`."""
    said = {
        path.relative_to(root).as_posix(): _said(ast.parse(path.read_bytes())) for path in sources
    }
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _said(node):
    """A syntax tree without places and docstrings; what is empty is left out, as versions of Python
    differ in it.
    """
    if isinstance(node, list):
        return [_said(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = fields["body"][1:]
    kept = {name: _said(value) for name, value in fields.items() if value not in (None, [])}
    return [type(node).__name__, kept]
