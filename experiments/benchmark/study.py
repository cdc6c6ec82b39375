"""Study: what is asked for, trained, ranked, printed and drawn."""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pandas as pd

from experiments.benchmark import cost
from experiments.benchmark.answers import ranking
from experiments.benchmark.entries import own
from experiments.benchmark.entries.catalogue import (
    ALL_ATTACKS,
    FAMILIES,
    PREAGGREGATORS,
    SEARCHED,
    attack_of,
    trusting,
)
from experiments.benchmark.entries.parts import PARTS, RANKING, Part
from experiments.benchmark.options import Grid, Options, Setting
from experiments.benchmark.page import pictures, tables
from experiments.benchmark.results import Results, kinds
from experiments.benchmark.runs import FIELDS, Refusals, Run, product, shard_of
from experiments.benchmark.simulate import code, refusals_of, simulate, task_of
from experiments.defence_matrix.runs import share
from experiments.defence_matrix.simulate import split
from experiments.defence_matrix.training import check_levels, check_training
from experiments.shared.devices import cores
from experiments.shared.files import save_figures, save_table
from experiments.shared.formats import Printer, beside, counted
from experiments.shared.mixing import refuse_different_code
from experiments.shared.options.checks import (
    check_memory,
    check_options,
    check_value,
    refuse_unused,
)
from experiments.shared.options.question import folder_of
from experiments.shared.options.synonyms import named
from experiments.shared.progress import Ask, Progress, drawing, duration, never
from simbyz import records
from simbyz.aggregators import AGGREGATORS
from simbyz.data import Dataset, load
from simbyz.records.provenance import versions

OF_PARTS = ("pre", "attack", "f", "heterogeneity", "momentum")  # what --full has in their place
AXES = ("rule", "pre", "f", "heterogeneity", "momentum", "attack", "learning_rate")


class Prepared(NamedTuple):
    options: Options
    parts: dict[str, list[Run]]  # runs by the question that they answer, of those that have any
    runs: list[Run]  # of all parts
    mine: list[Run]  # of this shard
    refusals: Refusals
    dataset: Dataset
    results: Results


def parts_of(options: Options) -> dict[str, Options]:
    """What is asked for, by question: of one command its own, of --full each of `PARTS`.

    Raises:
      ValueError: no rule, pre-aggregator or attack has a name that is given.
    """
    whole = named_in_full(options)
    if not options.full:
        return {RANKING: whole}
    asked = {name: _with(whole, part) for name, part in PARTS.items()}
    return {name: each for name, each in asked.items() if each.rule}


def _with(options: Options, part: Part) -> Options:
    among = part.rule or options.rule
    return dataclasses.replace(
        options,
        rule=tuple(name for name in options.rule if name in among or own.is_own(name)),
        pre=part.pre,
        attack=(*part.attack, *filter(own.is_own, options.attack)),
        f=part.numbers(options.n),
        heterogeneity=part.heterogeneity,
        momentum=part.momentum,
        seeds=tuple(dict.fromkeys((*options.seeds, *part.more_seeds))),
    )


def named_in_full(options: Options) -> Options:
    """The options with the library's names of rules and attacks.

    Raises:
      ValueError: no rule, pre-aggregator or attack has this name.
    """
    rules = _known("rule", options.rule, tuple(AGGREGATORS), tuple(AGGREGATORS))
    attacks = _known("attack", options.attack, ALL_ATTACKS, FAMILIES)
    pres = _known("pre", options.pre, PREAGGREGATORS, ())
    return dataclasses.replace(options, rule=rules, attack=attacks, pre=pres)


def _known(
    what: str, given: Sequence[str], names: Sequence[str], default: Sequence[str]
) -> tuple[str, ...]:
    """These names, or those that own ones join."""
    found = tuple(one if own.is_own(one) and default else named(one, names) for one in given)
    for one in found:
        if one not in names and not (default and own.is_own(one)):
            yours = ", or your own as module:name" if default else ""
            raise ValueError(f"{what} must be one of {', '.join(names)}{yours}, got {one!r}")
    return found if any(not own.is_own(one) for one in found) else (*default, *found)


def runs_of(options: Options, refusals: Refusals) -> list[Run]:
    axes = {name: getattr(options, name) for name in AXES} | {"seed": options.seeds}
    of_both = (*axes, "root_examples", "source")
    shared = {name: getattr(options, name) for name in FIELDS if name not in of_both}
    return product(shared, axes, options.root_examples, refusals)


def prepare(options: Options) -> Prepared:
    """What is asked for, all checked that can be before the first step."""
    check_options(options)
    joined = any(own.is_own(one) for one in (*options.rule, *options.attack))
    shard = _shard(options.shard)
    _check_full(options)
    asked = parts_of(options)
    for each in asked.values():
        check_options(each, *AXES)
        if least := [f for f in each.f if not 1 <= f < options.n]:
            raise ValueError(f"f must be from 1 to below n = {options.n}, got {least[0]}")
        check_levels(each.heterogeneity)
    check_memory(4 * options.n**2, f"n = {options.n}")
    refusals = _refusals(list(asked.values()))
    found = {name: runs_of(each, refusals) for name, each in asked.items()}
    parts = {name: some for name, some in found.items() if some}  # one may be refused whole
    runs = list(dict.fromkeys(run for some in parts.values() for run in some))
    if not runs:
        raise ValueError(f"no rule takes any f: {next(iter(refusals.values()))}")
    _check_attacks(runs)
    searched = any(run.attack in SEARCHED for run in runs)
    refuse_unused(options, searched, f"the attacks {', '.join(SEARCHED)}", "evaluations")
    dataset = load(options.dataset, data_dir=options.data_dir)
    training, _ = split(dataset, options.validation)
    _check_root(options, runs, len(training.train_labels))
    levels = tuple(dict.fromkeys(run.heterogeneity for run in runs))
    check_training(training, levels, options.n, options)
    results = Results(options.results, dataset.name if joined else None, mend=True)
    if not options.allow_mixed:
        _refuse_other_code(results, runs)
    records.prepare_folder(options.results)
    dimension = dimension_of(runs[0], dataset)
    mine = shard_of(runs, *shard, lambda run: cost.seconds_of(run, dimension))
    return Prepared(options, parts, runs, mine, refusals, dataset, results)


def _shard(given: str) -> tuple[int, int]:
    number, slash, count = given.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f"shard must be K/N with K from 1 to N, such as 1/2, got {given!r}")
    check_value("shard", int(count))
    return int(number), int(count)


def _check_full(options: Options) -> None:
    """Raises ValueError if --full, which has values of its own, stands beside others."""
    usual = Options()
    for name in OF_PARTS if options.full else ():
        value = getattr(options, name)
        asked = [one for one in value if not (name == "attack" and own.is_own(one))]
        if asked and value != getattr(usual, name):
            raise ValueError(
                f"full has {name} of its own, got --{name} {' '.join(map(str, asked))}: leave one "
                "of the two out"
            )


def _refusals(asked: Sequence[Options]) -> Refusals:
    """Why rules refuse an f behind a pre-aggregator, of those that are asked for together."""
    rules, attacks = (
        tuple(dict.fromkeys(name for each in asked for name in getattr(each, axis)))
        for axis in ("rule", "attack")
    )
    cells = dict.fromkeys(cell for each in asked for cell in itertools.product(each.pre, each.f))
    own_first = sorted(rules, key=own.is_own, reverse=True)
    return refusals_of(own_first, cells, attacks, asked[0].n)


def _check_attacks(runs: Sequence[Run]) -> None:
    """Raises ValueError where an attack can't be made of so few honest rows."""
    for name, n, f in dict.fromkeys((run.attack, run.n, run.f) for run in runs):
        if own.is_own(name):
            continue  # checked with the rules
        honest, rows = (jax.ShapeDtypeStruct((count, 2), jnp.float32) for count in (n - f, f))
        try:
            if name in SEARCHED and n - f < 2:
                raise ValueError("a search needs at least 2 honest rows")
            if name not in SEARCHED:
                jax.eval_shape(attack_of(name, f), jax.eval_shape(jax.random.key, 0), honest, rows)
        except ValueError as error:
            raise ValueError(
                f"attack {name} can't be made of n = {n}, f = {f}: {error}: leave it out, or give "
                "a smaller --f or a larger --n"
            ) from error


def _check_root(options: Options, runs: Sequence[Run], most: int) -> None:
    asking = [rule for rule in dict.fromkeys(run.rule for run in runs) if trusting(rule)]
    judges = "rules that judge by the server's examples, such as fltrust"
    refuse_unused(options, bool(asking), judges, "root_examples")
    if asking and not 1 <= options.root_examples <= most:
        raise ValueError(
            f"root_examples must be from 1 to {most}, the training images without validation, for "
            f"{asking[0]}, got {options.root_examples}"
        )


def _refuse_other_code(results: Results, runs: Sequence[Run]) -> None:
    """Of the runs in the folder, beside those to come; those that are kept are told of instead."""
    found = results.of(runs)
    found = found[~found["kept"]].assign(file=results.folder.name)
    if results.missing(runs):
        new = {"code_digest": code(), "jax_version": versions()["jax_version"], "file": "to come"}
        found = pd.concat([found, pd.DataFrame([new])], ignore_index=True)
    refuse_different_code(found)


class Outcome(NamedTuple):
    runs: pd.DataFrame  # one row a run
    attacked: pd.DataFrame  # one row a rule, pre-aggregator, f, data, momentum and attack
    table: pd.DataFrame  # the worst cases, ranked
    breakdown: pd.DataFrame
    gains: dict[str, pd.DataFrame]
    costs: pd.DataFrame


def outcome_of(runs: pd.DataFrame) -> Outcome:
    """All tables of these runs."""
    table = ranking.worst_cases(runs)
    gains = {"pre": ranking.gains(runs, "pre", "none")}
    gains["momentum"] = ranking.gains(runs, "momentum", 0.0)
    return Outcome(
        runs,
        ranking.under_attack(runs),
        table,
        ranking.breakdown(table),
        gains,
        ranking.costs(runs),
    )


def main(options: Options) -> dict[str, Outcome]:
    """Run what is asked for and not on disk yet: the tables by question, `RANKING` alone without
    --full.
    """
    return compute(prepare(options))


def compute(prepared: Prepared, stop: Ask = never) -> dict[str, Outcome]:
    """The tables of these runs by question, from their files; none while other shards have runs to
    compute.
    """
    dimension = dimension_of(prepared.runs[0], prepared.dataset)
    work = {run: cost.seconds_of(run, dimension) for run in prepared.mine}
    fresh = set(prepared.results.missing(prepared.mine))
    done = _work((run for run in prepared.mine if run not in fresh), work)
    with contextlib.closing(Progress(total=sum(work.values()), done=done)) as progress:
        simulate(
            prepared.runs,
            prepared.mine,
            prepared.dataset,
            prepared.results,
            lambda some, text: progress.add(_work([r for r in some if r in fresh], work), text),
            stop=stop,
        )
    results = prepared.results.again()
    if results.missing(prepared.runs):
        return {}
    return {name: outcome_of(results.of(runs)) for name, runs in prepared.parts.items()}


def _work(runs: Iterable[Run], work: dict[Run, float]) -> float:
    return sum(work[one] for one in runs)


def dimension_of(run: Run, dataset: Dataset) -> int:
    """Parameters of the network."""
    training, _ = split(dataset, run.validation)
    part = share("iid", training.train_labels, run.n, 0)
    parameters, _ = jax.eval_shape(task_of(run, training, part).initialise, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(parameters))


def extent(prepared: Prepared) -> str:
    """How much there is to do, in a line."""
    runs, missing = prepared.mine, prepared.results.missing(prepared.mine)
    dimension = dimension_of(prepared.runs[0], prepared.dataset)
    programs, seconds = cost.estimate(prepared.runs, missing, dimension)
    here = "" if len(runs) == len(prepared.runs) else f" of {len(prepared.runs):,}"
    return (
        f"{len(runs):,}{here} runs, {len(runs) - len(missing):,} of them finished; "
        f"{len(missing):,} to compute in {programs} programs, about {duration(seconds)} on "
        f"{cores()} cores"
    )


def write(options: Options, outcome: Outcome, folder: Path) -> list[Path]:
    """The tables as CSV, and the pictures."""
    named_tables = {
        "benchmark": outcome.table,
        "attacks": outcome.attacked,
        "breakdown": outcome.breakdown,
        "cost": outcome.costs,
        **{f"gain-{what}": table for what, table in outcome.gains.items() if len(table)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = [save_table(table, folder / f"{name}.csv") for name, table in named_tables.items()]
    figures = pictures.figures(outcome.attacked, outcome.table, options.n)
    return paths + save_figures(figures, folder)


def execute(options: Options, prepared: Prepared, stop: Ask) -> None:
    """Run what is missing; print and write all of it."""
    if options.dry_run:
        print(extent(prepared))
        return
    tell = functools.partial(print, file=beside(options.format), flush=True)
    tell(extent(prepared))
    outcomes = compute(prepared, stop)
    if not outcomes:
        tell(f"shard {options.shard} is done; the last one to be done has the tables of all")
        return
    out = Printer(options.format)
    setting = f"{options.dataset}, n = {options.n}, {options.steps} steps"
    paths: list[Path] = []
    for name, outcome in outcomes.items():
        question = f"{PARTS[name].question}: " if options.full else ""
        title = f"{question}{setting}, {counted(outcome.runs['seed'].nunique(), 'seed')}"
        refusals = _among(prepared.refusals, prepared.parts[name])
        tables.print_ranking(outcome.table, outcome.costs, refusals, options.n, title, out)
        tables.print_gains(outcome.gains, out)
        folder = folder_of(options, Grid, Setting)
        drawing(stop)
        paths += write(options, outcome, folder / name if options.full else folder)
    rows = pd.concat([outcome.runs for outcome in outcomes.values()]).drop_duplicates(list(FIELDS))
    if kept := int(rows["kept"].sum()):
        tell(f"{kept:,} of {len(rows):,} runs are those kept with the benchmark")
    if found := kinds(rows):
        tell(f"note: its runs are of different code: {'; '.join(found)}")
    tell(f"written: {paths[0]}, and {len(paths) - 1} tables and pictures beside it")


def _among(refusals: Refusals, runs: Sequence[Run]) -> Refusals:
    """The refusals of what these runs are a part of."""
    asked = {(run.pre, run.f) for run in runs}
    return {which: reason for which, reason in refusals.items() if which[1:] in asked}
