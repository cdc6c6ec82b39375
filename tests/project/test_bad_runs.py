"""Wrong runs, data and models, one a row: each gets one line, before anything is compiled."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from simbyz import aggregators, attacks
from simbyz.data import Dataset, partition
from simbyz.preaggregators import clipping
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.simulator.workers import Sender, average, by_chance, clip, when_present
from simbyz.sweeps import Lane, sweep
from simbyz.tasks import Conv, Dense, WideResNet, classification, quadratic

KEY = jax.random.key(0)
PROBLEM = quadratic(KEY, 5, 3)
RATE = Hyperparameters(0.1)
PLAIN = Config(n=5, f=0, momentum_at=())
REDUCED = Config(n=5, f=0, variance_reduction=True)
ATTACKED = Config(n=7, f=2, momentum_at=())


def made(config=PLAIN, task=PROBLEM.task, rule=aggregators.average, attack=None, **more):
    return make_simulator(config, task, rule, attack, **more)


def traced(config=PLAIN, hyperparameters=RATE, num_steps=2, key=KEY, **more):
    simulator = made(config, **more)

    def run(state):
        data = PROBLEM.task.data
        return simulator.advance(state, hyperparameters, data, key, 0, num_steps)

    return jax.eval_shape(run, jax.eval_shape(simulator.initialise, KEY))


def attacked(attack, hyperparameters=RATE):
    return traced(ATTACKED, hyperparameters, rule=aggregators.median, attack=attack)


def momentum(value):
    return traced(Config(n=5, f=0), Hyperparameters(0.1, worker=value))


SIMULATOR, LANES = made(), [Lane(1, RATE)]


def swept(lanes=LANES, data=PROBLEM.task.data, **more):
    return sweep(SIMULATOR, lanes, data, **{"steps": 1, "width": 1} | more)


LABELS = np.arange(4) % 2
ROWS = np.ones((5, 3), np.float32)
PIXELS = np.zeros((4, 2, 2, 1), np.uint8)
FLOATS = np.zeros((4, 3), np.float32)


def dataset(images=PIXELS, labels=LABELS, **more):
    given = dict.fromkeys(("train_images", "test_images"), images)
    given |= dict.fromkeys(("train_labels", "test_labels"), labels)
    usual = dict(num_classes=2, scale=255.0, mean=(0.0,), deviation=(1.0,), flip=False)
    return Dataset("small", **given | usual | more)


SMALL = dataset()


def learnt(module=None, data=SMALL, **more):
    module = Dense(num_classes=2) if module is None else module
    return classification(data, module, **{"batch_size": 2} | more)


def shapeless(take, point, memory, round):
    return take(point, round)._replace(vectors=jnp.zeros(3)), memory


# (what is called, the error, what its message says)
CALLS = {
    # settings
    "n none": (lambda: Config(n=None, f=1), TypeError, "n must be an int, got None"),
    "n true": (lambda: Config(n=True, f=0), TypeError, "n must be an int, got True"),
    "steps none": (lambda: Config(n=5, f=1, local_steps=None), TypeError, "local_steps .* an int"),
    "a flag": (lambda: Config(n=5, f=1, nesterov="off"), TypeError, "True or False, got 'off'"),
    "a flag 1": (lambda: Config(n=5, f=1, redraw=1), TypeError, "redraw must be True or False"),
    "twice": (lambda: Config(5, 1, momentum_at=("worker", "worker")), ValueError, "a place once"),
    "nowhere": (lambda: Config(5, 1, momentum_at=None), ValueError, "must be a tuple, such as"),
    "ahead of nothing": (
        lambda: made(Config(5, 0, momentum_at=(), nesterov=True)),
        ValueError,
        "nesterov looks ahead along momentum, of which there is none: give momentum_at",
    ),
    "ahead of what a sender keeps to itself": (
        lambda: made(
            Config(5, 0, momentum_at=(), nesterov=True),
            senders=[when_present(by_chance(0.5), average(0.1))],
        ),
        ValueError,
        "or a sender with an `ahead`",
    ),
    # what a simulator is made of
    "a setting": (lambda: made(config={"n": 5}), TypeError, "must be a Config, such as Config"),
    "a problem": (lambda: made(task=PROBLEM), TypeError, "got Problem: give its field `task`"),
    "a rule's name": (lambda: made(rule="median"), TypeError, "such as .*median.*got 'median'"),
    "rules": (lambda: made(rule=[aggregators.median]), TypeError, "rule must be a function"),
    "an attack's name": (lambda: attacked("little"), TypeError, "attack must be a function"),
    "a selection": (lambda: made(selection="median"), TypeError, "selection must be a function"),
    "a schedule": (lambda: made(schedule=0.1), TypeError, "schedule must be a function.* got 0.1"),
    "an optimiser": (lambda: made(optimizer="adam"), ValueError, "an optax transformation"),
    "a sender": (lambda: made(senders=clip()), TypeError, "senders must be a list of Sender"),
    "no senders": (lambda: made(senders=None), TypeError, "a list of Sender, got None"),
    "a column's name": (
        lambda: made(columns={1: lambda *, losses: losses.max()}),
        TypeError,
        "columns must have texts for names, got 1",
    ),
    "columns": (lambda: made(columns=["a"]), TypeError, "columns must be a dict of functions"),
    "a column of something": (
        lambda: made(columns={"a": lambda losses: losses.max()}),
        TypeError,
        "column 'a' must ask .* lambda \\*, losses: .*, got <lambda>, which takes losses by place",
    ),
    "a column": (lambda: made(columns={"a": "loss"}), TypeError, "column 'a' must be a function"),
    "counts": (
        lambda: made(rule=aggregators.weighted_median, weights=[1] * 5),
        TypeError,
        r"weights must be made by by_counts\(counts\)",
    ),
    "relabel": (
        lambda: made(Config(5, 1, byzantine_gradients=True, momentum_at=()), relabel="flip"),
        TypeError,
        "relabel must be a function",
    ),
    "labels": (
        lambda: made(Config(5, 1, byzantine_gradients=True, momentum_at=()), relabel=abs),
        ValueError,
        "relabel needs a task whose loss has a parameter `relabel`",
    ),
    # what functions ask for
    "an unknown name": (
        lambda: made(rule=lambda rows, f, *, losses: rows[0]),
        ValueError,
        "the rule <lambda> asks for losses, .* bind it, .* some of key, state, masses",
    ),
    "an option of a rule": (
        lambda: made(rule=aggregators.centered_clipping),
        ValueError,
        "the rule centered_clipping asks for radius, .* as by functools.partial",
    ),
    "of a selection": (
        lambda: made(selection=lambda rows, f, *, weights: rows[:, 0]),
        ValueError,
        "the selection <lambda> asks for weights",
    ),
    "of a column": (
        lambda: made(columns={"a": lambda *, loss: loss}),
        ValueError,
        "column 'a' asks for loss, .* some of sampled, losses, stack",
    ),
    "of a column of the test set": (
        lambda: made(task=learnt(), columns={"a": lambda *, labels, losses: 0.0}),
        ValueError,
        "column 'a' asks for losses, .* some of predicted, labels",
    ),
    "of an attack": (
        lambda: attacked(attacks.model_replacement),
        ValueError,
        r"model_replacement asks for own, .* set Config\(byzantine_gradients=True\)",
    ),
    # what functions return
    "all rows": (
        lambda: traced(rule=lambda rows, f: rows),
        ValueError,
        r"the rule <lambda> must return an aggregate \(d,\) of shape \(3,\), got shape \(5, 3\)",
    ),
    "a pair": (lambda: traced(rule=lambda rows, f: (rows[0], 1)), ValueError, "got tuple"),
    "nothing": (lambda: traced(rule=lambda rows, f: None), ValueError, "got NoneType"),
    "rows": (lambda: traced(rule=jax.tree_util.Partial(clipping, radius=1.0)), ValueError, "clipp"),
    "ints": (lambda: traced(rule=lambda x, f: jnp.argmin(x, 0)), ValueError, "floats, got int32"),
    "weights": (lambda: traced(selection=lambda x, f: x[0]), ValueError, r"\(n,\), of shape \(5,"),
    "a row": (
        lambda: attacked(lambda key, honest, b: honest[0]),
        ValueError,
        r"the attack <lambda> must return a row for each .* of shape \(2, 3\), got shape \(3,\)",
    ),
    "an attack that takes less": (
        lambda: attacked(lambda honest, b: honest[:b]),
        TypeError,
        r"of \(key, honest, num_byzantine\), got <lambda>: call it, if it makes one",
    ),
    "an attack on labels": (
        lambda: attacked(attacks.label_flipping),
        TypeError,
        r"label_flipping is of labels: give make_simulator relabel=functools.partial\(label_flip",
    ),
    "an option that no attack takes": (
        lambda: attacked(attacks.fall_of_empires, Hyperparameters(1, attack={"faktor": 2.0})),
        TypeError,
        "the attack fall_of_empires takes no faktor, .* its options are factor",
    ),
    "an option that nobody gives": (
        lambda: attacked(lambda key, honest, b, *, size: size * honest[:b]),
        TypeError,
        r"the attack <lambda> needs size: give it by Hyperparameters\(attack=\{'size': ...\}\)",
    ),
    "no rows": (lambda: attacked(lambda key, honest, b: None), ValueError, "got NoneType"),
    "factors": (lambda: traced(schedule=lambda step: jnp.ones(3)), ValueError, "return a factor"),
    "losses": (
        lambda: traced(columns={"all": lambda *, losses: losses}),
        ValueError,
        r"column 'all' must return a scalar of shape \(\), got shape \(5,\)",
    ),
    "vectors": (
        lambda: traced(senders=[Sender(lambda point, w: None, shapeless)]),
        ValueError,
        r"senders must return a row for each .* of shape \(5, 3\), got shape \(3,\)",
    ),
    "no memory": (
        lambda: traced(senders=[Sender(lambda point, w: None, lambda take, p, m, r: take(p, r))]),
        TypeError,
        r"must send \(Sent, memory\), got Sent",
    ),
    "updates": (
        lambda: made(
            optimizer=optax.GradientTransformation(lambda p: (), lambda u, s, p: (u[0], s))
        ),
        ValueError,
        r"the optimizer must return updates \(d,\) of shape \(3,\)",
    ),
    # numbers
    "no rate": (lambda: traced(PLAIN, Hyperparameters(None)), TypeError, "number, got None"),
    "text": (lambda: traced(PLAIN, Hyperparameters("0.1")), TypeError, "number, got '0.1'"),
    "nan": (lambda: traced(PLAIN, Hyperparameters(np.nan)), ValueError, "finite number, got nan"),
    "rates": (lambda: traced(PLAIN, Hyperparameters(np.ones(2))), ValueError, "one number, got sh"),
    "a clip": (lambda: traced(PLAIN, Hyperparameters(1, clip=-1.0)), ValueError, "clip must be at"),
    "l2": (lambda: traced(PLAIN, Hyperparameters(1, l2=-1)), ValueError, "l2 must be finite and"),
    "a decay": (lambda: momentum(0.9), TypeError, r"such as worker=Momentum\(0.9\), or None, got"),
    "decays": (lambda: momentum(Momentum(None)), TypeError, "decay of Momentum at the worker must"),
    "options": (lambda: traced(PLAIN, Hyperparameters(1, attack=3)), TypeError, "attack must be a"),
    "an option": (
        lambda: attacked(attacks.fall_of_empires, Hyperparameters(1, attack={"factor": "1"})),
        TypeError,
        r"attack\['factor'\] must be a number, got '1'",
    ),
    "a float": (lambda: traced(PLAIN, 0.1), TypeError, "hyperparameters must be Hyperparameters"),
    "a decay of 1": (
        lambda: traced(REDUCED, Hyperparameters(1, worker=Momentum(1.0))),
        ValueError,
        "give a decay below 1, got 1.0 at the worker",
    ),
    "a decay of 1 in float32": (
        lambda: traced(REDUCED, Hyperparameters(1, worker=Momentum(1 - 2**-25))),
        ValueError,
        "in float32: give a decay below 1, got 0.99999997",
    ),
    # functions of a simulator
    "a key": (lambda: SIMULATOR.initialise(0), TypeError, r"a run needs a key as .* got 0"),
    "a run's key": (lambda: traced(key=1), TypeError, "a run needs a key as .* got 1"),
    "steps": (lambda: traced(num_steps=-1), ValueError, "num_steps must be at least 0, got -1"),
    "a start": (
        lambda: SIMULATOR.start(np.zeros(2), {}),
        ValueError,
        r"\(d,\) = \(3,\), got float",
    ),
    "rows for apply": (
        lambda: SIMULATOR.apply(SIMULATOR.initialise(KEY), RATE, KEY, 0, ROWS[:2], ROWS[0]),
        ValueError,
        r"apply takes gradients \(w, d\) = \(5, 3\) and .* got \(2, 3\) and \(3,\)",
    ),
    "losses for apply": (
        lambda: SIMULATOR.apply(SIMULATOR.initialise(KEY), RATE, KEY, 0, ROWS, ROWS[0]),
        ValueError,
        r"apply takes .* got \(5, 3\) and \(3,\)",
    ),
    # sweeps
    "a seed": (lambda: swept([Lane(2**32 + 1, RATE)]), ValueError, r"0 to 2\^31 - 1, got 42949672"),
    "seed -1": (lambda: swept([Lane(-1, RATE)]), ValueError, "seed must be from 0 to .* got -1"),
    "seed 1.0": (lambda: swept([Lane(1.0, RATE)]), TypeError, "seed must be an int, got 1.0"),
    "0 steps": (lambda: swept(steps=0), ValueError, "steps must be at least 1, got 0"),
    "-1 steps": (lambda: swept(steps=-1), ValueError, "steps must be at least 1, got -1"),
    "width": (lambda: swept(width=0), ValueError, "width must be at least 1, got 0"),
    "chunk": (lambda: swept(chunk=0), ValueError, "chunk must be at least 1 or None, got 0"),
    "look ahead": (lambda: swept(look_ahead="off"), TypeError, "look_ahead must be True or False"),
    "lanes": (lambda: swept([1, 2]), TypeError, "must be a list of Lane"),
    "one lane": (lambda: swept(Lane(1, RATE)), TypeError, "must be a list of Lane"),
    "no numbers": (lambda: swept([Lane(1, None)]), TypeError, "hyperparameters must be"),
    "other lanes": (
        lambda: swept([Lane(1, RATE), Lane(2, Hyperparameters(0.1, attack={"factor": 1.0}))]),
        ValueError,
        "name the same things, which those of lane 1 and lane 0 don't",
    ),
    "no device": (lambda: swept(devices=[]), ValueError, "devices must name at least one"),
    "no devices": (lambda: swept(devices=[0]), TypeError, "be of jax.local_devices"),
    "a number of devices": (lambda: swept(devices=2), TypeError, "jax.local_devices.*, got 2"),
    "a device twice": (
        lambda: swept(devices=jax.local_devices()[:1] * 2),
        ValueError,
        "devices must name each once",
    ),
    "a traced lane": (
        lambda: jax.eval_shape(lambda rate: swept([Lane(1, Hyperparameters(rate))]), 0.1),
        TypeError,
        "call it outside jit, vmap and grad",
    ),
    "a lane's decay": (
        lambda: sweep(
            made(REDUCED), [Lane(1, Hyperparameters(0.1, Momentum(1.5)))], {}, steps=1, width=1
        ),
        ValueError,
        "give a decay below 1, got 1.5 at the worker",
    ),
    "a data set": (lambda: swept(data=SMALL), TypeError, "task.data, got Dataset"),
    # data
    "float pixels": (lambda: dataset(PIXELS / 255), ValueError, "floats are given with scale=1.0"),
    "int pixels": (lambda: dataset(PIXELS.astype(int)), TypeError, "uint8 pixels or floats, got i"),
    "no channel": (lambda: dataset(PIXELS[..., 0]), ValueError, r"\(N, height, width, channels\)"),
    "an empty split": (
        lambda: dataset(test_images=PIXELS[:0], test_labels=LABELS[:0]),
        ValueError,
        "test_images must be .* none of them 0",
    ),
    "label 3": (
        lambda: dataset(labels=np.arange(4)),
        ValueError,
        "0 to num_classes - 1 = 1, got 3",
    ),
    "label -1": (lambda: dataset(labels=LABELS - 1), ValueError, "= 1, got -1"),
    "float labels": (lambda: dataset(labels=LABELS / 1), TypeError, "array of ints, got float64"),
    "one-hot": (lambda: dataset(labels=np.eye(2, dtype=int)[LABELS]), ValueError, "one an image"),
    "fewer labels": (lambda: dataset(labels=LABELS[:3]), ValueError, r"\(4,\), got shape \(3,\)"),
    "no class": (lambda: dataset(num_classes=0), ValueError, "num_classes must be at least 2"),
    "means": (lambda: dataset(mean=(0.0, 0.0)), ValueError, "mean must be a tuple of 1 numbers"),
    "deviation 0": (lambda: dataset(deviation=(0.0,)), ValueError, "deviation positive and finite"),
    "scale True": (lambda: dataset(scale=True), ValueError, "scale must be positive and finite"),
    "scale 0": (lambda: dataset(scale=0.0), ValueError, "scale must be positive and finite"),
    "flip": (lambda: dataset(flip="no"), TypeError, "flip must be True or False, got 'no'"),
    "other images": (lambda: dataset(test_images=PIXELS[:, 1:]), ValueError, "one shape and dtype"),
    "nan rows": (lambda: dataset(FLOATS * np.nan, scale=1.0), ValueError, "finite in float32"),
    "1e39": (
        lambda: dataset(FLOATS.astype(float) + 1e39, scale=1.0),
        ValueError,
        "finite in float",
    ),
    "flipped rows": (
        lambda: dataset(FLOATS, scale=1.0, flip=True),
        ValueError,
        "flip needs images",
    ),
    # tasks
    "a name": (lambda: learnt(data="digits"), TypeError, r"such as load\('digits'\), got 'digits'"),
    "a small head": (lambda: learnt(Dense(num_classes=1)), ValueError, "at least the data set's 2"),
    "a class": (lambda: learnt(Dense), TypeError, r"a class: give Dense\(...\)"),
    "nnx": (lambda: learnt(nnx.Dropout(0.1)), TypeError, "linen module.* got a f"),
    "a function": (lambda: learnt(lambda x: x), TypeError, "got the function <lambda>"),
    "other inputs": (
        lambda: learnt(Conv(), dataset(FLOATS, scale=1.0)),
        ValueError,
        "Conv fails on",
    ),
    "no unit": (lambda: learnt(Dense(hidden=0)), ValueError, "at least 1 unit, got 0"),
    "a depth": (lambda: learnt(WideResNet(11, 1)), ValueError, "depth must be 10, 16"),
    "no parameter": (
        lambda: learnt(nn.Sequential([jnp.ravel])),
        ValueError,
        "no parameters to tra",
    ),
    "a mode": (lambda: learnt(train_mode="off"), TypeError, "train_mode must be True or False"),
    "no mode": (
        lambda: learnt(nn.Sequential([nn.Dense(2)]), dataset(FLOATS, scale=1.0), train_mode=True),
        ValueError,
        "by a parameter `train`, which Sequential lacks",
    ),
    "draws": (lambda: learnt(replacement=1), TypeError, "replacement must be True or False"),
    "a dtype": (lambda: learnt(dtype=jnp.int8), TypeError, "dtype must be floating point"),
    "a partition": (lambda: learnt(partition=[[0], [1]]), TypeError, "simbyz.data.partition.iid"),
    "example -1": (
        lambda: learnt(partition=partition.Partition(np.array([[0, -1]]), np.array([2]))),
        ValueError,
        "names example -1, small has 4 training images",
    ),
    "nobody's share": (
        lambda: learnt(partition=partition.Partition(np.zeros((0, 2), int), np.zeros(0, int))),
        ValueError,
        "among at least one worker, got none",
    ),
    "workers": (lambda: quadratic(KEY, 5.5, 3), TypeError, "workers must be an int, got 5.5"),
}


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("case", CALLS)
def test_calls(case):
    call, error, message = CALLS[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert type(caught.value) is error
