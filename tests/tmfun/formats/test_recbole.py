from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tmfun.dataset import Dataset, Modality
from tmfun.errors import InputError
from tmfun.formats import mmrec, recbole

HEADER = "user_id:token\titem_id:token"
TRAIN = [("u2", "x"), ("u10", "Ä"), ("u10", "x"), ("u2", "y z")]
VALID = [("u2", "Ä"), ("u10", '"q')]
TEST = [("u2", '"q'), ("u10", "y z")]
ITEMS = [("x", 1, "X"), ('"q', 2, "NA"), ("y z", 3, "Y Z"), ("Ä", 4.5, "")]
IDS = np.array([[0, 1], [1, 2], [2, 3], [3, 0]], dtype=np.int32)
COSINE = np.array([[1, 0.5]] * 4, dtype=np.float32)


def write_table(file: Path, header: str, rows: list[tuple]) -> None:
    lines = ["\t".join(map(str, row)) for row in rows]
    file.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


def write_part(folder: Path, part: str, rows: list[tuple], header: str = HEADER) -> None:
    write_table(folder / f"{folder.name}.{part}.inter", header, rows)


def write_items(
    folder: Path, rows: list[tuple], header: str = "item_id:token\timage:float_seq\ttitle:token_seq"
) -> None:
    write_table(folder / f"{folder.name}.item", header, rows)


def write_all(folder: Path, more: Callable[[int], tuple], header: str) -> None:
    """The three `.inter` files, with further fields."""
    place = 0
    for part, rows in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        write_part(folder, part, [(*row, *more(place + n)) for n, row in enumerate(rows)], f"{HEADER}\t{header}")
        place += len(rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound data set `tiny` of 2 users, 4 items, image features, titles and a neighbours file for text."""
    made = tmp_path / "tiny"
    made.mkdir()
    for part, rows in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        write_part(made, part, rows)
    write_items(made, [(token, f"{value} -{value}", title) for token, value, title in ITEMS])
    np.savez(made / "text_neighbours.npz", neighbours=IDS, cosine=COSINE)
    return made


def read(folder: Path) -> Dataset:
    assert recbole.recognises(folder)
    return recbole.read(folder).check()


# -- what is read


def test_tokens_get_ids_in_the_order_of_code_points(folder: Path) -> None:
    dataset = read(folder)
    assert dataset.extras.user_tokens == ("u10", "u2")
    assert dataset.extras.item_tokens == ('"q', "x", "y z", "Ä")
    assert dataset.train.tolist() == [[0, 1], [0, 3], [1, 1], [1, 2]]
    assert dataset.validation.tolist() == [[0, 0], [1, 3]]
    assert dataset.test.tolist() == [[0, 2], [1, 0]]


def test_features_belong_to_their_items_in_whatever_order_they_are_listed(folder: Path) -> None:
    image, text = read(folder).modalities
    assert (image.name, text.name) == ("image", "text")
    assert image.features is not None and image.features.dtype == np.float32
    assert image.features.tolist() == [[2, -2], [1, -1], [3, -3], [4.5, -4.5]]
    np.testing.assert_array_equal(text.neighbours, IDS)


def test_other_columns_and_files_are_named_as_left_out(folder: Path) -> None:
    write_table(folder / "tiny.user", "user_id:token\tage:float", [("u10", 33), ("u2", 44)])
    write_all(folder, lambda _: ("good",), "review:token_seq")
    (folder / "tiny.kg").write_text("")
    assert read(folder).extras.left_out == (
        "the column review of tiny.train.inter",
        "the column review of tiny.valid.inter",
        "the column review of tiny.test.inter",
        "the column age of tiny.user",
        "the column title of tiny.item",
        "the file tiny.kg",
    )


def test_ratings_and_timestamps_stay_with_their_pairs(folder: Path) -> None:
    write_all(folder, lambda n: (n / 4, 978300760 + n), "rating:float\ttimestamp:float")
    extras = read(folder).extras
    assert extras.rating is not None and extras.timestamp is not None
    assert (4 * extras.rating).tolist() == [2, 1, 0, 3, 5, 4, 7, 6]
    assert (extras.timestamp - 978300760).tolist() == [2, 1, 0, 3, 5, 4, 7, 6]


def test_tokens_that_are_all_integers_are_ordered_by_number(folder: Path) -> None:
    names = {"u2": "-1", "u10": "10", "x": "9", '"q': "10", "y z": "007", "Ä": "7"}
    (folder / "tiny.item").unlink()
    for part, rows in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        write_part(folder, part, [(names[user], names[item]) for user, item in rows])
    extras = read(folder).extras
    assert extras.user_tokens == ("-1", "10")
    assert extras.item_tokens == ("007", "7", "9", "10")


def test_tokens_that_count_from_0_are_the_ids(folder: Path) -> None:
    (folder / "tiny.item").unlink()
    names = {"u2": 0, "u10": 1, "x": 0, '"q': 1, "y z": 2, "Ä": 3}
    for part, rows in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        write_part(folder, part, [(names[user], names[item]) for user, item in rows])
    assert read(folder).extras.item_tokens is None and read(folder).extras.user_tokens is None


def test_users_and_items_without_interactions_are_counted(folder: Path) -> None:
    (folder / "text_neighbours.npz").unlink()
    write_table(folder / "tiny.user", "user_id:token", [("u1",), ("u2",), (" ",)])
    write_items(folder, [("a", "1 1", ""), *[(token, "1 2", "") for token, _, _ in ITEMS]])
    dataset = read(folder)
    assert dataset.extras.user_tokens == (" ", "u1", "u10", "u2")
    assert dataset.extras.item_tokens == ('"q', "a", "x", "y z", "Ä")
    assert dataset.modality("image").features[1].tolist() == [1, 1]  # type: ignore[index]


def test_an_index_says_what_the_ids_are(folder: Path) -> None:
    header = "item_index:token\titem_id:token\timage:float_seq"
    write_items(folder, [(3 - n, token, value) for n, (token, value, _) in enumerate(ITEMS)], header)
    write_table(folder / "tiny.user", "user_id:token\tuser_index:token", [("u10", 1), ("u2", 0)])
    dataset = read(folder)
    assert dataset.extras.item_tokens == ("Ä", "y z", '"q', "x")
    assert dataset.extras.user_tokens == ("u2", "u10")
    assert dataset.modality("image").features.tolist() == [[4.5], [3], [2], [1]]  # type: ignore[union-attr]
    assert dataset.train.tolist() == [[0, 1], [0, 3], [1, 0], [1, 3]]


def test_the_files_may_have_another_name_than_the_folder(folder: Path) -> None:
    before = read(folder).content_hash
    for file in list(folder.glob("tiny.*")):
        file.rename(folder / file.name.replace("tiny.", "my.own."))
    assert read(folder).content_hash == before


def test_features_may_lie_beside_in_the_order_of_ids(folder: Path) -> None:
    np.save(folder / "audio_feat.npy", np.eye(4))
    assert read(folder).modality("audio").features.tolist() == np.eye(4).tolist()  # type: ignore[union-attr]


# -- unsplit


@pytest.fixture
def unsplit(folder: Path) -> Path:
    """The same interactions in one file, with ratings."""
    for part in ("train", "valid", "test"):
        (folder / f"tiny.{part}.inter").unlink()
    rows = [(n / 2, user, item) for n, (user, item) in enumerate(TRAIN + VALID + TEST)]
    write_table(folder / "tiny.inter", f"rating:float\t{HEADER}", rows)
    return folder


def test_interactions_without_splits_are_refused_with_the_remedy(unsplit: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(unsplit)
    assert str(caught.value) == (
        f"{unsplit}/tiny.inter: not split into training, validation and test; split it with `tmfun data prepare`,"
        " or supply tiny.train.inter, tiny.valid.inter, tiny.test.inter"
    )


def test_interactions_without_splits_can_be_read_for_splitting(unsplit: Path) -> None:
    table, modalities, extras = recbole.read_unsplit(unsplit)
    assert (table.users, table.items, table.timestamp) == (2, 4, None)
    assert table.rating is not None and table.rating.tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]
    assert table.user.tolist() == [1, 0, 0, 1, 1, 0, 1, 0]
    assert table.item.tolist() == [1, 3, 1, 2, 3, 0, 0, 2]
    label = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    dataset = Dataset.from_interactions("tiny", table, label, modalities, extras).check()
    assert extras.item_tokens == ('"q', "x", "y z", "Ä")
    for part, rows in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        write_part(unsplit, part, rows)
    assert read(unsplit).content_hash == dataset.content_hash, "the split files come first, where both are there"


def test_a_table_of_the_mmrec_layout_is_not_recognised(folder: Path) -> None:
    mmrec.write(read(folder), folder.parent / "other.test")
    assert not recbole.recognises(folder.parent / "other.test")
    assert not recbole.recognises(folder.parent / "nowhere")


# -- what is written


def test_the_files_are_written_as_recbole_reads_them(folder: Path, tmp_path: Path) -> None:
    write_all(folder, lambda n: (n / 4, 978300760 + n), "rating:float\ttimestamp:float")
    recbole.write(read(folder), tmp_path / "new")
    assert {path.name: path.read_text() for path in (tmp_path / "new").glob("new.*")} == {
        "new.train.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "u10\tx\t0.5\t978300762\nu10\tÄ\t0.25\t978300761\nu2\tx\t0.0\t978300760\nu2\ty z\t0.75\t978300763\n",
        "new.valid.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        'u10\t"q\t1.25\t978300765\nu2\tÄ\t1.0\t978300764\n',
        "new.test.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        'u10\ty z\t1.75\t978300767\nu2\t"q\t1.5\t978300766\n',
        "new.user": "user_id:token\nu10\nu2\n",
        "new.item": 'item_id:token\timage:float_seq\n"q\t2 -2\nx\t1 -1\ny z\t3 -3\nÄ\t4.5 -4.5\n',
    }


def test_ids_that_sorting_would_lose_are_written_down(folder: Path, tmp_path: Path) -> None:
    dataset = read(folder)
    turned = replace(dataset, extras=replace(dataset.extras, user_tokens=("u2", "u10")))
    recbole.write(turned, tmp_path / "new")
    assert (tmp_path / "new" / "new.user").read_text() == "user_id:token\tuser_index:token\nu2\t0\nu10\t1\n"
    assert "index" not in (tmp_path / "new" / "new.item").read_text()
    assert read(tmp_path / "new").content_hash == dataset.content_hash


def test_a_modality_in_the_place_of_the_item_is_refused(folder: Path, tmp_path: Path) -> None:
    features = np.eye(4, dtype=np.float32)
    with pytest.raises(InputError, match="a modality called 'item_id' has no place"):
        recbole.write(read(folder).with_modalities(Modality("item_id", features)), tmp_path / "new")
    assert not (tmp_path / "new").exists()


# -- bad input


def items(*rows: tuple, header: str = "item_id:token\timage:float_seq") -> Callable[[Path], None]:
    return lambda folder: write_items(folder, list(rows), header)


def part(name: str, rows: list[tuple], header: str = HEADER) -> Callable[[Path], None]:
    return lambda folder: write_part(folder, name, rows, header)


SOUND = [(token, f"{value} 1") for token, value, _ in ITEMS]

BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a missing part": (
        lambda folder: (folder / "tiny.valid.inter").unlink(),
        "tiny.valid.inter: no such file, but tiny is split",
    ),
    "an empty part": (part("valid", []), "tiny.valid.inter: no interactions below the header"),
    "a column without type": (
        part("valid", VALID, "user_id:token\titem_id"),
        "tiny.valid.inter: the column 'item_id' has no type; write item_id: and one of token, token_seq",
    ),
    "an unknown type": (part("valid", VALID, "user_id:token\titem_id:str"), "the column 'item_id:str' has no type"),
    "a wrong type of id": (
        part("valid", VALID, "user_id:float\titem_id:token"),
        "tiny.valid.inter: the column user_id is of type float; token is needed",
    ),
    "a wrong type of rating": (
        lambda folder: write_all(folder, lambda n: (n,), "rating:token"),
        "tiny.train.inter: the column rating is of type token; float is needed",
    ),
    "a missing column": (
        part("train", VALID, "user_id:token\tartist_id:token"),
        r"tiny.train.inter: the header lacks the column item_id:token \(it has: user_id, artist_id\)",
    ),
    "a column twice": (
        part("train", [(*row, "x") for row in TRAIN], f"{HEADER}\titem_id:token_seq"),
        "tiny.train.inter: the header names the column 'item_id' twice",
    ),
    "ratings in one part": (
        part("valid", [(*row, 1) for row in VALID], f"{HEADER}\trating:float"),
        "tiny.train.inter: the column rating:float is missing, which tiny.valid.inter has",
    ),
    "ratings in all parts but one": (
        lambda folder: [write_all(folder, lambda n: (n,), "rating:float"), write_part(folder, "test", TEST)],
        "tiny.test.inter: the column rating:float is missing, which tiny.train.inter has",
    ),
    "a rating that is none": (
        lambda folder: write_all(folder, lambda n: ("" if n == 5 else n,), "rating:float"),
        "tiny.valid.inter: the rating '' in line 3 is not a finite number",
    ),
    "a fraction of a second": (
        lambda folder: write_all(folder, lambda n: (n + 0.5,), "timestamp:float"),
        "tiny.train.inter: the timestamp '0.5' in line 2 is not a whole number",
    ),
    "a line without user": (part("valid", [*VALID, ("", "x")]), "tiny.valid.inter: line 4 has no user_id"),
    "a line without item": (part("valid", [*VALID, ("u2",)]), "tiny.valid.inter: line 4 has no item_id"),
    "bytes that are no text": (
        lambda folder: (folder / "tiny.valid.inter").write_bytes(HEADER.encode() + b"\n\xe9\tx\n"),
        "tiny.valid.inter: not a table in UTF-8 text",
    ),
    "a control character in a token": (
        part("valid", [*VALID, ("u2\x07", "x")]),
        r"tiny: 'u2\\x07' cannot be the token of a user",
    ),
    "a pair twice": (part("train", [*TRAIN, TRAIN[0]]), "tiny: user 1 and item 1 occur .* more than once, in train"),
    "a pair in two parts": (
        part("test", [*TEST, VALID[0]]),
        "tiny: user 1 and item 3 occur together more than once, in validation and test",
    ),
    "an item that is not listed": (
        items(*SOUND[1:]),
        "tiny.item: the item 'x', which occurs in the interactions, is not listed here",
    ),
    "an item listed twice": (items(*SOUND, SOUND[1]), "tiny.item: the item '\"q' in line 6 is listed before"),
    "a line without item id": (items(*SOUND, ("", "1 1")), "tiny.item: line 6 has no item_id"),
    "a vector that is text": (
        items(("x", "1 one"), *SOUND[1:]),
        "tiny.item: image in line 2 is not a sequence of numbers",
    ),
    "a vector that is too short": (
        items(*SOUND[:3], ("Ä", "1")),
        "tiny.item: image in line 5 has 1 numbers; as many as",
    ),
    "a vector that is missing": (items(*SOUND[:3], ("Ä", "")), "tiny.item: image in line 5 has 0 numbers; as many as"),
    "no vector at all": (items(*[(row[0], "") for row in SOUND]), "tiny.item: image in line 2 has 0 numbers"),
    "a NaN vector": (items(("x", "nan 1"), *SOUND[1:]), "tiny: image features of item 1 are not finite"),
    "a vector too large for float32": (items(("x", "1e300 1"), *SOUND[1:]), "tiny: image features of item 1 are not"),
    "a modality with a name that none can have": (
        items(*SOUND, header="item_id:token\tImage:float_seq"),
        "tiny: a modality cannot be called 'Image'",
    ),
    "an index with a gap": (
        items(*[(row[0], 2 * n) for n, row in enumerate(SOUND)], header="item_id:token\titem_index:token"),
        r"tiny.item: 'y z' has the id 4, which is taken or outside 0\.\.3",
    ),
    "an index that is no number": (
        items(*[(row[0], "first") for row in SOUND], header="item_id:token\titem_index:token"),
        "tiny.item: the item_index 'first' in line 2 is not a whole number",
    ),
    "a neighbours row too few": (
        lambda folder: np.savez(folder / "text_neighbours.npz", neighbours=IDS[:3] % 3, cosine=COSINE[:3]),
        r"tiny: text neighbours have shape \(3, 2\), but there are 4 items",
    ),
    "features in two files": (
        lambda folder: np.save(folder / "image_feat.npy", np.eye(4)),
        "image_feat.npy: the modality 'image' has features in a table already",
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
