"""The report as a whole: what lies on disk, when it is rewritten, and what a reader is told."""

import csv
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ablations.verdicts import crossed_interval
from reports.report import write_report
from tmfun import PROJECT

Make = Callable[..., SimpleNamespace]

SMALL = """
title = "Small"
datasets = ["toy", "toy-b"]
seeds = 2
claims = ["attention-fusion"]
[models.tmfun]
variants = ["full", "no-attention"]
"""
AGAIN = """
import sys
from pathlib import Path
from ablations.planning import unfold
from ablations.records import Store
from ablations.studies import read_study
from reports.report import write_report
root, there, elsewhere = map(Path, sys.argv[1:])
store, study = Store(root / "results"), read_study(str(root / "toy-study.toml"))
plan = unfold(study, store.cards(), ["toy-b"])
assert write_report(plan, store, there) == (there, False)
assert "matplotlib" not in sys.modules, "loaded for nothing"
assert write_report(plan, store, elsewhere) == (elsewhere, True)
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "tables" / f"{table}.csv").read_text())))


@pytest.fixture
def written(make: Make, undrawn: None, tmp_path: Path) -> Callable[..., Path]:
    """Make a study and write its report, figures as words."""

    def build(*arguments: object, **options: object) -> Path:
        made = make(*arguments, **options)
        return write_report(made.plan, made.store, tmp_path / "report")[0]

    return build


def test_what_lies_there(report: Path):
    tables = {"verdicts", "ablation-toy", "comparison-toy", "selection-toy", "grid-toy", "datasets", "cost-toy"}
    tables |= {"search-size-toy", "search-size-validation-toy"}
    figures = {"ablation-effect", "comparison", "training-curves-toy", "search-size-toy"}
    wanted = {f"tables/{name}.{kind}" for name in tables for kind in ("md", "tex", "csv")}
    wanted |= {f"figures/{name}.{kind}" for name in figures for kind in ("png", "pdf")}
    assert set(contents(report)) == wanted | {"README.md", ".inputs"}
    linked = re.findall(r"\]\(((?:tables|figures)/[^)]+)\)", (report / "README.md").read_text())
    assert set(linked) | {f"tables/{name}.md" for name in tables} == wanted


def test_another_process_writes_the_same_bytes_from_the_records_alone(
    toy: SimpleNamespace, report: Path, tmp_path: Path
):
    """Also: a report that is up to date is left alone, without loading what draws."""
    before = {path: path.stat().st_mtime_ns for path in report.rglob("*")}
    environment = os.environ | {"PYTHONHASHSEED": "7", "MPLBACKEND": "svg", "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-W", "error", "-c", AGAIN, str(toy.root), str(report), str(tmp_path / "again")]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)
    assert contents(tmp_path / "again") == contents(report)
    assert {path: path.stat().st_mtime_ns for path in report.rglob("*")} == before


def test_no_dates_and_no_paths(toy: SimpleNamespace, report: Path):
    for name, content in contents(report).items():
        assert str(toy.root).encode() not in content, name
        assert str(PROJECT).encode() not in content, name
        assert b"CreationDate" not in content, name


def test_whatever_is_not_as_it_was_written_is_written_again(make: Make, undrawn: None, tmp_path: Path):
    made = make(SMALL, keep=lambda run: run.seed < 1)
    folder, drawn = write_report(made.plan, made.store, tmp_path / "report")
    first = contents(folder)
    assert drawn and write_report(made.plan, made.store, folder) == (folder, False)
    (folder / "tables" / "ablation-old.md").write_text("of an earlier report")
    (folder / "figures" / "comparison.png").unlink()
    (folder / "README.md").write_text("edited by hand")
    assert write_report(made.plan, made.store, folder) == (folder, True)
    assert contents(folder) == first
    (folder / ".inputs").write_text("")
    assert write_report(made.plan, made.store, folder) == (folder, True)
    assert contents(folder) == first
    made.fill(lambda run: True)
    assert write_report(made.plan, made.store, folder) == (folder, True)
    assert contents(folder).keys() == first.keys()
    assert contents(folder)["tables/comparison-toy.csv"] != first["tables/comparison-toy.csv"]


def test_the_comparison_is_what_the_ranks_say(toy: SimpleNamespace, report: Path):
    cells = {cell.entry.title: cell for cell in toy.plan.cells}
    for row in rows(report, "comparison-toy"):
        final = cells[row["model"]].final(toy.store)
        recall = [np.mean(toy.store.arrays(run.run_id)["test"] <= 20) for run in final]
        assert float(row["Recall@20"]) == pytest.approx(np.mean(recall))
        assert float(row["Precision@20"]) == pytest.approx(np.mean(recall) / 20)
    best = max(float(row["Recall@20"]) for row in rows(report, "comparison-toy"))
    assert f"**{best:.4f}**" in (report / "tables" / "comparison-toy.md").read_text()


def test_the_selection_gap_is_what_test_would_have_picked(toy: SimpleNamespace, report: Path):
    cell = next(cell for cell in toy.plan.cells if cell.grid)
    scores = {
        split: [np.mean(toy.store.arrays(run.run_id)[split] <= 20) for (run,) in cell.grid]
        for split in ("validation", "test")
    }
    winner = int(np.argmax(scores["validation"]))
    (row,) = rows(report, "selection-toy")
    assert float(row["selection gap"]) == pytest.approx(max(scores["test"]) - scores["test"][winner])
    grid = rows(report, "grid-toy")
    assert [point["winner"] for point in grid].index("chosen") == winner
    assert [float(point["validation"]) for point in grid] == pytest.approx(scores["validation"])


def test_proxies_are_marked_wherever_they_were_read(written: Callable[..., Path]):
    folder = written()
    mark = "proxy features (known substitutes of the originals): image"
    for table in ("comparison-toy", "ablation-toy", "cost-toy"):
        marked = {row.get("model") or row["variant"] for row in rows(folder, table) if mark in row["notes"]}
        assert marked and not marked & {"LightGCN", "Popularity", "ID only (= LightGCN)"}
    assert all(mark in row["notes"] for row in rows(folder, "verdicts"))
    for figure in ("ablation-effect", "comparison", "training-curves-toy"):
        assert "proxy features: image" in (folder / "figures" / f"{figure}.png").read_text()
    page = (folder / "README.md").read_text()
    assert page.count(f"† {mark}") == 4
    assert page.index("proxy features") < page.index("## Verdicts")


def test_synthetic_data_are_called_so_everywhere(written: Callable[..., Path]):
    folder = written(data=[("toy", 0, "synthetic")])
    for name, content in contents(folder).items():
        if not name.endswith(".pdf") and name != ".inputs":
            assert "toy (synthetic)" in content.decode(), name


def test_two_data_sets_and_two_contents_of_one_stay_apart(written: Callable[..., Path]):
    folder = written(SMALL, data=[("toy", 0, "files"), ("toy", 1, "files"), ("toy-b", 2, "files")])
    labels = [row["data set"] for row in rows(folder, "datasets")]
    assert len(set(labels)) == 3
    assert labels[2] == "toy-b"
    assert all(re.fullmatch(r"toy \[[0-9a-f]{8}\]", label) for label in labels[:2])
    assert len(list(folder.glob("tables/comparison-*.csv"))) == 3
    assert {row["data set"] for row in rows(folder, "verdicts")} == set(labels)
    drawn = (folder / "figures" / "ablation-effect.png").read_text()
    assert all(label in drawn for label in labels)


def test_the_verdicts_say_beside_the_effect_what_holds_for_new_users_too(toy: SimpleNamespace, report: Path):
    cells = {cell.entry.name: cell for cell in toy.plan.cells}
    per_user = {
        name: np.array([toy.store.per_user(run.run_id, "recall@20", "test") for run in cells[name].final(toy.store)])
        for name in ("full", "no-attention")
    }
    row = next(row for row in rows(report, "verdicts") if "(attention-fusion)" in row["claim"])
    low, high = crossed_interval(per_user["full"] - per_user["no-attention"]) / per_user["no-attention"].mean()
    assert float(row["for new users too low"]) == pytest.approx(low)
    assert float(row["for new users too high"]) == pytest.approx(high)
    assert row["for new users too"] == row["relative effect"]
    assert float(row["for new users too low"]) <= float(row["relative effect low"]) + 1e-12, "never narrower"
    assert not (report / "tables" / "over-datasets.md").exists()


def test_a_claim_on_two_data_sets_has_a_mean_over_them(written: Callable[..., Path]):
    folder = written(SMALL, data=[("toy", 0, "files"), ("toy-b", 2, "files")])
    (row,) = rows(folder, "over-datasets")
    ratios = [1 + float(row["relative effect"]) for row in rows(folder, "verdicts")]
    assert row["data sets"] == "2"
    assert float(row["mean relative effect"]) == pytest.approx(np.sqrt(np.prod(ratios)) - 1)
    assert "tables/over-datasets.csv" in (folder / "README.md").read_text()


def test_what_is_missing_is_said(written: Callable[..., Path]):
    folder = written(keep=lambda run: run.seed == 0 or (run.model == "tmfun" and run.seed < 2))
    comparison = {row["model"]: row for row in rows(folder, "comparison-toy")}
    assert comparison["TMFUN (full)"]["seeds"] == "2 of 3"
    assert comparison["LightGCN"]["seeds"] == "1 of 3"
    assert comparison["LightGCN"]["Recall@20 low"] == ""
    assert "one seed: no interval" in comparison["LightGCN"]["notes"]
    assert comparison["VBPR"]["seeds"] == "1"
    assert comparison["Popularity"]["seeds"] == "deterministic"
    page = (folder / "README.md").read_text()
    assert "**Missing.** No records yet on: toy-b." in page
    assert "**Incomplete.** 6 runs on toy" in page
    ablation = {row["variant"]: row for row in rows(folder, "ablation-toy")}
    assert ablation["audio only"]["seeds"] == "skipped"
    assert "the data set has no modality 'audio'" in ablation["audio only"]["notes"]
    assert "the data set has no modality 'audio'" in (folder / "figures" / "ablation-effect.png").read_text()


def test_an_unfinished_search_is_said(written: Callable[..., Path]):
    folder = written(keep=lambda run: run.model != "lightgcn" or run.settings["l2"] > 1e-4)
    (row,) = rows(folder, "selection-toy")
    assert row["selection gap"] == ""
    assert row["notes"] == "waits for the search: 2 of 4 runs have records"
    assert [point["grid seeds"] for point in rows(folder, "grid-toy")] == ["0 of 1", "0 of 1", "1", "1"]


def test_a_study_without_records(written: Callable[..., Path]):
    folder = written(keep=lambda run: False)
    page = (folder / "README.md").read_text()
    assert "**inconclusive**" in page and "no records" in page
    assert {row["Recall@20"] for row in rows(folder, "comparison-toy")} == {""}
    assert not list(folder.glob("figures/training-curves*"))
    assert not list(folder.glob("figures/ablation-effect*")), "nothing but words would be in it"
    assert "ablation-toy.csv" in page


def test_a_study_without_claims_variants_or_grids(written: Callable[..., Path]):
    folder = written('title = "Plain"\ndatasets = ["toy"]\nseeds = 2\n[models.lightgcn]\n')
    names = {path.stem for path in folder.glob("*/*")}
    assert names == {"comparison-toy", "comparison", "training-curves-toy", "datasets", "cost-toy"}


def test_few_seeds_are_never_called_significant(report: Path):
    text = (report / "README.md").read_text()
    assert "significant" not in text
    assert "3 of the 7 seeds that a family of 2 needs" in text
    assert {row["seeds / needed"] for row in rows(report, "verdicts")} == {"3 / 7", "3 / 6"}


def test_the_page_says_that_tmfun_is_a_reconstruction(report: Path):
    page = (report / "README.md").read_text()
    assert page.index("**A reconstruction.**") < page.index("## Verdicts") < page.index("## Cost")
    assert "no number on this page is the paper's" in page.replace("\n> ", " ")
    assert "python -m tmfun run toy-study.toml" in page


def test_runs_that_the_epoch_limit_ended_are_marked(written: Callable[..., Path]):
    folder = written('title = "Cut"\ndatasets = ["toy"]\nseeds = 2\ntraining = { max_epochs = 8 }\n[models.lightgcn]\n')
    (row,) = rows(folder, "comparison-toy")
    assert "stopped at the limit of 8 epochs" in row["notes"]
    assert "**Cut short.**" in (folder / "README.md").read_text()


def test_many_entries_take_more_than_one_figure_of_curves(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("reports.page.PANELS", 4)
    folder = written()
    first, second = ((folder / "figures" / f"training-curves-toy{n}.png").read_text() for n in ("", "-2"))
    assert "TMFUN (full) †" in first and "VBPR †" not in first
    assert "VBPR †" in second and "TMFUN (full)" not in second
