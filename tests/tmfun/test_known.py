"""The registry of known data sets, and what is recognised by it."""

import re
from dataclasses import replace

import numpy as np
import pytest

from tmfun import known
from tmfun.dataset import Dataset
from tmfun.errors import InputError
from tmfun.fingerprint import counts, fingerprint
from tmfun.known import Known, Recognised, named, recognise, registry, verify


@pytest.mark.parametrize("entry", registry().values(), ids=registry())
def test_every_entry_is_complete(entry: Known) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", entry.name), "it is a folder's name"
    assert all(entry.counts) or (entry.layout == "raw" and not any(entry.counts))
    assert len(entry.fingerprint) in (0, 2) and all(re.fullmatch("[0-9a-f]{64}", part) for part in entry.fingerprint)
    assert (entry.layout == "raw") == bool(entry.files), "what is published elsewhere takes a browser"
    for file in (*entry.files, *entry.contents):
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
    if entry.source is not None:
        assert entry.source.url.startswith("https://") and entry.source.browser == (not entry.files)
        assert bool(entry.take) == entry.source.browser
        assert not entry.files or entry.source.url.endswith("/")
    assert len({file.name for file in entry.files}) == len(entry.files)


def test_the_five_sets_of_the_study_are_measured_and_apart() -> None:
    five = [named(name) for name in ("baby", "sports", "clothing", "tiktok", "ml100k")]
    assert len({part for entry in five for part in entry.fingerprint}) == 10


def test_a_name_that_is_not_known_is_told_with_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown data set 'babby' \\(did you mean 'baby'\\?\\)"):
        named("babby")


def as_known(dataset: Dataset, name: str, measured: bool = True) -> Known:
    found = fingerprint(dataset)
    digests = (found.interactions, found.split) if measured else ()
    return Known(name, f"The {name}", None, *counts(dataset), digests)


@pytest.fixture
def entries(toy: Dataset, monkeypatch: pytest.MonkeyPatch) -> dict[str, Known]:
    """A registry of two: the toy, and the toy in a split that nobody has measured."""
    table = {"toy": as_known(toy, "toy"), "toy-split": as_known(toy, "toy-split", measured=False)}
    monkeypatch.setattr(known, "registry", lambda: table)
    return table


def renamed(dataset: Dataset) -> Dataset:
    """The same data set under other ids."""
    rng = np.random.default_rng(5)
    users, items = rng.permutation(dataset.users), rng.permutation(dataset.items)
    pairs = {
        split: np.stack([users[getattr(dataset, split)[:, 0]], items[getattr(dataset, split)[:, 1]]], axis=1)
        for split in ("train", "validation", "test")
    }
    return replace(dataset, name="other", where="data/other", modalities=(), **pairs)


def other_split(dataset: Dataset) -> Dataset:
    return replace(dataset, validation=dataset.test, test=dataset.validation)


def moved(dataset: Dataset) -> Dataset:
    """One training interaction goes from a user to another."""
    have = set(map(tuple, np.concatenate([dataset.train, dataset.validation, dataset.test]).tolist()))
    (_user, item), *rest = dataset.train.tolist()
    other = next(user for user in range(30, 38) if (user, item) not in have)
    return replace(dataset, train=np.array([*rest, [other, item]]))


def test_a_known_set_is_recognised_under_other_names_and_ids(toy: Dataset, entries: dict[str, Known]) -> None:
    assert recognise(renamed(toy)) == Recognised(entries["toy"], same_split=True)
    assert str(recognise(toy)) == "The toy"


def test_another_split_of_it_is_recognised_as_such(toy: Dataset, entries: dict[str, Known]) -> None:
    found = recognise(renamed(other_split(toy)))
    assert found == Recognised(entries["toy"], same_split=False)
    assert str(found) == "the interactions of toy in another split"


def test_another_set_of_its_size_is_not(toy: Dataset, entries: dict[str, Known]) -> None:
    assert counts(moved(toy)) == counts(toy)
    assert recognise(moved(toy)) is None


def test_no_fingerprint_is_computed_where_the_counts_are_nobodys(
    toy: Dataset, entries: dict[str, Known], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "fingerprint", lambda _: pytest.fail("computed"))
    assert recognise(replace(toy, train=toy.train[1:])) is None


def test_a_verdict_says_what_is_known_and_how(toy: Dataset, entries: dict[str, Known]) -> None:
    counted = "{:,} users, {:,} items, {:,} interactions".format(*counts(toy))
    assert verify(entries["toy"], renamed(toy)) == f"this is The toy, recognised by its fingerprint ({counted})"
    said = verify(entries["toy-split"], renamed(other_split(toy)))
    assert said.startswith(f"the counts are those of The toy-split ({counted}); its fingerprint is not known")
    assert said.endswith("; it is the interactions of toy in another split")


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda toy: replace(toy, train=toy.train[1:]), "NOT the known toy: it has 39 users"),
        (moved, "NOT the known toy: its fingerprint differs"),
        (other_split, "its fingerprint differs .*; it is the interactions of toy in another split"),
    ],
)
def test_another_set_is_refused(toy: Dataset, entries: dict[str, Known], change, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        verify(entries["toy"], renamed(change(toy)))
    assert str(caught.value).startswith("data/other: ")


def test_a_set_without_a_fingerprint_is_not_taken_for_one_of_other_counts(
    toy: Dataset, entries: dict[str, Known]
) -> None:
    with pytest.raises(InputError, match="NOT the known toy-split"):
        verify(entries["toy-split"], replace(toy, train=toy.train[1:]))


def test_a_measured_set_is_not_taken_for_one_that_nobody_has_measured(toy: Dataset, entries: dict[str, Known]) -> None:
    with pytest.raises(InputError, match=r"NOT the known toy-split: it is The toy$"):
        verify(entries["toy-split"], toy)
