"""Sampled: neighbours drawn at random in every step, for each node its own."""

import dataclasses

import jax
import jax.numpy as jnp

from simbyz._arrays.checks import at_least, integer
from simbyz.gossip.networks.network import nodes_of


@dataclasses.dataclass(frozen=True, eq=False)
class Sampled:
    """Each node pulls the vectors of `degree` others, drawn anew in every exchange.

    n: nodes. degree: neighbours of each. f: Byzantine ones among them that the rule is told to
    tolerate; by chance there may be more. byzantine: numbers of the Byzantine nodes. Mixing weights
    are 1 / (degree + 1).

    Raises:
      TypeError: something is of another kind than asked for.
      ValueError: a degree not from 1 to n - 1, a negative f, a Byzantine node that is none.

    Reference: RPEL, robust pull-based epidemic learning; its b̂ is f here.
    """

    n: int
    degree: int
    f: int
    byzantine: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= integer("degree", self.degree) < integer("n", self.n):
            raise ValueError(
                f"degree must be from 1 to n - 1 = {self.n - 1}, got degree={self.degree}"
            )
        at_least("f", self.f, 0)
        object.__setattr__(self, "byzantine", nodes_of(self.n, self.byzantine))

    def draw(self, key: jax.Array, count: int | None = None) -> jax.Array:
        """Whom each honest node hears, or each of the first `count`: (h, degree) places, those of
        honest nodes first.
        """
        h = self.n - len(self.byzantine) if count is None else count

        def of(node: jax.Array, key: jax.Array) -> jax.Array:
            others = jax.random.permutation(key, self.n - 1)[: self.degree]
            return others + (others >= node)

        return jax.vmap(of)(jnp.arange(h), jax.random.split(key, h))
