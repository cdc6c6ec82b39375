"""Recorded values are compared in both runs; among the longer checks with what users run: programs
compiled with all optimisations, in single precision.
"""

from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if config.option.markexpr == "thorough":
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent) and "float64" not in item.name:
                item.add_marker(pytest.mark.thorough)
