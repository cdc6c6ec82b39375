"""Attacks: pure functions (key, honest, num_byzantine, *, ...) -> Byzantine rows, and a dict of
them by name.
"""

from simbyz.attacks.fixed import a_little_is_enough, fall_of_empires, nan

ATTACKS = {
    "a_little_is_enough": a_little_is_enough,
    "fall_of_empires": fall_of_empires,
    "nan": nan,
}

__all__ = ["ATTACKS", *ATTACKS]
