"""Runs to files: one compiled program a rule, pre-aggregator, f and kind of attack.

Attacks, hyperparameters and seeds are its lanes; another heterogeneity is another partition of the
same data, given to the same program.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.defence_matrix import lanes
from experiments.defence_matrix.defences import defence
from experiments.defence_matrix.runs import Run, shares_of
from experiments.shared.progress import Ask, Tell
from experiments.shared.runs import grouped, unfinished
from simbyz import records
from simbyz._arrays.calling import asked
from simbyz._arrays.stacking import unraveller
from simbyz.aggregators import Root, selection_of
from simbyz.data import Dataset, root
from simbyz.data.host_random import generator
from simbyz.records.provenance import code_digest, provenance
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.simulator.certificates import coefficient_bound, summarise
from simbyz.sweeps import Lane, Result, sweep
from simbyz.tasks import Task, classification
from simbyz.tasks.models import Dense

# Lanes that a device runs at once, and how many parameters they may have together: more of them
# share what a step costs however small it is, but their rows have to stay in a core's cache. Fixed,
# since a run's last bits depend on it.
WIDTH, PARAMETERS = 10, 60_000
# Steps between two looks at whether to stop: seconds of a small network.
CHUNK = 150


class Validation(NamedTuple):
    images: np.ndarray
    labels: np.ndarray


def split(dataset: Dataset, part: float) -> tuple[Dataset, Validation]:
    """The data set without a random part of its training images, and that part.

    Raises:
      ValueError: nothing would be left of one of them.
    """
    size = len(dataset.train_labels)
    number = round(part * size) if 0 < part < 1 else 0
    if not 1 <= number < size:
        raise ValueError(
            f"validation must be a share between 0 and 1 that takes some of the {size} training "
            f"images and leaves some, got {part}"
        )
    order = generator(jax.random.key(0)).permutation(size)
    held, kept = np.sort(order[:number]), np.sort(order[number:])
    rest = dataclasses.replace(
        dataset, train_images=dataset.train_images[kept], train_labels=dataset.train_labels[kept]
    )
    return rest, Validation(dataset.train_images[held], dataset.train_labels[held])


def programs(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs grouped by the compiled program that they share."""
    return grouped(runs, lambda run: (run.rule, run.pre, run.f, lanes.kind(run.attack)))


def check(runs: Sequence[Run]) -> None:
    """Trace each defence, so that a bad (rule, n, f) fails before any step is computed.

    Raises:
      ValueError: by the rule that refuses.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    for rule, pre, honest, f in dict.fromkeys((r.rule, r.pre, r.honest, r.f) for r in runs):
        stack = jax.ShapeDtypeStruct((honest + f, 4), jnp.float32)
        function = defence(rule, pre)

        def aggregate(stack, key, function=function, f=f):
            known = {"key": key, "trusted": stack[0], "root": Root(stack[0], 0.1, jnp.sum)}
            return function(stack, f, **asked(function, known))

        jax.eval_shape(aggregate, stack, key)


def simulate(runs: Sequence[Run], dataset: Dataset, folder: Path, tell: Tell, stop: Ask) -> None:
    """Compute the runs that the folder lacks, and write each as soon as its round is finished.

    Args:
      runs: of one data set, step number, batch size, network, split and number of honest workers,
        certified or not.
      tell: of the steps done, summed over runs.

    Raises:
      Stopped: `stop` said so.
    """
    first = runs[0]
    training, validation = split(dataset, first.validation)
    sizes = {0, *(run.root_examples for run in runs)}
    tasks = {size: task_of(first, training, size) for size in sizes}
    task = tasks[0]
    levels = dict.fromkeys(run.heterogeneity for run in runs)
    shares = shares_of(levels, training.train_labels, first.honest, first.partition_seed)
    validate = accuracy_on(task, validation)
    width = width_of(task)
    common = {"notice": dataset.notice, "vmap_width": width, "code_digest": code()}

    for group in programs(runs):
        todo = unfinished(folder, group)
        text = f"{group[0].rule}, {group[0].pre}, f = {group[0].f}"
        tell((len(group) - len(todo)) * first.steps, text)
        if not todo:
            continue
        function = defence(todo[0].rule, todo[0].pre)
        task = tasks[todo[0].root_examples]
        n, f = first.honest + todo[0].f, todo[0].f
        fixed = todo[0].attack in lanes.FIXED
        simulator = make_simulator(
            Config(n=n, f=f, evaluate_every=None, certify=first.certify, study=first.certify),
            task,
            function,
            lanes.fixed if fixed else lanes.searched(function, first.evaluations),
            selection=selection_of(function) if first.certify else None,
        )
        bound = coefficient_bound(function, n, f)
        for level in levels:
            some = [run for run in todo if run.heterogeneity == level]
            results = sweep(
                simulator,
                [Lane(run.seed, hyperparameters_of(run)) for run in some],
                task.data._replace(partition=shares[level]),
                steps=first.steps,
                width=width,
                chunk=CHUNK,
                progress=lambda steps, _, text=text: tell(steps, text),  # type: ignore[misc]
                stop=stop,
            )
            for run, result in zip(some, results, strict=True):
                summary: dict[str, object] = {
                    "wall_seconds": result.seconds,
                    "validation_accuracy": validate(result.parameters),
                }
                summary |= summary_of(result) | common | provenance()
                if run.certify:
                    summary |= summarise(result.columns, bound)
                records.write_run(folder, run.name, run.configuration, result.columns, summary)


def task_of(run: Run, training: Dataset, root_examples: int) -> Task:
    """The task of all runs, with so many of its examples at the server, too."""
    drawn = jax.random.key(run.partition_seed), training.train_labels, root_examples
    return classification(
        training,
        Dense(run.hidden, training.num_classes),
        batch_size=run.batch_size,
        root=root.draw(*drawn) if root_examples else None,
    )


def width_of(task: Task) -> int:
    parameters, _ = jax.eval_shape(task.initialise, jax.random.key(0))
    dimension = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    return max(1, min(WIDTH, PARAMETERS // dimension))


def hyperparameters_of(run: Run) -> Hyperparameters:
    return Hyperparameters(
        run.learning_rate,
        worker=Momentum(run.momentum, 1 - run.momentum),
        weight_decay=run.weight_decay,
        attack=lanes.options(run.attack),
    )


def accuracy_on(task: Task, validation: Validation) -> Callable[[np.ndarray], float]:
    """Parameters (d,) -> accuracy on the validation part."""
    data = task.data._replace(
        test_images=jnp.asarray(validation.images), test_labels=jnp.asarray(validation.labels)
    )
    template, _ = jax.eval_shape(task.initialise, jax.random.key(0))
    unravel = unraveller(template)

    @jax.jit
    def accuracy(parameters: jax.Array) -> jax.Array:
        return task.accuracy(data, unravel(parameters), {}, jax.random.key(0))

    return lambda parameters: float(accuracy(parameters))


def summary_of(result: Result) -> dict[str, float]:
    """Test accuracy after the last step; loss: the mean over the last tenth of the steps."""
    losses = result.columns["loss"][:-1]
    return {
        "test_accuracy": float(result.columns["accuracy"][-1]),
        "training_loss": float(np.mean(losses[-max(1, len(losses) // 10) :])),
    }


def code() -> str:
    """The digest of the code that decides a run's numbers."""
    names = ("defences", "lanes", "runs", "simulate")
    return code_digest(*(Path(__file__).with_name(f"{name}.py") for name in names))
