"""The paper's grid, or a part of it: 736 configurations × 5 seeds.

A run on disk is never run again, so the same command goes on where it stopped. What fails is named
at the end, and the rest is run.
"""

import dataclasses
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import jax

from experiments.distributed_momentum.analysis.run_table import TABLE, recorded_files
from experiments.distributed_momentum.grid.cells import AttackName, Cell, PlaceName, paper_cells
from experiments.distributed_momentum.grid.programs import Run
from experiments.distributed_momentum.grid.rules import Conventions, RuleName
from experiments.distributed_momentum.grid.settings import PAPER
from experiments.distributed_momentum.running import estimate
from experiments.distributed_momentum.running.campaign import Plan, execute, plan
from experiments.distributed_momentum.running.dry_run import print_plan, print_widths
from experiments.distributed_momentum.running.mixing import kind_lines, together
from experiments.distributed_momentum.running.processes import own_share
from experiments.distributed_momentum.running.simulate import CHECKPOINT_EVERY
from experiments.distributed_momentum.slurm.request import SlurmRequest
from experiments.shared import command_line
from experiments.shared.command_line import ALL, KEPT, parse
from experiments.shared.hosts import Hosts, join, leave_at_once, who
from experiments.shared.option_checks import check_options
from experiments.shared.stopping import stopped_line, stopping
from simbyz import data, records
from simbyz.sweeps.checkpoints import check_every

GridDataset = Literal["mnist", "fashion_mnist", "cifar10", "cifar100"]


@dataclasses.dataclass(frozen=True)
class Selection:
    """The part of the grid that is run; without these, all of it."""

    dataset: Annotated[tuple[GridDataset, ...], ALL] = ()
    """MNIST first."""
    rule: Annotated[tuple[RuleName, ...], ALL] = ()
    """Defences."""
    attack: tuple[AttackName, ...] = ("none", "little", "empire")
    """none: the unattacked runs that the attacked ones are compared with."""
    f: Annotated[tuple[int, ...], ALL] = ()
    """Byzantine workers; of an unattacked run, those that it goes without."""
    momentum_at: Annotated[tuple[PlaceName, ...], ALL] = ()
    """Where momentum is kept."""
    nesterov: Annotated[tuple[Literal["off", "on"], ...], ALL] = ()
    """Nesterov's momentum."""
    learning_rate: Annotated[tuple[float, ...], ALL] = ()
    """Before its decay."""
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Of initial weights, batches and what is drawn else."""
    conventions: Conventions = "released"
    """krum and bulyan as the paper's program defines them, or as they were published."""
    certify: bool = False
    """Hold every step against theory, too: `analyse` and `plot` show what came of it."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What is done of it now, and what for."""

    dry_run: bool = False
    """Only list what would be run, with estimated time and memory."""
    skip_recorded: bool = False
    """Runs in the table count as done too, wherever they were computed."""
    table: Annotated[Path, KEPT] = TABLE
    """Where `collect` keeps a row a run."""
    checkpoint_every: float = CHECKPOINT_EVERY
    """Seconds from one checkpoint to the next, at least; inf: only when stopped."""


@dataclasses.dataclass(frozen=True)
class Storage(command_line.Storage):
    """Where results go, and where data come from."""

    results: Path = Path("results/distributed_momentum")


@dataclasses.dataclass(frozen=True)
class Options(Selection, Work, Storage):
    """Empty: all that the paper has."""

    hosts: Hosts = dataclasses.field(default_factory=Hosts)
    slurm: SlurmRequest = dataclasses.field(default_factory=SlurmRequest)


def select(options: Options) -> list[Run]:
    """The runs of the grid that the options ask for.

    Raises:
      ValueError: a value that the grid does not have, or nothing is left.
    """
    check_options(options)
    names: tuple[str, ...] = options.dataset or tuple(PAPER)
    changes = {"conventions": options.conventions, "certify": options.certify or None}
    whole = [cell for name in names for cell in paper_cells(name, **changes)]
    chosen = whole
    for option, wanted, of in (
        ("rule", options.rule, lambda cell: cell.rule),
        ("attack", options.attack, lambda cell: cell.attack),
        ("f", options.f, attackers),
        ("learning-rate", options.learning_rate, lambda cell: cell.learning_rate),
        ("nesterov", options.nesterov, lambda cell: "on" if cell.nesterov else "off"),
        ("momentum-at", options.momentum_at, lambda cell: cell.momentum_at),
    ):
        known = list(dict.fromkeys(map(of, whole)))
        if unknown := [value for value in wanted if value not in known]:
            listed = ", ".join(map(str, known))
            raise ValueError(f"the grid has no --{option} {unknown[0]}; it has {listed}")
        # An unattacked run has the rule and the place of none of the attacked ones.
        free = option in ("rule", "momentum-at")
        chosen = [
            cell
            for cell in chosen
            if not wanted or of(cell) in wanted or (free and cell.attack == "none")
        ]
    if not chosen:
        raise ValueError("no configuration of the grid has all the values asked for together")
    return [Run(cell, seed) for cell in chosen for seed in options.seeds]


def attackers(cell: Cell) -> int:
    """f, or for an unattacked run how many workers fewer it has than its data set's own."""
    return cell.f if cell.attack != "none" else PAPER[cell.dataset].n - cell.n


def command(arguments: Sequence[str]) -> int:
    """The command line: 0 done, 2 the user's mistake, 130 or 143 stopped, 1 anything else."""
    options = parse(Options, arguments, "distributed_momentum grid", __doc__)
    try:
        options.slurm.check()
        runs = select(options)
        check_every(options.checkpoint_every)
        recorded = recorded_files(options.table) if options.skip_recorded else frozenset()
        options.hosts.check()
        if options.slurm.launcher == "slurm" and options.hosts.coordinator is not None:
            raise ValueError("--coordinator goes with --launcher local, got --launcher slurm")
        if not options.dry_run:  # which needs no others
            join(options.hosts)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    run_plan = functools.partial(
        carry_out,
        results=options.results,
        data_dir=options.data_dir,
        dry_run=options.dry_run,
        checkpoint_every=options.checkpoint_every,
    )
    what = plan(runs, options.results, recorded)
    if options.slurm.launcher == "local" or options.dry_run:
        return run_plan(what)
    # Imported late: it takes a Unix, and the local launcher does not.
    from experiments.distributed_momentum.slurm import launch

    return launch.launch(what, options.results, run_plan, options.slurm)


def carry_out(
    what: Plan, results: Path, data_dir: Path | None, *, dry_run: bool, checkpoint_every: float
) -> int:
    """List or run a plan, and say how it went; returns the exit code."""
    seconds, source = estimate.seconds_from(results)
    if dry_run:
        print_plan(what, seconds, source)
        return 0
    try:
        what = own_share(what, seconds)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not what.todo:
        print(f"nothing to run: {len(what.on_disk)} runs on disk, {len(what.recorded)} recorded")
        return 0
    try:
        names = dict.fromkeys(run.cell.dataset for run in what.todo)
        datasets = {name: data.load(name, data_dir=data_dir) for name in names}
        records.prepare_folder(results)
        records.clean(results)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return leave_at_once(2)
    for dataset in datasets.values():
        if dataset.notice:
            print(f"note: {dataset.notice}")
    for line in kind_lines(together(what.on_disk + what.todo, results)):
        print(f"note: {line}; tables of them will need --allow-mixed")
    print(f"{who()}{len(what.todo)} runs to do on {jax.local_device_count()} devices")
    if jax.default_backend() != "cpu":
        print_widths(what.todo)
    try:
        with stopping() as stop:
            failures = execute(
                what, datasets, results, seconds, checkpoint_every=checkpoint_every, stop=stop
            )
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return leave_at_once(1)
    except KeyboardInterrupt:
        print(stopped_line(results), file=sys.stderr)
        return leave_at_once(stop.exit_code)
    for failure in failures:
        reason = str(failure.error).strip().split("\n")[0]
        print(f"failed: {failure.name}: {type(failure.error).__name__}: {reason}", file=sys.stderr)
    print(f"results: {results} ({len(what.todo)} runs asked for, {len(failures)} cells failed)")
    return 1 if failures else 0
