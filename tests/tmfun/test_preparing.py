import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tmfun import formats
from tmfun.dataset import SPLITS
from tmfun.errors import InputError
from tmfun.formats.table import Columns
from tmfun.preparing import Content, Options, prepare_amazon, prepare_table

FILES = {"image_feat.npy", "item_text.tsv", "i_id_mapping.csv", "u_id_mapping.csv", "prepared.json", "baby.inter"}
PLAIN, BOTH = Options(), Content()


def embed(texts: list[str]) -> np.ndarray:
    """Three numbers that depend on the text alone."""
    return np.array([[len(text), sum(map(ord, text)) % 97, text.count("B") + 0.5] for text in texts])


def prepared(raw: Any, folder: Path, options: Options = PLAIN, content: Content = BOTH, **how: Any) -> Path:
    """The data set `baby` from `raw`, written into `folder` first."""
    raw.write(folder / "raw", **how)
    prepare_amazon(folder / "raw", "Baby", folder / "baby", options, content)
    return folder / "baby"


def table(file: Path) -> list[list[str]]:
    return [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# -- against a construction of its own, with dictionaries and loops


def naive(raw: Any) -> dict[str, Any]:
    """Lines of the .inter file with the split `user-time`, texts, and images, from the records."""
    first: dict[tuple[str, str], tuple[int, float]] = {}
    for review in raw.reviews:
        pair = review["reviewerID"], review["asin"]
        entry = review["unixReviewTime"], review["overall"]
        first[pair] = min(first.get(pair, entry), entry)
    users, items = (sorted({pair[side] for pair in first}) for side in (0, 1))
    labels = {}
    for user in users:
        own = sorted((time, item) for (u, item), (time, _) in first.items() if u == user)
        h = 2 if len(own) < 10 else int(len(own) * 0.2)
        for n, (_, item) in enumerate(own):
            labels[user, item] = 0 if n < len(own) - h else 1 if n < len(own) - h + h // 2 else 2
    lines = [
        [str(users.index(u)), str(items.index(i)), str(float(rating)), str(time), str(labels[u, i])]
        for (u, i), (time, rating) in sorted(first.items())
    ]
    texts = []
    for item in items:
        record = next(r for r in raw.meta if r["asin"] == item)
        kinds = " ".join(kind for path in record["categories"] for kind in path)
        description = record["description"].replace("&amp;", "&").replace("\n", " ")
        texts.append(f"{kinds} {record['title']} {record['brand']} {description}")
    images: dict[str, np.ndarray] = {}
    for asin, image in raw.images:
        images.setdefault(asin, image)
    mean = np.mean([images[i].astype(float) for i in items if i in images], axis=0)
    return {
        "users": users,
        "items": items,
        "lines": lines,
        "texts": texts,
        "images": np.array([images.get(i, mean) for i in items], dtype=np.float32),
        "missing": [i for i in items if i not in images],
    }


def spoil(raw: Any) -> None:
    """Repeat a review earlier, later and better rated; put tags, entities and other letters into the metadata."""
    some = raw.reviews[3]
    raw.reviews.append({**some, "unixReviewTime": some["unixReviewTime"] - 5, "overall": 1.0})
    raw.reviews.append({**some, "unixReviewTime": some["unixReviewTime"] + 5})
    raw.reviews.append({**raw.reviews[8], "overall": raw.reviews[8]["overall"] + 1})
    raw.reviews.append(dict(raw.reviews[9]))
    raw.meta[2] |= {"title": "Bébé — 寝具 <b>", "description": "Salt &amp; pepper\n'quoted' \"twice\""}
    raw.images.append(raw.images[0])
    raw.images.append((raw.images[1][0], raw.images[1][1] + 1))


@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize("compress", [False, True])
def test_a_small_category_becomes_exactly_what_loops_make_of_it(
    raw: Any, literal: bool, compress: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(raw)
    options, content = Options("user-time"), Content(embed=embed, model="fake")
    folder = prepared(raw, tmp_path, options, content, literal=literal, compress=compress)
    expected = naive(raw)

    header, *lines = table(folder / "baby.inter")
    assert header == ["userID", "itemID", "rating", "timestamp", "x_label"]
    assert lines == expected["lines"]
    for file, kind, names in (("u_id", "user_id", "users"), ("i_id", "asin", "items")):
        header, *lines = table(folder / f"{file}_mapping.csv")
        assert header == [kind, f"{names[:-1]}ID"]
        assert lines == [[name, str(place)] for place, name in enumerate(expected[names])]
    header, *lines = table(folder / "item_text.tsv")
    assert header == ["asin", "itemID", "text"]
    texts = expected["texts"]
    assert lines == [[*entry, text] for entry, text in zip(table(folder / "i_id_mapping.csv")[1:], texts, strict=True)]
    np.testing.assert_array_equal(np.load(folder / "text_feat.npy"), embed(texts).astype(np.float32))
    images = np.load(folder / "image_feat.npy")
    filled = np.isin(expected["items"], expected["missing"])
    np.testing.assert_array_equal(images[~filled], expected["images"][~filled])
    np.testing.assert_allclose(images[filled], expected["images"][filled], rtol=1e-6, atol=1e-7)

    sheet = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
    assert sheet["items_without_image"] == expected["missing"] and len(expected["missing"]) == 3
    assert {name: number for name, number in sheet["counts"].items() if number} == {
        "interactions_read": len(raw.reviews),
        "duplicate_interactions_left_out": 4,
        "images_filled_with_the_mean": 3,
        "images_of_other_items_left_out": 1,
        "equal_repeated_images_left_out": 1,
        "differing_repeated_images_left_out": 1,
        "metadata_of_other_items_left_out": 2,
        "held_out_interactions_of_untrained_items": sheet["counts"]["held_out_interactions_of_untrained_items"],
    }
    trained = {line[1] for line in expected["lines"] if line[4] == "0"}
    untrained = [line for line in expected["lines"] if line[4] != "0" and line[1] not in trained]
    assert sheet["counts"]["held_out_interactions_of_untrained_items"] == len(untrained)
    for entry in sheet["files"]:
        source = (tmp_path / "raw" / entry["file"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(source), hashlib.sha256(source).hexdigest())

    monkeypatch.setenv("TMFUN_DATA", str(tmp_path))
    dataset = formats.load("baby")
    assert (dataset.users, dataset.items) == (len(expected["users"]), len(expected["items"]))
    assert {m.name: m.features.shape[1] for m in dataset.modalities if m.features is not None} == sheet["result"][
        "modalities"
    ]
    for label, part in enumerate(SPLITS):
        pairs = [[int(u), int(i)] for u, i, _, _, x in expected["lines"] if x == str(label)]
        assert getattr(dataset, part).tolist() == pairs and sheet["result"][part] == len(pairs)


def test_the_order_of_the_lines_and_their_style_do_not_matter(raw: Any, tmp_path: Path) -> None:
    content = Content(embed=embed)
    made = []
    for n, how in enumerate(({}, {"seed": 1}, {"seed": 2, "literal": True, "compress": False})):
        folder = contents(prepared(raw, tmp_path / str(n), content=content, **how))
        assert set(folder) == FILES | {"text_feat.npy"}
        sheet = json.loads(folder.pop("prepared.json"))
        del sheet["files"]
        made.append((folder, sheet))
    assert made[0] == made[1] == made[2]


def test_the_split_is_the_lattice_one_and_follows_the_seed(
    raw: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for seed in (0, 1, 0):
        place = tmp_path / f"{len(found)}"
        prepared(raw, place, Options(seed=seed))
        monkeypatch.setenv("TMFUN_DATA", str(place))
        found.append(formats.load("baby"))
    assert {dataset.split for dataset in found} == {"lattice"}
    assert found[0].content_hash == found[2].content_hash != found[1].content_hash


def test_the_core_is_taken_before_ids_are_given(raw: Any, tmp_path: Path) -> None:
    raw.reviews = raw.reviews[:-4]  # a user of 2, below any 3-core, and items that lose reviews with it
    folder = prepared(raw, tmp_path, Options(k_core=3))
    pairs = {(review["reviewerID"], review["asin"]) for review in raw.reviews}
    while True:
        seldom = [{n for n, c in Counter(pair[side] for pair in pairs).items() if c < 3} for side in (0, 1)]
        if not any(seldom):
            break
        pairs = {pair for pair in pairs if pair[0] not in seldom[0] and pair[1] not in seldom[1]}
    for side, file in enumerate(("u_id_mapping.csv", "i_id_mapping.csv")):
        assert [row[0] for row in table(folder / file)[1:]] == sorted({pair[side] for pair in pairs})
    sheet = json.loads((folder / "prepared.json").read_text())
    assert sheet["counts"]["interactions_left_out_by_k_core"] == len(raw.reviews) - len(pairs)
    assert sheet["counts"]["users_left_out_by_k_core"] == 12 - sheet["result"]["users"] > 0
    assert len(np.load(folder / "image_feat.npy")) == sheet["result"]["items"]
    with pytest.raises(InputError, match="nothing is left of it after the 99-core"):
        prepare_amazon(tmp_path / "raw", "Baby", tmp_path / "other", Options(k_core=99))


def test_malformed_lines_are_named_or_left_out_as_if_they_were_not_there(raw: Any, tmp_path: Path) -> None:
    expected = contents(prepared(raw, tmp_path))
    for n, name in enumerate(("reviews_Baby_5.json", "meta_Baby.json")):
        folder = raw.write(tmp_path / name, compress=False)
        file = folder / name
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join([*lines[:4], b"{'asin': 'B\n", b"{}\n", *lines[4:]]))
        with pytest.raises(InputError, match=rf"{name}, line 5: neither JSON nor a literal"):
            prepare_amazon(folder, "Baby", tmp_path / f"bad{n}")
        assert not list(tmp_path.glob(f"*bad{n}*"))
        prepare_amazon(folder, "Baby", tmp_path / f"bad{n}" / "baby", Options(skip_malformed=True))
        found = contents(tmp_path / f"bad{n}" / "baby")
        assert json.loads(found.pop("prepared.json"))["counts"]["malformed_lines_left_out"] == 2
        assert found == {file: content for file, content in expected.items() if file != "prepared.json"}


# -- texts and images may be missing, supplied or made


def test_without_a_model_there_are_texts_and_no_text_features(raw: Any, tmp_path: Path) -> None:
    assert set(contents(prepared(raw, tmp_path))) == FILES


def test_texts_and_images_can_be_left_out(raw: Any, tmp_path: Path) -> None:
    made = prepared(raw, tmp_path, content=Content(text=False, images=False))
    assert set(contents(made)) == FILES - {"item_text.tsv", "image_feat.npy"}
    assert len(json.loads((made / "prepared.json").read_text())["files"]) == 1


def test_the_recipe_as_published_reaches_the_texts_and_the_datasheet(raw: Any, tmp_path: Path) -> None:
    folder = prepared(raw, tmp_path, content=Content(recipe="mmrec", as_published=True))
    place, text = table(folder / "item_text.tsv")[5][1:]
    record = next(r for r in raw.meta if r["asin"] == table(folder / "i_id_mapping.csv")[int(place) + 1][0])
    assert text == f"{record['title']} {record['brand']} Baby Feeding {record['description']}".replace("\n", " ")
    options = json.loads((folder / "prepared.json").read_text())["options"]
    assert (options["recipe"], options["as_published"], options["category"]) == ("mmrec", True, "Baby")


def test_supplied_text_features_are_taken_in_the_order_of_ids(raw: Any, tmp_path: Path) -> None:
    features = np.random.default_rng(0).standard_normal((20, 6))
    np.save(tmp_path / "mine.npy", features)
    content = Content(text_features=tmp_path / "mine.npy")
    folder = prepared(raw, tmp_path, content=content)
    np.testing.assert_array_equal(np.load(folder / "text_feat.npy"), features.astype(np.float32))
    files = json.loads((folder / "prepared.json").read_text())["files"]
    assert files[-1]["file"] == "mine.npy" and len(files) == 4


def bad_features(change: str) -> np.ndarray:
    features = np.random.default_rng(0).standard_normal((20, 6))
    if change in ("infinite", "too large"):
        features[13, 2] = np.inf if change == "infinite" else 1e300
        return features
    return {"short": features[:19], "flat": features[:, 0], "whole": features.astype(int), "same": features * 0}[change]


@pytest.mark.parametrize(
    "change, message",
    [
        ("short", r"of shape \(19, 6\), but there are 20 items"),
        ("flat", r"of shape \(20,\), but there are 20 items"),
        ("whole", "features of type int64"),
        ("infinite", "text features of item 13 are not finite"),
        ("too large", "text features of item 13 are not finite"),
        ("same", "the same for every item"),
        ("text file", "not a complete .npy file"),
        ("archive", "an .npz archive, but"),
        ("pickle", "not a complete .npy file"),
        ("absent", "was not made: .*No such file"),
    ],
)
def test_supplied_text_features_that_do_not_fit_are_refused(
    raw: Any, change: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.npy"
    if change == "text file":
        file.write_text("hello")
    elif change == "archive":
        with file.open("wb") as stream:
            np.savez(stream, x=np.zeros((20, 6)))
    elif change == "pickle":
        np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    elif change != "absent":
        np.save(file, bad_features(change))
    with pytest.raises(InputError, match=message):
        prepared(raw, tmp_path, content=Content(text_features=file))
    assert not (tmp_path / "baby").exists() and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    "model, message",
    [
        (lambda texts: np.zeros((len(texts) - 1, 3)), r"an array of shape \(19, 3\) of 20 texts"),
        (lambda texts: np.zeros(len(texts)), "an array of shape"),
        (lambda texts: np.full((len(texts), 2), np.nan), "the text model: the text features of item 0 are not finite"),
        (lambda texts: np.ones((len(texts), 2)), "the text model: the features are the same for every item"),
    ],
)
def test_what_a_text_model_makes_is_checked(raw: Any, model: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        prepared(raw, tmp_path, content=Content(embed=model))


def test_texts_come_from_one_place(raw: Any, tmp_path: Path) -> None:
    for content in (Content(text=False), Content(embed=embed)):
        with pytest.raises(InputError, match="only one of these"):
            prepared(raw, tmp_path, content=replace(content, text_features=tmp_path / "mine.npy"))


def test_one_image_for_all_items_tells_nothing(raw: Any, tmp_path: Path) -> None:
    raw.images = raw.images[:1]
    with pytest.raises(InputError, match=r"image_features_Baby\.b: the features are the same for every item"):
        prepared(raw, tmp_path)


# -- where it goes


def test_a_folder_that_holds_something_is_not_touched(raw: Any, tmp_path: Path) -> None:
    (tmp_path / "baby").mkdir()
    prepared(raw, tmp_path)  # an empty one is taken
    before = contents(tmp_path / "baby")
    with pytest.raises(InputError, match="baby is there already and is not replaced"):
        prepare_amazon(tmp_path / "raw", "Baby", tmp_path / "baby")
    assert contents(tmp_path / "baby") == before
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file is there already"):
        prepare_amazon(tmp_path / "raw", "Baby", tmp_path / "file")
    with pytest.raises(InputError, match="'synthetic' is a built-in data set"):
        prepare_amazon(tmp_path / "raw", "Baby", tmp_path / "synthetic")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_nothing(raw: Any, error: type[BaseException], tmp_path: Path) -> None:
    def interrupt(texts: list[str]) -> np.ndarray:
        assert list((tmp_path).glob(".baby.*.partial/image_feat.npy")), "the work is under way beside the place"
        raise error

    with pytest.raises(error):
        prepared(raw, tmp_path, content=Content(embed=interrupt))
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_place_that_cannot_be_written_is_one_sentence(raw: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    raw.write(tmp_path / "raw")
    with pytest.raises(InputError, match=r"file/baby was not made: .*"):
        prepare_amazon(tmp_path / "raw", "Baby", tmp_path / "file" / "baby")


# -- tables


def test_a_table_becomes_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(u, i) for u in range(30) for i in range(40) if (u * i + u) % 3]
    rows = "".join(f"user{u};item{i};{u * i % 17}\n" for u, i in pairs)
    (tmp_path / "x.csv").write_text("u;i;t\n" + rows)
    columns = Columns("u", "i", timestamp="t", separator=";")
    sheet = prepare_table(tmp_path / "x.csv", columns, tmp_path / "mine", Options("global-time"))
    monkeypatch.setenv("TMFUN_DATA", str(tmp_path))
    dataset = formats.load("mine")
    users, items = (table(tmp_path / "mine" / f"{kind}_id_mapping.csv")[1:] for kind in "ui")
    assert [int(place) for _, place in users] == list(range(dataset.users))
    found = {(users[u][0], items[i][0]) for part in SPLITS for u, i in getattr(dataset, part).tolist()}
    assert found == {(f"user{u}", f"item{i}") for u, i in pairs}
    assert table(tmp_path / "mine" / "mine.inter")[0] == ["userID", "itemID", "timestamp", "x_label"]
    assert sheet["options"]["columns"]["timestamp"] == "t" and sheet["options"]["split"] == "global-time"


def test_a_split_that_is_there_is_kept_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(u, i, (u * i + i) % 3) for u in range(9) for i in range(7)]
    (tmp_path / "x.tsv").write_text("u\ti\tx\n" + "".join(f"{u}\t{i}\t{x}\n" for u, i, x in rows))
    sheet = prepare_table(tmp_path / "x.tsv", Columns("u", "i", label="x"), tmp_path / "mine")
    monkeypatch.setenv("TMFUN_DATA", str(tmp_path))
    dataset = formats.load("mine")
    for label, part in enumerate(SPLITS):
        assert getattr(dataset, part).tolist() == [[u, i] for u, i, x in rows if x == label]
    assert sheet["options"]["split"] == "as supplied"
    (tmp_path / "y.tsv").write_text("u\ti\tx\n0\t0\t0\n0\t1\t2\n")
    with pytest.raises(InputError, match="'as supplied' leaves validation empty"):
        prepare_table(tmp_path / "y.tsv", Columns("u", "i", label="x"), tmp_path / "other")


def test_a_split_by_time_needs_a_column_of_times(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("u,i\n" + "".join(f"{u},{i}\n" for u in range(9) for i in range(7)))
    with pytest.raises(InputError, match="'user-time' needs timestamps"):
        prepare_table(tmp_path / "x.csv", Columns("u", "i"), tmp_path / "mine", Options("user-time"))


def test_a_category_of_100_000_reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many_reviews: Any) -> None:
    folder = prepared(many_reviews, tmp_path, Options(k_core=5), Content(embed=embed))
    sheet = json.loads((folder / "prepared.json").read_text())
    assert sheet["counts"]["interactions_read"] == 100_000
    assert sheet["counts"]["images_filled_with_the_mean"] == 400 and sheet["result"]["items"] == 500
    monkeypatch.setenv("TMFUN_DATA", str(tmp_path))
    dataset = formats.load("baby")
    assert dataset.split == "lattice" and sum(len(getattr(dataset, part)) for part in SPLITS) == 100_000
    image = dataset.modality("image").features
    assert image is not None
    given = dict(many_reviews.images)
    mean = np.mean(list(given.values()), axis=0, dtype=np.float64)
    names = [asin for asin, _ in table(folder / "i_id_mapping.csv")[1:]]
    np.testing.assert_allclose(image, [given.get(asin, mean) for asin in names], rtol=1e-6, atol=1e-7)
