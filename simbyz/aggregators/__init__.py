"""Aggregation rules: pure functions (updates, f, *, ...) -> aggregate, and a dict of them by name.

`updates` is an (n, d) array, one row a worker, or a pytree whose leaves have a leading worker axis;
the aggregate is (d,), or the pytree without that axis. A list of vectors is refused: it could mean
either. `f`, a Python int, is the number of Byzantine rows tolerated: a rule checks it against n and
may use it. A wrong (n, f) raises ValueError at trace time; array values never raise.
`functools.partial(multi_krum, m=1)` is a configured rule. Rules are not jitted: call them inside
your own `jax.jit`, or eagerly.

Each rule has a selection, `krum_selection` of `krum`, with the same arguments: (updates, f) ->
each row's weight (n,) in the aggregate. The two are halves of one core; `selection_of` finds the
selection of a configured rule or of a chain, and `together` computes both at once.
"""

# ruff: noqa: F403, F405 (each module lists what it gives)

from collections.abc import Callable

import jax

from simbyz._arrays.halves import selection_of as selection_of
from simbyz._arrays.stacking import PyTree
from simbyz.aggregators.base import StatefulRule as StatefulRule
from simbyz.aggregators.base import together as together
from simbyz.aggregators.center import *
from simbyz.aggregators.compose.by_layer import *
from simbyz.aggregators.compose.chain import chain as chain
from simbyz.aggregators.compose.layerwise import layerwise as layerwise
from simbyz.aggregators.compose.mixture import mixture as mixture
from simbyz.aggregators.compose.optax_interface import *
from simbyz.aggregators.coordinate import *
from simbyz.aggregators.distance import *
from simbyz.aggregators.filters.clustering import *
from simbyz.aggregators.filters.coordinate_groups import *
from simbyz.aggregators.filters.elected_signs import *
from simbyz.aggregators.filters.lowest_scores import *
from simbyz.aggregators.filters.output_layer import *
from simbyz.aggregators.history.fldetector import fldetector as fldetector
from simbyz.aggregators.history.foolsgold import foolsgold as foolsgold
from simbyz.aggregators.history.reputation import (
    adaptive_federated_averaging as adaptive_federated_averaging,
)
from simbyz.aggregators.history.safeguard import safeguard as safeguard
from simbyz.aggregators.spectral import *
from simbyz.aggregators.subsets.groups import *
from simbyz.aggregators.subsets.rules import *
from simbyz.aggregators.subsets.sequence import *
from simbyz.aggregators.trust.learned import bant as bant
from simbyz.aggregators.trust.learned import fedlaw as fedlaw
from simbyz.aggregators.trust.reference import *
from simbyz.aggregators.trust.root import *
from simbyz.aggregators.weighted.automatic import *
from simbyz.aggregators.weighted.rules import *

AGGREGATORS: dict[str, Callable[..., PyTree]] = {
    rule.__name__: rule
    for rule in (
        average,
        median,
        trimmed_mean,
        phocas,
        meamed,
        krum,
        multi_krum,
        bulyan,
        geometric_median,
        centered_clipping,
        caf,
        dnc,
        cge,
        aksel,
        monna,
        faba,
        fltrust,
        signguard,
        foundation_fl,
        clipped_clustering,
        minimum_diameter_averaging,
        minimum_variance_averaging,
        smea,
        median_of_means,
        medoid,
        huber_center,
        norm_bounded_mean,
        filter_l2,
        robust_learning_rate,
        fed_nga,
        gas,
        fedseca,
        lasa,
        autogm,
        flame,
        lfighter,
        sequential_centered_clipping,
        layerwise_centered_clipping,
    )
}

# Rules that remember earlier steps: functions that make a `StatefulRule`.
REMEMBERING: dict[str, Callable[..., StatefulRule]] = {
    make.__name__: make
    for make in (adaptive_federated_averaging, bant, fedlaw, fldetector, foolsgold, safeguard)
}

# (updates, f) -> each row's weight (n,) in the aggregate.
SELECTIONS: dict[str, Callable[..., jax.Array]] = {
    name: selection_of(rule) for name, rule in AGGREGATORS.items()
}
