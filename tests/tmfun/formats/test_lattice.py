import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tmfun.dataset import Dataset
from tmfun.errors import InputError
from tmfun.formats import lattice

TRAIN, VAL, TEST = {"0": [1, 0], "1": [1, 2]}, {"0": [2], "1": [3]}, {"1": [0], "0": [3]}
FEATURES = np.arange(12, dtype=np.float64).reshape(4, 3) - 5
IDS = np.array([[0, 1], [1, 2], [2, 3], [3, 0]], dtype=np.int32)
COSINE = np.array([[1, 0.5]] * 4, dtype=np.float32)


def write_json(folder: Path, **splits: Any) -> None:
    for name, content in splits.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))


def write_list(folder: Path, name: str, tokens: dict[str, int]) -> None:
    text = "".join(f"{token}\t{number}\n" for token, number in tokens.items())
    (folder / f"{name}_list.txt").write_text(text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound data set `tiny` of 2 users, 4 items, image features and a neighbours file for text."""
    made = tmp_path / "tiny"
    (made / "5-core").mkdir(parents=True)
    write_json(made / "5-core", train=TRAIN, val=VAL, test=TEST)
    np.save(made / "image_feat.npy", FEATURES)
    np.savez(made / "text_neighbours.npz", neighbours=IDS, cosine=COSINE)
    return made


def read(folder: Path) -> Dataset:
    assert lattice.recognises(folder)
    return lattice.read(folder).check()


def test_the_published_layout_is_read(folder: Path) -> None:
    dataset = read(folder)
    assert (dataset.name, dataset.users, dataset.items, dataset.where) == ("tiny", 2, 4, str(folder))
    assert dataset.train.tolist() == [[0, 0], [0, 1], [1, 1], [1, 2]]
    assert dataset.validation.tolist() == [[0, 2], [1, 3]]
    assert dataset.test.tolist() == [[0, 3], [1, 0]]
    image, text = dataset.modalities
    assert image.features is not None and image.features.dtype == np.float32
    np.testing.assert_array_equal(image.features, FEATURES)
    np.testing.assert_array_equal(text.neighbours, IDS)
    assert dataset.extras.user_tokens is None and dataset.extras.item_tokens is None


@pytest.mark.parametrize("core", ["10-core", "0-core"])
def test_the_core_may_be_any_number(folder: Path, core: str) -> None:
    before = read(folder).content_hash
    (folder / "5-core").rename(folder / core)
    assert read(folder).content_hash == before


def test_the_files_may_lie_in_the_folder_itself(folder: Path) -> None:
    before = read(folder).content_hash
    for file in (folder / "5-core").iterdir():
        file.rename(folder / file.name)
    (folder / "5-core").rmdir()
    assert read(folder).content_hash == before
    (folder / "val.json").unlink()
    assert not lattice.recognises(folder), "one JSON file of that name says nothing"


def test_users_with_empty_lists_count_and_users_may_lack_a_split(folder: Path) -> None:
    write_json(folder / "5-core", train=TRAIN | {"4": []}, val={"1": [3]}, test={"0": [3, 2], "1": []})
    dataset = read(folder)
    assert dataset.users == 5
    assert dataset.degrees()[0].tolist() == [2, 2, 0, 0, 0]
    assert dataset.validation.tolist() == [[1, 3]]
    assert dataset.test.tolist() == [[0, 2], [0, 3]]


def test_the_lists_name_what_the_ids_were(folder: Path) -> None:
    write_list(folder / "5-core", "user", {"A Ä\u2028": 1, "B": 0})
    write_list(folder / "5-core", "item", {f"{n}": n for n in range(4)})
    extras = read(folder).extras
    assert extras.user_tokens == ("B", "A Ä\u2028")
    assert extras.item_tokens is None, "they are the ids"


def test_the_item_list_counts_items_that_do_not_occur(folder: Path) -> None:
    (folder / "image_feat.npy").unlink()
    (folder / "text_neighbours.npz").unlink()
    write_list(folder / "5-core", "item", {f"i{n}": n for n in range(9)})
    assert read(folder).items == 9


def test_the_files_are_written_as_lattice_writes_them(folder: Path, tmp_path: Path) -> None:
    write_json(folder / "5-core", train=TRAIN | {"2": []})
    write_list(folder / "5-core", "user", {"B": 1, "A": 0, "C": 2})
    lattice.write(read(folder), tmp_path / "new")
    core = tmp_path / "new" / "5-core"
    assert json.loads((core / "train.json").read_text()) == {"0": [0, 1], "1": [1, 2], "2": []}
    assert json.loads((core / "val.json").read_text()) == {"0": [2], "1": [3], "2": []}
    assert json.loads((core / "test.json").read_text()) == {"0": [3], "1": [0], "2": []}
    assert (core / "user_list.txt").read_text() == "A\t0\nB\t1\nC\t2\n"
    assert sorted(path.name for path in core.iterdir()) == ["test.json", "train.json", "user_list.txt", "val.json"]
    beside = ["5-core", "image_feat.npy", "text_neighbours.npz"]
    assert sorted(path.name for path in core.parent.iterdir()) == beside


# -- bad input


def split(**splits: Any) -> Callable[[Path], None]:
    return lambda folder: write_json(folder / "5-core", **splits)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a truncated file": (split(val='{"0": [2], "1": [3'), "val.json: not a complete JSON file"),
    "an empty file": (split(test=""), "test.json: not a complete JSON file"),
    "nothing but brackets": (split(test="[" * 100_000), "test.json: not a complete JSON file"),
    "bytes that are no text": (
        lambda folder: (folder / "5-core" / "val.json").write_bytes(b'{"\xe9": []}'),
        "val.json: not a complete JSON file",
    ),
    "a missing file": (lambda folder: (folder / "5-core" / "val.json").unlink(), "val.json: not a complete JSON file"),
    "a list": (split(train=[[0, 1]]), "train.json: not an object of user ids with lists of item ids"),
    "a user twice": (
        split(train='{"0": [0, 1], "1": [1], "0": [3]}'),
        "train.json: the user '0' occurs more than once",
    ),
    "a user id that is a name": (split(val={"A1": [2]}), "val.json: the user id 'A1' is not a whole number from 0"),
    "a user id with a zero before": (split(val={"01": [2]}), "val.json: the user id '01' is not a whole number"),
    "a negative user id": (split(val={"-1": [2]}), "val.json: the user id '-1' is not a whole number from 0"),
    "a user id beyond 31 bits": (split(val={str(2**31): [2]}), "val.json: the user id '2147483648' is not"),
    "an endless user id": (split(val={"9" * 5000: [2]}), "val.json: the user id '9999"),
    "an item id in quotes": (split(val={"0": ["2"]}), 'val.json: the item id "2" of user 0 is not a whole number'),
    "an item id with a fraction": (
        split(val={"0": [2.0]}),
        "val.json: the item id 2.0 of user 0 is not a whole number",
    ),
    "an item id that is true": (split(val={"0": [True]}), "val.json: the item id true of user 0 is not a whole number"),
    "a NaN item id": (split(val='{"0": [NaN]}'), "val.json: the item id NaN of user 0 is not a whole number"),
    "a negative item id": (split(val={"0": [-3]}), "val.json: the item id -3 of user 0 is not a whole number from 0"),
    "an item id beyond 31 bits": (split(val={"0": [10**30]}), "val.json: the item id 1000.* of user 0 is not a whole"),
    "an item in place of a list": (split(test={"0": 3}), "test.json: user 0 has 3 in place of a list of item ids"),
    "an object in place of a list": (split(test={"0": {"3": 1}}), "test.json: user 0 has .* in place of a list"),
    "an item twice in a list": (
        split(train={"0": [1, 1], "1": [2]}),
        "tiny: user 0 and item 1 occur together more than once, in train",
    ),
    "a pair in two splits": (
        split(test={"0": [3, 1]}),
        "tiny: user 0 and item 1 occur together more than once, in train and test",
    ),
    "an empty split": (split(val={"0": [], "1": []}), "tiny: the validation split is empty"),
    "no users": (split(train={}, val={}, test={}), "tiny: the train split is empty"),
    "two cores": (
        lambda folder: [(folder / "3-core").mkdir(), write_json(folder / "3-core", train=TRAIN)],
        "tiny: 3-core and 5-core are two data sets; keep one of them",
    ),
    "an item id beyond the features": (split(val={"0": [4]}), "5-core: item id 4 is out of range: .* have 4 rows"),
    "a feature row too many": (
        lambda folder: np.save(folder / "image_feat.npy", np.eye(5)),
        r"tiny: image features have shape \(5, 5\), but there are 4 items",
    ),
    "NaN features": (
        lambda folder: np.save(folder / "image_feat.npy", np.where(np.eye(4, 3), np.nan, FEATURES)),
        r"tiny: image features of item 0 are not finite \(3 such rows\)",
    ),
    "a list without ids": (
        lambda folder: (folder / "5-core" / "user_list.txt").write_text("A\t0\nB\n"),
        "user_list.txt: line 2 is not a token, a tab and an id",
    ),
    "a list with a gap": (
        lambda folder: write_list(folder / "5-core", "user", {"A": 0, "B": 2}),
        r"user_list.txt: 'B' has the id 2, which is taken or outside 0\.\.1",
    ),
    "a list that is too short": (
        lambda folder: write_list(folder / "5-core", "item", {"A": 0, "B": 1, "C": 2}),
        "item_list.txt: the id 3 occurs in the interactions, but is not listed here",
    ),
    "a token twice": (
        lambda folder: (folder / "5-core" / "user_list.txt").write_text("A\t0\nA\t1\n"),
        "tiny: two users have the token 'A'",
    ),
    "an empty token": (
        lambda folder: write_list(folder / "5-core", "user", {"A": 0, "": 1}),
        "tiny: '' cannot be the token of a user",
    ),
    "a list that is no text": (
        lambda folder: (folder / "5-core" / "item_list.txt").write_bytes(b"\xe9\t0\n"),
        "item_list.txt: not UTF-8 text",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_that_names_the_place(folder: Path, case: str) -> None:
    damage, message = BAD[case]
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
