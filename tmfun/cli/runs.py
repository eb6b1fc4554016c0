"""plan, run, status: what a study would run, running it, and where it stands."""

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from tmfun.cli.common import DONE, FAILED, STUDY, Commands, command, count, described, positive, prints_json
from tmfun.errors import InputError

if TYPE_CHECKING:
    from ablations.planning import Cell, Plan
    from ablations.records import Store
    from ablations.scheduling import Outcome, Progress
    from ablations.specification import Specification


def declare(commands: Commands) -> None:
    """Declare this file's commands."""
    plan = command(commands, "plan", _plan, "show what a study would run and cost", "plan paper")
    plan.add_argument("study", metavar="STUDY", help=STUDY)
    prints_json(plan)
    takes_places(command(commands, "run", run, "run what a study lacks", "run quick --jobs 2"))
    status = command(commands, "status", _status, "show where a study stands", "status quick")
    status.add_argument("study", metavar="STUDY", help=STUDY)
    prints_json(status)


def takes_places(parser: argparse.ArgumentParser) -> None:
    """Let the command run a study, and the user say where."""
    parser.add_argument("study", metavar="STUDY", help=STUDY)
    parser.add_argument("--jobs", type=positive, help="runs side by side (default: one per core, or one per GPU)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:0, ... (default: auto)")
    stack = (
        "runs to train as one wider problem, for GPUs: of one model, with equal switches, that differ in seeds and in"
        " numbers such as l2 or training.learning_rate (default: 1)"
    )
    parser.add_argument("--stack", type=positive, default=1, help=stack)


def _plan(options: argparse.Namespace) -> int:
    from ablations.planning import plan_on_data
    from ablations.records import Store
    from ablations.scheduling import slots
    from ablations.studies import read_study

    plan, store, places = plan_on_data(read_study(options.study)), Store(), slots("auto")
    if options.json:
        print(json.dumps(_plan_numbers(plan, store, places), indent=1))
    else:
        _print_plan(plan, store, places)
    return DONE


def run(options: argparse.Namespace) -> int:
    """Print the plan of a study, and run what has no record."""
    from ablations.planning import plan_on_data
    from ablations.records import Store
    from ablations.scheduling import slots
    from ablations.studies import read_study

    places = slots(options.device, options.jobs)
    plan, store = plan_on_data(read_study(options.study)), Store()
    _print_plan(plan, store, places)
    return train(plan, store, places, options.stack)


def _plan_numbers(plan: "Plan", store: "Store", places: list[str]) -> dict[str, Any]:
    from ablations.costs import Estimator
    from ablations.execution import kind_of
    from ablations.search import unequal

    known, to_do = len(plan.runs(store)), len(plan.to_do(store))
    return {
        "study": plan.study.name,
        "datasets": list(dict.fromkeys(cell.card.name for cell in plan.cells)),
        "missing": list(plan.missing),
        "recorded": known - to_do,
        "to_do": to_do,
        "waiting_for_a_winner": plan.symbolic(store),
        "side_by_side": len(places),
        "device": kind_of(places[0]),
        "search_sizes": {str(size): names for size, names in plan.search_sizes().items()},
        "unequal_search": unequal(plan),
        "seconds": round(Estimator(store, kind_of(places[0])).remaining(plan, store, len(places)), 1),
        "skipped": [
            {"entry": cell.entry.name, "dataset": cell.card.name, "reason": cell.skipped}
            for cell in plan.cells
            if cell.skipped
        ],
    }


def _print_plan(plan: "Plan", store: "Store", places: list[str]) -> None:
    from ablations.costs import spoken
    from tmfun import formats

    numbers = _plan_numbers(plan, store, places)
    print(f"{plan.study.title}  [study {plan.study.name}]")
    for name in plan.missing:
        print(f"  missing: {formats.missing(name)}")
    for card in dict.fromkeys(cell.card for cell in plan.cells):
        print(f"  data set {described(card)}")
        cells = [cell for cell in plan.cells if cell.card == card]
        for cell in (cell for cell in cells if cell.entry.interpretation is None):
            print(f"    {cell.entry.name:<36} {_stages(cell, store)}{_interpretations(cell, cells)}")
    if numbers["unequal_search"]:
        print(f"  warning: {numbers['unequal_search']}")
    waiting = numbers["waiting_for_a_winner"]
    later = f", then up to {waiting} of grid winners" if waiting else ""
    cost = f": about {spoken(numbers['seconds'])}, {len(places)} side by side" if numbers["to_do"] else ""
    print(f"  {numbers['recorded']} runs have records, {numbers['to_do']} to run{later}{cost}", flush=True)


def _interpretations(cell: "Cell", cells: list["Cell"]) -> str:
    """Under how many interpretations an entry runs, and which of them the data set has no use for."""
    own = [c for c in cells if c.entry.interpretation and c.entry.name.partition("[")[0] == cell.entry.name]
    skipped = [f"; not {c.entry.interpretation}: {c.skipped}" for c in own if c.skipped]
    return f"; the same under {count(len(own) - len(skipped), 'interpretation')}{''.join(skipped)}" if own else ""


def _stages(cell: "Cell", store: "Store") -> str:
    if cell.skipped:
        return f"skipped: {cell.skipped}"
    seeds = count(len(cell.entry.seeds), "seed")
    if not cell.grid:
        return seeds
    winner = cell.winner(store)
    chosen = "the winner by validation" if winner is None else f"the winner {cell.entry.points[winner]}"
    tries = f"{len(cell.entry.points)} grid points x {count(len(cell.entry.grid_seeds), 'seed')}"
    return f"{tries}, then {chosen} with {seeds}"


def train(plan: "Plan", store: "Store", places: list[str], stack: int = 1) -> int:
    """Run what is missing, a line per run; FAILED if any run failed. InputError if nothing here can compile them."""
    from ablations.costs import spoken
    from ablations.scheduling import run_plan
    from tmfun.training import no_compiler

    started = time.monotonic()
    names = plan.names(store)

    def line(outcome: "Outcome", progress: "Progress") -> None:
        run, done = outcome.run, len(progress.done)
        if run.run_id not in names:
            names.update(plan.names(store))
        total = done + progress.to_do + progress.symbolic
        left = (time.monotonic() - started) / done * (total - done)
        what = f"FAILED: {outcome.failure}" if outcome.failure else _found(run, store)
        print(
            f"  [{done}/{total}] {run.dataset}  {names[run.run_id]}  seed {run.seed}: {what}"
            f"  ({outcome.seconds:.0f} s; {spoken(left)} left)",
            flush=True,
        )

    if any(run.training.get("compiled") for run in plan.to_do(store)) and (reason := no_compiler()):
        raise InputError(reason)
    outcomes = run_plan(plan, store, places, line, stack)
    failed = [outcome for outcome in outcomes if outcome.failure]
    if outcomes:
        done = count(len(outcomes) - len(failed), "run")
        print(f"  {done} done in {spoken(time.monotonic() - started)}, {len(failed)} failed", flush=True)
    for outcome in failed:
        path = store.failure_path(outcome.run.run_id)
        print(f"tmfun: {outcome.run.model} on {outcome.run.dataset}: {outcome.failure} (see {path})", file=sys.stderr)
    return FAILED if failed else DONE


def _found(run: "Specification", store: "Store") -> str:
    store.refresh()
    value = store.metric(run.run_id, "recall@20", "validation")
    at = f", best epoch {store.read(run.run_id).result['best_epoch']}" if run.training else ""
    return f"recall@20 {value:.4f} on validation{at}"


def _status(options: argparse.Namespace) -> int:
    from ablations.planning import plan_on_records
    from ablations.records import Store
    from ablations.studies import read_study

    store = Store()
    plan = plan_on_records(read_study(options.study), store)
    cells = [_standing(cell, store) for cell in plan.cells]
    if options.json:
        print(json.dumps({"study": plan.study.name, "cells": cells, "no_records": list(plan.missing)}, indent=1))
        return DONE
    print(f"{plan.study.title}  [study {plan.study.name}]")
    for cell in cells:
        grid = f"grid {cell['grid_done']} of {cell['grid']}, " if cell["grid"] else ""
        state = f"{grid}seeds {cell['seeds_done']} of {cell['seeds']}"
        failed = f", {cell['failed']} failed" if cell["failed"] else ""
        print(f"  {cell['dataset']:<28} {cell['entry']:<36} {cell['skipped'] or state}{failed}")
    for name in plan.missing:
        print(f"  {name}: no records")
    return DONE


def _standing(cell: "Cell", store: "Store") -> dict[str, Any]:
    """How far one entry on one data set has come."""
    candidates, final = cell.candidates(), cell.final(store) or []
    return {
        "dataset": cell.card.version,
        "entry": cell.entry.name,
        "grid_done": sum(run.run_id in store for run in candidates),
        "grid": len(candidates),
        "seeds_done": sum(run.run_id in store for run in final),
        "seeds": len(cell.entry.seeds),
        "skipped": f"skipped: {cell.skipped}" if cell.skipped else None,
        "failed": sum(store.failure_path(run.run_id).exists() for run in candidates + final),
    }
