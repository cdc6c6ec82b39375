"""Wrong command lines, one a row: a line that says what is wrong, exit code 2, nothing written."""

import importlib
import importlib.util

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.__main__ import command as list_experiments
from experiments.distributed_momentum.__main__ import command
from experiments.distributed_momentum.commands import compare as comparison
from experiments.distributed_momentum.commands import grid as grid_command
from tests.support.printed import assert_refused

# (experiment, options, what the error says)
COMMANDS = [
    ("distributed_momentum", "--checkpoint-every -1", "at least 0 seconds, inf for none, got -1.0"),
    ("distributed_momentum", "grid --checkpoint-every nan", "inf for none, got nan"),
    ("distributed_momentum", "unfinished", "there is no results folder"),
    ("distributed_momentum", "--attack", "attack must name at least one"),
    ("distributed_momentum", "--nesterov", "nesterov must name at least one"),
    ("speed", "rules --n -5 --d 4 --f 1", "n and d must be at least 1 and f at least 0, got n=-5"),
    ("speed", "rules --released nowhere", "there is no folder nowhere of the released program"),
    ("speed", "grid --dataset", "dataset must name at least one"),
    (
        "distributed_momentum",
        "--n 2147483648",
        "n must be at most 2^31 - 1 = 2147483647, got 2147483648",
    ),
    ("distributed_momentum", "--seeds 1 2 1", "seeds must differ from each other, got [1, 2, 1]"),
    (
        "distributed_momentum",
        "grid --f 99999999999",
        "f must be at most 2^31 - 1 = 2147483647, got 99999999999",
    ),
    (
        "distributed_momentum",
        "grid --skip-recorded --table no.parquet",
        "there is no table no.parquet to skip runs of",
    ),
    ("distributed_momentum", "report --again no.parquet", "there is no table no.parquet for --ag"),
    ("distributed_momentum", "report --report no/REPORT.md", "there is no folder no for --report"),
    ("attack_strength", "--n 5 --f 4", "f must be from 1 to n - 2 = 3, got 4"),
    ("attack_strength", "--rule", "rule"),
    ("attack_strength", "--n 0", "n"),
    ("attack_strength", "--iterations 3000000000", "iterations must be at most 2^31 - 1"),
    ("distributed_momentum", "grid --coordinator here:1", "--process-id go together, got"),
    (
        "distributed_momentum",
        "grid --coordinator here --num-processes 2 --process-id 0",
        "--coordinator must be HOST:PORT, such as 10.0.0.1:1234, got 'here'",
    ),
    ("error_floor", "--n 3 --f 2", "f must be from 1 to below n / 2 = 1.5"),
    ("error_floor", "--zeta", "zeta must name at least one"),
    ("error_floor", "--steps 3000000000", "steps must be at most 2^31 - 1"),
    (
        "distributed_momentum",
        "appendix --checkpoint-every -1",
        "at least 0 seconds, inf for none, got -1.0",
    ),
    ("scale", "sharded --devices 0", "devices must be from 1 to 4096, got 0"),
    ("scale", "sharded --devices", "devices must name at least one"),
    ("scale", "sharded --d 0", "d must be at least 1, got 0"),
    ("scale", "sharded --d 3000000000", "d must be at most 2^31 - 1"),
    ("scale", "sharded --n 5 --f 6", "f must be from 0 to n - 1 = 4, got 6"),
    ("scale", "sharded --n 100", "got 488 by default: give --f too"),
    ("scale", "sharded --n 0", "n must be at least 2, got 0"),
    ("scale", "sharded --rule median median", "rule must differ from each other"),
    ("distributed_momentum", "--seeds 1 --seeds 2", "--seeds was given twice"),
    ("distributed_momentum", "--certify --no-certify", "--certify was given twice"),
    ("distributed_momentum", "--batch-size 2 --batch_size=3", "--batch-size was given twice"),
    ("distributed_momentum", "--data-dir=", "--data-dir was given an empty value"),
    (
        "distributed_momentum",
        f"--table {'a' * 300}",
        "--table was given a name too long",
    ),
    # As Python gives the byte 255 of a command line.
    ("distributed_momentum", "--table a\udcff", "--table was given a name that is not UTF-8"),
    ("distributed_momentum", "--rule median median", "rule must differ from each other, got [med"),
    ("distributed_momentum", "--learning-rate 0.1 0.10", "learning_rate must differ from each"),
    ("distributed_momentum", "--rule krum --f 24", "krum needs n >= 2f + 3, got n=25, f=24"),
    ("distributed_momentum", "--rule trmean --f 13", "trmean needs n >= 2f + 1, got n=25, f=13"),
    ("distributed_momentum", "--n 0", "n must be at least 1, got 0"),
    ("distributed_momentum", "--n 1", "got 11 by default: give --f too, or a larger --n"),
    ("distributed_momentum", "--n 1000000", "GB of memory, of which there are"),
    ("distributed_momentum", "grid --dataset mnist mnist", "dataset must differ from each other"),
    ("distributed_momentum", "appendix --f 4 4", "f must differ from each other, got [4, 4]"),
    ("distributed_momentum", "grid --rule bulyan --f 24 --dry-run", "no configuration of the grid"),
    ("distributed_momentum", "appendix --rule bulyan --f 4", "the appendix has no bulyan with --f"),
    ("attack_strength", "--n 1", "n must be at least 5, so that a rule bears f = 1, got 1"),
    ("attack_strength", "--n 2 --f 1", "n must be at least 3"),
    ("error_floor", "--n 0", "n must be at least 3, of whom one may be Byzantine, got 0"),
    ("error_floor", "--n 7", "got 6 by default: give --f too"),
    ("error_floor", "--n 1000000 --f 1", "n = 1000000 takes at least 4,000 GB of memory"),
    ("worst_case", "--n 1", "n must be at least 3, of whom one may be Byzantine, got 1"),
    ("worst_case", "--n 5", "got 3 by default: give --f too"),
    ("defence_matrix", "--pre nnm nnm", "pre must differ from each other, got [nnm, nnm]"),
    ("defence_matrix", "--heterogeneity gamma:0.5 gamma:0.50", "heterogeneity must differ, got"),
    ("defence_matrix", "--honest 1000000", "honest = 1000000 takes at least 4,000 GB of memory"),
    (
        "defence_matrix",
        "--rule fltrust",
        "fltrust judges by examples that the server holds: give --root-examples",
    ),
    ("defence_matrix", "--root-examples 10", "root_examples acts on none of the rules"),
    ("defence_matrix", "--rule zeno --root-examples 5000", "root_examples must be at most 1150"),
    ("defence_matrix", "--rule zeno --root-examples -1", "root_examples must be at least 0"),
    ("misjudged_f", "--n 0", "n must be at least 3, of whom one may be Byzantine, got 0"),
    ("misjudged_f", "--n 3", "f and tolerated must together be below n - 1 = 2"),
    ("misjudged_f", "--tolerated -2", "tolerated must be at least 0, got -2"),
    ("misjudged_f", "--data extreme --problem quadratic", "minority or spread for quadratic"),
    ("misjudged_f", "--data gamma:2 --problem digits", "gamma must be from 0 to 1, got 2.0"),
    ("misjudged_f", "--rule krum --n 8 --f 1 --tolerated 3", "krum needs n >= 2f + 3"),
    ("momentum_family", "--participation 0.01", "must leave some of n = 20, got 0.01"),
    ("momentum_family", "--participation nan", "must be above 0 and at most 1, got nan"),
    (
        "momentum_family",
        "--algorithm sgd --baseline dm21",
        "baseline must be one of the algorithms",
    ),
    ("momentum_family", "--kept 0", "kept must be above 0 and at most 1, got 0.0"),
    ("momentum_family", "--bound nan", "bound must be above 0, got nan"),
    ("momentum_family", "--f 10", "f must be from 1 to below n / 2 = 10, got 10"),
    ("momentum_family", "--validation 1", "validation must be a share between 0 and 1"),
    ("speed", "rules --n 5 --d 4 --f 5", "f must be below n, of whom one at least is honest"),
    ("speed", "rules --n 5 --d 4 --f 2 --rule krum", "krum can't be timed: n=5, f=2 is refused"),
    ("speed", "rules --n 1000000 --d 4 --f 1", "n = 1000000, d = 4 takes at least 4,000 GB"),
    ("distributed_momentum", "appendix --seeds", "seeds must name at least one"),
    ("distributed_momentum", "appendix --momentum-at", "momentum_at must name at least one"),
    (
        "distributed_momentum",
        "appendix --rule bulyan --f 6",
        "the appendix has --f 4 and --f 2, got 6",
    ),
]


@pytest.mark.parametrize(("experiment", "options", "message"), COMMANDS)
def test_command_lines(experiment, options, message, tmp_path, capsys):
    package = importlib.util.find_spec(f"experiments.{experiment}").submodule_search_locations
    module = importlib.import_module(f"experiments.{experiment}" + ".__main__" * bool(package))
    assert_refused(module.command, options, message, tmp_path, capsys)


@pytest.mark.parametrize(
    ("experiment", "arguments", "option"),
    [
        ("distributed_momentum", ["--results", ""], "--results"),
        ("error_floor", ["--results="], "--results"),
        ("report", [""], "the command"),
    ],
)
def test_an_empty_path_is_not_the_folder_one_stands_in(experiment, arguments, option, capsys):
    package = importlib.util.find_spec(f"experiments.{experiment}").submodule_search_locations
    module = importlib.import_module(f"experiments.{experiment}" + ".__main__" * bool(package))
    assert module.command(arguments) == 2
    told = capsys.readouterr().err
    assert told == f"error: {option} was given an empty value: leave it out, or give one\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["error_floor", "--n", "5"],
            "own: python -m experiments.error_floor --n 5",
        ),
        (["error-floor"], "there is none of the name 'error-floor': it has attack_strength, "),
    ],
)
def test_an_experiment_as_an_argument(arguments, told, capsys):
    assert list_experiments(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and told in error and error.count("\n") == 1


@pytest.mark.parametrize("name", ["plot", "collect", "unfinished"])
def test_no_folder_at_all(name, capsys):
    assert command([name, "--results"]) == 2
    assert capsys.readouterr().err == "error: results must name at least one\n"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (dict(rule="median"), r"rule must be a tuple, such as \('median',\), got 'median'"),
        (dict(f=3), r"f must be a tuple, such as \(3,\), got 3"),
        (dict(seeds=range(3)), r"seeds must be a tuple, such as tuple\(range\(0, 3\)\), got range"),
        (dict(rule=("caf",)), "rule must be krum or median .* got 'caf'$"),
        (dict(rule=("mean",)), "rule must be .* got 'mean', which is called 'average' here$"),
        (dict(certify="off"), "certify must be bool, got 'off'"),
        (dict(steps=20.0), "steps must be int, got 20.0"),
        (dict(n=True), "n must be int, got True"),
        (dict(results=3), "results must be Path, got 3"),
        (dict(seeds=(1, 1)), "seeds must differ from each other"),
    ],
    ids=str,
)
def test_options_of_a_notebook(given, told):
    with pytest.raises(ValueError, match=told):
        comparison.prepare(comparison.Options(**given))


# What a hand or a script may well put on a command line.
TOKENS = st.sampled_from(
    [
        "",
        "-",
        "0",
        "-1",
        "1e999",
        "nan",
        "24",
        "0.5",
        "9" * 30,
        "krum",
        "on",
        "little",
        "mnist",
        "ε",
    ]
)
OPTIONS = {
    comparison: [field.replace("_", "-") for field in comparison.Options.__dataclass_fields__],
    grid_command: [field.replace("_", "-") for field in grid_command.Options.__dataclass_fields__],
}


@pytest.mark.thorough
@pytest.mark.parametrize("module", OPTIONS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_any_command_line_is_run_or_refused(module, tmp_path, monkeypatch, capsys):
    """Nothing but exit code 2, or the work: here none is done."""
    ran = []
    word = [] if module is comparison else ["grid"]
    monkeypatch.setattr(comparison, "compute", lambda *_, **__: ran.append(1) or exit(0))
    monkeypatch.setattr(grid_command, "carry_out", lambda *_, **__: ran.append(1) or 0)
    names = st.sampled_from([*OPTIONS[module], "colour"])

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(names, st.lists(TOKENS, max_size=3)), max_size=3))
    def check(options):
        arguments = [word for name, values in options for word in (f"--{name}", *values)]
        if not any(name in ("results", "data-dir", "table", "dataset") for name, _ in options):
            arguments += ["--results", str(tmp_path)]
            before = len(ran)
            try:
                code = command([*word, *arguments])
            except SystemExit as exit_:
                code = exit_.code
            assert code == (0 if len(ran) > before else 2)
            assert "Traceback" not in capsys.readouterr().err

    check()
