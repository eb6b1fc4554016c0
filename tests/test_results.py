"""The committed records and what they must be: complete, consistent, and reachable from the shipped studies."""

import json
from pathlib import Path

import numpy as np
import pytest

from ablations import calibration
from ablations.planning import plan_on_records
from ablations.records import HELD_OUT, SCHEMA, Store, ranks_hash
from ablations.studies import read_study
from baselines import MODELS
from reports.report import write_calibration, write_report
from tmfun import metrics

ROOT = Path(__file__).parents[1]
STORE = Store(ROOT / "results")
RUNS = STORE.run_ids()
COMMITTED = ("baby", "published")  # studies whose reports are kept in git


def test_results_hold_no_code_and_no_data() -> None:
    kinds = {path.suffix for path in STORE.root.rglob("*") if path.is_file()}
    assert kinds <= {".json", ".npz", ".md", ".txt"}
    assert not list(STORE.root.rglob("*_feat*")) and not list(STORE.root.rglob("*.inter"))


@pytest.mark.parametrize("run_id", RUNS)
def test_every_record_is_whole_and_its_numbers_follow_from_its_ranks(run_id: str) -> None:
    record, arrays, card = STORE.read(run_id), STORE.arrays(run_id), STORE.card(run_id)
    specification = record.specification
    assert specification.run_id == run_id, "the id is the hash of the specification"
    assert (specification.dataset, specification.content_hash) == (card.name, card.content_hash)
    assert specification.model in MODELS and specification.protocol == "lattice"
    ranks = {split: arrays[split].astype(np.int32) for split in HELD_OUT}
    assert record.result["ranks_sha256"] == ranks_hash(ranks)
    for split in HELD_OUT:
        assert len(ranks[split]) == getattr(card, split) == len(STORE.held_out(card).users[split])
        assert ranks[split].min() >= 1 and ranks[split].max() <= card.items
    if specification.training:
        metric = specification.training["select_by"]
        best = max(entry[metric] for entry in record.result["history"])
        first = next(entry["epoch"] for entry in record.result["history"] if entry[metric] == best)
        assert record.result["best_epoch"] == first, "the first best epoch wins"
        assert metrics.mean(metric, ranks["validation"], STORE.held_out(card).users["validation"]) == best
    proxied = {m.name for m in card.modalities if m.origin == "proxy"}
    assert set(record.result["proxies"]) <= proxied
    if specification.model == "tmfun" and specification.settings["modalities"] == "all":
        replaced = specification.control in ("noise", "constant")
        assert set(record.result["proxies"]) == (set() if replaced else proxied), "runs on proxy features say so"


def test_no_two_ranks_of_one_user_are_equal() -> None:
    for run_id in RUNS:
        users, arrays = STORE.held_out(STORE.card(run_id)).users, STORE.arrays(run_id)
        keys = np.concatenate([users[s].astype(np.int64) * 2**32 + arrays[s] for s in HELD_OUT])
        assert len(np.unique(keys)) == len(keys)


def test_the_same_model_under_two_names_has_the_same_ranks() -> None:
    """ID only is LightGCN, number for number, wherever both were run with the same settings."""
    seen: dict[tuple, list[str]] = {}
    for run_id in RUNS:
        record = STORE.read(run_id)
        s = record.specification
        is_id_only = s.model == "tmfun" and s.settings["modalities"] == [] and s.settings["encoder"] == "lightgcn"
        if is_id_only or s.model == "lightgcn":
            shared = tuple(s.settings[key] for key in ("dimension", "layers", "l2"))
            machine = json.dumps([record.provenance[key] for key in ("device", "processor", "versions")])
            key = (s.content_hash, shared, json.dumps(s.training), s.seed, machine)
            seen.setdefault(key, []).append(record.result["ranks_sha256"])
    assert all(len(set(hashes)) == 1 for hashes in seen.values())


def test_every_json_file_has_the_current_schema() -> None:
    for path in STORE.root.glob("runs/*/*.json"):
        assert json.loads(path.read_text())["schema"] == SCHEMA


@pytest.fixture(scope="module")
def statistics() -> dict:
    return calibration.read(STORE.root / "calibration" / "statistics.json")


def test_the_statistics_are_calibrated(statistics: dict) -> None:
    """The committed simulation is the one that the code describes, and shows what it must show."""
    rows, studies = statistics["rows"], statistics["studies"]
    assert statistics["seed"] == calibration.SEED and studies >= 2000
    wanted = {(scenario, seeds) for scenario in calibration.SCENARIOS for seeds in calibration.SEEDS}
    assert {(row["scenario"], row["seeds"]) for row in rows} == wanted
    for row in rows:
        if row["scenario"] == "null":
            assert calibration.wilson(row["alone_supported"], studies)[0] <= 0.05
            assert calibration.wilson(row["family_supported"], studies)[0] <= 0.05
        if row["seeds"] >= 6:
            assert 0.93 <= row["covered"] / studies <= 0.97


def test_the_committed_calibration_page_is_what_the_calibrations_say(tmp_path: Path) -> None:
    write_calibration(STORE.root / "calibration", tmp_path)
    for path in sorted(tmp_path.rglob("*")):
        committed = ROOT / "reports" / "calibration" / path.relative_to(tmp_path)
        assert committed.exists(), "tmfun calibrate report, and commit what it writes"
        if path.suffix in (".md", ".csv", ".tex"):
            assert committed.read_text() == path.read_text(), "tmfun calibrate report, and commit what it writes"


@pytest.mark.parametrize("study", COMMITTED)
def test_the_committed_report_is_what_the_records_say(study: str, tmp_path: Path) -> None:
    """Pages and tables, to the byte; figures only by name, as their pixels may differ between machines."""
    write_report(plan_on_records(read_study(study), STORE), STORE, tmp_path)
    for path in sorted(tmp_path.rglob("*")):
        committed = ROOT / "reports" / study / path.relative_to(tmp_path)
        assert committed.exists(), f"tmfun report {study}, and commit what it writes"
        if path.suffix in (".md", ".csv", ".tex"):
            assert committed.read_text() == path.read_text(), f"tmfun report {study}, and commit what it writes"
