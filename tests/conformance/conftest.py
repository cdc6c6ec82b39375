"""Recorded values are compared in both runs: all of them in double precision among the usual tests,
and many among the longer checks with what users run, programs compiled with all optimisations, in
single precision.
"""

from pathlib import Path

import pytest

# Of the trajectories every rule, attack and place of the momentum.
REPLAYED = ("t000", "t006", "t012", "t016", "t022", "t032", "t038")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if config.option.markexpr == "thorough":
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                replayed = item.name.startswith(tuple(f"test_replay[{key}" for key in REPLAYED))
                if "float32" in item.name or replayed:
                    item.add_marker(pytest.mark.thorough)
