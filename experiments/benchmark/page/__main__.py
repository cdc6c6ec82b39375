"""The page and its pictures, of the tables that are kept: docs/benchmark.md.

python -m experiments.benchmark.page                          # of the tables that are there
python -m experiments.benchmark.page results/benchmark ...    # first adds the runs of folders
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.benchmark.answers import ranking
from experiments.benchmark.entries.parts import PARTS, RANKING, part_of
from experiments.benchmark.options import Options
from experiments.benchmark.page import pictures
from experiments.benchmark.page.sections import page
from experiments.benchmark.results import KEPT, Results, kept_tables, write_table
from experiments.benchmark.study import parts_of, runs_of
from experiments.shared.files import save_figure, save_text

DOCS = Path(__file__).parents[3] / "docs"


def command(folders: Sequence[str]) -> None:
    """Add the runs of these folders to those kept; write page and pictures."""
    if {"-h", "--help"} & set(folders):
        print(__doc__, end="")
        return
    if empty := [folder for folder in folders if not any(Path(folder, "runs").glob("*.parquet"))]:
        sys.exit(f"error: there are no runs of the benchmark in {empty[0]}")
    for folder in folders:
        keep(Path(folder))
    tables = kept_tables()
    save_text(page(tables), DOCS / "benchmark.md")
    for name, runs in tables.items():
        table = ranking.worst_cases(part_of(PARTS[RANKING], runs))
        figure = pictures.ranking(table, int(runs["n"].iloc[0]))
        save_figure(figure, DOCS / f"benchmark-{name}.png", dpi=110)
    every = part_of(PARTS["attacks"], tables["digits"])
    for name, figure in pictures.heatmaps(
        ranking.under_attack(every), ranking.worst_cases(every), int(every["n"].iloc[0])
    ):
        if name.startswith("attacks-f_6"):
            save_figure(figure, DOCS / "benchmark-attacks.png", dpi=110)


def keep(folder: Path) -> None:
    """Add the runs of a folder to those kept, a table a data set, in the place of equal ones."""
    for name in Results(folder).runs["dataset"].unique():
        asked = parts_of(Options(dataset=name, full=True)).values()
        wanted = dict.fromkeys(run for each in asked for run in runs_of(each, {}))
        found = Results(folder, name).of(list(wanted)).drop(columns="kept")
        write_table(found, KEPT / f"{name}.parquet")


if __name__ == "__main__":
    command(sys.argv[1:])
