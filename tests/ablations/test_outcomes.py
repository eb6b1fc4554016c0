"""Findings: pairing, families, and what a claim says when a side is missing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ablations.outcomes import compare, findings, finished, has_evidence, pooled_over_datasets, scores, shared
from ablations.planning import Plan, unfold
from ablations.records import Store
from ablations.studies import read_study
from ablations.verdicts import crossed_interval, paired_effect, sign_flip_p
from tmfun.dataset import Dataset
from tmfun.errors import InputError

STUDY = """
title = "t"
datasets = ["toy"]
seeds = 8
claims = ["attention-fusion", "contrastive-loss", "item-graph-beside-modality-graph", "content-helps"]
[models.tmfun]
variants = ["full", "no-attention", "no-contrastive", "id-only"]
[models.popularity]
"""


@pytest.fixture
def plan(tmp_path: Path, toy: Dataset) -> Plan:
    path = tmp_path / "t.toml"
    path.write_text(STUDY)
    return unfold(read_study(str(path)), [toy.card()])


def write(
    plan: Plan, store: Store, toy: Dataset, *, leave_out: tuple[str, int] = ("", -1), proxies: tuple = ()
) -> None:
    """Ranks that are better for `full` in every seed, and alike otherwise."""
    for cell in plan.cells:
        for run in cell.final(store) or []:
            if (cell.entry.name, run.seed) == leave_out:
                continue
            draw = np.random.default_rng(run.seed)
            best = 10 if cell.entry.name == "full" else 29
            ranks = {s: draw.integers(1, best, len(getattr(toy, s))).astype(np.int32) for s in ("validation", "test")}
            store.write(run, toy, ranks, {}, {"proxies": list(proxies)}, {"device": "cpu"})
    store.refresh()


def test_effects_are_paired_over_the_seeds_both_sides_have(plan: Plan, store: Store, toy: Dataset) -> None:
    write(plan, store, toy, leave_out=("no-attention", 3), proxies=("image",))
    cells = {cell.entry.name: cell for cell in plan.cells}
    finding = findings(plan, store)[0]
    assert finding.seeds == (0, 1, 2, 4, 5, 6, 7) and finding.proxies == ("image",)
    full, without = (scores(cells[name], store, "recall@20") for name in ("full", "no-attention"))
    assert finding.effect == paired_effect([full[s] for s in finding.seeds], [without[s] for s in finding.seeds])
    assert finding.family == 2 and finding.verdict.word == "supported"
    assert len(finished(cells["no-attention"], store)) == 7


def test_the_numbers_behind_a_finding_are_there(plan: Plan, store: Store, toy: Dataset) -> None:
    write(plan, store, toy)
    finding = findings(plan, store)[0]
    full, without = (
        [store.per_user(run.run_id, "recall@20", "test") for run in (cell.final(store) or [])]
        for cell in plan.cells[:2]
    )
    table = finding.to_json()["effect"]
    assert table["better_by_seed"] == [values.mean() for values in full]
    assert table["worse_by_seed"] == [values.mean() for values in without]
    assert finding.comparison is not None
    assert finding.comparison.for_new_users == crossed_interval(np.array(full) - np.array(without))
    assert table["for_new_users_low"] == finding.comparison.for_new_users[0] / np.mean(table["worse_by_seed"])
    assert table["relative_low"] == pytest.approx(table["low"] / table["worse"])


def test_the_family_counts_what_can_be_tested_not_what_is_asked(plan: Plan, store: Store, toy: Dataset) -> None:
    write(plan, store, toy)
    everything = {finding.claim.name: finding for finding in findings(plan, store)}
    (alone,) = findings(plan, store, ("contrastive-loss",))
    assert alone == everything["contrastive-loss"]
    assert alone.family == 2 and everything["content-helps"].family == 1
    absent = everything["item-graph-beside-modality-graph"]
    assert absent.effect is None and absent.verdict.reason == "the study has no 'only-modality-graph'"
    assert alone.effect is not None
    assert alone.verdict.p == pytest.approx(2 * sign_flip_p(np.full(8, 0.1)))
    assert alone.verdict.word == "supported"


def test_a_claim_without_records_keeps_its_place_in_the_family(plan: Plan, store: Store, toy: Dataset) -> None:
    """Else the first claims to be trained would be judged less strictly than the same claims later."""
    write(plan, store, toy)
    before = findings(plan, store, ("attention-fusion",))[0]
    for run in plan.cells[2].final(store) or []:
        next(store.root.glob(f"runs/*/{run.run_id}.json")).unlink()
    store.refresh()
    after, missing = findings(plan, store, ("attention-fusion", "contrastive-loss"))
    assert missing.verdict.reason == "no records of no contrastive loss"
    assert after.family == before.family == 2 and after.verdict.p == before.verdict.p


def test_a_claim_is_made_where_its_file_says(plan: Plan, toy: Dataset, store: Store, tmp_path: Path) -> None:
    text = STUDY.replace('"content-helps"', '"modalities"').replace('"id-only"', '"only-text", "only-image"')
    (tmp_path / "t.toml").write_text(text)
    study = read_study(str(tmp_path / "t.toml"))
    elsewhere = {finding.claim.name for finding in findings(unfold(study, [toy.card()]), store)}
    baby = findings(unfold(study, [replace(toy.card(), name="baby")]), store)
    assert {finding.claim.name for finding in baby} - elsewhere == {"image-adds-to-text", "text-adds-to-image"}
    assert {finding.family for finding in baby if finding.claim.family == "modalities"} == {2}


def test_what_the_data_set_cannot_test_does_not_count(plan: Plan, toys: dict[str, Dataset], store: Store) -> None:
    found = findings(unfold(plan.study, [toys["one"].card()]), store)
    by_name = {finding.claim.name: finding for finding in found}
    skipped = by_name["contrastive-loss"]
    assert skipped.effect is None
    assert skipped.family == by_name["attention-fusion"].family


SIDES = st.integers(1, 6).flatmap(
    lambda users: st.tuples(*[st.dictionaries(st.integers(0, 5), arrays(float, users, elements=st.floats(0, 1)))] * 2)
)


@given(SIDES)
def test_any_two_sides_can_be_compared(sides: tuple[dict, dict]) -> None:
    better, worse = sides
    found = compare(better, worse)
    seeds = sorted(set(better) & set(worse))
    if not seeds:
        assert found is None
        return
    assert found is not None and list(found.seeds) == seeds
    assert found.effect.difference == pytest.approx(np.mean([(better[s] - worse[s]).mean() for s in seeds]))
    low, high = found.for_new_users
    assert np.isnan(low) or low <= found.effect.difference + 1e-12
    back = compare(worse, better)
    assert back is not None and back.effect.difference == pytest.approx(-found.effect.difference)
    assert back.for_new_users == pytest.approx((-high, -low), nan_ok=True, abs=1e-12)


def test_sides_scored_on_different_users_are_refused() -> None:
    with pytest.raises(ValueError, match="different users"):
        compare({0: np.zeros(3)}, {0: np.zeros(4)})


def test_all_zero_and_identical_results(plan: Plan, store: Store, toy: Dataset) -> None:
    for cell in plan.cells:
        for run in cell.final(store) or []:
            ranks = {s: np.full(len(getattr(toy, s)), 30, dtype=np.int32) for s in ("validation", "test")}
            store.write(run, toy, ranks, {}, {"proxies": []}, {"device": "cpu"})
    store.refresh()
    finding = findings(plan, store)[0]
    assert finding.verdict.word == "inconclusive" and "both sides score 0" in finding.verdict.reason
    assert finding.effect is not None and finding.effect.better == 0
    table = finding.to_json()["effect"]
    assert np.isnan([table["relative"], table["for_new_users_low"]]).all() and table["low"] == 0


def test_ranks_that_do_not_fit_the_data_set_are_named(plan: Plan, store: Store, toy: Dataset) -> None:
    write(plan, store, toy)
    path = next(store.root.glob("runs/*/*.npz"))
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(path, **{**arrays, "test": arrays["test"][:-1]})
    with pytest.raises(InputError, match=f"{path.name}: {len(toy.test) - 1} test ranks, not {len(toy.test)}"):
        store.per_user(path.stem, "recall@20", "test")


def test_a_claim_on_two_data_sets_is_pooled_too(plan: Plan, store: Store, toy: Dataset) -> None:
    twin = replace(toy, name="twin", train=toy.train[:-1])
    both = unfold(plan.study, [toy.card(), twin.card()])
    for data in (toy, twin):
        write(unfold(plan.study, [data.card()]), store, data)
    found = findings(both, store, ("attention-fusion",))
    mean = pooled_over_datasets(found)["attention-fusion"]
    ratios = [finding.effect.better / finding.effect.worse for finding in found if finding.effect]
    assert mean.datasets == 2 and mean.relative == pytest.approx(np.sqrt(np.prod(ratios)) - 1)
    assert pooled_over_datasets(found[:1]) == {}
    same_name = [replace(finding, card=replace(finding.card, name="toy")) for finding in found]
    assert pooled_over_datasets(same_name) == {}


def test_a_study_has_evidence_once_both_sides_of_a_claim_share_a_seed(plan: Plan, store: Store, toy: Dataset) -> None:
    assert not has_evidence(plan, store)
    for cell, seed in zip(plan.cells, (0, 1, 0, 2, 0), strict=True):
        run = next((run for run in cell.final(store) or [] if run.seed == seed), None)
        assert run is not None
        assert has_evidence(plan, store) == (cell.entry.name in ("id-only", "popularity"))
        ranks = {s: np.ones(len(getattr(toy, s)), dtype=np.int32) for s in ("validation", "test")}
        store.write(run, toy, ranks, {}, {"proxies": []}, {"device": "cpu"})
        store.refresh()


def test_a_missing_side_is_named(plan: Plan, store: Store, toy: Dataset) -> None:
    by_name = {finding.claim.name: finding for finding in findings(plan, store)}
    assert by_name["attention-fusion"].verdict.reason == "no records of TMFUN (full)"
    assert all(finding.effect is None and finding.verdict.word == "inconclusive" for finding in by_name.values())
    assert by_name["attention-fusion"].to_json()["effect"] is None


def test_a_side_that_only_counts_meets_every_seed_of_the_other(
    plan: Plan, store: Store, toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(plan, store, toy)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.toml").write_text(
        '[beats-popularity]\nsentence = "s."\nbetter = "full"\nworse = "popularity"\nsource = "x"\n'
    )
    from ablations import claims

    monkeypatch.setattr(claims.read_claims, "__defaults__", (tmp_path / "mine",))
    lines = ['claims = ["beats-popularity"]' if line.startswith("claims") else line for line in STUDY.splitlines()]
    (tmp_path / "t.toml").write_text("\n".join(lines))
    (finding,) = findings(unfold(read_study(str(tmp_path / "t.toml")), [toy.card()]), store)
    assert finding.seeds == tuple(range(8)) and finding.effect is not None and finding.effect.seeds == 8


def test_a_model_that_only_counts_is_drawn_with_its_control(
    store: Store, toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content kNN has one score, but one per seed where the seed decides whose content an item gets."""
    from ablations import claims

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.toml").write_text(
        '[own]\nsentence = "s."\nbetter = "content-knn"\nworse = "content-knn[items-permuted]"\nsource = "x"\n'
    )
    monkeypatch.setattr(claims.read_claims, "__defaults__", (tmp_path / "mine",))
    (tmp_path / "t.toml").write_text(
        'title = "t"\ndatasets = ["toy"]\nseeds = 6\nclaims = ["own"]\n'
        '[models.content-knn]\ncontrols = ["items-permuted"]\n'
    )
    plan = unfold(read_study(str(tmp_path / "t.toml")), [toy.card()])
    write(plan, store, toy)
    (finding,) = findings(plan, store)
    assert finding.seeds == tuple(range(6)) and finding.comparison is not None
    better, worse = zip(*finding.comparison.scores, strict=True)
    assert len(set(better)) == 1 < len(set(worse))
    sides = [(cell, scores(cell, store, "recall@20")) for cell in plan.cells]
    assert shared(sides) == [dict(enumerate(better)), dict(enumerate(worse))]
    assert shared([*sides, (plan.cells[1], {})]) == [{}, {}, {}]


def test_two_sides_that_only_count_leave_nothing_to_test(
    plan: Plan, store: Store, toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.toml").write_text(
        '[knn]\nsentence = "s."\nbetter = "item-knn"\nworse = "popularity"\nsource = "x"\n'
    )
    from ablations import claims

    monkeypatch.setattr(claims.read_claims, "__defaults__", (tmp_path / "mine",))
    (tmp_path / "t.toml").write_text(
        'title = "t"\ndatasets = ["toy"]\nclaims = ["mine"]\n[models.item-knn]\n[models.popularity]\n'
    )
    plan = unfold(read_study(str(tmp_path / "t.toml")), [toy.card()])
    write(plan, store, toy)
    (finding,) = findings(plan, store)
    assert finding.effect is None and finding.verdict.reason.startswith("both sides only count")
