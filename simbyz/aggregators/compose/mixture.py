"""One of several rules in each step, drawn by chance."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from simbyz._arrays.calling import asked, asks_for, name_of, require_known, require_of_updates
from simbyz._arrays.checks import one_number, random_key
from simbyz._arrays.halves import Halves, halves, selection_of
from simbyz._arrays.stacking import PyTree


def mixture(
    rules: Sequence[Callable[..., PyTree]],
    weights: Sequence[float | int] | np.ndarray | None = None,
) -> Callable[..., PyTree]:
    """The rule that is one of these, drawn by the key of each call.

        rule = mixture([median, trimmed_mean, partial(krum, squared=False)], [2, 1, 1])
        rule(updates, f=3, key=key)

    The simulator gives it the key of the step, so that an attacker knows which rules there are, but
    not which one is next. `selection_of` a mixture gives the weights in the rule that is drawn.

    Args:
      rules: callables (updates, f), configured by functools.partial; chains too. Each is given a
        key of its own if it asks for one, and checks f itself.
      weights: how often each is drawn, in proportion; all alike if None.

    Returns:
      A callable (updates, f, *, key).

    Raises:
      TypeError: a rule that is no function, a weight that is no number.
      ValueError: no rule, a rule that asks for masses, a state or more than a key, or weights that
        are not as many numbers of at least 0, not all 0.

    Cost: that of the rule drawn; under `vmap`, where lanes draw differently, of all.

    Reference: the option `--gars` of the program of El-Mhamdi, Guerraoui and Rouault, Distributed
      momentum for Byzantine-resilient stochastic gradient descent, ICLR 2021.
    """
    if not isinstance(rules, list | tuple):
        raise TypeError(f"rules must be a list, such as [median, trimmed_mean], got {rules!r}")
    rules = tuple(rules)
    for rule in rules:
        require_of_updates("each rule of a mixture", rule)
    for one in () if weights is None else weights:
        one_number("mixture", "each weight", one)
    shares = [1.0] * len(rules) if weights is None else [float(one) for one in weights]
    if not rules or len(shares) != len(rules):
        raise ValueError(f"mixture needs a weight a rule, got {len(rules)} and {len(shares)}")
    if not all(0 <= one < math.inf for one in shares) or max(shares) == 0:
        raise ValueError(f"weights must be finite and at least 0, and one above, got {shares}")
    # Of the largest, or their sum may be no float.
    shares = [one / max(shares) for one in shares]
    for rule in rules:
        if asks_for(rule, "masses") or asks_for(rule, "state"):
            raise ValueError(f"mixture takes no rule with masses or a state, got {name_of(rule)}")
        require_known(f"the rule {name_of(rule)} of a mixture", rule, ("key",))

    def core(updates: PyTree, f: int, *, key: jax.Array) -> Halves:
        random_key("mixture", key)
        draw, own = jax.random.split(key)
        number = jax.random.choice(draw, len(rules), p=jnp.array(shares) / sum(shares))

        def drawn(parts: Sequence[Callable[..., PyTree]]) -> PyTree:
            calls = [lambda one=one: one(updates, f, **asked(one, {"key": own})) for one in parts]
            return jax.lax.switch(number, calls)

        return Halves(lambda: drawn(rules), lambda: drawn([selection_of(one) for one in rules]))

    core.__name__ = f"mixture({', '.join(name_of(rule) for rule in rules)})"
    core.__doc__ = f"One of the rules {', '.join(name_of(rule) for rule in rules)}, by chance."
    return halves(core)[0]
