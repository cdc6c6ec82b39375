"""One run: all that defines it, and its place on disk."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from simbyz import records


@dataclasses.dataclass(frozen=True)
class Run:
    dataset: str
    honest: int
    steps: int
    batch_size: int
    hidden: int
    evaluations: int
    evaluate_every: int
    partition_seed: int
    placement: str
    friends: int | None
    learning_rate: float
    momentum: float
    graph: str
    rule: str
    f: int
    heterogeneity: str
    attack: str
    seed: int

    @property
    def name(self) -> str:
        heterogeneity = self.heterogeneity.replace(":", "_")
        return "-".join(
            (self.dataset, self.graph, self.rule, f"f_{self.f}", heterogeneity, self.attack)
        )

    @property
    def configuration(self) -> dict:
        return dataclasses.asdict(self)

    @property
    def file(self) -> str:
        return records.run_path("", self.name, self.configuration).name


def product(common: dict, axes: dict[str, Sequence]) -> list[Run]:
    """All combinations of the values of these fields, the first axis slowest."""
    return [
        Run(**common, **dict(zip(axes, some, strict=True)))
        for some in itertools.product(*axes.values())
    ]


def unfinished(folder: Path, runs: Iterable[Run]) -> list[Run]:
    return [run for run in runs if not records.is_finished(folder, run.name, run.configuration)]
