"""One run: all that defines it, and its place on disk."""

import dataclasses

from experiments.shared.runs import file_of


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

    configuration = property(dataclasses.asdict)
    file = property(file_of)
