"""Rules that share a compiled program: each run has its own."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.distributed_momentum.grid import chosen
from experiments.distributed_momentum.grid.cells import cells
from experiments.distributed_momentum.grid.programs import (
    ALIKE,
    Run,
    hyperparameters_of,
    programs,
    rules_of,
)
from experiments.distributed_momentum.grid.rules import rule_of
from simbyz.simulator import Simulator, State

STACK = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)


def expected(name, rows, f):
    """The rules by their definitions, coordinate by coordinate."""
    rows, h = np.sort(rows.astype(np.float64), axis=0), len(rows) - f
    center = {"phocas": rows[f:h].mean(axis=0), "meamed": np.median(rows, axis=0)}.get(name)
    if center is None:
        return np.median(rows, axis=0) if name == "median" else rows[f:h].mean(axis=0)
    nearest = np.argsort(np.abs(rows - center), axis=0, kind="stable")[:h]
    return np.take_along_axis(rows, nearest, axis=0).mean(axis=0)


def test_the_number_tells_the_rule_in_lanes_of_different_ones_too():
    rule = chosen.among([rule_of(name, 7, 2) for name in ALIKE])
    numbers = jnp.arange(len(ALIKE))
    got = jax.jit(jax.vmap(lambda number: rule.aggregate(STACK, 2, state=number)))(numbers)
    for name, row in zip(ALIKE, got, strict=True):
        np.testing.assert_allclose(row, expected(name, STACK, 2), rtol=1e-5, err_msg=name)


def test_a_run_s_numbers_tell_its_rule_to_the_simulator():
    heard = []

    def advance(state, numbers, *rest):
        heard.append((state.rule, rest))

    nothing = Simulator(**dict.fromkeys(Simulator._fields))
    simulator = chosen.told(nothing._replace(advance=advance))
    state = State(**dict.fromkeys(State._fields))
    small = cells("digits", attacks=["little"], places=["worker"])
    for cell in small:
        if cell.rule in ALIKE:
            simulator.advance(state, hyperparameters_of(cell, shared=True), "data", 3)
            number, rest = heard.pop()
            assert rules_of(cell)[number] == cell.rule
            assert rest == ("data", 3)
        else:
            assert "rule" not in hyperparameters_of(cell, shared=True).attack


def test_programs_of_a_small_comparison():
    shared = {
        tuple(sorted({run.cell.rule for run in group}))
        for group in programs(Run(cell, 1) for cell in cells("digits"))
    }
    # The unattacked runs of n - f workers, for f = 11 and f = 5, are two programs of average.
    assert shared == {("average",), ("krum",), ("bulyan",), tuple(sorted(ALIKE))}


def test_what_tells_more_of_its_rule_has_a_program_of_its_own():
    for more in ({"certify": True}, {"attacks": ["nan"]}):
        for cell in cells("digits", rules=ALIKE, **more):
            assert rules_of(cell) == (cell.rule,)
