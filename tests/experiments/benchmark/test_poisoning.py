"""The average beside the rules, under flipped labels and under made-up gradients."""

import itertools

import pandas as pd
import pytest

from experiments.benchmark.answers.poisoning import against_average
from experiments.benchmark.page import poisoned

# Test accuracies of three seeds at two learning rates, by rule and attack. The validation accuracy
# prefers the second rate under flipped labels, the first one under the others.
ACCURACIES = {
    ("average", "label_flipping"): ((0.9, 0.9, 0.9), (0.80, 0.81, 0.82)),
    ("average", "sign_flipping"): ((0.3, 0.3, 0.3), (0.99, 0.99, 0.99)),
    ("average", "none"): ((0.95, 0.95, 0.95), (0.95, 0.95, 0.95)),
    ("above", "label_flipping"): ((0.1, 0.1, 0.1), (0.85, 0.86, 0.87)),
    ("above", "sign_flipping"): ((0.7, 0.7, 0.7), (0.99, 0.99, 0.99)),
    ("above", "none"): ((0.95, 0.95, 0.95), (0.95, 0.95, 0.95)),
    ("below", "label_flipping"): ((0.9, 0.9, 0.9), (0.70, 0.71, 0.72)),
    ("below", "sign_flipping"): ((0.2, 0.4, 0.3), (0.99, 0.99, 0.99)),
    ("below", "none"): ((0.95, 0.95, 0.95), (0.95, 0.95, 0.95)),
    ("beside", "label_flipping"): ((0.9, 0.9, 0.9), (0.75, 0.83, 0.86)),
    ("beside", "sign_flipping"): ((0.3, 0.3, 0.3), (0.99, 0.99, 0.99)),
    ("beside", "none"): ((0.95, 0.95, 0.95), (0.25, 0.25, 0.25)),
}


def runs(pre="none"):
    return pd.DataFrame(
        {"rule": rule, "pre": pre, "f": 2, "heterogeneity": "iid", "momentum": 0.9}
        | {"attack": attack, "learning_rate": rate, "seed": seed, "n": 20, "diverged": False}
        | {"validation_accuracy": (0.5, 0.6)[(rate == 0.5) == (attack == "label_flipping")]}
        | {"test_accuracy": accuracy}
        for (rule, attack), by_rate in ACCURACIES.items()
        for rate, accuracies in zip((0.1, 0.5), by_rate, strict=True)
        for seed, accuracy in zip(itertools.count(1), accuracies)
    )


def test_each_threat_alone():
    mixed = runs("nnm").assign(test_accuracy=1.0)
    labels, gradients = against_average(pd.concat([runs(), mixed])).to_dict("records")
    same = {"f": 2, "heterogeneity": "iid", "momentum": 0.9, "rules": 3}
    assert {key: labels[key] for key in same} == {key: gradients[key] for key in same} == same
    assert (labels["threat"], labels["better"], labels["worse"]) == ("labels", 1, 1)
    assert labels["rule"] == gradients["rule"] == "above"
    assert [labels["average"], labels["best"]] == pytest.approx([0.81, 0.86])
    assert (gradients["threat"], gradients["better"], gradients["worse"]) == ("gradients", 1, 0)
    assert [gradients["average"], gradients["best"]] == pytest.approx([0.3, 0.7])


def test_without_the_average_nothing_is_said():
    assert against_average(runs().query("rule != 'average'")).empty


def test_the_verdict_is_of_all_settings():
    def verdict(better, worse):
        return poisoned.verdict(pd.DataFrame({"better": better, "worse": worse}))

    assert verdict([0, 0], [3, 0]) == "the claim holds on these data."
    assert verdict([4, 2], [3, 1]) == "the claim does not hold on these data."
    assert verdict([4, 0], [3, 1]).startswith("the claim holds of some")
