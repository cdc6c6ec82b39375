"""Mislabelled data against made-up gradients: whether the mean does better than robust rules.

Peng, Li and Ling, Mean aggregator is more robust than robust aggregators under label poisoning
attacks on distributed heterogeneous data, JMLR 26(27), 2025: where data differ between workers and
Byzantine ones do no more than mislabel theirs, a rule that leaves rows out loses more than it
saves.
"""

import pandas as pd

from experiments.benchmark.answers import ranking
from simbyz.attacks import DATA_ATTACKS

AVERAGE = "average"


def against_average(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a threat, f, heterogeneity and momentum: how the rules do beside the average.

    Under each threat a rule has the learning rate that is best for it alone, see `ranking.chosen`.
    `better` and `worse` count the rules, of `rules`, that are so beyond the noise of the seeds;
    `average` and `best` are test accuracies under the worst attack of the threat, `rule` the best
    one's name. Rules behind a pre-aggregator are left out.
    """
    alone = runs[runs["pre"] == ranking.NONE]
    labels = alone["attack"].isin(list(DATA_ATTACKS))
    rows = []
    for threat, part in (("labels", alone[labels]), ("gradients", alone[~labels])):
        cells = ranking.by_seed(part)
        groups: dict[tuple, dict[str, pd.Series]] = {}
        for (rule, _, *cell), accuracies in cells.items():
            groups.setdefault(tuple(cell), {})[rule] = accuracies
        for setting, by_rule in groups.items():
            if AVERAGE not in by_rule:
                continue
            average = by_rule.pop(AVERAGE)
            gains = [ranking.difference(one, average) for one in by_rule.values()]
            best = max(by_rule, key=lambda rule: by_rule[rule].mean())
            rows.append(
                {
                    "threat": threat,
                    **dict(zip(("f", "heterogeneity", "momentum"), setting, strict=True)),
                    "rules": len(gains),
                    "better": sum(gain.low > 0 for gain in gains),
                    "worse": sum(gain.high < 0 for gain in gains),
                    "average": average.mean(),
                    "rule": best,
                    "best": by_rule[best].mean(),
                }
            )
    return pd.DataFrame(rows)
