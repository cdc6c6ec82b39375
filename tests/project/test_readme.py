"""The README's Python, that of the pages one starts from, run as it stands, and the notebooks."""

import json
import math
import re
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.support.paths import DOCS, ROOT


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


def test_a_rule_and_an_attack_are_called():
    (block,) = [block for block in blocks_of(ROOT / "README.md") if "updates = " in block]
    *calls, refused = block.strip().splitlines()
    names: dict = {}
    exec("\n".join(calls), names)
    assert names["updates"].shape == (10, 1000)
    with pytest.raises(ValueError, match=re.escape(refused.partition("# ValueError: ")[2])):
        exec(refused, names)


@pytest.mark.thorough
def test_a_training_run(tmp_path, monkeypatch):
    (block,) = [block for block in blocks_of(ROOT / "README.md") if "sweep(" in block]
    assert sum(map(bool, block.splitlines())) <= 15
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict = {}
    exec(block, names)
    assert (tmp_path / "accuracy.png").stat().st_size > 1000
    accuracy = names["run"].columns["accuracy"][::10]
    assert accuracy.shape == (31,) and np.nanmax(accuracy) > 0.8


@pytest.mark.slower
def test_problems_of_ones_own():
    names: dict = {}
    for block in blocks_of(DOCS / "your-own-problem.md"):
        exec(block, names)
    errors = -names["run"](names["regression"]).columns["accuracy"]
    assert errors[0] > 100 and errors[-1] < 0.03
    errors = -names["run"](names["with_nnx"], learning_rate=0.01, steps=200).columns["accuracy"]
    assert errors[0] > 100 and errors[-1] < 0.3


@pytest.mark.slower
def test_watching_and_keeping(tmp_path, monkeypatch):
    written: dict = {}

    class SummaryWriter:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, name, value, step):
            written.setdefault((self.folder, name), {})[int(step)] = float(value)

    module = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks_of(DOCS / "watching.md"):
        *_, last = block.strip().splitlines()
        exec(block, names)
        if last.startswith("task.accuracy"):
            names["found"] = [*names.get("found", []), float(eval(last, names))]
    columns = names["results"][1].columns
    assert written["logs/seed-2", "loss"].keys() == set(range(100))
    accuracies = written["logs/seed-2", "accuracy"]
    assert accuracies.keys() == {*range(0, 101, 10)}
    assert all(columns["accuracy"][step] == value for step, value in accuracies.items())
    kept = names["steps"]
    assert kept.groupby("seed")["loss"].size().to_dict() == {1: 101, 2: 101}
    assert set(kept["step"][kept["accuracy"].notna()]) == accuracies.keys()
    of_first, of_kept = names["found"]
    assert of_first == pytest.approx(names["results"][0].columns["accuracy"][-1], abs=1e-6)
    assert of_kept == pytest.approx(names["runs"]["final_accuracy"][0], abs=1e-6)


def test_the_table_beside_the_released_program_is_of_the_kept_runs():
    theirs = pd.read_csv(ROOT / "tests" / "golden" / "runs.csv").query("seed <= 5")
    kept = ROOT / "experiments" / "distributed_momentum" / "data" / "runs.parquet"
    ours = pd.read_parquet(kept).rename(columns={"highest_accuracy": "max_accuracy"})
    table = re.findall(r"^\| `(mnist-\S+)` (\|.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {name for name, _ in table} == set(theirs["configuration"])
    for name, row in table:
        both = theirs[theirs["configuration"] == name], ours[ours["name"] == name]
        (p, q), (s, t) = (one["max_accuracy"].agg(["mean", "std"]) for one in both)
        allowed = 3 * math.sqrt((q**2 + t**2) / 5) + 0.01
        ratios = [
            one[f"mean_log_{kind}_ratio"].mean() for kind in ("honest", "sampled") for one in both
        ]
        cells = [f"{p:.4f} ± {q:.4f}", f"{s:.4f} ± {t:.4f}", f"{s - p:+.4f}", f"{allowed:.4f}"]
        assert row == f"| {' | '.join(cells + [f'{ratio:.3f}' for ratio in ratios])} |"
        assert abs(s - p) <= allowed and np.ptp(ratios[:2]) <= 0.2 and np.ptp(ratios[2:]) <= 0.2


@pytest.mark.parametrize(
    "path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_a_notebook_is_stored_as_run_from_top_to_bottom(path):
    """With outputs, so that a forge shows them, and small ones."""
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert path.stat().st_size < 250_000
    assert str(ROOT) not in path.read_text()
