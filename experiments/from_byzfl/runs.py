"""One run that a file asks for: all that defines it, and its place on disk."""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from typing import Any

from experiments.from_byzfl.parts import Part, Rule, attack_of, defence
from experiments.from_byzfl.reading import Benchmark, Setting
from experiments.shared.runs import file_of
from simbyz.simulator import Config


@dataclasses.dataclass(frozen=True)
class Run(Setting):
    honest: int
    f: int
    tolerated: int
    scheme: str  # ByzFL's name of the partition
    heterogeneity: str
    rule: Part
    pre: tuple[Part, ...]
    attack: Part | None
    learning_rate: float
    momentum: float
    weight_decay: float
    partition_seed: int
    seed: int

    @property
    def configuration(self) -> dict:
        """Flat, parts by their labels."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return values | {
            "milestones": list(self.milestones),
            "rule": self.rule.label,
            "pre": self.pre_label,
            "attack": self.attack_label,
        }

    @property
    def pre_label(self) -> str:
        return " + ".join(pre.label for pre in self.pre) or "none"

    @property
    def attack_label(self) -> str:
        return "none" if self.attack is None else self.attack.label

    @property
    def name(self) -> str:
        parts = (
            self.dataset,
            self.network,
            f"h_{self.honest}",
            f"f_{self.f}",
            f"d_{self.tolerated}",
            self.heterogeneity,
            self.rule.label,
            self.pre_label,
            self.attack_label,
            f"lr_{self.learning_rate:g}",
            f"mom_{self.momentum:g}",
        )
        # 150 leaves room for seed and digest, which tells runs of a cut name apart.
        return re.sub(r"[^\w.+=-]+", "_", "-".join(parts))[:150]

    file = property(file_of)

    @property
    def program(self) -> tuple:
        """What runs of one compiled program share."""
        return self.rule, self.pre, self.attack, self.honest, self.f, self.tolerated

    @property
    def config(self) -> Config:
        return Config(
            n=self.honest + self.f,
            f=self.tolerated,
            num_byzantine=self.f,
            evaluate_every=self.evaluate_every,
            study=False,
        )

    @property
    def defence(self) -> Rule:
        return defence(self.rule, self.pre)

    def attack_on(self, rule: Rule):
        """The attack on this rule; None without attackers."""
        return None if self.attack is None else attack_of(self.attack, rule, self.tolerated)


def runs_of(benchmark: Benchmark) -> list[Run]:
    """All combinations, in the order of ByzFL's own: hyperparameters and seeds last.

    Raises:
      ValueError: no honest worker would be left, or no number of attackers is tolerated.
    """
    names = [field.name for field in dataclasses.fields(Setting)]
    setting: dict[str, Any] = {name: getattr(benchmark, name) for name in names}
    runs = []
    for workers, f in itertools.product(benchmark.honest, benchmark.f):
        honest = workers - f if benchmark.honest_are_all else workers
        if honest < 1:
            raise ValueError(f"nb_honest_clients of {workers} with f = {f} leaves no honest worker")
        tolerated = (f,) if benchmark.tolerated is None else benchmark.tolerated
        axes: dict[str, Sequence] = {
            "tolerated": [each for each in tolerated if each >= f],
            "heterogeneity": benchmark.heterogeneity,
            "pre": benchmark.pres,
            "rule": benchmark.rules,
            "attack": benchmark.attacks if f else (None,),
            "learning_rate": benchmark.learning_rate,
            "momentum": benchmark.momentum,
            "weight_decay": benchmark.weight_decay,
            "partition_seed": benchmark.partition_seeds,
            "seed": benchmark.seeds,
        }
        for some in itertools.product(*axes.values()):
            values = setting | dict(zip(axes, some, strict=True)) | {"honest": honest, "f": f}
            scheme, level = values.pop("heterogeneity")
            runs.append(Run(**values, scheme=scheme, heterogeneity=level))
    if not runs:
        raise ValueError(
            f"tolerated_f of {list(benchmark.tolerated or ())} is below each f of "
            f"{list(benchmark.f)}: no run is left, in ByzFL neither"
        )
    return runs
