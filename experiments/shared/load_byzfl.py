"""ByzFL where it is installed, without the torchvision that it asks for."""

import importlib
import sys
from typing import Any
from unittest import mock


def load_byzfl() -> Any:
    """ByzFL and torch.

    Raises:
      ImportError: why they can't be had.
    """
    torch = importlib.import_module("torch")
    if "byzfl" in sys.modules:
        return sys.modules["byzfl"], torch
    # Its script that reads data sets asks for torchvision, and nothing here uses that script.
    with mock.patch.dict(sys.modules, {"torchvision": mock.MagicMock()}):
        byzfl = importlib.import_module("byzfl")
        # All that came along stays: compiled modules, such as scikit-learn's, load only once.
        found = {name: module for name, module in sys.modules.items() if name != "torchvision"}
    sys.modules.update(found)
    return byzfl, torch
