"""The memory of a step beside its floor: the n × d stack and the workers' momenta."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd

from simbyz import aggregators, attacks
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.tasks import Task

# (n, d): the paper's MNIST and CIFAR-10 networks, many workers, and a large network.
SIZES = (
    (51, 79_510),
    (25, 1_310_922),
    (200, 79_510),
    (1000, 79_510),
    (100, 1_310_922),
    (51, 25_000_000),
)
RULES = ("average", "median", "krum")
HYPERPARAMETERS = Hyperparameters(0.1, clip=1.0, worker=Momentum(0.9), attack={"factor": -1.5})


def linear(d: int) -> Task:
    """Workers whose gradients cost nothing to make, a number times θ: all that is left of a step is
    what the simulator does with them.
    """

    def batches(data, key, first_step, num_steps, num_workers):
        return jax.random.uniform(key, (num_steps, num_workers))

    def loss(data, parameters, model_state, batch, key):
        return batch * jnp.sum(jnp.square(parameters)), model_state

    return Task(
        data={},
        initialise=lambda key: (jnp.ones(d), {}),
        batches=batches,
        loss=loss,
        accuracy=lambda data, parameters, model_state, key: jnp.float32(0),
        batch_size=1,
    )


def measure(
    sizes: Sequence[tuple[int, int]] = SIZES, *, rules: Sequence[str] = RULES
) -> pd.DataFrame:
    """One row a rule and size: what the compiled program of two steps asks for, in GB.

    As XLA plans it, nothing is run: arguments and results, which share their memory where they are
    donated, and the temporaries. The floor is the stack (n, d) and the momenta of the n - f honest
    workers. f is (n - 3) // 2, what all these rules bear.
    """
    rows = []
    for n, d in sizes:
        for rule in rules:
            f = (n - 3) // 2
            state, arguments, temporaries = planned(n, d, f, rule)
            floor = 4 * (n * d + (n - f) * d)
            peak = state + arguments + temporaries
            rows.append(
                {
                    "n": n,
                    "d": d,
                    "f": f,
                    "what": rule,
                    "floor_gb": floor / 1e9,
                    "state_gb": state / 1e9,
                    "temporaries_gb": temporaries / 1e9,
                    "peak_gb": peak / 1e9,
                    "over_floor": peak / floor,
                }
            )
    return pd.DataFrame(rows)


def planned(n: int, d: int, f: int, rule: str) -> tuple[int, int, int]:
    """Bytes of the donated state, of the other arguments and results, and of temporaries, of a run
    in a lane of its own.
    """
    task = linear(d)
    config = Config(n=n, f=f, momentum_at=("worker",), evaluate_every=10**6)
    simulator = make_simulator(
        config, task, aggregators.AGGREGATORS[rule], attacks.a_little_is_enough
    )

    def advance(state, hyperparameters, key):
        return simulator.advance(state, hyperparameters, {}, key, jnp.int32(0), 2)

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    states = jax.eval_shape(jax.vmap(simulator.initialise), keys)
    lanes = jax.tree.map(lambda _: jax.ShapeDtypeStruct((1,), jnp.float32), HYPERPARAMETERS)
    program = jax.jit(jax.vmap(advance), donate_argnums=0).lower(states, lanes, keys).compile()
    return bytes_of(program)


def bytes_of(program: jax.stages.Compiled) -> tuple[int, int, int]:
    """Of its donated arguments, of the other arguments and results, and of temporaries."""
    plan: Any = program.memory_analysis()
    donated = plan.alias_size_in_bytes
    others = plan.argument_size_in_bytes + plan.output_size_in_bytes - 2 * donated
    return donated, others, plan.temp_size_in_bytes
