"""Rules at the nodes of a graph under attacks that know the graph, beside the graph's connectivity.

Every combination of the options is trained; attackers search the factor that moves each node
farthest. Ends in a table, a heatmap over graphs, curves with the worst node, and each graph with
its nodes' accuracies. The same command again runs only what is missing. The default takes 4 to 5
minutes on two cores, most of them to compile.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from experiments.shared.formats import Output, PaperName
from experiments.shared.options import command_line

GraphName = Literal[
    "complete",
    "two_worlds",
    "ring",
    "torus",
    "regular",
    "erdos_renyi",
    "random_geometric",
    "small_world",
]
RuleName = Literal[
    "gossip",
    "clipped_gossip",
    "clipped_gossip_plus",
    "gts",
    "ios",
    "bridge",
    "remove_then_clip",
    "monna",
    "trimmed_mean",
    "geometric_median",
]
AttackName = Literal[
    "spectral_heterogeneity", "dissensus", "little_around", "empire_around", "bridge_splitting"
]


@dataclasses.dataclass(frozen=True)
class Grid:
    """The grid: all combinations of these are trained."""

    dataset: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    """digits needs no download."""
    graph: tuple[GraphName, ...] = ("complete", "two_worlds", "ring")
    """Of the honest nodes; ring, regular and small_world have four neighbours a node."""
    rule: tuple[RuleName, ...] = ("clipped_gossip", "clipped_gossip_plus", "gts")
    """At each node."""
    attack: tuple[AttackName, ...] = (
        "spectral_heterogeneity",
        "dissensus",
        "little_around",
        "empire_around",
    )
    """Directions from the attacked node, along which the factor is searched."""
    f: tuple[int, ...] = (1, 2)
    """Byzantine neighbours of each honest node, or Byzantine nodes: see placement. 0 for none."""
    heterogeneity: tuple[str, ...] = ("dirichlet:1",)
    """Of the honest nodes' data: iid, extreme, gamma:SIMILARITY, dirichlet:ALPHA."""
    seeds: tuple[int, ...] = (1, 2)
    """Of initial weights and batches."""


@dataclasses.dataclass(frozen=True)
class Nodes:
    """The nodes."""

    honest: int = 16
    """Honest nodes."""
    placement: Literal["everywhere", "random", "central"] = "everywhere"
    """Of Byzantine nodes: f beside the graph, heard by all; or f of its nodes, any or those that
    most ways lead through."""
    friends: Annotated[int | None, command_line.hint("a sixth of the honest nodes")] = None
    """Of each node of two_worlds in the other world."""
    beyond_the_bound: bool = True
    """Run networks that a rule's guarantee does not speak of, too; the lines below the table tell
    which these are."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """The setting of all runs."""

    steps: int = 100
    """Steps of a run."""
    batch_size: int = 16
    """Examples a node and a step."""
    learning_rate: float = 0.5
    """The same in all steps."""
    momentum: float = 0.9
    """μ of m ← μ m + (1 - μ) gradient, at the nodes."""
    hidden: int = 16
    """Width of the network's one hidden layer."""
    partition_seed: int = 0
    """Of the partition of the data, the same in all runs."""
    evaluations: int = 8
    """How often an attacker evaluates the rule at each node in a step."""
    evaluate_every: int = 10
    """Steps between two accuracies of the nodes, which cost as much as many steps on MNIST."""


@dataclasses.dataclass(frozen=True)
class Pictures:
    """How pictures are drawn."""

    paper: PaperName = "screen"
    """Width of the pictures: what they take, a column of a page, or a page."""


@dataclasses.dataclass(frozen=True)
class Storage(command_line.Storage):
    """Where results go, and where data come from."""

    results: Path = Path("results/decentralised")
    allow_mixed: bool = False
    """Let runs of different code stand in one table."""


@dataclasses.dataclass(frozen=True)
class Options(Grid, Nodes, Setting, Pictures, Storage, Output):
    """The training, and how it is done."""


# Seconds, not minutes: what the tests run.
SMOKE = Options(
    graph=("two_worlds",),
    rule=("gts",),
    attack=("spectral_heterogeneity", "dissensus"),
    f=(1,),
    honest=6,
    seeds=(1,),
    steps=20,
    hidden=4,
    evaluations=2,
)
