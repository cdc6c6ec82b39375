"""Setting: what all runs of a file share."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Setting:
    dataset: str
    network: str
    steps: int
    batch_size: int
    evaluate_every: int
    train_share: float
    learning_rate_decay: float
    milestones: tuple[int, ...]
