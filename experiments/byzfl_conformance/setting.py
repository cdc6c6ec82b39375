"""The setting that both sides run: the defaults of ByzFL's benchmark."""

import dataclasses
from typing import Literal

AttackName = Literal[
    "sign_flipping",
    "a_little_is_enough",
    "optimal_a_little_is_enough",
    "optimal_inner_product_manipulation",
]

# ByzFL's names and parameters.
ATTACKS: dict[str, tuple[str, dict]] = {
    "sign_flipping": ("SignFlipping", {}),
    "a_little_is_enough": ("ALittleIsEnough", {"tau": 1.5}),
    "optimal_a_little_is_enough": ("Optimal_ALittleIsEnough", {}),
    "optimal_inner_product_manipulation": ("Optimal_InnerProductManipulation", {}),
}


@dataclasses.dataclass(frozen=True)
class Setting:
    attack: AttackName
    f: int = 3
    gamma: float = 0.66
    steps: int = 100
    honest: int = 10
    batch_size: int = 25
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    # How often an optimal attack evaluates the defence: ByzFL's default.
    evaluations: int = 20
