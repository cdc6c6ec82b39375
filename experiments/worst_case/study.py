"""Study: searches for the worst configuration of each rule, their table and picture."""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.shared.files import save_figures, save_table
from experiments.shared.formats import Printer, tell_written
from experiments.shared.mixing import refuse_other_code
from experiments.shared.options.checks import check_below_half, check_memory, check_options
from experiments.shared.options.question import folder_of
from experiments.shared.progress import Ask, bar, drawing, never
from experiments.shared.runs import Record, unfinished
from experiments.worst_case import tables
from experiments.worst_case.options import Climbing, Options, Search
from experiments.worst_case.rules import check_rules, rule_of
from experiments.worst_case.search import search
from simbyz import records
from simbyz.records.provenance import code_digest, provenance


def prepare(options: Options) -> list[Record]:
    """The searches asked for, everything checked that can be before the first is made."""
    check_options(options, "rule", "f", "d")
    check_below_half(options)
    check_memory(
        4 * options.restarts * options.n**2, f"n = {options.n}, restarts = {options.restarts}"
    )
    check_rules(options.rule, options.n, options.f)
    searches = []
    for rule, f, d in itertools.product(options.rule, options.f, options.d):
        size = {"rule": rule, "n": options.n, "f": f, "d": d}
        climbing = {"restarts": options.restarts, "steps": options.steps}
        name = "worst-{rule}-n_{n}-f_{f}-d_{d}".format(**size)
        searches += [Record(name, size | climbing | {"seed": seed}) for seed in options.seeds]
    refuse_other_code(searches, options, _code())
    records.prepare_folder(options.results)
    records.clean(options.results)
    return searches


def main(options: Options) -> pd.DataFrame:
    """Search what is asked for and not on disk yet; a row a rule, f and d."""
    return compute(prepare(options), options.results)


def compute(searches: Sequence[Record], folder: Path, stop: Ask = never) -> pd.DataFrame:
    with bar(len(searches), "search", stop) as progress:
        for one in searches:
            if unfinished(folder, [one]):
                progress(0, f"searching {one.name}")
                _search(one, folder)
            progress(1, one.name)
    wanted = [one.file for one in searches]
    return tables.summarise(records.read_runs(folder).set_index("file").loc[wanted].reset_index())


def _search(one: Record, folder: Path) -> None:
    asked = dict(one.configuration)
    rule, steps = rule_of(asked.pop("rule")), asked.pop("steps")
    found = search(rule, **asked, iterations=steps)
    summary = {
        "coefficient": found.coefficient,
        "start": found.start,
        "rows": found.rows.tolist(),
        "code_digest": _code(),
    }
    columns = {"coefficient_by_step": found.history}
    records.write_run(folder, *one, columns, summary | provenance())


def _code() -> str:
    here = Path(__file__)
    return code_digest(here.with_name("search.py"), here.with_name("rules.py"))


def execute(options: Options, searches: list[Record], stop: Ask) -> None:
    """Search what is missing; print and write all of it."""
    summary = compute(searches, options.results, stop)
    tables.print_table(summary, Printer(options.format))
    folder = folder_of(options, Search, Climbing)
    table = save_table(summary, folder / "worst_case.csv")
    drawing(stop)
    figures = [("worst_case", tables.plot(summary))]
    pictures = save_figures(figures, folder, ("pdf", "png"), dpi=150)
    tell_written([table, *pictures], options.format)
    for line in tables.contradictions(summary):
        print(f"contradiction: {line}", file=sys.stderr)
