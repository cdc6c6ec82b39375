"""The report in Markdown: what was run, what it says, where it departs from the paper."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from experiments.distributed_momentum.analysis.bootstrap import Share
from experiments.distributed_momentum.analysis.claims import claims, percent
from experiments.distributed_momentum.analysis.extent import (
    condition_lines,
    diverged_lines,
    in_grid,
    ratio_lines,
)
from experiments.distributed_momentum.analysis.pairs import (
    EFFECTIVE,
    LOST,
    SEEDS,
    STAYS_BELOW,
    appendix,
    counts,
    expected,
    expected_runs,
    pairs_of,
    subsets,
    subsets_of,
)
from experiments.distributed_momentum.figures.comparison import DIVERGED
from experiments.distributed_momentum.grid.cells import paper_cells
from experiments.distributed_momentum.grid.rules import DIVERGENT, PAPER_RULES
from experiments.distributed_momentum.grid.settings import PAPER
from experiments.distributed_momentum.write_up import again as computed_again
from experiments.distributed_momentum.write_up.prose import DEVIATIONS, HEAD, METHOD
from experiments.shared.formats import in_markdown
from experiments.shared.mixing import kind_lines

LIMIT = 0.2  # of the accuracy that an attack costs, in the paper's claim
NEAR = 0.05  # accuracies this close to guessing are taken for it
CONFIGURATION = ["dataset", "f", "rule", "attack", "learning_rate", "nesterov"]
TITLES = {"ref": "unattacked", "upd": "at update", "wrk": "at worker", "gain": "gain"}


def write_up(
    runs: pd.DataFrame,
    pictures: Mapping[str, Path],
    folder: Path,
    again: pd.DataFrame | None = None,
) -> str:
    """The report on these runs, and on those of them that were computed `again`, with pictures by
    what they show; links are relative to the folder in which it will lie.
    """
    grid, pairs = in_grid(runs), pairs_of(runs)
    released = pairs[pairs["conventions"] == "released"]
    parts = [HEAD, _extent(runs, grid), METHOD, _claims(released, grid), _without_gain(released)]
    parts += [_counts(released), _ratios(released, runs), _published(pairs, runs), _beside(runs)]
    parts.append("" if again is None else computed_again.section(runs, again))
    parts += [_picture(title, path, folder) for title, path in pictures.items()]
    parts += [DEVIATIONS, _per_configuration(released)]
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def _extent(runs: pd.DataFrame, grid: pd.DataFrame) -> str:
    rows = []
    for name in PAPER:
        some = grid[grid["dataset"] == name]
        cells = some["name"].nunique()
        rows.append(
            {
                "data set": name,
                "runs": f"{len(some)} of {expected_runs(name)}",
                "configurations begun": f"{cells} of {len(paper_cells(name))}",
                "steps": ", ".join(map(str, sorted(some["steps"].unique()))) or "-",
                "device": ", ".join(sorted(some["device_kind"].unique())) or "-",
            }
        )
    text = "## What has been run\n\n" + in_markdown(rows) + _notices(grid)
    text += "".join(f"\nNote: {line}\n" for line in kind_lines(runs))
    text += "\nRuns done of each data set, learning rate and Nesterov setting, by rule:\n\n"
    text += in_markdown(_done_by_rule(grid))
    return text + "\n" + "\n".join(f"- {line}" for line in diverged_lines(grid)) + "\n"


def _done_by_rule(grid: pd.DataFrame) -> list[dict[str, str]]:
    """How many runs there are, of how many, so that what is missing shows."""

    def key(dataset: str, rate: float, nesterov: bool) -> str:
        return f"{dataset}, {rate:g}" + ", Nesterov" * nesterov

    wanted = Counter(
        (key(cell.dataset, cell.learning_rate, cell.nesterov), cell.rule)
        for name in PAPER
        for cell in paper_cells(name)
    )
    found = Counter(
        (key(row["dataset"], row["learning_rate"], row["nesterov"]), row["rule"])
        for row in grid.to_dict("records")
        if row["seed"] <= SEEDS
    )
    return [
        {"setting": setting}
        | {
            rule: f"{found[setting, rule]} of {SEEDS * wanted[setting, rule]}"
            for rule in ("average", *PAPER_RULES)
        }
        for setting in dict.fromkeys(setting for setting, _ in wanted)
    ]


def _claims(pairs: pd.DataFrame, grid: pd.DataFrame) -> str:
    rows = [
        {"sentence": claim.sentence, "verdict": f"**{claim.verdict}**", "numbers": claim.evidence}
        for claim in claims(pairs, grid)
    ]
    total = expected(subsets()[0])
    head = f"## The claim, sentence by sentence\n\nOn {len(pairs)} of the grid's {total} pairs.\n\n"
    missing = [name for name in PAPER if name not in set(pairs["dataset"])]
    note = f"\nThe paper's own counts include {', '.join(missing)}, of which no pair is in here.\n"
    return head + in_markdown(rows) + note * bool(missing)


def _without_gain(pairs: pd.DataFrame) -> str:
    """The pairs that contradict the claim, by configuration."""
    effective = pairs[pairs["ref"] - pairs["upd"] > LIMIT]
    against = effective[effective["gain"] <= 0]
    if against.empty:
        return ""
    totals = effective.groupby(CONFIGURATION).size()
    rows = []
    for which, some in against.groupby(CONFIGURATION):
        row = {"configuration": _title(*which), "pairs": f"{len(some)} of {totals[which]}"}
        rows.append(row | _accuracies(some, ("ref", "upd", "wrk")))
    guess = 1 / against["dataset"].map(lambda name: 100 if name == "cifar100" else 10)
    lost = int((against[["upd", "wrk"]].max(axis=1) < guess + NEAR).sum())
    return (
        f"## Attacks that cost more than {100 * LIMIT:g} % and are not mended\n\n"
        "All pairs that gain nothing: highest accuracy in %, mean ± deviation over these pairs.\n\n"
        + in_markdown(rows)
        + f"\n{lost} of these {len(against)} pairs stay within {100 * NEAR:g} points of guessing "
        "at both places: the attack stops training altogether, and their gain is noise.\n"
    )


def _counts(pairs: pd.DataFrame) -> str:
    gains, losses = [], []
    for subset, part in subsets_of(pairs):
        found = counts(part)
        first = {"subset": subset.label, "pairs": f"{len(part)} of {expected(subset)}"}
        gains.append(
            first
            | {f"costs > {100 * x:g} %": _cell(found[f"effective_{x:g}"]) for x in EFFECTIVE}
            | {
                f"gain > {100 * x:g} % of those": _cell(found[f"gain_above_{x:g}"])
                for x in EFFECTIVE
            }
            | {"gain > 0 of those at 20 %": _cell(found["positive_0.2"])}
        )
        losses.append(
            first
            | {f"lost > {100 * x:g} %": _cell(found[f"lost_{x:g}"]) for x in LOST}
            | {
                f"lost, > {100 * x:g} % below unattacked": _cell(found[f"below_{x:g}"])
                for x in STAYS_BELOW
            }
        )
    if not gains:
        return ""
    return (
        "## Effective attacks and gains\n\n"
        "*Of those*: of the pairs where the attack costs as much.\n\n"
        + in_markdown(gains)
        + "\n## Losses\n\nMomentum at the workers did worse than at the update.\n\n"
        + in_markdown(losses)
    )


def _ratios(pairs: pd.DataFrame, runs: pd.DataFrame) -> str:
    lines = ratio_lines(pairs) + condition_lines(runs)
    if not lines:
        return ""
    head = (
        "## Variance-norm ratio\n\nOf what honest workers send. The condition: deviation / norm "
        "below the rule's bound; a step counts only where the mean loss is at most its value at "
        "step 0, as in the released program.\n\n"
    )
    return head + "\n".join(f"- {line}" for line in lines) + "\n"


def _published(pairs: pd.DataFrame, runs: pd.DataFrame) -> str:
    published = pairs[pairs["conventions"] == "published"]
    if published.empty:
        return ""
    key = ["dataset", "attack", "rule", "f", "nesterov", "learning_rate", "seed"]
    same = pairs[pairs["conventions"] == "released"].merge(published[key], on=key)
    rows = []
    for rule in DIVERGENT:
        for conventions, some in (("released", same), ("published", published)):
            found = counts(some[some["rule"] == rule])
            rows.append(
                {
                    "rule": rule,
                    "as": conventions,
                    "pairs": found["effective_0.2"].total,
                    "costs > 20 %": _cell(found["effective_0.2"]),
                    "gain > 0 of those": _cell(found["positive_0.2"]),
                    "gain > 20 % of those": _cell(found["gain_above_0.2"]),
                    "lost > 0 %": _cell(found["lost_0"]),
                }
            )
    text = "## Krum and Bulyan as published\n\nThe same configurations with Krum as the one row of "
    text += "lowest score by squared distances, and Bulyan picking rows one at a time.\n\n"
    text += in_markdown(rows) + "\n"
    for claim in claims(published, runs[runs["conventions"] == "published"])[1:3]:
        text += f"- **{claim.verdict}**: {claim.sentence} {claim.evidence}\n"
    return text


def _beside(runs: pd.DataFrame) -> str:
    """Runs that are no part of the grid: the appendix, reduced and unusual settings."""
    others = runs[~runs["file"].isin(in_grid(runs)["file"]) & (runs["unusual"] != "published")]
    if others.empty:
        return ""
    rows = []
    for name, some in others.groupby("name"):
        accuracy = some["highest_accuracy"]
        rows.append(
            {
                "configuration": f"`{name}`",
                "seeds": len(some),
                "steps": _steps(some.iloc[0]),
                "highest accuracy": f"{accuracy.mean():.4f}",
                "part of": "the appendix" if appendix(some).iloc[0] else "none",
            }
        )
    return "## Beside the grid\n\nNot counted above.\n\n" + in_markdown(rows) + _notices(others)


def _notices(runs: pd.DataFrame) -> str:
    """The section on the data."""
    return "".join(f"\nNote: {notice}\n" for notice in sorted(set(runs["notice"]) - {""}))


def _steps(run: pd.Series) -> str:
    paper = PAPER.get(run["dataset"])
    if paper is None or run["steps"] >= paper.steps:
        return f"{run['steps']}"
    return f"reduced, {run['steps']} of {paper.steps}"


def _per_configuration(pairs: pd.DataFrame) -> str:
    rows = []
    for which, some in pairs.groupby(CONFIGURATION):
        lost = int(some["diverged"].sum())
        row = {
            "configuration": _title(*which),
            "seeds": f"{len(some)}" + f", {lost} {DIVERGED}" * (lost > 0),
        }
        rows.append(row | _accuracies(some, TITLES))
    if not rows:
        return ""
    legend = (
        f"; {DIVERGED}: so many seeds have a run that diverged" if pairs["diverged"].any() else ""
    )
    return (
        "## Every configuration\n\n"
        f"Highest accuracy in %, mean ± deviation over seeds{legend}.\n\n" + in_markdown(rows)
    )


def _title(dataset: str, f: int, rule: str, attack: str, rate: float, nesterov: bool) -> str:
    return f"{dataset}, f = {f}, {rule}, {attack}, {rate:g}" + ", Nesterov" * nesterov


def _accuracies(pairs: pd.DataFrame, names: Iterable[str]) -> dict[str, str]:
    return {TITLES[name]: _spread(100 * pairs[name]) for name in names}


def _spread(values: pd.Series) -> str:
    text = f"{values.mean():.1f}"
    return text if len(values) < 2 else f"{text} ± {values.std():.1f}"


def _picture(title: str, path: Path, folder: Path) -> str:
    link = os.path.relpath(path, folder or ".").replace(os.sep, "/")
    return f"## {title}\n\n![{title}]({link})\n"


def _cell(part: Share) -> str:
    return "-" if not part.total else percent(part)
