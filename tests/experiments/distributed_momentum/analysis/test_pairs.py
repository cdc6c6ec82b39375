"""Pairs, counts, intervals and verdicts, against counts by hand and a plain bootstrap."""

import itertools
import math
import shlex

import numpy as np
import pandas as pd
import pytest
import tyro
from hypothesis import given
from hypothesis import strategies as st

from experiments.distributed_momentum.analysis.bootstrap import interval, mean, resamples, share
from experiments.distributed_momentum.analysis.claims import claims, condition
from experiments.distributed_momentum.analysis.extent import (
    diverged_lines,
    done_text,
    in_grid,
    missing_lines,
)
from experiments.distributed_momentum.analysis.pairs import (
    counts,
    expected,
    pairs_of,
    subsets,
    subsets_of,
)
from experiments.distributed_momentum.analysis.run_table import COLUMNS, rows_of
from experiments.distributed_momentum.commands.grid import Options, select
from tests.support import fake_runs

ONE_RATE = {"learning_rate": (0.5,), "nesterov": ("off",)}


def pairs(**columns) -> pd.DataFrame:
    """Pairs with the given accuracies, one seed each unless given."""
    frame = pd.DataFrame(columns)
    frame = frame.assign(loss=frame["ref"] - frame["upd"], gain=frame["wrk"] - frame["upd"])
    return frame if "seed" in frame else frame.assign(seed=range(1, len(frame) + 1))


class TestPairs:
    @pytest.fixture
    def runs(self, tmp_path):
        """median and bulyan, both attacks at f = 12, two seeds; one run is missing, one reduced."""
        options = Options(
            dataset=("mnist",), rule=("median", "bulyan"), f=(12,), seeds=(1, 2), **ONE_RATE
        )
        for number, run in enumerate(select(options)):
            if run.cell.name.endswith("empire-bulyan-f_12-lr_0.5-at_worker") and run.seed == 2:
                continue
            fake_runs.write(tmp_path, run, 0.5 + 0.01 * number)
        return rows_of(tmp_path)

    def test_runs_of_a_seed_are_matched(self, runs):
        found = pairs_of(runs)
        assert len(found) == 2 * 2 * 2 - 1
        by_file = runs.set_index(["name", "seed"])["highest_accuracy"]
        row = found[
            (found["rule"] == "median") & (found["attack"] == "empire") & (found["seed"] == 2)
        ].iloc[0]
        name = "mnist-empire-median-f_12-lr_0.5-at_"
        assert row["ref"] == by_file["mnist-average-n_39-lr_0.5", 2]
        assert row["upd"] == by_file[f"{name}update", 2]
        assert row["wrk"] == by_file[f"{name}worker", 2]
        assert row["gain"] == row["wrk"] - row["upd"]
        assert row["loss"] == row["ref"] - row["upd"]
        # The sampled ratio is the honest one here, and the deviation 3 against 2.
        assert row["by_momentum"] == pytest.approx(0)
        assert row["deviation_by_momentum"] == pytest.approx(math.log(1.5))

    def test_without_the_unattacked_run_there_is_no_pair(self, runs):
        assert pairs_of(runs[runs["attack"] != "none"]).empty

    def test_what_is_missing_is_named_with_its_command(self, runs, tmp_path):
        """The command, as `grid` reads it, asks for just the runs that are missing."""
        alone = runs[(runs["attack"] != "none") & (runs["momentum_at"] != "update")]
        lines = missing_lines(alone, tmp_path)
        assert [line.partition(" attacked runs")[0] for line in lines] == [
            "no run without an attack for 7 of 7",
            "no run with momentum at the update for 7 of 7",
        ]
        asked = []
        for line in lines:
            *start, results = shlex.split(line.splitlines()[1])
            assert (start[-1], results) == ("--results", str(tmp_path))
            asked.append({run.file for run in select(tyro.cli(Options, args=start[4:-1]))})
        present = runs.set_index("file")
        assert asked[0] == set(present.index[present["attack"] == "none"])
        is_update = (present["attack"] != "none") & (present["momentum_at"] == "update")
        assert asked[1] == set(present.index[is_update])

    def test_nothing_is_missing_of_a_whole_part(self, runs):
        (line,) = missing_lines(runs)
        assert line.startswith("no run with momentum at the worker for 1 of 8 attacked runs")
        rest = runs[~((runs["rule"] == "bulyan") & (runs["attack"] == "empire"))]
        assert missing_lines(rest) == []

    def test_reduced_runs_are_no_pairs(self, runs):
        reduced = runs.assign(in_paper=False, unusual="steps_50")
        assert pairs_of(reduced).empty

    def test_published_rules_are_pairs_of_their_own(self, tmp_path):
        options = Options(dataset=("mnist",), rule=("krum",), f=(12,), seeds=(1,), **ONE_RATE)
        for conventions in ("released", "published"):
            for run in select(Options(**{**vars(options), "conventions": conventions})):
                fake_runs.write(tmp_path, run, 0.5)
        found = pairs_of(rows_of(tmp_path))
        assert found["conventions"].value_counts().to_dict() == {"released": 2, "published": 2}

    def test_how_many_there_would_be(self):
        numbers = {subset.label: expected(subset) for subset in subsets()}
        assert numbers["everything"] == 352 * 5
        assert numbers["f = 24"] == 2 * 5 * 8 * 5
        assert numbers["f = 5"] == 2 * 6 * 8 * 5
        assert numbers["mnist, both"] == numbers["cifar, both"] == 880
        assert sum(numbers[f"{name}, f = {f}"] for name in ("mnist",) for f in (24, 12)) == 440

    def test_which_part_it_is(self, runs):
        assert "mnist 17 of 920" in done_text(runs)
        assert "17 of 3680 of the grid, seeds [1, 2]" in done_text(runs)
        labels = [subset.label for subset, _ in subsets_of(pairs_of(runs))]
        assert labels == ["everything", "mnist, both", "mnist", "f = 12", "mnist, f = 12"]


class TestCounts:
    # ref, upd, wrk: gains 0.5, 0.15, 0, -0.01, -0.03, -0.3; losses 0.6, 0.25, 0.15, 0.05, 0, -0.1
    PAIRS = pairs(
        ref=[0.9, 0.9, 0.9, 0.9, 0.9, 0.8],
        upd=[0.3, 0.65, 0.75, 0.85, 0.9, 0.9],
        wrk=[0.8, 0.8, 0.75, 0.84, 0.87, 0.6],
    )

    def test_by_hand(self):
        found = {name: (part.count, part.total) for name, part in counts(self.PAIRS).items()}
        assert found == {
            "effective_0.1": (3, 6), "gain_above_0.1": (2, 3), "positive_0.1": (2, 3),
            "effective_0.2": (2, 6), "gain_above_0.2": (1, 2), "positive_0.2": (2, 2),
            "effective_0.4": (1, 6), "gain_above_0.4": (1, 1), "positive_0.4": (1, 1),
            "lost_0": (3, 6), "lost_0.02": (2, 6), "lost_0.05": (1, 6),
            "below_0.05": (2, 6), "below_0.1": (1, 6),
        }  # fmt: skip

    def test_thresholds_are_strict(self):
        edge = pairs(ref=[0.5, 0.5], upd=[0.25, 0.25], wrk=[0.25, 0.5])
        found = counts(edge.assign(loss=0.2, gain=[0.0, 0.2]))
        assert found["effective_0.2"].count == 0
        assert found["effective_0.1"].count == 2
        assert found["positive_0.1"].count == 1
        assert found["lost_0"].count == 0

    def test_of_nothing(self):
        found = counts(self.PAIRS[:0])
        assert all(part.total == 0 and math.isnan(part.low) for part in found.values())


class TestBootstrap:
    def test_resamples_are_all_there_are(self):
        for seeds, number in ((2, 3), (5, 126)):
            weights, probabilities = resamples(seeds)
            assert len(weights) == number
            assert probabilities.sum() == pytest.approx(1)
            assert (weights.sum(axis=1) == seeds).all()

    def test_against_every_sequence_of_seeds(self):
        generator = np.random.default_rng(0)
        numerators, denominators = generator.integers(0, 9, 4), generator.integers(5, 20, 4)
        values = sorted(
            sum(numerators[i] for i in drawn) / sum(denominators[i] for i in drawn)
            for drawn in itertools.product(range(4), repeat=4)
        )
        low, high = interval(numerators, denominators)
        assert low == pytest.approx(values[math.ceil(0.025 * 256) - 1])
        assert high == pytest.approx(values[math.ceil(0.975 * 256) - 1])

    @given(st.lists(st.integers(0, 20), min_size=5, max_size=5))
    def test_an_interval_holds_the_estimate(self, numerators):
        low, high = interval(np.array(numerators), np.full(5, 20))
        assert low <= np.mean(numerators) / 20 <= high

    def test_seeds_are_drawn_together(self):
        """Many configurations that agree within a seed are no more evidence than one."""
        seeds = pd.Series(np.tile([1, 2, 3, 4, 5], 100))
        one = share(pd.Series([True] * 2 + [False] * 3), pd.Series([True] * 5), seeds[:5])
        many = share(seeds <= 2, seeds > 0, seeds)
        assert (many.low, many.high) == pytest.approx((one.low, one.high))
        assert many.total == 500

    def test_many_seeds_are_drawn_at_random_and_alike_each_time(self):
        numerators = np.arange(12)
        assert interval(numerators, np.ones(12)) == interval(numerators, np.ones(12))
        low, high = interval(numerators, np.ones(12))
        # mean ± 1.96 standard errors
        assert (low, high) == pytest.approx((5.5 - 1.96, 5.5 + 1.96), abs=0.25)

    def test_one_seed_has_no_interval(self):
        assert math.isnan(share(pd.Series([True]), pd.Series([True]), pd.Series([1])).low)

    def test_means_leave_out_what_is_not_finite(self):
        found = mean(pd.Series([1.0, 3.0, math.nan, -math.inf]), pd.Series([1, 2, 3, 4]))
        assert (found.value, found.total) == (2.0, 2)


def verdicts(**columns) -> list[str]:
    frame = pairs(**columns)
    for name in ("by_momentum", "deviation_by_momentum"):
        if name not in frame:
            frame[name] = 0.0
    return [claim.verdict for claim in claims(frame, pd.DataFrame(columns=list(COLUMNS)))]


class TestClaims:
    SEEDS = tuple(range(1, 6)) * 2

    def test_all_as_the_paper_says(self):
        got = verdicts(
            ref=[0.9] * 10, upd=[0.4] * 10, wrk=[0.7] * 10, seed=self.SEEDS,
            by_momentum=[-1.0] * 10, deviation_by_momentum=[0.8] * 10,
        )  # fmt: skip
        assert got[:5] == ["supported"] * 5

    def test_one_counterexample_is_enough(self):
        got = verdicts(
            ref=[0.9] * 10, upd=[0.4] * 10, wrk=[0.7] * 9 + [0.39], seed=self.SEEDS,
            by_momentum=[1.0] * 10, deviation_by_momentum=[-0.8] * 10,
        )  # fmt: skip
        assert got[:5] == [
            "supported", "not supported", "supported", "not supported", "not supported",
        ]  # fmt: skip

    def test_too_close_to_call(self):
        wrk = [0.7, 0.7, 0.7, 0.7, 0.7, 0.5, 0.5, 0.5, 0.7, 0.7]
        got = verdicts(ref=[0.9] * 10, upd=[0.4] * 10, wrk=wrk, seed=self.SEEDS)
        assert got[2:5] == ["not decided by this data"] * 3

    def test_no_data(self):
        got = verdicts(ref=[0.9], upd=[0.89], wrk=[0.9])
        assert got[1:3] == ["not decided by this data"] * 2


def test_how_often_the_condition_held():
    runs = pd.DataFrame(
        {
            "attack": ["little", "little", "empire", "none", "little"],
            "bound": [0.2, 0.2, 0.2, 0.2, math.nan],
            "condition_steps": [0, 3, 0, 50, math.nan],
            "steps": [100] * 5,
            "seed": [1, 2, 3, 1, 1],
        }
    )
    ever, steps = condition(runs)
    assert (ever.count, ever.total) == (1, 3)
    assert (steps.count, steps.total) == (3, 300)


def test_diverged_runs_are_named(tmp_path):
    options = Options(dataset=("mnist",), attack=("none",), f=(24,), seeds=(1, 2), **ONE_RATE)
    first, second = select(options)
    fake_runs.write(tmp_path, first, 0.9)
    fake_runs.write(tmp_path, second, 0.1, diverges_at=3)
    runs = in_grid(rows_of(tmp_path))
    assert diverged_lines(runs) == ["diverged: mnist-average-n_27-lr_0.5, seed 2, at step 3"]
    assert "no run diverged" in diverged_lines(runs[:1])[0]
