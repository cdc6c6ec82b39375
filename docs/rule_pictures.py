"""Pictures of rules in two dimensions: where attackers stand, against how far they pull it."""

import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from simbyz import aggregators, attacks

N, F = 15, 3
EXTENT = 4.0  # deviations, to each side of the honest mean
PLACES = 81
# What a rule needs beyond (updates, f), in units of the honest deviation where it has any.
OPTIONS = {
    "centered_clipping": {"radius": 1.0},  # from zero, which is not the honest mean
    "dnc": {"key": jax.random.key(0)},
    "fltrust": {"trusted": jnp.asarray([1.2, 0.8])},
    "geometric_median": {"start": "median"},
    "monna": {"index": 0},
}
ATTACKS = {
    "a little is enough": (functools.partial(attacks.a_little_is_enough, factor=-1.5), "v", 13),
    "fall of empires": (functools.partial(attacks.fall_of_empires, factor=1.1), "s", 8),
    "sign flipping": (functools.partial(attacks.sign_flipping, scale=3.0), "o", 4),
}


def honest_rows() -> jax.Array:
    """Twelve rows (h, 2) around (1, 1), of deviation 1 over both coordinates together."""
    rows = np.random.default_rng(7).normal(size=(N - F, 2)) * [1.0, 0.6]
    rows -= rows.mean(axis=0)
    return jnp.asarray(1 + rows / np.sqrt(np.sum(rows**2) / (N - F)))


def rule_of(name: str) -> Callable[[jax.Array], jax.Array]:
    rule = functools.partial(aggregators.AGGREGATORS[name], **OPTIONS.get(name, {}))
    return jax.jit(lambda stack: rule(stack, f=F))


def draw(name: str, path: Path) -> None:
    """A picture of the rule, as a PNG file."""
    honest, rule = honest_rows(), rule_of(name)
    mean = jnp.mean(honest, axis=0)

    def under(byzantine: jax.Array) -> jax.Array:
        return rule(jnp.concatenate([honest, byzantine]))

    line = jnp.linspace(-EXTENT, EXTENT, PLACES)
    places = mean + jnp.stack(jnp.meshgrid(line, line), axis=-1).reshape(-1, 2)
    results = jax.lax.map(lambda place: under(jnp.broadcast_to(place, (F, 2))), places)
    moved = jnp.linalg.norm(results - mean, axis=1).reshape(PLACES, PLACES)

    figure = Figure(figsize=(5.6, 4.6), layout="constrained")
    axes = figure.subplots()
    x, y = mean[0] + line, mean[1] + line
    image = axes.pcolormesh(x, y, moved, vmin=0, vmax=1.5, cmap="cividis", rasterized=True)
    axes.scatter(*honest.T, s=22, color="white", edgecolor="black", label="honest")
    axes.plot(*mean, "+", color="white", ms=14, mew=2, label="honest mean")
    for label, (attack, marker, size) in ATTACKS.items():
        result = under(attack(jax.random.key(1), honest, F))
        axes.plot(*result, marker, color="#d55e00", mec="black", ms=size, ls="", label=label)
    axes.set(aspect="equal", xlabel="first coordinate", ylabel="second coordinate", title=name)
    figure.colorbar(image, label="aggregate to honest mean, in honest deviations", extend="max")
    # Dark, so that the white cross shows.
    axes.legend(fontsize="x-small", loc="upper left", facecolor="0.25", labelcolor="white")
    figure.savefig(path, dpi=110)
