"""Runs to files: one compiled program of many rules and attacks for each f."""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.entries import own
from experiments.benchmark.entries.catalogue import (
    LABELS,
    behind,
    rule_of,
)
from experiments.benchmark.program import Program, simulator_of
from experiments.benchmark.results import Results
from experiments.benchmark.runs import Refusals, Run, programs
from experiments.defence_matrix.runs import shares_of
from experiments.defence_matrix.simulate import accuracy_on, split, summary_of
from simbyz.data import Dataset, root
from simbyz.data.partition import Partition
from simbyz.records.divergence import diverged_step
from simbyz.records.provenance import code_digest, provenance
from simbyz.simulator import Hyperparameters, Momentum
from simbyz.sweeps import Lane, sweep
from simbyz.tasks import Dense, Task, classification

# Lanes that a device runs at once: they share a step's fixed cost, and their rules are computed one
# after the other. Fixed, since a run's last bits depend on it.
WIDTH = 6


def refusals_of(
    rules: Sequence[str], cells: Collection[tuple[str, int]], attacks: Sequence[str], n: int
) -> Refusals:
    """Why each rule refuses a cell, (pre-aggregator, f), of those that it does.

    Every rule and own attack is traced, so that whatever is wrong is known before the first step.

    Raises:
      ValueError: an own rule or attack is not what it should be, or refuses every f.
    """
    found: Refusals = {}
    for rule in rules:
        reasons = []
        for pre, f in cells:
            if reason := _refusal(rule, pre, n, f):
                found[rule, pre, f] = reason
                reasons.append(reason)
        if own.is_own(rule) and len(reasons) == len(cells):
            raise ValueError(f"{rule} refuses every f: {reasons[0]}")
    for attack in attacks:
        if own.is_own(attack):
            for _, f in cells:
                own.check_attack(attack, own.load(attack), n, D, f)
    return found


D = 4  # coordinates of a traced row


def _refusal(rule: str, pre: str, n: int, f: int) -> str:
    try:
        own.check_rule(rule, behind(pre, rule_of(rule)), n, D, f)
    except own.Wrong:
        raise
    except ValueError as error:
        return str(error)
    return ""


def task_of(run: Run, training: Dataset, share: Partition) -> Task:
    """The task of a run; examples that its server holds are the workers', too."""
    drawn = jax.random.key(run.partition_seed), training.train_labels, run.root_examples
    return classification(
        training,
        Dense(run.hidden, training.num_classes),
        batch_size=run.batch_size,
        partition=share,
        root=root.draw(*drawn) if run.root_examples else None,
    )


def simulate(
    runs: Sequence[Run],
    mine: Sequence[Run],
    dataset: Dataset,
    results: Results,
    progress: Callable[[Sequence[Run], str], None] = lambda runs, text: None,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Compute the runs that are missing, and write those of a rule as soon as they are finished.

    Args:
      runs: of one data set and setting; they decide which programs there are.
      mine: those of them that are to be computed here.
      dataset: the data, validation part included.
      results: where they go.
      progress: told the runs that are done since the last call, and what goes on.
      stop: asked now and then whether to stop.

    Raises:
      Stopped: `stop` said so.
    """
    first = runs[0]
    training, validation = split(dataset, first.validation)
    labels = training.train_labels
    levels = dict.fromkeys(run.heterogeneity for run in runs)
    shares = shares_of(levels, labels, first.n, first.partition_seed)
    task = task_of(first, training, shares[first.heterogeneity])
    validate = accuracy_on(task, validation)
    shared = {name: value for name, value in provenance().items() if name in TOLD}
    shared |= {"code_digest": code(), "vmap_width": WIDTH}
    here, missing = set(mine), set(results.missing(mine))
    for program, group in programs(runs).items():
        todo = [run for run in group if run in missing]
        done = [run for run in group if run in here and run not in missing]
        text = f"f = {program.f}, {program.rules[0]}"
        progress(done, text)
        if not todo:
            continue
        task = task_of(group[0], training, shares[first.heterogeneity])
        simulator = simulator_of(program, task)
        for some in batches(todo):
            run = some[0]
            text = f"{run.rule}, {run.pre}, f = {run.f}, {run.heterogeneity}"
            share = shares[run.heterogeneity]
            finished = sweep(
                simulator,
                [Lane(run.seed, hyperparameters_of(run, program)) for run in some],
                data_of(run, task.data, training, share),
                steps=run.steps,
                width=WIDTH,
                chunk=run.steps,
                stop=stop,
            )
            rows = []
            for run, result in zip(some, finished, strict=True):
                accuracy = validate(result.parameters)
                columns = result.columns
                lost = diverged_step(columns["loss"], columns["distance_from_start"])
                outcome = summary_of(result) | {"validation_accuracy": accuracy}
                outcome |= {"diverged": lost is not None}
                rows.append(vars(run) | outcome | shared | {"seconds": result.seconds})
                progress([run], text)
            results.add(rows)


TOLD = ("jax_version", "device_kind")  # of provenance


def batches(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Runs that a sweep takes: of one rule, on the same data."""
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        wrong = run.attack if run.attack in LABELS else ""
        groups.setdefault((run.rule, run.pre, run.heterogeneity, wrong), []).append(run)
    yield from groups.values()


def data_of(run: Run, data: Any, training: Dataset, share: Partition) -> Any:
    """The task's data, shared among the workers, as the Byzantine ones have labelled theirs."""
    labels = mislabelled(run.attack, training.train_labels, share, run.f, training.num_classes)
    return data._replace(partition=share, train_labels=jnp.asarray(labels))


def mislabelled(
    attack: str, labels: np.ndarray, share: Partition, f: int, num_classes: int
) -> np.ndarray:
    """The training labels, those that the last f workers hold as an attack on labels has them."""
    if attack not in LABELS:
        return labels
    held = np.concatenate(
        [row[:count] for row, count in zip(share.indices[-f:], share.counts[-f:], strict=True)]
    )
    changed = np.array(labels)
    changed[held] = np.asarray(LABELS[attack](jnp.asarray(labels[held]), num_classes))
    return changed


def hyperparameters_of(run: Run, program: Program) -> Hyperparameters:
    return Hyperparameters(
        run.learning_rate,
        worker=Momentum(run.momentum, 1 - run.momentum),
        weight_decay=run.weight_decay,
        attack=program.numbers(run.rule, run.pre, run.attack),  # type: ignore[arg-type]
    )


def code() -> str:
    """The digest of the code that decides a run's numbers."""
    here = Path(__file__).parent
    files = (here / "program.py", here / "simulate.py", here / "entries" / "catalogue.py")
    return code_digest(*files)
