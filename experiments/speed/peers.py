"""Other libraries' rules on the same stack, where they are at hand; otherwise a word on why not."""

import functools
import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.shared.load_byzfl import load_byzfl
from experiments.speed.timing import Overwriting

Calls = dict[str, Callable[[], object]]

# The released program's names, where they differ from ours. What it calls krum averages rows.
RELEASED = {
    "median": "median",
    "trmean": "trimmed_mean",
    "phocas": "phocas",
    "meamed": "meamed",
    "krum": "multi_krum",
    "bulyan": "bulyan",
    "aksel": "aksel",
    "cge": "cge",
}
# A peer that gathers n - f rows for every row is left out where these would take more bytes.
MOST_BYTES = 6e9


def peers(stack: np.ndarray, f: int, released: Path | None) -> tuple[Calls, list[str]]:
    """Calls by name, "library path: our name of the rule", and what was left out, and why."""
    calls: Calls = {}
    left_out = []
    for name, find in (
        ("byzfl", lambda: _byzfl(stack, f)),
        ("released program", lambda: _released(stack, f, released)),
    ):
        try:
            calls |= find()
        except Exception as error:  # whatever another library's import or constructor raises
            left_out.append(f"{name}: left out, {str(error).splitlines()[0]}")
    return calls, left_out


def _byzfl(stack: np.ndarray, f: int) -> Calls:
    n, d = stack.shape
    byzfl, torch = load_byzfl()
    torch.set_num_threads(1)
    calls: Calls = {}
    for path, rows in (("torch", torch.from_numpy(stack)), ("numpy", stack)):
        rules = {
            "median": byzfl.Median(),
            "trimmed_mean": byzfl.TrMean(f),
            "meamed": byzfl.Meamed(f),
            "krum": byzfl.Krum(f),
            "multi_krum": byzfl.MultiKrum(f),
            "geometric_median": byzfl.GeometricMedian(),
            "centered_clipping": byzfl.CenteredClipping(tau=1.0),
            "monna": byzfl.MoNNA(f),
            "average": byzfl.Average(),
            "caf": byzfl.CAF(f),
            "bucketing": byzfl.Bucketing(s=2),
        }
        if n * (n - f) * d * 4 < MOST_BYTES:
            rules["nearest_neighbor_mixing"] = byzfl.NNM(f)
        calls |= {f"byzfl {path}: {k}": functools.partial(rule, rows) for k, rule in rules.items()}
    own = np.empty_like(stack)
    for path, rows in (("torch", torch.from_numpy(own)), ("numpy", own)):
        for name, rule in (
            ("clipping", byzfl.Clipping(c=1.0)),
            ("adaptive_robust_clipping", byzfl.ARC(f)),
        ):
            clip = functools.partial(rule, rows)
            calls[f"byzfl {path}: {name}"] = Overwriting(clip, lambda: np.copyto(own, stack))
    return calls


def _released(stack: np.ndarray, f: int, folder: Path | None) -> Calls:
    if folder is None:
        raise ValueError("no --released folder given")
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # its packages are called aggregators and tools
    rules = importlib.import_module("aggregators").gars
    rows = list(torch.from_numpy(stack))
    return {
        f"released torch: {ours}": functools.partial(rules[theirs].unchecked, gradients=rows, f=f)
        for theirs, ours in RELEASED.items()
        if rules[theirs].check(gradients=rows, f=f) is None
    }
