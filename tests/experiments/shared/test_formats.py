"""Tables in every format hold the same cells."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from rich.table import Table

from experiments.shared.formats import (
    Printer,
    as_csv,
    as_latex,
    as_markdown,
    columns_of,
    counted,
    of_seeds,
    tell_written,
)


@pytest.fixture
def table():
    table = Table(title="digits, 2 seeds", caption="in %")
    table.add_column("rule")
    table.add_column("accuracy\nat the end", justify="right")
    table.add_column("ratio", justify="right")
    table.add_row("krum_1", "92.9 ± 0.4\n85.1 ± 4.0\n2✕", "0.5")
    table.add_row("a|b & c", "-\n80.0", "∞")
    return table


def test_each_line_of_a_cell_is_a_column(table):
    assert columns_of(table) == {
        "rule": ["krum_1", "a|b & c"],
        "accuracy": ["92.9 ± 0.4", "-"],
        "accuracy, at the end": ["85.1 ± 4.0", "80.0"],
        "accuracy: note": ["2✕", ""],
        "ratio": ["0.5", "∞"],
    }


def test_csv_is_read_back_as_numbers(table):
    found = pd.read_csv(io.StringIO(as_csv(table)), na_values=["-"])
    assert found["rule"].tolist() == ["krum_1", "a|b & c"]
    assert found["accuracy"].tolist()[0] == 92.9 and pd.isna(found["accuracy"][1])
    assert found["accuracy ±"].tolist()[0] == 0.4
    assert found["accuracy, at the end"].tolist() == [85.1, 80.0]
    assert found["accuracy, at the end ±"].tolist()[0] == 4.0
    assert list(found)[-2:] == ["accuracy: note", "ratio"]


def test_what_stands_behind_a_number_spoils_none_in_csv():
    table = Table()
    table.add_column("rule")
    table.add_column("accuracy")
    table.add_column("ratio")
    table.add_row("2 krum", "92.9 ± 0.4 sf", "3.00 ×")
    table.add_row("median", "88.0 n", "1e-3")
    found = pd.read_csv(io.StringIO(as_csv(table)))
    assert found["rule"].tolist() == ["2 krum", "median"]
    assert found["accuracy"].tolist() == [92.9, 88.0] and found["ratio"].tolist() == [3.0, 1e-3]
    assert found["accuracy ±"].tolist()[0] == 0.4 and pd.isna(found["accuracy ±"][1])
    assert found["accuracy: note"].tolist() == ["sf", "n"] and found["ratio: note"][0] == "×"


def test_a_cross_behind_a_number_spoils_none_in_csv():
    """As the matrices have it behind the mean, and others behind the deviation."""
    table = Table()
    for name in ("accuracy", "momentum", "lost"):
        table.add_column(name)
    table.add_row("92.9✕ ± 0.4 sf", "80.5 ± 1.5✕", "2✕")
    table.add_row("88.0 n", "81.0✕", "")
    found = pd.read_csv(io.StringIO(as_csv(table)), keep_default_na=False)
    assert found["accuracy"].tolist() == [92.9, 88.0]
    assert found["accuracy: note"].tolist() == ["✕ sf", "n"]
    assert found["momentum"].tolist() == [80.5, 81.0]
    assert found["momentum ±"].tolist() == ["1.5", ""]
    assert found["momentum: note"].tolist() == ["✕", "✕"]
    assert found["lost"].tolist() == ["2✕", ""]


def test_what_is_infinite_or_above_a_bound_is_a_number_in_csv():
    table = Table()
    for name in ("found", "apart"):
        table.add_column(name)
    table.add_row("∞ nan", "1.0 ± ∞")
    table.add_row("-∞ inf", "∞ ± 0.5")
    table.add_row("0.400!", "∞")
    found = pd.read_csv(io.StringIO(as_csv(table)), keep_default_na=False)
    assert found["found"].tolist() == [np.inf, -np.inf, 0.4]
    assert found["found: note"].tolist() == ["nan", "inf", "!"]
    assert found["apart"].tolist() == [1.0, np.inf, np.inf]
    assert found["apart ±"].tolist() == ["inf", "0.5", ""]


def test_each_row_in_csv_has_the_names_that_are_read_off_the_row_above():
    table = Table()
    for name in ("rule", "after", "data", "accuracy"):
        table.add_column(name)
    table.add_row("median", "", "iid", "1.0")
    table.add_row("", "", "extreme", "2.0")
    table.add_row("median", "nnm", "iid", "3.0")
    table.add_row("", "", "extreme", "")
    found = pd.read_csv(io.StringIO(as_csv(table)), keep_default_na=False)
    assert found["rule"].tolist() == 4 * ["median"]
    assert found["after"].tolist() == ["", "", "nnm", "nnm"]
    assert found["data"].tolist() == 2 * ["iid", "extreme"]
    assert found["accuracy"].tolist() == ["1.0", "2.0", "3.0", ""]


def test_signs_in_latex_are_its_own():
    table = Table(title="σ = 0.1, ζ², f̂ < f ≤ n, µs")
    text = as_latex(table)
    assert r"$\sigma$ = 0.1, $\zeta$$^2$, $\hat{f}$ $<$ f $\leq$ n, $\mu$s" in text


@pytest.mark.parametrize("format", ["csv", "latex", "markdown"])
def test_a_line_that_is_no_table_goes_to_standard_error(format, table, capsys):
    printer = Printer(format)
    printer.print(table)
    printer.note("two nodes [1]")
    words = "digits, 2 seeds\nin %\n" if format == "csv" else ""  # others have a place for them
    assert capsys.readouterr().err == f"{words}two nodes [1]\n"
    Printer().note("two nodes [1]")
    assert capsys.readouterr().out == "two nodes [1]\n"


def test_files_of_one_folder_name_it_once(capsys):
    paths = [Path("results/a/b.csv"), Path("results/a/c.png")]
    tell_written(paths, "table")
    tell_written([*paths, Path("results/d.png")], "table")
    assert capsys.readouterr().out.splitlines() == [
        "written: b.csv, c.png in results/a",
        "written: results/a/b.csv, results/a/c.png, results/d.png",
    ]


def test_markdown(table):
    title, _, head, rules, *rows, _, caption = as_markdown(table).strip().splitlines()
    assert (title, caption) == ("digits, 2 seeds", "in %")
    assert head == "| rule | accuracy | accuracy, at the end | accuracy: note | ratio |"
    assert rules == "| --- | --: | --: | --: | --: |"
    assert rows[0] == "| krum_1 | 92.9 ± 0.4 | 85.1 ± 4.0 | 2✕ | 0.5 |"
    assert rows[1].startswith(r"| a\|b & c | - |")


def test_latex(table):
    text = as_latex(table)
    assert r"\begin{tabular}{lrrrr}" in text and r"\caption{digits, 2 seeds. in \%}" in text
    assert r"    krum\_1 & 92.9 $\pm$ 0.4 & 85.1 $\pm$ 4.0 & 2$\times$ & 0.5 \\" in text
    assert r"    a|b \& c & - & 80.0 &  & $\infty$ \\" in text
    assert text.count(r"\\") == 3 and text.isascii()


@pytest.mark.parametrize("format", ["table", "csv", "latex", "markdown"])
def test_a_printer_prints_text_as_it_is(format, table):
    file = io.StringIO()
    printer = Printer(format, file=file)
    printer.print("note")
    printer.print(table)
    plain = io.StringIO()
    console = Console(width=100, file=plain)
    console.print("note")
    if format == "table":
        console.print(table)
        assert file.getvalue() == plain.getvalue()
    else:
        writer = {"csv": as_csv, "latex": as_latex, "markdown": as_markdown}[format]
        assert file.getvalue() == plain.getvalue() + writer(table)


@pytest.mark.parametrize("width", [36, 20])
def test_a_narrow_terminal_cuts_nothing(width, table):
    for column in table.columns:
        column.no_wrap = True
    file = io.StringIO()
    Printer(width=width, file=file).print(table)
    lines = file.getvalue().splitlines()
    assert "92.9 ± 0.4" in file.getvalue() and "…" not in file.getvalue()
    # Without edges and padding: the widest cells, and a place between them.
    assert max(map(len, lines)) <= max(width, len("a|b & c") + 1 + len("92.9 ± 0.4") + 1 + 5)


def test_a_table_that_is_too_wide_cuts_nothing():
    """Two rows that differ in the last letters alone, of 2 · 60 letters."""
    table = Table()
    for name in ("after", "data"):
        table.add_column(name, no_wrap=True)
    for level in ("gamma:1", "gamma:0"):
        table.add_row("x" * 60, "y" * 60 + level)
    file = io.StringIO()
    Printer(file=file).print(table)
    assert "gamma:1" in file.getvalue() and "gamma:0" in file.getvalue()
    assert "…" not in file.getvalue()


def test_one_thing_has_no_plural():
    assert (of_seeds((1,)), of_seeds((1, 2))) == ("seed 1", "seeds 1, 2")
    assert counted(1, "seed") == "1 seed" and counted(0, "seed") == "0 seeds"
    assert [counted(number, "seed") for number in np.array([1, 2])] == ["1 seed", "2 seeds"]
