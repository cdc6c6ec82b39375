"""The cells of the experiment: the paper's grid, its settings, and what a user may ask for beside
it.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal

from simbyz import aggregators

DatasetName = Literal["digits", "mnist", "fashion_mnist", "cifar10", "cifar100"]
RuleName = Literal["krum", "median", "trmean", "phocas", "meamed", "bulyan", "average"]
AttackName = Literal["none", "little", "empire", "nan"]
PlaceName = Literal["update", "worker", "server"]

PAPER_RULES: tuple[RuleName, ...] = ("krum", "median", "trmean", "phocas", "meamed", "bulyan")


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a data set is trained with. The l2 factor is the one that acts: the paper gives its
    root.

    learning_rates: (rate, refresh) pairs; a rate is divided by 1 + step / 167, taken anew every
    `refresh` steps. refresh None: constant.
    """

    n: int
    f: tuple[int, ...]
    batch_size: int
    steps: int
    learning_rates: tuple[tuple[float, int | None], ...]
    momentum: float
    l2: float
    clip: float
    evaluate_every: int
    curvature_window: int
    decay: int = 167
    rules_once: bool = False  # each rule at the first f that it bears, not at every one


_MNIST = Setting(
    n=51,
    f=(24, 12),
    batch_size=83,
    steps=300,
    learning_rates=((0.5, None), (0.02, None)),
    momentum=0.9,
    l2=1e-8,
    clip=2.0,
    evaluate_every=5,
    curvature_window=150,
)
_CIFAR = Setting(
    n=25,
    f=(11, 5),
    batch_size=50,
    steps=3000,
    # The paper's 0.001 is refreshed every 3000 of 3000 steps, hence constant.
    learning_rates=((0.01, 1500), (0.001, None)),
    momentum=0.99,
    l2=1e-4,
    clip=5.0,
    evaluate_every=100,
    curvature_window=25,
)
PAPER: dict[str, Setting] = {
    "mnist": _MNIST,
    "fashion_mnist": _MNIST,
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
}
# The same comparison at small scale: not the paper's, and quick.
SMALL = Setting(
    n=25,
    f=(11, 5),
    batch_size=20,
    steps=300,
    learning_rates=((0.5, None),),
    momentum=0.9,
    l2=1e-8,
    clip=2.0,
    evaluate_every=5,
    curvature_window=150,
    rules_once=True,
)
SETTINGS: dict[str, Setting] = {"digits": SMALL, **PAPER}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One configuration, all of it but the seed. `unusual` lists the settings that its data set's
    own lack.
    """

    dataset: DatasetName
    rule: RuleName
    attack: AttackName
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

    @property
    def name(self) -> str:
        """The paper's name of the configuration, with what is unusual about it behind."""
        dataset = self.dataset.replace("_", "")
        if self.attack == "none":
            parts = [dataset, self.rule, f"n_{self.n}", f"lr_{self.learning_rate:g}"]
        else:
            parts = [dataset, self.attack, self.rule, f"f_{self.f}", f"lr_{self.learning_rate:g}"]
            parts.append(f"at_{self.momentum_at}")
        parts += ["nesterov"] * self.nesterov
        return "-".join([*parts, *self.unusual])

    @property
    def in_paper(self) -> bool:
        return self.name in paper_names(self.dataset)

    def configuration(self, seed: int) -> dict:
        """Everything that defines a run, flat."""
        values = dataclasses.asdict(self)
        values["unusual"] = " ".join(self.unusual)
        return values | {"seed": seed, "in_paper": self.in_paper}


def rule_of(name: RuleName, n: int, f: int) -> Callable:
    """The rule as the paper's program defines it: its krum is a Multi-Krum on plain distances."""
    if name == "krum":
        return functools.partial(aggregators.multi_krum, neighbours=n - f - 1, squared=False)
    if name == "bulyan":
        return functools.partial(aggregators.bulyan, variant="released")
    if name == "trmean":
        return aggregators.trimmed_mean
    return aggregators.AGGREGATORS[name]


def selection_of(name: RuleName, n: int, f: int) -> Callable | None:
    """The weights of rows, where the paper's program tells which attack rows a rule accepted."""
    if name == "krum":
        return functools.partial(
            aggregators.multi_krum_selection, neighbours=n - f - 1, squared=False
        )
    return None


def cells(
    dataset: DatasetName,
    *,
    rules: Sequence[RuleName] | None = None,
    attacks: Sequence[AttackName] = ("none", "little", "empire"),
    places: Sequence[PlaceName] = ("update", "worker"),
    nesterov: Sequence[bool] = (False,),
    learning_rates: Sequence[float] | None = None,
    n: int | None = None,
    f: Sequence[int] | None = None,
    **changes: float | int | None,
) -> list[Cell]:
    """All combinations asked for, the unattacked run of each first.

    Args:
      dataset: its own setting gives what is None or absent.
      rules: if None, those of the paper's six that (n, f) bears. The unattacked run is always the
        average of the n - f honest workers.
      learning_rates: the first of the data set's setting if None.
      changes: other fields of `Setting`, None for no change.

    Raises:
      ValueError: n, f, steps, a learning rate or the momentum out of range.
    """
    own = SETTINGS[dataset]
    changes = {name: value for name, value in changes.items() if value is not None}
    setting = dataclasses.replace(own, **changes)
    n = own.n if n is None else n
    f = own.f if f is None else f
    rates = dict(own.learning_rates)
    learning_rates = list(rates)[:1] if learning_rates is None else learning_rates
    _check_ranges(n, f, setting, learning_rates)
    unusual = [f"{name}_{value}" for name, value in changes.items() if value != getattr(own, name)]
    result, ran = [], set()
    for tolerated, rate, lookahead in itertools.product(f, learning_rates, nesterov):
        settings = {
            "dataset": dataset,
            "nesterov": lookahead,
            "learning_rate": float(rate),
            "refresh": rates.get(rate),
        } | {
            name: getattr(setting, name)
            for name in (
                "decay momentum batch_size steps l2 clip evaluate_every curvature_window".split()
            )
        }
        odd = tuple(unusual) + ((f"total_{n}",) if n != own.n else ())
        if "none" in attacks:
            result.append(
                Cell(
                    rule="average",
                    attack="none",
                    n=n - tolerated,
                    f=0,
                    momentum_at="update",
                    unusual=tuple(unusual),
                    **settings,
                )
            )
        chosen = rules
        if rules is None:
            skipped = ran if own.rules_once and len(f) > 1 else set()
            chosen = [rule for rule in _usual_rules(n, tolerated) if rule not in skipped]
            ran = ran | set(chosen)
        for rule, attack, place in itertools.product(chosen, attacks, places):
            if attack != "none":
                result.append(
                    Cell(
                        rule=rule,
                        attack=attack,
                        n=n,
                        f=tolerated,
                        momentum_at=place,
                        unusual=odd,
                        **settings,
                    )
                )
    return list(dict.fromkeys(result))


@functools.cache
def paper_names(dataset: DatasetName) -> frozenset[str]:
    """The names of the paper's configurations of a data set: 184 of each of the four."""
    if dataset not in PAPER:
        return frozenset()
    rates = [rate for rate, _ in PAPER[dataset].learning_rates]
    grid = cells(dataset, nesterov=(False, True), learning_rates=rates)
    return frozenset(cell.name for cell in grid)


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
        unusual=tuple(what for what in cell.unusual if not what.startswith("total_")),
    )


def _check_ranges(
    n: int, f: Sequence[int], setting: Setting, learning_rates: Sequence[float]
) -> None:
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    for tolerated in f:
        if not 0 <= tolerated < n:
            raise ValueError(f"f must be from 0 to n - 1 = {n - 1}, got {tolerated}")
    if setting.steps < 1:
        raise ValueError(f"steps must be at least 1, got {setting.steps}")
    if not 0 <= setting.momentum < 1:
        raise ValueError(f"momentum must be at least 0 and below 1, got {setting.momentum}")
    for rate in learning_rates:
        if not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"learning_rate must be positive and finite, got {rate}")


def _usual_rules(n: int, f: int) -> list[RuleName]:
    least = {"krum": 2 * f + 3, "bulyan": 4 * f + 3}
    return [rule for rule in PAPER_RULES if n >= least.get(rule, 2 * f + 1)]
