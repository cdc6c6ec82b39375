"""An attack that searches its factor against the rule, in times of one aggregation."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import pandas as pd

from experiments.distributed_momentum.grid.rules import bears, rule_of
from experiments.speed.options import Clock
from experiments.speed.timing import compiled, interleaved
from simbyz.attacks import adaptive
from simbyz.attacks.searched.line_search import bracketing, looking_ahead, sequential

# (n, d, f): the paper's MNIST network and its two f.
SIZES = ((51, 79_510, 24), (51, 79_510, 12))
EVALUATIONS = 16


def searches(family: str) -> dict[str, dict]:
    """Options of `adaptive`, by what the table calls them."""
    found: dict[str, dict] = {
        "sequential": {"search": sequential},
        "bracketing": {"search": bracketing},
        "bracketing, a round at once": {"search": functools.partial(bracketing, at_once=None)},
        "looking ahead": {"search": looking_ahead},
    }
    if family == "krum":
        found["bracketing in the span"] = {"search": bracketing, "symmetry": "rotations"}
        found["looking ahead in the span"] = {"search": looking_ahead, "symmetry": "rotations"}
    return found


def cells(
    sizes: Sequence[tuple[int, int, int]], rules: Sequence[str]
) -> list[tuple[int, int, int, str]]:
    """Each size with each of the paper's program's rules that bears it.

    Raises:
      ValueError: a size that no attack has, or that no rule bears.
    """
    found = []
    for n, d, f in sizes:
        if d < 1 or not 1 <= f <= n - 2:
            raise ValueError(f"d must be at least 1 and f from 1 to n - 2, got n={n}, d={d}, f={f}")
        for family in rules:
            if bears(family, n, f):
                found.append((n, d, f, family))
    if not found:
        raise ValueError(f"none of {', '.join(rules)} bears n and f, got {list(sizes)}")
    return found


def measure(
    sizes: Sequence[tuple[int, int, int]] = SIZES,
    *,
    rules: Sequence[str],
    repetitions: int = 5,
    clock: Clock = "wall",
) -> pd.DataFrame:
    """One row a size, rule and search: milliseconds, and how many aggregations take as long.

    The attackers' rows are among what is timed.
    """
    rows = []
    for n, d, f, family in cells(sizes, rules):
        rule = rule_of(family, n, f)
        honest = jax.random.normal(jax.random.key(n), (n - f, d), jnp.float32)
        everyone = jax.random.normal(jax.random.key(n + 1), (n, d), jnp.float32)
        calls = {"one aggregation": compiled(functools.partial(rule, f=f), everyone)[0]}
        for name, options in searches(family).items():
            attack = adaptive("little", rule, evaluations=EVALUATIONS, **options)
            sends = functools.partial(attack, jax.random.key(0), num_byzantine=f)
            calls[name] = compiled(sends, honest)[0]
        timings = interleaved(calls, repetitions, clock)
        once = timings["one aggregation"].median
        rows += [
            {
                "n": n,
                "d": d,
                "f": f,
                "what": f"{family}: {name}",
                "milliseconds": 1e3 * timing.median,
                "aggregations": timing.median / once,
            }
            for name, timing in timings.items()
        ]
    return pd.DataFrame(rows)
