"""Identity: what changes a run's id, and what does not."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

import pytest

from ablations import specification
from ablations.specification import Specification, specify
from tmfun.dataset import Dataset
from tmfun.errors import InputError
from tmfun.settings import added_later
from tmfun.training import Training


@pytest.fixture
def base(toy: Dataset) -> Specification:
    return specify(toy.card(), "tmfun", {}, Training(), 0, "here")


def test_equal_specifications_have_equal_ids(toy: Dataset, base: Specification) -> None:
    assert specify(toy.card(), "tmfun", {}, Training(), 0, "elsewhere").run_id == base.run_id


def test_defaults_written_out_do_not_change_the_id(toy: Dataset, base: Specification) -> None:
    assert specify(toy.card(), "tmfun", {"layers": 2, "attention": True}, Training(), 0, "here").run_id == base.run_id


@pytest.mark.parametrize(
    "change",
    [
        {"content_hash": "0" * 64},
        {"model": "lightgcn"},
        {"seed": 1},
        {"protocol": "other"},
        {"numerics": (99, 1)},
        {"numerics": (1, 99)},
        {"control": "noise"},
    ],
)
def test_every_part_of_the_identity_changes_the_id(base: Specification, change: dict) -> None:
    assert dataclasses.replace(base, **change).run_id != base.run_id


def test_every_switch_and_training_setting_changes_the_id(base: Specification) -> None:
    ids = {base.run_id}
    for part in ("settings", "training"):
        for key in getattr(base, part):
            changed = dataclasses.replace(base, **{part: {**getattr(base, part), key: "changed"}})
            ids.add(changed.run_id)
    assert len(ids) == 1 + len(base.settings) + len(base.training)


def test_the_name_of_the_data_set_is_no_part_of_the_id(base: Specification) -> None:
    assert dataclasses.replace(base, dataset="another name").run_id == base.run_id


def test_json_round_trip(base: Specification) -> None:
    for run in (base, dataclasses.replace(base, control="items-permuted")):
        assert Specification.from_json(run.to_json()) == run


def test_without_a_control_a_specification_is_what_it_was_before_there_were_controls(base: Specification) -> None:
    """The ids of older records are held to this by `test_results`; here a specification spelled out as they are."""
    assert base.control is None and "control" not in base.to_json()
    plain = {**base.to_json()}
    del plain["dataset"], plain["training"]["optimiser"], plain["training"]["compiled"]  # added later
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    assert base.run_id == digest[:16]


def test_a_model_that_only_counts_has_a_seed_where_a_control_draws(toy: Dataset) -> None:
    seeds = {
        control: specify(toy.card(), "content-knn", {}, Training(), 7, "here", control).seed
        for control in (None, "items-permuted", "constant")
    }
    assert seeds == {None: 0, "items-permuted": 7, "constant": 0}


def test_a_field_added_later_stays_out_of_the_id_at_its_legacy_value(
    base: Specification, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Later(Training):
        novelty: str = added_later("new", legacy="old")

    monkeypatch.setattr(specification, "Training", Later)
    old = dataclasses.replace(base, training={**base.training, "novelty": "old"})
    new = dataclasses.replace(base, training={**base.training, "novelty": "new"})
    assert old.run_id == base.run_id != new.run_id


def test_runs_from_before_there_was_a_choice_of_optimiser_keep_their_id(base: Specification) -> None:
    older = {key: value for key, value in base.training.items() if key != "optimiser"}
    assert base.training["optimiser"] == "adam" and len(older) < len(base.training)
    assert dataclasses.replace(base, training=older).run_id == base.run_id
    other = dataclasses.replace(base, training={**older, "optimiser": "row-adam"})
    assert other.run_id != base.run_id


def test_a_model_that_only_counts_has_neither_training_nor_seed(toy: Dataset) -> None:
    run = specify(toy.card(), "popularity", {}, Training(), 7, "here")
    assert (run.seed, run.training) == (0, {})


def test_a_bad_setting_is_an_input_error_that_names_the_place(toy: Dataset) -> None:
    with pytest.raises(InputError, match=r"here: unknown key 'layerz' \(did you mean 'layers'\?\)"):
        specify(toy.card(), "tmfun", {"layerz": 3}, Training(), 0, "here")
