"""The check of an accelerator, rehearsed on the CPU, and what it concludes of what it is given."""

import dataclasses
import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.speed.__main__ import command
from experiments.speed.gpu import (
    carry,
    ceilings,
    convolution,
    journal,
    parts,
    projection,
    right,
    timed,
    training,
)
from experiments.speed.gpu.sizes import FULL, SMALL
from simbyz import aggregators, attacks, data, preaggregators
from simbyz.data import cache


def small(part, folder):
    """The results of a part of the rehearsal, less its first line and its last."""
    assert command(f"gpu --small --parts {part} --results {folder}".split()) == 0
    begins, *results, ends = journal.read(folder)
    assert begins["what"] == "begins" and begins["platform"] == "cpu" and begins["jax_version"]
    assert ends["what"] == "ends" and {result["part"] for result in results} == {part}
    return results


@pytest.fixture
def few_functions(monkeypatch):
    """Two rules and an attack in place of all, whose programs take long to compile."""

    def some(n, f):
        return {
            "median": functools.partial(aggregators.median, f=f),
            "cge": functools.partial(aggregators.cge, f=f),
            "bulyan": functools.partial(aggregators.bulyan, f=f),
            "random": lambda stack: attacks.random(jax.random.key(0), stack[: n - f], f),
        }

    monkeypatch.setattr(right, "functions_of", some)
    return ("median", "cge", "bulyan", "random")


def test_every_rule_preaggregator_and_attack_is_compared():
    names = set(right.functions_of(51, 12))
    rules = {*aggregators.AGGREGATORS, *aggregators.WEIGHTED, *preaggregators.PREAGGREGATORS}
    assert rules | {f"attack: {name}" for name in attacks.ATTACKS} <= names
    assert set(SMALL.compared) <= names and not FULL.compared


@pytest.mark.slower
def test_all_that_a_rehearsal_leaves_out_can_be_traced():
    for name, function in right.functions_of(12, 2).items():
        result = jax.eval_shape(function, jax.ShapeDtypeStruct((12, 33), jnp.float32))
        assert result.shape[-1] == 33, name


@pytest.mark.slower
def test_values_are_compared_on_both_devices(few_functions, monkeypatch, tmp_path):
    sizes = dataclasses.replace(SMALL, stacks=((9, 40, 2),), compared=())
    monkeypatch.setattr(parts, "SMALL", sizes)
    *results, last = small("right", tmp_path)
    (refused,) = [result for result in results if "refused" in result]
    assert refused["what"] == "bulyan" and "n >= 4f + 3" in refused["refused"]
    results.remove(refused)
    compared = {(r["what"], r["rows"], r["products"]) for r in results}
    borne = [name for name in few_functions if name != "bulyan"]
    kinds = itertools.product(borne, ("finite", "some broken"), ("usual", "float32"))
    assert compared == set(kinds)
    assert all(r["holds"] and r["error"] == 0 for r in results)
    assert (last["held"], last["results"]) == (12, 12)


def test_what_is_not_reached_is_named(few_functions):
    left, last = right.check(dataclasses.replace(SMALL, compared=()), 0.0)
    assert left["what"] == "not reached" and left["names"] == list(few_functions)
    assert last["results"] == 0


def test_differences_are_of_the_rows_scale():
    wanted = np.array([[1.0, -2.0, np.nan], [1000.0, np.inf, 0.0]])
    assert right.difference(wanted, wanted) == 0
    assert right.difference(wanted + np.array([[0, 0.002, 0], [0, 0, 0.1]]), wanted) == (
        pytest.approx(0.001)
    )
    for place, value in (((0, 2), 1.0), ((1, 1), -np.inf), ((0, 0), np.nan)):
        got = wanted.copy()
        got[place] = value
        assert right.difference(got, wanted) == np.inf


def test_broken_rows_are_the_last_f_and_of_every_kind():
    rows = right.broken_rows(12, 20, 5)
    assert np.isfinite(rows[:7]).all()
    assert not np.isfinite(rows[8:]).all(axis=1).any()
    assert np.isnan(rows).any() and np.isposinf(rows).any() and np.isneginf(rows).any()
    assert np.abs(rows[7]).max() > 1e28


def test_runs_are_compared_column_by_column():
    columns = {
        "loss": np.array([2.0, 1.0, np.nan]),
        "accuracy": np.array([0.1, np.nan, 0.5]),
        "distance_from_start": np.array([0.0, 1.0, 2.0]),
    }
    wanted = columns, np.array([3.0, 4.0])
    same = training.compare(wanted, wanted)
    assert same["holds"] and same["parameters"] == same["column"] == same["accuracy"] == 0
    changed = columns | {"loss": np.array([2.0, 1.5, np.nan])}, np.array([3.0, 4.5])
    result = training.compare(changed, wanted)
    assert not result["holds"]
    # Half of the way of length 2; half of the largest loss.
    assert result["parameters"] == 0.25
    assert (result["worst_column"], result["column"]) == ("loss", 0.25)


def test_every_method_gives_each_workers_kernel_gradient():
    generator = np.random.default_rng(0)
    images = generator.standard_normal((2, 3, 4, 5, 2))  # workers, B, H, W, C
    kernel = generator.standard_normal((3, 3, 2, 3))
    weights = generator.standard_normal((2, 3, 4, 5, 3))
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
    of_kernel = np.zeros((2, 3, 3, 2, 3))
    result = np.zeros(weights.shape)
    for i, j in itertools.product(range(3), range(3)):
        window = padded[:, :, i : i + 4, j : j + 5]
        result += window @ kernel[i, j]
        of_kernel[:, i, j] = np.einsum("hbxyc,hbxyd->hcd", window, weights)
    for method, compute in convolution.METHODS.items():

        def loss(kernel, images, weights, compute=compute):
            return jnp.sum(compute(images, kernel) * weights)

        arguments = [jnp.float32(values) for values in (kernel, images, weights)]
        total, gradients = jax.jit(jax.vmap(jax.value_and_grad(loss), in_axes=(None, 0, 0)))(
            *arguments
        )
        expected = np.sum(result * weights, axis=(1, 2, 3, 4))
        np.testing.assert_allclose(total, expected, rtol=1e-4, err_msg=method)
        np.testing.assert_allclose(gradients, of_kernel, rtol=1e-4, atol=1e-5, err_msg=method)


def test_a_method_takes_the_place_of_a_networks_convolutions():
    module = nn.Conv(2, (3, 3))
    images = jnp.ones((1, 4, 4, 1))
    variables = module.init(jax.random.key(0), images)
    program, _ = convolution.compile_by(module.apply, (variables, images), "columns", "float32")
    np.testing.assert_allclose(
        program(variables, images), module.apply(variables, images), rtol=1e-5
    )
    with pytest.raises(ValueError, match="no convolution"):
        convolution.compile_by(jnp.sin, (images,), "columns", "float32")


def test_ceilings_are_measured(tmp_path):
    results = {r["what"]: r for r in small("ceilings", tmp_path)}
    assert results["copy"]["bytes_a_second"] > 0
    assert all(results[f"product {name}"]["flops"] > 0 for name in ("float32", "tf32", "bfloat16"))


def test_hours_are_projected_from_what_was_measured():
    known = [
        {"part": "widths", "what": "sweep", "rule": rule, "width": width, "with_compilation": 30.0}
        | {"seconds_a_run": seconds * (1 + (width == 1))}
        for rule, seconds in (("median", 1.0), ("krum", 2.0))
        for width in (1, 8)
    ]
    of = {"part": "convolution", "precision": "tf32"}
    known += [
        of | {"what": "step", "rule": rule, "f": f, "milliseconds": 10.0, "compile_seconds": 0.0}
        for rule in ("median", "krum")
        for f in (5, 11)
    ]
    known.append(of | {"what": "evaluation", "milliseconds": 100.0})
    hours = {
        (result["what"], result.get("precision")): result["hours"]
        for result in projection.project(FULL, known)
    }
    # Per data set 16 of 184 configurations are unattacked; a rule has 16 at each f that it bears:
    # krum two, bulyan one, the four others two.
    assert hours["MNIST half", None] == pytest.approx(
        2 * 5 * (48 * 2.0 + 136 * 1.0) / 3600 + 2 * 13 * 30 / 3600
    )
    assert hours["CIFAR half", "tf32"] == pytest.approx(1840 * (3000 * 0.01 + 31 * 0.1) / 3600)
    assert hours["CIFAR half", "bfloat16"] is None and hours["whole grid", "float32"] is None
    assert hours["whole grid", "tf32"] == pytest.approx(
        hours["MNIST half", None] + hours["CIFAR half", "tf32"]
    )


def test_a_part_that_fails_says_so(monkeypatch, tmp_path):
    def fail(sizes, until, known):
        yield {"what": "before"}
        raise RuntimeError("out of memory")

    monkeypatch.setitem(parts.PARTS, "timed", (1.0, fail))
    assert command(f"gpu --small --parts timed --results {tmp_path}".split()) == 1
    _, before, failed = journal.read(tmp_path)
    assert before["what"] == "before" and failed["error_message"] == "RuntimeError: out of memory"


def test_each_of_several_parts_has_its_share_of_the_time(monkeypatch, tmp_path):
    started, killed = [], []

    class Child:
        def __init__(self, arguments, env):
            started.append(arguments)

        def wait(self, timeout=None):
            if timeout is not None and len(started) == 2:
                raise parts.subprocess.TimeoutExpired("child", timeout)
            return 0

        def kill(self):
            killed.append(started[-1])

    monkeypatch.setattr(parts.subprocess, "Popen", Child)
    some = ("right", "timed", "widths", "projection")
    assert parts.several(some, tmp_path, 10.0, True) == 1
    given = [float(one[one.index("--minutes") + 1]) for one in started]
    # No time passed: each has its share of what was left, less the start of a process.
    share = {part: parts.PARTS[part][0] for part in some}
    assert given == pytest.approx(
        [
            10 * share[part] / sum(share[after] for after in some[number:]) - parts.START / 60
            for number, part in enumerate(some[:-1])
        ],
        abs=0.01,
    )
    assert all("--small" in one for one in started)
    assert [one[one.index("--parts") + 1] for one in killed] == ["timed"]
    ended, *projected = journal.read(tmp_path)
    assert ended["part"] == "timed" and ended["error_message"].startswith("killed after")
    assert {result["part"] for result in projected} == {"projection"}


def test_a_half_written_line_is_passed_over(tmp_path):
    writer = journal.Journal(tmp_path, {"part": "right"})
    writer.write({"what": "a", "error": float("inf")})
    with open(writer.path, "a") as file:
        file.write('{"part": "right", "wh')
    assert journal.read(tmp_path) == [{"part": "right", "what": "a", "error": np.inf}]


@pytest.fixture
def smaller(monkeypatch):
    """The rehearsal on smaller images, with one rule of a run and fewer of the others, each timed
    once: on a CPU, convolutions take long.
    """
    sizes = dataclasses.replace(
        SMALL,
        rules=("median",),
        image=4,
        conv=SMALL.conv | {"batch_size": 1},
        compared=(
            *("krum", "weighted_median", "nearest_neighbor_mixing", "fltrust"),
            *("attack: random", "attack: adaptive, krum"),
        ),
    )
    monkeypatch.setattr(parts, "SMALL", sizes)
    monkeypatch.setattr(timed, "FIRST", ("median", "bulyan (released)", "nearest_neighbor_mixing"))
    monkeypatch.setattr(ceilings, "seconds", functools.partial(ceilings.seconds, repetitions=1))
    return sizes


@pytest.mark.slower
def test_every_method_gives_the_networks_gradients(smaller, monkeypatch):
    monkeypatch.setattr(ceilings, "PRECISIONS", {"float32": ceilings.PRECISIONS["float32"]})
    monkeypatch.setattr(convolution, "_steps", lambda *_: ())
    results = list(convolution.measure(smaller, np.inf, ()))
    assert [r["method"] for r in results] == list(convolution.METHODS)
    assert max(r["apart"] for r in results) < 1e-5


@pytest.mark.slower
def test_the_whole_rehearsal(smaller, monkeypatch, tmp_path):
    """Each part in turn, and the first in a process of its own."""
    monkeypatch.setattr(convolution, "METHODS", {"columns": convolution.METHODS["columns"]})
    fewer = {name: ceilings.PRECISIONS[name] for name in ("tf32", "bfloat16")}
    monkeypatch.setattr(ceilings, "PRECISIONS", fewer)
    alone = "ceilings", "projection"
    assert command(["gpu", "--small", "--parts", *alone, "--results", str(tmp_path)]) == 0
    for part in parts.PARTS:
        if part != "ceilings":
            assert command(f"gpu --small --parts {part} --results {tmp_path}".split()) == 0
    results = journal.read(tmp_path)
    assert not [result for result in results if "error_message" in result]
    assert {result["part"] for result in results} == set(parts.PARTS)
    held = [r["holds"] for r in results if "holds" in r]
    assert held and all(held)
    gradients = [r for r in results if r["what"] == "gradients" and r["part"] == "convolution"]
    assert [r["precision"] for r in gradients] == list(fewer)
    assert gradients[0]["apart"] < 1e-5 and 0 < gradients[1]["apart"] < 0.1
    assert results[-2]["what"] == "whole grid" and results[-2]["hours"] > 0


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """A small CIFAR-10 in a cache, and the folder of an empty cache."""
    generator = np.random.default_rng(0)
    arrays = {
        "train_images": generator.integers(0, 256, (600, 32, 32, 3), np.uint8),
        "train_labels": generator.integers(0, 10, 600).astype(np.int32),
        "test_images": generator.integers(0, 256, (7, 32, 32, 3), np.uint8),
        "test_labels": np.arange(7, dtype=np.int32),
    }
    cache.write(
        tmp_path / "full" / "cifar10",
        cache.Decoded(arrays, {"library": "none"}, "some images are substitutes"),
    )
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setenv("SIMBYZ_CACHE", str(tmp_path / "full"))
    return arrays


def test_a_data_set_is_carried_to_an_empty_cache(cached, monkeypatch, tmp_path, capsys):
    paths = carry.pack("cifar10", tmp_path, part=700_000)
    assert len(paths) > 2 and max(path.stat().st_size for path in paths) <= 700_000
    monkeypatch.setenv("SIMBYZ_CACHE", str(tmp_path / "empty"))
    assert command(f"unpack --results {tmp_path}".split()) == 0
    dataset = data.load("cifar10")
    for name, array in cached.items():
        got = getattr(dataset, name)
        assert got.dtype == array.dtype and np.array_equal(got, array)
    assert dataset.notice == "some images are substitutes"

    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[:1000] + b"\0\0\0\0" + whole[1004:])
    with pytest.raises(ValueError, match="damaged"):
        carry.unpack("cifar10", tmp_path)
    paths[1].write_bytes(whole)
    whole = paths[-1].read_bytes()
    for place in (whole.index(b"test_labels.bin") + 15 + np.arange(0, 20, 4)).tolist():
        paths[-1].write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="what was packed of cifar10 is damaged"):
            carry.unpack("cifar10", tmp_path)
    paths[1].unlink()
    assert command(f"unpack --results {tmp_path}".split()) == 2
    assert "must hold all files of one packing" in capsys.readouterr().err
    assert command(f"unpack --results {tmp_path / 'missing'}".split()) == 2
    assert "it holds none" in capsys.readouterr().err and not (tmp_path / "missing").exists()
    monkeypatch.setenv("SIMBYZ_CACHE", str(tmp_path / "none"))
    assert command(f"pack --results {tmp_path / 'missing'}".split()) == 2
    assert "cifar10 is not cached" in capsys.readouterr().err
    assert not (tmp_path / "missing").exists()
