"""The house: few entries on a level, imports that point one way, no circle, and load what they
need: results are read without JAX, rules called without flax.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# Each imports from what stands below it, and from itself.
WINGS = (
    "simbyz.sweeps",
    "simbyz.gossip",
    "simbyz.simulator",
    "simbyz.tasks",
    "simbyz.attacks",
    "simbyz.aggregators",
    "simbyz.preaggregators",
    "simbyz.theory",
    "simbyz.torch",
    "simbyz.data",
    "simbyz.records",
    "simbyz._arrays",
)
COMPARISON = "experiments.distributed_momentum"
PARTS = tuple(
    f"{COMPARISON}.{part}"
    for part in (
        "__main__",
        "commands",
        "write_up",
        "figures",
        "slurm",
        "running",
        "analysis",
        "options",
        "grid",
    )
)
# 11 elsewhere; every wing and every question has its place at the top.
MOST_ENTRIES = {"simbyz": 12, "experiments": 15, "tests/wings": 12}
NO_ROOMS = {"__init__.py", "__main__.py", "__pycache__", "py.typed"}


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, those inside its functions too, but not for types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body.clear()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def within(name: str, rooms: tuple[str, ...]) -> str | None:
    return next((room for room in rooms if f"{name}.".startswith(f"{room}.")), None)


def upward(folder: str, rooms: tuple[str, ...]) -> list[str]:
    """Imports from a room above, or of something that stands in none of the rooms."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        own = within(module_of(path), rooms)
        for name in imported(path):
            other = within(name, rooms)
            if own is not None and other is not None and rooms.index(other) < rooms.index(own):
                found.append(f"{path.relative_to(ROOT)} imports {name}")
    return found


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("simbyz", {"jax", "numpy", "pandas"}),
        ("simbyz.records", {"jax", "flax", "optax"}),
        ("simbyz.aggregators", {"flax", "pandas"}),
        ("simbyz.attacks", {"flax", "pandas"}),
    ],
)
def test_what_an_import_loads(module, unneeded):
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert module in loaded and not loaded & unneeded


def test_imports_of_the_library_point_down():
    assert upward("simbyz", WINGS) == []


def test_imports_of_the_papers_comparison_point_down():
    assert upward("experiments/distributed_momentum", PARTS) == []


def test_the_library_knows_no_experiment_and_no_test():
    for folder, foreign in (("simbyz", ("experiments", "tests")), ("experiments", ("tests",))):
        for path in sorted((ROOT / folder).rglob("*.py")):
            assert not [name for name in imported(path) if within(name, foreign)], path


def test_no_circle():
    """Among all modules of the library and the experiments."""
    paths = [*(ROOT / "simbyz").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]
    modules = {module_of(path): path for path in paths}
    # `from package import name` imports the module of that name, or else from the package itself.
    uses = {
        name: {
            target
            for one in imported(path)
            if (target := one if one in modules else one.rpartition(".")[0]) in modules
        }
        - {name}
        for name, path in modules.items()
    }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle: {' -> '.join([*way, name])}"
        if name not in done:
            for other in sorted(uses[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in modules:
        visit(name, ())


@pytest.mark.parametrize("top", ["simbyz", "experiments", "tests"])
def test_few_entries_on_a_level(top):
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", top],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    levels: dict[str, set[str]] = {}
    for path in map(Path, listed):
        if not (ROOT / path).exists():
            continue
        for folder, entry in zip(
            [path.parent, *path.parent.parents], [path, *path.parents], strict=False
        ):
            if folder != Path("."):
                levels.setdefault(str(folder), set()).add(entry.name)
    crowded = {
        folder: len(entries - NO_ROOMS)
        for folder, entries in levels.items()
        if len(entries - NO_ROOMS) > MOST_ENTRIES.get(folder, 11)
    }
    assert crowded == {}


def test_every_wing_stands_in_the_list():
    entries = {path.name for path in (ROOT / "simbyz").iterdir()} - NO_ROOMS
    assert {Path(entry).stem for entry in entries} == {
        wing.removeprefix("simbyz.") for wing in WINGS
    }
