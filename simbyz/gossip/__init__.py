"""Gossip: robust learning without a server, on any graph, with any rule at the nodes."""

from simbyz.gossip import attacks, graphs, rules
from simbyz.gossip.config import GossipConfig
from simbyz.gossip.neighbourhoods import who_hears_whom
from simbyz.gossip.networks.conditions import condition_of, robustness_condition
from simbyz.gossip.networks.network import Network
from simbyz.gossip.networks.sampled import Sampled
from simbyz.gossip.rules import GOSSIP_RULES
from simbyz.gossip.state import GossipState
from simbyz.gossip.step import make_gossip

__all__ = [
    "GOSSIP_RULES",
    "GossipConfig",
    "GossipState",
    "Network",
    "Sampled",
    "attacks",
    "condition_of",
    "graphs",
    "make_gossip",
    "robustness_condition",
    "rules",
    "who_hears_whom",
]
