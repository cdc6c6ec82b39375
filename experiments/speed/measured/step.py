"""A training step beside its floor: its matrix products, and passes over the stack."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd

from experiments.distributed_momentum.grid.programs import workers_at_once
from experiments.speed import floor
from experiments.speed.options import Clock
from experiments.speed.problems import Problem, cells_of, problem_of, random_images
from experiments.speed.timing import compiled, compiled_lanes, interleaved
from simbyz._arrays.stacking import PyTree
from simbyz.data import Dataset
from simbyz.data.batches import normalise, take
from simbyz.simulator import Hyperparameters, State
from simbyz.sweeps.many_runs import CHUNK
from simbyz.tasks import ImageData


def measure(
    dataset: str = "mnist",
    f: Sequence[int] = (24, 12),
    *,
    rules: Sequence[str] = (),
    steps: int = CHUNK,
    repetitions: int = 5,
    clock: Clock = "wall",
) -> pd.DataFrame:
    """One row a rule: milliseconds a step, in a program of so many steps without evaluation.

    Before them the floors and the parts. `over_floor` is the time over that of the floor it is to
    be compared with: the products at the machine's rate for the gradients, the evaluation's own for
    the evaluation, and twice the gradients' products and ten passes over the stack for a step. The
    gradients' time has the gathering of their images in it; less that, it is told by difference.
    """
    images = random_images(dataset)
    return pd.concat(
        [_measure_one(images, tolerated, rules, steps, repetitions, clock) for tolerated in f]
    )


def _measure_one(
    images: Dataset, f: int, rules: Sequence[str], steps: int, repetitions: int, clock: Clock
) -> pd.DataFrame:
    # No evaluation but at step 0, and the timed steps begin after it.
    cells = cells_of(images.name, rules, f, evaluate_every=10**6)
    problems = {cell.rule: problem_of(cell, images) for cell in cells}
    some = next(problem for rule, problem in problems.items() if rule != "average")
    cell, shape = some.cell, images.train_images.shape[1:]
    honest, dimension = cell.n - cell.f, some.arguments[0].parameters.size
    count = honest * cell.batch_size
    training = floor.products(shape, images.num_classes, count, gradient=True)
    testing = floor.products(shape, images.num_classes, len(images.test_images), gradient=False)

    key = jax.random.key(0)
    lanes = floor.lanes(cell.n, dimension)
    stacks = jax.random.normal(key, (lanes, cell.n, dimension))
    square = jax.random.normal(key, (floor.side(), floor.side()))
    function, arguments = gradients(some, steps, workers_at_once(cell))
    calls = {
        "product": floor.in_a_row(compiled(floor.square_product, square)[0]),
        "one pass over the n × d stack": compiled_lanes(floor.one_pass, stacks)[0],
        "gradients": compiled(function, *arguments)[0],
        "their images": compiled(gathering(images), *arguments[2:4])[0],
        f"batches of {steps} steps": compiled(
            lambda data, key: some.task.batches(data, key, jnp.int32(1), steps, honest),
            some.arguments[2],
            key,
        )[0],
        "evaluation": compiled(evaluation(some), *some.arguments)[0],
    }
    if shape[-1] != 3:  # a dense network: its products as XLA has them, at their own rate
        first = training[0]
        x = jax.random.normal(key, (honest, cell.batch_size, first.inputs))
        kernel = jax.random.normal(key, (first.features, first.inputs))
        hidden = jax.random.normal(key, (honest, cell.batch_size, first.features))
        calls["first layer: forward"] = compiled(floor.forward, x, kernel)[0]
        calls["first layer: weight gradients"] = compiled(floor.weight_gradients, x, hidden)[0]
    for rule, problem in problems.items():
        calls[rule], _ = compiled(advance(problem, steps), *problem.arguments)

    timings = interleaved(calls, repetitions, clock)
    rate = floor.rate(timings.pop("product").median)
    products = sum(product.flops for product in training) / rate
    tested = sum(product.flops for product in testing) / rate
    one_pass = timings["one pass over the n × d stack"].median / lanes
    themselves = (timings["gradients"].median - timings["their images"].median) / steps
    floors = {
        "gradients": products,
        "evaluation": tested,
        **dict.fromkeys(problems, 2 * products + 10 * one_pass),
    }
    common = {"n": cell.n, "d": dimension, "f": f}
    result = [
        common | {"what": name, "milliseconds": 1e3 * seconds}
        for name, seconds in (
            (f"floor: products at {rate / 1e9:.0f} GFLOP/s", products),
            ("floor: 2 × products + 10 passes", 2 * products + 10 * one_pass),
            ("floor: products of an evaluation", tested),
        )
    ]
    for name, timing in timings.items():
        each = {"one pass over the n × d stack": lanes}.get(name, 1)
        if name in {*problems, "gradients", "their images"}:
            each = steps
        row: dict[str, Any] = {
            "what": f"step: {name}" if name in problems else name,
            "milliseconds": 1e3 * timing.median / each,
            "least": 1e3 * timing.least / each,
            "most": 1e3 * timing.most / each,
        }
        if name in floors:
            row["over_floor"] = 1e-3 * row["milliseconds"] / floors[name]
        result.append(common | row)
        if name == "their images":
            less = {"what": "gradients, less their images", "milliseconds": 1e3 * themselves}
            result.append(common | less | {"over_floor": themselves / products})
    return pd.DataFrame(result)


def advance(problem: Problem, steps: int) -> Callable:
    """So many steps from the second on, as one function of the problem's arguments; as a run takes
    them, in a lane of its own.
    """

    def one_lane(state: State, hyperparameters: Hyperparameters, data: PyTree, key: jax.Array):
        return problem.simulator.advance(state, hyperparameters, data, key, jnp.int32(1), steps)

    def compute(state: State, hyperparameters: Hyperparameters, data: PyTree, key: jax.Array):
        states, lanes, keys = jax.tree.map(lambda leaf: leaf[None], (state, hyperparameters, key))
        return jax.vmap(one_lane, in_axes=(0, 0, None, 0))(states, lanes, data, keys)

    return compute


def evaluation(problem: Problem) -> Callable:
    """The evaluation of the whole test set, as one function of the problem's arguments."""
    return lambda state, hyperparameters, data, key: problem.simulator.finish(
        state, data, key, jnp.int32(0)
    )


def gathering(dataset: Dataset) -> Callable:
    """The images of batches (steps, workers, B), gathered and made floats as for a loss, as a
    function of the task's data and the batches.
    """
    shape = dataset.train_images.shape[1:]

    def images_of(data: ImageData, batch: jax.Array) -> jax.Array:
        images = take(data.train_images, batch, shape)
        return normalise(images, dataset.scale, dataset.mean, dataset.deviation)

    def compute(data: ImageData, batches: jax.Array) -> jax.Array:
        nothing = jnp.zeros((*batches.shape[1:], *shape))
        return jax.lax.scan(lambda _, batch: (images_of(data, batch), None), nothing, batches)[0]

    return compute


def gradients(problem: Problem, steps: int, at_once: int | None) -> tuple[Callable, tuple]:
    """Every honest worker's gradient alone, so many workers at once (all if None), so many times on
    other batches; and the arguments.
    """
    cell, task = problem.cell, problem.task
    honest = cell.n - cell.f
    key = jax.random.key(0)
    batches = task.batches(problem.arguments[2], key, jnp.int32(0), steps, honest)

    def compute(parameters, model_state, data, batches, keys):
        def worker(batch: jax.Array, key: jax.Array):
            def loss(parameters):
                return task.loss(data, parameters, model_state, batch, key)

            return jax.value_and_grad(loss, has_aux=True)(parameters)

        def one_step(last, batches):
            del last  # a loop's carry is written in place, like the simulator's
            if at_once is None:
                return jax.vmap(worker)(batches, keys), None
            each = batches, keys
            return jax.lax.map(lambda one: worker(*one), each, batch_size=at_once), None

        shapes = jax.eval_shape(lambda batches: one_step(None, batches)[0], batches[0])
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return jax.lax.scan(one_step, nothing, batches)[0]

    keys = jax.random.split(key, honest)
    return compute, (*task.initialise(key), problem.arguments[2], batches, keys)
