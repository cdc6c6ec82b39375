"""One run: all that defines it, and its place on disk."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from experiments.shared.options.checks import as_name
from simbyz import records


@dataclasses.dataclass(frozen=True)
class Run:
    """What does not act in a run is None, so that it is found again whatever that is."""

    dataset: str
    n: int
    f: int
    steps: int
    batch_size: int
    hidden: int
    validation: float
    partition_seed: int
    momentum: float
    kept: float | None
    bound: float | None
    sampling: str | None
    rule: str
    participation: float
    algorithm: str
    heterogeneity: str
    attack: str
    learning_rate: float
    seed: int

    @property
    def name(self) -> str:
        parts = (
            self.dataset,
            self.rule,
            f"participation_{as_name(self.participation)}",
            self.algorithm,
            self.heterogeneity.replace(":", "_"),
            self.attack,
            f"lr_{as_name(self.learning_rate)}",
        )
        return "-".join(parts)

    @property
    def configuration(self) -> dict:
        return dataclasses.asdict(self)

    @property
    def file(self) -> str:
        return records.run_path("", self.name, self.configuration).name

    @property
    def participants(self) -> int:
        return round(self.participation * self.n)

    @property
    def tolerated(self) -> int:
        """Of the participants: as large a share as of all."""
        return max(1, round(self.f * self.participation))


def unfinished(folder: Path, runs: Iterable[Run]) -> list[Run]:
    return [run for run in runs if not records.is_finished(folder, run.name, run.configuration)]
