"""Names that a command line offers are those that the code behind it knows.

The lists stand apart where --help must not import what computes.
"""

import inspect
from typing import get_args

import pytest

from experiments.attack_strength.measure import rule_named
from experiments.attack_strength.options import RuleName as MovedRule
from experiments.byzfl_conformance import setting as conformance
from experiments.decentralised import lanes as gossip_lanes
from experiments.decentralised import networks, simulate
from experiments.decentralised import options as decentralised
from experiments.defence_matrix import defences
from experiments.defence_matrix import lanes as matrix_lanes
from experiments.defence_matrix import options as defence_matrix
from experiments.error_floor.options import RuleName as FloorRule
from experiments.error_floor.simulate import RULES as FLOOR_RULES
from experiments.from_byzfl.networks import DATASETS
from experiments.from_byzfl.options import DatasetName as FileDataset
from experiments.misjudged_f import options as misjudged_f
from experiments.momentum_family import algorithms
from experiments.momentum_family import lanes as family_lanes
from experiments.momentum_family import options as momentum_family
from experiments.momentum_family import rules as family_rules
from experiments.scale.measure import defence
from experiments.scale.options import RuleName as ShardedRule
from experiments.speed.gpu.parts import PARTS
from experiments.speed.options import PartName
from experiments.worst_case.options import RuleName as SearchedRule
from experiments.worst_case.rules import rule_of
from simbyz.aggregators import AGGREGATORS

CHOICES = [
    (conformance.AttackName, conformance.ATTACKS),
    (decentralised.GraphName, networks.GRAPHS),
    (decentralised.RuleName, simulate.RULES),
    (decentralised.AttackName, gossip_lanes.DIRECTIONS),
    (defence_matrix.PreName, {"none", *defences.PREAGGREGATORS}),
    (defence_matrix.AttackName, matrix_lanes.ATTACKS),
    (FloorRule, FLOOR_RULES),
    (FileDataset, DATASETS),
    (momentum_family.AlgorithmName, algorithms.ALGORITHMS),
    (momentum_family.RuleName, family_rules.RULES),
    (momentum_family.AttackName, family_lanes.ATTACKS),
    (PartName, PARTS),
]


@pytest.mark.parametrize(("offered", "known"), CHOICES, ids=lambda one: type(one).__name__)
def test_all_that_is_known_is_offered(offered, known):
    assert set(get_args(offered)) == set(known)


RULES = [
    (MovedRule, lambda name: rule_named(name, 11, 2)),
    (defence_matrix.RuleName, lambda name: defences.RULES[name]),
    (misjudged_f.RuleName, rule_of),
    (SearchedRule, rule_of),
    (ShardedRule, defence),
]


@pytest.mark.parametrize(("offered", "of_name"), RULES)
def test_every_rule_that_is_offered_is_known(offered, of_name):
    assert all(callable(of_name(name)) for name in get_args(offered))


def test_attacks_are_measured_on_every_rule_of_rows_alone():
    alone = {
        name
        for name, rule in AGGREGATORS.items()
        if all(option.default is not option.empty for option in _options(rule))
    }
    papers = {"trmean", "krum-published", "bulyan-published"}
    assert set(get_args(MovedRule)) == alone - {"trimmed_mean"} | papers


def _options(rule) -> list[inspect.Parameter]:
    every = inspect.signature(rule).parameters.values()
    return [option for option in every if option.kind is option.KEYWORD_ONLY]
