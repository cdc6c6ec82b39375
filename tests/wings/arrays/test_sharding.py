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
from simbyz.preaggregators import nearest_neighbor_mixing
from tests.support.compiled import quick_jit
from tests.support.rules import refer

N, F, D = 11, 2, 6
ROWS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
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


@pytest.mark.thorough
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
    """Rules that loop inside: what a loop carries must vary over devices as its body does."""
    rule = functools.partial(aggregators.AGGREGATORS[name], f=F, **BY_DISTANCE[name])
    stacks = np.stack([ROWS, ROWS[::-1] + 1])
    batch = PartitionSpec("device")
    spread = jax.shard_map(jax.vmap(rule), mesh=mesh(), in_specs=batch, out_specs=batch)
    expected = np.stack([referred(name, stack) for stack in stacks])
    np.testing.assert_allclose(jax.jit(spread)(stacks), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["median", *BY_DISTANCE])
def test_a_stack_whose_coordinates_lie_on_two_devices(name: str) -> None:
    rule = functools.partial(aggregators.AGGREGATORS[name], f=F, **BY_DISTANCE.get(name, {}))
    apart = jax.device_put(ROWS, NamedSharding(mesh(), PartitionSpec(None, "device")))
    np.testing.assert_allclose(jax.jit(rule)(apart), referred(name, ROWS), rtol=1e-5, atol=1e-6)


@pytest.mark.slower
@pytest.mark.parametrize("name", ["median", *BY_DISTANCE])
def test_a_scan_over_stacks_and_its_derivative(name: str) -> None:
    """Gradient descent on the aggregate's norm, by the derivative through scan and rule."""
    rule = functools.partial(aggregators.AGGREGATORS[name], f=F, **BY_DISTANCE.get(name, {}))

    def norm(rows: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(rule(rows)))

    def total(rows: jax.Array) -> jax.Array:
        def step(carry: jax.Array, shift: jax.Array) -> tuple[jax.Array, None]:
            return carry + norm(rows + shift), None

        return jax.lax.scan(step, jnp.float32(0), jnp.arange(3.0))[0]

    gradient = quick_jit(jax.grad(total))(ROWS)
    of_one = quick_jit(jax.grad(norm))
    by_loop = sum(of_one(ROWS + np.float32(shift)) for shift in range(3))
    assert np.all(np.isfinite(gradient))
    np.testing.assert_allclose(gradient, by_loop, rtol=1e-4, atol=1e-5)


@pytest.mark.slower
def test_mixing_across_devices() -> None:
    batch = PartitionSpec("device")
    mix = jax.vmap(functools.partial(nearest_neighbor_mixing, f=F))
    spread = jax.shard_map(mix, mesh=mesh(), in_specs=batch, out_specs=batch)
    stacks = np.stack([ROWS, ROWS[::-1]])
    np.testing.assert_allclose(jax.jit(spread)(stacks), jax.jit(mix)(stacks), rtol=1e-5, atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["adaptive_federated_averaging", "foolsgold", "safeguard"])
def test_each_device_remembers_its_workers(name: str) -> None:
    rule = aggregators.REMEMBERING[name]()

    def remembered(stack: jax.Array) -> object:
        return rule.learn(rule.start(jnp.zeros(D), n=N), stack, jnp.zeros(D))

    stacks = np.stack([ROWS, -ROWS[::-1] + 1])
    batch = PartitionSpec("device")
    spread = jax.shard_map(jax.vmap(remembered), mesh=mesh(), in_specs=batch, out_specs=batch)
    got, alone = jax.jit(spread)(stacks), [jax.jit(remembered)(stack) for stack in stacks]
    for leaf, *leaves in zip(*map(jax.tree.leaves, (got, *alone)), strict=True):
        np.testing.assert_allclose(leaf, np.stack(leaves), rtol=1e-5, atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["a_little_is_enough", "fang_trimmed_mean", "min_max", "mimic"])
def test_each_device_attacks_its_stacks(name: str) -> None:
    attack = functools.partial(attacks.ATTACKS[name], jax.random.key(0), num_byzantine=F)
    stacks = np.stack([ROWS, ROWS[::-1] + 1])
    batch = PartitionSpec("device")
    spread = jax.shard_map(jax.vmap(attack), mesh=mesh(), in_specs=batch, out_specs=batch)
    alone = np.stack([jax.jit(attack)(stack) for stack in stacks])
    np.testing.assert_allclose(jax.jit(spread)(stacks), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.slower
@pytest.mark.parametrize("search", [sequential, looking_ahead, bracketing])
def test_each_device_searches(search: Callable[..., Search]) -> None:
    """What is searched varies over the devices, and so does all that the search keeps."""
    tops = np.array([0.6, 5.2], np.float32)

    def found(top: jax.Array) -> Search:
        return search(lambda x: -jnp.abs(x - top), 8)

    batch = PartitionSpec("device")
    spread = jax.shard_map(jax.vmap(found), mesh=mesh(), in_specs=batch, out_specs=batch)
    got, alone = jax.jit(spread)(tops), [jax.jit(found)(top) for top in tops]
    for leaf, *leaves in zip(*map(jax.tree.leaves, (got, *alone)), strict=True):
        np.testing.assert_allclose(leaf, np.stack(leaves), rtol=1e-6)


@pytest.mark.thorough
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
    against = functools.partial(attack, jax.random.key(0), num_byzantine=F)
    stacks = np.stack([ROWS, ROWS[::-1] + 1])
    batch = PartitionSpec("device")
    spread = jax.shard_map(jax.vmap(against), mesh=mesh(), in_specs=batch, out_specs=batch)
    alone = np.stack([jax.jit(against)(stack) for stack in stacks])
    np.testing.assert_allclose(jax.jit(spread)(stacks), alone, rtol=1e-5, atol=1e-6)
