"""A plan to its end, by this process: what is asked, checked, listed or computed, and told."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from experiments.distributed_momentum.analysis.run_table import recorded_files
from experiments.distributed_momentum.grid.programs import Run
from experiments.distributed_momentum.running import campaign, estimate
from experiments.distributed_momentum.running.campaign import Plan, plan, together
from experiments.distributed_momentum.running.dry_run import print_plan, print_widths
from experiments.distributed_momentum.running.processes import own_share
from experiments.shared.formats import Printer
from experiments.shared.hosts import leave_at_once, who
from experiments.shared.mixing import kind_lines
from experiments.shared.progress import Ask
from simbyz import data, records
from simbyz.sweeps.checkpoints import check_every


class Prepared(NamedTuple):
    """A plan, ready to be carried out."""

    what: Plan
    seconds: Callable[[Run], float]  # estimated, of a run
    source: Callable[[Run], str]  # of that estimate
    datasets: dict[str, data.Dataset]  # by name; none where nothing is computed here


def prepare_work(options: Any, runs: Sequence[Run], *, here: bool = True) -> Prepared:
    """The plan for the runs; of several processes, this one's share.

    Args:
      options: with those of `Work` and `Storage`.
      here: whether the runs are computed by this process, and not by others.

    Raises:
      ValueError, OSError: what is wrong and what is allowed, in one line.
    """
    check_every(options.checkpoint_every)
    recorded = recorded_files(options.table) if options.skip_recorded else frozenset()
    what = plan(runs, options.results, recorded, options.save_parameters)
    seconds, source = estimate.seconds_from(options.results)
    if options.dry_run or not here:
        return Prepared(what, seconds, source, {})
    what = own_share(what, seconds)
    names = dict.fromkeys(run.cell.dataset for run in what.todo)
    try:
        datasets = {name: data.load(name, data_dir=options.data_dir) for name in names}
        if what.todo:
            records.prepare_folder(options.results)
            records.clean(options.results)
    except (ValueError, OSError):
        leave_at_once(2)  # the other processes may have their data
        raise
    return Prepared(what, seconds, source, datasets)


def carry_out(options: Any, prepared: Prepared, stop: Ask) -> int:
    """List or run a plan, and say how it went; returns the exit code."""
    what = prepared.what
    if options.dry_run:
        print_plan(what, prepared.seconds, prepared.source, Printer())
        return 0
    if not what.todo:
        print(f"nothing to run: {len(what.on_disk)} runs on disk, {len(what.recorded)} recorded")
        return 0
    for dataset in prepared.datasets.values():
        if dataset.notice:
            print(f"note: {dataset.notice}")
    for line in kind_lines(together(what.on_disk + what.todo, options.results)):
        print(f"note: {line}; tables of them will need --allow-mixed")
    print(f"{who()}{len(what.todo)} runs to do on {jax.local_device_count()} devices")
    if jax.default_backend() != "cpu":
        print_widths(what.todo, Printer())
    failures = campaign.execute(
        what,
        prepared.datasets,
        options.results,
        prepared.seconds,
        checkpoint_every=options.checkpoint_every,
        save_parameters=options.save_parameters,
        stop=stop,
    )
    for failure in failures:
        reason = str(failure.error).strip().split("\n")[0]
        print(f"failed: {failure.name}: {type(failure.error).__name__}: {reason}", file=sys.stderr)
    asked = f"{len(what.todo)} runs asked for"
    print(f"results: {options.results} ({asked}, {len(failures)} cells failed)")
    return 1 if failures else 0
