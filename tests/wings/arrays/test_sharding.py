"""Rules across devices: shard_map over coordinates and over batches, and jit of a sharded stack."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from simbyz import aggregators, attacks
from simbyz.attacks.searched.line_search import Search, bracketing, looking_ahead, sequential
from simbyz.gossip import GossipConfig, Network, graphs, make_gossip, rules
from simbyz.preaggregators import nearest_neighbor_mixing
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.tasks.problems import quadratic
from tests.support.compiled import quick_jit
from tests.support.rules import refer

N, F, D = 11, 2, 6
ROWS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
STACKS = np.stack([ROWS, ROWS[::-1] + 1])
BY_COORDINATE = ["average", "median", "trimmed_mean", "phocas", "meamed"]
BY_DISTANCE = {
    "multi_krum": {},
    "aksel": {},
    "geometric_median": {},
    "centered_clipping": {"radius": 1.0},
    "caf": {},
    "bulyan": {},
    "faba": {},
    "signguard": {},
    "clipped_clustering": {},
    "minimum_diameter_averaging": {},
    "minimum_variance_averaging": {},
    "smea": {},
    "dnc": {"key": jax.random.key(0), "c": 1.0},
    "fltrust": {"trusted": np.linspace(-1, 1, D).astype(np.float32)},
    "foundation_fl": {},
    "median_of_means": {},
    "medoid": {},
    "huber_center": {},
    "filter_l2": {},
    "norm_bounded_mean": {},
    "robust_learning_rate": {},
}


def referred(name: str, rows: np.ndarray) -> np.ndarray:
    """What the rule gives by the loops of tests/reference, without a device."""
    return refer(name, BY_DISTANCE.get(name, {}), rows.astype(np.float64), F)


def mesh() -> jax.sharding.Mesh:
    return jax.sharding.Mesh(np.array(jax.devices()[:2]), ("device",))


def across(function: Callable) -> Callable:
    """The function over a leading axis, of which each device holds its part."""
    batch = PartitionSpec("device")
    return jax.shard_map(jax.vmap(function), mesh=mesh(), in_specs=batch, out_specs=batch)


def assert_same_on_each_device(
    function: Callable, inputs: np.ndarray, rtol: float = 1e-5, atol: float = 1e-6
) -> None:
    got, alone = quick_jit(across(function))(inputs), [quick_jit(function)(one) for one in inputs]
    for leaf, *leaves in zip(*map(jax.tree.leaves, (got, *alone)), strict=True):
        np.testing.assert_allclose(leaf, np.stack(leaves), rtol=rtol, atol=atol)


@pytest.mark.slower
@pytest.mark.parametrize("name", BY_COORDINATE)
def test_each_device_aggregates_its_coordinates(name: str) -> None:
    rule = functools.partial(aggregators.AGGREGATORS[name], f=F)
    spread = jax.shard_map(
        rule,
        mesh=mesh(),
        in_specs=PartitionSpec(None, "device"),
        out_specs=PartitionSpec("device"),
    )
    np.testing.assert_array_equal(jax.jit(spread)(ROWS), jax.jit(rule)(ROWS))


@pytest.mark.slower
@pytest.mark.parametrize("name", BY_DISTANCE)
def test_each_device_aggregates_its_stacks(name: str) -> None:
    """Rules that loop inside: what a loop carries must vary over devices as its body does, or
    tracing raises.
    """
    rule = functools.partial(aggregators.AGGREGATORS[name], f=F, **BY_DISTANCE[name])
    assert jax.eval_shape(across(rule), STACKS).shape == (2, D)


@pytest.mark.slower
@pytest.mark.parametrize("name", ["multi_krum", "geometric_median", "bulyan", "dnc"])
def test_each_device_gets_the_aggregates_of_its_stacks(name: str) -> None:
    """A rule of each kind of loop: traced for devices, it is the same program."""
    rule = functools.partial(aggregators.AGGREGATORS[name], f=F, **BY_DISTANCE[name])
    expected = np.stack([referred(name, stack) for stack in STACKS])
    # Not quick_jit, over which Bulyan's lanes take half a minute.
    np.testing.assert_allclose(jax.jit(across(rule))(STACKS), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slower
@pytest.mark.parametrize("name", ["median", *BY_DISTANCE])
def test_a_scan_over_stacks_whose_coordinates_lie_on_two_devices(name: str) -> None:
    """Its aggregates, and the derivative through scan and rule: how the sum of their squares
    changes along two ways, beside that of the reference.
    """
    rule = functools.partial(aggregators.AGGREGATORS[name], f=F, **BY_DISTANCE.get(name, {}))

    def total(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(carry: jax.Array, shift: jax.Array) -> tuple[jax.Array, jax.Array]:
            aggregate = rule(rows + shift)
            return carry + jnp.sum(jnp.square(aggregate)), aggregate

        return jax.lax.scan(step, jnp.float32(0), jnp.arange(3.0))

    def expected(rows: np.ndarray) -> np.ndarray:
        return np.stack([referred(name, rows + shift) for shift in range(3)])

    apart = jax.device_put(ROWS, NamedSharding(mesh(), PartitionSpec(None, "device")))
    gradient, aggregates = quick_jit(jax.grad(total, has_aux=True))(apart)
    np.testing.assert_allclose(aggregates, expected(ROWS), rtol=1e-5, atol=1e-6)
    for way in np.random.default_rng(1).normal(size=(2, N, D)):
        ahead, behind = (np.sum(expected(ROWS + move * way) ** 2) for move in (1e-6, -1e-6))
        slope = (ahead - behind) / 2e-6
        np.testing.assert_allclose(np.sum(gradient * way), slope, rtol=1e-4, atol=1e-5)


@pytest.mark.slower
def test_mixing_across_devices() -> None:
    assert_same_on_each_device(functools.partial(nearest_neighbor_mixing, f=F), STACKS)


@pytest.mark.slower
@pytest.mark.parametrize("name", ["adaptive_federated_averaging", "foolsgold", "safeguard"])
def test_each_device_remembers_its_workers(name: str) -> None:
    rule = aggregators.REMEMBERING[name]()

    def remembered(stack: jax.Array) -> object:
        return rule.learn(rule.start(jnp.zeros(D), n=N), stack, jnp.zeros(D))

    assert_same_on_each_device(remembered, STACKS)


@pytest.mark.slower
@pytest.mark.parametrize("name", ["a_little_is_enough", "fang_trimmed_mean", "min_max", "mimic"])
def test_each_device_attacks_its_stacks(name: str) -> None:
    attack = functools.partial(attacks.ATTACKS[name], jax.random.key(0), num_byzantine=F)
    assert_same_on_each_device(attack, STACKS)


@pytest.mark.slower
@pytest.mark.parametrize("search", [sequential, looking_ahead, bracketing])
def test_each_device_searches(search: Callable[..., Search]) -> None:
    """What is searched varies over the devices, and so does all that the search keeps."""

    def found(top: jax.Array) -> Search:
        return search(lambda x: -jnp.abs(x - top), 8)

    assert_same_on_each_device(found, np.array([0.6, 5.2], np.float32), rtol=1e-6, atol=0)


@pytest.mark.slower
@pytest.mark.parametrize(
    "attack",
    [
        attacks.adaptive("little", aggregators.median, evaluations=2),
        attacks.gradient_ascent(aggregators.median, iterations=1, climbers=1),
    ],
    ids=["adaptive", "gradient_ascent"],
)
def test_each_device_climbs(attack: Callable[..., jax.Array]) -> None:
    """A climb goes by the derivative of the rule, whose loop varies over the devices, too."""
    assert_same_on_each_device(
        functools.partial(attack, jax.random.key(0), num_byzantine=F), STACKS
    )


RUNS = {
    "with a server": lambda task: make_simulator(
        Config(n=5, f=1, momentum_at=("worker",), local_steps=2, evaluate_every=2),
        task,
        aggregators.median,
        attacks.free_riding(),
    ),
    "without": lambda task: make_gossip(
        GossipConfig(Network(graphs.complete(5), (4,)), rounds=2, evaluate_every=2),
        task,
        rules.gts,
        attacks.sign_flipping,
    ),
}


@pytest.mark.slower
@pytest.mark.parametrize("name", RUNS)
def test_each_device_runs_its_seeds(name: str) -> None:
    """As docs/scale.md says: with `check_vma=False`."""
    task = quadratic(jax.random.key(1), 4, D, noise=0.1, heterogeneity=1.0).task
    simulator = RUNS[name](task)
    given = Hyperparameters(0.1, worker=Momentum(0.9))

    def run(key: jax.Array) -> jax.Array:
        state = simulator.initialise(key)
        state, columns = simulator.advance(state, given, task.data, key, jnp.int32(0), 4)
        return state, columns

    seeds = jax.random.split(jax.random.key(2), 2)
    batch = PartitionSpec("device")
    spread = jax.shard_map(
        jax.vmap(run), mesh=mesh(), in_specs=batch, out_specs=batch, check_vma=False
    )
    got, alone = jax.jit(spread)(seeds), [jax.jit(run)(seed) for seed in seeds]
    for leaf, *leaves in zip(*map(jax.tree.leaves, (got, *alone)), strict=True):
        np.testing.assert_allclose(leaf, np.stack(leaves), rtol=1e-5, atol=1e-6)
