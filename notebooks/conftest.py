"""Programs of a notebook are compiled by the cheap generator of code among the tests."""

import pytest

from tests.support.quickly import quickly_compiled


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    with quickly_compiled():
        return (yield)
