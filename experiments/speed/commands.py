"""Sub-commands of the speed experiment: what each measures, prints and writes."""

import itertools
import sys

import pandas as pd

from experiments.distributed_momentum.grid.cells import cells
from experiments.distributed_momentum.grid.rules import PAPER_RULES, require_borne
from experiments.distributed_momentum.grid.settings import SETTINGS
from experiments.shared.files import save_figures, save_table
from experiments.shared.formats import Printer, tell_written
from experiments.shared.options.checks import check_memory, check_options
from experiments.speed import tables
from experiments.speed.gpu import carry, parts
from experiments.speed.measured import grid, memory, run, searches, step
from experiments.speed.measured import rules as every_rule
from experiments.speed.options import Common, Pack, Unpack
from simbyz import records


def prepare(options: Common) -> None:
    """Check what is asked for, and make the folder that is written to, where it surely is."""
    check(options)
    # Unpack reads there, and Pack may have nothing to write.
    if not isinstance(options, Pack | Unpack):
        records.prepare_folder(options.results)


def execute(options: Common, prepared: None, stop: object) -> int | None:
    """Measure, print and write."""
    return COMMANDS[type(options).__name__](options)


def check(options) -> None:
    """Raises ValueError if what is asked for can't be measured."""
    kind = type(options).__name__
    check_options(options)
    if kind in ("Rules", "Searches"):
        size = (options.n, options.d, options.f)
        if any(part is not None for part in size) and None in size:
            raise ValueError("--n, --d and --f make one size: give all three")
        if options.n is not None:
            _check_size(options.n, options.d, options.f)
        _known(options.rule, list(every_rule.NAMES) if kind == "Rules" else PAPER_RULES)
    if kind == "Rules" and options.n is not None and options.rule:
        borne = every_rule.rules(options.n, options.f, options.rule)
        if unborne := [name for name in options.rule if name not in borne]:
            raise ValueError(
                f"{', '.join(unborne)} can't be timed: n={options.n}, f={options.f} is refused, or "
                "a trusted vector is asked for"
            )
    if kind == "Rules" and options.released is not None and not options.released.is_dir():
        raise ValueError(f"there is no folder {options.released} of the released program")
    if kind == "Gpu" and not (options.parts and options.minutes > 0):
        raise ValueError(
            f"parts must name at least one, and minutes be above 0, got {options.minutes}"
        )
    if kind == "Grid" and not options.dataset:
        raise ValueError("dataset must name at least one")
    if kind == "Searches":
        searches.cells(_sizes(options, searches.SIZES), options.rule or PAPER_RULES)
    if kind == "Memory":
        if (options.n is None) != (options.d is None):
            raise ValueError("--n and --d make one size: give both")
        if options.n is not None and (options.n < 3 or options.d < 1):
            raise ValueError(f"n must be at least 3 and d 1, got n={options.n}, d={options.d}")
        _known(options.rule, memory.RULES)
    if kind in ("Step", "Run"):
        _known(options.rule, PAPER_RULES)
        cells(options.dataset, f=options.f or None)
        setting = SETTINGS[options.dataset]
        usual = setting.f if kind == "Step" else setting.f[:1]
        try:
            for rule, f in itertools.product(options.rule, options.f or usual):
                require_borne(rule, setting.n, f)
        except ValueError as error:
            raise ValueError(f"{error}: give another --rule or --f") from error


def _check_size(n: int, d: int, f: int) -> None:
    if min(n, d) < 1 or f < 0:
        raise ValueError(f"n and d must be at least 1 and f at least 0, got n={n}, d={d}, f={f}")
    if f >= n:
        raise ValueError(f"f must be below n, of whom one at least is honest, got n={n}, f={f}")
    check_memory(4 * n * (d + n), f"n = {n}, d = {d}")


def _known(names, known) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"unknown rules {unknown}; known: {', '.join(known)}")


def rules(options) -> None:
    frame = every_rule.measure(
        _sizes(options, every_rule.SIZES),
        repetitions=options.repetitions,
        only=options.rule,
        beside_peers=options.peers,
        released=options.released,
    )
    console = Printer()
    for one_size in tables.table(frame):
        console.print(one_size)
    _write(options, "rules", frame, tables.plot(frame))


def steps(options) -> None:
    frame = step.measure(
        options.dataset,
        options.f or SETTINGS[options.dataset].f,
        rules=options.rule,
        steps=options.steps,
        repetitions=options.repetitions,
        clock=options.clock,
    )
    title = f"{options.dataset}: a step, one core, float32, {options.clock} clock, medians"
    _show_and_write(options, "step", frame, title, "milliseconds", "milliseconds a step or part")


def runs(options) -> None:
    f = options.f or SETTINGS[options.dataset].f[:1]
    frame = run.measure(
        options.dataset,
        f,
        rules=options.rule,
        steps=options.steps,
        repetitions=options.repetitions,
        clock=options.clock,
    )
    title = f"{options.dataset}: a run, one core, float32, {options.clock} clock, medians"
    _show_and_write(options, "run", frame, title, "seconds", "seconds")
    if options.start:
        frame = run.measure_start(options.dataset, f[0], rules=options.rule or ("median", "krum"))
        title = "from the start of Python to a first step"
        _show_and_write(options, "start", frame, title, "seconds", "seconds")


def whole_grid(options) -> None:
    tables.show(grid.count(), "programs of the paper's grid")
    if options.devices:
        steps = {} if options.steps is None else {"steps": options.steps}
        frame = grid.measure_devices(options.dataset[0], **steps)
        tables.show(frame, "a device a core")
        save_table(frame, options.results / "devices.csv")
    frame = grid.measure(
        options.dataset, quick=options.quick, steps=options.steps, clock=options.clock
    )
    total, hours = grid.estimate(frame, options.dataset)
    title = f"seconds a run, all devices busy, {options.clock} clock"
    _show_and_write(options, "grid", frame, title, "seconds", "seconds a run")
    print(
        f"{total} runs of {', '.join(options.dataset)}: {hours:.2f} hours on this machine, by "
        f"{frame['measured'].sum()} measured runs of {len(frame)} programs"
    )


def _sizes(options, usual: tuple) -> tuple[tuple[int, int, int], ...]:
    return usual if options.n is None else ((options.n, options.d, options.f),)


def all_searches(options) -> None:
    frame = searches.measure(
        _sizes(options, searches.SIZES),
        rules=options.rule or PAPER_RULES,
        repetitions=options.repetitions,
        clock=options.clock,
    )
    title = f"searched attacks, one core, float32, {options.clock} clock, medians"
    label = "time, in aggregations by the same rule"
    _show_and_write(options, "searches", frame, title, "aggregations", label)


def memories(options) -> None:
    sizes = memory.SIZES if options.n is None else ((options.n, options.d),)
    frame = memory.measure(sizes, rules=options.rule)
    label = "peak memory, over that of stack and momenta"
    title = "memory of a step, as XLA plans it"
    _show_and_write(options, "memory", frame, title, "over_floor", label)


def _show_and_write(
    options, name: str, frame: pd.DataFrame, title: str, column: str, label: str
) -> None:
    tables.show(frame, title)
    _write(options, name, frame, tables.bars(frame, column, label))


def accelerator(options) -> int:
    # A part alone runs here.
    if len(options.parts) == 1:
        return parts.one(options.parts[0], options.results, options.minutes, options.small)
    return parts.several(options.parts, options.results, options.minutes, options.small)


def pack(options) -> int:
    try:
        paths = carry.pack(options.dataset, options.results)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("written: " + ", ".join(f"{path} ({path.stat().st_size:,} bytes)" for path in paths))
    return 0


def unpack(options) -> int:
    try:
        folder = carry.unpack(options.dataset, options.results)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.dataset} is in the cache: {folder}")
    return 0


def _write(options, name: str, frame: pd.DataFrame, figure) -> None:
    csv = save_table(frame, options.results / f"{name}.csv")
    pictures = save_figures([(name, figure)], options.results, ("pdf", "png"), dpi=150)
    tell_written([csv, *pictures], "table")


COMMANDS = {
    "Rules": rules,
    "Step": steps,
    "Run": runs,
    "Grid": whole_grid,
    "Searches": all_searches,
    "Memory": memories,
    "Gpu": accelerator,
    "Pack": pack,
    "Unpack": unpack,
}
