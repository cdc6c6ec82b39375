"""The dry run: what a plan would run, program by program, with estimated time and memory."""

from collections.abc import Callable, Sequence

import jax
from rich.console import Console
from rich.table import Table

from experiments.distributed_momentum.grid.footprint import device_memory, memory_of, width_of
from experiments.distributed_momentum.grid.programs import Run, programs
from experiments.distributed_momentum.running.campaign import Plan
from experiments.distributed_momentum.running.estimate import TABLE
from experiments.shared.formats import add_numbers
from experiments.shared.progress import duration


def print_plan(
    plan: Plan, seconds: Callable[[Run], float], source: Callable[[Run], str], console: Console
) -> None:
    """One row a compiled program, then the totals, within 100 columns."""
    table = Table(title="what would be run, one row a compiled program")
    for name in ("data set", "rule", "n", "f", "rates", "Nesterov"):
        table.add_column(name)
    add_numbers(table, "cells", "runs", "time", "memory")
    table.add_column("time by")
    devices, platform = jax.local_device_count(), jax.default_backend()
    groups = programs(plan.todo)
    for group in groups:
        cell = group[0].cell
        cells = dict.fromkeys(run.cell for run in group)
        memory = memory_of(cell, width_of(cell), platform)
        table.add_row(
            cell.dataset,
            cell.rule,
            str(cell.n),
            str(cell.f),
            ", ".join(f"{rate:g}" for rate in dict.fromkeys(c.learning_rate for c in cells)),
            "on" if cell.nesterov else "off",
            str(len(cells)),
            str(len(group)),
            duration(sum(map(seconds, group)) / devices),
            _gigabytes(memory),
            source(group[0]),
        )
    if groups:
        console.print(table)
    cells = dict.fromkeys(run.cell for run in plan.todo)
    total = sum(map(seconds, plan.todo)) / devices
    console.print(
        f"{len(plan.todo)} runs of {len(cells)} configurations to do, {len(plan.on_disk)} on disk, "
        f"{len(plan.recorded)} recorded elsewhere"
    )
    console.print(
        f"{len(groups)} compiled programs; about {duration(total)} on {devices} {platform} devices"
    )
    console.print("time by table: seconds a step and rule, of one CPU core, in estimate.py")
    if platform != "cpu" and any(source(run) == TABLE for run in plan.todo):
        console.print("on this device, finish a run of each program for a true estimate")
    console.print("memory: on each device, at least, by arithmetic")


def print_widths(todo: Sequence[Run], console: Console) -> None:
    """How many runs each program makes at once on a device, and the memory that takes."""
    platform, memory = jax.default_backend(), device_memory()
    for group in programs(todo):
        cell, width = group[0].cell, width_of(group[0].cell)
        console.print(
            f"{cell.dataset} {cell.rule} n={cell.n} f={cell.f}: {width} runs at once a device, at "
            f"least {_gigabytes(memory_of(cell, width, platform))}"
            + ("" if memory is None else f" of {_gigabytes(memory)}")
        )


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB"
