"""What the server does with the momentum at the update: any optax transformation.

    θ ← θ - learning rate · (optimizer(v) + weight decay · θ)

optax has two kinds, and both are taken: a transformation that keeps the sign of a gradient
(`optax.scale_by_adam()`, `optax.trace(0.9)`) and a whole optimiser, whose result is to be added to
the parameters and holds a learning rate of its own (`optax.adam(1.0)`, `optax.sgd(1.0)`). Of a
whole optimiser the simulator's learning rate and schedule are a further factor.
"""

import jax
import jax.numpy as jnp
import optax

PROBES = 16


def as_direction(optimizer: optax.GradientTransformation | None) -> optax.GradientTransformation:
    """The transformation of the momentum (d,) into the direction that the server subtracts.

    Which kind an optimiser is shows in what it makes of a gradient of ones: what points the other
    way is to be added.

    Args:
      optimizer: None for plain SGD. Its state is carried from step to step; it sees the parameters
        as one vector (d,).

    Raises:
      ValueError: it takes more than updates, state and parameters; or the sum of its first 16
        updates is zero, so that its kind stays unknown.

    Cost: compiles a small program.
    """
    if optimizer is None:
        return optax.identity()
    # Also where a simulator is made under a trace.
    with jax.ensure_compile_time_eval():
        moved = float(_moved(optimizer))
    if moved == 0 or moved != moved:
        raise ValueError(
            f"the optimizer makes {moved} of {PROBES} gradients of ones, so that whether its "
            "updates are to be added or subtracted is unknown: give one that moves by then"
        )
    return optimizer if moved > 0 else optax.chain(optimizer, optax.scale(-1.0))


def _moved(optimizer: optax.GradientTransformation) -> jax.Array:
    parameters = jnp.zeros(1)

    def update(state: optax.OptState, _: None) -> tuple[optax.OptState, jax.Array]:
        made, state = optimizer.update(jnp.ones(1), state, parameters)
        return state, jnp.sum(jnp.asarray(made))

    try:
        _, made = jax.lax.scan(update, optimizer.init(parameters), None, length=PROBES)
    except (TypeError, AttributeError) as error:
        raise ValueError(
            "the optimizer must be an optax transformation of (updates, state, parameters) alone, "
            f"got {optimizer!r}: {error}"
        ) from error
    return jnp.sum(made)
