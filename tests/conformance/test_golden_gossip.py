"""Weights, connectivities and rules at a node against answers of the program of Gaucher et al.

What it does otherwise than the definition is said beside the rules, and written out here.
"""

import functools
import json

import jax
import numpy as np
import pytest

from simbyz.gossip import graphs, rules
from simbyz.gossip.graphs import laplacian
from tests.reference import gossip as reference
from tests.support.compiled import quick_jit
from tests.support.paths import GOLDEN

RECORDED = json.loads((GOLDEN / "gossip.json").read_text())


@pytest.mark.parametrize("entry", RECORDED["graphs"], ids=lambda entry: entry["graph"])
def test_weights_and_spectra(entry):
    """Each honest node hears as many Byzantine ones, which count in its degree."""
    n, b = entry["size"], entry["byzantine"]
    honest = graphs.from_edges(n, entry["edges"])
    liars = [(liar, node) for liar in range(n, n + b) for node in range(n)]
    arcs = np.concatenate([honest.arcs, liars])
    whole = graphs.from_edges(n + b, arcs.tolist(), directed=True)
    degrees = whole.degrees
    heard = np.array([1 / (1 + max(degrees[i], degrees[j])) for i, j in honest.arcs.tolist()])
    weights = dict(zip(map(tuple, entry["edges"]), entry["weights"], strict=True))
    for (sender, receiver), weight in zip(honest.arcs.tolist(), heard, strict=True):
        pair = min(sender, receiver), max(sender, receiver)
        theirs = weights.get(pair, weights.get(pair[::-1]))
        assert theirs == pytest.approx(weight, abs=1e-9)
    mixing = graphs.Mixing(heard, np.ones(n))
    spectrum = np.linalg.eigvalsh(laplacian(honest, mixing))
    assert spectrum[-1] == pytest.approx(entry["largest_eigenvalue"], abs=1e-9)
    assert graphs.algebraic_connectivity(honest, mixing) == pytest.approx(
        entry["algebraic_connectivity"], abs=1e-9
    )


@functools.cache
def answers(f):
    @quick_jit
    def compute(rows, weights, bound):
        bounded = {"weights": weights, "byzantine_weight": bound}
        return {
            "clipped_gossip_plus": rules.clipped_gossip_plus(rows, f, **bounded),
            "clipped_gossip": rules.clipped_gossip(rows, f, **bounded),
            "ios": rules.ios(rows, f, weights=weights),
            "gts_selection": rules.gts_selection(rows, f, **bounded),
        }

    return compute


@pytest.mark.slower
@pytest.mark.parametrize("number", range(len(RECORDED["rules"])))
def test_rules(number):
    entry = RECORDED["rules"][number]
    rows, weights = np.array(entry["rows"]), np.array(entry["weights"])
    f, bound = entry["f"], entry["byzantine_weight"]
    with jax.enable_x64(True):
        made = answers(f)(rows, weights, bound)
    for name in ("clipped_gossip_plus", "clipped_gossip", "ios"):
        np.testing.assert_allclose(made[name], entry[name], atol=1e-9)
    own = np.asarray(made["gts_selection"])
    # Of the neighbour that is dropped in part, the program keeps the part to be dropped.
    partly = [j for j in range(1, len(rows)) if 1e-12 < own[j] < weights[j] - 1e-12]
    theirs = own.copy()
    theirs[partly] = weights[partly] - own[partly]
    np.testing.assert_allclose(reference.moved(rows, theirs), entry["gts"], atol=1e-9)
