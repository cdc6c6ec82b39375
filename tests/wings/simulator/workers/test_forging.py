"""Forged messages: what the server makes of them, in NumPy, and with every kind of sender."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators
from simbyz.attacks import forging, intermittent, sign_flipping
from simbyz.attacks.base import StatefulAttack
from simbyz.gossip import GossipConfig, Network, graphs, make_gossip
from simbyz.simulator import Config, Hyperparameters, make_simulator
from simbyz.simulator.keys import FEEDBACK_NOISE, INITIALISE, PRESENCE, SEND, of_step
from simbyz.simulator.workers import (
    average,
    by_chance,
    byz_clip21_sgd2m,
    byz_ef21_sgdm,
    chain,
    compress,
    delayed_momentum,
    feedback,
    late,
    rosdhb,
    sign,
    top_k,
    when_present,
)
from tests.wings.simulator.quadratic import TARGET, quadratic, run

N, D, STEPS, RATE, NOISE = 5, len(TARGET), 12, 0.1, 0.5
CONFIG = Config(n=N, f=1, momentum_at=(), byzantine_gradients=True, study=False)
KEY = jax.random.key(0)


def opposite(key, honest, num_byzantine):
    return -1.5 * abs(honest[:num_byzantine])  # not linear: else a sum of them is one of the sum


def forge(messages):
    """The last worker's, by `opposite`."""
    return np.concatenate([messages[:-1], -1.5 * abs(messages[:1])])


def largest(x, k):
    kept = np.zeros_like(x)
    for row, into in zip(x, kept, strict=True):
        places = np.argsort(-np.abs(row), kind="stable")[:k]
        into[places] = row[places]
    return kept


def ef21(step, v, h, gradients):
    v[:] = 0.8 * v + 0.2 * gradients
    h[:] = h + forge(largest(v - h, 2))
    return h


def noisy_clip21(step, v, own, server, gradients):
    v[:] = 0.7 * v + 0.3 * gradients
    change = v - own
    change *= np.minimum(1, 1 / np.linalg.norm(change, axis=1, keepdims=True))
    own[:] = own + 0.5 * change
    drawn = np.asarray(jax.random.normal(of_step(KEY, FEEDBACK_NOISE, step), (N, D)))
    server[:] = server + 0.5 * forge(change + 0.1 * drawn)
    return server


def sparse_heavy_ball(step, m, gradients):
    drawn = jax.random.permutation(jax.random.fold_in(of_step(KEY, SEND, step), 0), D)
    mask = np.isin(np.arange(D), np.asarray(drawn)[:2])
    m[:] = 0.8 * m + 0.2 * forge(D / 2 * mask * gradients)
    return m


def delayed(step, m, last, gradients):
    new = 0.7 * m + 0.3 * gradients
    key = jax.random.fold_in(of_step(KEY, PRESENCE, step), 0)
    here = [jax.random.uniform(jax.random.fold_in(key, i)) < 0.6 for i in range(N)]
    arriving = forge(new)
    for i in np.flatnonzero(here):
        m[i], last[i] = new[i], arriving[i]
    return last


def signs(step, v, h, late_one, gradients):
    """A compressor before an average before another: the last one makes the message."""
    v[:] = 0.5 * v + 0.5 * np.sign(gradients)
    c = v - h
    h[:] = h + forge(np.sign(c) * np.mean(np.abs(c), axis=1, keepdims=True))
    before, late_one[:] = late_one.copy(), h
    return before


ALGORITHMS = {
    "byz_ef21_sgdm": (byz_ef21_sgdm(0.2, top_k(2)), ef21, 2),
    "byz_clip21_sgd2m": (byz_clip21_sgd2m(0.3, 0.5, 1.0, 0.1), noisy_clip21, 3),
    "rosdhb": (rosdhb(2, 0.8), sparse_heavy_ball, 1),
    "delayed_momentum": (delayed_momentum(0.3, 0.6), delayed, 2),
    "last of several": (
        chain(compress(sign(scaled=False)), average(0.5), feedback(sign()), late(1)),
        signs,
        3,
    ),
}


def end(attack, senders, config=CONFIG, steps=STEPS):
    return run(
        config,
        Hyperparameters(RATE),
        aggregators.median,
        attack,
        steps,
        task=quadratic(NOISE),
        senders=senders,
        jit=jax.jit,  # for the same bits
    )[0]


FORGED = forging(opposite)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_server_takes_in_what_is_forged(name):
    sender, held_after, count = ALGORITHMS[name]
    memories = np.zeros((count, N, D))
    start = jax.random.normal(jax.random.fold_in(KEY, INITIALISE), (D,))
    parameters = np.asarray(start, np.float64)
    batches = quadratic(NOISE).batches({}, jax.random.fold_in(KEY, 1), 0, STEPS, N)
    for step, batch in enumerate(np.asarray(batches, np.float64)):
        held = held_after(step, *memories, parameters - TARGET - NOISE * batch)
        parameters = parameters - RATE * np.median(held, axis=0)
    reached = end(FORGED, [sender]).parameters
    np.testing.assert_allclose(reached, parameters, rtol=2e-6, atol=2e-6)


def counting(key, honest, num_byzantine, state, *, own):
    """What its worker would have sent, louder in each step."""
    return own * state, state + 1.0


def remembering():
    return StatefulAttack(lambda d: jnp.ones(()), counting, lambda state, aggregate: state + 0.5)


def test_own_messages_and_a_memory():
    """In a chain where absence loses some, and drawn anew in each step."""
    senders = [average(0.5), when_present(by_chance(0.5), feedback(sign()))]
    own = end(forging(remembering()), senders, steps=3)
    assert own.attack == 1 + 3 * 1.5
    assert np.all(np.isfinite(own.parameters))
    drawn = Config(n=N, f=1, momentum_at=(), redraw=True, participants=4, study=False)
    assert np.all(np.isfinite(end(FORGED, senders, drawn, steps=3).parameters))


def test_without_a_receiver_it_is_the_plain_attack():
    plain, forged = (end(attack, [average(0.5)], steps=4) for attack in (opposite, FORGED))
    np.testing.assert_array_equal(forged.parameters, plain.parameters)


def test_in_time_it_forges_still():
    """In the steps between, the message is an honest one."""
    always, some = forging(intermittent(opposite, 1, 1)), intermittent(FORGED, 4, 2)
    assert always.forges and some.forges and not intermittent(opposite, 4, 2).forges
    senders = [byz_ef21_sgdm(0.2, top_k(2))]
    np.testing.assert_array_equal(end(always, senders).parameters, end(FORGED, senders).parameters)
    held = end(some, senders, steps=3).senders[-1][-1].worker
    plain = end(FORGED, senders, steps=2).senders[-1][-1].worker
    np.testing.assert_allclose(held[-1] - plain[-1], held[0] - plain[0], rtol=1e-5, atol=1e-6)


def test_what_an_attack_asks_for_in_time_it_is_given():
    """Sign flipping turns its own vector where it is told of one."""
    told = {}

    def flip(key, honest, num_byzantine, *, own=None):
        told["own"] = own
        return sign_flipping(key, honest, num_byzantine, own=own)

    end(intermittent(flip, 2, 1), [average(0.5)], steps=1)
    assert told["own"].shape == (1, D)


def test_where_the_server_holds_nothing_of_forgers_it_is_refused():
    config = Config(n=N, f=1, momentum_at=())
    with pytest.raises(ValueError, match=r"opposite forges .*Config\(byzantine_gradients=True\)"):
        configured = forging(functools.partial(opposite))
        make_simulator(config, quadratic(), aggregators.median, configured)
    with pytest.raises(TypeError, match="attack"):
        forging("little")
    with pytest.raises(ValueError, match="forging acts on messages to a server"):
        make_gossip(
            GossipConfig(Network(graphs.complete(N), (N - 1,))),
            quadratic(),
            aggregators.median,
            FORGED,
        )
