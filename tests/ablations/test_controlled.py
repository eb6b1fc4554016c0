"""Claims under a control: the four sides, their pairing, and the words."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ablations.claims import chosen
from ablations.controlled import MEANING, PERMUTED, Survival, is_about_content, survivals
from ablations.outcomes import findings
from ablations.planning import Plan, unfold
from ablations.records import Store
from ablations.studies import read_study
from ablations.verdicts import Effect, fewest_seeds, paired_effect
from tmfun.dataset import Dataset

STUDY = """
title = "t"
datasets = ["toy"]
seeds = 8
claims = ["attention-fusion", "content-helps", "item-graph-helps-lightgcn", "own-content"]
[models.tmfun]
variants = ["full", "no-attention", "id-only"]
controls = ["items-permuted", "constant"]
[models.lattice]
controls = ["items-permuted"]
[models.lightgcn]
"""


@pytest.fixture
def plan(tmp_path: Path, toy: Dataset) -> Plan:
    path = tmp_path / "t.toml"
    path.write_text(STUDY)
    return unfold(read_study(str(path)), [toy.card()])


def write(plan: Plan, store: Store, toy: Dataset, hits: dict[str, int], leave_out: tuple[str, int] = ("", -1)) -> None:
    """Records in which, by entry, so many test items of 100 are found, a few more or fewer from seed to seed."""
    for cell in plan.cells:
        for run in cell.final(store) or []:
            if run.run_id in store or (cell.entry.name, run.seed) == leave_out:
                continue
            count = len(toy.test)
            found = round(count * hits.get(cell.entry.name, 40) / 100) + (run.seed + len(cell.entry.name)) % 3
            ranks = {
                "validation": np.full(len(toy.validation), 5, dtype=np.int32),
                "test": np.where(np.random.default_rng(run.seed).permutation(count) < found, 5, 28).astype(np.int32),
            }
            store.write(run, toy, ranks, {}, {"proxies": ["image"]}, {"device": "cpu"})
    store.refresh()


def found(plan: Plan, store: Store) -> dict[tuple[str, str], Survival]:
    return {(each.claim.name, each.control): each for each in survivals(plan, store)}


def test_a_gain_under_a_control_is_that_of_both_sides_under_it(plan: Plan, store: Store, toy: Dataset) -> None:
    write(plan, store, toy, {"full": 70, "items-permuted": 60}, leave_out=("no-attention[items-permuted]", 3))
    each = found(plan, store)["attention-fusion", "items-permuted"]
    assert each.seeds == (0, 1, 2, 4, 5, 6, 7) and each.proxies == ("image",)
    cells = {cell.entry.name: cell for cell in plan.cells}
    full, without, full_under, without_under = (
        np.array([store.metric(r.run_id, "recall@20", "test") for r in cells[name].final(store) or [] if r.seed != 3])
        for name in ("full", "no-attention", "items-permuted", "no-attention[items-permuted]")
    )
    assert each.gain == paired_effect(full, without)
    assert each.under == paired_effect(full_under, without_under)
    assert each.lost == paired_effect(full - without, full_under - without_under)
    assert each.lost.difference == pytest.approx(each.gain.difference - each.under.difference)


def test_a_side_without_content_is_its_own_counterpart(plan: Plan, store: Store, toy: Dataset) -> None:
    write(plan, store, toy, {"full": 80, "items-permuted": 42, "lattice": 80})
    by_claim = found(plan, store)
    helps = by_claim["content-helps", "items-permuted"]
    assert helps.gain.worse == helps.under.worse, "ID only reads no content"
    assert ("item-graph-helps-lightgcn", "items-permuted") in by_claim
    assert ("item-graph-helps-lightgcn", "constant") not in by_claim, "LATTICE was not run under this one"
    assert not [control for claim, control in by_claim if claim == "own-content"], "it is about a control itself"


@pytest.mark.parametrize(
    ("hits", "word"),
    [
        ({"full": 70, "items-permuted": 70}, "survives at least in part"),
        ({"full": 90, "items-permuted": 65}, "survives in part"),
        ({"full": 80, "items-permuted": 40}, "goes at least in part"),
        ({"full": 40, "items-permuted": 80}, "no gain"),
    ],
)
def test_words(hits: dict[str, int], word: str, plan: Plan, store: Store, toy: Dataset) -> None:
    write(plan, store, toy, hits)
    assert found(plan, store)["attention-fusion", "items-permuted"].word == word
    assert word in MEANING


def survival(under: tuple[float, float], lost: tuple[float, float], verdict: str = "supported", **changes) -> Survival:
    """A gain of 10 % of 0.1, and the intervals of what is left of it and of what is lost, in % of 0.1."""

    def effect(low: float, high: float) -> Effect:
        return Effect(8, 0.1, 0.1, (low + high) / 2000, 0.001, low / 1000, high / 1000, 0.01)

    claim = replace(chosen(["attention-fusion"])[0], smallest_effect=0.01)
    base = Survival(
        claim, None, PERMUTED, effect(8, 12), effect(*under), effect(*lost), tuple(range(8)), 8, verdict, ()
    )  # type: ignore[arg-type]
    return replace(base, **changes)


@pytest.mark.parametrize(
    ("under", "lost", "word", "on_content"),
    [
        ((8, 12), (-1, 1), "survives", "not a content effect"),
        ((8, 12), (-2, 4), "survives at least in part", "at least in part not a content effect"),
        ((3, 7), (3, 7), "survives in part", "in part not a content effect"),
        ((-1, 0.9), (8, 12), "goes", "a content effect"),
        ((-1, 4), (6, 11), "goes at least in part", "at least in part a content effect"),
        ((-1, 11), (-1, 11), "unsettled", ""),
    ],
)
def test_an_interval_that_holds_0_is_no_proof_that_nothing_is_left(
    under: tuple[float, float], lost: tuple[float, float], word: str, on_content: str
) -> None:
    each = survival(under, lost)
    assert (each.word, each.on_content) == (word, on_content)
    assert survival(under, lost, control="noise").on_content == "", "it is the permuted items that tell"


@pytest.mark.parametrize("verdict", ["inconclusive", "no effect", "contradicted"])
def test_nothing_survives_of_what_is_not_supported(verdict: str) -> None:
    each = survival((-1, 0.5), (8, 12), verdict)
    assert each.word == "no gain" and each.on_content == ""


def test_for_machines_numbers_are_relative_to_the_worse_side() -> None:
    table = survival((-1, 0.9), (8, 12)).to_json()
    assert (table["word"], table["control"]) == ("goes", PERMUTED)
    assert table["under_control_high"] == pytest.approx(0.009) and table["gain_low"] == pytest.approx(0.08)
    assert table["gain"] == pytest.approx(0.1) and len(table["seeds"]) == 8


@pytest.mark.parametrize(
    ("name", "about"), [("own-content", True), ("second-modality", True), ("attention-fusion", False)]
)
def test_no_control_is_laid_over_a_claim_about_one(name: str, about: bool) -> None:
    assert is_about_content(chosen([name])[0]) == about


def test_few_seeds_say_nothing(tmp_path: Path, toy: Dataset, store: Store) -> None:
    path = tmp_path / "t.toml"
    path.write_text(STUDY.replace("seeds = 8", "seeds = 5"))
    plan = unfold(read_study(str(path)), [toy.card()])
    write(plan, store, toy, {"full": 70, "items-permuted": 70})
    each = found(plan, store)["attention-fusion", "items-permuted"]
    assert each.word == "too few seeds" and each.fewest == 6


def test_a_claim_under_a_control_needs_as_many_seeds_as_its_verdict(tmp_path: Path, toy: Dataset, store: Store) -> None:
    path = tmp_path / "t.toml"
    path.write_text(STUDY.replace('"attention-fusion"', '"design-card"'))
    plan = unfold(read_study(str(path)), [toy.card()])
    write(plan, store, toy, {})
    (verdict,) = findings(plan, store, ["attention-fusion"])
    assert verdict.family == 1, "the study lacks the sides of the rest"
    assert found(plan, store)["attention-fusion", "items-permuted"].fewest == fewest_seeds(verdict.family)


def test_without_records_of_all_four_sides_there_is_nothing(plan: Plan, store: Store, toy: Dataset) -> None:
    assert survivals(plan, store) == []


def test_each_side_under_control_has_the_winner_of_its_own_search(tmp_path: Path, toy: Dataset, store: Store) -> None:
    path = tmp_path / "t.toml"
    text = STUDY.replace("seeds = 8", "seeds = 2").replace("controls =", "grid = { l2 = [0.1, 0.2] }\ncontrols =", 1)
    path.write_text(text)
    plan = unfold(read_study(str(path)), [toy.card()])
    for _ in range(2):
        for run in plan.to_do(store):
            better = (run.settings.get("l2") == 0.2) == (run.control is not None)  # another winner under the control
            rank = 5 if better else 28
            ranks = {s: np.full(len(getattr(toy, s)), rank, dtype=np.int32) for s in ("validation", "test")}
            store.write(run, toy, ranks, {}, {"proxies": []}, {"device": "cpu"})
        store.refresh()
    each = found(plan, store)["attention-fusion", "items-permuted"]
    assert each.gain.better == each.under.better > 0.9
