"""Interpretations: the file, what is idle where, and claims under every one of them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from ablations import claims
from ablations import interpretations as module
from ablations.interpretations import chosen, interpretations
from ablations.multiverse import HOLDS, NONE, REVERSED, Multiverse, Reading, multiverses
from ablations.planning import Plan, unfold
from ablations.records import Store
from ablations.studies import read_study
from ablations.variants import variants
from ablations.verdicts import paired_effect
from tmfun.dataset import Dataset
from tmfun.model import TMFUN, Settings
from tmfun.settings import read_settings
from tmfun.training import Training, fit

HYPER_PARAMETERS = {"modalities", "dimension", "temperature", "contrast_weight", "l2"}
PARTS = {"modality_graph", "attention", "contrast"}  # on or off: what variants and claims are about


def test_every_switch_that_is_no_part_and_no_hyper_parameter_is_spanned() -> None:
    switches = {field.name for field in dataclasses.fields(Settings)} - HYPER_PARAMETERS - PARTS
    one_away = chosen("one-away", "")
    assert {switch for each in one_away for switch in each.changes} == switches
    default = Settings()
    for each in interpretations().values():
        assert all(value != getattr(default, switch) for switch, value in each.changes.items()), each.name
        assert each.name == module.name(each.changes)
    hints = {"encoder": 2, "edge_weights": 2, "item_graph_input": 2, "attention_query": 3, "fusion": 2, "combine": 2}
    for switch, choices in hints.items():
        assert sum(set(each.changes) == {switch} for each in one_away) == choices - 1, f"every choice of {switch}"


def test_the_sizes_that_the_file_states() -> None:
    text = module.FILE.read_text()
    assert "17 interpretations" in text and len(chosen("one-away", "")) == 17
    assert "2 x 2 x 2" in text and len(chosen("all", "")) == 17 + 4
    assert [each.name for each in chosen(("heads=4", "heads=4"), "")] == ["heads=4"]


def _idle() -> list[tuple[dict, str]]:
    return [(each["where"], switch) for each in module._tables().idle for switch in each["switches"]]


@pytest.mark.parametrize(("where", "switch"), _idle(), ids=lambda x: str(x))
def test_a_switch_that_is_called_idle_changes_no_rank(where: dict, switch: str, toy: Dataset) -> None:
    """Trained with it and without: the same ranks and the same losses, bit for bit."""
    torch.use_deterministic_algorithms(True)
    small = {"dimension": 8, "neighbours": 4, **where}
    value = next(each.changes[switch] for each in chosen("one-away", "") if switch in each.changes)
    training = Training(learning_rate=0.01, batch_size=64, max_epochs=2)
    fitted = []
    for settings in (small, {**small, switch: value}):
        model = TMFUN(toy, read_settings(Settings, settings, ""), 0)
        fitted.append(fit(model, toy, training, seed=0))
    torch.use_deterministic_algorithms(False)
    assert fitted[0].history == fitted[1].history
    np.testing.assert_array_equal(fitted[0].ranks["test"], fitted[1].ranks["test"])


STUDY = """
title = "t"
datasets = ["toy"]
seeds = 2
claims = ["attention-fusion", "contrastive-loss", "item-graph-beside-modality-graph", "item-graph-helps-lightgcn"]
[models.tmfun]
variants = ["full", "no-attention", "no-contrastive", "only-modality-graph", "single-step", "items-permuted"]
interpretations = "all"
[models.lattice]
[models.lightgcn]
"""


@pytest.fixture
def plan(tmp_path: Path, toy: Dataset) -> Plan:
    path = tmp_path / "t.toml"
    path.write_text(STUDY)
    return unfold(read_study(str(path)), [toy.card()])


def test_variants_run_under_every_interpretation_that_leaves_their_own_switch_alone(plan: Plan, store: Store) -> None:
    entries = {entry.name: entry for entry in plan.study.entries}
    assert entries["no-attention[edge_weights=binary]"].settings == {"attention": False, "edge_weights": "binary"}
    assert entries["no-attention[edge_weights=binary]"].title == "no attention fusion [edge_weights=binary]"
    assert entries["no-attention[heads=4]"].settings == entries["no-attention"].settings, "idle: the same run"
    assert "only-modality-graph[item_graph=concatenated]" not in entries, "its own switch"
    assert "single-step[fusion=single-step]" not in entries and "full[fusion=single-step]" in entries
    assert not [name for name in entries if name.startswith("items-permuted[")]
    cells = {cell.entry.name: cell for cell in plan.cells}
    ids = {
        name: [run.run_id for run in cells[name].final(store) or []]
        for name in ("no-attention", "no-attention[heads=4]", "no-attention[combine=sum]")
    }
    assert ids["no-attention"] == ids["no-attention[heads=4]"] != ids["no-attention[combine=sum]"]


def test_the_first_seed_of_all_comes_before_the_second(plan: Plan, store: Store) -> None:
    seeds = [run.seed for run in plan.runs(store)]
    assert seeds == sorted(seeds) and set(seeds) == {0, 1}


def write(plan: Plan, store: Store, toy: Dataset, better: float) -> None:
    """Ranks whose mean depends on the entry: `better` is how much attention helps, the other way where heads are 4."""
    for cell in plan.cells:
        for run in cell.final(store) or []:
            if run.run_id in store:
                continue
            draw = np.random.default_rng([run.seed, len(toy.test)])
            gain = better if run.settings.get("attention", True) else 0.0
            gain = -gain if run.settings.get("heads") == 4 else gain
            ranks = {
                s: np.where(draw.random(len(getattr(toy, s))) < 0.5 + gain, 5, 28).astype(np.int32)
                for s in ("validation", "test")
            }
            store.write(run, toy, ranks, {}, {"proxies": ["image"]}, {"device": "cpu"})
    store.refresh()


def found(plan: Plan, store: Store) -> dict[str, Multiverse]:
    return {each.claim.name: each for each in multiverses(plan, store)}


def test_claims_are_counted_over_the_interpretations_that_they_are_not_about(
    plan: Plan, store: Store, toy: Dataset
) -> None:
    write(plan, store, toy, better=0.3)
    by_claim = found(plan, store)
    assert set(by_claim) == {"attention-fusion", "contrastive-loss", "item-graph-beside-modality-graph"}
    attention = by_claim["attention-fusion"]
    assert attention.left_out == () and len(attention.readings) == len(attention.measured) == 1 + 21
    assert (attention.count(HOLDS), attention.count(NONE), attention.count(REVERSED)) == (21, 0, 1)
    reversed_ = attention.measured[-1]
    assert reversed_.name == "heads=4" and reversed_.proxies == ("image",)
    effects = [reading.effect.relative for reading in attention.measured if reading.effect]
    assert effects == sorted(effects, reverse=True)
    item_graph = by_claim["item-graph-beside-modality-graph"]
    assert item_graph.left_out == ()
    assert len(item_graph.readings) == 22 and all(reading.word == NONE for reading in item_graph.measured if
        reading.effect and abs(reading.effect.relative) < 0.01)  # fmt: skip


def test_an_effect_is_that_of_the_two_sides_under_the_same_interpretation(
    plan: Plan, store: Store, toy: Dataset
) -> None:
    write(plan, store, toy, better=0.2)
    cells = {cell.entry.name: cell for cell in plan.cells}
    attention = found(plan, store)["attention-fusion"]
    assert attention.default.name == "default"
    for reading in attention.readings:
        mark = "" if reading.name == "default" else f"[{reading.name}]"
        sides = [
            [store.metric(run.run_id, "recall@20", "test") for run in cells[side + mark].final(store) or []]
            for side in ("full", "no-attention")
        ]
        assert reading.effect == paired_effect(*sides) and reading.seeds == (0, 1)
        assert reading.single == pytest.approx(np.subtract(*sides) / np.mean(sides[1]))


def test_without_records_a_reading_says_so(plan: Plan, store: Store) -> None:
    attention = found(plan, store)["attention-fusion"]
    assert attention.measured == []
    assert attention.readings[1].reason == "no records of TMFUN (full) [encoder=mf]"


def test_a_side_that_fixes_the_switch_stays_and_the_other_is_read_the_other_way(
    plan: Plan, store: Store, toy: Dataset
) -> None:
    write(plan, store, toy, better=0.2)
    cells = {cell.entry.name: cell for cell in plan.cells}
    item_graph = found(plan, store)["item-graph-beside-modality-graph"]
    (reading,) = (each for each in item_graph.readings if each.name == "item_graph=concatenated")
    sides = [
        [store.metric(run.run_id, "recall@20", "test") for run in cells[name].final(store) or []]
        for name in ("full[item_graph=concatenated]", "only-modality-graph")
    ]
    assert reading.effect == paired_effect(*sides), "the concatenated graph against none"


def test_an_interpretation_is_left_out_where_nothing_is_left_to_compare(
    tmp_path: Path, store: Store, toy: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As full under single-step fusion is the variant itself; or as both sides fix the item graph."""
    (fusion,) = claims.chosen(["multi-step-fusion"])
    graphs = dataclasses.replace(fusion, name="graphs", better="only-modality-graph", worse="no-graph")
    monkeypatch.setattr("ablations.multiverse.chosen", lambda names, where: [fusion, graphs])
    (tmp_path / "t.toml").write_text(STUDY.replace('"single-step"', '"single-step", "no-graph"'))
    by_claim = found(unfold(read_study(str(tmp_path / "t.toml")), [toy.card()]), store)
    same = {"fusion=single-step", "fusion=single-step,combine=sum"}
    same |= {f"item_graph_input=features,{name}" for name in same}
    assert set(by_claim["multi-step-fusion"].left_out) == same
    assert by_claim["graphs"].left_out == ("item_graph=concatenated",)


def test_what_cannot_be_run_on_the_data_set_is_not_waited_for(plan: Plan, store: Store) -> None:
    too_many = [
        dataclasses.replace(cell, skipped="its neighbours are 10, not 20")
        if cell.entry.interpretation == "neighbours=20"
        else cell
        for cell in plan.cells
    ]
    attention = found(dataclasses.replace(plan, cells=tuple(too_many)), store)["attention-fusion"]
    assert [(each.name, each.reason) for each in attention.impossible] == [
        ("neighbours=20", "its neighbours are 10, not 20")
    ]
    assert len(attention.waiting) == 21 and not attention.measured


@pytest.mark.parametrize(
    ("differences", "bounded", "settled"),
    [
        ((0.1, 0.11), False, False),
        ((0.1, 0.1, 0.1), False, False),
        ((0.1, 0.11, 0.12), True, True),
        ((0.1, -0.1, 0.1), True, False),
    ],
)
def test_an_interval_needs_three_seeds_that_differ(
    differences: tuple[float, ...], bounded: bool, settled: bool
) -> None:
    effect = paired_effect(np.ones(len(differences)) + differences, np.ones(len(differences)))
    reading = Reading("x", effect, tuple(range(len(differences))), smallest=0.01)
    assert (reading.bounded, reading.settled) == (bounded, settled)


def test_every_variant_has_an_interpretation_left() -> None:
    for variant in variants().values():
        assert any(not set(each.changes) & set(variant.changes) for each in interpretations().values())
