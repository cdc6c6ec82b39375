"""Columns of a step without a server: how far apart nodes are, and who was heard by whom."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from simbyz.gossip.config import GossipConfig
from simbyz.gossip.networks.network import Network
from simbyz.simulator import certificates
from simbyz.simulator.workers.sender import Sent, bits_of

COLUMNS = (
    "accuracy_worst",  # of an honest node, where evaluated
    "accuracy_best",
    "consensus_distance",  # √((1/h) Σ ||x_i - x̄||²) of the honest nodes, before the step
    "disagreement",  # √ of the mean of ||x_i - x_j||² over the honest nodes' edges, in the first
    "disagreement_largest",  # network of those that take turns; NaN for sampled neighbours
)
LISTENING = (
    "byzantine_share",  # weight of Byzantine rows in what a node's rule made, mean over the nodes
    "honest_excluded",  # share of honest neighbours' vectors that had no weight at their receiver
    "byzantine_excluded",  # likewise of Byzantine ones
)

# What a user's column may ask for.
TOLD: tuple[str, ...] = ("parameters", "sent", "sampled", "losses", "bits", "shares")
TOLD += ("coefficients", "step", "hyperparameters")


class Heard(NamedTuple):
    """What one node's rule made of its neighbours; NaN or None where it does not tell.

    The last three are of the node itself, then of k honest and of b Byzantine neighbours, the most
    that any node has, of which some may be missing; of sampled ones as they were drawn.
    """

    coefficient: jax.Array  # κ̂ in its neighbourhood, of the honest rows and its own
    distance: jax.Array  # of what it made from their mean
    shares: jax.Array | None  # (1 + k + b,) each row's weight, NaN of missing ones
    lies: jax.Array  # (1 + k + b,) which rows are Byzantine
    there: jax.Array  # (1 + k + b,) which rows are neighbours


def heard_by(
    rows: jax.Array,
    b: int,
    aggregate: jax.Array,
    shares: jax.Array | None,
    weighed: jax.Array | None,
    widths: tuple[int, int],
    certify: bool,
) -> Heard:
    """The columns of one node.

    Args:
      rows: (n, d) that met, own, honest, Byzantine.
      b: how many are Byzantine.
      aggregate: (d,) made of them.
      shares: (n,) weights in it; None where the rule does not tell.
      weighed: (n,) which are there, where some are fillers; None for all.
      widths: of honest and of Byzantine neighbours, to fill up to.
      certify: whether to compute κ̂.
    """
    n = len(rows)
    certified = {"coefficient": jnp.float32(jnp.nan), "distance": jnp.float32(jnp.nan)}
    if certify:
        certified = certificates.certify(aggregate, rows[: n - b])

    def laid(values: jax.Array, filler: float | bool) -> jax.Array:
        honest, byzantine = values[: n - b], values[n - b :]
        missing = 1 + widths[0] - (n - b), widths[1] - b
        parts = zip((honest, byzantine), missing, strict=True)
        return jnp.concatenate(
            [jnp.pad(part, (0, more), constant_values=filler) for part, more in parts]
        )

    there = jnp.ones(n, bool) if weighed is None else weighed
    filled = None
    if shares is not None:
        filled = laid(jnp.where(there, shares.astype(jnp.float32), jnp.nan), jnp.nan)
    return Heard(
        **certified,
        shares=filled,
        lies=jnp.arange(1 + sum(widths)) > widths[0],
        there=laid(there.at[0].set(False), False),
    )


def heard_of_sample(lies: jax.Array, shares: jax.Array | None) -> Heard:
    """The columns of one node whose neighbours (n - 1) were drawn; lies and shares are (n,)."""
    nothing = jnp.float32(jnp.nan)
    weights = None if shares is None else shares.astype(jnp.float32)
    return Heard(nothing, nothing, weights, lies, jnp.arange(len(lies)) > 0)


def distances(vectors: jax.Array, edges: np.ndarray | None) -> dict[str, jax.Array]:
    """How far apart honest nodes' vectors (h, d) are; edges (m, 2) among them, None if drawn."""
    apart = vectors - jnp.mean(vectors, axis=0)[None]
    distance = jnp.sqrt(jnp.sum(jnp.square(apart)) / len(vectors))
    nothing = jnp.float32(jnp.nan)
    mean, largest = nothing, nothing
    if edges is not None:
        squares = jax.lax.map(
            lambda edge: jnp.sum(jnp.square(vectors[edge[0]] - vectors[edge[1]])),
            jnp.asarray(edges),
        )
        count = max(len(edges), 1)
        mean = jnp.sqrt(jnp.sum(squares) / count)
        largest = jnp.sqrt(jnp.max(squares, initial=0))
    return {
        "consensus_distance": distance,
        "disagreement": mean,
        "disagreement_largest": largest,
    }


def listening(heard: Heard) -> dict[str, jax.Array]:
    """The columns of `LISTENING`, of all honest nodes; NaN where nobody tells, or nothing comes."""
    if heard.shares is None:
        return {}
    silent = heard.there & (heard.shares == 0)
    honest, lies = heard.there & ~heard.lies, heard.there & heard.lies
    accepted = jnp.sum(jnp.where(lies, heard.shares, 0), axis=1)
    return {
        "byzantine_share": jnp.mean(accepted),
        "honest_excluded": jnp.sum(silent & honest) / jnp.sum(honest),
        "byzantine_excluded": jnp.sum(silent & lies) / jnp.sum(lies),
    }


def bits_of_exchanges(config: GossipConfig, sent: Sent) -> jax.Array:
    """Bits (w,) that each node sends a neighbour in all exchanges of a step. What senders make is
    sent in the first exchange of gradients alone; parameters, and what is passed on, go whole.
    """
    w, d = sent.vectors.shape
    whole = jnp.full(w, float(d * sent.vectors.dtype.itemsize * 8), jnp.float32)
    exchanges = config.rounds * (2 if config.tracking else 1)
    first = bits_of(sent) if config.exchange == "gradients" else whole
    return first + (exchanges - 1) * whole


def accuracies(values: jax.Array) -> dict[str, jax.Array]:
    """Of the honest nodes' (h,); a NaN among them is the worst."""
    return {
        "accuracy": jnp.mean(values),
        "accuracy_worst": jnp.min(values),
        "accuracy_best": jnp.max(values),
    }


def edges_of(networks: Sequence[object]) -> np.ndarray | None:
    """The honest nodes' edges in the first of the networks, each once."""
    first = networks[0]
    return _edges(first) if isinstance(first, Network) else None


def _edges(network: Network) -> np.ndarray:
    """(m, 2) places among the honest nodes."""
    return np.unique(np.sort(network.honest_graph.arcs, axis=1), axis=0)


def spread(network: Network, shares: np.ndarray, widths: tuple[int, int]) -> np.ndarray:
    """Shares (h, 1 + k + b) of `Heard` by the numbers of their nodes, (h, n); NaN where nothing is
    sent. widths: (k, b).
    """
    matrix = np.full((len(network.honest), network.n), np.nan)
    for place, node in enumerate(network.honest):
        heard, liars = network.graph.heard(node), network.liars_of(node)
        honest, row = heard[~np.isin(heard, liars)], np.asarray(shares)[place]
        matrix[place, [node, *honest]] = row[: 1 + len(honest)]
        matrix[place, liars] = row[1 + widths[0] : 1 + widths[0] + len(liars)]
    return matrix


def by_edge(network: Network) -> dict[str, Callable[..., jax.Array]]:
    """Columns of one's own: ||x_i - x_j|| over each edge of honest nodes, before the step.

        make_gossip(..., columns=by_edge(network) | by_neighbourhood(network))

    Named `disagreement_i_j` by the nodes' numbers in the network.
    """

    def of(first: int, second: int) -> Callable[..., jax.Array]:
        def disagreement(*, parameters: jax.Array) -> jax.Array:
            require_nodes(network, parameters)
            return jnp.linalg.norm(parameters[first] - parameters[second])

        return disagreement

    require_network(network)
    numbers = [int(node) for node in network.honest]
    edges = _edges(network).tolist()
    return {f"disagreement_{numbers[i]}_{numbers[j]}": of(i, j) for i, j in edges}


def by_neighbourhood(network: Network) -> dict[str, Callable[..., jax.Array]]:
    """Columns of one's own: κ̂ in the neighbourhood of each honest node, `coefficient_i`; needs
    `GossipConfig.certify`.
    """

    def of(place: int) -> Callable[..., jax.Array]:
        def coefficient(*, coefficients: jax.Array) -> jax.Array:
            require_nodes(network, coefficients)
            return coefficients[place]

        return coefficient

    require_network(network)
    return {f"coefficient_{int(node)}": of(place) for place, node in enumerate(network.honest)}


def require_network(network: object) -> None:
    """Raises TypeError where it is no `Network`, such as neighbours that are sampled."""
    if not isinstance(network, Network):
        raise TypeError(f"columns of edges and nodes are of a Network, got {network!r}")


def require_nodes(network: Network, values: jax.Array) -> None:
    """Raises ValueError where a run has another number of honest nodes than the columns' network,
    of which it would tell another's edges.
    """
    if len(values) != len(network.honest):
        raise ValueError(
            f"these columns are of a network of {len(network.honest)} honest nodes, the run has "
            f"{len(values)}: make them of the network that it runs on"
        )


def check(columns: Mapping[str, object]) -> None:
    """Raises ValueError where a user's column has the name of one that every run has."""
    if taken := sorted(set(columns) & {*COLUMNS, *LISTENING}):
        raise ValueError(f"columns have names of their own, got {taken}, which every run has")
