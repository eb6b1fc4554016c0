from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmfun.dataset import SPLITS, Dataset, Extras, Interactions, Modality, lattice_sizes
from tmfun.errors import InputError


def small(**changes: Any) -> Dataset:
    """3 users, 4 items, every user with 2 training, 1 validation and 1 test item."""
    parts: dict[str, Any] = {
        "name": "small",
        "users": 3,
        "items": 4,
        "train": np.array([[0, 0], [0, 1], [1, 1], [1, 2], [2, 2], [2, 3]]),
        "validation": np.array([[0, 2], [1, 3], [2, 0]]),
        "test": np.array([[0, 3], [1, 0], [2, 1]]),
        "modalities": (features("image"), neighbours("text")),
    }
    return Dataset(**{**parts, **changes})


def features(name: str, **changes: Any) -> Modality:
    return replace(Modality(name, np.arange(12, dtype=np.float32).reshape(4, 3)), **changes)


def neighbours(name: str, **changes: Any) -> Modality:
    ids = np.array([[0, 1], [1, 2], [2, 3], [3, 0]], dtype=np.int32)
    cosine = np.array([[1, 0.5]] * 4, dtype=np.float32)
    return replace(Modality(name, None, ids, cosine), **changes)


def changed(array: np.ndarray | None, where: tuple[int, int], value: float) -> np.ndarray:
    assert array is not None
    copy = array.copy()
    copy[where] = value
    return copy


IMAGE, TEXT = features("image"), neighbours("text")

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an empty split": ({"validation": np.zeros((0, 2))}, "the validation split is empty"),
    "a user id too large": ({"users": 2}, r"user id 2 in the train split is outside 0\.\.1"),
    "an item id too large": ({"test": [[0, 4]]}, r"item id 4 in the test split is outside 0\.\.3"),
    "a negative user id": ({"test": [[-1, 3]]}, r"user id -1 in the test split is outside 0\.\.2"),
    "a negative item id": ({"validation": [[1, -2]]}, r"item id -2 in the validation split is outside 0\.\.3"),
    "a pair twice in a split": ({"train": [[1, 2], [0, 1], [1, 2]]}, "user 1 and item 2 occur together more than once"),
    "a pair in two splits": (
        {"test": [[2, 3], [0, 3]]},
        "user 2 and item 3 occur together more than once, in train and test",
    ),
    "two modalities of one name": ({"modalities": (IMAGE, IMAGE)}, "two modalities have the same name"),
    "a modality without content": ({"modalities": (Modality("audio"),)}, "'audio' has neither features nor neighbours"),
    "too few feature rows": (
        {"modalities": (features("image", features=np.eye(3, dtype=np.float32)),)},
        r"image features have shape \(3, 3\), but there are 4 items",
    ),
    "features that are no table": (
        {"modalities": (features("image", features=np.arange(4, dtype=np.float32)),)},
        r"image features have shape \(4,\)",
    ),
    "features that are not finite": (
        {"modalities": (features("image", features=changed(IMAGE.features, (2, 1), np.nan)),)},
        r"image features of item 2 are not finite \(1 such rows\)",
    ),
    "infinite features": (
        {"modalities": (features("image", features=changed(IMAGE.features, (0, 0), np.inf)),)},
        "image features of item 0 are not finite",
    ),
    "constant features": (
        {"modalities": (features("image", features=np.ones((4, 3), dtype=np.float32)),)},
        "image features are the same for every item",
    ),
    "features of no width": (
        {"modalities": (features("image", features=np.ones((4, 0), dtype=np.float32)),)},
        "image features",
    ),
    "neighbours without cosines": (
        {"modalities": (neighbours("text", cosine=None),)},
        "text neighbours and their cosines differ in shape",
    ),
    "cosines of another shape": (
        {"modalities": (neighbours("text", cosine=np.ones((4, 3), dtype=np.float32)),)},
        "text neighbours and their cosines differ in shape",
    ),
    "too few neighbour rows": (
        {"modalities": (neighbours("text", neighbours=TEXT.neighbours[:3], cosine=TEXT.cosine[:3]),)},
        r"text neighbours have shape \(3, 2\)",
    ),
    "a neighbour id too large": (
        {"modalities": (neighbours("text", neighbours=changed(TEXT.neighbours, (1, 1), 4)),)},
        r"text neighbours hold an item id outside 0\.\.3",
    ),
    "a negative neighbour id": (
        {"modalities": (neighbours("text", neighbours=changed(TEXT.neighbours, (1, 1), -1)),)},
        r"text neighbours hold an item id outside 0\.\.3",
    ),
    "a cosine above 1": (
        {"modalities": (neighbours("text", cosine=changed(TEXT.cosine, (3, 1), 1.5)),)},
        "text cosines are not finite numbers between -1 and 1",
    ),
    "a cosine below -1": (
        {"modalities": (neighbours("text", cosine=changed(TEXT.cosine, (3, 1), -1.5)),)},
        "text cosines are not finite numbers between -1 and 1",
    ),
    "a cosine that is not finite": (
        {"modalities": (neighbours("text", cosine=changed(TEXT.cosine, (3, 1), np.nan)),)},
        "text cosines are not finite numbers between -1 and 1",
    ),
    "a neighbour twice": (
        {"modalities": (neighbours("text", neighbours=changed(TEXT.neighbours, (1, 0), 2)),)},
        "text neighbours of item 1 list item 2 twice",
    ),
    "a rating too few": ({"extras": Extras(rating=np.ones(11))}, r"ratings have shape \(11,\), but there are 12"),
    "timestamps in a table": (
        {"extras": Extras(timestamp=np.ones((12, 1), dtype=np.int64))},
        r"timestamps have shape \(12, 1\), but there are 12 interactions",
    ),
    "a rating that is not finite": ({"extras": Extras(rating=np.r_[np.ones(11), np.nan])}, "a rating is not a finite"),
    "a token too few": ({"extras": Extras(user_tokens=("a", "b"))}, "there are 2 user tokens, but 3 users"),
    "a token twice": ({"extras": Extras(item_tokens=("a", "b", "c", "b"))}, "two items have the token 'b'"),
    "an empty token": ({"extras": Extras(user_tokens=("a", "", "c"))}, "'' cannot be the token of a user"),
    "a token with a tab": ({"extras": Extras(user_tokens=("a", "b\t", "c"))}, r"'b\\t' cannot be the token of a user"),
    "a token without bytes": ({"extras": Extras(user_tokens=("a", "\ud800", "c"))}, "cannot be the token of a user"),
    "no neighbours at all": (
        {
            "modalities": (
                neighbours("text", neighbours=np.zeros((4, 0), np.int32), cosine=np.zeros((4, 0), np.float32)),
            )
        },
        "text neighbours",
    ),
}


def test_a_sound_data_set_passes_and_is_returned() -> None:
    dataset = small()
    assert dataset.check() is dataset


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_data_set_is_refused_with_the_place(case: str) -> None:
    changes, message = WRONG[case]
    for place in ("", "data/small"):
        with pytest.raises(InputError, match=f"^{place or 'small'}: .*{message}") as caught:
            small(**changes, where=place).check()
        assert "\n" not in str(caught.value)


def test_pairs_are_sorted_by_user_then_item() -> None:
    dataset = small(train=np.array([[2, 3], [0, 1], [2, 0], [0, 0]]))
    assert dataset.train.tolist() == [[0, 0], [0, 1], [2, 0], [2, 3]]
    assert dataset.train.dtype == np.int32
    assert dataset.keys("train").tolist() == [0, 1, 8, 11]


def test_ratings_and_timestamps_follow_their_pairs() -> None:
    rng = np.random.default_rng(0)
    pairs = {split: rng.permutation(getattr(small(), split)) for split in SPLITS}
    values = np.concatenate([10 * part[:, 0] + part[:, 1] for part in pairs.values()])
    extras = small(**pairs, extras=Extras(rating=values / 4, timestamp=values)).check().extras
    wanted = [10 * user + item for split in SPLITS for user, item in getattr(small(), split).tolist()]
    assert extras.rating is not None and (4 * extras.rating).tolist() == wanted
    assert extras.timestamp is not None and extras.timestamp.tolist() == wanted


def test_a_table_of_interactions_and_the_splits_are_the_same_thing() -> None:
    values = np.arange(12)
    tokens = ("a", "b", "c")
    dataset = small(extras=Extras(rating=values / 4, timestamp=values, user_tokens=tokens, left_out=("x",)))
    table, label = dataset.interactions()
    assert (table.users, table.items, label.tolist()) == (3, 4, [0] * 6 + [1] * 3 + [2] * 3)
    assert [list(pair) for pair in zip(table.user, table.item, strict=True)][6:9] == dataset.validation.tolist()
    order = np.random.default_rng(0).permutation(12)
    mixed = Interactions(3, 4, table.user[order], table.item[order], values[order] / 4, values[order])
    again = Dataset.from_interactions("small", mixed, label[order], dataset.modalities, dataset.extras).check()
    assert again.content_hash == dataset.content_hash
    assert (again.extras.user_tokens, again.extras.left_out) == (tokens, ("x",))
    assert again.extras.rating is not None and (4 * again.extras.rating).tolist() == values.tolist()
    assert again.extras.timestamp is not None and again.extras.timestamp.tolist() == values.tolist()


def test_degrees_count_training_pairs() -> None:
    users, items = small(train=[[0, 1], [2, 1], [2, 3]]).degrees()
    assert users.tolist() == [1, 0, 2]
    assert items.tolist() == [0, 2, 0, 1]


def test_modalities_are_found_by_name() -> None:
    assert small().modality("text").neighbours is not None
    with pytest.raises(KeyError):
        small().modality("audio")


DIFFERENT: dict[str, Callable[[], Dataset]] = {
    "a validation item moved to test": lambda: small(
        validation=[[0, 2], [1, 3]], test=[[0, 3], [1, 0], [2, 0], [2, 1]]
    ),
    "validation and test exchanged": lambda: small(validation=small().test, test=small().validation),
    "another item in training": lambda: small(train=[[0, 0], [0, 1], [1, 1], [1, 2], [2, 2]]),
    "one more user": lambda: small(users=4),
    "one more item": lambda: small(items=5),
    "one feature value": lambda: small(
        modalities=(features("image", features=changed(IMAGE.features, (3, 2), 11.001)), TEXT)
    ),
    "features in another shape": lambda: small(
        modalities=(features("image", features=IMAGE.features.reshape(3, 4)), TEXT)
    ),
    "one neighbour": lambda: small(
        modalities=(IMAGE, neighbours("text", neighbours=changed(TEXT.neighbours, (3, 1), 1)))
    ),
    "one cosine": lambda: small(modalities=(IMAGE, neighbours("text", cosine=changed(TEXT.cosine, (3, 1), 0.51)))),
    "a modality left out": lambda: small(modalities=(IMAGE,)),
    "no modality": lambda: small(modalities=()),
    "a modality renamed": lambda: small(modalities=(features("picture"), TEXT)),
    "modality names exchanged": lambda: small(modalities=(features("text"), neighbours("image"))),
    "neighbours beside the features": lambda: small(
        modalities=(replace(IMAGE, neighbours=TEXT.neighbours, cosine=TEXT.cosine), TEXT)
    ),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_the_content_hash_changes_with_every_part(case: str) -> None:
    assert DIFFERENT[case]().content_hash != small().content_hash


def test_no_two_of_these_contents_have_the_same_hash() -> None:
    hashes = [make().content_hash for make in DIFFERENT.values()]
    assert len(set(hashes)) == len(hashes)


def test_the_content_hash_is_blind_to_order_labels_and_extras() -> None:
    base = small()
    same = [
        small(train=base.train[::-1]),
        small(test=base.test[[2, 0, 1]]),
        small(modalities=(TEXT, IMAGE)),
        small(name="other", where="elsewhere", origin="synthetic"),
        small(modalities=(features("image", origin="proxy"), TEXT)),
        small(modalities=(features("image", features=np.asfortranarray(IMAGE.features)), TEXT)),
        small(train=base.train.astype(np.int64)),
        small(extras=Extras(np.ones(12), np.arange(12), ("a", "b", "c"), ("a", "b", "c", "d"), ("x",))),
    ]
    assert {dataset.content_hash for dataset in same} == {base.content_hash}


def test_content_hashes_never_change() -> None:
    """Records name their data by this hash: a change makes all of them orphans."""
    assert small().content_hash == "f8281b9d8cdf218126c46327e867be25877156f391c7feffadfdb723d2b5fe74"


@given(st.integers(0, 500))
def test_lattice_sizes_follow_the_rule(interactions: int) -> None:
    held_out = 2 if interactions < 10 else interactions // 5
    validation, test = lattice_sizes(np.array([interactions]))
    assert int(test[0]) == held_out // 2
    assert int(validation[0]) == held_out - held_out // 2


def by_rule(counts: list[int]) -> dict[str, list[tuple[int, int]]]:
    splits: dict[str, list[tuple[int, int]]] = {"train": [], "validation": [], "test": []}
    for user, count in enumerate(counts):
        held_out = 2 if count < 10 else count // 5
        for item in range(count):
            split = "test" if item < held_out // 2 else "validation" if item < held_out else "train"
            splits[split].append((user, item))
    return splits


def test_a_split_by_the_lattice_rule_is_recognised() -> None:
    splits = by_rule([5, 9, 10, 14, 15, 19, 20, 25, 37, 50])
    assert Dataset("d", 10, 50, **{name: np.array(pairs) for name, pairs in splits.items()}).split == "lattice"


@pytest.mark.parametrize("source, target", [("train", "validation"), ("train", "test"), ("validation", "test")])
def test_one_pair_in_another_split_breaks_the_rule(source: str, target: str) -> None:
    splits = by_rule([5, 9, 10, 14, 15, 19, 20, 25, 37, 50])
    splits[target].append(splits[source].pop())
    assert Dataset("d", 10, 50, **{name: np.array(pairs) for name, pairs in splits.items()}).split == "as supplied"


def test_the_card_says_what_the_data_set_is() -> None:
    dataset = small(modalities=(features("image", origin="proxy"), TEXT))
    card = dataset.card()
    assert (card.name, card.content_hash, card.origin) == ("small", dataset.content_hash, "files")
    assert (card.users, card.items, card.train, card.validation, card.test) == (3, 4, 6, 3, 3)
    assert card.split == dataset.split
    assert [(m.name, m.origin, m.width, m.neighbours) for m in card.modalities] == [
        ("image", "proxy", 3, None),
        ("text", "as supplied", None, 2),
    ]
    assert card.version == f"small-{dataset.content_hash[:8]}"


def test_other_modalities_keep_the_interactions() -> None:
    base = small()
    bare = base.with_modalities()
    assert bare.modalities == () and np.array_equal(bare.train, base.train)
    assert bare.with_modalities(*base.modalities).content_hash == base.content_hash
