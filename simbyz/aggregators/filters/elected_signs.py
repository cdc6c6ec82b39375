"""A rule that elects a sign in each coordinate, and averages the values that have it.

Non-finite values: a row that is not finite, or (in float32) some 1e19 times as long as the middle
one, neither votes nor is averaged.
"""

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import floor_of_product, require, share_below_one
from simbyz._arrays.geometry import full_product, gram, middle_row
from simbyz._arrays.halves import Halves, halves
from simbyz._arrays.lengths import lengths_to
from simbyz._arrays.moments import sum_rows
from simbyz._arrays.ranks.long_rows import kth_largest
from simbyz._arrays.scales import middle_of, wide
from simbyz._arrays.stacking import Updates, ravel

__all__ = ["fedseca", "fedseca_selection"]


def _fedseca(updates: Updates, f: int, *, sparsity: float = 0.9) -> Halves:
    """The mean, in each coordinate, of the values of the sign that rows elect that agree.

    Rows k and l agree if ω_kl = Σ_j sgn x_kj sgn x_lj > 0, and disagree if it is negative. A row
    votes with the weight ρ_k = max(0, (1/n) Σ_l sgn ω_kl), and s_j = sgn Σ_k ρ_k sgn x_kj is
    elected. Rows are shortened to the lower median of all norms, each size in them is cut to the
    lower median of the coordinate's sizes, and of each row the largest values, a share 1 - sparsity
    of what it sent, are kept. The result is the mean of those that have the sign s_j; 0 if none.

    Args:
      sparsity: γ, from 0 to below 1: the ⌊γ (d - 1)⌋ + 1 smallest values of a row are left out.

    Returns:
      The aggregate. Nothing of the choice carries a derivative.

    Raises:
      ValueError: n < 2f + 1, or a sparsity out of range.

    Weights: a row's share of the values averaged, the mean over the coordinates that have any;
      zeros if none has.
    Cost: one n × n × d matrix product, a sorting network, and a rank of each row by a search, 5
      to 15 passes in the cache.
    Reference: Benjamin et al., FedSECA: sign election and coordinate-wise aggregation of gradients
      for Byzantine tolerant federated learning, CVPR 2025, by its program.
    Convention: a row that is not finite neither votes nor counts, but for n, and its sizes are
      infinite in both medians. Where no sign is elected the result is 0; CRYPTO-KU's library
      averages all values there.
    """
    stack, unravel = ravel(updates)
    n, d = stack.shape
    require("fedseca", n, f, 2, 1)
    sparsity = share_below_one("fedseca", "sparsity", sparsity)
    lengths = lengths_to(None, stack)
    finite = lengths.finite[:, None]
    rows = jnp.where(finite, wide(stack), 0)
    signs = jax.lax.stop_gradient(jnp.sign(rows))
    # n times ρ, whole numbers: in nths, votes that cancel leave what rounding makes of them.
    agreement = jnp.maximum(0, jnp.sum(jnp.sign(gram(signs)), axis=1))
    elected = jnp.sign(full_product(agreement, signs))

    norms = jnp.where(lengths.finite, lengths.values, jnp.inf)
    shortened = rows * jnp.minimum(1, middle_of(norms) / norms)[:, None]
    bound = middle_row(jnp.where(finite, jnp.abs(shortened), jnp.inf))
    cut = jnp.clip(shortened, -bound[None], bound[None])
    sizes = jax.lax.stop_gradient(jnp.abs(rows))
    largest_left_out = kth_largest(sizes, d - floor_of_product(sparsity, d - 1))
    large = sizes > largest_left_out[:, None]
    taken = large & (signs * elected[None] > 0)
    count = jnp.sum(taken, axis=0)

    def weights() -> jax.Array:
        shares = taken / jnp.maximum(count, 1)[None]
        return jnp.sum(shares, axis=1) / jnp.maximum(jnp.sum(count > 0), 1)

    def aggregate() -> jax.Array:
        # The sum of values near the largest float may be none.
        part = 0.5 ** n.bit_length()
        unit = jnp.where(jnp.max(bound) > part * jnp.finfo(cut.dtype).max, part, 1)
        total = sum_rows(list(jnp.where(taken, cut * unit, 0)))
        return (total / jnp.maximum(count, 1) / unit).astype(stack.dtype)

    return Halves(lambda: unravel(aggregate()), weights)


fedseca, fedseca_selection = halves(_fedseca)
