"""Programs of experiments are many, and each is run for a moment."""

import pytest

from tests.support.quickly import quickly_compiled


@pytest.fixture(autouse=True, scope="module")
def quick_programs():
    with quickly_compiled():
        yield
