"""What theory says of a rule that tolerates f̂ Byzantine workers where f are there, over ζ²."""

import math

from experiments.worst_case.rules import published_of
from simbyz._arrays.checks import integer


def floor(n: int, f: int, tolerated: int) -> float:
    """f̂ / (n - f - f̂), infinite for f̂ < f: the least squared error of any rule that is exact
    wherever n - f̂ workers agree.

    Take n - f̂ zeros and f̂ ones: the result is 0. Yet f of the zeros may be Byzantine; then the mean
    of the n - f honest ones is f̂ / (n - f), their variance f̂ (n - f - f̂) / (n - f)², and the square
    of the one over the other is the floor. With f̂ = f it is `robustness.coefficient_floor`.

    Raises:
      ValueError: a number below 0, or f + f̂ >= n.
    """
    f, tolerated = integer("f", f), integer("tolerated", tolerated)
    if f < 0 or tolerated < 0 or f + tolerated >= n:
        raise ValueError(
            f"f and tolerated must be at least 0 and together below n = {n}, got {f}, {tolerated}"
        )
    return math.inf if tolerated < f else tolerated / (n - f - tolerated)


def bound(rule: str, n: int, f: int, tolerated: int) -> float:
    """The rule's published κ at f̂, infinite for f̂ < f, NaN where none is known.

    For f̂ > f it holds of the mean of all n - f honest rows too: it holds of that of any n - f̂ of
    them, and of these the mean is, on average, the mean of all, and their variance no larger.
    """
    if tolerated < f:
        return math.inf
    return published_of(rule, n, tolerated)
