"""Checkpoints: one can always be read, what is damaged is named, what was carried comes back."""

import functools
import itertools
import os
import re
import resource
import time

import jax
import numpy as np
import pytest

from simbyz import aggregators, attacks, records
from simbyz.records.whole_files import write_whole
from simbyz.simulator import Config, Hyperparameters, Momentum, make_simulator
from simbyz.sweeps import checkpoints, many_runs
from simbyz.sweeps.checkpoints import Checkpoint, Checkpoints, Header, discard, find, load, save
from simbyz.tasks.problems import quadratic

PROGRAM = {"code_digest": "abc", "width": 2}
ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.array([[np.nan], [-np.inf]]),
    np.array([7, 8], np.uint32),
    np.zeros((2, 0)),
]


def made(step, runs=("a", "b"), program=PROGRAM):
    return Checkpoint(Header(tuple(runs), step, 100, 1.5, dict(program)), ARRAYS)


def of(folder, program=PROGRAM):
    return Checkpoints(folder, 0, program, lambda run: False)


def test_comes_back_as_it_went_in(tmp_path):
    path = save(tmp_path / "new", made(50))
    header, arrays = load(path)
    assert header == made(50).header
    for got, expected in zip(arrays, ARRAYS, strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    assert list(path.parent.iterdir()) == [path]


def test_the_furthest_with_a_wanted_run_is_found(tmp_path):
    save(tmp_path, made(50))
    save(tmp_path, made(100, runs=("b", "c")))
    assert find(of(tmp_path), ["a"])[1].header.step == 50
    assert find(of(tmp_path), ["b", "x"])[1].header.step == 100
    assert find(of(tmp_path), ["x"]) == (None, None)
    assert find(of(tmp_path / "absent"), ["a"]) == (None, None)


def test_the_one_before_stays_until_two_are_newer(tmp_path):
    paths: list = [None]
    for step in (50, 100, 150):
        paths.append(save(tmp_path, made(step), paths[-1]))
    assert sorted(tmp_path.iterdir()) == paths[2:]


DAMAGES = {
    "cut": lambda content: content[:-1],
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "a bit in the arrays": lambda content: (
        content[:-60] + bytes([content[-60] ^ 1]) + content[-59:]
    ),
    "a bit in the first line": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "another step": lambda content: re.sub(rb'"step": \d+', b'"step": 900', content),
    "text": lambda content: b"[1, 2]\nnothing more",
    "a bit in the checksum": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_named_and_the_one_before_is_taken(tmp_path, damage):
    first = save(tmp_path, made(50))
    second = save(tmp_path, made(100), first)
    second.write_bytes(DAMAGES[damage](second.read_bytes()))
    with pytest.warns(RuntimeWarning, match=f"skipped {second}: .* it is damaged"):
        path, checkpoint = find(of(tmp_path), ["a"])
    assert (path, checkpoint.header.step) == (first, 50)
    first.write_bytes(DAMAGES[damage](first.read_bytes()))
    with pytest.warns(RuntimeWarning):
        assert find(of(tmp_path), ["a"]) == (None, None)


def test_every_cut_is_noticed(tmp_path):
    path = save(tmp_path, made(50))
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match="it is damaged"):
            load(path)


@pytest.mark.parametrize("change", [{"code_digest": "xyz"}, {"width": 3}, {"jax_version": "9"}])
def test_one_of_another_program_is_told_and_not_taken(tmp_path, change):
    path = save(tmp_path, made(50))
    ((key, value),) = change.items()
    with pytest.warns(RuntimeWarning, match=f"not taken: {path}: {key} was .*, is {value} now"):
        assert find(of(tmp_path, PROGRAM | change), ["a"]) == (None, None)


def test_goes_once_all_its_runs_are_finished(tmp_path):
    folder = tmp_path / "checkpoints"
    first = save(folder, made(50))
    save(folder, made(100), first)
    other = save(folder, made(50, runs=("b", "c")))
    (folder / f".{first.name}.1-0123abcd.tmp").touch()
    discard(folder, lambda run: run in "b")
    assert len(list(folder.glob("*.checkpoint"))) == 3
    discard(folder, lambda run: run in "ab")
    assert list(folder.iterdir()) == [other]
    discard(folder, lambda run: True)
    assert not folder.exists()
    discard(folder, lambda run: True)


def test_what_killed_writers_left_goes_with_the_next(tmp_path):
    path = save(tmp_path, made(50))
    (tmp_path / f".{path.name}.123-0123abcd.tmp").write_bytes(b"half")
    (tmp_path / ".notes.tmp").touch()
    newest = save(tmp_path, made(100), path)
    assert {left.name for left in tmp_path.iterdir()} == {path.name, newest.name, ".notes.tmp"}


def test_what_a_writer_killed_at_its_first_left_goes_once_it_is_old(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    left = folder / ".0123456789abcdef-000000050.checkpoint.123-0123abcd.tmp"
    left.write_bytes(b"half")
    discard(folder, lambda run: False)
    assert left.exists()
    os.utime(left, (time.time() - 3600,) * 2)
    discard(folder, lambda run: False)
    assert not folder.exists()


@pytest.fixture
def full_disk():
    """Files may not grow beyond 4 kB: what comes then fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_earlier_file(tmp_path, full_disk):
    path = tmp_path / "file"
    write_whole(path, lambda file: file.write(b"earlier"))
    with pytest.raises(OSError, match=f"page {path} can't be written: .*; give another") as error:
        write_whole(path, lambda file: file.write(bytes(9999)), "page", "; give another")
    assert str(error.value).count("\n") == 0
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"earlier"


def test_a_full_disk_leaves_the_earlier_run_and_checkpoint(tmp_path, full_disk):
    configuration = {"seed": 1}
    noise = np.random.default_rng(0).normal(size=10_000)
    run = records.write_run(tmp_path, "a", configuration, {"x": noise[:9]}, {})
    small = save(tmp_path, made(50))
    kept = [path.read_bytes() for path in (run, small)]
    with pytest.raises(OSError, match="run .* can't be written"):
        records.write_run(tmp_path, "a", configuration, {"x": noise}, {})
    with pytest.raises(OSError, match="checkpoint .* can't be written"):
        save(tmp_path, made(100)._replace(arrays=[noise]), small)
    assert [path.read_bytes() for path in (run, small)] == kept
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_seconds_that_can_t_be(tmp_path, seconds):
    with pytest.raises(ValueError, match="checkpoint_every must be at least 0 seconds, inf for"):
        Checkpoints(tmp_path, seconds, {}, lambda run: False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"every": "60"}, "checkpoint_every must be a number of seconds, got '60'"),
        ({"program": {"rate": 0.1}}, "program must map texts to texts, ints or flags"),
        ({"program": {"code": None}}, "program must map texts to texts, ints or flags"),
        ({"program": None}, "program must map texts to texts, ints or flags, got None"),
        ({"finished": None}, "finished must be a function"),
    ],
)
def test_what_no_checkpoint_could_be_read_with_is_refused(tmp_path, changes, message):
    given = {"folder": tmp_path, "every": 0, "program": {}, "finished": lambda run: False}
    with pytest.raises(TypeError, match=message):
        Checkpoints(**given | changes)


STEPS = 11


def simulator_of(rule=aggregators.median, attack=attacks.gaussian):
    problem = quadratic(
        jax.random.key(0), 4, 3, smoothness=1.0, convexity=0.5, noise=1.0, heterogeneity=1.0
    )
    config = Config(
        n=6, f=2, momentum_at=("worker", "server"), evaluate_every=2, curvature_window=3
    )
    return make_simulator(config, problem.task, rule, attack), problem.task.data


@pytest.fixture(scope="module")
def simulator():
    return simulator_of()


LANES = [
    many_runs.Lane(seed, Hyperparameters(0.1, Momentum(0.9), None, Momentum()), f"run {seed}")
    for seed in range(5)
]


def swept(simulator, lanes=LANES, **options):
    made, arrays = simulator
    found = many_runs.sweep(made, lanes, arrays, steps=STEPS, width=2, **options)
    return {lanes[result.index].name: result for result in found}


@pytest.fixture
def chunks_of_3(monkeypatch):
    monkeypatch.setattr(many_runs, "CHUNK", 3)


def assert_same_bits(one, other):
    for name in other:
        np.testing.assert_array_equal(one[name].parameters, other[name].parameters)
        for column, values in other[name].columns.items():
            assert values.tobytes() == one[name].columns[column].tobytes(), (name, column)


def after(calls):
    """Asked to stop from the given number of calls on."""
    count = itertools.count(1)
    return lambda: next(count) > calls


def stopped(simulator, folder, calls, lanes=LANES, finished=()):
    found = {}
    where = Checkpoints(folder, 0, {"code_digest": "abc"}, lambda run: run in finished)
    with pytest.raises(many_runs.Stopped):
        for name, result in _each(simulator, lanes, where, after(calls)):
            found[name] = result
    return found


def _each(simulator, lanes, where, stop):
    made, arrays = simulator
    for result in many_runs.sweep(
        made, lanes, arrays, steps=STEPS, width=2, checkpoints=where, stop=stop
    ):
        yield lanes[result.index].name, result


class TestResuming:
    @pytest.mark.thorough
    @pytest.mark.parametrize("calls", [1, 2, 3, 5, 6])
    def test_stopped_anywhere_and_resumed_gives_the_same_bits(
        self, simulator, tmp_path, chunks_of_3, calls
    ):
        """Rounds of four lanes (two devices) and of one; in each, three chunks and a rest."""
        whole = swept(simulator)
        first = stopped(simulator, tmp_path, calls)
        left = [lane for lane in LANES if lane.name not in first]
        told = []
        where = Checkpoints(tmp_path, 0, {"code_digest": "abc"}, lambda run: True)
        rest = swept(simulator, left, checkpoints=where, progress=lambda *it: told.append(it))
        assert len(first) + len(rest) == len(LANES)
        assert_same_bits(whole, first | rest)
        assert sum(steps for steps, _ in told) == len(rest) * STEPS
        assert not tmp_path.exists() or not list(tmp_path.iterdir())

    @pytest.mark.thorough
    def test_some_runs_of_a_checkpoint_go_on_without_the_others(
        self, simulator, tmp_path, chunks_of_3
    ):
        """As after a kill between two results of one round; the others are not lost."""
        whole = swept(simulator)
        stopped(simulator, tmp_path, 2)
        (path, header), *_ = checkpoints.headers(tmp_path)
        assert (header.step, len(header.runs)) == (3, 4)
        where = Checkpoints(tmp_path, 0, {"code_digest": "abc"}, lambda run: run != LANES[0].name)
        rest = swept(simulator, [LANES[3], LANES[1]], checkpoints=where)
        assert_same_bits(whole, rest)
        assert path.exists()  # for run 0

    def test_a_damaged_one_costs_steps_and_no_bits(self, simulator, tmp_path, chunks_of_3):
        whole = swept(simulator)
        stopped(simulator, tmp_path, 3)
        first, second = sorted(tmp_path.iterdir())
        second.write_bytes(second.read_bytes()[:-9])
        where = Checkpoints(tmp_path, 0, {"code_digest": "abc"}, lambda run: False)
        with pytest.warns(RuntimeWarning, match="damaged"):
            assert_same_bits(whole, swept(simulator, checkpoints=where))
        first.unlink()

    def test_one_of_other_code_is_not_taken(self, simulator, tmp_path, chunks_of_3):
        stopped(simulator, tmp_path, 2)
        where = Checkpoints(tmp_path, 0, {"code_digest": "other"}, lambda run: True)
        told = []
        with pytest.warns(RuntimeWarning, match="code_digest was abc, is other now"):
            swept(simulator, checkpoints=where, progress=lambda steps, _: told.append(steps))
        assert told[0] == 4 * 3  # from the start

    @pytest.mark.parametrize(
        "change",
        [
            {"seed": 7},
            {"hyperparameters": Hyperparameters(0.3, Momentum(0.9), None, Momentum())},
            {"hyperparameters": Hyperparameters(0.1, Momentum(), None, Momentum(0.9))},
        ],
        ids=["seed", "rate", "place"],
    )
    def test_one_of_other_numbers_under_the_same_name_is_not_taken(
        self, simulator, tmp_path, chunks_of_3, change
    ):
        stopped(simulator, tmp_path, 2)
        other = [LANES[0]._replace(**change)]
        where = Checkpoints(tmp_path, 0, {"code_digest": "abc"}, lambda run: False)
        with pytest.warns(RuntimeWarning, match="not taken: .*: run 0 had another seed or other h"):
            made = swept(simulator, other, checkpoints=where)
        assert_same_bits(swept(simulator, other), made)

    @pytest.mark.parametrize(
        "change",
        [
            {"rule": aggregators.trimmed_mean},
            {"attack": functools.partial(attacks.gaussian, scale=100.0)},
        ],
        ids=["rule", "option"],
    )
    def test_one_of_another_simulator_is_not_taken(self, simulator, tmp_path, chunks_of_3, change):
        """Its state and columns have the same shapes; only the program tells."""
        stopped(simulator, tmp_path, 2)
        other, where = simulator_of(**change), Checkpoints(tmp_path, 0, {}, lambda run: False)
        with pytest.warns(RuntimeWarning, match="not taken: .*: simulator was .*, is .* now"):
            made = swept(other, LANES[:1], checkpoints=where)
        assert_same_bits(swept(other, LANES[:1]), made)

    def test_one_with_other_data_is_not_taken(self, simulator, tmp_path, chunks_of_3):
        stopped(simulator, tmp_path, 2)
        made, arrays = simulator
        other = made, jax.tree.map(lambda leaf: 2 * leaf, arrays)
        where = Checkpoints(tmp_path, 0, {"code_digest": "abc"}, lambda run: False)
        with pytest.warns(RuntimeWarning, match="not taken: .*: data was .*, is .* now"):
            found = swept(other, LANES[:1], checkpoints=where)
        assert_same_bits(swept(other, LANES[:1]), found)

    def test_one_from_before_numbers_were_kept_is_taken(self, simulator, tmp_path, chunks_of_3):
        stopped(simulator, tmp_path, 2)
        (path, header), *_ = checkpoints.headers(tmp_path)
        assert set(header.numbers) == set(header.runs)
        checkpoint = load(path)
        save(tmp_path, checkpoint._replace(header=header._replace(numbers={})))
        told = []
        where = Checkpoints(tmp_path, 0, {"code_digest": "abc"}, lambda run: False)
        swept(simulator, checkpoints=where, progress=lambda steps, _: told.append(steps))
        assert told[0] == header.step * len(header.runs)

    def test_a_full_disk_warns_and_the_runs_go_on(
        self, simulator, tmp_path, chunks_of_3, full_disk
    ):
        whole = swept(simulator)
        where = Checkpoints(tmp_path, 0, {}, lambda run: False)
        with pytest.warns(RuntimeWarning, match="checkpoint .* can't be written: .*; going on"):
            assert_same_bits(whole, swept(simulator, checkpoints=where))

    def test_written_as_often_as_asked(self, simulator, tmp_path, chunks_of_3, monkeypatch):
        for every, expected in ((0, 6), (3600, 0), (float("inf"), 0)):
            written = []
            monkeypatch.setattr(
                "simbyz.sweeps.resume.save", lambda *arguments, written=written: written.append(1)
            )
            swept(simulator, checkpoints=Checkpoints(tmp_path, every, {}, lambda run: False))
            assert len(written) == expected

    def test_lanes_need_names(self, simulator, tmp_path):
        lanes = [lane._replace(name="") for lane in LANES[:1]]
        with pytest.raises(ValueError, match="a name of its own for each lane"):
            swept(simulator, lanes, checkpoints=of(tmp_path))

    def test_stopped_without_checkpoints(self, simulator, chunks_of_3):
        with pytest.raises(many_runs.Stopped):
            swept(simulator, stop=after(1))
