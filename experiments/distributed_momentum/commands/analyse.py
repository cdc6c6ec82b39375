"""Analysis: the runs' answers, as text and tables."""

import functools
from pathlib import Path

import pandas as pd
from rich.console import Console

from experiments.distributed_momentum.analysis.bootstrap import Share
from experiments.distributed_momentum.analysis.claims import claims, percent
from experiments.distributed_momentum.analysis.extent import (
    condition_lines,
    diverged_lines,
    done_text,
    in_grid,
    missing_lines,
    ratio_lines,
)
from experiments.distributed_momentum.analysis.pairs import (
    EFFECTIVE,
    LOST,
    STAYS_BELOW,
    counts,
    expected,
    pairs_of,
    subsets,
    subsets_of,
)
from experiments.distributed_momentum.analysis.run_table import gather
from experiments.distributed_momentum.figures import certificates
from experiments.distributed_momentum.grid.rules import DIVERGENT
from experiments.distributed_momentum.options.analyse import Options
from experiments.distributed_momentum.options.work import TABLE
from experiments.shared.formats import Printer
from experiments.shared.mixing import kind_lines, refuse_mixed


def prepare(options: Options) -> pd.DataFrame:
    """The runs of the table and the folders.

    Raises:
      ValueError: they contradict each other, they are mixed, or nothing is there.
    """
    tables = () if options.table is None else options.table or (TABLE,)
    folders = folders_of(options)
    if missing := [path for path in tables if not path.exists()]:
        raise ValueError(f"there is no table {missing[0]}; `collect` writes one")
    if missing := [folder for folder in folders if not folder.is_dir()]:
        raise ValueError(f"there is no results folder {missing[0]}; give another with --results")
    runs = gather(folders, tables)
    if runs.empty:
        raise ValueError("there is no run to analyse; `grid` runs some")
    refuse_mixed(runs, allowed=options.allow_mixed)
    return runs


def folders_of(options: Options) -> tuple[Path, ...]:
    """The folders to read: with a table only if they were given."""
    alone = options.table is None or options.results != Options.results
    return options.results if alone else ()


def execute(options: Options, runs: pd.DataFrame, stop: object) -> None:
    """Print what the runs say."""
    folders = folders_of(options)
    told = Printer(stderr=options.format != "table")  # where programs read the tables alone
    own = folders[0] if folders and folders != Options.results else None
    print_analysis(runs, told, own)
    for folder in folders:
        some = certificates.runs_in(folder)
        for dataset, part in some.groupby("dataset"):
            title = f"{dataset}, {len(part)} runs in {folder}"
            certificates.print_tables(part, title, Printer(options.format))


def print_analysis(runs: pd.DataFrame, console: Console, folder: Path | None) -> None:
    """Print what the runs say, and the commands that add to `folder` what they lack."""
    say = functools.partial(_say, console)
    say(done_text(runs))
    for line in kind_lines(runs) + missing_lines(runs, folder):
        say(line)
    pairs = pairs_of(runs)
    for conventions in ("released", "published"):
        chosen = pairs[pairs["conventions"] == conventions]
        if conventions == "published":
            chosen = chosen[chosen["rule"].isin(DIVERGENT)]
        for subset, part in subsets_of(chosen):
            say(
                f"\n{subset.label}, rules as {conventions}: {len(part)} of {expected(subset)} pairs"
            )
            for line in count_lines(counts(part)):
                say(f"    {line}")
    say("")
    released = pairs[pairs["conventions"] == "released"]
    say(f"the claim, on {len(released)} of the grid's {expected(subsets()[0])} pairs:")
    for claim in claims(released, in_grid(runs)):
        if not len(released) and claim.verdict == "not decided by this data":
            continue
        say(f"  {claim.verdict}: {claim.sentence}\n      {claim.evidence}")
    say("")
    for line in ratio_lines(released) + condition_lines(runs) + diverged_lines(runs):
        say(line)


def _say(console: Console, text: str) -> None:
    """Print lines that break between words in a terminal, but commands, which are to be copied."""
    for line in text.split("\n"):
        whole = not console.is_terminal or line.lstrip().startswith("python ")
        console.print(line, highlight=False, markup=False, soft_wrap=whole)


def count_lines(found: dict[str, Share]) -> list[str]:
    """The counts of a subset, as the released program prints them, with intervals."""
    lines = [
        f"attack costs > {100 * x:g} %: {percent(found[f'effective_{x:g}'])}" for x in EFFECTIVE
    ]
    for x in EFFECTIVE:
        there = f"where it costs > {100 * x:g} %, gain"
        lines.append(f"{there} > {100 * x:g} %: {percent(found[f'gain_above_{x:g}'])}")
        lines.append(f"{there} > 0 %: {percent(found[f'positive_{x:g}'])}")
    lines += [f"lost more than {100 * x:g} %: {percent(found[f'lost_{x:g}'])}" for x in LOST]
    lines += [
        f"lost, and {100 * x:g} % below the unattacked run: {percent(found[f'below_{x:g}'])}"
        for x in STAYS_BELOW
    ]
    return lines
