"""Senders: that they chain, remember, move the point, and leave the absent alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from simbyz import aggregators
from simbyz.simulator import Config, Hyperparameters, Momentum
from simbyz.simulator.participation import participants
from simbyz.simulator.workers import (
    Sender,
    Sent,
    chain,
    clip,
    corrected_average,
    momentum,
    optax_sender,
)
from simbyz.simulator.workers.sender import no_memory
from tests.wings.simulator.quadratic import TARGET, quadratic, run

W, D, STEPS = 3, 2, 8
ROWS = np.random.default_rng(0).normal(size=(4, W, D)).astype(np.float32)


def scale(factor):
    def send(take, point, memory, round):
        sent = take(point, round)
        return sent._replace(vectors=factor * sent.vectors), memory

    return Sender(no_memory, send)


def add_the_last():
    def send(take, point, last, round):
        sent = take(point, round)
        return sent._replace(vectors=sent.vectors + last), sent.vectors

    return Sender(lambda parameters, workers: jnp.zeros((workers, parameters.size)), send)


def shift(by):
    """Takes its gradients elsewhere."""

    def send(take, point, memory, round):
        return take(point + by, round), memory

    return Sender(no_memory, send)


def sent_by(sender, rows_at):
    """The vectors of four steps, and the memory at the end."""
    memory, vectors = sender.init(jnp.zeros(D), W), []
    for rows in ROWS:

        def take(point, round, rows=rows):
            made = rows_at(rows, point)
            return Sent(made, made, jnp.zeros(W), {})

        sent, memory = sender.send(take, jnp.zeros(D), memory, None)
        vectors.append(sent.vectors)
        assert sent.memories == ()
    return np.array(vectors), memory


def test_one_after_the_other():
    before = np.concatenate([np.zeros((1, W, D)), ROWS[:-1]])
    vectors, memory = sent_by(chain(scale(2.0), add_the_last(), scale(3.0)), lambda rows, _: rows)
    np.testing.assert_allclose(vectors, 6 * (ROWS + before), rtol=1e-6)
    np.testing.assert_allclose(memory[1], 2 * ROWS[-1], rtol=1e-6)
    vectors, _ = sent_by(chain(add_the_last(), add_the_last()), lambda rows, _: rows)
    earlier = np.concatenate([np.zeros((2, W, D)), ROWS[:-2]])
    np.testing.assert_allclose(vectors, ROWS + 2 * before + earlier, rtol=1e-5, atol=1e-6)


def test_a_chain_is_a_sender():
    inner = chain(add_the_last(), scale(2.0))
    nested, (one, (two, _), three) = sent_by(
        chain(add_the_last(), inner, add_the_last()), lambda rows, _: rows
    )
    flat, memory = sent_by(
        chain(add_the_last(), add_the_last(), scale(2.0), add_the_last()), lambda rows, _: rows
    )
    np.testing.assert_array_equal(nested, flat)
    for got, expected in zip((one, two, three), (memory[0], memory[1], memory[3]), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_sender_moves_the_point_for_all_before_it():
    vectors, _ = sent_by(
        chain(scale(2.0), shift(1.0), shift(10.0)), lambda rows, point: rows + point[None]
    )
    np.testing.assert_allclose(vectors, 2 * (ROWS + 11), rtol=1e-6)


def test_it_looks_ahead_by_all_momenta_in_a_chain():
    class Round:
        hyperparameters, rate = Hyperparameters(0.1, worker=Momentum(0.5)), 0.1

    sender = chain(clip(), momentum(), scale(1.0))
    at = sender.ahead(jnp.ones(D), (None, jnp.asarray(ROWS[0]), None), Round)
    np.testing.assert_allclose(at, 1 - 0.05 * ROWS[0], rtol=1e-6)


@pytest.mark.slower
def test_the_server_s_momentum_leads_on_from_each_worker_s_own_point():
    rate, decay, weight = 0.1, 0.5, 0.4
    state, _ = run(
        Config(n=3, f=0, momentum_at=("server",), nesterov=True, study=False),
        Hyperparameters(rate, server=Momentum(decay)),
        aggregators.average,
        None,
        STEPS,
        quadratic(noise=0.0),
        senders=[corrected_average(weight)],
    )

    def sent(point, last):
        return point - rate * decay * last - TARGET + decay * last

    theta = np.array(state.start, np.float64)
    kept, before, last = None, None, np.zeros(len(TARGET))
    for _ in range(STEPS):
        vector = sent(theta, last)
        carried = None if kept is None else vector + (1 - weight) * (kept - sent(before, last))
        kept = weight * vector if carried is None else carried
        before, last, theta = theta, kept, theta - rate * kept
    np.testing.assert_allclose(state.parameters, theta, rtol=1e-5)


@pytest.mark.slower
@pytest.mark.parametrize("count", [None, 3])
def test_optax_s_trace_is_momentum_at_the_workers(count):
    """Also where some take part: the others' trace stays as it is."""
    shared = {"n": 5, "f": 0, "participants": count, "study": False}
    own, _ = run(
        Config(**shared),
        Hyperparameters(0.05, worker=Momentum(0.8)),
        aggregators.median,
        None,
        STEPS,
    )
    other, _ = run(
        Config(momentum_at=(), **shared),
        Hyperparameters(0.05),
        aggregators.median,
        None,
        STEPS,
        senders=[optax_sender(optax.trace(0.8))],
    )
    np.testing.assert_allclose(other.parameters, own.parameters, rtol=1e-6)
    np.testing.assert_allclose(other.senders[-1].trace, own.senders[-1], rtol=1e-6)


@pytest.mark.slower
def test_the_absent_keep_their_memory():
    config = Config(n=5, f=0, participants=2, momentum_at=(), study=False)
    arguments, senders = (Hyperparameters(0.05), aggregators.average, None), [add_the_last()]
    before, after = (
        np.asarray(run(config, *arguments, steps, senders=senders, jit=jax.jit)[0].senders[-1])
        for steps in (3, 4)
    )
    present = participants(config, jax.random.key(0), 3).workers
    absent = np.setdiff1d(np.arange(5), present)
    np.testing.assert_array_equal(after[absent], before[absent])
    assert not np.any(after[present] == before[present])


@pytest.mark.slower
def test_what_is_sampled_is_what_was_clipped():
    _, plain = run(
        Config(n=5, f=0, momentum_at=()),
        Hyperparameters(0.05, clip=0.5),
        aggregators.average,
        None,
        3,
    )
    _, more = run(
        Config(n=5, f=0, momentum_at=()),
        Hyperparameters(0.05, clip=0.5),
        aggregators.average,
        None,
        3,
        task=quadratic(),
        senders=[scale(2.0)],
    )
    np.testing.assert_allclose(more.sampled_norm[0], plain.sampled_norm[0], rtol=1e-6)
    np.testing.assert_allclose(more.honest_norm[0], 2 * plain.honest_norm[0], rtol=1e-6)


@pytest.mark.slower
def test_optax_noise_is_each_workers_own_whoever_takes_part():
    config = Config(n=6, f=0, participants=4, momentum_at=(), evaluate_every=None)
    sender = optax_sender(optax.add_noise(1.0, 0.0, key=1))
    arguments = config, Hyperparameters(0.0), aggregators.average, None, 5
    _, metrics = run(*arguments, task=quadratic(noise=0.0), senders=[sender])
    # Of the same gradients, and one noise for all, nobody would differ from another.
    assert np.all(metrics.sampled_deviation < 1e-5) and np.all(metrics.honest_deviation > 0.5)


def test_optax_transformations_are_given_the_parameters():
    """Weight decay at the workers: x_i + 0.3 θ, of one θ or of each worker's own."""
    rows, point = np.arange(8.0, dtype=np.float32).reshape(2, 4), np.ones(4, np.float32)
    sender = optax_sender(optax.add_decayed_weights(0.3))

    def take(point, round):
        return Sent(jnp.asarray(rows), jnp.asarray(rows), jnp.zeros(2), {})

    memory = sender.init(jnp.zeros(4), 2)
    for at in (point, np.stack([point, 2 * point])):
        sent, memory = sender.send(take, jnp.asarray(at), memory, None)
        np.testing.assert_allclose(sent.vectors, rows + 0.3 * at, rtol=1e-6)
