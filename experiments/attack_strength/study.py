"""Study: the strength of attacks, measured where it is not on disk, and told."""

import functools
import shlex
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments.attack_strength import tables
from experiments.attack_strength.measure import Climb, bears, fixed_attacks, measure
from experiments.attack_strength.options import Climbing, Measurement, Options, RuleName
from experiments.attack_strength.recording import cell_of, record
from experiments.distributed_momentum.grid.cells import Cell
from experiments.distributed_momentum.grid.footprint import refuse_large
from experiments.distributed_momentum.grid.settings import SETTINGS
from experiments.distributed_momentum.running.simulate import check
from experiments.shared.files import save_figures, save_table, save_text
from experiments.shared.formats import Printer, beside, tell_written
from experiments.shared.mixing import refuse_other_code
from experiments.shared.options.checks import check_options
from experiments.shared.options.question import folder_of
from experiments.shared.progress import Ask, bar, drawing, never
from experiments.shared.runs import Record, unfinished
from simbyz import data, records
from simbyz.records.provenance import code_digest, provenance


class Results(NamedTuple):
    measured: pd.DataFrame  # one row an (n, f), rule, attack and step
    summary: pd.DataFrame  # one row an (n, f), rule and attack


class Size(NamedTuple):
    n: int
    f: int
    rules: list[RuleName]
    cell: Cell  # of the run whose rows are attacked


def prepare(options: Options) -> tuple[list[Size], data.Dataset]:
    """The sizes asked for with the rules that bear them, and the data; checked before any step."""
    check_options(options, "rule", "at_step")
    sizes = []
    least = 3 if options.f else 5
    for n in options.n or (SETTINGS[options.dataset].n,):
        if n < least:
            raise ValueError(f"n must be at least {least}, so that a rule bears f = 1, got {n}")
        for f in options.f or most_borne(options.rule, n):
            if not 1 <= f <= n - 2:
                raise ValueError(f"f must be from 1 to n - 2 = {n - 2}, got {f}")
            refuse_large(cell_of(options.dataset, n, f))
            rules = [rule for rule in options.rule if bears(rule, n, f)]
            if not rules:
                raise ValueError(f"none of {', '.join(options.rule)} bears n = {n}, f = {f}")
            sizes.append(Size(n, f, rules, cell_of(options.dataset, n, f)))
    dataset = data.load(options.dataset, data_dir=options.data_dir)
    check([size.cell for size in sizes], dataset)
    asked = [record_of(options, size, rule) for size in sizes for rule in size.rules]
    refuse_other_code(asked, options, _code())
    records.prepare_folder(options.results)
    records.clean(options.results)
    return sizes, dataset


def most_borne(rules: Sequence[RuleName], n: int) -> list[int]:
    """The most attackers that krum bears, and where there are rules that bear fewer, their most."""
    chosen: list[int] = []
    left = list(rules)
    for f in dict.fromkeys(max(1, (n - 3) // part) for part in (2, 4)):
        borne = [rule for rule in left if bears(rule, n, f)]
        if borne:
            chosen.append(f)
        left = [rule for rule in left if rule not in borne]
    return chosen or [f]


def main(options: Options) -> Results:
    """Record and measure what is asked for."""
    return compute(options, *prepare(options))


def compute(
    options: Options, sizes: Sequence[Size], dataset: data.Dataset, stop: Ask = never
) -> Results:
    """Measures what is not on disk yet; warns of attacks that no size of so few honest rows has."""
    for size in sizes:
        missed = fixed_attacks(size.f).keys() - fixed_attacks(size.f, size.n)
        if missed:
            told = f"n = {size.n}, f = {size.f} leaves too few honest rows for {', '.join(missed)}"
            warnings.warn(told, RuntimeWarning, stacklevel=2)

    def is_missing(size: Size, rule: RuleName) -> bool:
        return bool(unfinished(options.results, [record_of(options, size, rule)]))

    missing = [(size, [rule for rule in size.rules if is_missing(size, rule)]) for size in sizes]
    steps = len(options.at_step)
    total = sum(
        len(fixed_attacks(size.f, size.n)) + steps * len(rules) for size, rules in missing if rules
    )
    with bar(total, "part", stop) as progress:
        for size, rules in missing:
            if rules:
                progress(0, f"n = {size.n}, f = {size.f}: training the run that is attacked")
                _measure(options, size, rules, dataset, functools.partial(progress, 1))
    runs = records.read_runs(options.results).set_index("file")
    parts = []
    for size in sizes:
        for rule in size.rules:
            measured = runs.loc[record_of(options, size, rule).file, "measured"]
            parts.append(pd.DataFrame(measured).assign(n=size.n, f=size.f, rule=rule))
    measured = pd.concat(parts, ignore_index=True)
    return Results(measured, tables.summarise(measured))


def record_of(options: Options, size: Size, rule: RuleName) -> Record:
    """All that the measurements of a rule depend on."""
    names = ("dataset", "send", "iterations", "climbers", "seed")
    configuration: dict[str, Any] = {name: getattr(options, name) for name in names}
    configuration |= {"rule": rule, "n": size.n, "f": size.f, "at_step": list(options.at_step)}
    return Record("strength-{dataset}-{rule}-n_{n}-f_{f}".format(**configuration), configuration)


def _measure(
    options: Options,
    size: Size,
    rules: Sequence[RuleName],
    dataset: data.Dataset,
    progress: Callable[[str], None],
) -> None:
    honest = record(
        size.cell, dataset, options.at_step, momentum=options.send == "momenta", seed=options.seed
    )

    def finished(rule: RuleName, rows: list[dict]) -> None:
        measured = [row | {"step": options.at_step[row["step"]]} for row in rows]
        records.write_run(
            options.results,
            *record_of(options, size, rule),
            {"step": np.array(options.at_step)},
            {"measured": measured, "code_digest": _code()} | provenance(),
        )

    climb = Climb(options.iterations, options.climbers)
    measure(honest, size.n, size.f, rules, climb=climb, finished=finished, progress=progress)


def _code() -> str:
    here = Path(__file__)
    return code_digest(here.with_name("measure.py"), here.with_name("recording.py"))


def plot(results: Results, options: Options) -> list[Path]:
    """The heatmap, as PDF and PNG."""
    figures = [("strength", tables.plot(results.summary, _title(options)))]
    return save_figures(figures, _folder(options), ("pdf", "png"), dpi=150)


def _folder(options: Options) -> Path:
    return folder_of(options, Measurement, Climbing)


def _title(options: Options) -> str:
    steps = ", ".join(map(str, options.at_step))
    return f"Strength of attacks on honest {options.send} of {options.dataset}, steps {steps}"


def execute(
    options: Options, prepared: tuple[list[Size], data.Dataset], stop: Ask, *, given: Sequence[str]
) -> None:
    """Measure what is missing; print and write all of it."""
    sizes, dataset = prepared
    if dataset.notice:
        print(f"note: {dataset.notice}", file=beside(options.format))
    results = compute(options, sizes, dataset, stop)
    printer = Printer(options.format)
    tables.print_table(tables.strongest(results.summary), _title(options), printer)
    text = tables.markdown(
        results.summary,
        _title(options),
        shlex.join(["python", "-m", "experiments.attack_strength", *given]),
    )
    document = _folder(options) / "strength.md"
    save_text(text, document)
    table = save_table(results.measured, document.with_suffix(".csv"))
    drawing(stop)
    tell_written([document, table, *plot(results, options)], options.format)
