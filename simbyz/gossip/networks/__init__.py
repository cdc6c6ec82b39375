"""Networks: graphs with Byzantine nodes, as they stand, or drawn anew in every exchange."""

from simbyz.gossip.networks.conditions import Condition, condition_of, robustness_condition
from simbyz.gossip.networks.network import Network
from simbyz.gossip.networks.sampled import Sampled

__all__ = ["Condition", "Network", "Sampled", "condition_of", "robustness_condition"]
