"""The columns of a step, of the workers that they tell of."""

import jax
import jax.numpy as jnp

from simbyz.simulator.attackers import Identities, Received
from simbyz.simulator.certificates import CERTIFICATES, certify
from simbyz.simulator.config import Config
from simbyz.simulator.metrics import Metrics, Past, study
from simbyz.simulator.participation import Participants, in_rounds

# The columns that the vectors of a step give.
STUDIED = set(Metrics._fields) - set(CERTIFICATES)
STUDIED -= {"step", "training_points", "loss", "distance_from_start", "accuracy"}


def tell(
    config: Config,
    part: Participants,
    received: Received,
    *,
    step: jax.Array,
    sampled: jax.Array,
    losses: jax.Array,
    aggregate: jax.Array,
    past: Past | None,
    momentum: jax.typing.ArrayLike,
    weights: jax.Array | None,
) -> tuple[dict[str, jax.Array], jax.Array | None]:
    """The columns that the vectors of a step give, and the mean (d,) of the sampled ones: None
    without `config.study`.

    Args:
      config: of the run.
      part: who takes part.
      received: what came of them.
      step: number of the step, from 0.
      sampled, losses: (w, d) and (w,), of all that compute.
      aggregate: (d,).
      past: of the steps before; None without `config.study`.
      momentum: μ of the curvature.
      weights: (n,) weight of each row in the aggregate, or None where the rule does not tell.
    """

    def of_round(one: Config, who: Identities) -> tuple[dict[str, jax.Array], jax.Array | None]:
        rows, own_losses, of_rows = sampled, losses, weights
        if one.computing > one.honest:
            # The metrics tell of the honest workers alone, and of the Byzantine rows as a kind.
            rows, own_losses = rows[who.honest], own_losses[who.honest]
            of_rows = None if of_rows is None else of_rows[jnp.concatenate(who)]
        honest = received.stack[who.honest] if config.chance else received.honest
        columns: dict[str, jax.Array] = {}
        sampled_mean = None
        if past is not None:
            columns, sampled_mean = study(
                step=step,
                sampled=rows,
                honest=honest,
                attack=received.stack[who.byzantine] if config.chance else received.byzantine,
                aggregate=aggregate,
                past=past,
                momentum=momentum,
                weights=of_rows,
            )
        if config.certify and one.honest:
            columns |= certify(aggregate, honest)
        columns["loss"] = jnp.mean(own_losses)
        if config.chance:  # one set of columns for all rounds
            names = {"loss"} | (STUDIED if config.study else set())
            names |= set(CERTIFICATES if config.certify else ())
            columns = dict.fromkeys(names, jnp.float32(jnp.nan)) | columns
        return columns, sampled_mean

    return in_rounds(config, part, of_round)
