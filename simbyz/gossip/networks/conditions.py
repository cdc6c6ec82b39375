"""Conditions: what a rule's guarantee asks of a network, beyond what it can be computed on."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from simbyz._arrays.calling import name_of
from simbyz.gossip.graphs.figures import algebraic_connectivity
from simbyz.gossip.networks.network import Network
from simbyz.gossip.networks.sampled import Sampled
from simbyz.gossip.rules import (
    clipped_gossip,
    clipped_gossip_plus,
    gts,
    oracle_clipping,
    remove_then_clip,
    self_centred_clipping,
)

# Rules analysed as gossip with robust sums, whose guarantees are of the honest graph's spectrum.
SPECTRAL = (
    clipped_gossip,
    clipped_gossip_plus,
    gts,
    oracle_clipping,
    remove_then_clip,
    self_centred_clipping,
)


class Condition(NamedTuple):
    """A condition, of a network."""

    holds: bool
    words: str


def robustness_condition(network: Network) -> Condition:
    """Whether Byzantine neighbours are few beside the honest graph's connectivity: 2 b < μ_2.

    b is the largest number of Byzantine neighbours of an honest node, μ_2 the algebraic
    connectivity of the honest nodes' graph, all edges of weight 1. Where μ_2 <= 2 b there are
    graphs on which no rule keeps all honest nodes together; the guarantees of clipping and of
    trimming ask for more than that, each by a constant of its own.

    Raises:
      TypeError: neighbours that are sampled, which have no graph.
      ValueError: a directed graph.

    Reference: Gaucher et al., Unified breakdown analysis for Byzantine robust gossip, ICML 2025.
    """
    _require_graph(network)
    b = network.widths[1]
    connectivity = algebraic_connectivity(network.honest_graph)
    holds = 2 * b < connectivity * (1 - 1e-9)  # eigenvalues are rounded
    sign = "<" if holds else ">="
    return Condition(
        holds,
        f"2b = {2 * b} {sign} μ_2 = {connectivity:.3g}, the honest graph's algebraic connectivity",
    )


def condition_of(rule: Callable[..., Any], network: Network) -> Condition:
    """Condition: what a rule asks of the network, beside honest nodes that are connected and as
    many rows at each node as the rule takes.

    The rules of `SPECTRAL` ask for `robustness_condition`, the others for nothing that is read off
    here: what is published of them is of their neighbourhoods (`bridge`, `ubar`), of complete
    graphs (`monna`), or of constants that a graph does not tell (`ios`; the reduced graphs of
    `bridge`).

    Raises:
      TypeError: neighbours that are sampled, which have no graph.
    """
    _require_graph(network)
    while isinstance(rule, functools.partial):
        rule = rule.func
    if not network.widths[1]:
        return Condition(True, "no Byzantine neighbours")
    if rule not in SPECTRAL:
        return Condition(True, f"{name_of(rule)} asks for nothing else of the graph")
    if network.honest_graph.directed:
        return Condition(False, "the honest nodes' graph is directed")
    return robustness_condition(network)


def _require_graph(network: Any) -> None:
    if not isinstance(network, Network):
        raise TypeError(f"a condition is of a Network, which has a graph, got {network!r}")


def check_conditions(rule: Callable[..., Any], networks: Iterable[Network | Sampled]) -> None:
    """Raises ValueError where a network is none that the rule's guarantee speaks of, but for one
    that is sampled or not strict.
    """
    for network in networks:
        if isinstance(network, Sampled) or not network.strict:
            continue
        condition = condition_of(rule, network)
        if not condition.holds:
            raise ValueError(
                f"{name_of(rule)} needs an undirected graph with 2b < μ_2, b Byzantine neighbours "
                f"a node at most, but {condition.words}: take fewer of them or more edges, or "
                "beyond_the_bound=True to run it all the same"
            )
