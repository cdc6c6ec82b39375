"""ByzFL's configuration file, read and checked: what it asks for, in our words.

All that is wrong or not here is told at once, a line each.
"""

import contextlib
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.from_byzfl import parts
from experiments.from_byzfl.networks import DATASETS, NETWORKS, fitting
from experiments.from_byzfl.parts import Part
from experiments.from_byzfl.values import Number, did_you_mean
from experiments.shared.options.checks import LARGEST, as_name

TINY = sys.float_info.min
COUNT, SEED = Number(1, least=1, most=LARGEST), Number(0, least=0, most=LARGEST)
# Every key of the file, by section; what acts is read below.
KEYS: dict[str, tuple[str, ...]] = {
    "benchmark_config": (
        *("training_algorithm", "nb_steps", "device", "training_seed", "nb_training_seeds"),
        *("nb_honest_clients", "set_honest_clients_as_clients", "f", "tolerated_f"),
        *("size_train_set", "data_distribution_seed", "nb_data_distribution_seeds"),
        "data_distribution",
    ),
    "model": (
        *("name", "dataset_name", "nb_labels", "loss", "optimizer_name"),
        *("learning_rate", "learning_rate_decay", "milestones"),
    ),
    "aggregator": ("name", "parameters"),
    "pre_aggregators": ("name", "parameters"),
    "honest_clients": ("momentum", "weight_decay", "batch_size"),
    "attack": ("name", "parameters"),
    "evaluation_and_results": (
        *("evaluation_delta", "batch_size_evaluation", "evaluate_on_test"),
        *("store_per_client_metrics", "store_models", "data_folder", "results_directory"),
    ),
}
# Where a key stands; "name" is the network's, as other sections are lists.
SECTIONS = {key: section for section in reversed(KEYS) for key in KEYS[section]}
# What is chosen here by options, or always so.
NO_EFFECT = (
    *("device", "nb_labels", "batch_size_evaluation", "evaluate_on_test"),
    *("store_per_client_metrics", "store_models", "data_folder", "results_directory"),
)
DISTRIBUTIONS = {
    "iid": "iid",
    "extreme_niid": "extreme",
    "gamma_similarity_niid": "gamma",
    "dirichlet_niid": "dirichlet",
}
LOSSES = ("NLLLoss", "CrossEntropyLoss")


class Refused(ValueError):
    """Something of the file that is wrong or not here."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all runs of a file share."""

    dataset: str
    network: str
    steps: int
    batch_size: int
    evaluate_every: int
    train_share: float
    learning_rate_decay: float
    milestones: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Benchmark(Setting):
    """What a file asks for: lists are all combined."""

    honest: tuple[int, ...]
    honest_are_all: bool  # the honest and the Byzantine workers together are so many
    f: tuple[int, ...]
    tolerated: tuple[int, ...] | None  # as many as there are if None
    heterogeneity: tuple[tuple[str, str], ...]  # ByzFL's name of the scheme, and ours with number
    rules: tuple[Part, ...]
    pres: tuple[tuple[Part, ...], ...]
    attacks: tuple[Part, ...]
    learning_rate: tuple[float, ...]
    momentum: tuple[float, ...]
    weight_decay: tuple[float, ...]
    seeds: tuple[int, ...]
    partition_seeds: tuple[int, ...]
    notes: tuple[str, ...]  # what is not as it is there
    left_out: tuple[str, ...]


def read(path: Path, *, dataset: str | None = None, leave_out: bool = False) -> Benchmark:
    """The benchmark that a file asks for.

    Args:
      dataset: in place of the file's.
      leave_out: entries of a list that are wrong or not here are left out, and named.

    Raises:
      ValueError: all that is wrong or not here, a line each.
      OSError: it can't be read.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_no_key_twice)
    except Refused:
        raise
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no file {path}") from error
    if not isinstance(given, dict):
        raise ValueError(f"{path} must hold one object, with {', '.join(KEYS)}")
    return _Reader(given, leave_out).benchmark(dataset)


class _Reader:
    """Reads a file's values, and gathers what is wrong with them."""

    def __init__(self, given: dict[str, Any], leave_out: bool):
        self._given, self._leave_out = given, leave_out
        self._wrong: list[str] = []
        self._left_out: list[str] = []

    def benchmark(self, dataset: str | None) -> Benchmark:
        self._check_keys()
        benchmark = self._read(dataset)
        if self._wrong:
            raise ValueError("\nerror: ".join(dict.fromkeys(self._wrong)))
        return benchmark

    @contextlib.contextmanager
    def _gathering(self, removable: bool = False) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            there = self._left_out if removable and self._leave_out else self._wrong
            there.append(str(error))

    def _check_keys(self) -> None:
        for section, inside in self._given.items():
            with self._gathering():
                _check_key("the file", section, KEYS)
                if section in ("aggregator", "attack", "pre_aggregators"):
                    continue
                if not isinstance(inside, dict):
                    raise Refused(f"{section} must be an object, got {inside!r}")
                for key in inside:
                    with self._gathering():
                        _check_key(section, key, KEYS[section])

    def _read(self, dataset: str | None) -> Benchmark:
        name, network, note = "", "", ""
        with self._gathering():
            name = dataset or self._word("dataset_name", "mnist", DATASETS, "data set")
        with self._gathering():
            network = self._word("name", "cnn_mnist", NETWORKS, "network")
        with self._gathering():
            if name and network:
                network, note = fitting(network, name)
        self._check_training(network)
        rules = self._parts("aggregator", parts.RULES, "Average")
        pres = self._pre_aggregators()
        attacks = self._parts("attack", parts.ATTACKS, "NoAttack")
        f = self._numbers("f", SEED)
        sections = [inside for inside in self._given.values() if isinstance(inside, dict)]
        no_effect = [key for section in sections for key in section if key in NO_EFFECT]
        notes = [text for text in (note, DATASETS[name].note if name else "") if text]
        for each, known in (
            *((rule, parts.RULES) for rule in rules),
            *((one, parts.PREAGGREGATORS) for pre in pres for one in pre),
            *((attack, parts.ATTACKS) for attack in attacks),
        ):
            if known[each.name].note:
                notes.append(f"{each.name} is {each.label}, which {known[each.name].note}")
        drawn = any(one.name == "Bucketing" for pre in pres for one in pre)
        if drawn and any(map(parts.searches, attacks)):
            notes.append(
                "searched attacks try one draw of the buckets a step, ByzFL's a draw a probe"
            )
        if no_effect:
            notes.append(f"without effect here: {', '.join(no_effect)}")
        return Benchmark(
            dataset=name,
            network=network,
            steps=self._number("nb_steps", Number(1000, 1, LARGEST)),
            batch_size=self._number("batch_size", Number(32, 1, LARGEST)),
            evaluate_every=self._number("evaluation_delta", Number(50, 1, LARGEST)),
            train_share=self._number("size_train_set", Number(0.8, 0, 1)),
            learning_rate_decay=self._number("learning_rate_decay", Number(1.0, 0, 1)),
            milestones=self._milestones(),
            honest=self._numbers("nb_honest_clients", Number(10, 1, LARGEST)),
            honest_are_all=self._flag("set_honest_clients_as_clients"),
            f=f,
            tolerated=self._numbers("tolerated_f", SEED) if self._has("tolerated_f") else None,
            heterogeneity=self._distributions(),
            rules=rules,
            pres=pres,
            attacks=attacks if any(f) else (),
            learning_rate=self._numbers("learning_rate", Number(0.1, TINY, words="positive")),
            momentum=self._numbers("momentum", Number(0.9, 0, 1 - 1e-9, "from 0 to below 1")),
            weight_decay=self._numbers("weight_decay", Number(1e-4, 0)),
            seeds=self._seeds("training_seed", "nb_training_seeds"),
            partition_seeds=self._seeds("data_distribution_seed", "nb_data_distribution_seeds"),
            notes=tuple(dict.fromkeys(notes)),
            left_out=tuple(dict.fromkeys(self._left_out)),
        )

    def _check_training(self, network: str) -> None:
        with self._gathering():
            algorithm = self._get("training_algorithm", {"name": "DSGD"})
            for each in _listed(algorithm):
                name = each.get("name", "DSGD") if isinstance(each, dict) else each
                if name == "FedAvg":
                    raise Refused(
                        "training_algorithm FedAvg is not here: there attacks and rules act on the "
                        "workers' parameters, here on what they send, gradients or differences"
                    )
                if name != "DSGD":
                    raise Refused(
                        f"training_algorithm {name!r} is not known: expected DSGD or FedAvg"
                    )
        if (optimizer := self._get("optimizer_name", "SGD")) != "SGD":
            self._wrong.append(f"optimizer_name {optimizer!r} is not here: SGD alone is")
        with self._gathering():
            loss = self._word("loss", "NLLLoss", LOSSES, "loss")
            if network and loss not in NETWORKS[network].losses:
                raise Refused(
                    f"loss {loss} of {network} is no cross-entropy, the one loss here: ByzFL's "
                    f"{network} ends in {NETWORKS[network].ends_in}"
                )

    def _has(self, key: str) -> bool:
        inside = self._given.get(SECTIONS[key])
        return isinstance(inside, dict) and inside.get(key) is not None

    def _get(self, key: str, default: Any) -> Any:
        return self._given[SECTIONS[key]][key] if self._has(key) else default

    def _word(self, key: str, default: str, known: Any, what: str) -> str:
        word = self._get(key, default)
        if not isinstance(word, str) or word not in known:
            meant = did_you_mean(str(word), known)
            raise Refused(f"{SECTIONS[key]}.{key}: the {what} {word!r} is not here: {meant}")
        return word

    def _flag(self, key: str) -> bool:
        flag = self._get(key, False)
        if not isinstance(flag, bool):
            self._wrong.append(f"{SECTIONS[key]}.{key} must be true or false, got {flag!r}")
        return bool(flag)

    def _numbers(self, key: str, number: Number) -> tuple[Any, ...]:
        found = []
        values = _listed(self._get(key, number.default))
        for value in values:
            with self._gathering():
                found.append(number.read(f"{SECTIONS[key]}.{key}", value))
        if not values:
            self._wrong.append(f"{SECTIONS[key]}.{key} must name at least one")
        return tuple(dict.fromkeys(found))

    def _number(self, key: str, number: Number) -> Any:
        values = self._numbers(key, number)
        if len(values) > 1:
            self._wrong.append(
                f"{SECTIONS[key]}.{key} must be one number, as ByzFL's tables, too, ask for: got "
                f"{list(values)}"
            )
        return values[0] if values else number.default

    def _seeds(self, first: str, count: str) -> tuple[int, ...]:
        start = self._number(first, SEED)
        return tuple(start + seed for seed in range(self._number(count, COUNT)))

    def _milestones(self) -> tuple[int, ...]:
        values = self._get("milestones", [])
        with self._gathering():
            if not isinstance(values, list):
                raise Refused(f"model.milestones must be a list of steps, got {values!r}")
            return tuple(SEED.read("each of model.milestones", value) for value in values)
        return ()

    def _distributions(self) -> tuple[tuple[str, str], ...]:
        found, before = [], len(self._wrong)
        for entry in _listed(self._get("data_distribution", {"name": "iid"})):
            with self._gathering(removable=True):
                _check_entry("data_distribution", entry, ("name", "distribution_parameter"))
                name = entry["name"]
                if name not in DISTRIBUTIONS:
                    meant = did_you_mean(str(name), DISTRIBUTIONS)
                    raise Refused(f"data_distribution {name!r} is not known: {meant}")
                number = (
                    Number(1.0, 0, 1)
                    if name.startswith("gamma")
                    else Number(1.0, TINY, words="positive")
                )
                if DISTRIBUTIONS[name] in ("iid", "extreme"):
                    found.append((name, DISTRIBUTIONS[name]))
                    continue
                for value in _listed(entry.get("distribution_parameter", 1.0)):
                    parameter = number.read(f"distribution_parameter of {name}", value)
                    found.append((name, f"{DISTRIBUTIONS[name]}:{as_name(parameter)}"))
        self._check_left("data_distribution", found, before)
        return tuple(dict.fromkeys(found))

    def _parts(self, section: str, known: Any, default: str) -> tuple[Part, ...]:
        found: list[Part] = []
        before = len(self._wrong)
        for entry in _listed(self._given.get(section, {"name": default})):
            with self._gathering(removable=True):
                name = _check_entry(section, entry, KEYS[section])
                if name == "NoAttack" and section == "attack" and not self._attacked():
                    continue
                if section == "attack" and name in parts.NOT_HERE:
                    raise Refused(f"attack {name} is not here: {parts.NOT_HERE[name]}")
                for parameters in _combinations(_parameters(entry)):
                    found.append(parts.part(section, known, name, parameters))
        if section != "attack" or self._attacked():
            self._check_left(section, found, before)
        return tuple(dict.fromkeys(found))

    def _attacked(self) -> bool:
        return any(value != 0 for value in _listed(self._get("f", 0)))

    def _pre_aggregators(self) -> tuple[tuple[Part, ...], ...]:
        given = self._given.get("pre_aggregators") or []
        found: list[tuple[Part, ...]] = []
        before = len(self._wrong)
        chains = given if given and all(isinstance(x, list) for x in _listed(given)) else [given]
        for chain in chains:
            with self._gathering(removable=True):
                found.append(tuple(self._pre_aggregator(entry) for entry in _listed(chain)))
        self._check_left("pre_aggregators", found, before)
        return tuple(dict.fromkeys(found))

    def _pre_aggregator(self, entry: Any) -> Part:
        name = _check_entry("pre_aggregators", entry, KEYS["pre_aggregators"])
        return parts.part("pre-aggregator", parts.PREAGGREGATORS, name, _parameters(entry))

    def _check_left(self, section: str, found: list, before: int) -> None:
        if not found and len(self._wrong) == before:
            self._wrong.append(f"{section} must name at least one that is here")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _parameters(entry: dict[str, Any]) -> dict[str, Any]:
    parameters = entry.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise Refused(f"parameters must be an object, got {parameters!r}")
    return parameters


def _combinations(parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A list is all its values, one after the other, as everywhere in the file."""
    for values in itertools.product(*map(_listed, parameters.values())):
        yield dict(zip(parameters, values, strict=True))


def _check_entry(section: str, entry: Any, keys: tuple[str, ...]) -> str:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise Refused(f"an entry of {section} must be an object with a name, got {entry!r}")
    for key in entry:
        _check_key(section, key, keys)
    return entry["name"]


def _check_key(section: str, key: str, keys: Any) -> None:
    if key in keys:
        return
    there = next((name for name, some in KEYS.items() if key in some and some is not keys), None)
    meant = f"it stands in {there}" if there else did_you_mean(key, keys)
    raise Refused(f"{section} has no key {key!r}: {meant}")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Refused(f"the key {key!r} stands twice in one object")
        found[key] = value
    return found
