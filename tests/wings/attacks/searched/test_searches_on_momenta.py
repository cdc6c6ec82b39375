"""Searches against each other, through the paper's rules, on what workers send in a real run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.attack_strength.measure import RuleName, rule_named
from experiments.attack_strength.recording import cell_of, record
from simbyz import data
from simbyz._arrays import moments
from simbyz.attacks.searched.adaptive import worth_of
from simbyz.attacks.searched.line_search import looking_ahead, sequential
from tests.support.compiled import quick_jit

RULES: tuple[RuleName, ...] = ("krum", "krum-published", "median", "phocas", "bulyan-published")


@pytest.mark.slower
def test_looking_ahead_is_never_weaker_than_the_sequential_search():
    """With twice its evaluations, in half its rounds."""
    n, f = 15, 3  # which every rule bears
    recorded = record(cell_of("digits", n, f), data.load("digits"), (40,), momentum=True, seed=1)
    found = []
    for name in RULES:
        rule = rule_named(name, n, f)

        @(jax.jit if "bulyan" in name else quick_jit)  # whose lanes the quick generator repeats
        def values(honest, rule=rule):
            worth = worth_of(rule, honest, f)
            mean, deviation = moments.mean(honest), jnp.sqrt(moments.variance(honest))

            def along(direction):
                def strength(x):
                    rows = jnp.broadcast_to(mean + x * direction, (f, *mean.shape))
                    return jnp.sqrt(jnp.sum(worth(rows)))

                return sequential(strength, 16).value, looking_ahead(strength, 16).value

            return jax.lax.map(along, jnp.stack([deviation, -deviation, -mean]))

        found += [np.asarray(values(honest)) for honest in recorded]
    one_by_one, ahead = np.concatenate(found, axis=1)
    assert np.all(ahead >= one_by_one * (1 - 1e-6))
    assert np.mean(np.log(ahead / one_by_one)) > 0.005
