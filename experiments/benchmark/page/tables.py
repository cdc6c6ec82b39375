"""The ranking as a table in a terminal, or to paste."""

from collections.abc import Mapping

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.benchmark.answers.ranking import DEFENCE, breakdown, order
from experiments.benchmark.entries.catalogue import SAME_ROWS
from experiments.benchmark.runs import Refusals
from experiments.defence_matrix.tables import accuracy, initials, legend
from experiments.shared.formats import Printer

NONE = "none"


def print_ranking(
    table: pd.DataFrame, costs: pd.DataFrame, refusals: Refusals, n: int, title: str, out: Printer
) -> None:
    """A line a rule and pre-aggregator, a column an f and heterogeneity; a table a momentum."""
    cells = list(dict.fromkeys(zip(table["f"], table["heterogeneity"], strict=True)))
    broken = breakdown(table).groupby(DEFENCE)["breakdown"].min()
    speed = costs.groupby(["rule", "pre"])["microseconds"].max()
    for momentum, group in table.groupby("momentum", sort=False):
        attacks = initials(group["worst_attack"])
        shown = Table(
            title=f"{title}, momentum {momentum:g}",
            caption="test accuracy, % ± deviation over seeds, under the worst attack, at the "
            "learning rate whose worst attack is best on the validation split; the best mean over "
            "the columns first. breaks: the smallest f at which the worst accuracy is below half "
            "of the best unattacked one, on any data. µs: of a run's step on this machine, and of "
            "compiling where a rule has too few runs to tell it apart. " + legend(attacks, group),
        )
        if len(cells) > 3:  # a line a rule, where 100 columns hold it
            shown.box, shown.padding, shown.show_edge = SIMPLE_HEAD, (0, 0), False
        shown.add_column("rule", no_wrap=True)
        mixed = out.format != "table" or set(group["pre"]) != {NONE}
        if mixed:
            shown.add_column("after", overflow="fold")
        for f, level in cells:
            shown.add_column(f"f/n={share(f, n)} {level}", justify="right", overflow="fold")
        for name in ("breaks", "µs"):
            shown.add_column(name, justify="right")
        rows = {
            (row["rule"], row["pre"], row["f"], row["heterogeneity"]): row
            for row in group.to_dict("records")
        }
        for rule, pre, _ in order(group, cells).index:
            point = broken[rule, pre, momentum]
            shown.add_row(
                str(rule),
                *["" if pre == NONE else str(pre)] * mixed,
                *(_cell(rows.get((rule, pre, *cell)), attacks) for cell in cells),
                "" if pd.isna(point) else share(int(point), n),
                f"{speed[rule, pre]:.0f}",
            )
        out.print(shown)
    for line in reasons(refusals):
        out.note(line)


def share(f: int, n: int) -> str:
    """f / n in as many digits as tell neighbouring f apart."""
    return f"{f / n:.{max(3, len(str(n)) + 1)}g}"


def reasons(refusals: Refusals) -> list[str]:
    """A line a reason, with the rules that have it; behind a pre-aggregator where it is another."""
    who: dict[tuple[str, str], dict[str, None]] = {}
    for (rule, pre, _), reason in refusals.items():
        alone = reason.partition(" (part ")[0].removeprefix(f"{rule} ")
        behind = "" if pre in SAME_ROWS else f"after {pre} "
        who.setdefault((behind, alone), {})[rule] = None
    return [f"{behind}{', '.join(rules)}: {why}" for (behind, why), rules in who.items()]


def print_gains(gains: dict[str, pd.DataFrame], out: Printer) -> None:
    """What mixing and momentum add to the worst accuracy, of each f and heterogeneity."""
    for what, table in gains.items():
        if table.empty:
            continue
        shown = Table(
            title=f"what {'mixing' if what == 'pre' else what} adds to the worst accuracy",
            caption="points of test accuracy, mean over rules of paired differences, and its 95 % "
            "interval over seeds (Student's)",
        )
        for name in (what, "f", "data"):
            shown.add_column(name)
        for name in ("adds", "interval", "rules better"):
            shown.add_column(name, justify="right")
        for row in table.to_dict("records"):
            shown.add_row(
                str(row[what]),
                str(row["f"]),
                str(row["heterogeneity"]),
                f"{100 * row['mean']:+.1f}",
                "-"  # of one seed
                if pd.isna(row["low"])
                else f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}",
                f"{row['better']} of {row['rules']}",
            )
        out.print(shown)


def _cell(row: dict | None, attacks: Mapping[str, str]) -> str:
    return "refused" if row is None else f"{accuracy(row)} {attacks[row['worst_attack']]}"
