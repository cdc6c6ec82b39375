"""The whole benchmark: grids that each answer a question; a run that two of them ask for is one.

Left out of all combinations is what no question asks for: attacks beside those of each family,
pre-aggregators and momentum 0 have two f on one kind of data, and none meets another. The climb
along the rule's gradient, which costs 4,000 times the rule a step, has a few rules alone.
"""

from typing import NamedTuple

import pandas as pd

from experiments.benchmark.entries.catalogue import ALL_ATTACKS, ASCENT, FAMILIES, NONE, SEARCHED
from experiments.benchmark.options import SEEDS

MOMENTUM = 0.9
RANKING = "ranking"  # what a command without --full asks, of its own grid
# A run that climbs took 16 to 51 s of a busy core, of multi_krum 228; of every rule it would be
# hours.
CLIMBED = (
    "median",
    "trimmed_mean",
    "phocas",
    "meamed",
    "multi_krum",
    "geometric_median",
    "centered_clipping",
)


class Part(NamedTuple):
    """A grid: every learning rate and seed in all combinations of these."""

    question: str
    rule: tuple[str, ...] = ()  # of these alone; every one if empty
    pre: tuple[str, ...] = (NONE,)
    attack: tuple[str, ...] = FAMILIES
    shares: tuple[float, ...] = (0.1, 0.3)  # f/n
    heterogeneity: tuple[str, ...] = ("dirichlet:1",)
    momentum: tuple[float, ...] = (MOMENTUM,)
    more_seeds: tuple[int, ...] = ()

    def numbers(self, n: int) -> tuple[int, ...]:
        """f of n workers, at least one."""
        return tuple(dict.fromkeys(max(1, round(share * n)) for share in self.shares))


PARTS = {
    RANKING: Part(
        "Which rule holds",
        shares=(0.1, 0.2, 0.3, 0.45),
        heterogeneity=("iid", "dirichlet:1", "dirichlet:0.1"),
    ),
    "attacks": Part(
        "Which attack is the worst",
        attack=tuple(name for name in ALL_ATTACKS if name not in SEARCHED),
    ),
    "searched": Part(
        "What an attack gains that searches through the rule",
        attack=tuple(name for name in (*FAMILIES, *SEARCHED) if name != ASCENT),
        shares=(0.3,),
    ),
    "climbed": Part(
        "What an attack gains that climbs along the rule's gradient",
        rule=CLIMBED,
        attack=(*FAMILIES, *SEARCHED),
        shares=(0.3,),
    ),
    "mixing": Part("What comes before a rule adds", pre=(NONE, "nnm", "arc", "bucketing")),
    "labels": Part(
        "Mislabelled data against made-up gradients",
        attack=("label_flipping", "sign_flipping", "a_little_is_enough"),
        heterogeneity=("dirichlet:1", "dirichlet:0.1"),
        more_seeds=(4, 5),
    ),
    "momentum": Part("What momentum at the workers adds", momentum=(MOMENTUM, 0.0)),
}


def part_of(part: Part, runs: pd.DataFrame) -> pd.DataFrame:
    """Those of the runs that a part asks for."""
    wanted = {
        **({"rule": part.rule} if part.rule else {}),
        "pre": part.pre,
        "attack": part.attack,
        "f": part.numbers(int(runs["n"].iloc[0])),
        "heterogeneity": part.heterogeneity,
        "momentum": part.momentum,
        "seed": (*SEEDS, *part.more_seeds),
    }
    return runs[runs[list(wanted)].isin(wanted).all(axis=1)]
