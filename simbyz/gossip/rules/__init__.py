"""Rules at a node: what a node makes of its own vector and of its neighbours'.

Each is a rule, (updates, f, *, ...) -> aggregate, on the stack that meets at a node: row 0 is its
own, the n - 1 others are its neighbours'. So any rule of `simbyz.aggregators` is one, and those
here work on any stack. What a rule asks for by a keyword-only name it is given by the simulator:

    weights   (n,)  mixing weights, of row 0 the node's own, their sum 1
    honest    (n,)  which rows are honest, for rules that could exist in theory alone
    trusted   (d,)  the node's own row, for `fltrust`
    loss_of         (d,) -> the loss of these parameters on the node's batch of this step, where
                    nodes exchange parameters

To a rule that asks for weights a neighbour of weight 0 is none: nodes with fewer neighbours may be
filled up with such rows.

`f` is the number of Byzantine neighbours tolerated, and `byzantine_weight` their weight: that of
the f heaviest neighbours if None. Most rules here are plain gossip with other weights,

    x_0 + Σ_j s_j (x_j - x_0)    with  0 <= s_j <= w_j

so that their selections tell each row's weight in the result. A row that is not finite has none,
nor has one if its difference from the node's own is not, but in plain `gossip`. Weights carry no
derivative: what a row's length does to it is left out.
Weights or flags that are not one for each row are refused with a ValueError.
"""

# ruff: noqa: F403, F405 (each module lists what it gives)

from collections.abc import Callable

from simbyz._arrays.stacking import PyTree
from simbyz.gossip.rules.clipping import *
from simbyz.gossip.rules.dropping import *

GOSSIP_RULES: dict[str, Callable[..., PyTree]] = {
    rule.__name__: rule
    for rule in (
        gossip,
        self_centred_clipping,
        oracle_clipping,
        clipped_gossip,
        clipped_gossip_plus,
        gts,
        remove_then_clip,
        ios,
        bridge,
        ubar,
    )
}
