"""Runs to files: one compiled program a graph, rule and f; attacks and seeds are its lanes, and
another heterogeneity is another partition of the same data.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np

from experiments.decentralised import lanes
from experiments.decentralised.networks import network_of
from experiments.decentralised.options import RuleName
from experiments.decentralised.runs import Run
from experiments.defence_matrix.runs import share, shares_of
from experiments.shared.progress import Ask, Tell
from experiments.shared.runs import grouped, unfinished
from simbyz import aggregators, records
from simbyz.aggregators.base import Rule
from simbyz.data import Dataset
from simbyz.gossip import GOSSIP_RULES, GossipConfig, make_gossip
from simbyz.records.provenance import code_digest, provenance
from simbyz.simulator import Hyperparameters, Momentum, Simulator
from simbyz.sweeps import Lane, Result, sweep
from simbyz.sweeps.checkpoints import Checkpoints
from simbyz.tasks import Dense, Task, classification

OF_A_SERVER: dict[str, Rule] = {
    "monna": aggregators.monna,
    "trimmed_mean": aggregators.trimmed_mean,
    "geometric_median": functools.partial(
        aggregators.geometric_median, smoothing=1e-6, iterations=8, start="median"
    ),
}
RULES: dict[str, Rule] = {name: (GOSSIP_RULES | OF_A_SERVER)[name] for name in get_args(RuleName)}
# Rules whose result turns with their rows, so that factors are searched among few numbers.
ROTATING = RULES.keys() - {"bridge", "trimmed_mean", "geometric_median"}
WIDTH = 4  # lanes that a device runs at once; fixed, since a run's last bits depend on it
CHUNK = 20  # steps between two looks at whether to stop
EVERY = 60.0  # seconds between two checkpoints
NO_LIARS = "none"  # the attack of runs with f = 0


def programs(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs grouped by the compiled program that they share."""
    return grouped(runs, lambda run: (run.graph, run.rule, run.f))


def simulator_of(run: Run, task: Task, *, beyond_the_bound: bool = True) -> Simulator:
    network = network_of(run.graph, run.honest, run.f, run.placement, run.friends)
    config = GossipConfig(
        network, evaluate_every=run.evaluate_every, beyond_the_bound=beyond_the_bound
    )
    symmetry = "rotations" if run.rule in ROTATING else None
    attack = lanes.attack_of(run.evaluations, symmetry) if run.f else None
    return make_gossip(config, task, RULES[run.rule], attack)


def task_of(run: Run, dataset: Dataset) -> Task:
    model = Dense(run.hidden, dataset.num_classes)
    labels = dataset.train_labels
    part = share(run.heterogeneity, labels, run.honest, run.partition_seed)
    return classification(dataset, model, batch_size=run.batch_size, partition=part)


def check(runs: Sequence[Run], dataset: Dataset, beyond_the_bound: bool) -> None:
    """Trace every program, so that a rule that refuses a node fails before any step is computed.

    Raises:
      ValueError: by the graph, or by the rule that refuses.
    """
    for group in programs(runs):
        task = task_of(group[0], dataset)
        simulator = simulator_of(group[0], task, beyond_the_bound=beyond_the_bound)
        jax.eval_shape(simulator.initialise, jax.random.key(0))


def simulate(runs: Sequence[Run], dataset: Dataset, folder: Path, tell: Tell, stop: Ask) -> None:
    """Compute the runs that the folder lacks, and write each as soon as its round is finished.

    Args:
      runs: of one data set and setting.
      folder: of results, and of checkpoints in `checkpoints` below it.
      tell: of the steps done, summed over runs.

    Raises:
      Stopped: `stop` said so.
    """
    first = runs[0]
    levels = dict.fromkeys(run.heterogeneity for run in runs)
    shares = shares_of(levels, dataset.train_labels, first.honest, first.partition_seed)
    task = task_of(first, dataset)
    fixed = {"notice": dataset.notice, "vmap_width": WIDTH, "code_digest": code()}
    for group in programs(runs):
        todo = unfinished(folder, group)
        text = f"{group[0].graph}, {group[0].rule}, f = {group[0].f}"
        tell((len(group) - len(todo)) * first.steps, text)
        if not todo:
            continue
        simulator = simulator_of(todo[0], task)
        accuracies = accuracies_of(task, simulator)
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
                progress=lambda steps, _, text=text: tell(steps, text),  # type: ignore[misc]
                stop=stop,
                checkpoints=Checkpoints(folder / "checkpoints", EVERY, program, finished),
            )
            waiting = list(some.values())
            for result in results:
                run = waiting[result.index]
                summary = summary_of(result, accuracies) | fixed | provenance()
                records.write_run(folder, run.name, run.configuration, result.columns, summary)


def hyperparameters_of(run: Run) -> Hyperparameters:
    return Hyperparameters(
        run.learning_rate,
        worker=Momentum(run.momentum, 1 - run.momentum),
        attack={"which": lanes.number(run.attack)} if run.f else {},
    )


def accuracies_of(task: Task, simulator: Simulator) -> Callable[[np.ndarray], list[float]]:
    """Parameters of the nodes (h, d) -> the accuracy of each."""

    @jax.jit
    def accuracies(parameters: jax.Array) -> jax.Array:
        key = jax.random.key(0)
        return jax.lax.map(
            lambda point: task.accuracy(task.data, simulator.unravel(point), {}, key), parameters
        )

    return lambda parameters: [float(one) for one in accuracies(jnp.asarray(parameters))]


def summary_of(
    result: Result, accuracies: Callable[[np.ndarray], list[float]]
) -> dict[str, object]:
    """Accuracies after the last step, and means over the last tenth of the steps."""
    columns = result.columns
    last = slice(-1 - max(1, (len(columns["loss"]) - 1) // 10), -1)
    listening = ("byzantine_share", "honest_excluded", "byzantine_excluded")
    return {
        "wall_seconds": result.seconds,
        "test_accuracy": float(columns["accuracy"][-1]),
        "worst_accuracy": float(columns["accuracy_worst"][-1]),
        "best_accuracy": float(columns["accuracy_best"][-1]),
        "consensus_distance": float(columns["consensus_distance"][-1]),
        "training_loss": float(np.mean(columns["loss"][last])),
        "node_accuracies": accuracies(result.parameters),
        **{name: float(np.mean(columns[name][last])) for name in listening if name in columns},
    }


def code() -> str:
    """The digest of the code that decides a run's numbers."""
    names = ("lanes", "networks", "runs", "simulate")
    return code_digest(*(Path(__file__).with_name(f"{name}.py") for name in names))
