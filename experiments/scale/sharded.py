"""Sharded runs: programs over many devices, planned and in small run, their table and picture."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator
from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.scale import measure
from experiments.scale.options import Options
from experiments.shared.files import save_figures, save_table
from experiments.shared.formats import Printer, add_numbers
from experiments.shared.options.checks import by_default, check_options
from simbyz import records

# Okabe and Ito's colours, told apart by the colour-blind; markers tell them apart in grey.
MARKERS = dict(
    zip("osD^vP", ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"), strict=True)
)
MOST = 4096  # devices: virtual ones cost time, too


class Results(NamedTuple):
    plans: pd.DataFrame  # a row a rule and number of devices
    differences: dict[str, float]  # largest, of a small run on several devices and on one, by rule


def check(options: Options) -> None:
    """Raises a ValueError for what makes no sense; asks no device."""
    check_options(options, "rule", "devices")
    if wrong := [number for number in options.devices if not 1 <= number <= MOST]:
        raise ValueError(f"devices must be from 1 to {MOST}, got {wrong[0]}")
    if options.n < 2:
        raise ValueError(f"n must be at least 2, got {options.n}")
    if not 0 <= options.f < options.n:
        raise ValueError(
            f"f must be from 0 to n - 1 = {options.n - 1}, "
            f"got {options.f}{by_default(options, 'f')}"
        )


def check_rules(options: Options) -> None:
    """Raises a ValueError where a rule refuses (n, f)."""
    rows = jax.ShapeDtypeStruct((options.n, options.d), jnp.float32)
    for rule in options.rule:
        jax.eval_shape(functools.partial(measure.defence(rule), f=options.f), rows)


def main(options: Options) -> Results:
    """Plan every program, and run a small one of each rule.

    Raises:
      ValueError: see `check` and `check_rules`; fewer devices than asked for.
    """
    check(options)
    check_rules(options)
    devices = jax.devices()
    if max(options.devices) > len(devices):
        raise ValueError(f"there are {len(devices)} devices, got {max(options.devices)}")
    plans = [
        measure.plan(options.n, options.f, options.d, rule, devices[:number])
        for rule in options.rule
        for number in options.devices
    ]
    several = min(8, len(devices))
    differences: dict[str, float] = {}
    for rule in options.rule:
        one, many = (measure.run(24, 8, 10_001, rule, devices[:number]) for number in (1, several))
        differences[rule] = float(np.max(np.abs(one - many)))
    return Results(pd.DataFrame(plans), differences)


def table(plans: pd.DataFrame) -> Table:
    title = "one step: what each device holds, and numbers that it gets from others"
    result = Table(title=title, box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("rule", "devices", "state GB", "peak GB", "× devices"):
        result.add_column(name, justify="left" if name == "rule" else "right", no_wrap=True)
    add_numbers(result, "all-gather", "all-to-all", "all-reduce")
    for row in plans.itertuples():
        result.add_row(
            row.rule,
            str(row.devices),
            f"{row.state_gb:.4g}",
            f"{row.peak_gb:.4g}",
            f"{row.peak_gb * row.devices:.4g}",
            *(f"{sent:,}" for sent in (row.all_gather, row.all_to_all, row.all_reduce)),
        )
    return result


def plot(results: Results) -> Figure:
    """Memory of a device against their number, beside what 1 / devices would be."""
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    by_rule = results.plans.groupby("rule", sort=False)
    for (marker, color), (rule, rows) in zip(MARKERS.items(), by_rule, strict=False):
        axes.plot(rows["devices"], rows["peak_gb"], marker=marker, color=color, label=rule)
    rows = results.plans.drop_duplicates("devices").sort_values("devices")
    ideal = rows["peak_gb"].iloc[0] * rows["devices"].iloc[0] / rows["devices"]
    axes.plot(rows["devices"], ideal, "k:", label="1 / devices")
    axes.set(xscale="log", yscale="log", xlabel="devices", ylabel="peak memory of each, GB")
    axes.set_xticks(rows["devices"], rows["devices"])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def prepare(options: Options) -> None:
    """Check what is asked for, and make the devices and the folder."""
    check(options)
    # As many virtual devices as are asked for, before JAX looks for any.
    jax.config.update("jax_num_cpu_devices", max(8, *options.devices))
    check_rules(options)
    records.prepare_folder(options.results)


def execute(options: Options, prepared: None, stop: object) -> None:
    """Plan and run; print and write all of it."""
    results = main(options)
    save_table(results.plans, options.results / "plans.csv")
    save_figures([("memory", plot(results))], options.results, ("pdf", "png"), dpi=150)
    console = Printer(options.format)
    console.note(f"n = {options.n}, f = {options.f}, d = {options.d:,}")
    console.print(table(results.plans))
    for rule, difference in results.differences.items():
        console.note(f"{rule}, really run on one device and on 8: differ by {difference:.1e}")
    console.note(f"results: {options.results}")
