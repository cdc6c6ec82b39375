"""Recorded values are compared in both runs: all of them in double precision among the usual tests,
and many among the longer checks with what users run, programs compiled with all optimisations, in
single precision.
"""

from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if config.option.markexpr == "thorough":
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                if "float32" in item.name or item.path.stem == "test_trajectories":
                    item.add_marker(pytest.mark.thorough)
