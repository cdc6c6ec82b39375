"""Settings for all tests, made before any JAX backend starts."""

import contextlib
import gc
import hashlib
import os
import platform
import signal
from pathlib import Path

import jax
import jaxtyping
import pytest

from tests.support.quickly import quickly_compiled

# Whose tests run whole simulators and experiments: many programs, each for a moment.
WHOLE_RUNS = (
    "experiments/",
    "project/",
    *(f"wings/{wing}/" for wing in ("gossip", "records", "simulator", "sweeps")),
)

# A run of the tests in the background ignores Ctrl-C, and what it starts would too.
signal.signal(signal.SIGINT, signal.default_int_handler)
# A forgotten worker axis, (d,) + (h, d), raises instead of broadcasting.
jax.config.update("jax_numpy_rank_promotion", "raise")
# Sweeps over devices run on the CPU too.
jax.config.update("jax_num_cpu_devices", 2)
# The types and shapes in the signatures of rules and attacks are checked at every call.
jaxtyping.install_import_hook(
    ["simbyz.aggregators", "simbyz.preaggregators", "simbyz.attacks"], "beartype.beartype"
)


def pytest_configure(config):
    """Compiling is most of the time: programs are compiled once for all processes of a run and for
    later runs, and with few optimisations but among the longer checks.
    """
    folder = config.cache.mkdir("xla") / processor()
    set_for_all_processes("compilation_cache_dir", str(folder))
    set_for_all_processes("persistent_cache_min_compile_time_secs", 0.0)
    set_for_all_processes("persistent_cache_min_entry_size_bytes", -1)
    set_for_all_processes("disable_most_optimizations", config.option.markexpr != "thorough")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Notebooks carry no marks of their own."""
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.slower)


def pytest_collection_finish():
    """What is imported stays, and tracing makes many objects that no circle holds."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def set_for_all_processes(name, value):
    """An option of JAX, here and in the processes that tests start."""
    jax.config.update(f"jax_{name}", value)
    os.environ[f"JAX_{name.upper()}"] = str(int(value) if isinstance(value, bool) else value)


def processor() -> str:
    """A name of the kind of processor: a program compiled for another may not run here."""
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else platform.processor()
    features = sorted({line for line in text.splitlines() if line.startswith(("flags", "model"))})
    return hashlib.sha256("\n".join(features).encode()).hexdigest()[:10]


@pytest.fixture(scope="module", autouse=True)
def room_for_programs():
    """Each compiled program takes some of a process's memory maps, of which Linux grants 65,530:
    without one left, XLA ends the process by a segmentation fault while it compiles.
    """
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()


@pytest.fixture(scope="module", autouse=True)
def quick_programs(request):
    """Programs that no test has in its hands come from the cheap generator of code."""
    whole = request.path.relative_to(Path(__file__).parent).as_posix().startswith(WHOLE_RUNS)
    with quickly_compiled() if whole else contextlib.nullcontext():
        yield


@pytest.fixture
def unchecked_shapes():
    """For tests that pass what no signature allows, to see the function's own answer."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
