"""Claims under a control: the four sides, their pairing, and the words."""

from pathlib import Path

import numpy as np
import pytest

from ablations.controlled import MEANING, Survival, survivals
from ablations.outcomes import findings
from ablations.planning import Plan, unfold
from ablations.records import Store
from ablations.studies import read_study
from ablations.verdicts import fewest_seeds, paired_effect
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
        ({"full": 70, "items-permuted": 70}, "survives"),
        ({"full": 90, "items-permuted": 65}, "survives in part"),
        ({"full": 80, "items-permuted": 40}, "goes"),
        ({"full": 40, "items-permuted": 80}, "no gain"),
    ],
)
def test_words(hits: dict[str, int], word: str, plan: Plan, store: Store, toy: Dataset) -> None:
    write(plan, store, toy, hits)
    assert found(plan, store)["attention-fusion", "items-permuted"].word == word
    assert word in MEANING


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
