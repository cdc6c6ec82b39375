"""Runs to files: one compiled program a rule, its pre-aggregators, attack and numbers of workers.

Hyperparameters and seeds are its lanes; another partition of the data, or another draw of the
validation split, is other data given to the same program.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.defence_matrix.runs import share, widened
from experiments.defence_matrix.simulate import width_of
from experiments.from_byzfl.networks import NETWORKS
from experiments.from_byzfl.runs import Run
from experiments.shared.progress import Ask, Tell
from experiments.shared.runs import grouped, unfinished
from simbyz import records
from simbyz._arrays.calling import asked
from simbyz._arrays.stacking import unraveller
from simbyz.aggregators.base import StatefulRule
from simbyz.data import Dataset
from simbyz.data.host_random import generator
from simbyz.data.partition import Partition
from simbyz.records.provenance import code_digest, provenance
from simbyz.simulator import Hyperparameters, Momentum, Simulator, State, make_simulator
from simbyz.sweeps import Lane, sweep
from simbyz.tasks import Task, classification


class Data(NamedTuple):
    """The task's data, and the same with the validation images for a test set."""

    training: Any
    validation: Any  # None without a validation split


def split(dataset: Dataset, part: float, seed: int) -> tuple[Dataset, Dataset | None]:
    """A random ⌊part · N⌋ of the training images, and the data set whose test images are the rest.

    Raises:
      ValueError: nothing is left to train on.
    """
    size = len(dataset.train_labels)
    number = int(part * size)
    if number < 1:
        raise ValueError(f"size_train_set of {part} leaves none of {size} images to train on")
    order = generator(jax.random.key(seed)).permutation(size)
    kept, held = np.sort(order[:number]), np.sort(order[number:])
    images, labels = dataset.train_images, dataset.train_labels
    training = dataclasses.replace(dataset, train_images=images[kept], train_labels=labels[kept])
    if not len(held):
        return training, None
    return training, dataclasses.replace(
        training, test_images=images[held], test_labels=labels[held]
    )


def check(runs: Sequence[Run]) -> None:
    """Trace each defence and attack, so that a bad one fails before any step is computed.

    Raises:
      ValueError: by the one that refuses, with its name in the file.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    for run in {run.program: run for run in runs}.values():
        rule = run.defence
        aggregate = rule.aggregate if isinstance(rule, StatefulRule) else rule
        names = [run.rule.name, *(pre.name for pre in run.pre)]

        def step(key: jax.Array, honest: jax.Array, rule=rule, aggregate=aggregate, run=run):
            attack = run.attack_on(rule)
            rows = [honest] if attack is None else [honest, attack(key, honest, run.f)]
            known = asked(aggregate, {"key": key, "state": jnp.zeros(honest.shape[1])})
            return aggregate(jnp.concatenate(rows), run.tolerated, **known)

        try:
            jax.eval_shape(step, key, jax.ShapeDtypeStruct((run.honest, 4), jnp.float32))
        except ValueError as error:
            attack = "no attack" if run.attack is None else run.attack.name
            raise ValueError(f"{error} ({', '.join(names)} under {attack})") from error


def simulate(runs: Sequence[Run], dataset: Dataset, folder: Path, tell: Tell, stop: Ask) -> None:
    """Compute the runs that the folder lacks, and write each as soon as its round is finished.

    Raises:
      Stopped: `stop` said so.
    """
    prepared: dict[tuple, Data] = {}
    for group in grouped(runs, lambda run: run.program):
        first, todo = group[0], unfinished(folder, group)
        text = f"{first.rule.label}, {first.pre_label}, {first.attack_label}, f = {first.f}"
        tell((len(group) - len(todo)) * first.steps, text)
        if not todo:
            continue
        task = task_of(first, dataset)
        simulator = validating(simulator_of(first, task), task, first.evaluate_every)
        for level, seed in dict.fromkeys((run.heterogeneity, run.partition_seed) for run in todo):
            which = (first.honest, level, seed)
            if which not in prepared:
                prepared |= data_of(group, dataset, task)
            some = [r for r in todo if (r.heterogeneity, r.partition_seed) == which[1:]]
            results = sweep(
                simulator,
                [Lane(run.seed, hyperparameters_of(run)) for run in some],
                prepared[which],
                steps=first.steps,
                width=width_of(task),
                # An evaluation on the validation images stands before each chunk.
                chunk=first.evaluate_every,
                progress=lambda steps, _, text=text: tell(steps, text),  # type: ignore[misc]
                stop=stop,
            )
            for run, result in zip(some, results, strict=True):
                summary = {
                    "wall_seconds": result.seconds,
                    "notice": dataset.notice,
                    "vmap_width": width_of(task),
                    "code_digest": code(),
                } | provenance()
                records.write_run(folder, run.name, run.configuration, result.columns, summary)


def task_of(run: Run, dataset: Dataset) -> Task:
    training, _ = split(dataset, run.train_share, run.partition_seed)
    return classification(training, NETWORKS[run.network].module(), batch_size=run.batch_size)


def data_of(runs: Sequence[Run], dataset: Dataset, task: Task) -> dict[tuple, Data]:
    """The data of each partition, by (honest workers, heterogeneity, seed), all of one shape."""
    first = runs[0]
    shares: dict[Any, Partition] = {}
    parts: dict[int, tuple[Dataset, Dataset | None]] = {}
    levels = dict.fromkeys((run.heterogeneity, run.partition_seed) for run in runs)
    for level, seed in levels:
        parts[seed] = split(dataset, first.train_share, seed)
        labels = parts[seed][0].train_labels
        shares[level, seed] = share(level, labels, first.honest, seed)
    module, found = NETWORKS[first.network].module(), {}
    wide: dict[Any, Partition] = widened(shares, len(task.data.train_labels))
    for (level, seed), partition in wide.items():
        training, held = (
            None if part is None else classification(part, module, batch_size=first.batch_size).data
            for part in parts[seed]
        )
        assert training is not None
        found[first.honest, level, seed] = Data(
            training._replace(partition=partition),
            None if held is None else held._replace(partition=None, train_images=None),
        )
    return found


def simulator_of(run: Run, task: Task) -> Simulator:
    rule, steps = run.defence, run.milestones
    config = run.config
    if jax.default_backend() == "cpu" and width_of(task) == 1:
        # One worker of a large network fills a core, and several only take more memory.
        config = dataclasses.replace(config, workers_at_once=1)

    def schedule(step: jax.Array | int) -> jax.Array | float:
        passed = sum((jnp.asarray(step) >= each for each in steps), start=jnp.zeros((), jnp.int32))
        return jnp.float32(run.learning_rate_decay) ** passed

    return make_simulator(config, task, rule, run.attack_on(rule), schedule=schedule)


def validating(simulator: Simulator, task: Task, every: int) -> Simulator:
    """The simulator of `Data`, with the column `validation_accuracy` at the start of each chunk of
    steps, and after the last.
    """
    template, _ = jax.eval_shape(task.initialise, jax.random.key(0))
    unravel = unraveller(template)

    def accuracy(state: State, data: Data, key: jax.Array) -> jax.Array:
        if data.validation is None:
            return jnp.float32(jnp.nan)
        parameters = unravel(state.parameters)
        return task.accuracy(data.validation, parameters, state.model_state, key)

    def advance(state, hyperparameters, data, key, first_step, num_steps, look_ahead=True):
        now = accuracy(state, data, key)
        state, metrics = simulator.advance(
            state, hyperparameters, data.training, key, first_step, num_steps, look_ahead
        )
        column = jnp.full(num_steps, jnp.nan).at[0].set(now)
        return state, metrics._replace(own={"validation_accuracy": column})

    def finish(state, data, key, step):
        own = {"validation_accuracy": accuracy(state, data, key)}
        return simulator.finish(state, data.training, key, step)._replace(own=own)

    return simulator._replace(advance=advance, finish=finish)


def hyperparameters_of(run: Run) -> Hyperparameters:
    return Hyperparameters(
        run.learning_rate,
        worker=Momentum(run.momentum, 1 - run.momentum),
        weight_decay=run.weight_decay,
    )


def code() -> str:
    """The digest of the code that decides a run's numbers."""
    folder = Path(__file__).parents[1]
    ours = ("from_byzfl/parts", "from_byzfl/networks", "from_byzfl/runs", "from_byzfl/simulate")
    others = ("byzfl_conformance/search", "defence_matrix/runs")
    return code_digest(*(folder / f"{name}.py" for name in (*ours, *others)))
