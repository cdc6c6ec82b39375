"""Rules, selections, pre-aggregators and attacks on tensors: the same numbers, without a copy."""

import functools
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simbyz import aggregators, attacks, preaggregators
from tests.support.paths import DOCS

ROWS = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
TRUSTED = np.random.default_rng(1).normal(size=6).astype(np.float32)


@pytest.fixture
def torch():
    try:
        import torch
    except ImportError as error:
        pytest.skip(f"PyTorch can't be imported ({error}): pip install '.[torch]'")
    return torch


@pytest.fixture
def on_tensors(torch):
    from simbyz.torch import on_tensors

    return on_tensors


def test_without_pytorch_one_line_says_so():
    program = "import sys; sys.modules['torch'] = None\nimport simbyz\nsimbyz.torch"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    *_, last = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert last.startswith("ImportError: simbyz.torch needs PyTorch, which can't be imported (")
    assert last.endswith("pip install torch")


CALLS = {
    "rule": (aggregators.krum, (ROWS, 2), {}),
    "options": (aggregators.multi_krum, (ROWS,), {"f": 2, "neighbours": 6, "squared": False}),
    "selection": (aggregators.trimmed_mean_selection, (ROWS, 2), {}),
    "pre-aggregator": (preaggregators.nearest_neighbor_mixing, (ROWS, 2), {}),
    "trusted": (aggregators.fltrust, (ROWS,), {"trusted": TRUSTED}),
    "radius": (preaggregators.clipping, (ROWS,), {"radius": np.float32(1.5) * np.ones(())}),
    "history": (aggregators.clipped_clustering, (ROWS, 2), {"history": np.ones(4, np.float32)}),
    "none": (aggregators.centered_clipping, (ROWS, 2), {"radius": 0.5, "center": None}),
    "partial": (functools.partial(aggregators.median, midpoint=True), (ROWS,), {}),
    "layers": (aggregators.median, ({"w": ROWS.reshape(9, 2, 3), "b": ROWS[:, 0]}, 1), {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_same_numbers(name, torch, on_tensors):
    function, args, kwargs = CALLS[name]
    to_torch = functools.partial(
        jax.tree.map, lambda leaf: torch.tensor(leaf) if isinstance(leaf, np.ndarray) else leaf
    )
    got = on_tensors(function)(*to_torch(args), **to_torch(kwargs))
    expected = jax.jit(lambda: function(*args, **kwargs))()
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for tensor, array in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu"
        np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-6, atol=1e-7)


def test_a_list_of_flat_tensors_is_stacked_on_purpose(torch, on_tensors):
    median = on_tensors(aggregators.median)
    expected = np.sort(ROWS, axis=0)[4]
    for several in (list, tuple):
        np.testing.assert_array_equal(median(several(torch.tensor(ROWS))).numpy(), expected)
    layers = [torch.zeros(9, 2), torch.zeros(9, 2)]
    with pytest.raises(ValueError, match=r"updates: a list holds one flat tensor .*\(9, 2\)"):
        median(layers)
    with pytest.raises(ValueError, match="one flat tensor"):
        median([torch.zeros(3), torch.zeros(4)])


def test_attacks_and_their_keys(torch, on_tensors):
    honest = torch.tensor(ROWS)
    little = on_tensors(attacks.a_little_is_enough)(0, honest, 3, factor=2.0)
    expected = ROWS.mean(axis=0) + 2 * ROWS.std(axis=0, ddof=1)
    np.testing.assert_allclose(little.numpy(), np.tile(expected, (3, 1)), rtol=1e-5)
    noise = on_tensors(attacks.gaussian)
    same = attacks.gaussian(jax.random.key(5), ROWS, 2)
    for key in (5, np.int64(5), jax.random.key(5), torch.tensor(5)):
        np.testing.assert_allclose(noise(key, honest, 2).numpy(), same, rtol=1e-6)
    draws = torch.Generator().manual_seed(0)
    assert not torch.equal(noise(draws, honest, 2), noise(draws, honest, 2))
    again = torch.Generator().manual_seed(0)
    draws.manual_seed(0)
    assert torch.equal(noise(draws, honest, 2), noise(again, honest, 2))
    buckets = on_tensors(aggregators.chain(
        functools.partial(preaggregators.bucketing, bucket_size=2), aggregators.median
    ))  # fmt: skip
    assert buckets(honest, 1, key=3).shape == (6,)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_the_dtype_stays(dtype, torch, on_tensors):
    rows = torch.tensor(ROWS, dtype=torch.float64) + 1e-12
    result = on_tensors(aggregators.average)(rows.to(getattr(torch, dtype)))
    assert result.dtype == getattr(torch, dtype)
    if dtype == "float64":
        np.testing.assert_allclose(result, rows.mean(dim=0), rtol=0, atol=1e-15)


def test_nothing_is_copied_on_the_way_in_and_nothing_shared_on_the_way_out(torch, on_tensors):
    rows = torch.tensor(ROWS)
    from simbyz.torch import _to_jax

    assert _to_jax(rows, rows).unsafe_buffer_pointer() == rows.data_ptr()
    result = on_tensors(lambda updates: updates)(rows)
    result += 1
    np.testing.assert_array_equal(rows.numpy(), ROWS)
    first = on_tensors(aggregators.average)(rows)
    kept = first.clone()
    rows.zero_()
    assert torch.equal(first, kept)


def test_any_layout_of_memory_and_parameters_of_a_model(torch, on_tensors):
    rows = torch.nn.Parameter(torch.tensor(ROWS))
    mean = on_tensors(aggregators.average)
    for view in (rows, rows[1:], rows[:, 1:], rows.T, rows[::2]):
        result = mean(view)
        assert not result.requires_grad
        np.testing.assert_allclose(result, view.detach().numpy().mean(axis=0), rtol=1e-5, atol=1e-7)


def test_a_sign_that_waits_to_be_applied_goes_along(torch, on_tensors):
    conjugate = torch.complex(torch.zeros(ROWS.shape), torch.tensor(ROWS)).conj()
    assert conjugate.imag.is_neg()
    np.testing.assert_allclose(
        on_tensors(aggregators.average)(conjugate.imag), -ROWS.mean(axis=0), rtol=1e-5, atol=1e-7
    )


def test_refusals_are_the_functions_own(torch, on_tensors):
    with pytest.raises(ValueError, match="krum needs n >= 2f \\+ 3, got n=9, f=4"):
        on_tensors(aggregators.krum)(torch.tensor(ROWS), f=4)
    with pytest.raises(TypeError, match="no argument is a tensor"):
        on_tensors(aggregators.krum)(ROWS, f=2)
    with pytest.raises(TypeError, match=r"must be dense, got one of torch.sparse_coo"):
        on_tensors(aggregators.krum)(torch.tensor(ROWS).to_sparse(), f=2)
    for key in (True, 3.7, torch.tensor(3.7), torch.tensor([3, 4])):
        with pytest.raises(TypeError, match="key must be an int, got "):
            on_tensors(attacks.gaussian)(key, torch.tensor(ROWS), 1)
    with pytest.raises(ValueError, match=r"from -2\^31 to 2\^32 - 1, got 4294967296"):
        on_tensors(attacks.gaussian)(2**32, torch.tensor(ROWS), 1)  # JAX's key of 0


def test_compiled_once_for_equal_shapes(torch, on_tensors):
    traced = []

    def rule(updates, f, *, scale):
        traced.append((f, type(scale)))
        return scale * jnp.mean(updates, axis=0)

    scaled = on_tensors(rule)
    for scale in (1, 1.0, 1, True, torch.tensor(2.0), torch.tensor(3.0)):
        scaled(torch.tensor(ROWS), 2, scale=scale)
    assert [kind for _, kind in traced[:3]] == [int, float, bool]
    assert len(traced) == 4


def test_the_block_of_the_page_runs(torch):
    (block,) = re.findall(
        r"```py\n(.*?)```", (DOCS / "coming-from.md").read_text(), flags=re.DOTALL
    )
    names: dict = {}
    exec(compile(block, "coming-from.md", "exec"), names)
    assert names["byzantine"].shape == (3, 1000)
