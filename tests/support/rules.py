"""Every aggregation rule, configured, with its reference and the laws that it keeps.

A rule joins the tests of tests/wings/aggregators/laws with one line in RULES. Shapes are the same
everywhere, since every new one compiles every rule again.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from simbyz import aggregators
from simbyz.aggregators.spectral import draw_coordinates
from tests.reference import center_filters as reference_center_filters
from tests.reference import further_rules as reference_further
from tests.reference import rules as reference
from tests.reference import subsets as reference_subsets
from tests.support.compiled import compiled, compiled_gradient, compiled_lanes

# Enough for every rule at f = 2 with one row to spare, and an even number.
N, F, D = 12, 2, 3
KEY = jax.random.key(0)
TRUSTED = np.array([0.25, -0.125, 0.5])  # in any dtype


class Rule(NamedTuple):
    """A rule with its conventions, and the condition n >= slope · f + offset that it checks."""

    name: str
    options: dict
    slope: int
    offset: int
    # Is there one best row, whatever the order of the rows?
    orderless: bool = True
    # Laws that do not hold by the rule's very definition.
    breaks: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = {key: value for key, value in self.options.items() if not hasattr(value, "shape")}
        return "-".join([self.name, *(f"{key}={value}" for key, value in shown.items())])

    @property
    def rule(self) -> Callable:
        return getattr(aggregators, self.name)

    @property
    def function(self) -> Callable:
        return functools.partial(self.rule, **self.options)

    def compiled(self, f: int = F) -> Callable:
        return compiled(self.rule, f=f, **self.options)

    def compiled_gradient(self) -> Callable:
        return compiled_gradient(self.rule, f=F, **self.options)

    def compiled_lanes(self) -> Callable:
        return compiled_lanes(self.rule, f=F, **self.options)

    def refer(self, rows: np.ndarray, f: int) -> np.ndarray:
        return refer(self.name, self.options, rows, f)

    def smallest_n(self, f: int) -> int:
        return self.slope * f + self.offset


def refer(name: str, options: dict, rows: np.ndarray, f: int) -> np.ndarray:
    """The rule by the float64 loops of tests/reference, with the coordinates that it draws."""
    options, d = dict(options), rows.shape[1]
    if name == "dnc":
        key, sample = options.pop("key"), options.pop("sample", d)
        keys = jax.random.split(key, 5)
        options["draws"] = [np.asarray(draw_coordinates(key, d, sample)) for key in keys]
    elif name == "signguard" and "sample" in options:
        drawn = draw_coordinates(options.pop("key"), d, options.pop("sample"))
        options["coordinates"] = np.asarray(drawn)
    elif name == "foundation_fl":
        rule = options.get("rule", aggregators.trimmed_mean)
        options["rule"] = getattr(reference, rule.__name__)
    modules = (reference, reference_center_filters, reference_subsets, reference_further)
    module = next(module for module in modules if hasattr(module, name))
    return getattr(module, name)(rows, f, **options)


RULES = [
    Rule("average", {}, 0, 1, breaks=("robustness",)),
    Rule("median", {}, 2, 1),
    Rule("median", {"midpoint": True}, 2, 1),
    Rule("trimmed_mean", {}, 2, 1),
    Rule("phocas", {}, 2, 1),
    Rule("meamed", {}, 2, 1),
    Rule("meamed", {"midpoint": True}, 2, 1),
    Rule("krum", {}, 2, 3),
    # A root, and a mean of means, round.
    Rule("krum", {"squared": False}, 2, 3, breaks=("ties",)),
    Rule("multi_krum", {}, 2, 3),
    Rule("multi_krum", {"squared": False, "m": 2}, 2, 3, breaks=("ties",)),
    # Its last choice, of 2f + 1 rows by one neighbour if f <= 2, is between two rows that are each
    # other's nearest, with equal scores: the earlier one wins.
    Rule("bulyan", {}, 4, 3, orderless=False),
    Rule("bulyan", {"variant": "released"}, 4, 3, breaks=("ties",)),
    Rule("bulyan", {"variant": "released", "m": 2}, 4, 3, breaks=("ties",)),
    # The distance below which rows pull equally has a scale; so tiny a one shows nowhere.
    Rule("geometric_median", {"smoothing": 1e-12, "start": "median"}, 2, 1),
    Rule("geometric_median", {}, 2, 1, breaks=("translation", "scaling")),
    # It starts from a given centre, here zero, and moves at most by a given radius.
    Rule(
        "centered_clipping",
        {"radius": 1.0, "iterations": 2},
        2,
        1,
        breaks=("translation", "scaling", "agreement"),
    ),
    Rule("caf", {}, 2, 1),
    Rule("dnc", {"key": KEY}, 2, 1, breaks=("ties",)),
    # Often, two subsets share the pair that is the diameter of both: the first one wins.
    Rule("minimum_diameter_averaging", {}, 2, 1, breaks=("order",)),
    Rule("minimum_variance_averaging", {}, 2, 1),
    # An eigenvalue is rounded; `test_subsets` has what holds of ties.
    Rule("smea", {}, 2, 1, breaks=("ties",)),
    # A norm depends on where zero is.
    Rule("cge", {}, 2, 1, breaks=("translation",)),
    Rule("aksel", {}, 2, 1),
    Rule("aksel", {"mode": "n-f"}, 2, 1),
    # It trusts row 0, bad or not.
    Rule("monna", {}, 2, 1, breaks=("order", "robustness")),
    Rule("faba", {}, 2, 1),
    # It goes by a given row, of the shape of the others, and by where zero is.
    Rule(
        "fltrust",
        {"trusted": TRUSTED},
        1,
        1,
        breaks=("translation", "scaling", "agreement", "robustness", "ties", "pytree"),
    ),
    # Clipped rows may leave the box around the honest ones, towards zero.
    Rule("signguard", {}, 2, 1, breaks=("translation", "robustness", "ties")),
    # Of two clusters of as many rows, the one of the earliest row.
    Rule(
        "clipped_clustering",
        {},
        2,
        1,
        orderless=False,
        breaks=("translation", "robustness", "ties"),
    ),
    # Bad rows that disagree on the extremes are copied themselves.
    Rule("foundation_fl", {}, 2, 1, breaks=("robustness", "ties")),
    # Who is in which group goes by the order.
    Rule("median_of_means", {}, 2, 1, breaks=("order",)),
    # A root, that rounds.
    Rule("medoid", {}, 2, 1, breaks=("ties",)),
    Rule("huber_center", {}, 2, 1),
    # Shortened rows may leave the box around the honest ones, towards zero.
    Rule("norm_bounded_mean", {}, 2, 1, breaks=("translation", "robustness")),
    Rule("filter_l2", {}, 2, 1),
    # Signs depend on where zero is; it bounds no length.
    Rule("robust_learning_rate", {}, 3, 1, breaks=("translation", "robustness")),
    # Of each row it keeps the direction alone, which depends on where zero is.
    Rule("fed_nga", {}, 2, 1, breaks=("translation", "scaling", "agreement", "robustness", "ties")),
    Rule("gas", {"groups": 2}, 2, 1, breaks=("ties",)),
    # Signs and norms depend on where zero is; small values of a row are left out.
    Rule(
        "fedseca",
        {"sparsity": 0.5},
        2,
        1,
        breaks=("translation", "agreement", "robustness"),
    ),
    # A matrix is one layer, a pytree has several.
    Rule("lasa", {}, 2, 1, breaks=("translation", "robustness", "ties", "pytree")),
    Rule("autogm", {}, 2, 1),
    # Rows at equal angles, and shortened ones, as of clipped_clustering.
    Rule("flame", {}, 2, 1, breaks=("translation", "robustness", "ties")),
    # It bounds nothing, and goes by signs and sizes of coordinates.
    Rule("lfighter", {}, 2, 1, breaks=("translation", "robustness", "ties")),
    # It starts from zero, without an order of its own.
    Rule("sequential_centered_clipping", {}, 2, 1, breaks=("order", "translation", "robustness")),
    Rule(
        "layerwise_centered_clipping",
        {"iterations": 2},
        2,
        1,
        breaks=("translation", "robustness", "pytree"),
    ),
]


def every_rule_with(law: str | None) -> pytest.MarkDecorator:
    rules = [rule for rule in RULES if law not in rule.breaks]
    return pytest.mark.parametrize("rule", rules, ids=str)


every_rule = every_rule_with(None)


def each_name_with(law: str | None) -> pytest.MarkDecorator:
    """For a law that needs a program of its own: by default one configuration of each name and
    variant, and without the searches among subsets, which compile for seconds.
    """
    rules = []
    for rule in RULES:
        by_default = rule in FIRST_OF_NAME and rule.name not in SEARCHES
        if law not in rule.breaks:
            rules.append(pytest.param(rule, marks=[] if by_default else pytest.mark.slower))
    return pytest.mark.parametrize("rule", rules, ids=str)


# Other options repeat what they do to arrays.
KINDS = [(rule.name, rule.options.get("variant")) for rule in RULES]
FIRST_OF_NAME = [rule for i, rule in enumerate(RULES) if KINDS[i] not in KINDS[:i]]
SEARCHES = ("minimum_diameter_averaging", "minimum_variance_averaging", "smea")
each_name = each_name_with(None)
few_examples = settings(max_examples=15, deadline=None, derandomize=True)
seeds = st.integers(min_value=0, max_value=2**31 - 1)


def gaussian_rows(seed: int, n: int = N, d: int = D) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def assert_close(result: jax.Array, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


def m_needs(rule: Rule, f: int) -> int:
    """The smallest n that leaves room for a given m, which is at most n - f - 2 in Bulyan."""
    return rule.options.get("m", 0) + f + 2
