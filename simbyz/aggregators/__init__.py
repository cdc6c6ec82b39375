"""Aggregation rules: pure functions (updates, f) -> aggregate, and a dict of them by name.

`updates` is an (n, d) array or a pytree whose leaves have a leading worker axis; `f`, a Python int,
is the number of Byzantine rows tolerated. A wrong (n, f) raises ValueError at trace time; array
values never raise. `functools.partial(multi_krum, m=1)` is a configured rule. Rules are not jitted:
call them inside your own `jax.jit`, or eagerly.
"""

from collections.abc import Callable

import jax

from simbyz._arrays.stacking import PyTree
from simbyz.aggregators.center import (
    centered_clipping,
    centered_clipping_selection,
    geometric_median,
    geometric_median_selection,
)
from simbyz.aggregators.compose.chain import chain
from simbyz.aggregators.compose.optax_interface import as_gradient_transformation, at_workers
from simbyz.aggregators.coordinate import average, meamed, median, phocas, trimmed_mean
from simbyz.aggregators.distance import (
    bulyan,
    bulyan_selection,
    krum,
    krum_selection,
    multi_krum,
    multi_krum_selection,
)
from simbyz.aggregators.filters.clustering import (
    clipped_clustering,
    clipped_clustering_selection,
    remember_norms,
)
from simbyz.aggregators.filters.lowest_scores import (
    aksel,
    aksel_selection,
    cge,
    cge_selection,
    faba,
    faba_selection,
    monna,
    monna_selection,
)
from simbyz.aggregators.shares import (
    average_selection,
    meamed_selection,
    median_selection,
    phocas_selection,
    trimmed_mean_selection,
)
from simbyz.aggregators.spectral import (
    caf,
    caf_selection,
    dnc,
    dnc_selection,
)
from simbyz.aggregators.subsets.rules import (
    minimum_diameter_averaging,
    minimum_diameter_averaging_selection,
    minimum_variance_averaging,
    minimum_variance_averaging_selection,
    smea,
    smea_selection,
)
from simbyz.aggregators.trust import (
    fltrust,
    fltrust_selection,
    foundation_fl,
    foundation_fl_selection,
    signguard,
    signguard_selection,
)
from simbyz.aggregators.weighted.rules import (
    WEIGHTED,
    heaviest_share,
    weighted_average,
    weighted_average_selection,
    weighted_geometric_median,
    weighted_geometric_median_selection,
    weighted_median,
    weighted_median_selection,
)

AGGREGATORS: dict[str, Callable[..., PyTree]] = {
    "average": average,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "phocas": phocas,
    "meamed": meamed,
    "krum": krum,
    "multi_krum": multi_krum,
    "bulyan": bulyan,
    "geometric_median": geometric_median,
    "centered_clipping": centered_clipping,
    "caf": caf,
    "dnc": dnc,
    "cge": cge,
    "aksel": aksel,
    "monna": monna,
    "faba": faba,
    "fltrust": fltrust,
    "signguard": signguard,
    "foundation_fl": foundation_fl,
    "clipped_clustering": clipped_clustering,
    "minimum_diameter_averaging": minimum_diameter_averaging,
    "minimum_variance_averaging": minimum_variance_averaging,
    "smea": smea,
}

# Whom a rule took: (updates, f) -> the weight (n,) of each row in the aggregate.
SELECTIONS: dict[str, Callable[..., jax.Array]] = {
    "average": average_selection,
    "median": median_selection,
    "trimmed_mean": trimmed_mean_selection,
    "phocas": phocas_selection,
    "meamed": meamed_selection,
    "krum": krum_selection,
    "multi_krum": multi_krum_selection,
    "bulyan": bulyan_selection,
    "geometric_median": geometric_median_selection,
    "centered_clipping": centered_clipping_selection,
    "caf": caf_selection,
    "dnc": dnc_selection,
    "cge": cge_selection,
    "aksel": aksel_selection,
    "monna": monna_selection,
    "faba": faba_selection,
    "fltrust": fltrust_selection,
    "signguard": signguard_selection,
    "foundation_fl": foundation_fl_selection,
    "clipped_clustering": clipped_clustering_selection,
    "minimum_diameter_averaging": minimum_diameter_averaging_selection,
    "minimum_variance_averaging": minimum_variance_averaging_selection,
    "smea": smea_selection,
}

__all__ = [
    "AGGREGATORS",
    "SELECTIONS",
    "WEIGHTED",
    "aksel",
    "aksel_selection",
    "as_gradient_transformation",
    "at_workers",
    "average",
    "average_selection",
    "bulyan",
    "bulyan_selection",
    "caf",
    "caf_selection",
    "centered_clipping",
    "centered_clipping_selection",
    "cge",
    "cge_selection",
    "chain",
    "clipped_clustering",
    "clipped_clustering_selection",
    "dnc",
    "dnc_selection",
    "faba",
    "faba_selection",
    "fltrust",
    "fltrust_selection",
    "foundation_fl",
    "foundation_fl_selection",
    "geometric_median",
    "geometric_median_selection",
    "heaviest_share",
    "krum",
    "krum_selection",
    "meamed",
    "meamed_selection",
    "median",
    "median_selection",
    "minimum_diameter_averaging",
    "minimum_diameter_averaging_selection",
    "minimum_variance_averaging",
    "minimum_variance_averaging_selection",
    "monna",
    "monna_selection",
    "multi_krum",
    "multi_krum_selection",
    "phocas",
    "phocas_selection",
    "remember_norms",
    "signguard",
    "signguard_selection",
    "smea",
    "smea_selection",
    "trimmed_mean",
    "trimmed_mean_selection",
    "weighted_average",
    "weighted_average_selection",
    "weighted_geometric_median",
    "weighted_geometric_median_selection",
    "weighted_median",
    "weighted_median_selection",
]
