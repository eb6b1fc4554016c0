"""Plans: which runs there are, in which order, and what a grid's second stage waits for."""

from pathlib import Path

import numpy as np
import pytest

from ablations.planning import Plan, plan_on_data, plan_on_records, unfold
from ablations.records import Store
from ablations.search import unequal
from ablations.specification import Specification
from ablations.studies import read_study
from tmfun.dataset import Dataset
from tmfun.errors import InputError

GRID = """
title = "Grid"
datasets = ["toy"]
seeds = 3
grid_seeds = [0]
[models.lightgcn]
grid = { l2 = [0.1, 0.2, 0.3] }
[models.vbpr]
seeds = 2
[models.popularity]
"""


@pytest.fixture
def grid(tmp_path: Path, toy: Dataset) -> Plan:
    path = tmp_path / "grid.toml"
    path.write_text(GRID)
    return unfold(read_study(str(path)), [toy.card()])


def finish(store: Store, toy: Dataset, run: Specification, validation: int, test: int) -> None:
    """A record in which every held-out item has the same rank."""
    ranks = {
        split: np.full(len(getattr(toy, split)), rank, dtype=np.int32)
        for split, rank in (("validation", validation), ("test", test))
    }
    store.write(run, toy, ranks, {}, {"proxies": []}, {"device": "cpu"})
    store.refresh()


def test_the_second_stage_is_symbolic_until_the_grid_is_done(grid: Plan, store: Store, toy: Dataset) -> None:
    assert [run.model for run in grid.runs(store)] == ["lightgcn"] * 3 + ["vbpr", "popularity", "vbpr"]
    assert grid.symbolic(store) == 3
    for run in grid.to_do(store)[:2]:
        finish(store, toy, run, 1, 1)
    assert grid.symbolic(store) == 3
    finish(store, toy, grid.to_do(store)[0], 1, 1)
    assert grid.symbolic(store) == 0
    lightgcn = grid.cells[0].final(store)
    assert lightgcn is not None and [run.seed for run in lightgcn] == [0, 1, 2]


def test_the_winner_is_chosen_by_validation_and_never_by_test(grid: Plan, store: Store, toy: Dataset) -> None:
    for run in grid.cells[0].candidates():
        best_on_validation = run.settings["l2"] == 0.2
        finish(store, toy, run, 1 if best_on_validation else 29, 29 if best_on_validation else 1)
    final = grid.cells[0].final(store)
    assert final is not None and {run.settings["l2"] for run in final} == {0.2}


def test_of_equal_grid_points_the_first_wins(grid: Plan, store: Store, toy: Dataset) -> None:
    for run in grid.cells[0].candidates():
        finish(store, toy, run, 5, 5)
    assert grid.cells[0].winner(store) == 0


def test_the_winners_grid_run_is_not_run_again(grid: Plan, store: Store, toy: Dataset) -> None:
    for run in grid.cells[0].candidates():
        finish(store, toy, run, 5, 5)
    assert len([run for run in grid.to_do(store) if run.model == "lightgcn"]) == 2


def test_a_deleted_record_is_the_only_run_to_do(grid: Plan, store: Store, toy: Dataset) -> None:
    while to_do := grid.to_do(store):
        finish(store, toy, to_do[0], 5, 5)
    victim = grid.runs(store)[-1]
    next(store.root.glob(f"runs/*/{victim.run_id}.json")).unlink()
    store.refresh()
    assert grid.to_do(store) == [victim]


def test_every_run_has_the_name_of_its_entry(grid: Plan, store: Store) -> None:
    assert set(grid.names(store).values()) == {"lightgcn", "vbpr", "popularity"}
    assert set(grid.names(store)) == {run.run_id for run in grid.runs(store)}


def test_what_a_model_cannot_use_is_skipped_with_a_reason(tmp_path: Path, toys: dict, store: Store) -> None:
    path = tmp_path / "skips.toml"
    path.write_text(
        'title = "t"\ndatasets = ["toy"]\n[models.vbpr]\n[models.lattice]\n[models.lightgcn]\n'
        '[models.tmfun]\nset = { neighbours = 8 }\nvariants = ["full", "only-audio", "id-only"]\n'
    )
    study = read_study(str(path))
    reasons = {name: {c.entry.name: c.skipped for c in unfold(study, [toys[name].card()]).cells} for name in toys}
    assert reasons["none"]["vbpr"] == "the data set has no features"
    assert reasons["none"]["lattice"] == "the data set has no modalities"
    assert reasons["none"]["full"] and reasons["none"]["id-only"] is None and reasons["none"]["lightgcn"] is None
    assert reasons["two"]["only-audio"] == "the data set has no modality 'audio'"
    assert reasons["three"]["only-audio"] is None
    assert reasons["neighbours-only"]["vbpr"] == "the data set has no features"
    assert reasons["neighbours-only"]["full"] is None
    skipped = unfold(study, [toys["none"].card()]).cells[0]
    assert skipped.final(store) == [] and skipped.candidates() == []


def test_a_control_that_cannot_apply_is_skipped_with_a_reason(tmp_path: Path, toys: dict) -> None:
    path = tmp_path / "controls.toml"
    path.write_text(
        'title = "t"\ndatasets = ["toy"]\n[models.vbpr]\ncontrols = ["random-neighbours", "noise", "same-modality"]\n'
        '[models.lightgcn]\ncontrols = ["noise"]\n'
        '[models.tmfun]\nset = { neighbours = 8 }\nvariants = ["full", "id-only"]\ncontrols = ["items-permuted"]\n'
        '[models.lattice]\nset = { neighbours = 16 }\ncontrols = ["random-neighbours"]\n'
    )
    study = read_study(str(path))
    reasons = {name: {c.entry.name: c.skipped for c in unfold(study, [toys[name].card()]).cells} for name in toys}
    two = reasons["two"]
    assert two["vbpr[random-neighbours]"] == "it reads no neighbours"
    assert two["lightgcn[noise]"] == two["id-only[items-permuted]"] == "it reads no content that a control could change"
    assert not any(two[name] for name in ("vbpr", "vbpr[noise]", "vbpr[same-modality]", "items-permuted"))
    assert two["lattice"] is None
    assert two["lattice[random-neighbours]"] == "the neighbours file of 'image' holds 15 per item, not 16"
    assert reasons["one"]["vbpr[same-modality]"] == "the data set has one modality only"
    assert reasons["none"]["vbpr[noise]"] == "the data set has no modalities"


def test_what_cannot_be_trained_row_by_row_is_skipped_with_the_reason(
    tmp_path: Path, toy: Dataset, store: Store
) -> None:
    path = tmp_path / "rows.toml"
    path.write_text(
        'title = "t"\ndatasets = ["toy"]\ntraining = { optimiser = "row-adam" }\n[models.mf-bpr]\n[models.vbpr]\n'
        '[models.popularity]\n[models.lightgcn]\n[models.ngcf]\ntraining = { optimiser = "adam" }\n[models.tmfun]\n'
        'grid = { "training.optimiser" = ["adam", "row-adam"] }\nvariants = ["full"]\ncontrols = ["noise"]\n'
    )
    plan = unfold(read_study(str(path)), [toy.card()])
    reason = "row-adam moves the rows that a batch reads, and here a step reaches all rows"
    assert {cell.entry.name: cell.skipped for cell in plan.cells} == {
        **dict.fromkeys(["mf-bpr", "vbpr", "popularity", "ngcf"]),
        **dict.fromkeys(["lightgcn", "full", "noise"], reason),
    }
    assert {run.model: run.training.get("optimiser") for run in plan.runs(store)} == {
        "mf-bpr": "row-adam", "vbpr": "row-adam", "popularity": None, "ngcf": "adam"
    }  # fmt: skip


def test_more_neighbours_than_the_file_holds_are_a_reason_to_skip(tmp_path: Path, toys: dict) -> None:
    path = tmp_path / "k.toml"
    path.write_text(
        'title = "t"\ndatasets = ["toy"]\n[models.tmfun]\nset = { neighbours = 9 }\nvariants = ["full", "no-graph"]\n'
    )
    full, no_graph = unfold(read_study(str(path)), [toys["neighbours"].card()]).cells
    assert full.skipped == "the neighbours file of 'graph' holds 8 per item, not 9"
    assert no_graph.skipped is None, "without graphs none are needed"


def test_unequal_searches_are_said(tmp_path: Path, toy: Dataset, grid: Plan) -> None:
    assert unequal(grid) == "Search sizes differ, in grid points: 1 for vbpr; 3 for lightgcn."
    path = tmp_path / "equal.toml"
    path.write_text(GRID.replace("[models.vbpr]", "[models.vbpr]\ngrid = { l2 = [0.1, 0.2, 0.3] }"))
    assert unequal(unfold(read_study(str(path)), [toy.card()])) is None


def test_data_sets_that_are_not_here_are_missing_and_none_at_all_is_an_error(
    tmp_path: Path, on_disk: Path, store: Store
) -> None:
    path = tmp_path / "two.toml"
    path.write_text('title = "t"\ndatasets = ["disk", "nowhere"]\n[models.popularity]\n')
    plan = plan_on_data(read_study(str(path)))
    assert plan.missing == ("nowhere",) and [cell.card.name for cell in plan.cells] == ["disk"]
    path.write_text('title = "t"\ndatasets = ["nowhere"]\n[models.popularity]\n')
    with pytest.raises(InputError, match=r"no data set 'nowhere' \(searched: .*TMFUN_DATA"):
        plan_on_data(read_study(str(path)))
    assert plan_on_records(read_study(str(path)), store).cells == ()
