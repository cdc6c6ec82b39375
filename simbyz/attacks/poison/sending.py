"""How a backdoor is sent: what Byzantine workers computed on planted examples, louder or hidden.

Both take `own`, what a Byzantine worker would have sent: Config(byzantine_gradients=True).
"""

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import floor_of_product, not_negative, require_fixed
from simbyz._arrays.ranks.long_rows import kth_largest
from simbyz._arrays.stacking import Byzantine, Honest, PyTree
from simbyz.attacks.base import StatefulAttack
from simbyz.attacks.flips import turned
from simbyz.attacks.rows import count, factors


def model_replacement(
    key: jax.Array,
    honest: Honest,
    num_byzantine: int,
    *,
    own: PyTree,
    factor: float | jax.Array | None = None,
) -> Byzantine:
    """factor · (one's own vector): so loud that the plain mean of all is what attackers want.

    Args:
      own: like honest, with num_byzantine rows: what they computed.
      factor: may be traced; n / num_byzantine if None, with n all workers.

    Raises:
      TypeError: own is None, or factor no number.
      ValueError: own of another shape.

    Reference: Bagdasaryan et al., How to backdoor federated learning, AISTATS 2020.
    Convention: the paper scales by n over the server's learning rate, one attacker's model standing
      for all; several who send alike need their share of it.
    """
    del key
    num_byzantine = count(num_byzantine)
    if own is None:
        raise TypeError("model_replacement needs own, what the attackers computed, got None")
    if factor is None:
        h = max((len(leaf) for leaf in jax.tree.leaves(honest) if jnp.ndim(leaf)), default=0)
        factor = (h + num_byzantine) / max(num_byzantine, 1)
    factors("model_replacement", factor=factor)
    return turned(lambda rows: factor * rows, honest, num_byzantine, own)


def neurotoxin(share: float = 0.9, factor: float | jax.Array = 1.0) -> StatefulAttack:
    """Neurotoxin: one's own vector in the coordinates alone that the last aggregate moved least.

    Honest updates seldom move these, so that what was learnt there stays after the attack ends.

    Args:
      share: of the coordinates that are kept; over 0, up to 1.
      factor: times what is left; 0 or more, may be traced.

    Returns:
      The attack; it needs own=. In the first step, where nothing is known, all is kept.

    Raises:
      ValueError: a share or a factor out of range.

    Reference: Zhang et al., Neurotoxin: durable backdoors in federated learning, ICML 2022, whose
      text was not at hand.
    Convention: the paper projects each local step on these coordinates; here the vector sent.
      FLPoison ranks signed values where it says sizes (neurotoxin.py at 368c940, `argpartition` of
      the gradient itself).
    """
    factors("neurotoxin", share=share)
    require_fixed("neurotoxin", "share", share)
    if not 0 < share <= 1:
        raise ValueError(f"neurotoxin needs 0 < share <= 1, got share={share}")
    not_negative("neurotoxin", "factor", factor)

    def send(
        key: jax.Array,
        honest: jax.Array,
        num_byzantine: int,
        state: jax.Array,
        *,
        own: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        del key
        sizes = jnp.abs(state)
        kept = max(floor_of_product(share, len(sizes)), 1)
        (largest,) = kth_largest(sizes[None], len(sizes) + 1 - kept)
        quiet = sizes <= largest
        rows = turned(lambda rows: jnp.where(quiet, factor * rows, 0), honest, num_byzantine, own)
        return rows, state

    send.__name__ = "neurotoxin"
    # NaN, as a rule that is none may give, has no place in an order.
    return StatefulAttack(
        jnp.zeros, send, lambda state, aggregate: jnp.nan_to_num(aggregate).astype(state.dtype)
    )
