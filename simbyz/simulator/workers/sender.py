"""Sender: what each worker makes of its gradients before it sends, as a pair (init, send).

Senders chain, as optax's transformations do, the first next to the gradients:

    chain(clip(), momentum())

Each has a memory of its own, with a row a worker. It is given `take`, which tells what all that
stands before it makes of the gradients at a point, so that it may change the vectors, move the
point, or ask twice:

    def halve() -> Sender:
        def send(take, point, memory, round):
            sent = take(point, round)
            return sent._replace(vectors=sent.vectors / 2), memory

        return Sender(no_memory, send)
"""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import optax

from simbyz._arrays.checks import number
from simbyz._arrays.stacking import PyTree
from simbyz.aggregators.compose.optax_interface import at_workers
from simbyz.simulator.config import Config
from simbyz.simulator.participation import Round

Leaf = TypeVar("Leaf")


class Sent(NamedTuple):
    """Of the w workers that compute in a step."""

    vectors: jax.Array  # (w, d) what is sent
    sampled: jax.Array  # (w, d) the clipped gradients behind it
    losses: jax.Array  # (w,) where the first gradients were taken
    model_state: PyTree  # afterwards
    memories: tuple[PyTree, ...] = ()  # of the senders passed so far, in their order: for `chain`
    bits: jax.Array | None = None  # (w,) of each worker's message; None: of all coordinates
    forger: tuple[PyTree] | None = None  # memory of the attack that forged messages here


def sent_as_it_is(
    gradients: jax.Array, losses: jax.Array, model_state: PyTree, shape: tuple[int, ...]
) -> Sent:
    """Gradients (w, d) and losses (w,) that are given, not computed, before any sender.

    Raises:
      ValueError: they are of other shapes.
    """
    if jnp.shape(gradients) != shape or jnp.shape(losses) != shape[:1]:
        raise ValueError(
            f"apply takes gradients (w, d) = {shape} and losses (w,) of the workers that compute, "
            f"got {jnp.shape(gradients)} and {jnp.shape(losses)}"
        )
    return Sent(gradients, gradients, losses, model_state)


class Take(Protocol):
    """Vectors made of the gradients at a point (d,), or (w, d) where each worker has its own."""

    def __call__(self, point: jax.Array, round: Round) -> Sent: ...


class Send(Protocol):
    def __call__(
        self, take: Take, point: jax.Array, memory: PyTree, round: Round, /
    ) -> tuple[Sent, PyTree]: ...


class Shared(NamedTuple, Generic[Leaf]):
    """The part of a memory that is no worker's own: whoever takes part, it is given whole."""

    value: Leaf


def stays(point: jax.Array, memory: PyTree, round: Round) -> jax.Array:
    """The `ahead` of a sender whose memory leads nowhere."""
    return point


class Sender(NamedTuple):
    """init: (parameters (d,), workers w that compute) -> memory, of leaves (w, ...) or `Shared`.
    send: see `Send`. ahead: (point, memory, round) -> the point where the momentum in this memory
    is about to lead (Nesterov).
    """

    init: Callable[[jax.Array, int], PyTree]
    send: Send
    ahead: Callable[[jax.Array, PyTree, Round], jax.Array] = stays


def no_memory(parameters: jax.Array, workers: int) -> None:
    """The `init` of a sender that remembers nothing."""


def zero_vectors(parameters: jax.Array, workers: int) -> jax.Array:
    """The `init` of a sender that remembers a vector (d,) of each worker, (w, d)."""
    return jnp.zeros((workers, parameters.size))


def chain(*senders: Sender) -> Sender:
    """One sender after the other; its memory is the tuple of theirs.

    Raises:
      TypeError: one of them is no `Sender`.
    """
    if others := [one for one in senders if not isinstance(one, Sender)]:
        raise TypeError(f"a chain is of senders, such as compress(top_k(10)), got {others[0]!r}")

    def init(parameters: jax.Array, workers: int) -> tuple[PyTree, ...]:
        return tuple(sender.init(parameters, workers) for sender in senders)

    def linked(take: Take, sender: Sender, memory: PyTree) -> Take:
        def beyond(point: jax.Array, round: Round) -> Sent:
            made = sender.send(take, point, memory, round)
            if isinstance(made, Sent) or len(made) != 2 or not isinstance(made[0], Sent):
                raise TypeError(f"a sender must send (Sent, memory), got {type(made).__name__}")
            sent, kept = made
            return sent._replace(memories=(*sent.memories, kept))

        return beyond

    def send(
        take: Take, point: jax.Array, memory: tuple[PyTree, ...], round: Round
    ) -> tuple[Sent, tuple[PyTree, ...]]:
        for sender, own in zip(senders, memory, strict=True):
            take = linked(take, sender, own)
        sent = take(point, round)
        before = len(sent.memories) - len(senders)
        return sent._replace(memories=sent.memories[:before]), sent.memories[before:]

    def ahead(point: jax.Array, memory: tuple[PyTree, ...], round: Round) -> jax.Array:
        for sender, own in zip(reversed(senders), reversed(memory), strict=True):
            point = sender.ahead(point, own, round)
        return point

    return Sender(init, send, stays if all(one.ahead is stays for one in senders) else ahead)


def optax_sender(transformation: optax.GradientTransformation) -> Sender:
    """Any optax transformation of gradients, such as `optax.trace(0.9)`, at each worker. What it
    makes is sent as a gradient: a whole optimiser, which turns its sign, belongs to the server. Its
    parameters are those at which gradients are asked for, (d,), or each worker's own.

    Raises:
      TypeError: it is no transformation.
      ValueError: it turns the sign of a gradient, as `optax.adam(0.1)` does.
    """

    if not isinstance(transformation, optax.GradientTransformation):
        raise TypeError(
            f"transformation must be optax's, such as optax.trace(0.9), got {transformation!r}"
        )
    ones = jnp.ones(64)  # of which noise does not turn all
    made, _ = transformation.update(ones, transformation.init(ones), ones)
    if jnp.all(made < 0):
        raise ValueError(
            "a worker sends gradients, whose sign this transformation turns: an optimiser belongs "
            "to the server, make_simulator(optimizer=...)"
        )

    def init(parameters: jax.Array, workers: int) -> PyTree:
        return at_workers(transformation, workers).init(parameters)

    def send(take: Take, point: jax.Array, memory: PyTree, round: Round) -> tuple[Sent, PyTree]:
        sent = take(point, round)
        each = 0 if jnp.ndim(point) == 2 else None
        update = optax.with_extra_args_support(transformation).update
        made, memory = jax.vmap(update, in_axes=(0, 0, each))(sent.vectors, memory, point)
        return sent._replace(vectors=made), memory

    return Sender(init, send)


def of_participants(config: Config, sender: Sender) -> Sender:
    """A sender of those who take part in a step: the others' memory stays as it is."""
    if config.participants is None:
        return sender

    def own(memory: PyTree, change: Callable[..., jax.Array], *others: PyTree) -> PyTree:
        def part(leaf: Any, *others: Any) -> Any:
            if isinstance(leaf, Shared):
                return others[0] if others else leaf
            return change(leaf, *others)

        return jax.tree.map(part, memory, *others, is_leaf=lambda one: isinstance(one, Shared))

    def send(take: Take, point: jax.Array, memory: PyTree, round: Round) -> tuple[Sent, PyTree]:
        rows = numbers(round, config.rounds[0].computing)
        sent, new = sender.send(take, point, own(memory, lambda leaf: leaf[rows]), round)
        return sent, own(memory, lambda leaf, now: leaf.at[rows].set(now), new)

    return sender._replace(send=send)


def numbers(round: Round, count: int) -> jax.Array:
    """The numbers (count,) of those who compute in a step, so many of all that ever do."""
    return round.part.workers[:count]


def arriving(sent: Sent, round: Round) -> Sent:
    """Messages as they arrive: forged at Byzantine workers if the attack asks to, and if no sender
    beyond makes other messages of them.
    """
    if round.forge is None or sent.forger is not None:
        return sent
    vectors, memory = round.forge(sent.vectors)
    return sent._replace(vectors=vectors, forger=(memory,))


def bits_of(sent: Sent) -> jax.Array:
    """Bits (w,) of each worker's message: those of the vector, if no sender made it shorter."""
    w, d = sent.vectors.shape
    whole = float(d * sent.vectors.dtype.itemsize * 8)
    return jnp.full(w, whole, jnp.float32) if sent.bits is None else sent.bits


def in_unit(name: str, value: float | jax.Array) -> None:
    """Checks a number in (0, 1], as `number` does."""
    number(name, value, "in (0, 1]", lambda one: 0 < one <= 1)


def either(ahead: jax.Array | bool, there: Callable[[], Leaf], here: Callable[[], Leaf]) -> Leaf:
    """Where a run looks ahead, and where it doesn't: one of both, or a branch where a run of the
    program is told so. `ahead` is not batched in a sweep, so that it stays a branch.
    """
    if isinstance(ahead, bool):
        return there() if ahead else here()
    return jax.lax.cond(ahead, there, here)
