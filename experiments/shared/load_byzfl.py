"""ByzFL where it is installed, without the torchvision that it asks for."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock


def load_byzfl() -> Any:
    """ByzFL and torch.

    Raises:
      ImportError: why they can't be had.
    """
    torch = importlib.import_module("torch")
    with _without_torchvision():
        return importlib.import_module("byzfl"), torch


@contextlib.contextmanager
def _without_torchvision() -> Iterator[None]:
    """Its script that reads data sets asks for torchvision, and nothing here uses that script."""
    if "byzfl" in sys.modules:
        yield
    else:
        with mock.patch.dict(sys.modules, {"torchvision": mock.MagicMock()}):
            yield
            # All that came along stays: compiled modules, such as scikit-learn's, load only once.
            found = {name: module for name, module in sys.modules.items() if name != "torchvision"}
        sys.modules.update(found)
