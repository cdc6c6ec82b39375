"""Recorded values are compared with what users run: programs compiled with all optimisations."""

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def fully_optimised():
    few = jax.config.read("jax_disable_most_optimizations")
    # What another file compiled with few optimisations would be called again.
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", few)
