"""Recipes: momentum algorithms of 2024 to 2026 by name, as chains of senders.

Each keeps its own averages, so that `Config.momentum_at` is (): a place there would come before.

    senders = [byz_ef21_sgdm(0.1, top_k(10))]
    make_simulator(Config(n=11, f=2, momentum_at=()), task, rule, attack, senders=senders,
                   columns={"bits": simbyz.simulator.metrics.bits_sent})

All averages start at 0. The definitions are of the papers and programs named; where one starts
elsewhere, as at a first gradient of a larger batch, a run here differs in its first steps.
"""

import jax
import optax

from simbyz._arrays.checks import number
from simbyz._arrays.scales import unit
from simbyz.simulator.workers.averages import average, corrected_average
from simbyz.simulator.workers.compression import compress, feedback
from simbyz.simulator.workers.compressors import Compressor, clipped, rand_k
from simbyz.simulator.workers.presence import by_chance, when_present
from simbyz.simulator.workers.sender import Sender, chain, in_unit

Number = float | jax.Array


def byz_ef21_sgdm(eta: Number, compressor: Compressor) -> Sender:
    """Byz-EF21-SGDM: v_i ← (1-η) v_i + η g_i;  h_i ← h_i + C(v_i - h_i);  R(h).

    Reference: EF21-SGDM is of Fatkhullin, Tyurin and Richtárik, Momentum provably improves error
      feedback, NeurIPS 2023; with a robust rule it is a baseline of arXiv 2603.15144, of which no
      more than the abstract could be read.
    """
    in_unit("eta", eta)
    return chain(average(eta), feedback(compressor))


def byz_dm21(eta: Number, compressor: Compressor) -> Sender:
    """Byz-DM21: v_i ← (1-η) v_i + η g_i;  u_i ← (1-η) u_i + η v_i;  h_i ← h_i + C(u_i - h_i).

    Reference: arXiv 2603.15144 (AISTATS 2026). Only its abstract could be read: that the steps and
      the start are the paper's is not verified.
    """
    in_unit("eta", eta)
    return chain(average(eta), average(eta), feedback(compressor))


def byz_vr_dm21(eta: Number, compressor: Compressor) -> Sender:
    """Byz-VR-DM21: as `byz_dm21`, with v_i ← g_i(θ_t) + (1-η) (v_i - g_i(θ_{t-1})).

    Reference: as of `byz_dm21`, read as far.
    """
    in_unit("eta", eta)
    return chain(corrected_average(eta), average(eta), feedback(compressor))


def rosdhb(k: int, beta: Number) -> Sender:
    """RoSDHB: g̃_i = (d/k) mask∘g_i, one mask of k coordinates for all workers in a step; the server
    keeps m_i ← β m_i + (1-β) g̃_i;  R(m).

    Reference: Gupta, Honsell, Xu, Gupta and Neglia, arXiv 2508.17129 (AISTATS 2026).
    """
    number("beta", beta, "in [0, 1)", lambda one: 0 <= one < 1)
    return chain(compress(rand_k(k)), average(1 - beta))


def byz_clip21_sgd2m(
    beta: Number, rate: Number, bound: Number, noise: Number | None = None
) -> Sender:
    """Byz-Clip21-SGD2M: v_i ← (1-β) v_i + β g_i;  c_i = clip(v_i - h_i);  h_i ← h_i + rate · c_i at
    the worker, h_i ← h_i + rate · (c_i + ω_i) at the server, ω_i Gaussian;  R(h).

    Reference: Clip21-SGD2M is of Islamov et al., arXiv 2502.11682, where the server keeps the sum
      of h_i alone. A rule needs each: whether arXiv 2603.23472 does the same is not verified.
    """
    in_unit("beta", beta)
    return chain(average(beta), feedback(clipped(bound), rate=rate, noise=noise))


def delayed_momentum(alpha: Number, probability: Number) -> Sender:
    """D-Byz-SGDM, or DeMoA: each worker takes part with this probability, m_i ← (1-α) m_i + α g_i;
    the others keep m_i;  R(m_1 ... m_n) of all n.

    Byzantine rows are replaced in every step, as of an attacker who is always there.

    Reference: Otsuka, Takezawa and Yamada, arXiv 2509.02970 (ICML 2026).
    """
    in_unit("alpha", alpha)
    return when_present(by_chance(probability), average(alpha))


def normalised() -> optax.GradientTransformation:
    """Byz-NSGDM at the server: θ ← θ - learning rate · R(m) / ||R(m)||, nothing where R(m) = 0; for
    `make_simulator(optimizer=...)`, with momentum at the workers.

    Reference: arXiv 2603.12512, which could not be read: that the step is the paper's is not
      verified.
    """
    return optax.stateless(
        lambda updates, parameters: jax.tree.map(lambda vector: -unit(vector), updates)
    )
