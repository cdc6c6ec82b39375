"""The simulator's own step, replayed on recorded steps of the paper's released program.

Each trajectory records what the program saw and did for 12 steps of a tiny problem, in float32:
every honest worker's gradient (regularised, before clipping), what was applied, the parameters
after the step, and all study columns. Feeding the recorded gradients to our step must give the
rest.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.simulator.certificates import CERTIFICATES
from simbyz.simulator.metrics import Metrics
from simbyz.tasks import Task
from tests.support.compiled import quick_jit
from tests.support.paths import GOLDEN

RUNS = json.loads((GOLDEN / "trajectories.json").read_text())["trajectories"]
ARRAYS = np.load(GOLDEN / "trajectories.npz")

# Rule, and the weights of its rows where the program records which attack rows it accepted.
RULES = {
    "average": (aggregators.average, lambda stack, f: jnp.full(len(stack), 1 / len(stack))),
    "median": (aggregators.median, None),
    "trmean": (aggregators.trimmed_mean, None),
    "krum": (
        lambda stack, f: aggregators.multi_krum(
            stack, f, neighbours=len(stack) - f - 1, squared=False
        ),
        lambda stack, f: aggregators.multi_krum_selection(
            stack, f, neighbours=len(stack) - f - 1, squared=False
        ),
    ),
    "bulyan": (functools.partial(aggregators.bulyan, variant="released"), None),
    "aksel": (aggregators.aksel, aggregators.aksel_selection),
}

COLUMNS = {
    "Step number": "step",
    "Training point count": "training_points",
    "Average loss": "loss",
    "l2 from origin": "distance_from_start",
    "Sampled gradient deviation": "sampled_deviation",
    "Honest gradient deviation": "honest_deviation",
    "Attack gradient deviation": "attack_deviation",
    "Sampled gradient norm": "sampled_norm",
    "Honest gradient norm": "honest_norm",
    "Attack gradient norm": "attack_norm",
    "Defense gradient norm": "aggregate_norm",
    "Sampled max coordinate": "sampled_largest",
    "Honest max coordinate": "honest_largest",
    "Attack max coordinate": "attack_largest",
    "Defense max coordinate": "aggregate_largest",
    "Sampled-honest cosine": "cosine_sampled_honest",
    "Sampled-attack cosine": "cosine_sampled_attack",
    "Sampled-defense cosine": "cosine_sampled_aggregate",
    "Honest-attack cosine": "cosine_honest_attack",
    "Honest-defense cosine": "cosine_honest_aggregate",
    "Attack-defense cosine": "cosine_attack_aggregate",
    "Sampled-prev cosine": "cosine_sampled_previous",
    "Sampled composite curvature": "curvature",
    "Attack acceptation ratio": "attack_acceptance",
}


def attack_of(run):
    """(attack, its options): a negative factor asks for a search in that many evaluations."""
    options = dict(item.split(":") for item in run["attack_args"])
    if run["attack"] == "nan":
        return attacks.nan, {}
    factor = float(options["factor"])
    if factor < 0:
        rule, _ = RULES[run["gar"]]
        return attacks.adaptive(run["attack"], rule, evaluations=int(-factor)), {}
    if run["attack"] == "little":
        return attacks.a_little_is_enough, {"factor": -factor if "negative" in options else factor}
    return attacks.fall_of_empires, {"factor": factor}


def test_all_are_replayed():
    assert len(RUNS) == 21
    searched = [run for run in RUNS if run["attack_args"][:1] == ["factor:-16"]]
    assert len(searched) == 6


def simulator_of(run, dimension):
    """A simulator whose parameters are a bare vector; its gradients come from the recording."""
    task = Task(
        data=None,
        initialise=lambda key: (jnp.zeros(dimension), {}),
        batches=None,
        loss=None,
        accuracy=None,
        batch_size=1,
    )
    rule, selection = RULES[run["gar"]]
    decay, refresh = run["lr_decay"], run["lr_decay_delta"]
    config = Config(
        n=run["n"],
        f=run["f"],
        momentum_at=(run["momentum_at"],),
        nesterov=run["nesterov"],
        curvature_window=run["study_past"],
    )
    simulator = make_simulator(
        config,
        task,
        rule,
        attack_of(run)[0],
        selection=selection,
        schedule=lambda step: 1 / (1 + step // refresh * refresh / decay),
    )
    hyperparameters = Hyperparameters(
        learning_rate=run["lr"],
        clip=run["clip"],
        l2=0.0,  # the recorded gradients hold it already
        weight_decay=run["weight_decay"],
        attack=attack_of(run)[1],
    )._replace(**{run["momentum_at"]: Momentum(run["momentum"], 1 - run["dampening"])})
    return simulator, hyperparameters


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run["key"])
def test_replay(run):
    recorded = {
        name.split("/")[1]: ARRAYS[name]
        for name in ARRAYS.files
        if name.startswith(run["key"] + "/")
    }
    study = dict(zip(run["study_columns"], recorded["study"].T, strict=True))
    points_per_step = study["Training point count"][1]
    simulator, hyperparameters = simulator_of(run, recorded["params0"].size)
    apply, points = quick_jit(simulator.apply), quick_jit(simulator.points)
    state = simulator.start(jnp.asarray(recorded["params0"]), {})
    key = jax.random.key(0)

    replayed = []
    for step in range(run["steps"]):
        if run["nesterov"]:
            at = np.broadcast_to(
                points(state, hyperparameters, step), recorded["grad_at"][step].shape
            )
            assert_close(at, recorded["grad_at"][step], scale=np.abs(at).max())
        state, metrics = apply(
            state, hyperparameters, key, step, recorded["grads"][step], recorded["losses"][step]
        )
        assert_close(
            state.parameters, recorded["params"][step], scale=np.abs(state.parameters).max()
        )
        replayed.append(metrics)
    replayed = Metrics(*(np.asarray(column) for column in zip(*replayed, strict=True)))

    ours_alone = {"accuracy", "learning_rate", "mass", "own", *CERTIFICATES}
    assert set(COLUMNS.values()) == set(Metrics._fields) - ours_alone
    for theirs, ours in COLUMNS.items():
        expected, got = study[theirs], getattr(replayed, ours)
        if ours == "training_points":
            got = got * (points_per_step / (run["n"] - run["f"]))
        scale = 1.0
        if ours == "attack_deviation":  # of equal rows: what is left of it is rounding
            scale = study["Attack gradient norm"]
        elif ours == "curvature":
            scale = study["Sampled gradient norm"].max() ** 2
        elif "cosine" not in ours and ours != "attack_acceptance":
            scale = np.abs(expected)
        assert_close(got, expected, scale, ours)
    lowered = np.arange(run["steps"]) // run["lr_decay_delta"] * run["lr_decay_delta"]
    rates = run["lr"] / (1 + lowered / run["lr_decay"])
    assert_close(replayed.learning_rate, rates, rates, "learning_rate")


def assert_close(got, expected, scale, what=""):
    """1e-6, relative to the size of what was added up."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), err_msg=what)
    error = np.abs(got - expected)[~np.isnan(expected)]
    bound = (1e-6 * scale * np.ones_like(expected))[~np.isnan(expected)]
    assert np.all(error <= bound), f"{what}: {np.max(error / np.maximum(bound, 1e-30)) * 1e-6:.2e}"
