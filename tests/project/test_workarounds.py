"""Faults of the compiler in docs/workarounds.md: what passes here may lose its workaround."""

import re

import jax
import jax.numpy as jnp
import pytest

from tests.support.paths import ROOT


@pytest.mark.xfail(
    reason="jaxlib 0.10.2's maximum of many values passes over NaN on a CPU",
    strict=jax.lib.__version__ == "0.10.2",  # a later one may have mended it
)
def test_the_maximum_of_many_values_gives_nan():
    values = jnp.zeros((2, 100_000)).at[0, 777].set(jnp.nan)
    assert jnp.isnan(jax.jit(lambda rows: jnp.max(jnp.abs(rows), axis=1))(values)[0])


def test_the_files_on_the_page_are_there():
    page = (ROOT / "docs" / "workarounds.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:simbyz|tests)/\S+\.py)`", page))
    assert len(named) > 5 and not {name for name in named if not (ROOT / name).exists()}
