"""The code behind a run: a digest that the layout of the code doesn't change, and its words do."""

import dataclasses
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from experiments.distributed_momentum.__main__ import command
from experiments.distributed_momentum.analysis.run_table import read_table
from experiments.distributed_momentum.commands.grid import select
from experiments.distributed_momentum.grid.cells import cells
from experiments.distributed_momentum.grid.programs import Run
from experiments.distributed_momentum.options.work import TABLE
from experiments.distributed_momentum.running.campaign import together
from experiments.distributed_momentum.running.simulate import code
from experiments.report.__main__ import command as report
from experiments.report.gather import gather
from experiments.shared.mixing import refuse_mixed
from simbyz import records
from simbyz.records import provenance
from simbyz.records.provenance import digest_of
from tests.support import fake_runs
from tests.support.fake_runs import FEW

SOURCE = '''"""What it does."""
RATE = 0.5


def step(x, rate=RATE):
    """One step."""
    return x - rate * x
'''
RUNS = select(FEW)


class TestDigest:
    def of(self, tmp_path, text, name="one.py"):
        path = tmp_path / name
        path.write_text(text)
        return digest_of([path])

    @pytest.mark.parametrize(
        "change",
        [
            ('"""What it does."""', '"""Something else."""'),
            ('    """One step."""\n', ""),
            ("RATE = 0.5", "RATE = 0.5  # the paper's"),
            ("rate * x", "(rate\n        * x)"),
            ("(x, rate=RATE)", "(x: float, rate: float = RATE) -> float"),
            ("RATE = 0.5", "import math\n\nRATE = 0.5\n__all__ = ['RATE']"),
        ],
    )
    def test_layout_and_words_about_the_code_don_t_count(self, tmp_path, change):
        assert self.of(tmp_path, SOURCE.replace(*change)) == self.of(tmp_path, SOURCE)

    @pytest.mark.parametrize(
        "change",
        [("0.5", "0.25"), ("- rate", "+ rate"), ("RATE)", "1)"), ("0.5", "'0.5'"), ("* x", "* -x")],
    )
    def test_what_it_computes_does(self, tmp_path, change):
        assert SOURCE.replace(*change) != SOURCE
        assert self.of(tmp_path, SOURCE.replace(*change)) != self.of(tmp_path, SOURCE)

    def test_a_string_that_is_no_docstring_counts(self, tmp_path):
        assert self.of(tmp_path, "x = 1\n'a'\n") != self.of(tmp_path, "x = 1\n'b'\n")

    def test_the_order_of_files_does_not_count(self, tmp_path):
        paths = [tmp_path / "one.py", tmp_path / "two.py"]
        for path, text in zip(paths, (SOURCE, SOURCE.replace("0.5", "0.25")), strict=True):
            path.write_text(text)
        assert digest_of(paths) == digest_of(paths[::-1]) != digest_of(paths[:1])


HALF, THIRD = "def step(x):\n    return x / 2\n", "def step(x):\n    return x / 3\n"
FLAT = {
    "halves.py": HALF,
    "thirds.py": THIRD,
    "run.py": "from house.halves import step\n\n\ndef run(x):\n    return step(step(x))\n",
    "all.py": "from house import halves, thirds\n\nBOTH = (halves.step, thirds.step)\n",
}
IN_ROOMS = {
    "steps/__init__.py": '"""Steps."""\n\nfrom house.steps.by_two import step as halved\n',
    "steps/by_two.py": HALF,
    "steps/by_three.py": THIRD,
    "runs/__init__.py": "",
    "runs/run.py": FLAT["run.py"].replace("halves import step", "steps import halved as step"),
    "all.py": ("from house.steps import by_three, by_two\n\nBOTH = (by_two.step, by_three.step)\n"),
}


class TestMovedFiles:
    """Runs from before a move are runs of the same code; those from before a change are not."""

    def of(self, folder, files, without=()):
        house = folder / "house"
        for name, text in {"__init__.py": "", **files}.items():
            (house / name).parent.mkdir(parents=True, exist_ok=True)
            (house / name).write_text(text)
        return digest_of(path for path in house.rglob("*.py") if path.name not in without)

    def test_where_files_lie_does_not_count(self, tmp_path):
        assert self.of(tmp_path / "old", FLAT) == self.of(tmp_path / "new", IN_ROOMS)

    @pytest.mark.parametrize("name", ["steps/by_two.py", "steps/by_three.py", "runs/run.py"])
    def test_a_changed_body_does(self, tmp_path, name):
        changed = IN_ROOMS | {name: IN_ROOMS[name].replace("return ", "return -")}
        assert self.of(tmp_path / "old", FLAT) != self.of(tmp_path / "new", changed)

    def test_so_does_a_namesake_from_another_file(self, tmp_path):
        changed = FLAT | {"run.py": FLAT["run.py"].replace("halves", "thirds")}
        assert self.of(tmp_path / "old", FLAT) != self.of(tmp_path / "new", changed)

    def test_so_does_another_package(self, tmp_path):
        one, other = (f"from {name} import log\n\nx = log(2)\n" for name in ("math", "cmath"))
        assert self.of(tmp_path / "old", {"a.py": one}) != self.of(
            tmp_path / "new", {"a.py": other}
        )

    def test_files_that_decide_no_number_do_not(self, tmp_path):
        without = {"all.py", "log.py"}
        told = FLAT["run.py"].replace("import step", "import step\nfrom house.log import tell")
        told = told.replace("    return", "    tell(x)\n    return")
        before = self.of(tmp_path / "old", FLAT | {"run.py": told, "log.py": HALF}, without)
        moved = FLAT | {"run.py": told.replace("house.log", "house.logs.log"), "logs/log.py": THIRD}
        assert before == self.of(tmp_path / "new", moved | {"logs/__init__.py": ""}, without)


def test_the_digest_of_the_library_counts_what_decides_numbers(monkeypatch):
    counted = []
    monkeypatch.setattr(provenance, "digest_of", lambda paths: counted.extend(paths))
    provenance.code_digest.__wrapped__(Path("mine.py"))
    package = Path(provenance.__file__).parents[1]
    names = {str(path.relative_to(package)) for path in counted if path.is_absolute()}
    assert Path("mine.py") in counted
    assert {"simulator/step.py", "aggregators/distance.py", "attacks/fixed.py"} <= names
    assert not {name for name in names if name.startswith(("records/", "theory/"))}


def test_what_a_run_s_file_says():
    found = provenance.provenance()
    assert found["jax_version"] != "unknown" and found["python_version"].startswith("3.")
    assert found["device_platform"] and found["num_devices"] >= 1 and found["num_cpus"] >= 1
    assert pd.Timestamp(found["time_utc"]).tz is not None
    assert len(code()) == 10


def write(folder, runs, code=None):
    for run in runs:
        fake_runs.write(folder, run, 0.5, code=code)
    return str(folder)


COMMANDS = ("analyse", "plot", "collect", "report")


def arguments(name, results, tmp_path):
    """A command of the experiment on folders of results, writing below tmp_path."""
    table = str(tmp_path / "table.parquet")
    more = {
        "plot": ["--figures", str(tmp_path / "figures")],
        "collect": ["--table", table],
        "report": [
            *("--table", table, "--report", str(tmp_path / "REPORT.md")),
            *("--figures", str(tmp_path / "figures")),
        ],
    }
    return [name, "--results", *results, *more.get(name, [])]


class TestMixing:
    @pytest.mark.parametrize("name", COMMANDS)
    @pytest.mark.parametrize("kinds", [("aaaaaaaaaa", "bbbbbbbbbb"), (None, "bbbbbbbbbb")])
    def test_different_code_is_refused_in_one_line(self, name, kinds, tmp_path, capsys):
        one = write(tmp_path / "one", RUNS[:5], kinds[0])
        other = write(tmp_path / "other", RUNS[5:], kinds[1])
        assert command(arguments(name, [one, other], tmp_path)) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        first = "unknown code" if kinds[0] is None else "code aaaaaaaaaa with jax 0"
        assert f"5 of {first} (such as {RUNS[0].file})" in error
        assert f"3 of code bbbbbbbbbb with jax 0 (such as {RUNS[5].file})" in error
        assert "--allow-mixed" in error
        assert {path.name for path in tmp_path.iterdir()} == {"one", "other"}

    @pytest.mark.parametrize("name", ["analyse", "collect"])
    @pytest.mark.parametrize("kind", [None, "aaaaaaaaaa"])
    def test_one_code_is_taken(self, name, kind, tmp_path, capsys):
        one, other = (
            write(tmp_path / half, runs, kind)
            for half, runs in (("one", RUNS[:5]), ("other", RUNS[5:]))
        )
        assert command(arguments(name, [one, other], tmp_path)) == 0
        assert "different code" not in capsys.readouterr().out

    @pytest.mark.slower
    def test_on_request_mixed_runs_are_taken_and_told(self, tmp_path, capsys):
        one = write(tmp_path / "one", RUNS[:5])
        other = write(tmp_path / "other", RUNS[5:], "bbbbbbbbbb")
        for name in ("analyse", "collect", "report"):
            asked = arguments(name, [one, other], tmp_path)
            assert command([*asked, "--allow-mixed"]) == 0
        assert "runs of different code: 5 of unknown code" in capsys.readouterr().out
        assert (
            "Note: runs of different code: 5 of unknown code"
            in (tmp_path / "REPORT.md").read_text()
        )
        # The table remembers.
        assert command(["analyse", "--table", str(tmp_path / "table.parquet")]) == 2

    def test_different_settings_under_one_name(self, tmp_path, capsys):
        folder = write(tmp_path / "one", RUNS)
        cell = dataclasses.replace(RUNS[0].cell, batch_size=7)  # a default that moved, say
        fake_runs.write(folder, Run(cell, 9), 0.5)
        assert cell.name == RUNS[0].cell.name
        assert command(["analyse", "--results", folder]) == 2
        error = capsys.readouterr().err
        assert f"different settings under one name, {cell.name}: " in error
        assert Run(cell, 9).file in error and error.count("\n") == 1
        assert command(["analyse", "--results", folder, "--allow-mixed"]) == 0

    @pytest.mark.slower
    def test_the_kept_table_goes_with_files_from_before_the_record(self, tmp_path, capsys):
        kept = read_table(TABLE)
        assert len(kept) and (kept["code_digest"] == "").all()
        fresh = select(dataclasses.replace(FEW, seeds=(77,)))
        folder = write(tmp_path / "one", fresh)
        assert command(["analyse", "--table", "--results", folder]) == 0
        copy = tmp_path / "table.parquet"
        copy.write_bytes(TABLE.read_bytes())
        assert command(["collect", "--results", folder, "--table", str(copy)]) == 0
        assert len(pq.read_table(copy)) == len(kept) + len(fresh)

    def test_the_page(self, tmp_path, capsys):
        one = write(tmp_path / "one", RUNS[:5])
        other = write(tmp_path / "other", RUNS[5:], "bbbbbbbbbb")
        assert report([one, other]) == 2
        error = capsys.readouterr().err
        assert "runs of different code: 5 of unknown code" in error and error.count("\n") == 1
        assert not list(tmp_path.rglob("*.html"))
        content = gather([Path(one), Path(other)], allow_mixed=True)
        assert [line.split(", on cpu, ")[1] for line in content["versions"]] == [
            "unknown code",
            "code bbbbbbbbbb with jax 0",
        ]

    def test_the_comparison_refuses_before_it_computes(self, tmp_path, capsys, monkeypatch):
        options = "--rule median --attack little --f 5 --steps 3 --seeds 1".split()
        chosen = cells("digits", rules=["median"], attacks=["little"], f=[5], steps=3)
        fake_runs.write(tmp_path, Run(chosen[0], 1), 0.5)
        assert command([*options, "--results", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert f"1 of code {code()} with jax" in error and error.count("\n") == 1
        assert len(list(tmp_path.iterdir())) == 1
        # All there: nothing to compute, nothing mixed.
        fake_runs.write(tmp_path, Run(chosen[1], 1), 0.5)
        asked = [Run(cell, 1) for cell in chosen[:2]]
        refuse_mixed(together(asked, tmp_path))


def test_settings_are_those_of_all_seeds(tmp_path):
    write(tmp_path, RUNS)
    runs = records.read_runs(tmp_path)
    assert runs.groupby("name")["settings"].nunique().eq(1).all()
    assert runs["settings"].nunique() == runs["name"].nunique() == 4
