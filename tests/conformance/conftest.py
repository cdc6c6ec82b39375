"""Recorded values are compared in both runs; among the longer checks with what users run: programs
compiled with all optimisations.
"""

from pathlib import Path

import jax
import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if config.option.markexpr == "thorough":
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.thorough)


@pytest.fixture(scope="module", autouse=True)
def compiled_as_users_do(request):
    """All optimisations, for the longer checks of this folder alone."""
    if request.config.option.markexpr != "thorough":
        yield
        return
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
    jax.clear_caches()
