"""Attacks: pure functions (key, honest, num_byzantine, *, ...) -> Byzantine rows, and a dict of
them by name.

`honest` is what the honest workers send, (h, d) or a pytree of leaves (h, ...); the result is
(num_byzantine, d), or the pytree of it, and nothing else. `key` comes first always, for the attacks
that draw random numbers; the others do not use it. `num_byzantine` is the number of attackers
present, an int that is not negative, or ValueError; it need not be the f that a rule tolerates.

`adaptive`, `gradient_ascent` and `sensitivity_curve` make such a function for one aggregation rule.
Attacks with a memory (`mimicking`, `relocating`, `intermittent`, `free_riding`, `poisoned_fl`,
`xfed`, `neurotoxin`) are made for the simulator, and so is what `forging` makes of any attack: one
on messages. Attacks on labels, (labels, num_classes, *, ...) -> labels, have a dict of their own,
but for `dynamic_label_flipping`, which asks for the model's logits too. Backdoors are planted in a
data set before a run.
"""

from collections.abc import Callable
from typing import Any

from simbyz.attacks.base import forging
from simbyz.attacks.distance_bound import min_max, min_sum, sparse_optimised
from simbyz.attacks.fixed import (
    a_little_is_enough,
    fall_of_empires,
    hidden_vulnerability,
    inner_product_manipulation,
    sparse,
    z_max,
)
from simbyz.attacks.flips import (
    bit_flipping,
    full_gradient_negation,
    scaled_sign_flipping,
    sign_flipping,
)
from simbyz.attacks.mimic import MimicState, learned_mimic, mimic, mimicking, start_mimic
from simbyz.attacks.noise import gaussian, inf, nan, random, zero
from simbyz.attacks.poison.backdoors import (
    Trigger,
    pattern,
    plant_edge_cases,
    plant_trigger,
    rarest,
    triggered,
)
from simbyz.attacks.poison.labels import (
    dynamic_label_flipping,
    label_flipping,
    label_shifting,
    targeted_label_flipping,
)
from simbyz.attacks.poison.sending import model_replacement, neurotoxin
from simbyz.attacks.searched.adaptive import adaptive
from simbyz.attacks.searched.gradient_ascent import gradient_ascent
from simbyz.attacks.searched.sensitivity import sensitivity_curve
from simbyz.attacks.tailored.against_one_rule import (
    anti_cge,
    byz_mean,
    relocated_orthogonal_perturbation,
    relocating,
)
from simbyz.attacks.tailored.fang import fang_krum, fang_trimmed_mean
from simbyz.attacks.timed.past_updates import poisoned_fl, xfed
from simbyz.attacks.timed.schedules import free_riding, intermittent

ATTACKS: dict[str, Callable[..., Any]] = {
    "a_little_is_enough": a_little_is_enough,
    "fall_of_empires": fall_of_empires,
    "inner_product_manipulation": inner_product_manipulation,
    "hidden_vulnerability": hidden_vulnerability,
    "sparse": sparse,
    "sign_flipping": sign_flipping,
    "scaled_sign_flipping": scaled_sign_flipping,
    "full_gradient_negation": full_gradient_negation,
    "bit_flipping": bit_flipping,
    "gaussian": gaussian,
    "random": random,
    "zero": zero,
    "nan": nan,
    "inf": inf,
    "mimic": mimic,
    "min_max": min_max,
    "min_sum": min_sum,
    "sparse_optimised": sparse_optimised,
    "fang_krum": fang_krum,
    "fang_trimmed_mean": fang_trimmed_mean,
    "anti_cge": anti_cge,
    "byz_mean": byz_mean,
    "relocated_orthogonal_perturbation": relocated_orthogonal_perturbation,
}

DATA_ATTACKS: dict[str, Callable[..., Any]] = {
    "label_flipping": label_flipping,
    "label_shifting": label_shifting,
    "targeted_label_flipping": targeted_label_flipping,
}

__all__ = [
    "ATTACKS",
    "DATA_ATTACKS",
    "MimicState",
    "Trigger",
    "a_little_is_enough",
    "adaptive",
    "anti_cge",
    "bit_flipping",
    "byz_mean",
    "dynamic_label_flipping",
    "fall_of_empires",
    "fang_krum",
    "fang_trimmed_mean",
    "forging",
    "free_riding",
    "full_gradient_negation",
    "gaussian",
    "gradient_ascent",
    "hidden_vulnerability",
    "inf",
    "inner_product_manipulation",
    "intermittent",
    "label_flipping",
    "label_shifting",
    "learned_mimic",
    "mimic",
    "mimicking",
    "min_max",
    "min_sum",
    "model_replacement",
    "nan",
    "neurotoxin",
    "pattern",
    "plant_edge_cases",
    "plant_trigger",
    "poisoned_fl",
    "random",
    "rarest",
    "relocated_orthogonal_perturbation",
    "relocating",
    "scaled_sign_flipping",
    "sensitivity_curve",
    "sign_flipping",
    "sparse",
    "sparse_optimised",
    "start_mimic",
    "targeted_label_flipping",
    "triggered",
    "xfed",
    "z_max",
    "zero",
]
