"""Study: runs of ByzFL's benchmark on both sides, and their table."""

import sys
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments.byzfl_conformance import ours, theirs
from experiments.byzfl_conformance.options import Options
from experiments.byzfl_conformance.setting import Setting
from experiments.shared.files import save_table
from experiments.shared.formats import Printer, add_numbers, counted, tell_written
from experiments.shared.options.checks import check_options
from experiments.shared.progress import Ask, bar, never
from simbyz import records
from simbyz.data import Dataset, load


def prepare(options: Options) -> Dataset:
    """The data, all checked that can be before the first step."""
    if not 1 <= options.f <= 9:
        raise ValueError(
            f"f must be from 1 to 9, below half of all beside 10 honest workers, got {options.f}"
        )
    check_options(options, "attack")
    dataset = load("mnist", data_dir=options.data_dir)
    records.prepare_folder(options.results)
    return dataset


def compare(options: Options, dataset: Dataset, stop: Ask = never) -> pd.DataFrame:
    """One row an attack; NaN in ByzFL's columns where it can't be imported."""
    rows = []
    missing = ""
    with bar(2 * len(options.attack), "sweep", stop) as progress:
        for attack in options.attack:
            setting = Setting(attack, f=options.f, gamma=options.gamma, steps=options.steps)
            mine = ours.run(setting, dataset, options.seeds)
            progress(1, attack)
            row: dict[str, Any] = {"attack": attack, "f": options.f, "gamma": options.gamma}
            row |= {"steps": options.steps, "seeds": len(options.seeds)}
            row |= described("simbyz", mine)
            try:
                row |= described("byzfl", theirs.run(setting, dataset, options.seeds))
            except ImportError as error:
                missing = f"ByzFL is left out: {str(error).splitlines()[0]}; pip install '.[peers]'"
            progress(1, attack)
            rows.append(row)
    if missing:
        print(missing, file=sys.stderr)
    columns = described("byzfl", ours.Outcome(np.array([np.nan]), np.nan, np.nan))
    table = pd.DataFrame(rows)
    table = table.reindex(columns=[*table.columns, *(c for c in columns if c not in table)])
    return table.assign(ratio=table["byzfl_cpu_seconds"] / table["simbyz_cpu_seconds"])


def described(side: str, outcome: ours.Outcome) -> dict[str, float]:
    accuracies = outcome.accuracies
    return {
        f"{side}_accuracy": float(np.mean(accuracies)),
        f"{side}_deviation": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else np.nan,
        f"{side}_diverged": outcome.diverged,
        f"{side}_cpu_seconds": outcome.cpu_seconds,
        f"{side}_preparation": outcome.preparation,
    }


def print_table(table: pd.DataFrame, console: Console) -> None:
    """Within 100 columns."""
    first = table.iloc[0]
    lost = (table[["byzfl_diverged", "simbyz_diverged"]] > 0).any(axis=None)
    shown = Table(
        title=f"MNIST, 10 honest + {first['f']}, γ = {first['gamma']:g}, {first['steps']} steps, "
        f"{counted(first['seeds'], 'seed')}",
        caption="final test accuracy, % ± deviation over seeds; CPU seconds of all steps and "
        "seeds, in brackets what comes before: compiling, setting up"
        + ("; ✕: so many seeds diverged" if lost else ""),
    )
    shown.add_column("attack")
    add_numbers(shown, "ByzFL", "simbyz", "ByzFL, CPU s", "simbyz, CPU s", "ratio")
    for row in table.to_dict("records"):
        shown.add_row(
            row["attack"],
            _accuracy(row, "byzfl"),
            _accuracy(row, "simbyz"),
            *(
                f"{row[f'{side}_cpu_seconds']:.0f} ({row[f'{side}_preparation']:.0f})"
                for side in ("byzfl", "simbyz")
            ),
            f"{row['ratio']:.1f}",
        )
    console.print(shown)


def _accuracy(row: dict, side: str) -> str:
    mean, deviation, diverged = (
        row[f"{side}_{name}"] for name in ("accuracy", "deviation", "diverged")
    )
    if np.isnan(mean):
        return "-"
    spread = "" if np.isnan(deviation) else f" ± {100 * deviation:.2f}"
    return f"{100 * mean:.2f}{spread}" + (f" ✕{diverged:.0f}" if diverged > 0 else "")


def execute(options: Options, dataset: Dataset, stop: Ask) -> None:
    """Run what is asked for; print and write the table."""
    table = compare(options, dataset, stop)
    print_table(table, Printer(options.format))
    tell_written([save_table(table, options.results / "byzfl_conformance.csv")], options.format)
