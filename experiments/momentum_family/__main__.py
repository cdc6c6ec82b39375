"""Momentum algorithms under attack: accuracy by steps, gradients and bits, against one of them.

Every combination of the options is trained; each algorithm takes the learning rate whose worst
attack is best on a validation split, and is compared with the baseline seed by seed. Ends in
tables, three pictures a rule, and two CSV files. The same command again runs only what is missing.
The default takes about eleven minutes of one core's time, five of them to compile.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import pandas as pd

from experiments.defence_matrix.simulate import split
from experiments.defence_matrix.training import check_levels, check_training
from experiments.momentum_family import claims, pictures, tables
from experiments.momentum_family.algorithms import ALGORITHMS, AlgorithmName, refusal
from experiments.momentum_family.rules import RuleName
from experiments.momentum_family.runs import Run
from experiments.momentum_family.simulate import check, code, simulate
from experiments.shared.files import save_figure, save_table
from experiments.shared.formats import Output, Printer
from experiments.shared.mixing import refuse_other_code
from experiments.shared.options import command_line
from experiments.shared.options.checks import check_memory, check_options
from experiments.shared.options.question import folder_of
from experiments.shared.progress import Progress, tell
from experiments.shared.run import CHECKPOINTED, run, start
from simbyz import records
from simbyz.data import Dataset, load

AttackName = Literal["little", "empire", "mimic", "label_flipping"]


@dataclasses.dataclass(frozen=True)
class Family:
    """The family: all combinations of these are trained, but for those that are refused."""

    dataset: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    """digits needs no download."""
    algorithm: tuple[AlgorithmName, ...] = (
        "worker_momentum",
        "sgd",
        "update_momentum",
        "storm",
        "ef21_sgdm",
        "dm21",
        "vr_dm21",
        "rosdhb",
        "clip21_sgd2m",
        "delayed_momentum",
        "nsgdm",
    )
    """See docs/momentum-family.md."""
    baseline: AlgorithmName = "worker_momentum"
    """The one of them that the others are compared with."""
    rule: tuple[RuleName, ...] = ("mixed_trimmed_mean",)
    """Defences; mixed: after nearest-neighbour mixing; mixture: one of three in each step."""
    attack: tuple[AttackName, ...] = ("little", "empire", "mimic", "label_flipping")
    """Of all Byzantine workers that take part."""
    participation: tuple[float, ...] = (1.0, 0.2)
    """Share of the workers that take part in a step."""
    heterogeneity: tuple[str, ...] = ("iid", "dirichlet:0.1")
    """Of the workers' data: iid, extreme, gamma:SIMILARITY, dirichlet:ALPHA."""
    learning_rate: Annotated[tuple[float, ...] | None, command_line.OWN] = None
    """To choose from for each algorithm: 0.1 0.25 0.5 1, but 0.5 alone of MNIST and
    Fashion-MNIST."""
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Of initial weights and batches."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """The setting of all runs."""

    n: int = 20
    """Workers, Byzantine ones included."""
    f: int = 4
    """Byzantine workers; a rule tolerates as large a share of those who take part, at least one."""
    sampling: Literal["by_chance", "in_proportion"] = "by_chance"
    """How many of some participants are Byzantine: at times more than tolerated, or never."""
    steps: int = 120
    """Steps of a run."""
    batch_size: int = 16
    """Examples a worker and a step."""
    hidden: int = 16
    """Width of the network's one hidden layer."""
    validation: float = 0.2
    """Share of the training images that learning rates are chosen on."""
    partition_seed: int = 0
    """Of the partition of the data, the same in all runs."""


@dataclasses.dataclass(frozen=True)
class Algorithms:
    """Numbers that the algorithms share."""

    momentum: float = 0.9
    """μ of every average, m ← μ m + (1 - μ) gradient."""
    kept: float = 0.1
    """Share of the coordinates that a compressed message keeps."""
    bound: float = 0.1
    """On the length of a clipped difference (clip21_sgd2m)."""
    target: float = 0.8
    """Accuracy whose cost in gradients and bits is told."""


@dataclasses.dataclass(frozen=True)
class Storage(command_line.Storage):
    """Where results go, and where data come from."""

    results: Path = Path("results/momentum_family")
    allow_mixed: bool = False
    """Let runs of different code stand in one table."""


@dataclasses.dataclass(frozen=True)
class Options(Family, Setting, Algorithms, Storage, Output):
    """The training, and how it is done."""


# Seconds, not minutes: what the tests run.
SMOKE = Options(
    algorithm=("worker_momentum", "ef21_sgdm", "delayed_momentum"),
    attack=("little", "label_flipping"),
    participation=(1.0,),
    heterogeneity=("iid",),
    learning_rate=(0.5,),
    seeds=(1, 2),
    n=7,
    f=2,
    steps=20,
    hidden=4,
    target=0.3,
)
RATES = {"digits": (0.1, 0.25, 0.5, 1.0), "mnist": (0.5,), "fashion_mnist": (0.5,)}
AXES = ("rule", "participation", "algorithm", "heterogeneity", "attack", "learning_rate")
STEPS = ["step", "accuracy", "gradients", "megabits"]


class Results(NamedTuple):
    runs: pd.DataFrame  # one row a run, of all learning rates
    chosen: pd.DataFrame  # of those at the rates chosen
    summary: pd.DataFrame  # one row a rule, participation, heterogeneity, algorithm and attack


def runs_of(options: Options) -> list[Run]:
    """All combinations, without those that an algorithm refuses."""
    rates = options.learning_rate or RATES[options.dataset]
    options = dataclasses.replace(options, learning_rate=rates)
    axes = {name: getattr(options, name) for name in AXES} | {"seed": options.seeds}
    shared = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(Run)
        if field.name not in axes
    }
    runs = [as_it_acts(run) for run in product(shared, axes)]
    return [run for run in runs if refusal(run.algorithm, run.participation) is None]


def as_it_acts(run: Run) -> Run:
    """The run without the settings that its algorithm makes nothing of."""
    algorithm = ALGORITHMS[run.algorithm]
    everybody = run.participation == 1 or algorithm.delayed
    return dataclasses.replace(
        run,
        kept=run.kept if algorithm.uses == "kept" else None,
        bound=run.bound if algorithm.uses == "bound" else None,
        sampling=None if everybody else run.sampling,
    )


def product(shared: dict, axes: dict[str, Sequence]) -> list[Run]:
    """All combinations of the values of these fields, the first axis slowest."""
    return [
        Run(**shared, **dict(zip(axes, some, strict=True)))
        for some in itertools.product(*axes.values())
    ]


def prepare(options: Options) -> tuple[list[Run], Dataset]:
    """Check everything that can be before the first step.

    Raises:
      ValueError, OSError: what is wrong and what is allowed, in one line.
    """
    check_options(options, *AXES[:-1])
    if options.learning_rate == ():
        raise ValueError("learning_rate must name at least one")
    _check_numbers(options)
    check_memory(4 * options.n**2, f"n = {options.n}")
    check_levels(options.heterogeneity)
    runs = runs_of(options)
    if not runs:
        raise ValueError(
            f"nothing to run: {options.algorithm[0]} with participation 1: "
            f"{refusal(options.algorithm[0], 1.0)}"
        )
    check(options.rule, runs)
    dataset = load(options.dataset, data_dir=options.data_dir)
    training, _ = split(dataset, options.validation)
    check_training(
        training,
        options.heterogeneity,
        options.n,
        options.batch_size,
        options.partition_seed,
    )
    if not options.allow_mixed:
        named = [(run.name, run.configuration) for run in runs]
        refuse_other_code(named, options.results, code())
    records.prepare_folder(options.results)
    return runs, dataset


def _check_numbers(options: Options) -> None:
    if not 1 <= options.f < options.n / 2:
        raise ValueError(f"f must be from 1 to below n / 2 = {options.n / 2:g}, got {options.f}")
    for name in ("kept", "target", "participation"):
        values = getattr(options, name)
        for value in values if isinstance(values, tuple) else (values,):
            if not 0 < value <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {value}")
    if nobody := [share for share in options.participation if round(share * options.n) < 1]:
        raise ValueError(f"participation must leave some of n = {options.n}, got {nobody[0]}")
    if not options.bound > 0:
        raise ValueError(f"bound must be above 0, got {options.bound}")
    if options.baseline not in options.algorithm:
        raise ValueError(
            f"baseline must be one of the algorithms, {' '.join(options.algorithm)}, "
            f"got {options.baseline}"
        )


def main(options: Options) -> Results:
    """Run what is asked for and not on disk yet."""
    return compute(options, *prepare(options))


def compute(
    options: Options,
    runs: Sequence[Run],
    dataset: Dataset,
    stop: Callable[[], bool] = lambda: False,
) -> Results:
    """The runs, from their files, and their summary."""
    records.clean(options.results)
    progress = Progress(total=len(runs) * options.steps)
    try:
        simulate(runs, dataset, options.results, progress.add, stop=stop)
    finally:
        progress.close()
    files = [run.file for run in runs]
    found = records.read_runs(options.results, files=files)
    steps = records.read_steps(options.results, files=files, columns=STEPS)
    found = tables.with_costs(found, steps, options.target)
    chosen = tables.chosen(found)
    return Results(found, chosen, tables.summarise(chosen, options.baseline))


def write(options: Options, results: Results) -> list[Path]:
    """Tables of the summary and of the runs, and the pictures."""
    folder = folder_of(options, Family, Setting, Algorithms)
    paths = [folder / name for name in ("momentum_family.csv", "runs.csv")]
    save_table(results.summary, paths[0])
    save_table(results.runs[tables.KEPT], paths[1])
    files = list(results.chosen["file"])
    steps = records.read_steps(options.results, files=files, columns=STEPS)
    for name, figure in pictures.curves(steps, results.chosen):
        paths.append(folder / f"{name}.png")
        save_figure(figure, paths[-1], dpi=110)
    return paths


def execute(
    options: Options, prepared: tuple[list[Run], Dataset], stop: Callable[[], bool]
) -> None:
    """Run what is missing; print and write all of it."""
    results = compute(options, *prepared, stop)
    console = Printer(options.format)
    tables.print_tables(
        results.summary,
        options.algorithm,
        options.baseline,
        options.target,
        f"{options.dataset}, n = {options.n}, f = {options.f}",
        console,
    )
    console.print(tables.overview(results.chosen, options.baseline))
    if found := list(claims.claims(results.chosen, results.runs)):
        console.print(claims.table_of(found))
    tell("drawing pictures")
    paths = write(options, results)
    print("written: " + ", ".join(map(str, paths)))


def command(arguments: Sequence[str] | None = None) -> int:
    """The command line: see `run` for exit codes."""
    return run(
        Options, arguments, "momentum_family", __doc__, prepare, execute, stopped=CHECKPOINTED
    )


if __name__ == "__main__":
    start(command)
