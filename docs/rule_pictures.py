"""Pictures of rules in two dimensions: where attackers stand, against how far they pull it."""

import functools
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


def honest_rows() -> np.ndarray:
    """Twelve rows (h, 2) around (1, 1), of deviation 1 over both coordinates together."""
    rows = np.random.default_rng(7).normal(size=(N - F, 2)) * [1.0, 0.6]
    rows -= rows.mean(axis=0)
    return 1 + rows / np.sqrt(np.sum(rows**2) / (N - F))


@functools.partial(jax.jit, static_argnames="name")
def aggregates(name: str, stacks: jax.Array) -> jax.Array:
    """The rule's aggregates (P, 2) of stacks (P, N, 2), one after the other."""
    rule = functools.partial(aggregators.AGGREGATORS[name], f=F, **OPTIONS.get(name, {}))
    return jax.lax.map(rule, stacks)


def draw(name: str, path: Path) -> None:
    """A picture of the rule, as a PNG file."""
    honest = honest_rows()
    mean = honest.mean(axis=0)
    line = np.linspace(-EXTENT, EXTENT, PLACES)
    places = mean + np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 1, 2)
    attackers = [attack(jax.random.key(1), honest, F) for attack, *_ in ATTACKS.values()]
    # Places and attacks in one program: compiling is what a picture costs.
    byzantine = np.concatenate([np.broadcast_to(places, (PLACES**2, F, 2)), attackers])
    alike = np.broadcast_to(honest, (len(byzantine), *honest.shape))
    stacks = np.concatenate([alike, byzantine], axis=1).astype(np.float32)
    results = np.asarray(aggregates(name, stacks))
    moved = np.linalg.norm(results[: PLACES**2] - mean, axis=1).reshape(PLACES, PLACES)

    figure = Figure(figsize=(5.6, 4.6), layout="constrained")
    axes = figure.subplots()
    x, y = mean[0] + line, mean[1] + line
    image = axes.pcolormesh(x, y, moved, vmin=0, vmax=1.5, cmap="cividis", rasterized=True)
    axes.scatter(*honest.T, s=22, color="white", edgecolor="black", label="honest")
    axes.plot(*mean, "+", color="white", ms=14, mew=2, label="honest mean")
    of_attacks = results[PLACES**2 :]
    for result, (label, (_, marker, size)) in zip(of_attacks, ATTACKS.items(), strict=True):
        axes.plot(*result, marker, color="#d55e00", mec="black", ms=size, ls="", label=label)
    axes.set(aspect="equal", xlabel="first coordinate", ylabel="second coordinate", title=name)
    figure.colorbar(image, label="aggregate to honest mean, in honest deviations", extend="max")
    # Dark, so that the white cross shows.
    axes.legend(fontsize="x-small", loc="upper left", facecolor="0.25", labelcolor="white")
    figure.savefig(path, dpi=110)
