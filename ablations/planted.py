"""Calibration of the whole pipeline: many tiny data sets with effects of known strength planted in them.

On each data set, a study file is read and planned, its runs are executed and recorded, and claims are judged from the
records. Two comparisons are made on each:

    null       TMFUN against itself, trained under other seeds. Both sides have the same distribution, on any data set
               and whatever the model does, so "supported" and "contradicted" are false by construction. (A switch
               without effect would be no test: equal seeds then give equal runs, and no difference is ever seen.)
    content    the shipped claim that content helps, TMFUN against the same model on IDs. `signal`, the share of taste
               that content explains, is the ladder; at 0 nothing is planted, content is a burden, and "supported"
               would be false.

What is in it, and what is not. The content claim goes from its claim file through `findings` to the verdict. No claim
can say what the null compares, so the null has no claim file: the records of both sides go through `compare`, Holm's
correction of one p, and `judge`. In both, a family is one claim, so Holm corrects nothing (`calibration` tries a family
of four); no grid is searched, no control is run, and runs are executed one by one, without the scheduler.

Kept of each data set are the scores of its runs, and the verdicts with the first 3, 6, 8 and 10 seeds. What is done
is written as it goes; the same call goes on from there.
"""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib

from ablations import calibration
from ablations.calibration import SEEDS
from ablations.execution import execute
from ablations.outcomes import compare, findings, finished, per_user
from ablations.planning import Plan, plan_on_data
from ablations.records import Store
from ablations.studies import read_study
from ablations.verdicts import RULES, holm, judge
from tmfun.errors import InputError
from tmfun.model import TMFUN
from tmfun.recommender import NUMERICS

LADDER = (0.0, 0.2, 0.3, 0.4, 0.6, 1.0)  # signal
DATASETS = 50  # per step
MOST = max(SEEDS)
CLAIM = "content-helps"
STUDY = """
title = "One step of the ladder"
datasets = ["synthetic-tiny[users=100,items=150,reliability=1.0,signal={signal},seed={seed}]"]
seeds = {most}
training = {{ learning_rate = 1e-2, batch_size = 512, max_epochs = 60, evaluate_every = 5, patience = 4 }}
claims = ["content-helps"]

[models.tmfun]
variants = ["full", "id-only"]
set = {{ dimension = 16 }}
"""


def calibrate(
    path: Path, jobs: int, datasets: int = DATASETS, say: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Run what `path` lacks of so many data sets per step, `jobs` side by side, and add it there one by one.

    `say` is told after each how many are done, and of how many. Raises InputError for a file of another design.
    """
    table = _empty()
    if path.exists():
        kept = calibration.read(path)
        if {**kept, "datasets": []} != table:
            raise InputError(f"{path}: made by another design or another version of the model; delete it to start anew")
        table = kept
    done = {(row["signal"], row["seed"]) for row in table["datasets"]}
    wanted = [(signal, seed) for seed in range(datasets) for signal in LADDER]  # even, whenever it is stopped
    to_do = [pair for pair in wanted if pair not in done]
    ready = len(wanted) - len(to_do)
    say(ready, len(wanted))
    for row in joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(joblib.delayed(one)(*p) for p in to_do):
        table["datasets"] = sorted([*table["datasets"], row], key=lambda row: (row["signal"], row["seed"]))
        calibration.write(path, table, "datasets")
        ready += 1
        say(ready, len(wanted))


def one(signal: float, seed: int, most: int = MOST) -> dict[str, Any]:
    """One data set, from the study's file to its verdicts."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.toml"
        file.write_text(STUDY.format(signal=signal, seed=seed, most=most), encoding="utf-8")
        store = Store(Path(folder) / "results")
        plan = plan_on_data(read_study(str(file)))
        others = _with_seeds(plan, range(most, 2 * most), "full")
        for run in [*plan.runs(store), *others.runs(store)]:
            execute(run, store)
        store.refresh()
        full, again, ids = (
            {seed: store.metric(run.run_id, calibration.METRIC, "test") for seed, run in finished(cell, store).items()}
            for cell in (plan.cells[0], others.cells[0], plan.cells[1])
        )
        row = {
            "signal": signal,
            "seed": seed,
            "full": _rounded(full),
            "again": _rounded(again),
            "ids": _rounded(ids),
            "null": [_null(plan, others, store, n) for n in SEEDS if n <= most],
            "content": [_content(plan, store, n) for n in SEEDS if n <= most],
        }
    return row


def _content(plan: Plan, store: Store, seeds: int) -> str:
    """The verdict on the shipped claim with the first so many seeds."""
    (finding,) = findings(_with_seeds(plan, range(seeds)), store, [CLAIM])
    return finding.verdict.word


def _null(plan: Plan, others: Plan, store: Store, seeds: int) -> str:
    """The verdict on the full model against itself: the n-th seed of one side is paired with the n-th of the other."""
    sides = [finished(p.cells[0], store) for p in (plan, others)]
    better, worse = (
        per_user(dict(zip(range(seeds), runs.values(), strict=False)), store, calibration.METRIC) for runs in sides
    )
    compared = compare(better, worse)
    assert compared is not None
    return judge(compared.effect, holm([compared.effect.p])[0], 1, calibration.SMALLEST).word


def _with_seeds(plan: Plan, seeds: range, only: str | None = None) -> Plan:
    """The plan with other seeds, of one entry alone if `only` says so."""
    cells = [cell for cell in plan.cells if only in (None, cell.entry.name)]
    entries = [dataclasses.replace(cell.entry, seeds=tuple(seeds)) for cell in cells]
    changed = [dataclasses.replace(cell, entry=entry) for cell, entry in zip(cells, entries, strict=True)]
    return dataclasses.replace(plan, cells=tuple(changed))


def _rounded(scores: dict[int, float]) -> list[float]:
    return [round(score, 6) for score in scores.values()]


def _empty() -> dict[str, Any]:
    """A calibration of this design without data sets."""
    return {
        "schema": calibration.SCHEMA,
        "rules": RULES,
        "study": STUDY,
        "verdicts_with_seeds": list(SEEDS),
        "numerics": [NUMERICS, TMFUN.numerics],
        "datasets": [],
    }
