"""Runs for real: from a study file to records, in processes of their own."""

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ablations.controlled import survivals
from ablations.execution import execute, execute_stack, run_in_process
from ablations.multiverse import multiverses
from ablations.outcomes import findings
from ablations.planning import Plan, plan_on_data, plan_on_records
from ablations.records import Store, ranks_hash
from ablations.scheduling import Outcome, Progress, run_plan, slots, stacks
from ablations.specification import Specification
from ablations.studies import read_study
from baselines import model_class
from tmfun import controls, formats
from tmfun.errors import InputError
from tmfun.settings import read_settings
from tmfun.stacking import fit_stacked
from tmfun.training import DivergedError, Training, fit


def ignore(outcome: Outcome, progress: Progress) -> None:
    """No progress lines."""


@pytest.fixture
def plan(on_disk: Path, study_file: Path) -> Plan:
    return plan_on_data(read_study(str(study_file)))


def contents(store: Store) -> dict[str, tuple[dict, bytes]]:
    """The `result` and the arrays of every record."""
    return {
        path.stem: (json.loads(path.read_text())["result"], path.with_suffix(".npz").read_bytes())
        for path in store.root.glob("runs/*/*.json")
    }


def test_stacks_hold_runs_that_differ_in_their_seeds_or_in_numbers_of_their_own(plan: Plan, store: Store) -> None:
    wave = plan.to_do(store)
    assert stacks(wave, 1) == [[run] for run in wave]
    grouped = stacks(wave, 8)
    assert [len(group) for group in grouped] == [2, 2, 1], "two variants with two seeds, and popularity"
    assert sorted(run.run_id for group in grouped for run in group) == sorted(run.run_id for run in wave)
    for group in grouped:
        assert len({replace(run, seed=0).run_id for run in group}) == 1
    controlled = [replace(run, control="items-permuted") for run in grouped[0]]
    assert stacks(controlled, 8) == [[run] for run in controlled], "a control draws from the seed what a run sees"
    by_row = [replace(run, training={**run.training, "optimiser": "row-adam"}) for run in wave if run.training]
    assert by_row and stacks(by_row, 8) == [[run] for run in by_row], "a stack's gradients are dense"
    assert [len(group) for group in stacks([replace(wave[0], seed=seed) for seed in range(5)], 2)] == [2, 2, 1]

    def varied(part: str, **values: object) -> list[Specification]:
        return [wave[0], replace(wave[0], **{part: getattr(wave[0], part) | values})]

    for together in (varied("settings", l2=0.5, temperature=0.9), varied("training", learning_rate=0.1, decay=0.5)):
        assert stacks(together, 8) == [together]
    for apart in (varied("settings", heads=2), varied("training", batch_size=7), varied("training", patience=3)):
        assert stacks(apart, 8) == [[run] for run in apart]


def test_a_stacked_study_leaves_the_records_of_an_unstacked_one(plan: Plan, store: Store, tmp_path: Path) -> None:
    stacked = Store(tmp_path / "stacked")
    outcomes = run_plan(plan, stacked, ["cpu"], ignore, stack=2)
    assert [outcome.failure for outcome in outcomes] == [None] * 5
    run_plan(plan, store, ["cpu", "cpu"], ignore)
    assert stacked.run_ids() == store.run_ids()
    for run_id in store.run_ids():
        one, other = store.read(run_id), stacked.read(run_id)
        assert other.specification == one.specification
        assert other.provenance["stacked"] == (2 if other.specification.model == "tmfun" else 1)
        assert other.result["best_epoch"] == one.result["best_epoch"]
        assert np.mean(stacked.arrays(run_id)["test"] == store.arrays(run_id)["test"]) > 0.97
        assert set(stacked.arrays(run_id)) == set(store.arrays(run_id))


def test_a_stack_that_fails_in_part_keeps_the_rest(plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = next(group for group in stacks(plan.to_do(store), 2) if len(group) == 2)

    def partly(*arguments: object) -> list:
        first, _ = fit_stacked(*arguments)
        return [first, DivergedError("the loss is nan in epoch 3")]

    monkeypatch.setattr("ablations.execution.fit_stacked", partly)
    errors = execute_stack(pair, store)
    store.refresh()
    assert [run.run_id in store for run in pair] == [True, False]
    assert list(errors) == [pair[1].run_id]
    with pytest.raises(SystemExit) as exit_code:
        run_in_process([run.to_json() for run in pair], str(store.root), "cpu", {})
    assert exit_code.value.code == 1
    lines = store.failure_path(pair[1].run_id).read_text().splitlines()
    assert lines[0] == "the loss is nan in epoch 3" and "DivergedError" in lines[-1]


def test_a_study_runs_side_by_side_and_rerunning_it_trains_nothing(plan: Plan, store: Store) -> None:
    lines: list[int] = []
    outcomes = run_plan(plan, store, ["cpu", "cpu"], lambda outcome, progress: lines.append(progress.to_do))
    assert [outcome.failure for outcome in outcomes] == [None] * 5
    assert lines == [4, 3, 2, 1, 0]
    assert len(store) == 5 and plan.to_do(store) == []
    before = contents(store)
    assert run_plan(plan, store, ["cpu"], ignore) == []

    victim = plan.runs(store)[0]
    next(store.root.glob(f"runs/*/{victim.run_id}.json")).unlink()
    store.refresh()
    again = run_plan(plan, store, ["cpu"], ignore)
    assert [outcome.run for outcome in again] == [victim]
    assert contents(store) == before, "the same specification gives the same result and ranks, bit for bit"

    recorded = plan_on_records(plan.study, Store(store.root))
    (finding,) = findings(recorded, store)
    assert finding.effect is not None and finding.seeds == (0, 1)
    assert finding.verdict.reason == "2 of the 6 seeds that a family of 1 needs"


def test_a_run_stores_what_its_model_ranked(plan: Plan, store: Store) -> None:
    run = plan.runs(store)[0]
    execute(run, store)
    store.refresh()
    record, arrays = store.read(run.run_id), store.arrays(run.run_id)
    assert record.result["ranks_sha256"] == ranks_hash({s: arrays[s].astype(np.int32) for s in ("validation", "test")})
    assert record.result["epochs"] == 2 and len(record.result["history"]) == 1
    best = record.result["history"][0]["recall@20"]
    assert store.metric(run.run_id, "recall@20", "validation") == best
    assert arrays["early_attention"].shape == (25, 2)
    assert record.provenance["device"] == "cpu" and record.provenance["seconds"]["total"] > 0


def test_a_failed_run_loses_only_itself_and_is_tried_again(
    plan: Plan, store: Store, on_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = on_disk / "text_feat.npy"
    whole = features.read_bytes()
    features.write_bytes(whole[:-8])  # after planning, so that only the runs meet it
    outcomes = run_plan(plan, store, ["cpu"], ignore)
    assert len(outcomes) == 5 and all("text_feat.npy: not a complete numpy file" in str(o.failure) for o in outcomes)
    assert len(store) == 0 and store.failure_path(outcomes[0].run.run_id).exists()
    features.write_bytes(whole)
    assert [outcome.failure for outcome in run_plan(plan, store, ["cpu"], ignore)] == [None] * 5
    assert not list((store.root / "failures").iterdir())


CONTROLLED = """
title = "Controlled"
datasets = ["synthetic-tiny[users=40,items=40,clusters=5]"]
seeds = 2
training = { max_epochs = 2, batch_size = 64 }
claims = ["attention-fusion", "own-content"]
[models.tmfun]
variants = ["full", "no-attention"]
set = { dimension = 8, neighbours = 3 }
controls = ["items-permuted"]
interpretations = ["edge_weights=binary", "heads=4"]
[models.content-knn]
set = { neighbours = 3 }
controls = ["noise"]
"""


def test_a_study_with_controls_and_interpretations_from_plan_to_report(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "controlled.toml"
    path.write_text(CONTROLLED)
    plan = plan_on_data(read_study(str(path)))
    outcomes = run_plan(plan, store, ["cpu"], ignore)
    assert [outcome.failure for outcome in outcomes] == [None] * (2 * (2 + 2 + 2 + 1) + 1 + 2), "idle heads are shared"
    controlled = {run.run_id: run for run in plan.runs(store) if run.control}
    plain_hash = plan.cells[0].card.content_hash
    for run_id, run in controlled.items():
        record = store.read(run_id)
        assert record.specification == run and run.content_hash == plain_hash, "the data set's, as it was loaded"
    assert {run.seed for run in controlled.values() if run.model == "content-knn"} == {0, 1}
    assert len(store.cards()) == 1, "a control is no data set of its own"

    recorded = plan_on_records(plan.study, Store(store.root))
    by_name = {finding.claim.name: finding for finding in findings(recorded, store)}
    assert by_name["own-content"].seeds == (0, 1)
    (survival,) = survivals(recorded, store)
    assert survival.claim.name == "attention-fusion" and survival.word == "too few seeds"
    (attention,) = [each for each in multiverses(recorded, store) if each.claim.name == "attention-fusion"]
    assert [reading.name for reading in attention.readings] == ["default", "edge_weights=binary", "heads=4"]
    assert len(attention.measured) == 3


def test_a_run_under_a_control_is_the_model_on_the_controlled_data(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "controlled.toml"
    path.write_text(CONTROLLED)
    plan = plan_on_data(read_study(str(path)))
    run = next(run for run in plan.runs(store) if run.control == "items-permuted" and run.seed == 1)
    execute(run, store)
    store.refresh()
    seen = controls.apply("items-permuted", formats.load(run.dataset), 1)
    settings = read_settings(model_class(run.model).settings_type, run.settings, "")
    fitted = fit(model_class(run.model)(seen, settings, 1), seen, read_settings(Training, run.training, ""), 1)
    assert store.read(run.run_id).result["ranks_sha256"] == ranks_hash(fitted.ranks)


def test_data_that_changed_after_planning_is_refused(plan: Plan, store: Store, on_disk: Path) -> None:
    np.save(on_disk / "text_feat.npy", np.random.default_rng(9).normal(size=(25, 4)))
    with pytest.raises(InputError, match="has changed since the run was planned"):
        execute(plan.runs(store)[0], store)


def test_a_killed_worker_is_a_failure_with_its_signal(
    tmp_path: Path, on_disk: Path, study_file: Path, store: Store
) -> None:
    study_file.write_text(study_file.read_text().replace("max_epochs = 2", "max_epochs = 100000, patience = 100000"))
    long = plan_on_data(read_study(str(study_file)))
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.extend(run_plan(long, store, ["cpu"], lambda outcome, _: None)))
    thread.start()
    killed: set[int] = set()
    while thread.is_alive():
        time.sleep(0.2)
        for pid in _workers() - killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
    failures = [outcome.failure for outcome in outcomes if outcome.run.training]
    assert failures == ["the process was ended by signal 9 (out of memory?)"] * 4
    assert [run.model for run in [o.run for o in outcomes if not o.failure]] in ([], ["popularity"])


def _workers() -> set[int]:
    """The process ids of running workers: children of the fork server that this process started."""
    from multiprocessing import forkserver

    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    children = Path(f"/proc/{server}/task/{server}/children")
    return {int(pid) for pid in children.read_text().split()} if server and children.exists() else set()


def test_devices_that_are_not_there_are_refused() -> None:
    assert slots("cpu", 3) == ["cpu"] * 3
    with pytest.raises(InputError, match="no device 'cuda:99'"):
        slots("cuda:99")
    with pytest.raises(InputError, match="unknown device 'tpu'"):
        slots("tpu")
