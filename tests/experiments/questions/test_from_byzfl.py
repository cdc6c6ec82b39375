"""ByzFL's file: what it asks for, what is refused, and ByzFL's recorded answers of each part."""

from importlib.util import find_spec
from inspect import signature

import jax
import numpy as np
import pytest

from experiments.from_byzfl import parts
from experiments.from_byzfl.__main__ import command
from experiments.from_byzfl.reading import read
from experiments.from_byzfl.runs import runs_of
from experiments.shared.load_byzfl import load_byzfl
from simbyz._arrays.calling import asked
from simbyz.aggregators.base import StatefulRule
from tests.conformance.golden import answer, recorded
from tests.experiments.questions.byzfl_file import changed, written
from tests.support.compiled import quick_jit


def refused(tmp_path, file: dict, capsys) -> list[str]:
    code = command([str(written(tmp_path, file)), "--results", str(tmp_path / "new")])
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and not (tmp_path / "new").exists()
    assert all(line.startswith("error: ") for line in lines)
    return [line.removeprefix("error: ") for line in lines]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("benchmark_config.nb_step", 5, "benchmark_config has no key 'nb_step': did you mean nb"),
        ("model.momentum", 0.9, "model has no key 'momentum': it stands in honest_clients"),
        ("agregator", [], "the file has no key 'agregator': did you mean aggregator?"),
        ("aggregator", [{"name": "TrimmedMean"}], "'TrimmedMean' is not known: did you mean TrM"),
        ("aggregator", [{"name": "trimmed_mean"}], "did you mean TrMean?"),
        ("aggregator", [{"name": "Krum", "parameter": {}}], "no key 'parameter': did you mean p"),
        ("aggregator", [{"name": "GeometricMedian", "parameters": {"T": 2.5}}], "T of aggregato"),
        ("aggregator", [{"name": "GeometricMedian", "parameters": {"mu": 1.0}}], "no parameter"),
        ("aggregator", [], "aggregator must name at least one that is here"),
        ("pre_aggregators", [{"name": "NMN"}], "pre-aggregator 'NMN' is not known: did you mean"),
        ("attack", [{"name": "LabelFlipping"}], "attack LabelFlipping is not here: ByzFL sends"),
        ("attack", [{"name": "NoAttack"}], "attack NoAttack is not here: in ByzFL, too, it goes"),
        ("attack", [{"name": "Mimic", "parameters": {"epsilon": 7}}], "worker must be from 0 to"),
        ("benchmark_config.training_algorithm.name", "FedAvg", "FedAvg is not here: there attac"),
        ("benchmark_config.f", [3], "(TrMean, Clipping, NNM under SignFlipping)"),
        ("benchmark_config.f", [1.5], "benchmark_config.f must be a whole number, got 1.5"),
        ("benchmark_config.f", True, "benchmark_config.f must be a whole number, got True"),
        ("benchmark_config.nb_steps", [5, 6], "nb_steps must be one number"),
        ("benchmark_config.nb_steps", 0, "benchmark_config.nb_steps must be from 1 to"),
        ("benchmark_config.tolerated_f", [0], "no run is left"),
        ("benchmark_config.data_distribution", [{"name": "gamma"}], "did you mean gamma_similar"),
        ("model.name", "ResNet18", "the network 'ResNet18' is not here"),
        ("model.name", "logreg_mnist", "loss NLLLoss of logreg_mnist is no cross-entropy"),
        ("model.dataset_name", "emnist", "the data set 'emnist' is not here: did you mean mnist?"),
        ("model.loss", "BCELoss", "the loss 'BCELoss' is not here"),
        ("model.optimizer_name", "Adam", "optimizer_name 'Adam' is not here: SGD alone is"),
        ("model.milestones", 5, "model.milestones must be a list of steps, got 5"),
        ("honest_clients.momentum", 1.0, "honest_clients.momentum must be from 0 to"),
        ("honest_clients.batch_size", 2000, "batch_size must be from 1 to 1149"),
        ("honest_clients.weight_decay", 1e308, "weight_decay must be within float32, from 1e-37"),
        ("model.learning_rate", 10**400, "model.learning_rate must be at most 2^31 - 1"),
        ("benchmark_config.nb_steps", 10**400, "nb_steps must be from 1 to 2147483647, got 1000"),
        ("benchmark_config.data_distribution", {"name": ["x"]}, "must be an object with a name"),
        ("attack", {"name": ["SignFlipping"]}, "entry of attack must be an object with a name"),
        ("pre_aggregators", True, "pre_aggregators must be an object with a name, got True"),
        ("pre_aggregators", {"name": "NNM", "parameters": 2}, "parameters must be an object"),
    ],
)  # fmt: skip
def test_refusals(path, value, message, tmp_path, capsys):
    (line, *_) = refused(tmp_path, changed(path, value), capsys)
    assert message in line


def test_all_that_is_wrong_is_told_at_once_and_may_be_left_out(tmp_path, capsys):
    file = changed("attack", [{"name": "LabelFlipping"}, {"name": "SignFlipping"}, {"name": "X"}])
    file["aggregator"] += [{"name": "Krumm"}]
    lines = refused(tmp_path, file, capsys)
    assert len(lines) == 3
    benchmark = read(written(tmp_path, file), leave_out=True)
    assert set(benchmark.left_out) == set(lines)
    assert [attack.label for attack in benchmark.attacks] == ["sign_flipping"]
    file["attack"] = [{"name": "X"}]
    with pytest.raises(ValueError, match="attack must name at least one that is here"):
        read(written(tmp_path, file), leave_out=True)


def test_a_data_set_and_a_network_that_are_not_here_are_both_named(tmp_path, capsys):
    file = changed("model.dataset_name", "emnist")
    file["model"]["name"] = "ResNet18"
    first, second = refused(tmp_path, file, capsys)
    assert "the data set 'emnist'" in first and "the network 'ResNet18'" in second


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON: maximum recursion depth"),
        ("[]", "one object"),
        ('{"model": {}, "model": {}}', "stands twice"),
    ],
)
def test_no_such_file(text, message, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read(path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read(tmp_path / "other.json")


def test_what_a_file_asks_for(tmp_path):
    file = changed("pre_aggregators", [[], [{"name": "Clipping", "parameters": {"c": 3.0}}]])
    file["aggregator"] = {"name": "GeometricMedian", "parameters": {"nu": [0.1, 0.2], "T": 3}}
    file["benchmark_config"] |= {"f": [0, 1], "tolerated_f": [1, 2], "nb_honest_clients": 9}
    file["benchmark_config"]["set_honest_clients_as_clients"] = True
    benchmark = read(written(tmp_path, file))
    labels = ["geometric_median", "geometric_median:nu=0.2"]
    assert [rule.label for rule in benchmark.rules] == labels
    assert [[pre.label for pre in some] for some in benchmark.pres] == [[], ["clipping:c=3"]]
    assert benchmark.seeds == (3, 4) and benchmark.heterogeneity[1][1] == "gamma:0"
    assert benchmark.notes[-1].startswith("without effect here: device, nb_labels")
    runs = runs_of(benchmark)
    assert len(runs) == len({run.file for run in runs}) == 2 * 2 * 2 * 2 * 2 * 2 * 2
    assert {(run.honest, run.f, run.tolerated) for run in runs} == {
        (9, 0, 1), (9, 0, 2), (8, 1, 1), (8, 1, 2)
    }  # fmt: skip
    assert {(run.config.n, run.config.byzantine) for run in runs} == {(9, 0), (9, 1)}


def test_numbers_that_differ_in_the_seventh_digit_are_runs_of_their_own(tmp_path):
    file = changed("attack", {"name": "Gaussian", "parameters": {"sigma": [2.0, 2.0000001]}})
    levels = [0.5, 0.50000001]
    scheme = {"name": "gamma_similarity_niid", "distribution_parameter": levels}
    file["benchmark_config"]["data_distribution"] = scheme
    benchmark = read(written(tmp_path, file))
    assert [float(level.partition(":")[2]) for _, level in benchmark.heterogeneity] == levels
    runs = runs_of(benchmark)
    assert len({run.file for run in runs}) == len(runs) == 2 * 2 * 2 * 2


def test_digits_in_place_of_a_data_set_that_is_not_there(tmp_path, capsys, monkeypatch):
    file = changed("model.dataset_name", "mnist")
    file["model"]["name"] = "cnn_mnist"
    path = written(tmp_path, file)
    benchmark = read(path, dataset="digits")
    assert (benchmark.dataset, benchmark.network) == ("digits", "fc_mnist")
    assert benchmark.notes[0] == "digits have 8 × 8 pixels: fc_mnist takes the place of cnn_mnist"

    def missing(*_, **__):
        raise FileNotFoundError("mnist can't be read")

    monkeypatch.setattr("experiments.from_byzfl.study.load", missing)
    (line,) = refused(tmp_path, file, capsys)
    assert line == "mnist can't be read: --dataset digits tries the file on them"


def recorded_cases():
    """Of each part, the last parameters recorded on seven rows, two of them tolerated, where the
    definition determines the answer: (parts of its kind, parameters, entry) by name.
    """
    kinds = {"gar": parts.RULES, "attack": parts.ATTACKS, "preagg": parts.PREAGGREGATORS}
    found = {}
    for entry in recorded()[0]:
        drawn = entry["name"] in ("CAF", "SMEA", "Gaussian", "LabelFlipping", "Bucketing")
        if not entry["library"].startswith("byzfl") or entry["kind"] not in kinds or drawn:
            continue
        params = {key: value for key, value in entry["params"].items() if key != "honests"}
        if entry["input"] == "in/g7x3" and params.pop("f", 2) == 2:
            found[entry["name"]] = kinds[entry["kind"]], params, entry
    return found


@pytest.mark.slower
def test_recorded_answers_of_byzfl():
    """Each part, by ByzFL's name and parameters, gives what ByzFL gave."""
    cases, key, f = recorded_cases(), jax.random.key(0), 2
    for name, (known, params, entry) in cases.items():
        rows = recorded()[1][entry["input"]].astype(np.float32)
        part = parts.part("part", known, name, params)
        if known is parts.ATTACKS:
            rows = rows[: entry["params"]["honests"]]
            attack = parts.attack_of(part, parts.defence(TRMEAN, ()), 2)
            got = quick_jit(attack, static_argnums=2)(key, rows, 2)[1]
        elif known is parts.PREAGGREGATORS:
            mixed = parts.PREAGGREGATORS[name].make(**part.options)
            got = quick_jit(mixed, static_argnums=1)(rows, f)
        else:
            rule = parts.defence(part, ())
            rule = rule.aggregate if isinstance(rule, StatefulRule) else rule
            state = asked(rule, {"state": np.zeros(3, np.float32)})
            got = quick_jit(rule, static_argnums=1)(rows, f, **state)
        np.testing.assert_allclose(got, answer(entry), rtol=1e-5, atol=1e-5, err_msg=str(entry))
    drawn = {"CAF", "SMEA", "Gaussian", "Bucketing"}
    assert {*cases} | drawn == {*parts.RULES, *parts.PREAGGREGATORS, *parts.ATTACKS} - {
        "Optimal_ALittleIsEnough", "Optimal_InnerProductManipulation"
    }  # fmt: skip


@pytest.mark.thorough
@pytest.mark.skipif(
    not (find_spec("byzfl") and find_spec("torch")), reason="needs ByzFL, pip install '.[peers]'"
)
def test_rules_and_what_goes_before_beside_byzfl_itself():
    """Of the same rows, each rule that draws nothing, alone and behind what goes before it."""
    byzfl, torch = load_byzfl()
    f, rows = 2, np.random.default_rng(0).normal(size=(11, 6)).astype(np.float32)
    pres = {"NNM": {"f": f}, "Clipping": {"c": 1.5}, "ARC": {"f": f}}
    for name in sorted({*parts.RULES} - {"CAF", "SMEA", "CenteredClipping"}):
        rule = parts.part("aggregator", parts.RULES, name, {})
        theirs = getattr(byzfl, name)
        takes_f = "f" in signature(theirs.__init__).parameters
        for pre, params in [(None, {}), *pres.items()]:
            if (name, pre) == ("MDA", "NNM"):  # equal rows: several subsets have the least diameter
                continue
            own = {key: value for key, value in params.items() if key != "f"}
            before = () if pre is None else (parts.part("pre", parts.PREAGGREGATORS, pre, own),)
            stack = torch.tensor(rows)
            stack = stack if pre is None else getattr(byzfl, pre)(**params)(stack)
            expected = theirs(**({"f": f} if takes_f else {}))(stack)
            got = parts.defence(rule, before)(rows, f)
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5, err_msg=(name, pre))


TRMEAN = parts.part("aggregator", parts.RULES, "TrMean", {})


@pytest.mark.slower
def test_recorded_searches_of_byzfl():
    """The searched attacks, through a rule and behind mixing."""
    found = set()
    for entry in recorded()[0]:
        params = entry["params"]
        if entry["kind"] != "attack-search" or not entry["library"].startswith("byzfl"):
            continue
        if entry["input"] != "in/g7x3" or params["agg"] != "TrMean" or entry["name"] in found:
            continue
        found.add(entry["name"])
        pres = tuple(
            parts.part("pre", parts.PREAGGREGATORS, name, {}) for name in params["pre_agg"]
        )
        attack = parts.part("attack", parts.ATTACKS, entry["name"], {"evals": params["evals"]})
        function = parts.attack_of(attack, parts.defence(TRMEAN, pres), params["f"])
        honest = recorded()[1][entry["input"]][: params["honests"]].astype(np.float32)
        got = jax.jit(function, static_argnums=2)(jax.random.key(0), honest, params["f"])
        np.testing.assert_allclose(got[0], answer(entry), rtol=1e-4, atol=1e-4)
    assert len(found) == 2


def test_a_searched_attack_against_a_rule_with_memory_is_refused(tmp_path, capsys):
    file = changed("attack", [{"name": "Optimal_ALittleIsEnough"}])
    file["aggregator"] = [{"name": "CenteredClipping"}]
    (line,) = refused(tmp_path, file, capsys)
    assert line.startswith("Optimal_ALittleIsEnough against CenteredClipping is not here")
