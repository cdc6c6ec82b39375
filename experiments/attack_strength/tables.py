"""Tables and the heatmap of the measured strengths."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from experiments.defence_matrix.pictures import write_into
from experiments.shared.formats import add_numbers, in_markdown

KINDS = ("fixed", "searched", "climbed")
ABREAST = 8  # rules in a table of all attacks


def summarise(measured: pd.DataFrame) -> pd.DataFrame:
    """One row an (n, f), rule and attack: means over the recorded steps, and their deviation."""
    keys = ["n", "f", "rule", "kind", "attack"]
    groups = measured.groupby(keys, sort=False)
    table = groups[["strength", "cosine"]].mean()
    table["strength_deviation"] = groups["strength"].std()
    table["cosine_deviation"] = groups["cosine"].std()
    return table.reset_index()


def strongest(summary: pd.DataFrame) -> pd.DataFrame:
    """One row an (n, f) and rule: the strongest attack of each kind, by its mean over steps."""
    rows = []
    for (n, f, rule), group in summary.groupby(["n", "f", "rule"], sort=False):
        row = {"n": n, "f": f, "rule": rule}
        for kind, one_kind in group.groupby("kind", sort=False):
            best = one_kind.loc[one_kind["strength"].fillna(-np.inf).idxmax()]
            for column in ("attack", "strength", "strength_deviation", "cosine"):
                row[f"{kind}_{column}"] = best[column]
        row["gain"] = row["climbed_strength"] / max(row["fixed_strength"], row["searched_strength"])
        rows.append(row)
    return pd.DataFrame(rows)


def print_table(best: pd.DataFrame, title: str, console: Console) -> None:
    """Which attack moves each rule most, within 100 columns."""
    table = Table(
        title=title,
        caption="strength: distance of the aggregate from the honest mean, in honest deviations; "
        "mean ± deviation over steps. cosine: of the aggregate with the honest mean, under the "
        "climb. gain: of the climb over the stronger of the others",
    )
    for name in ("n", "f", "rule", "fixed", "searched"):
        table.add_column(name, overflow="fold")
    add_numbers(table, "climbed", "gain", "cosine")
    for row in best.to_dict("records"):
        table.add_row(
            str(row["n"]),
            str(row["f"]),
            row["rule"],
            *(f"{_strength(row, kind)} {row[f'{kind}_attack']}" for kind in KINDS[:2]),
            _strength(row, "climbed"),
            f"{row['gain']:.2f}",
            f"{row['climbed_cosine']:.2f}",
        )
    console.print(table)


def markdown(summary: pd.DataFrame, title: str, command: str) -> str:
    """The document: which attack moves each rule most, and then every attack on every rule."""
    best = strongest(summary)
    lines = [
        f"# {title}",
        "",
        f"Made by `{command}`.",
        "",
        "Strength: ||aggregate - honest mean|| over the honest deviation √(Σ ||x - mean||² /",
        "(h - 1)), mean ± deviation over the recorded steps. Searched: along mean ± x · deviation",
        "and (1 - x) · mean, 16 evaluations each, 32 by the search that looks ahead. Climbed:",
        "`gradient_ascent`, started from the strongest of all others. Cosine: of the aggregate",
        "with the honest mean, under the climb. The searches are those of",
        "`simbyz.attacks.searched.line_search`, `sequential` that of the released program, whose",
        "krum and bulyan are meant but where `-published` says that they are the papers'.",
        "",
        "## Which attack moves each rule most",
        "",
        "| n | f | rule | strongest fixed | | strongest searched | | climbed | over the stronger | "
        "cosine |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in best.to_dict("records"):
        cells = [str(row["n"]), str(row["f"]), row["rule"]]
        for kind in KINDS[:2]:
            cells += [row[f"{kind}_attack"], _strength(row, kind)]
        cells += [
            f"**{_strength(row, 'climbed')}**",
            f"× {row['gain']:.2f}",
            f"{row['climbed_cosine']:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    for (n, f), group in summary.groupby(["n", "f"], sort=False):
        lines += ["", f"## Every attack at n = {n}, f = {f}"]
        every = list(dict.fromkeys(group["rule"]))
        for first in range(0, len(every), ABREAST):
            rules = every[first : first + ABREAST]
            table = []
            for attack, rows in group.groupby("attack", sort=False):
                of = rows.set_index("rule")[["strength", "strength_deviation"]]
                table.append({"attack": attack} | {rule: _number(*of.loc[rule]) for rule in rules})
            lines += ["", in_markdown(table).rstrip()]
    return "\n".join(lines) + "\n"


def plot(summary: pd.DataFrame, title: str) -> Figure:
    """A heatmap for each (n, f): attacks down, rules across, strengths in honest deviations;
    coloured by their share of the strongest on the same rule.
    """
    sizes = list(dict.fromkeys(zip(summary["n"], summary["f"], strict=True)))
    attacks = list(dict.fromkeys(summary["attack"]))
    size = (2.6 + 3.4 * len(sizes), 1.4 + 0.27 * len(attacks))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)
    for (n, f), axes in zip(sizes, panels[0], strict=True):
        group = summary[(summary["n"] == n) & (summary["f"] == f)]
        rules = list(dict.fromkeys(group["rule"]))
        table = group.pivot_table(
            index="attack", columns="rule", values="strength", sort=False, dropna=False
        ).reindex(index=attacks, columns=rules)
        # cividis is read alike with and without colour blindness, and in grey.
        finite = table.where(np.isfinite(table))
        share = (table / finite.max()).clip(upper=1)
        shown = axes.imshow(share, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        write_into(axes, table.map(_short).to_numpy(), share.to_numpy() > 0.55, 6)
        axes.set_title(f"n = {n}, f = {f}", fontsize=9)
        axes.set_xticks(range(len(rules)), rules, rotation=45, ha="right", fontsize=7)
        axes.set_yticks(range(len(attacks)), attacks, fontsize=7)
    figure.colorbar(shown, ax=panels[0], label="share of the strongest on the same rule", pad=0.01)
    figure.suptitle(title, fontsize=10)
    unit = "numbers: distance of the aggregate from the honest mean, in honest deviations"
    figure.supxlabel(unit, fontsize=8)
    return figure


def _strength(row: dict, kind: str) -> str:
    return _number(row[f"{kind}_strength"], row[f"{kind}_strength_deviation"])


def _number(value: float, deviation: float) -> str:
    if not np.isfinite(value):
        return "∞"
    text = f"{value:.2f}" if value < 100 else f"{value:.1e}"
    return text if np.isnan(deviation) or value >= 100 else f"{text} ± {deviation:.2f}"


def _short(value: float) -> str:
    if not np.isfinite(value):
        return "∞"
    return f"{value:.2f}" if value < 10 else f"{value:.0f}" if value < 1000 else f"{value:.0e}"
