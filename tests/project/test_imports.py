"""An import loads what it needs: results are read without JAX, rules called without flax."""

import subprocess
import sys

import pytest


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
