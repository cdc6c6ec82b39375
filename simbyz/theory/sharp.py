"""Sharp bounds: κ of medians, trimmed means and what is near them, some exact; of mixing; and λ.

What is published of these rules is several times what they can do (`simbyz.theory.robustness`).
Here is what a few lines prove. In all of them S is any h = n - f of the rows, V = Σ_{i in S}
||x_i - x̄_S||² / h, D = max_{i,j in S} ||x_i - x_j||.

One coordinate. Let s_1 ≤ ... ≤ s_h be the values of S, and x_(1) ≤ ... ≤ x_(n) all of them. The
f + i smallest of all have i of S among them, and f + i of S are at most s_{f+i}. So

    s_i ≤ x_(f+i) ≤ s_{f+i}        i = 1 ... n - 2f

and what is done with these order statistics has a rule of S's above it and another below. The mean
of some values, a part α of S, is off x̄_S by at most √((1 - α) / α) of the deviation.

All coordinates. Squares add up: a κ of one coordinate is a κ of all. A λ of one coordinate is
Δ = min(√d, √(h - 1)) times as much of all: no coordinate has a range of more than D; and a range
squared is at most twice the squares of what is off the mean at its two ends, which over all of S
and all coordinates are h V, and that is at most (h - 1) D² / 2.
"""

import math
from collections.abc import Callable

from simbyz._arrays.checks import at_least, flag, integer, not_negative, require
from simbyz.theory.robustness import (
    COEFFICIENT_BOUNDS,
    coefficient_floor,
    least_diameter_resilience,
    multi_krum_coefficient,
)


def trimmed_mean_coefficient(n: int, f: int) -> float:
    """f / (n - 2f), the κ of the trimmed mean: no rule has less (`coefficient_floor`).

    The mean of x_(f+1) ... x_(n-f) is between the means of the n - 2f smallest and of the n - 2f
    largest of S, each a part (n - 2f) / (n - f).

    Raises:
      ValueError: n < 2f + 1.

    Reference: the argument above.
    """
    return coefficient_floor(n, f)


def median_coefficient(n: int, f: int, *, midpoint: bool = False) -> float:
    """(n - k) / (k - f) with k = ⌈n / 2⌉, the κ of the coordinate-wise median; of the midpoint of
    two middle values, n even, (n - 2) / (n - 2f + 2).

    x_(k) is between s_{k-f} and s_k, hence between the means of the k - f smallest and of the h - k
    + 1 largest of S, of which the first is never the nearer. A midpoint is between those of s_{k-f}
    and s_{k-f+1}, and of s_k and s_{k+1}, hence between the means of one value more each. Both are
    reached where those smallest are 0, the others of S 1, and the f rows beside S below all.

    Raises, reference: as `trimmed_mean_coefficient`.
    """
    coefficient_floor(n, f)
    k = (n + 1) // 2
    of_two = flag("midpoint", midpoint) and n % 2 == 0
    return (n - 2) / (n - 2 * f + 2) if of_two else (n - k) / (k - f)


def nearest_values_coefficient(n: int, f: int, center: float) -> float:
    """4 f / (n - f) · (1 + κ): a bound for the mean of the n - f values nearest to a centre of
    coefficient κ, in each coordinate.

    `meamed` has the median for it, `phocas` the trimmed mean. As many values are taken from beside
    S as are left out of S, t ≤ f, and each of the former is no farther from the centre c than each
    of the latter, s. So the mean is off by at most 2 / h Σ |s - c| over these, hence by 2 √f / h
    times √(h V + h |c - x̄_S|²).

    Raises:
      ValueError: n < 2f + 1, or a coefficient that is negative or NaN.

    Reference: the argument above.
    """
    coefficient_floor(n, f)
    not_negative("nearest_values_coefficient", "center", center)
    return 4 * f / (n - f) * (1 + center)


def geometric_median_coefficient(n: int, f: int) -> float:
    """(n - k) / (k - f) with k = ⌈n / 2⌉, a bound for the exact geometric median y: the median's.

    Let e be the direction from x̄_S to y and their distance the unit; a_i the part of x_i - x̄_S
    along e, b_i what is across. Unit vectors from all rows to y add up to 0 (from a row at y it is
    one of length 1 or less), so those of S have parts c_i along e with Σ c_i ≤ f. For any q

        (a + q)² + b² ≥ (1 + q)² φ(c)        φ(c) = 1 - c² for c ≥ 0, 1 for c < 0

    as the left side is (1 + q)² - 2 (1 + q) r c + r², r = ||y - x_i||. φ is concave: its sum is
    least where all c_i but one are 1 or -1, and is then N = k - f or more. Summed over S, where
    Σ a_i = 0, it is h V ≥ (1 + q)² N - h q²: with q = N / (h - N), V ≥ N / (h - N). For odd n the
    median itself reaches it, in one dimension.

    Raises, reference: as `trimmed_mean_coefficient`; published is 4 (1 + f / (n - 2f))².
    """
    return median_coefficient(n, f)


def krum_coefficient(n: int, f: int, *, neighbours: int | None = None) -> float:
    """(√ρ min(h / a, √(2 h / a)) + √((h - a) / a))² with ρ = q / (h - 1), a = q - f + 1, a bound
    for `krum` of q neighbours.

    Let r_i = ||x_i - x̄_S||, in units of √V, so that r_i² is 1 on average. A row of S is as near to
    its q nearest others of S as ρ h (1 + r_i²) in squares at most, so the least score s is no more
    than that of the least r_i². Of the row that has it and its neighbours, a are of S: let c be
    their mean, u = ||c - x̄_S||, W = Σ ||x_j - c||² over them. Then

        the row is within √((s - W) / a) of c
        u² ≤ (h - a) (h - W) / (a h), as what the others of S have to make up for counts in V, too
        the least r_i² is at most W / a + u², their average over the a rows, and at most 1

    of which the sum of the first and of u is largest for W = 0.

    Args:
      neighbours: q, from f to n - f - 1; n - f - 2 if None.

    Raises:
      ValueError: n < 2f + 3, or neighbours out of range.

    Reference: the argument above; published is 6 (1 + f / (n - 2f)), of n - f - 1 neighbours.
    """
    h, q, a = _neighbours("Krum's robustness", n, f, neighbours)
    far = math.sqrt(q / (h - 1)) * min(h / a, math.sqrt(2 * h / a))
    return (far + math.sqrt((h - a) / a)) ** 2


def least_diameter_coefficient(n: int, f: int) -> float:
    """8 f² / (n - f), a bound for `minimum_diameter_averaging`: its λ squared, and D² ≤ 2 h V.

    Raises, reference: as `trimmed_mean_coefficient`.
    """
    coefficient_floor(n, f)
    return 8 * f**2 / (n - f)


def meamed_coefficient(n: int, f: int, *, midpoint: bool = False) -> float:
    """`nearest_values_coefficient` around the median."""
    return nearest_values_coefficient(n, f, median_coefficient(n, f, midpoint=midpoint))


def phocas_coefficient(n: int, f: int) -> float:
    """4 f / (n - 2f): `nearest_values_coefficient` around the trimmed mean."""
    return nearest_values_coefficient(n, f, trimmed_mean_coefficient(n, f))


def mixing_coefficient(n: int, f: int, bound: float) -> float:
    """4 f / (n - f) · (κ + 1): nearest-neighbour mixing before a rule of coefficient κ.

    Row i of S is mixed to y_i, a mean of h rows: beside rows of S the rows B_i from beside it, in
    place of as many of S, M_i, of which none is nearer to x_i. So h (y_i - x̄_S) is the sum of
    x_b - x_s over B_i and M_i, paired in any way: its square is at most Σ ||x_b - x_s||² over all b
    of B_i and s of M_i, by pairing them at random. Take two rows i and s of S, D apart, and one b:
    where s gives way to b for i alone, it is ||x_b - x_s||² ≤ 4 D²; where also i does for s, b is
    within D of either, and both together are 2 D² at most. Summed over f rows b and all pairs of S,
    Σ_i ||y_i - x̄_S||² ≤ 4 f V. That is h times the variance of the y_i and the square of what their
    mean is off, which add up to no more than κ + 1 times both behind the rule.

    It is reached before the trimmed mean, 4 f / (n - 2f): by f ones and n - 2f zeros in S, and f
    rows a little above -1.

    Raises:
      ValueError: n < 2f + 1, or a bound that is negative or NaN.

    Reference: the argument above; Allouah et al., AISTATS 2023, have twice as much.
    """
    coefficient_floor(n, f)
    not_negative("mixing_coefficient", "bound", bound)
    # Not 0 times infinity without attackers: of equal rows, such a rule may give anything.
    return math.inf if math.isinf(bound) else 4 * f / (n - f) * (bound + 1)


def widest(n: int, f: int, dimension: int | None = None) -> float:
    """Δ, see above: of any dimension d if None.

    Raises:
      ValueError: n < 2f + 1, or d < 1.
    """
    coefficient_floor(n, f)
    across = math.sqrt(n - f - 1)
    if dimension is None:
        return across
    return min(across, math.sqrt(at_least("dimension", dimension, 1)))


def trimmed_mean_resilience(n: int, f: int, dimension: int | None = None) -> float:
    """f Δ / (n - f), a λ of the trimmed mean: of S the f largest are off the others by a range.

    Raises: as `widest`. Reference: Farhadkhani et al., ICML 2022, with another Δ.
    """
    return f / (n - f) * widest(n, f, dimension)


def median_resilience(
    n: int, f: int, dimension: int | None = None, *, midpoint: bool = False
) -> float:
    """(n - ⌈n / 2⌉) Δ / (n - f), a λ of the median; (n - 1) Δ / (2 (n - f)) of the midpoint: so
    many of S are off by a range. Raises, reference: as `trimmed_mean_resilience`.
    """
    off = (n - 1) / 2 if flag("midpoint", midpoint) else n // 2
    return off / (n - f) * widest(n, f, dimension)


def nearest_values_resilience(n: int, f: int, dimension: int | None = None) -> float:
    """2 f Δ / (n - f), a λ of `meamed` and `phocas`: f pairs, two ranges each, as the centre is
    between two values of S. Raises, reference: as `trimmed_mean_resilience`.
    """
    return 2 * f / (n - f) * widest(n, f, dimension)


def krum_resilience(
    n: int, f: int, *, m: int | None = None, neighbours: int | None = None
) -> float:
    """√(q / a) + (h - a) / h with a = q - f + 1, a λ of `krum` and `multi_krum`, q neighbours.

    A row of S has q others of S within D, so its score is at most q D², and so is each of the m ≤ h
    least. Of a row that is taken and its neighbours a are of S: their mean is off it by at most the
    root of its score's a-th part, and off x̄_S by (h - a) / h of a way within S.

    Args:
      m: rows taken, from 1 to n - f, of which it does not depend.
      neighbours: q, from f to n - f - 1; n - f - 2 if None.

    Raises:
      ValueError: n < 2f + 3, or m or neighbours out of range.

    Reference: the argument above; Farhadkhani et al., ICML 2022, have 1 + √((n - f) / (n - 2f)),
      of n - f - 1 neighbours.
    """
    h, q, a = _neighbours("Krum's resilience", n, f, neighbours)
    if not 1 <= (h if m is None else integer("m", m)) <= h:
        raise ValueError(f"this bound needs 1 <= m <= {h}, got m={m}")
    return math.sqrt(q / a) + (h - a) / h


def _neighbours(what: str, n: int, f: int, neighbours: int | None) -> tuple[int, int, int]:
    """h, q, and how many of S are among a row and its q neighbours at least."""
    f = require(what, n, f, 2, 3)
    h = n - f
    q = h - 2 if neighbours is None else integer("neighbours", neighbours)
    if not max(f, 1) <= q <= h - 1:
        raise ValueError(
            f"this bound needs {max(f, 1)} <= neighbours <= {h - 1}, got neighbours={q}"
        )
    return h, q, q - f + 1


def geometric_median_resilience(n: int, f: int) -> float:
    """(n - f - 1) / √(n (n - 2f)), a λ of the exact geometric median.

    Where h of n points are within r of a point z, their geometric median is within r (n - f) /
    √(n (n - 2f)) of it: farther off, h unit vectors towards S outweigh f others. Here z = x̄_S, and
    r = (h - 1) / h D. Raises: as `trimmed_mean_coefficient`.

    Reference: Minsker, Geometric median and robust estimation in Banach spaces, Bernoulli 2015,
      lemma 2.1.
    """
    coefficient_floor(n, f)
    return (n - f - 1) / math.sqrt(n * (n - 2 * f))


# By the names of the rules, as they are by default: the least that is proved of κ. That of the
# geometric median is of the exact one.
LEAST_KNOWN_COEFFICIENTS: dict[str, Callable[..., float]] = COEFFICIENT_BOUNDS | {
    "trimmed_mean": trimmed_mean_coefficient,
    "median": median_coefficient,
    "geometric_median": geometric_median_coefficient,
    "meamed": meamed_coefficient,
    "phocas": phocas_coefficient,
    "krum": krum_coefficient,
    "multi_krum": multi_krum_coefficient,
    "minimum_diameter_averaging": least_diameter_coefficient,
}
# Likewise of λ, for any dimension; of others it follows from κ.
RESILIENCES: dict[str, Callable[..., float]] = {
    "trimmed_mean": trimmed_mean_resilience,
    "median": median_resilience,
    "meamed": nearest_values_resilience,
    "phocas": nearest_values_resilience,
    "krum": krum_resilience,
    "multi_krum": krum_resilience,
    "geometric_median": geometric_median_resilience,
    "minimum_diameter_averaging": least_diameter_resilience,
}
