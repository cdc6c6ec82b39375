"""The cells of the experiment: the paper's grid, its settings, and what a user may ask for beside
it.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any, Literal, get_args

from experiments.distributed_momentum.grid.rules import (
    DIVERGENT,
    Conventions,
    RuleName,
    bears,
    require_borne,
)
from experiments.distributed_momentum.grid.settings import (
    APPENDIX,
    PAPER,
    SETTINGS,
    Precision,
    Setting,
)
from experiments.shared.option_checks import as_name, check_value

AttackName = Literal["none", "little", "empire", "nan"]
PlaceName = Literal["update", "worker", "server"]

# Fields of a cell that came after the first results: at their defaults they are left out of its
# configuration, so that earlier runs still count as its own.
ADDED = ("conventions", "drops", "depth", "width", "precision", "certify")
SHARED_WITH_SETTING = (
    "decay momentum batch_size steps l2 clip evaluate_every curvature_window drops depth width "
    "precision certify"
).split()


@dataclasses.dataclass(frozen=True)
class Cell:
    """One configuration, all of it but the seed. `unusual` lists the settings that its data set's
    own lack.
    """

    dataset: str
    rule: str
    attack: str
    n: int
    f: int
    momentum_at: PlaceName
    nesterov: bool
    learning_rate: float
    refresh: int | None
    decay: int
    momentum: float
    batch_size: int
    steps: int
    l2: float
    clip: float
    evaluate_every: int
    curvature_window: int
    unusual: tuple[str, ...] = ()
    conventions: Conventions = "released"
    drops: tuple[tuple[int, float], ...] = ()
    depth: int = 0
    width: int = 0
    precision: Precision = "default"
    certify: bool = False

    @property
    def name(self) -> str:
        """The paper's name of the configuration, with what is unusual about it behind."""
        dataset = self.dataset.replace("_", "")
        rate = "lr_pow" if self.drops else f"lr_{as_name(self.learning_rate)}"
        if self.attack == "none":
            parts = [dataset, self.rule, f"n_{self.n}", rate]
        else:
            parts = [dataset, self.attack, self.rule, f"f_{self.f}", rate]
            parts.append(f"at_{self.momentum_at}")
        parts += ["nesterov"] * self.nesterov
        return "-".join([*parts, *self.unusual])

    @property
    def in_paper(self) -> bool:
        return self.name in paper_names(self.dataset) | appendix_names()

    def configuration(self, seed: int) -> dict:
        """Everything that defines a run, flat."""
        values = dataclasses.asdict(self)
        for field in dataclasses.fields(self):
            if field.name in ADDED and values[field.name] == field.default:
                del values[field.name]
        values["unusual"] = " ".join(self.unusual)
        if self.drops:
            values["drops"] = " ".join(f"{step}:{as_name(factor)}" for step, factor in self.drops)
        return values | {"seed": seed, "in_paper": self.in_paper}


def cells(
    dataset: str,
    *,
    rules: Sequence[str] | None = None,
    attacks: Sequence[str] = ("none", "little", "empire"),
    places: Sequence[PlaceName] = ("update", "worker"),
    nesterov: Sequence[bool] = (False,),
    learning_rates: Sequence[float] | None = None,
    n: int | None = None,
    f: Sequence[int] | None = None,
    conventions: Conventions = "released",
    own: Setting | None = None,
    **changes: Any,
) -> list[Cell]:
    """All combinations asked for, the unattacked run of each first.

    Args:
      dataset: its own setting gives what is None or absent.
      rules: if None, those of the paper's six that (n, f) bears. The unattacked run is always the
        average of the n - f honest workers.
      learning_rates: the first of the data set's setting if None.
      conventions: "published" is unusual, and marks the cells of the rules that it changes.
      own: what is usual; the data set's own setting if None.
      changes: other fields of `Setting`, None for no change.

    Raises:
      ValueError: an unknown name; n, f, steps, a learning rate or the momentum out of range; a
        rule that does not bear (n, f).
    """
    for name, given, known in (
        ("dataset", (dataset,), SETTINGS),
        ("rule", rules or (), get_args(RuleName)),
        ("attack", attacks, get_args(AttackName)),
        ("momentum_at", places, get_args(PlaceName)),
    ):
        if unknown := [one for one in given if one not in known]:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {unknown[0]!r}")
    own = SETTINGS[dataset] if own is None else own
    changes = {name: value for name, value in changes.items() if value is not None}
    setting = dataclasses.replace(own, **changes)
    n, by_default = own.n if n is None else n, f is None
    f = own.f if f is None else f
    rates = dict(own.learning_rates)
    learning_rates = list(rates)[:1] if learning_rates is None else learning_rates
    _check_ranges(n, f, by_default, setting, learning_rates)
    unusual = tuple(
        name if value is True else f"{name}_{value}"
        for name, value in changes.items()
        if value != getattr(own, name)
    )
    of_total = () if n == own.n else (f"total_{n}",)
    result: list[Cell] = []
    by_f: dict[int, list[str]] = {}
    for tolerated in f:
        by_f[tolerated] = (
            [rule for rule in own.rules if bears(rule, n, tolerated)]
            if rules is None
            else list(rules)
        )
        if rules is None and own.rules_once:
            before = {rule for other in by_f if other != tolerated for rule in by_f[other]}
            by_f[tolerated] = [rule for rule in by_f[tolerated] if rule not in before]
    for tolerated, rate, lookahead in itertools.product(f, learning_rates, nesterov):
        settings: dict[str, Any] = {
            "dataset": dataset,
            "nesterov": lookahead,
            "learning_rate": float(rate),
            "refresh": rates.get(rate),
        } | {name: getattr(setting, name) for name in SHARED_WITH_SETTING}
        if "none" in attacks:
            result.append(
                Cell(
                    rule="average",
                    attack="none",
                    n=n - tolerated,
                    f=0,
                    momentum_at="update",
                    unusual=unusual,
                    **settings,
                )
            )
        attacked = [attack for attack in attacks if attack != "none"]
        for rule, attack, place in itertools.product(by_f[tolerated], attacked, places):
            require_borne(rule, n, tolerated)
            published = conventions == "published" and rule in DIVERGENT
            result.append(
                Cell(
                    rule=rule,
                    attack=attack,
                    n=n,
                    f=tolerated,
                    momentum_at=place,
                    unusual=unusual + of_total + (("published",) if published else ()),
                    conventions="published" if published else "released",
                    **settings,
                )
            )
    return list(dict.fromkeys(result))


def paper_cells(dataset: str, **changes: Any) -> list[Cell]:
    """The paper's 184 configurations of a data set, or with changes, as `cells` takes them."""
    rates = [rate for rate, _ in PAPER[dataset].learning_rates]
    return cells(dataset, nesterov=(False, True), learning_rates=rates, **changes)


@functools.cache
def paper_names(dataset: str) -> frozenset[str]:
    """The names of the paper's configurations of a data set."""
    return (
        frozenset(cell.name for cell in paper_cells(dataset)) if dataset in PAPER else frozenset()
    )


@functools.cache
def appendix_names() -> frozenset[str]:
    """The names of its appendix: a Wide-ResNet on CIFAR-10, with Nesterov."""
    appendix = cells("cifar10", nesterov=(True,), own=APPENDIX)
    return frozenset(cell.name for cell in appendix)


def reference_of(cell: Cell) -> Cell:
    """The unattacked run that a cell is compared with: as many honest workers, and their
    average.
    """
    return dataclasses.replace(
        cell,
        rule="average",
        attack="none",
        n=cell.n - cell.f,
        f=0,
        momentum_at="update",
        unusual=tuple(
            what
            for what in cell.unusual
            if what != cell.conventions and not what.startswith("total_")
        ),
        conventions="released",
    )


def _check_ranges(
    n: int,
    f: Sequence[int],
    by_default: bool,
    setting: Setting,
    learning_rates: Sequence[float],
) -> None:
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    for tolerated in f:
        if not 0 <= tolerated < n:
            told = " by default: give --f too, or a larger --n" if by_default else ""
            raise ValueError(f"f must be from 0 to n - 1 = {n - 1}, got {tolerated}{told}")
    check_value("steps", setting.steps)
    check_value("momentum", setting.momentum)
    for rate in learning_rates:
        check_value("learning_rate", rate)
