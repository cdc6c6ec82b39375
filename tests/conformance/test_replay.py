"""All that a step may have at once, against plain NumPy: some of the workers, their local steps,
clipping, momentum at each place, an attack, weights, a server optimiser and certificates.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from simbyz import aggregators, attacks, data
from simbyz.data import partition
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.simulator.keys import BATCHES, INITIALISE
from simbyz.simulator.participation import participants
from simbyz.simulator.weighting import by_counts
from simbyz.tasks import classification, models
from simbyz.tasks.problems import quadratic
from tests.support.compiled import quick_jit

N, B, P, F, D, ROUNDS = 10, 3, 7, 2, 4, 5
KEY = jax.random.key(4)
RATE, LOCAL, DECAY, GAIN, CLIP, L2, WEIGHT_DECAY = 0.2, 0.1, 0.8, 0.3, 1.2, 0.15, 0.05
COUNTS = np.arange(1, N + 1)


class Sgd:
    """v ← momentum v + g, applied with the rate."""

    def __init__(self, rate, momentum):
        self.rate, self.momentum, self.velocity = rate, momentum, 0

    def __call__(self, gradient):
        self.velocity = self.momentum * self.velocity + gradient
        return self.rate * self.velocity


class Adam:
    def __init__(self):
        self.first, self.second, self.steps = 0, 0, 0

    def __call__(self, gradient):
        self.steps += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        root = np.sqrt(self.second / (1 - 0.999**self.steps))
        return self.first / (1 - 0.9**self.steps) / (root + 1e-8)


OPTIMIZERS = {
    "adam": (optax.adam(1.0), Adam),
    "sgd": (optax.sgd(0.5, momentum=0.9), lambda: Sgd(0.5, 0.9)),
    "none": (None, lambda: Sgd(1.0, 0.0)),
}


def trimmed_mean(rows, byzantine, masses):
    """And the share of each coordinate's kept values that Byzantine rows hold, on average."""
    ordered = np.sort(rows, axis=0)
    kept = (rows >= ordered[F]) & (rows <= ordered[-F - 1])
    acceptance = np.mean(kept[byzantine].sum(axis=0) / kept.sum(axis=0))
    return ordered[F:-F].mean(axis=0), acceptance


def weighted_average(rows, byzantine, masses):
    shares = masses / masses.sum()
    return shares @ rows, shares[byzantine].sum()


RULES = {
    "trimmed_mean": (aggregators.trimmed_mean, aggregators.trimmed_mean_selection, trimmed_mean),
    "weighted_average": (
        aggregators.weighted_average,
        aggregators.weighted_average_selection,
        weighted_average,
    ),
}


def gradient_of(arrays, worker, point, noise):
    gradient = arrays["scales"][worker] * arrays["hessian"] @ (point - arrays["optimum"])
    gradient = gradient + arrays["tilts"][worker] + arrays["noise"] * noise
    gradient = gradient + L2 * point / np.linalg.norm(point)
    return gradient * min(1, CLIP / np.linalg.norm(gradient))


# place of momentum, local steps, Byzantine participants (None: by chance), nesterov, whether they
# turn their own vectors around, optimiser, rule
CASES = [
    ("worker", 3, 2, False, False, "adam", "trimmed_mean"),
    ("update", 2, None, True, True, "sgd", "trimmed_mean"),
    ("server", 2, 2, True, False, "adam", "trimmed_mean"),
    ("worker", 1, 1, True, True, "sgd", "weighted_average"),
    ("update", 1, None, False, True, "none", "weighted_average"),
]


@pytest.mark.slower
@pytest.mark.parametrize(
    ("place", "k", "exactly", "nesterov", "own", "optimizer", "rule_name"), CASES
)
def test_against_numpy(place, k, exactly, nesterov, own, optimizer, rule_name):
    rule, selection, rule_in_numpy = RULES[rule_name]
    whole, server = OPTIMIZERS[optimizer][0], OPTIMIZERS[optimizer][1]()
    config = Config(
        n=N,
        f=F,
        num_byzantine=B,
        byzantine_gradients=own,
        momentum_at=(place,),
        nesterov=nesterov,
        certify=True,
        local_steps=k,
        participants=P,
        byzantine_participants=exactly,
    )
    task = quadratic(
        jax.random.key(1), config.computing, D, noise=0.5, heterogeneity=1.0, growth=0.3
    ).task
    hyperparameters = Hyperparameters(
        RATE,
        clip=CLIP,
        l2=L2,
        weight_decay=WEIGHT_DECAY,
        local_learning_rate=LOCAL if k > 1 else None,
        attack={"scale": 0.7} if own else {"factor": -1.5},
        schedule={"power": 0.5},
        **{place: Momentum(DECAY, GAIN)},
    )
    simulator = make_simulator(
        config,
        task,
        rule,
        attacks.sign_flipping if own else attacks.a_little_is_enough,
        selection=selection,
        schedule=lambda step, power: (1.0 + step) ** -power,
        optimizer=whole,
        weights=by_counts(COUNTS, cap=8) if rule_name == "weighted_average" else None,
    )
    state, metrics = quick_jit(simulator.advance, static_argnums=5)(
        simulator.initialise(KEY), hyperparameters, task.data, KEY, 0, ROUNDS
    )

    arrays = {name: np.asarray(leaf, np.float64) for name, leaf in task.data._asdict().items()}
    theta = np.asarray(task.initialise(jax.random.fold_in(KEY, INITIALISE))[0], np.float64)
    key = jax.random.fold_in(KEY, BATCHES)
    noises = np.asarray(task.batches(task.data, key, 0, ROUNDS * k, config.computing)[1])
    part = quick_jit(jax.vmap(lambda step: participants(config, KEY, step)))(jnp.arange(ROUNDS))
    momenta, update, aggregate = np.zeros((config.computing, D)), np.zeros(D), np.zeros(D)
    for step in range(ROUNDS):
        factor = (1.0 + step) ** -0.5
        local = factor * (LOCAL if k > 1 else RATE)
        workers, byzantine = np.asarray(part.workers[step]), np.asarray(part.byzantine[step])
        ahead = {"worker": 0, "update": update, "server": aggregate}[place]
        start = theta - factor * RATE * DECAY * ahead if nesterov else theta
        made = {}
        for worker in workers[workers < config.computing]:
            y, moved = start, 0
            for j in range(k):
                leads = nesterov and place == "worker"
                point = y - local * DECAY * momenta[worker] if leads else y
                vector = gradient_of(arrays, worker, point, noises[step * k + j, worker])
                if place == "worker":
                    momenta[worker] = vector = DECAY * momenta[worker] + GAIN * vector
                y, moved = y - local * vector, moved + vector
            made[worker] = GAIN * moved + DECAY * aggregate if place == "server" else moved
        honest = np.array([made[worker] for worker in workers[~byzantine]])
        mean = honest.mean(axis=0)
        attack = mean - 1.5 * honest.std(axis=0, ddof=1)
        rows = [
            (-0.7 * made[worker] if own else attack) if bad else made[worker]
            for worker, bad in zip(workers, byzantine, strict=True)
        ]
        masses = np.minimum(COUNTS[workers], 8)
        aggregate, acceptance = rule_in_numpy(np.array(rows), byzantine, masses)
        distance = np.linalg.norm(aggregate - mean)
        variance = np.mean(np.sum((honest - mean) ** 2, axis=1))
        for name, value in (
            ("coefficient", distance**2 / variance),
            ("distance", distance),
            ("attack_acceptance", acceptance),
            ("honest_norm", np.linalg.norm(mean)),
        ):
            assert getattr(metrics, name)[step] == pytest.approx(value, rel=1e-3, abs=1e-5), name
        applied = aggregate
        if place == "update":
            applied = update = DECAY * update + GAIN * aggregate
        theta = theta - factor * RATE * (server(applied) + WEIGHT_DECAY * theta)
    np.testing.assert_allclose(state.parameters, theta, rtol=1e-4, atol=5e-5)
    assert np.sum(part.byzantine) > 0


def dense_gradient(tree, images, labels):
    """Of the mean cross-entropy of a dense network, by hand; and the loss."""
    (w1, b1), (w2, b2) = [
        (np.asarray(tree[f"Dense_{i}"]["kernel"]), np.asarray(tree[f"Dense_{i}"]["bias"]))
        for i in range(2)
    ]
    x = images.reshape(len(images), -1) / 16.0
    hidden = np.maximum(x @ w1.T + b1, 0)
    logits = hidden @ w2.T + b2
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    loss = -np.mean(np.log(odds[np.arange(len(x)), labels]))
    odds[np.arange(len(x)), labels] -= 1
    back = odds / len(x)
    below = (back @ w2) * (hidden > 0)
    layers = [(below.T @ x, below.sum(axis=0)), (back.T @ hidden, back.sum(axis=0))]
    return {f"Dense_{i}": {"kernel": w, "bias": b} for i, (w, b) in enumerate(layers)}, loss


@pytest.mark.slower
def test_digits_against_numpy():
    """Images of unequal workers, two of whom hold less than a batch, in local steps under Adam."""
    digits = data.load("digits")
    own = partition.dirichlet(KEY, digits.train_labels[:60], 5, alpha=0.3, minimum=4)
    assert own.counts.min() < 8 < own.counts.max()
    task = classification(digits, models.Dense(hidden=3), batch_size=8, partition=own)
    config = Config(
        n=6, f=1, local_steps=2, participants=4, byzantine_participants=1, evaluate_every=10
    )
    simulator = make_simulator(
        config,
        task,
        aggregators.trimmed_mean,
        attacks.a_little_is_enough,
        optimizer=optax.adam(1.0),
    )
    hyperparameters = Hyperparameters(
        0.01, worker=Momentum(0.9, 0.1), local_learning_rate=0.5, attack={"factor": 1.5}
    )
    state, metrics = quick_jit(simulator.advance, static_argnums=5)(
        simulator.initialise(KEY), hyperparameters, task.data, KEY, 0, 3
    )

    start = task.initialise(jax.random.fold_in(KEY, INITIALISE))[0]
    theta, unravel = jax.flatten_util.ravel_pytree(start)
    theta = np.asarray(theta, np.float64)
    key = jax.random.fold_in(KEY, BATCHES)
    batches = np.asarray(quick_jit(lambda: task.batches(task.data, key, 0, 6, 5))())
    part = quick_jit(jax.vmap(lambda step: participants(config, KEY, step)))(jnp.arange(3))
    momenta, server = np.zeros((5, theta.size)), Adam()
    for step in range(3):
        sent, losses = [], []
        for worker in (worker for worker in np.asarray(part.workers[step]) if worker < 5):
            y, moved = theta, 0
            for j in range(2):
                batch = batches[2 * step + j, worker]
                batch = batch[batch < len(digits.train_labels)]
                assert set(batch) <= set(own.indices[worker, : own.counts[worker]])
                if own.counts[worker] <= 8:
                    assert len(batch) == own.counts[worker]
                tree, loss = dense_gradient(
                    unravel(y.astype(np.float32)),
                    digits.train_images[batch].astype(float),
                    digits.train_labels[batch],
                )
                losses.append(loss)
                gradient = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
                momenta[worker] = 0.9 * momenta[worker] + 0.1 * gradient
                y, moved = y - 0.5 * momenta[worker], moved + momenta[worker]
            sent.append(moved)
        assert metrics.loss[step] == pytest.approx(np.mean(losses[::2]), rel=1e-4)
        attack = np.mean(sent, axis=0) + 1.5 * np.std(sent, axis=0, ddof=1)
        theta = theta - 0.01 * server(np.sort([*sent, attack], axis=0)[1:-1].mean(axis=0))
    np.testing.assert_allclose(state.parameters, theta, rtol=1e-3, atol=1e-4)
