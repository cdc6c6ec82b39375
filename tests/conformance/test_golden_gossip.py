"""Weights, connectivities and rules at a node against answers of the program of Gaucher et al.

What it does otherwise than the definition is said beside the rules, and written out here.
"""

import json

import jax
import numpy as np
import pytest

from simbyz.gossip import graphs, rules
from simbyz.gossip.graphs import laplacian
from tests.reference import gossip as reference
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


@pytest.mark.thorough
@pytest.mark.parametrize("number", range(len(RECORDED["rules"])))
def test_rules(number):
    entry = RECORDED["rules"][number]
    rows, weights = np.array(entry["rows"]), np.array(entry["weights"])
    f, bound = entry["f"], entry["byzantine_weight"]
    with jax.enable_x64(True):
        for name in ("clipped_gossip_plus", "clipped_gossip"):
            made = getattr(rules, name)(rows, f, weights=weights, byzantine_weight=bound)
            np.testing.assert_allclose(made, entry[name], atol=1e-9)
        np.testing.assert_allclose(rules.ios(rows, f, weights=weights), entry["ios"], atol=1e-9)
        own = np.asarray(rules.gts_selection(rows, f, weights=weights, byzantine_weight=bound))
    # Of the neighbour that is dropped in part, the program keeps the part to be dropped.
    partly = [j for j in range(1, len(rows)) if 1e-12 < own[j] < weights[j] - 1e-12]
    theirs = own.copy()
    theirs[partly] = weights[partly] - own[partly]
    np.testing.assert_allclose(reference.moved(rows, theirs), entry["gts"], atol=1e-9)
