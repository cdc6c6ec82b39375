"""Attacks against recorded answers of the paper's program (bm) and of ByzFL.

The records lie in `tests/golden`. `tests/reference/attacks.py` must give them all too:
that is what makes it a reference.
"""

import functools
import json
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import attacks
from tests.conformance.golden import attack_and_options
from tests.reference import attacks as reference_attacks
from tests.support.compiled import quick_jit
from tests.support.paths import GOLDEN

# Answers compared, by attack.
COMPARED = {
    "a_little_is_enough": 48 + 12,
    "fall_of_empires": 48,
    "inner_product_manipulation": 24 + 18,
    "hidden_vulnerability": 72,
    "anti_cge": 12,
    "sign_flipping": 6,
    "mimic": 12,
    "inf": 6,
    "gaussian": 6,
}

# Errors as fractions of the largest input.
TOLERANCE = {"float64": 1e-9, "float32": 1e-5}


class Case(NamedTuple):
    """One recorded answer, and the call that should give it."""

    label: str
    attack: str
    options: dict
    honest: np.ndarray
    num_byzantine: int
    expected: np.ndarray
    draws: np.ndarray | None  # the random numbers that it used


@functools.cache
def recorded() -> tuple[list[dict], dict[str, np.ndarray]]:
    entries = json.loads((GOLDEN / "vectors.json").read_text())["entries"]
    with np.load(GOLDEN / "vectors.npz") as arrays:
        return [entry for entry in entries if entry["kind"] == "attack"], dict(arrays)


@functools.cache
def cases() -> list[Case]:
    entries, arrays = recorded()
    found = []
    for entry in entries:
        params = entry["params"]
        ours = attack_and_options(entry["name"], params)
        if ours is not None:
            offset, shape = entry["output"]
            found.append(
                Case(
                    f"{entry['library']} {entry['name']} {params} on {entry['input']}",
                    *ours,
                    honest=arrays[entry["input"]][: params["honests"]],
                    num_byzantine=params.get("f", 1),
                    expected=arrays["outputs"][offset : offset + int(np.prod(shape))],
                    draws=arrays[entry["draws"]] if "draws" in entry else None,
                )
            )
    return found


def test_what_is_compared_and_what_is_not() -> None:
    """Counts, so that no exclusion grows silently."""
    entries, _ = recorded()
    assert len(entries) == 270
    left_out = Counter(e["name"] for e in entries if not attack_and_options(e["name"], e["params"]))
    # ByzFL's averages gradients of flipped labels that it is given; ours flips the labels.
    assert left_out == {"LabelFlipping": 6}
    assert Counter(case.attack for case in cases()) == COMPARED


def assert_answer(case: Case, row: np.ndarray, tolerance: float) -> None:
    if not np.all(np.isfinite(case.expected)):
        np.testing.assert_array_equal(row, case.expected, err_msg=case.label)
        return
    # The largest input may be zero, and then so is every answer. ByzFL's noise does not look at it.
    scale = max(np.max(np.abs(case.honest)), 1 if case.draws is not None else 0)
    if case.attack == "hidden_vulnerability":
        scale += abs(case.options["factor"])
    assert np.max(np.abs(row - case.expected)) <= tolerance * scale, case.label


def test_reference_gives_every_recorded_answer() -> None:
    compared = 0
    for case in cases():
        if case.attack in ("inf", "gaussian"):  # nothing to write a reference of
            continue
        attack = getattr(reference_attacks, case.attack)
        row = attack(case.honest, case.num_byzantine, **case.options)
        assert_answer(case, row, 1e-9)
        compared += 1
    assert compared == 270 - 6 - 6 - 6


# Compiling for many rows takes longest.
@pytest.mark.parametrize(
    ("dtype", "fewest", "most"),
    [
        pytest.param("float64", 1, 51, marks=pytest.mark.slower),
        pytest.param("float32", 1, 12, marks=pytest.mark.thorough),
    ],
)
def test_attacks_give_every_recorded_answer(dtype: str, fewest: int, most: int) -> None:
    with jax.enable_x64(dtype == "float64"):
        for case in cases():
            if case.draws is None and fewest <= len(case.honest) <= most:
                assert_answers(case, sent(case, case.honest.astype(dtype)), dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_noise_of_recorded_draws_is_recorded(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their generator is NumPy's: what is compared is what is made of its numbers."""
    with jax.enable_x64(dtype == "float64"):
        for case in cases():
            if case.draws is not None:
                draws = jnp.asarray(case.draws, dtype)[None]
                monkeypatch.setattr(jax.random, "normal", lambda *_, draws=draws: draws)
                rows = attacks.gaussian(
                    jax.random.key(0), case.honest.astype(dtype), 1, **case.options
                )
                assert_answers(case, rows, dtype)


def sent(case: Case, honest: jax.Array) -> jax.Array:
    numbers = {key: value for key, value in case.options.items() if isinstance(value, float)}
    static = {key: value for key, value in case.options.items() if key not in numbers}
    return compiled(case.attack, case.num_byzantine, tuple(static.items()))(honest, **numbers)


@functools.cache
def compiled(name: str, num_byzantine: int, static: tuple) -> Callable[..., jax.Array]:
    attack = functools.partial(getattr(attacks, name), jax.random.key(0), **dict(static))
    return quick_jit(lambda honest, **numbers: attack(honest, num_byzantine, **numbers))


def assert_answers(case: Case, rows: jax.Array, dtype: str) -> None:
    assert rows.dtype == dtype
    assert rows.shape == (case.num_byzantine, case.honest.shape[1])
    for row in np.asarray(rows, np.float64):
        assert_answer(case, row, TOLERANCE[dtype])
