"""Provenance: which code, versions, device and time.

The digest of the code is one of what the sources say, not of how they are laid out. Comments,
docstrings, line breaks and the types of arguments don't count, nor do the files that only keep or
describe results. Where a file lies doesn't either: a name that is imported stands for what the file
says that it comes from, so that files may move and runs from before stay runs of the same code.
"""

import ast
import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
import itertools
import json
import os
import platform
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

PACKAGES = ("simbyz", "jax", "jaxlib", "flax", "optax", "numpy")
# Of simbyz, without influence on a run's numbers: folders, and files by their paths.
NO_NUMBERS = (
    "__init__.py",
    "records/",
    "theory/",
    "sweeps/checkpoints.py",
    "sweeps/mesh.py",
    "sweeps/resume.py",
    "torch.py",
)
IMPORTED = re.compile(r'\{"imported":"(\w+)"\}')
NOTHING = '["Module",{}]'


def provenance() -> dict[str, str | int]:
    """Versions, device and machine, and the time, to go into a run's summary."""
    import jax  # not at the top: tables are also read where no accelerator should be claimed

    device = jax.devices()[0]
    return {
        **versions(),
        "device_kind": device.device_kind,
        "device_platform": device.platform,
        "num_devices": jax.local_device_count(),
        "machine": platform.machine(),
        "num_cpus": os.cpu_count() or 0,
        "time_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def versions() -> Mapping[str, str]:
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
    return digest_of([*ours, *own])


def digest_of(sources: Iterable[Path]) -> str:
    """The digest of what Python files say, wherever they lie.

    Args:
      sources: the files. Others of the same packages don't count, nor does what is imported from
        them.
    """
    trees = {_module(path): ast.parse(path.read_bytes()) for path in sources}
    imported = {module: _imported(tree) for module, tree in trees.items()}
    said = {module: _said(tree, imported[module]) for module, tree in trees.items()}
    packages = {module.partition(".")[0] for module in trees}

    def origin(name: str) -> tuple[str, str]:
        """The module that a dotted name comes from, behind re-exports, and its name there."""
        module, _, last = name.rpartition(".")
        if name in trees:
            return name, ""
        if last in imported.get(module, ()):
            return origin(imported[module][last])
        return module, last

    def digest(module: str, files: Mapping[str, str]) -> str:
        def stands_for(name: str) -> object:
            origin_module, last = origin(name)
            if origin_module in trees:
                return [files.get(origin_module, ""), last]
            return "" if name.partition(".")[0] in packages else name

        names = {own: stands_for(name) for own, name in imported[module].items()}
        return _digest(IMPORTED.sub(lambda found: json.dumps(names[found[1]]), said[module]))

    # First of each file by itself, then with these for the files whose names it imports.
    alone = {module: digest(module, {}) for module in trees}
    counted = sorted(digest(module, alone) for module in trees if said[module] != NOTHING)
    return _digest(json.dumps(counted))[:10]


def _module(path: Path) -> str:
    """The dotted name that a file is imported by."""
    path = path.resolve()
    packages = itertools.takewhile(lambda one: (one / "__init__.py").exists(), path.parents)
    names = [path.stem, *(package.name for package in packages)]
    return ".".join(reversed(names)).removesuffix(".__init__")


def _imported(tree: ast.Module) -> dict[str, str]:
    """The dotted name behind each name that a file imports, inside its functions too."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _said(tree: ast.Module, imported: Collection[str]) -> str:
    """A syntax tree as JSON, without places, docstrings, imports and signatures' types; a name that
    is imported as `IMPORTED` has it. What is empty is left out, as versions of Python differ in it.
    """

    def say(node: object) -> object:
        if isinstance(node, list):
            return [said for item in node if (said := say(item))]
        if isinstance(node, ast.Import | ast.ImportFrom) or _is_public_list(node):
            return []
        if isinstance(node, ast.Name) and node.id in imported:
            return {"imported": node.id}
        if not isinstance(node, ast.AST):
            return repr(node)
        fields = dict(ast.iter_fields(node))
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            fields["body"] = fields["body"][1:]
        if isinstance(node, ast.arg | ast.FunctionDef | ast.AsyncFunctionDef):
            fields |= {"annotation": None, "returns": None}
        said = {name: say(value) for name, value in fields.items() if value is not None}
        return [type(node).__name__, {name: one for name, one in said.items() if one != []}]

    return json.dumps(say(tree), sort_keys=True, separators=(",", ":"))


def _is_public_list(node: object) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
