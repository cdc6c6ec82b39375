"""Networks: graphs with Byzantine nodes, as they stand, or drawn anew in every exchange."""

from simbyz.gossip.networks.network import Condition, Network, robustness_condition
from simbyz.gossip.networks.sampled import Sampled

__all__ = ["Condition", "Network", "Sampled", "robustness_condition"]
