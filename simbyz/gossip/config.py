"""The settings of a run without a server that shape its program."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

from simbyz._arrays.checks import at_least, flag, integer
from simbyz.gossip.networks.network import Network
from simbyz.gossip.networks.sampled import Sampled
from simbyz.simulator import Config

Exchange = Literal["after", "before", "gradients"]
EXCHANGES: tuple[Exchange, ...] = get_args(Exchange)


@dataclasses.dataclass(frozen=True)
class GossipConfig:
    """Settings that shape the compiled program.

    network: a `Network`; several, with the same Byzantine nodes, one a step in turns; or `Sampled`
    neighbours, drawn in every step.
    exchange: what nodes send each other. "after": their parameters after the gradient step, of
    which the rule makes the new ones; "before": their parameters before it, to what the rule makes
    of them comes the gradient step; "gradients": what workers send to a server, and each node makes
    the step of what the rule makes of them.
    rounds: exchanges in a step.
    tracking: nodes exchange estimates of the mean gradient too, and step along these.
    aimed: each honest node gets Byzantine rows made of what it hears. False: they are made of what
    all honest nodes send, and a Byzantine node sends the same to all its neighbours.
    byzantine_gradients: Byzantine nodes have models and data too, and do as the honest ones do, but
    for what they send: an attack gets their vectors as `own`, and without an attack they send them.
    momentum: at the nodes. nesterov, variance_reduction, local_steps, evaluate_every, certify,
    study: as in `simbyz.simulator.Config`; study are here the columns that tell who was heard.
    beyond_the_bound: run networks beyond what the rule's guarantee asks for, too (see
    `simbyz.gossip.condition_of`), in place of refusing them.
    nodes_at_once: nodes whose gradients, and whose neighbourhoods, are handled together (all if
    None); fewer take less memory.

    Raises:
      TypeError: something is of another kind than asked for.
      ValueError: a number out of its range, or settings that do not go together.
    """

    network: Network | Sampled | Sequence[Network]
    exchange: Exchange = "after"
    rounds: int = 1
    tracking: bool = False
    aimed: bool = True
    byzantine_gradients: bool = False
    beyond_the_bound: bool = False
    momentum: bool = True
    nesterov: bool = False
    variance_reduction: bool = False
    local_steps: int = 1
    evaluate_every: int | None = 5
    certify: bool = False
    study: bool = True
    nodes_at_once: int | None = None

    def __post_init__(self) -> None:
        kinds = self.networks
        if not kinds or not all(isinstance(one, Network | Sampled) for one in kinds):
            raise TypeError(f"network must be a Network, several, or Sampled, got {self.network!r}")
        if any((one.n, one.byzantine) != (self.n, kinds[0].byzantine) for one in kinds):
            raise ValueError("networks that take turns must have the same nodes and Byzantine ones")
        if len(kinds) > 1 and any(isinstance(one, Sampled) for one in kinds):
            raise TypeError("sampled neighbours are drawn in every step: give one Sampled alone")
        if self.exchange not in EXCHANGES:
            raise ValueError(f"exchange takes {', '.join(EXCHANGES)}, got {self.exchange!r}")
        for field in dataclasses.fields(self):
            if field.type is bool:
                flag(field.name, getattr(self, field.name))
        at_least("rounds", self.rounds, 1)
        if self.tracking and (self.exchange != "after" or self.momentum or self.local_steps > 1):
            raise ValueError(
                'tracking needs exchange="after", momentum=False and local_steps=1: it exchanges '
                "parameters and gradients, of which it is an average itself"
            )
        if self.nodes_at_once is not None and integer("nodes_at_once", self.nodes_at_once) < 1:
            raise ValueError(f"nodes_at_once must be at least 1 or None, got {self.nodes_at_once}")
        if self.variance_reduction and not self.momentum:
            raise ValueError("variance_reduction corrects momentum: it needs momentum=True")
        if self.certify and any(isinstance(one, Sampled) for one in kinds):
            raise ValueError("certify needs neighbourhoods that are not sampled")
        _ = self.workers

    @property
    def networks(self) -> tuple[Network | Sampled, ...]:
        """Those that take turns."""
        one = isinstance(self.network, Network | Sampled) or not isinstance(self.network, Sequence)
        return (self.network,) if one else tuple(self.network)  # type: ignore[arg-type, return-value]

    @property
    def n(self) -> int:
        return self.networks[0].n

    @property
    def honest(self) -> int:
        return self.n - self.byzantine

    @property
    def computing(self) -> int:
        """Nodes that have models: the h honest ones, first, or all."""
        return self.n if self.byzantine_gradients else self.honest

    @property
    def byzantine(self) -> int:
        return len(self.networks[0].byzantine)

    @property
    def widths(self) -> tuple[int, int]:
        """The most honest and the most Byzantine neighbours of a node with a model, anywhere."""
        widths = [
            one.widths_of(range(one.n)) if self.byzantine_gradients else one.widths
            for one in self.networks
            if isinstance(one, Network)
        ]
        return max((k for k, _ in widths), default=0), max((b for _, b in widths), default=0)

    @property
    def workers(self) -> Config:
        """The nodes as workers: how they compute what they send."""
        return Config(
            n=self.n,
            f=self.byzantine,
            byzantine_gradients=self.byzantine_gradients,
            momentum_at=("worker",) if self.momentum else (),
            nesterov=self.nesterov,
            variance_reduction=self.variance_reduction,
            local_steps=self.local_steps,
            evaluate_every=self.evaluate_every,
            workers_at_once=self.nodes_at_once,
            certify=self.certify,
            study=False,
        )
