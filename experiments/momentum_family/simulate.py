"""Runs to files: one compiled program a rule, participation and algorithm; attacks, learning rates
and seeds are its lanes, and another heterogeneity is another partition of the same data.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.defence_matrix.runs import shares_of
from experiments.defence_matrix.simulate import accuracy_on, split
from experiments.momentum_family import lanes
from experiments.momentum_family.algorithms import ALGORITHMS, Numbers
from experiments.momentum_family.rules import RULES
from experiments.momentum_family.runs import Run, unfinished
from simbyz import records
from simbyz._arrays.calling import asked
from simbyz.attacks import label_flipping
from simbyz.data import Dataset
from simbyz.records.provenance import code_digest, provenance
from simbyz.simulator import Config, Hyperparameters, Momentum, Simulator, make_simulator
from simbyz.simulator.metrics import bits_sent
from simbyz.sweeps import Lane, Result, sweep
from simbyz.sweeps.checkpoints import Checkpoints
from simbyz.tasks import Dense, Task, classification

WIDTH = 10  # lanes that a device runs at once; fixed, since a run's last bits depend on it
CHUNK = 150  # steps between two looks at whether to stop
EVERY = 60.0  # seconds between two checkpoints
COLUMNS: dict[str, Any] = {"bits": bits_sent}
EVALUATE = 5  # steps between two evaluations


def programs(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs grouped by the compiled program that they share."""
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        groups.setdefault((run.rule, run.participation, run.algorithm), []).append(run)
    return list(groups.values())


def check(rules: Sequence[str], runs: Sequence[Run]) -> None:
    """Trace each rule, so that a bad (rule, n, f) fails before any step is computed.

    Raises:
      ValueError: by the rule that refuses, of all workers or of the participants alone.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    sizes = dict.fromkeys((run.participants, run.tolerated) for run in runs)
    sizes |= dict.fromkeys((run.n, run.f) for run in runs if ALGORITHMS[run.algorithm].delayed)
    for rule in rules:
        for n, f in sizes:
            stack = jax.ShapeDtypeStruct((n, 4), jnp.float32)

            def aggregate(stack, key, rule=RULES[rule], f=f):
                return rule(stack, f, **asked(rule, {"key": key}))

            jax.eval_shape(aggregate, stack, key)


def simulator_of(run: Run, task: Task) -> Simulator:
    algorithm = ALGORITHMS[run.algorithm]
    some = run.participation < 1 and not algorithm.delayed
    chosen = None if not some or run.sampling == "by_chance" else run.tolerated
    config = Config(
        n=run.n,
        f=run.tolerated if some else run.f,
        num_byzantine=run.f,
        byzantine_gradients=True,
        momentum_at=() if algorithm.place is None else (algorithm.place,),
        variance_reduction=algorithm.variance_reduction,
        participants=run.participants if some else None,
        byzantine_participants=chosen,
        evaluate_every=EVALUATE,
        study=False,
    )
    numbers = Numbers(1 - run.momentum, kept_of(run, task), run.bound or 0.0, run.participation)
    return make_simulator(
        config,
        task,
        RULES[run.rule],
        lanes.attack,
        relabel=functools.partial(label_flipping, num_classes=10),
        optimizer=algorithm.optimizer,
        senders=algorithm.senders(numbers),
        columns=COLUMNS,
    )


def kept_of(run: Run, task: Task) -> int:
    """Coordinates of a compressed message; 0 where nothing is compressed."""
    if run.kept is None:
        return 0
    parameters, _ = jax.eval_shape(task.initialise, jax.random.key(0))
    return max(1, round(run.kept * sum(leaf.size for leaf in jax.tree.leaves(parameters))))


def hyperparameters_of(run: Run) -> Hyperparameters:
    momentum = Momentum(run.momentum, 1 - run.momentum)
    place = ALGORITHMS[run.algorithm].place
    return Hyperparameters(
        run.learning_rate,
        worker=momentum if place == "worker" else None,
        update=momentum if place == "update" else None,
        attack={"which": lanes.number(run.attack)},
    )


def simulate(
    runs: Sequence[Run],
    dataset: Dataset,
    folder: Path,
    progress: Callable[[int, str], None] = lambda run_steps, text: None,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Compute the runs that the folder lacks, and write each as soon as its round is finished.

    Args:
      runs: of one data set and setting.
      dataset: the data, validation part included.
      folder: of results, and of checkpoints in `checkpoints` below it.
      progress: told the steps done since the last call, summed over runs, and what goes on.
      stop: asked after each chunk of steps whether to stop.

    Raises:
      Stopped: `stop` said so.
    """
    first = runs[0]
    training, validation = split(dataset, first.validation)
    levels = dict.fromkeys(run.heterogeneity for run in runs)
    shares = shares_of(levels, training.train_labels, first.n, first.partition_seed)
    task = task_of(first, training)
    validate = accuracy_on(task, validation)
    fixed = {"notice": dataset.notice, "vmap_width": WIDTH, "code_digest": code()}
    for group in programs(runs):
        todo = unfinished(folder, group)
        text = f"{group[0].rule}, {group[0].participation:g}, {group[0].algorithm}"
        progress((len(group) - len(todo)) * first.steps, text)
        if not todo:
            continue
        simulator = simulator_of(todo[0], task)
        for level in levels:
            some = {run.file: run for run in todo if run.heterogeneity == level}

            def finished(file: str, some: dict[str, Run] = some) -> bool:
                return file in some and not unfinished(folder, [some[file]])

            program = {"code": code(), "level": level, "program": text}
            results = sweep(
                simulator,
                [Lane(run.seed, hyperparameters_of(run), file) for file, run in some.items()],
                task.data._replace(partition=shares[level]),
                steps=first.steps,
                width=WIDTH,
                chunk=CHUNK,
                progress=lambda steps, _, text=text: progress(steps, text),  # type: ignore[misc]
                stop=stop,
                checkpoints=Checkpoints(folder / "checkpoints", EVERY, program, finished),
            )
            waiting = list(some.values())
            for result in results:
                run = waiting[result.index]
                summary = summary_of(run, result, validate) | fixed | provenance()
                columns = result.columns | costs(run, result.columns["bits"])
                records.write_run(folder, run.name, run.configuration, columns, summary)


def task_of(run: Run, training: Dataset) -> Task:
    part = shares_of(
        [run.heterogeneity], training.train_labels, run.n, run.partition_seed
    ).popitem()[1]
    model = Dense(run.hidden, training.num_classes)
    return classification(training, model, batch_size=run.batch_size, partition=part)


def costs(run: Run, bits: np.ndarray) -> dict[str, np.ndarray]:
    """(steps + 1,) what a worker did before each step and after the last, on average over all
    workers: gradients of examples, and millions of bits.

    Args:
      run: whose.
      bits: (steps + 1,) of each step, the mean over those that compute, NaN after the last.
    """
    algorithm = ALGORITHMS[run.algorithm]
    # The bits of a delayed algorithm are a mean over all already, those absent having sent none.
    sending = 1.0 if algorithm.delayed else run.participants / run.n
    computing = run.participation if algorithm.delayed else run.participants / run.n
    sent = np.concatenate([[0.0], np.cumsum(bits[:-1].astype(np.float64))])
    each = run.batch_size * algorithm.gradients * computing
    return {"gradients": each * np.arange(len(bits)), "megabits": 1e-6 * sending * sent}


def summary_of(
    run: Run, result: Result, validate: Callable[[np.ndarray], float]
) -> dict[str, object]:
    return {
        "wall_seconds": result.seconds,
        "test_accuracy": float(result.columns["accuracy"][-1]),
        "validation_accuracy": validate(result.parameters),
        "diverged": not bool(np.isfinite(result.parameters).all()),
    }


def code() -> str:
    """The digest of the code that decides a run's numbers."""
    names = ("algorithms", "lanes", "rules", "runs", "simulate")
    return code_digest(*(Path(__file__).with_name(f"{name}.py") for name in names))
