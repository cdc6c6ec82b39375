"""Time at the workers: absence, crashes, lost messages, stragglers and late vectors.

The server aggregates the last that it got from each worker, of whichever step that is, so that the
rule sees all n rows in every step. (With `Config.participants` it sees those who take part.)
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp

from simbyz._arrays.calling import name_of, takes
from simbyz._arrays.checks import at_least, integer, reached, require_callable, require_shape
from simbyz._arrays.stacking import PyTree
from simbyz.simulator.keys import PRESENCE, of_step
from simbyz.simulator.participation import Round
from simbyz.simulator.workers.sender import (
    Sender,
    Sent,
    Shared,
    Take,
    arriving,
    bits_of,
    chain,
    in_unit,
    numbers,
    stays,
)


class Present(Protocol):
    """Whether each worker gets through in a step: (w,) bool."""

    def __call__(self, key: jax.Array, step: jax.Array, workers: jax.Array, /) -> jax.Array: ...


def by_chance(probability: float | jax.Array, *, stream: int = 0) -> Present:
    """Each worker by itself, with this probability in (0, 1]. Two of them in one chain are
    independent of each other if their streams are different numbers.
    """
    in_unit("probability", probability)
    if at_least("stream", stream, 0) >= 2**32:
        raise ValueError(f"stream must be below 2^32, as it is folded into a key, got {stream}")

    def present(key: jax.Array, step: jax.Array, workers: jax.Array) -> jax.Array:
        own = jax.random.fold_in(key, stream)
        keys = jax.vmap(lambda worker: jax.random.fold_in(own, worker))(workers)
        return jax.vmap(lambda one: jax.random.bernoulli(one, probability))(keys)

    return present


def until(step: int, count: int) -> Present:
    """Crash-stop: the first `count` workers never again from this step on."""
    if integer("step", step) < 0 or integer("count", count) < 0:
        raise ValueError(f"step and count must be at least 0, got {step}, {count}")
    step, count = reached("step", step), reached("count", count)
    return lambda key, now, workers: (workers >= count) | (now < step)


def every(period: int, count: int) -> Present:
    """Stragglers: the first `count` workers in each `period`-th step only, from step 0."""
    if integer("period", period) < 1 or integer("count", count) < 0:
        raise ValueError(f"period must be at least 1, count at least 0, got {period}, {count}")
    period, count = reached("period", period), reached("count", count)
    return lambda key, step, workers: (workers >= count) | (step % period == 0)


def when_present(present: Present, *senders: Sender) -> Sender:
    """A chain of senders at those who are present; the others' memories stay as they are, and the
    server keeps the vector that they sent last, 0 before the first one.

    With momentum inside it is delayed momentum aggregation. With no sender inside, messages alone
    are lost: workers go on with what stands before it. Gradients of the absent are computed, to be
    left out, and count in a model's running statistics.

        x̂_i ← x_i where worker i is present, else x̂_i

    Raises:
      TypeError: `present` is no function, or what follows is no sender.
      ValueError: when traced, it gives another shape, or no bools.

    Reference: Otsuka, Takezawa and Yamada, arXiv 2509.02970 (ICML 2026).
    """
    example = "by_chance(0.2), of (key, step, workers)"
    require_callable("present", present, example)
    if not takes(present, 3):
        raise TypeError(f"present must be a function, such as {example}, got {name_of(present)}")
    inner = chain(*senders)

    def init(parameters: jax.Array, workers: int) -> tuple[PyTree, jax.Array]:
        return inner.init(parameters, workers), jnp.zeros((workers, parameters.size))

    def send(take: Take, point: jax.Array, memory: PyTree, round: Round) -> tuple[Sent, PyTree]:
        before, last = memory
        sent, after = inner.send(take, point, before, round)
        sent = arriving(sent, round)
        count = len(sent.vectors)
        key = of_step(round.key, PRESENCE, round.step)
        here = present(key, round.step, numbers(round, count))
        require_shape("present", here, (count,), "whether each worker is, (w,),")
        if here.dtype != bool:
            raise ValueError(f"present must return bools, whether each worker is, got {here.dtype}")

        def those(new: Any, old: Any) -> Any:
            if isinstance(new, Shared):
                return new
            return jnp.where(here.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        after = jax.tree.map(those, after, before, is_leaf=lambda one: isinstance(one, Shared))
        vectors = those(sent.vectors, last)
        bits = jnp.where(here, bits_of(sent), 0)
        return sent._replace(vectors=vectors, bits=bits), (after, vectors)

    def ahead(point: jax.Array, memory: PyTree, round: Round) -> jax.Array:
        return inner.ahead(point, memory[0], round)

    return Sender(init, send, stays if inner.ahead is stays else ahead)


def late(steps: int) -> Sender:
    """The vectors x_i(t - steps) of so many steps ago, 0 before: every worker is as stale.

    Raises:
      ValueError: steps below 0.

    Cost: as many vectors a worker as steps.
    Reference: Agarwal and Duchi, Distributed delayed stochastic optimization, NeurIPS 2011.
    """
    at_least("steps", steps, 0)

    def init(parameters: jax.Array, workers: int) -> jax.Array:
        return jnp.zeros((workers, steps, parameters.size))

    def send(take: Take, point: jax.Array, memory: PyTree, round: Round) -> tuple[Sent, PyTree]:
        sent = take(point, round)
        line = jnp.concatenate([memory, sent.vectors[:, None]], axis=1)
        return sent._replace(vectors=line[:, 0]), line[:, 1:]

    return Sender(init, send)
