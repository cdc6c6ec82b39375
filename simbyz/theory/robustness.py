"""(f, κ)-robustness: how far an aggregate may be from the honest mean, promised and realised.

A rule F is (f, κ)-robust if for all x_1 ... x_n and every S of n - f of them

    ||F(x) - x̄_S||² ≤ (κ / |S|) Σ_{i in S} ||x_i - x̄_S||²

Its coefficient κ is the largest ratio over all S and all x. Nobody can compute that; what is known
is a floor that no rule beats, for each rule a published upper bound, and, of every step of a run, a
ratio that was realised: a lower bound. Where `Config.certify` asks for it, a run has that ratio as
a column, `summarise` tells in how many steps the bound held, and `coefficient_bound` there is that
of a rule as it is configured, behind pre-aggregators too.
"""

import math
from collections.abc import Callable

from simbyz._arrays.checks import integer, not_negative, require


def coefficient_floor(n: int, f: int) -> float:
    """f / (n - 2f): no rule has a smaller κ.

    Take n - f zeros and f ones. They may be the honest and the Byzantine rows; then every S of the
    zeros has no variance and F must be 0. The honest ones may as well be all ones and n - 2f zeros;
    then 0 is off by f / (n - f), which is f / (n - 2f) of the variance when squared.

    Raises:
      ValueError: n < 2f + 1.

    Reference: Allouah et al., Fixing by mixing, AISTATS 2023.
    """
    f = require("(f, κ)-robustness", n, f, 2, 1)
    return f / (n - 2 * f)


def trimmed_mean_coefficient(n: int, f: int) -> float:
    """6 f / (n - 2f) · (1 + f / (n - 2f)). Raises, reference: as `coefficient_floor`."""
    floor = coefficient_floor(n, f)
    return 6 * floor * (1 + floor)


def median_coefficient(n: int, f: int) -> float:
    """4 (1 + f / (n - 2f))², of the coordinate-wise and the exact geometric median. Raises,
    reference: as `coefficient_floor`.

    Convention: `geometric_median` takes three iterations by default, smoothed at a distance of 0.1,
      of which this is not true; pass a small smoothing and many iterations.
    """
    return 4 * (1 + coefficient_floor(n, f)) ** 2


def krum_coefficient(n: int, f: int) -> float:
    """6 (1 + f / (n - 2f)), where each row counts n - f - 1 neighbours. Raises, reference: as
    `coefficient_floor`.

    Convention: `krum` counts n - f - 2 by default, for which this is not proved; pass
      neighbours=n - f - 1. `multi_krum_coefficient(n, f, m=1)` is of any number.
    """
    return 6 * (1 + coefficient_floor(n, f))


def multi_krum_coefficient(
    n: int, f: int, *, m: int | None = None, neighbours: int | None = None
) -> float:
    """A bound for `multi_krum`, and with m=1 for `krum`, of any number q of neighbours.

    Let S be the h = n - f honest rows, of variance V = Σ_{i in S} ||x_i - x̄_S||² / h, s_k a row's
    score, M the m rows taken. A part α of some rows has a mean off that of all by at most
    √((1 - α) / α) of their deviation.

    1. An honest row's score is at most that by its q nearest of the h - 1 other honest rows, which
       are on average no farther than all: s_i ≤ q / (h - 1) Σ_{j in S} ||x_i - x_j||². Summed over
       S, the right side is 2 q h² V / (h - 1). The m least scores are on average at most the honest
       rows' average: Σ_M s_k ≤ m σ V, with σ = 2 q h / (h - 1).
    2. Of a row k and its neighbours, a ≥ q - f + 1 are honest, k included if it is. The mean of
       these is off x_k by at most √(s_k / a), and off x̄_S by √((h - a) / a V).
    3. Roots being concave, the mean of M is off x̄_S by at most √(σ / a) + √((h - a) / a), in √V.
    4. Of M, t ≤ f rows are Byzantine. The honest ones, m - t, have a mean off by at most
       √((h - m + t) / (m - t)), and 2. is needed of the t others alone, whose scores have the sum
       m σ V at most: √((m - t)(h - m + t)) / m + √(t σ / (m a)) + t / m √((h - a) / a).

    κ is the square of the lesser of 3. and of the largest value of 4. over t = 0 ... min(f, m).

    Args:
      m: rows taken, from 1 to n - f; n - f - 2 if None.
      neighbours: q, from f to n - f - 1; n - f - 2 if None.

    Raises:
      ValueError: n < 2f + 3, or m or neighbours out of range.

    Reference: the argument above. The first bound for Multi-Krum is from Bareilles, Bouaziz, Fageot
      and El-Mhamdi, Byzantine machine learning: MultiKrum and an optimal notion of robustness,
      2026, whose formula was not at hand.
    """
    f = require("Multi-Krum's robustness", n, f, 2, 3)
    h = n - f
    m = h - 2 if m is None else integer("m", m)
    q = h - 2 if neighbours is None else integer("neighbours", neighbours)
    if not (1 <= m <= h and max(f, 1) <= q <= h - 1):
        raise ValueError(
            f"this bound needs 1 <= m <= {h} and {max(f, 1)} <= neighbours <= {h - 1}, got m={m}, "
            f"neighbours={q}"
        )
    a = q - f + 1
    scores, apart = 2 * q * h / (h - 1), math.sqrt((h - a) / a)

    def with_bad(t: int) -> float:
        honest = math.sqrt((m - t) * (h - m + t)) / m
        return honest + math.sqrt(t * scores / (m * a)) + t / m * apart

    largest = max(with_bad(t) for t in range(min(f, m) + 1))
    return min(math.sqrt(scores / a) + apart, largest) ** 2


def least_spread_coefficient(n: int, f: int) -> float:
    """4 f / (n - 2f), of `smea` and `minimum_variance_averaging`. Raises: as `coefficient_floor`.

    Let T be the n - f rows taken and S the honest ones. The mean of a part α of some rows is off
    the mean of all by at most √((1 - α) / α) of their deviation, in any direction. S and T share
    n - 2f rows or more: from x̄_S to the mean of these, and on to x̄_T, it is √(f / (n - 2f)) each,
    in deviations of S at most, as T is the least spread. It is reached: `docs/worst-case.md`.

    Reference: the argument above; smea and its own analysis, of the deviation along one direction
      alone, are from Allouah et al., On the privacy-robustness-utility trilemma, ICML 2023.
    """
    return 4 * coefficient_floor(n, f)


def mixing_coefficient(n: int, f: int, bound: float) -> float:
    """8 f / (n - f) · (κ + 1): nearest-neighbour mixing before a rule of coefficient κ. Raises,
    reference: as `coefficient_floor`, and of a κ that is negative or NaN.
    """
    coefficient_floor(n, f)
    not_negative("mixing_coefficient", "bound", bound)
    # Not 0 times infinity without attackers: of equal rows, such a rule may give anything.
    return math.inf if math.isinf(bound) else 8 * f / (n - f) * (bound + 1)


def adaptive_clipping_coefficient(n: int, f: int, bound: float) -> float:
    """κ + 2 f / (n - 2f): adaptive robust clipping before a rule of coefficient κ.

    Raises: as `mixing_coefficient`.

    Reference: Allouah et al., Adaptive gradient clipping for robust federated learning, 2024.
    """
    not_negative("adaptive_clipping_coefficient", "bound", bound)
    return bound + 2 * coefficient_floor(n, f)


def bucketing_coefficient(n: int, f: int, bucket_size: int, bound: float) -> float:
    """(√(κ a) + √(b - 1))²: bucketing before a rule of coefficient κ, of m = ⌈n/s⌉ rows and f.

    In the mean ȳ of m - f buckets without a Byzantine row each row of these has a share w_i = 1 /
    ((m - f) · rows of its bucket). Then a = (n - f) max w_i and b = (n - f) Σ w_i²: by Jensen's
    inequality the buckets' variance is at most a times that of the n - f honest rows, and by Cauchy
    and Schwarz ||ȳ - x̄_S||² is at most b - 1 times that, whatever the order of the rows.

    Raises: ValueError where m < 2f + 1, of a bucket_size not from 1 to n, and of a bound that is
      negative or NaN. Reference: the argument above; Karimireddy et al., ICLR 2022, have a bound in
      expectation over the order.
    """
    not_negative("bucketing_coefficient", "bound", bound)
    sizes = _clean_buckets(n, f, bucket_size)
    most = (n - f) / (len(sizes) * min(sizes))
    squares = (n - f) * sum(1 / size for size in sizes) / len(sizes) ** 2
    return (math.sqrt(bound * most) + math.sqrt(max(0.0, squares - 1))) ** 2


def _clean_buckets(n: int, f: int, bucket_size: int) -> list[int]:
    """Rows of ⌈n/s⌉ - f buckets, an incomplete one among them."""
    bucket_size = integer("bucket_size", bucket_size)
    if not 1 <= bucket_size <= n:
        raise ValueError(f"bucket_size must be from 1 to n={n}, got {bucket_size}")
    count = -(-n // bucket_size)
    f = require("bucketing before a rule", count, f, 2, 1)
    return [bucket_size] * (count - f - 1) + [n - bucket_size * (count - 1)]


def resilience(n: int, f: int, coefficient: float) -> float:
    """√(κ/2 (1 - 1 / (n - f))): the λ of an (f, λ)-resilient average that follows from κ.

    A rule is one if ||F(x) - x̄_S|| ≤ λ max_{i,j in S} ||x_i - x_j|| for every S of n - f rows. The
    variance around x̄_S is half the mean of all squared distances, of which one in n - f is 0.

    Raises: as `mixing_coefficient`. Reference of λ: Farhadkhani et al., ICML 2022.
    """
    coefficient_floor(n, f)
    not_negative("resilience", "coefficient", coefficient)
    return math.sqrt(coefficient / 2 * (1 - 1 / (n - f)))


def least_diameter_resilience(n: int, f: int) -> float:
    """2 f / (n - f), the λ of `minimum_diameter_averaging`. Raises: as `coefficient_floor`.

    The means of the rows taken and of S are apart by at most f / (n - f) of a way from a row of one
    to a row of the other, which by a common row is at most two diameters of S.

    Reference: Farhadkhani et al., ICML 2022.
    """
    coefficient_floor(n, f)
    return 2 * f / (n - f)


def bucketing_resilience(n: int, f: int, bucket_size: int, bound: float) -> float:
    """λ + 1 - Σ min(1 / (m - f), |bucket| / (n - f)), over m - f buckets without a Byzantine row:
    bucketing before a rule of λ, of m = ⌈n/s⌉ rows and f.

    Buckets are no farther apart than rows, and their mean is off the rows' mean by that part of a
    diameter that the shares of both do not have in common. Raises: as `bucketing_coefficient`.
    """
    not_negative("bucketing_resilience", "bound", bound)
    sizes = _clean_buckets(n, f, bucket_size)
    common = sum(min(1 / len(sizes), size / (n - f)) for size in sizes)
    return bound + max(0.0, 1 - common)


# By the names of the rules; nothing is known, or nothing is true, of the others.
COEFFICIENT_BOUNDS: dict[str, Callable[[int, int], float]] = {
    "trimmed_mean": trimmed_mean_coefficient,
    "median": median_coefficient,
    "geometric_median": median_coefficient,
    "krum": krum_coefficient,
    "smea": least_spread_coefficient,
    "minimum_variance_averaging": least_spread_coefficient,
}
