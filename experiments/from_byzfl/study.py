"""Study: the runs that a file of ByzFL asks for, its tables and heatmaps."""

import dataclasses
import hashlib
import sys
from pathlib import Path

import pandas as pd

from experiments.defence_matrix.runs import share
from experiments.defence_matrix.tables import print_matrix
from experiments.from_byzfl import pictures
from experiments.from_byzfl.choose import COLUMNS, table_of
from experiments.from_byzfl.networks import DATASETS
from experiments.from_byzfl.options import Options
from experiments.from_byzfl.reading import Benchmark, read
from experiments.from_byzfl.runs import Run, runs_of
from experiments.from_byzfl.simulate import check, code, simulate, split
from experiments.shared.files import save_figures, save_table
from experiments.shared.formats import Printer, tell_written
from experiments.shared.mixing import refuse_other_code
from experiments.shared.options.checks import check_batch_size
from experiments.shared.progress import Ask, drawing, never, run_all
from simbyz import records
from simbyz.data import Dataset, load
from simbyz.records.whole_files import write_whole

KEPT = "config.json"  # the copy's name


def prepare(options: Options) -> tuple[Benchmark, list[Run], Dataset, Path]:
    """Check everything that can be before the first step; last is the folder of `folder_of`."""
    file = options.config.read_bytes() if options.config.is_file() else b""
    benchmark = read(options.config, dataset=options.dataset, leave_out=options.leave_out)
    runs = runs_of(benchmark)
    dataset = _load(benchmark, options)
    check(runs)
    for level, honest, seed in {(r.heterogeneity, r.honest, r.partition_seed) for r in runs}:
        training, _ = split(dataset, benchmark.train_share, seed)
        labels, whose = training.train_labels, f"{dataset.name} without validation"
        check_batch_size(benchmark.batch_size, len(labels), whose)
        share(level, labels, honest, seed)
    refuse_other_code(runs, options, code())
    folder = folder_of(options, file)
    records.prepare_folder(folder)
    write_whole(folder / KEPT, lambda kept: kept.write(file), "copy")
    return benchmark, runs, dataset, folder


def _load(benchmark: Benchmark, options: Options) -> Dataset:
    try:
        known = DATASETS[benchmark.dataset]
        dataset = load(known.name, data_dir=options.data_dir)
        return dataclasses.replace(dataset, flip=known.mirrored)
    except OSError as error:
        raise OSError(f"{error}: --dataset digits tries the file on them") from error


def folder_of(options: Options, file: bytes) -> Path:
    """Of the table and the pictures, and of a copy of the configuration file that they are of.

    It is named as the file is; where that folder is of a file of the same name that holds something
    else, a digest of what this one holds stands behind.
    """
    name = options.config.stem
    folder = options.results / (name if options.dataset is None else f"{name}-{options.dataset}")
    kept = folder / KEPT
    if not kept.is_file() or kept.read_bytes() == file:
        return folder
    return folder.with_name(f"{folder.name}-{hashlib.sha256(file).hexdigest()[:8]}")


def main(options: Options) -> pd.DataFrame:
    """Run what is asked for and not on disk yet; returns the table."""
    _, runs, dataset, _ = prepare(options)
    return compute(options, runs, dataset)


def compute(options: Options, runs: list[Run], dataset: Dataset, stop: Ask = never) -> pd.DataFrame:
    """The table of these runs, from their files."""
    run_all(simulate, runs, dataset, options.results, stop)
    files = [one.file for one in runs]
    found = records.read_runs(options.results)
    digests = dict(zip(found["file"], found["digest"], strict=True))
    steps = records.read_steps(options.results, files=files, columns=COLUMNS)
    return table_of(runs, steps, digests)


def write(table: pd.DataFrame, benchmark: Benchmark, folder: Path) -> list[Path]:
    """The table as CSV, and each heatmap as PDF and PNG."""
    figures = pictures.figures(table, benchmark)
    return [
        save_table(table, folder / "from_byzfl.csv"),
        *save_figures(figures, folder, ("png", "pdf")),
    ]


def execute(
    options: Options, prepared: tuple[Benchmark, list[Run], Dataset, Path], stop: Ask
) -> None:
    """Run what is missing; print and write the tables."""
    benchmark, runs, dataset, folder = prepared
    for kind, lines in (("left out", benchmark.left_out), ("note", benchmark.notes)):
        for line in lines:
            print(f"{kind}: {line}", file=sys.stderr)
    table = compute(options, runs, dataset, stop)
    of_kind = pictures.counted(table, benchmark).groupby(["workers", "declared"], sort=False)
    for (workers, declared), part in of_kind:
        told = "" if benchmark.tolerated is None else f", {declared} tolerated"
        print_matrix(
            part,
            f"{benchmark.dataset}, {benchmark.network}, {workers} "
            f"{'workers' if benchmark.honest_are_all else 'honest workers'}{told}, "
            f"{benchmark.steps} steps; each run at the best of its evaluations",
            Printer(options.format),
        )
    drawing(stop)
    tell_written(write(table, benchmark, folder), options.format, pictures=True)
