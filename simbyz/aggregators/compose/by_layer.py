"""Rules that look at each layer of a model alone: each leaf of a pytree, a matrix being one layer.

In a run, where updates are rows, `in_layers(rule, unravel)` shows a rule the layers.

Non-finite values: a row that is not finite, or (in float32) some 1e19 times as long as the middle
one, is left out, by `layerwise_centered_clipping` of the layers alone where it is.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from simbyz._arrays.calling import name_of, require_of_updates
from simbyz._arrays.checks import (
    floor_of_product,
    not_negative,
    require,
    require_callable,
    share_below_one,
)
from simbyz._arrays.halves import Halves, core_of, halves
from simbyz._arrays.lengths import lengths_to, middle_length
from simbyz._arrays.moments import weighted_mean
from simbyz._arrays.ranks.long_rows import kth_largest
from simbyz._arrays.scales import wide
from simbyz._arrays.stacking import PyTree, Updates, ravel, row_like
from simbyz.aggregators.center import clipped_around
from simbyz.aggregators.filters.clustering import median_of_known
from simbyz.aggregators.trust.root import Root

__all__ = [
    "in_layers",
    "lasa",
    "lasa_selection",
    "layerwise_centered_clipping",
    "layerwise_centered_clipping_selection",
]


def in_layers(
    rule: Callable[..., PyTree], unravel: Callable[[jax.Array], PyTree]
) -> Callable[..., jax.Array]:
    """A rule of rows that shows another rule the layers in them.

        make_simulator(config, task, in_layers(lasa, unravel), attack)
        in_layers(layerwise(krum), unravel)  # Krum, layer by layer

    Args:
      rule: (updates, f) -> aggregate, of pytrees; configured by functools.partial.
      unravel: a row (d,) -> the pytree of a model's parameters, as `simulator.unravel` does, or
        what `jax.flatten_util.ravel_pytree` gives.

    Returns:
      A callable with the rule's signature, (n, d) -> (d,). It has a selection if the rule has one.
      A rule that asks for `root` is shown the layers of its parameters, too.

    Raises:
      TypeError: a rule that is no function, or an unravel.
      ValueError: when called, the updates are no matrix, the leaves are not the row again, in its
        order, or the rule makes something else than one row, as a pre-aggregator does.
    """
    require_of_updates("rule", rule, "simbyz.aggregators.lasa")
    require_callable("unravel", unravel, "that of a simulator")
    core = core_of(rule)

    require_inverse = functools.cache(functools.partial(_require_inverse, unravel))

    def layers_of(updates: Updates) -> PyTree:
        stack, _ = ravel(updates)
        if jax.tree.map(jnp.shape, updates) != stack.shape:
            shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(updates)]
            raise ValueError(
                f"in_layers needs rows, one array (n, d), got {shapes}: of a pytree "
                f"{name_of(rule)} sees the layers without it"
            )
        require_inverse(stack.shape[1], stack.dtype)
        return jax.vmap(unravel)(updates)

    def shown(options: dict[str, Any]) -> dict[str, Any]:
        root = options.get("root")
        if not isinstance(root, Root) or not hasattr(root.parameters, "shape"):
            return options
        of_row = root.loss
        layers = unravel(jnp.asarray(root.parameters))
        return options | {"root": Root(layers, root.rate, lambda tree: of_row(_row(tree)))}

    def row_of(made: PyTree, layers: PyTree) -> jax.Array:
        own = [leaf.shape[1:] for leaf in jax.tree.leaves(layers)]
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(made)]
        if shapes not in (own, [(sum(map(math.prod, own)),)]):
            raise ValueError(
                f"in_layers needs a rule that makes one row, of leaves {own}, {name_of(rule)} made "
                f"{shapes}: a pre-aggregator stands inside, as in_layers(chain(it, rule), unravel)"
            )
        return _row(made)

    if core is None:

        @functools.wraps(rule, updated=())
        def of_rows(updates: Updates, f: int, **options: Any) -> jax.Array:
            layers = layers_of(updates)
            return row_of(rule(layers, f, **shown(options)), layers)

        return of_rows

    def by_layer(updates: Updates, f: int, **options: Any) -> Halves:
        layers = layers_of(updates)
        of_layers = core(layers, f, **shown(options))
        return Halves(lambda: row_of(of_layers.result(), layers), of_layers.weights)

    by_layer.__name__, by_layer.__doc__ = name_of(rule), rule.__doc__
    vars(by_layer).update(__signature__=inspect.signature(core))
    return halves(by_layer)[0]


def _row(tree: PyTree) -> jax.Array:
    return ravel_pytree(tree)[0]


def _require_inverse(unravel: Callable[[jax.Array], PyTree], d: int, dtype: jnp.dtype) -> None:
    """Raises ValueError unless the leaves that a row (d,) is unravelled to are the row again."""
    # Any type of floats holds these, and no two layers have the same.
    row = np.random.default_rng(0).integers(0, 128, d)
    with jax.ensure_compile_time_eval():
        back = jax.jit(lambda row: ravel_pytree(unravel(row))[0])
        got = np.asarray(back(jnp.asarray(row, dtype)))
    if not np.array_equal(got, row):
        kept = f"{got.size} of d = {d} numbers" if got.size != d else "another order"
        raise ValueError(
            "in_layers needs an unravel whose leaves, as jax.tree.leaves orders them (a dict's by "
            f"their keys), are the row again, got {kept}: give simulator.unravel, or what "
            "jax.flatten_util.ravel_pytree gives"
        )


def _lasa(
    updates: Updates,
    f: int,
    *,
    sparsity: float = 0.3,
    norm_bound: float | jax.Array = 1.0,
    sign_bound: float | jax.Array = 1.0,
) -> Halves:
    """The mean, in each layer, of the rows whose norm and share of positive signs are usual there.

    Rows are shortened to the lower median of the finite rows' norms. Of each the largest, a share
    1 - sparsity, are looked at: in a layer, their norm and the mean of their signs. A row is usual
    if both are less than so many deviations off the median of the finite rows'; if no row is, all
    are. The result is the mean of the usual rows, shortened, but with all their values.

    Args:
      sparsity: from 0 to below 1.
      norm_bound, sign_bound: λ_n and λ_s, in deviations (divisor n); 0 or more, may be traced.

    Returns:
      The aggregate; zeros if no row is finite. The choice carries no derivative, the clipping does.

    Raises:
      ValueError: n < 2f + 1, or a sparsity or bound out of range.

    Weights: 1/m for each of the m rows that a layer takes; the mean over the layers, by their size.
    Cost: two passes over the stack, and each row's rank by a search, 5 to 15 passes in cache.
    Reference: Xu et al., Achieving Byzantine-resilient federated learning via layer-adaptive
      sparsified model aggregation, WACV 2025, by its program.
    Convention: here all values are ranked, and those as large as the last one kept are kept; the
      program ranks those of matrices and kernels alone, and drops the last. It averages what it
      looked at, since its clipped and its sparse rows are one dictionary (lasa.py at 6fb9e54);
      FLPoison and CRYPTO-KU's library average clipped rows, as here. FLPoison's sparse rows are not
      clipped. Rows of equal norm have no deviation: here (and in CRYPTO-KU's) all are usual then,
      in the program none is. A row that is not finite is left out from the start.
    """
    stack, unravel = ravel(updates)
    n, d = stack.shape
    require("lasa", n, f, 2, 1)
    sparsity = share_below_one("lasa", "sparsity", sparsity)
    not_negative("lasa", "norm_bound", norm_bound)
    not_negative("lasa", "sign_bound", sign_bound)
    lengths = lengths_to(None, stack)
    finite = lengths.finite
    ordered = jnp.sort(jnp.where(finite, lengths.values, jnp.inf))
    middle = ordered[jnp.maximum(jnp.sum(finite) - 1, 0) // 2]
    factors = jnp.where(finite, jnp.minimum(1, middle / lengths.values), 0)

    rows = jnp.where(finite[:, None], wide(stack) * lengths.unit, 0) * factors[:, None]
    rows = jax.lax.stop_gradient(rows)
    sizes = jnp.abs(rows)
    least = kth_largest(sizes, max(floor_of_product(1 - sparsity, d), 1))
    sparse = jnp.where(sizes >= least[:, None], rows, 0)

    def usual(part: jax.Array) -> jax.Array:
        norms = jnp.sqrt(jnp.sum(jnp.square(part), axis=1))
        signs = jnp.sum(jnp.sign(part), axis=1) / jnp.maximum(jnp.sum(part != 0, axis=1), 1)
        taken = finite & (_off(norms, finite) < norm_bound) & (_off(signs, finite) < sign_bound)
        return jnp.where(jnp.any(taken), taken, finite)

    taken = [(layer, usual(sparse[:, layer])) for layer in _layers(updates, n)]

    def aggregate() -> jax.Array:
        means = [
            weighted_mean(stack[:, layer], rows * factors, jnp.maximum(jnp.sum(rows), 1))
            for layer, rows in taken
        ]
        return jnp.concatenate(means).astype(stack.dtype)

    def weights() -> jax.Array:
        shares = [
            (layer.stop - layer.start) * rows / jnp.maximum(jnp.sum(rows), 1)
            for layer, rows in taken
        ]
        return jnp.sum(jnp.stack(shares), axis=0) / d

    return Halves(lambda: unravel(aggregate()), weights)


lasa, lasa_selection = halves(_lasa)


def _off(values: jax.Array, known: jax.Array) -> jax.Array:
    """How many deviations the values (n,) are off the median of those known; 0 of equal ones."""
    middle = median_of_known(jnp.where(known, values, jnp.nan))
    count = jnp.maximum(jnp.sum(known), 1)
    mean = jnp.sum(jnp.where(known, values, 0)) / count
    deviation = jnp.sqrt(jnp.sum(jnp.where(known, jnp.square(values - mean), 0)) / count)
    # Rounding of equal values is none.
    some = deviation > 4 * jnp.finfo(values.dtype).eps * jnp.abs(middle)
    return jnp.where(some, jnp.abs(values - middle) / jnp.where(some, deviation, 1), 0)


def _layerwise_centered_clipping(
    updates: Updates,
    f: int = 0,
    *,
    radius: float | jax.Array | None = None,
    iterations: int = 1,
    center: PyTree | None = None,
) -> Halves:
    """`centered_clipping` of each layer alone: a row that is far off in one is clipped there only.

    Args:
      radius: of each layer; 0 or more, may be traced. If None the lower median, in each, of the
        rows' distances to the first centre.
      iterations: at least 1.
      center: before the first step, (d,) or a pytree like the result; zeros if None.

    Returns:
      The aggregate: the new centre.

    Raises:
      ValueError: as `centered_clipping`.

    Weights: the mean of the layers' weights, by their size.
    Cost: as `centered_clipping`.
    Reference: Ozfatura, Özfatura, Küpçü and Gündüz, Byzantines can also learn from history: fall of
      centered clipping in federated learning, IEEE Transactions on Information Forensics and
      Security, 2024, whose text was not at hand.
    Convention: the authors' program adds up the moves of several iterations without moving the
      centre between them, which with one iteration, its default, is the same.
    """
    stack, unravel = ravel(updates)
    n, d = stack.shape
    require("layerwise_centered_clipping", n, f, 2, 1)
    start = None if center is None else row_like(center, updates, stack)
    of_layers = []
    for layer in _layers(updates, n):
        rows, own = stack[:, layer], None if start is None else start[layer]
        first = None if own is None else wide(own)
        reach = middle_length(lengths_to(first, rows)) if radius is None else radius
        part = clipped_around("layerwise_centered_clipping", rows, reach, iterations, own)
        of_layers.append((layer.stop - layer.start, part))
    return Halves(
        lambda: unravel(jnp.concatenate([part.result() for _, part in of_layers])),
        lambda: jnp.sum(jnp.stack([size * part.weights() for size, part in of_layers]), axis=0) / d,
    )


layerwise_centered_clipping, layerwise_centered_clipping_selection = halves(
    _layerwise_centered_clipping
)


def _layers(updates: PyTree, n: int) -> Iterator[slice]:
    """Where each leaf's numbers are in a row; leaves without any are none."""
    start = 0
    for leaf in jax.tree.leaves(updates):
        size = leaf.size // n
        if size:
            yield slice(start, start + size)
        start += size
