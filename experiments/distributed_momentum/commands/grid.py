"""The grid: the runs asked for, planned, and run here or on a cluster."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from experiments.distributed_momentum.grid.cells import Cell, PlaceName, paper_cells, reference_of
from experiments.distributed_momentum.grid.programs import Run
from experiments.distributed_momentum.grid.settings import PAPER
from experiments.distributed_momentum.options.grid import Options
from experiments.distributed_momentum.running.simulate import is_finished
from experiments.distributed_momentum.running.work import Prepared, carry_out, prepare_work
from experiments.distributed_momentum.slurm.request import check_request, require_slurm
from experiments.shared.hosts import join
from experiments.shared.options.checks import check_options
from experiments.shared.options.hosts import check_hosts
from experiments.shared.stopping import Stop


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
    attacked = any(attack != "none" for attack in options.attack)
    if not chosen or (attacked and all(cell.attack == "none" for cell in chosen)):
        raise ValueError("no configuration of the grid has all the values asked for together")
    return [Run(cell, seed) for cell in chosen for seed in options.seeds]


def partners(run: Run) -> dict[str, Run]:
    """What an attacked run is compared with, the unattacked one and that of the other place, by the
    option that adds it.
    """
    place: PlaceName = "worker" if run.cell.momentum_at == "update" else "update"
    other = dataclasses.replace(run.cell, momentum_at=place)
    return {
        "--attack none": Run(reference_of(run.cell), run.seed),
        f"--momentum-at {place}": Run(other, run.seed),
    }


def lacking(runs: Sequence[Run], folder: Path) -> list[str]:
    """A line on the runs that attacked ones are compared with and that are neither asked for nor on
    disk: without them nothing is counted.
    """
    asked = {(one.cell, one.seed) for one in runs}
    absent: dict[str, dict] = {}
    attacked = [one for one in runs if one.cell.attack != "none"]
    for each in attacked:
        for what, one in partners(each).items():
            if (one.cell, one.seed) not in asked:
                absent.setdefault(what, {})[one.cell, one.seed] = one
    lines = []
    for what, found in absent.items():
        count = sum(not is_finished(folder, one) for one in found.values())
        if count:
            lines.append(f"note: {count} runs that these are compared with are lacking: add {what}")
    return lines


def attackers(cell: Cell) -> int:
    """f, or for an unattacked run how many workers fewer it has than its data set's own."""
    return cell.f if cell.attack != "none" else PAPER[cell.dataset].n - cell.n


def prepare(options: Options) -> Prepared:
    """The plan of what there is to do, everything checked that can be before the first step."""
    check_request(options)
    runs = select(options)
    check_hosts(options)
    if options.launcher == "slurm" and options.coordinator is not None:
        raise ValueError("--coordinator goes with --launcher local, got --launcher slurm")
    if not options.dry_run:  # which needs no others
        join(options)
    if options.launcher == "slurm" and not options.dry_run:
        require_slurm()
    return prepare_work(options, runs, here=options.launcher == "local")


def execute(options: Options, prepared: Prepared, stop: Stop) -> int:
    """List the plan, or run it here or on a cluster; first, what it lacks to be counted."""
    for line in lacking(select(options), options.results):
        print(line)
    if options.launcher == "local" or options.dry_run or not prepared.what.todo:
        return carry_out(options, prepared, stop)
    # Imported late: it takes a Unix, and the local launcher does not.
    from experiments.distributed_momentum.slurm import launch

    return launch.launch(prepared.what.todo, options, stop)
