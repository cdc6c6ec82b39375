"""State: all that a run without a server carries from step to step."""

from typing import NamedTuple

import jax

from simbyz._arrays.stacking import PyTree


class Tracking(NamedTuple):
    """Memory of gradient tracking."""

    estimates: jax.Array  # (h, d) each node's of the mean gradient
    gradients: jax.Array  # (h, d) of the last step
    met: jax.Array  # () whether there was one


class GossipState(NamedTuple):
    """State of the h honest nodes between two steps, each with parameters of its own."""

    parameters: jax.Array  # (h, d)
    start: jax.Array  # (h, d) at step 0
    senders: PyTree  # a memory a sender, such as momenta (h, d)
    attack: PyTree  # of a StatefulAttack, one for each node that is attacked: leaves (h, ...)
    tracking: Tracking | None

    @property
    def model_state(self) -> PyTree:
        """Running statistics of the models: they have none."""
        return {}
