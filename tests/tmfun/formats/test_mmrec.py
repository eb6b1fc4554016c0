from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tmfun.dataset import SPLITS, Dataset
from tmfun.errors import InputError
from tmfun.formats import mmrec
from tmfun.model import TMFUN, Settings

HEADER = "userID\titemID\tx_label"
LINES = [(0, 0, 0), (0, 1, 0), (0, 2, 1), (0, 3, 2), (1, 1, 0), (1, 2, 0), (1, 3, 1), (1, 0, 2)]
FEATURES = np.arange(12, dtype=np.float32).reshape(4, 3) - 5
IDS = np.array([[0, 1], [1, 2], [2, 3], [3, 0]], dtype=np.int32)
COSINE = np.array([[1, 0.5]] * 4, dtype=np.float32)


def write_inter(folder: Path, lines: list[tuple], header: str = HEADER) -> None:
    rows = ["\t".join(map(str, line)) for line in lines]
    (folder / f"{folder.name}.inter").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def write_mapping(folder: Path, kind: str, rows: list[tuple], token: str, number: str, separator: str = "\t") -> None:
    lines = [separator.join(map(str, row)) for row in [(token, number), *rows]]
    (folder / f"{kind}_id_mapping.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound data set `tiny` of 2 users, 4 items, image features and a neighbours file for text."""
    made = tmp_path / "tiny"
    made.mkdir()
    write_inter(made, LINES)
    np.save(made / "image_feat.npy", FEATURES)
    np.savez(made / "text_neighbours.npz", neighbours=IDS, cosine=COSINE)
    return made


def read(folder: Path) -> Dataset:
    return mmrec.read(folder).check()


def write(dataset: Dataset, folder: Path) -> None:
    folder.mkdir()
    lines = [(u, i, label) for label, split in enumerate(SPLITS) for u, i in getattr(dataset, split).tolist()]
    np.random.default_rng(0).shuffle(lines)
    write_inter(folder, lines)
    for m in dataset.modalities:
        if m.features is not None:
            np.save(folder / f"{m.name}_feat.npy", m.features)
        if m.neighbours is not None:
            np.savez_compressed(folder / f"{m.name}_neighbours.npz", neighbours=m.neighbours, cosine=m.cosine)


def without_gaps(dataset: Dataset) -> Dataset:
    """User 39 and item 29, which do not occur, get an interaction: ids are counted from the file."""
    return replace(dataset, train=np.vstack([dataset.train, [39, 29]]))


# -- what is read


@pytest.mark.parametrize("toy_name", ["none", "two", "neighbours", "both"])
def test_what_is_written_is_read(toys: dict[str, Dataset], toy_name: str, tmp_path: Path) -> None:
    dataset = without_gaps(toys[toy_name])
    write(dataset, tmp_path / "copy")
    found = read(tmp_path / "copy")
    assert (found.name, found.origin, found.where) == ("copy", "files", str(tmp_path / "copy"))
    assert found.content_hash == dataset.content_hash
    for split in SPLITS:
        np.testing.assert_array_equal(getattr(found, split), getattr(dataset, split))
    assert sorted(m.name for m in found.modalities) == sorted(m.name for m in dataset.modalities)


def test_splits_follow_the_labels(folder: Path) -> None:
    dataset = read(folder)
    assert (dataset.users, dataset.items) == (2, 4)
    assert dataset.train.tolist() == [[0, 0], [0, 1], [1, 1], [1, 2]]
    assert dataset.validation.tolist() == [[0, 2], [1, 3]]
    assert dataset.test.tolist() == [[0, 3], [1, 0]]
    image, text = dataset.modalities
    assert image.features is not None and image.neighbours is None and image.origin == "as supplied"
    assert text.features is None and text.neighbours is not None
    np.testing.assert_array_equal(image.features, FEATURES)
    np.testing.assert_array_equal(text.neighbours, IDS)


def test_columns_come_in_any_order_and_ratings_and_timestamps_stay_with_their_pairs(folder: Path) -> None:
    before = read(folder)
    assert before.extras.rating is None and before.extras.timestamp is None
    lines = [
        (label, f"{user}.{item}", item, user, f"{1388275200 + n}.0") for n, (user, item, label) in enumerate(LINES)
    ]
    write_inter(folder, lines[::-1], "x_label\trating\titemID\tuserID\ttimestamp")
    after = read(folder)
    assert after.content_hash == before.content_hash and after.extras.left_out == ()
    pairs = [tuple(pair) for split in SPLITS for pair in getattr(after, split).tolist()]
    assert after.extras.rating is not None and after.extras.timestamp is not None
    assert after.extras.rating.tolist() == [float(f"{user}.{item}") for user, item in pairs]
    place = {(user, item): n for n, (user, item, _) in enumerate(LINES)}
    assert after.extras.timestamp.tolist() == [1388275200 + place[pair] for pair in pairs]


def test_timestamps_of_nanoseconds_keep_their_last_digit(folder: Path) -> None:
    first = 2**60 + 1
    write_inter(folder, [(*line, first + n) for n, line in enumerate(LINES)], f"{HEADER}\ttimestamp")
    timestamp = read(folder).extras.timestamp
    assert timestamp is not None and sorted(timestamp.tolist()) == [first + n for n in range(8)]


def test_further_columns_are_named_as_left_out(folder: Path) -> None:
    before = read(folder).content_hash
    write_inter(folder, [("a", *line, "b") for line in LINES], f"review\t{HEADER}\ttitle")
    after = read(folder)
    assert after.content_hash == before
    assert after.extras.left_out == ("the column review of tiny.inter", "the column title of tiny.inter")


@pytest.mark.parametrize("separator", ["\t", ","])
def test_tokens_come_from_the_mappings(folder: Path, separator: str) -> None:
    write_mapping(folder, "u", [("AIXZ", 1), ("A1L5", 0)], "user_id", "userID", separator)
    write_mapping(folder, "i", [(f'"B""{n}"', n) for n in range(4)], "asin", "itemID", separator)
    extras = read(folder).extras
    assert extras.user_tokens == ("A1L5", "AIXZ")
    assert extras.item_tokens == tuple(f'B"{n}' for n in range(4))


def test_a_mapping_says_how_many_there_are_even_if_they_do_not_occur(folder: Path) -> None:
    (folder / "image_feat.npy").unlink()
    (folder / "text_neighbours.npz").unlink()
    write_mapping(folder, "u", [(n, n) for n in range(7)], "user_id", "userID")
    write_mapping(folder, "i", [(f"B{n}", n) for n in range(6)], "asin", "itemID")
    dataset = read(folder)
    assert (dataset.users, dataset.items, dataset.extras.user_tokens) == (7, 6, None)
    assert dataset.extras.item_tokens == ("B0", "B1", "B2", "B3", "B4", "B5")


def test_the_files_are_written_as_mmrec_writes_them(folder: Path, tmp_path: Path) -> None:
    write_inter(folder, [(*line, n / 2, 10**9 + n) for n, line in enumerate(LINES)], f"{HEADER}\trating\ttimestamp")
    write_mapping(folder, "i", [(f"B{n}", n) for n in range(4)], "asin", "itemID")
    mmrec.write(read(folder), tmp_path / "new")
    assert (tmp_path / "new" / "new.inter").read_text() == (
        "userID\titemID\trating\ttimestamp\tx_label\n"
        "0\t0\t0.0\t1000000000\t0\n0\t1\t0.5\t1000000001\t0\n1\t1\t2.0\t1000000004\t0\n1\t2\t2.5\t1000000005\t0\n"
        "0\t2\t1.0\t1000000002\t1\n1\t3\t3.0\t1000000006\t1\n0\t3\t1.5\t1000000003\t2\n1\t0\t3.5\t1000000007\t2\n"
    )
    assert (tmp_path / "new" / "i_id_mapping.csv").read_text() == "asin\titemID\nB0\t0\nB1\t1\nB2\t2\nB3\t3\n"
    assert not (tmp_path / "new" / "u_id_mapping.csv").exists()
    np.testing.assert_array_equal(np.load(tmp_path / "new" / "image_feat.npy"), FEATURES)


def test_quotes_in_further_columns_are_text_like_any_other(folder: Path) -> None:
    before = read(folder).content_hash
    titles = ['7" single', "plain", 'say "hello"', '"open', "plain", 'shut"', "plain", "it's"]
    lines = [(*line, title) for line, title in zip(LINES, titles, strict=True)]
    write_inter(folder, lines, f"{HEADER}\ttitle")
    assert read(folder).content_hash == before


def test_fields_beyond_the_header_do_not_shift_the_others(folder: Path) -> None:
    before = read(folder).content_hash
    write_inter(folder, [(*line, "title", "more") for line in LINES], f"{HEADER}\ttitle")
    assert read(folder).content_hash == before


def test_windows_line_ends_are_read(folder: Path) -> None:
    before = read(folder).content_hash
    file = folder / "tiny.inter"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert read(folder).content_hash == before


@pytest.mark.parametrize("kind", [np.float16, np.float64, ">f4"])
def test_features_of_any_float_type_become_float32(folder: Path, kind: object) -> None:
    before = read(folder).content_hash
    np.save(folder / "image_feat.npy", FEATURES.astype(kind))
    features = read(folder).modality("image").features
    assert features is not None and features.dtype == np.float32
    assert read(folder).content_hash == before


def test_features_in_column_order_are_read(folder: Path) -> None:
    before = read(folder).content_hash
    np.save(folder / "image_feat.npy", np.asfortranarray(FEATURES))
    assert read(folder).content_hash == before


def test_the_interactions_may_lie_in_a_file_of_another_name(folder: Path) -> None:
    before = read(folder).content_hash
    (folder / "tiny.inter").rename(folder / "interactions.inter")
    assert read(folder).content_hash == before


def test_the_file_of_the_folders_name_comes_first(folder: Path) -> None:
    before = read(folder).content_hash
    (folder / "another.inter").write_text("not a table")
    assert read(folder).content_hash == before


# -- bad input


def damage_line(line: tuple, place: int = 3) -> Callable[[Path], None]:
    return lambda folder: write_inter(folder, [*LINES[:place], line, *LINES[place + 1 :]])


def value(column: str, text: object) -> Callable[[Path], None]:
    """A further column with `text` in the fourth line of interactions."""
    lines = [(*line, text if place == 3 else 1) for place, line in enumerate(LINES)]
    return lambda folder: write_inter(folder, lines, f"{HEADER}\t{column}")


def features(array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / "image_feat.npy", array)


def neighbours(**arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.savez(folder / "text_neighbours.npz", **arrays)


def truncate(name: str, keep: float) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * keep)])

    return cut


def wrong_bytes_inside_the_archive(folder: Path) -> None:
    path = folder / "text_neighbours.npz"
    np.savez_compressed(path, neighbours=np.tile(IDS, (1, 25)), cosine=np.tile(COSINE, (1, 25)))
    data = bytearray(path.read_bytes())
    data[60:100] = bytes(40)
    path.write_bytes(bytes(data))


def archive_in_place_of_an_array(folder: Path) -> None:
    with (folder / "image_feat.npy").open("wb") as file:
        np.savez(file, features=FEATURES)


def array_in_place_of_an_archive(folder: Path) -> None:
    with (folder / "text_neighbours.npz").open("wb") as file:
        np.save(file, IDS)


def remove_inter(folder: Path) -> None:
    (folder / "tiny.inter").unlink()


def folder_in_place_of_inter(folder: Path) -> None:
    remove_inter(folder)
    (folder / "tiny.inter").mkdir()


NAN = np.where(np.eye(4, 3) > 0, np.nan, FEATURES).astype(np.float32)

BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no interactions file": (remove_inter, "tiny: no .inter file here"),
    "a folder in its place": (folder_in_place_of_inter, "tiny.inter"),
    "an empty file": (lambda folder: (folder / "tiny.inter").write_text(""), "tiny.inter: the header lacks"),
    "a header alone": (lambda folder: write_inter(folder, []), "tiny.inter: no interactions below the header"),
    "a missing column": (
        lambda folder: write_inter(folder, LINES, "userID\titemID\tlabel"),
        r"tiny.inter: the header lacks the column x_label \(it has: userID, itemID, label\)",
    ),
    "commas for tabs": (
        lambda folder: (folder / "tiny.inter").write_text("userID,itemID,x_label\n0,0,0\n"),
        "tiny.inter: the header lacks the column userID",
    ),
    "text in a column": (
        damage_line((0, "three", 2)),
        "tiny.inter: the itemID 'three' in line 5 is not a whole number",
    ),
    "a fraction in a column": (damage_line((0, 2.5, 2)), "tiny.inter: the itemID '2.5' in line 5 is not a whole"),
    "a short line": (damage_line((0, 3)), "tiny.inter: the x_label '' in line 5 is not a whole number"),
    "an empty field": (damage_line((0, "", 2)), "tiny.inter: the itemID '' in line 5 is not a whole number"),
    "bytes that are no text": (
        lambda folder: (folder / "tiny.inter").write_bytes(HEADER.encode() + b"\n0\t\xe9\t0\n"),
        "tiny.inter: not a table in UTF-8 text",
    ),
    "x_label 3": (damage_line((0, 3, 3)), r"tiny.inter: x_label 3 is none of 0 \(train\), 1"),
    "x_label -1": (damage_line((0, 3, -1)), "tiny.inter: x_label -1 is none of"),
    "a negative user id": (damage_line((-1, 3, 2)), "tiny.inter: userID -1 is out of range"),
    "a negative item id": (damage_line((0, -7, 2)), "tiny.inter: itemID -7 is out of range"),
    "an item id beyond the features": (damage_line((0, 4, 2)), "tiny.inter: itemID 4 is out of range: .* have 4 rows"),
    "an id beyond 32 bits": (damage_line((2**32, 3, 2)), "tiny"),
    "an id beyond 64 bits": (damage_line((10**23, 3, 2)), "tiny.inter"),
    "a rating that is none": (
        value("rating", "good"),
        "tiny.inter: the rating 'good' in line 5 is not a finite number",
    ),
    "a rating that is missing": (value("rating", ""), "tiny.inter: the rating '' in line 5 is not a finite number"),
    "a NaN rating": (value("rating", "nan"), "tiny.inter: the rating 'nan' in line 5 is not a finite number"),
    "a fraction of a second": (value("timestamp", "1.5"), "tiny.inter: the timestamp '1.5' in line 5 is not a whole"),
    "a timestamp beyond 64 bits": (value("timestamp", 2**63), "tiny.inter: the timestamp '9223372036854775808' in"),
    "an endless timestamp": (value("timestamp", "inf"), "tiny.inter: the timestamp 'inf' in line 5 is not a whole"),
    "a column twice": (
        lambda folder: write_inter(folder, [(*line, 1) for line in LINES], f"{HEADER}\titemID"),
        "tiny.inter: the header names the column 'itemID' twice",
    ),
    "a mapping that lacks an id": (
        lambda folder: write_mapping(folder, "i", [("B", 0), ("C", 1), ("D", 2)], "asin", "itemID"),
        "i_id_mapping.csv: the id 3 occurs in the interactions, but is not listed here",
    ),
    "a mapping with a gap": (
        lambda folder: write_mapping(folder, "u", [("B", 0), ("C", 2)], "user_id", "userID"),
        r"u_id_mapping.csv: 'C' has the id 2, which is taken or outside 0\.\.1",
    ),
    "a mapping with an id twice": (
        lambda folder: write_mapping(folder, "u", [("B", 1), ("C", 1)], "user_id", "userID"),
        "u_id_mapping.csv: 'C' has the id 1, which is taken",
    ),
    "a mapping with a token twice": (
        lambda folder: write_mapping(folder, "u", [("B", 0), ("B", 1)], "user_id", "userID"),
        "tiny: two users have the token 'B'",
    ),
    "a mapping without ids": (
        lambda folder: write_mapping(folder, "u", [("B", 0), ("C", 1)], "user_id", "index"),
        "u_id_mapping.csv: the header has user_id, index, but user_id and userID are needed",
    ),
    "a neighbour twice": (
        neighbours(neighbours=np.where(IDS == 3, 2, IDS), cosine=COSINE),
        "tiny: text neighbours of item 2 list item 2 twice",
    ),
    "a pair twice": (damage_line((0, 0, 2)), "tiny: user 0 and item 0 occur together more than once"),
    "an empty split": (
        lambda folder: write_inter(folder, [line for line in LINES if line[2] != 1]),
        "tiny: the validation split is empty",
    ),
    "a feature row too few": (features(FEATURES[:3]), "tiny"),
    "a feature row too many": (
        features(np.vstack([FEATURES, FEATURES[:1] + 9])),
        r"image features have shape \(5, 3\), but there are 4 items",
    ),
    "NaN features": (features(NAN), r"image features of item 0 are not finite \(3 such rows\)"),
    "constant features": (features(np.ones((4, 3))), "image features are the same for every item"),
    "integer features": (features(FEATURES.astype(int)), "image_feat.npy: features of type int64"),
    "complex features": (features(FEATURES.astype(complex)), "image_feat.npy: features of type complex128"),
    "features of objects": (features(FEATURES.astype(object)), "image_feat.npy: not a complete numpy file"),
    "features in one dimension": (features(FEATURES[:, 0]), r"image features have shape \(4,\)"),
    "a truncated npy": (truncate("image_feat.npy", 0.9), "image_feat.npy: not a complete numpy file"),
    "a truncated npy header": (truncate("image_feat.npy", 0.2), "image_feat.npy: not a complete numpy file"),
    "an empty npy": (truncate("image_feat.npy", 0), "image_feat.npy: not a complete numpy file"),
    "an npy that is none": (
        lambda folder: (folder / "image_feat.npy").write_text("<html>not found</html>"),
        "image_feat.npy: not a complete numpy file",
    ),
    "an npz for an npy": (archive_in_place_of_an_array, "image_feat.npy"),
    "an npy for an npz": (array_in_place_of_an_archive, "text_neighbours.npz"),
    "a truncated npz": (truncate("text_neighbours.npz", 0.5), "text_neighbours.npz: not a complete numpy file"),
    "wrong bytes in an npz": (wrong_bytes_inside_the_archive, "text_neighbours.npz"),
    "an npz without cosines": (neighbours(neighbours=IDS), "text_neighbours.npz: the array 'cosine' is missing"),
    "an npz without neighbours": (neighbours(cosine=COSINE), "text_neighbours.npz: the array 'neighbours' is missing"),
    "neighbours of objects": (
        neighbours(neighbours=IDS.astype(object), cosine=COSINE),
        "text_neighbours.npz: not a complete numpy file",
    ),
    "cosines of another shape": (neighbours(neighbours=IDS, cosine=COSINE[:, :1]), "text neighbours and their cosines"),
    "a neighbour id too large": (neighbours(neighbours=IDS + 1, cosine=COSINE), "text neighbours hold an item id"),
    "a neighbour id beyond 32 bits": (
        neighbours(neighbours=IDS.astype(np.int64) + 2**32, cosine=COSINE),
        "text",
    ),
    "neighbours that are fractions": (neighbours(neighbours=IDS + 0.7 * (IDS < 3), cosine=COSINE), "text"),
    "neighbours that are no numbers": (neighbours(neighbours=IDS + np.nan, cosine=COSINE), "text"),
    "neighbours that are text": (neighbours(neighbours=np.array([["a", "b"]] * 4), cosine=COSINE), "text"),
    "neighbours in no dimension": (neighbours(neighbours=np.array(1), cosine=np.array(1.0)), "text"),
    "neighbours of no width": (neighbours(neighbours=IDS[:, :0], cosine=COSINE[:, :0]), "text"),
    "cosines above 1": (neighbours(neighbours=IDS, cosine=COSINE * 2), "text cosines are not finite numbers between"),
    "cosines that are text": (neighbours(neighbours=IDS, cosine=np.array([["a", "b"]] * 4)), "text"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_that_names_the_place(folder: Path, case: str) -> None:
    damage, message = BAD[case]
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_features_too_large_for_float32_are_refused(folder: Path) -> None:
    np.save(folder / "image_feat.npy", FEATURES.astype(np.float64) * 1e300)
    with pytest.raises(InputError, match="image"):
        read(folder)


@pytest.mark.parametrize("file", ["image_feat.npy", "text_neighbours.npz"])
def test_a_pickle_is_never_opened(folder: Path, file: str, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "sprung",)

    trap = np.array([[Trap()]] * 4, dtype=object)
    if file.endswith(".npy"):
        np.save(folder / file, trap, allow_pickle=True)
    else:
        np.savez(folder / file, neighbours=trap, cosine=COSINE)
    with pytest.raises(InputError, match="not a complete numpy file"):
        read(folder)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["im.age", "", "keys", "values", "type"])
def test_a_modality_of_any_name_is_refused_or_can_be_trained_on(folder: Path, name: str) -> None:
    np.save(folder / f"{name}_feat.npy", FEATURES)
    try:
        dataset = read(folder)
    except InputError:
        return
    TMFUN(dataset, Settings(dimension=4, neighbours=2), seed=0).representations()
