import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tmfun.errors import InputError
from tmfun.formats import amazon
from tmfun.formats.amazon import IMAGE_WIDTH, find, read_images, read_reviews, read_texts
from tmfun.formats.raw import Collected, Tally
from tmfun.rows import AT_ONCE, RowFile

RECORD = 10 + 4 * IMAGE_WIDTH
SOUND: dict[str, Any] = {"reviewerID": "A1", "asin": "B000000001", "overall": 4.0, "unixReviewTime": 1_400_000_000}


def silent(what: str, share: float) -> None:
    pass


def reviews(file: Path, *lines: str | bytes, skip: bool = False) -> tuple[Collected, Tally]:
    file.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    tally = Tally(skip)
    return read_reviews(file, tally, silent), tally


# -- files


def test_files_are_found_by_category_compressed_or_not(raw: Any, tmp_path: Path) -> None:
    raw.write(tmp_path / "a", "Sports_and_Outdoors")
    raw.write(tmp_path / "b", compress=False)
    assert find(tmp_path / "a", "Sports_and_Outdoors").reviews.name == "reviews_Sports_and_Outdoors_5.json.gz"
    found = find(tmp_path / "b", "Baby")
    assert found.meta is not None and found.images is not None
    assert [file.name for file in (found.reviews, found.meta, found.images)] == [
        "reviews_Baby_5.json",
        "meta_Baby.json",
        "image_features_Baby.b",
    ]


@pytest.mark.parametrize(
    "gone, remedy",
    [
        ("reviews_Baby_5.json.gz", r"is missing; put it there$"),
        ("meta_Baby.json.gz", r"is missing; put it there, or go without texts: --no-text$"),
        ("image_features_Baby.b", r"is missing; put it there, or go without images: --no-images$"),
    ],
)
def test_a_missing_file_is_named_with_the_remedy(raw: Any, gone: str, remedy: str, tmp_path: Path) -> None:
    (raw.write(tmp_path) / gone).unlink()
    with pytest.raises(InputError, match=f"{gone} {remedy}"):
        find(tmp_path, "Baby")
    if not gone.startswith("reviews"):
        find(tmp_path, "Baby", text=not gone.startswith("meta"), images=not gone.startswith("image"))


def test_a_category_is_no_path_and_the_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no category of Amazon"):
        find(tmp_path, "../Baby")
    with pytest.raises(InputError, match="no such folder"):
        find(tmp_path / "absent", "Baby")


# -- reviews


def test_json_and_literals_of_python_may_be_mixed(tmp_path: Path) -> None:
    texts = ["it's", 'say "hi"', "naïve ☃ \\d", "{'a': 1}"]
    lines = [json.dumps({**SOUND, "reviewerID": f"A{n}", "text": text}) for n, text in enumerate(texts)]
    lines += ["", repr({**SOUND, "reviewerID": "B", "text": texts[2]}), "{'asin': 'x', 'overall': 1, 'text': '\\d',"]
    lines[-1] += " 'reviewerID': u'C', 'unixReviewTime': 12}"
    found, _ = reviews(tmp_path / "r.json", *lines)
    assert found.users == ["A0", "A1", "A2", "A3", "B", "C"] and found.items == ["B000000001", "x"]
    given = found.interactions
    assert given.rating is not None and given.timestamp is not None
    assert given.rating.tolist() == [4, 4, 4, 4, 4, 1]
    assert given.timestamp.tolist() == [1_400_000_000] * 5 + [12]


MALFORMED = {
    "not JSON": ("{'asin': ", "neither JSON nor a literal of Python"),
    "code": ("__import__('os').abort()", "neither JSON nor a literal of Python"),
    "sums": ("{'a': " + "1+" * 3 + "x}", "neither JSON nor a literal of Python"),
    "nested": ("[" * 100_000, "neither JSON nor a literal of Python"),
    "a list": ("[1, 2]", "not a record"),
    "not UTF-8": (b'{"asin": "\xff"}', "not UTF-8"),
    "a NUL": ("\0", "neither JSON nor a literal of Python"),
    "no asin": (json.dumps({n: v for n, v in SOUND.items() if n != "asin"}), "asin is missing"),
    "no user": (json.dumps({n: v for n, v in SOUND.items() if n != "reviewerID"}), "reviewerID is missing"),
    "no time": (json.dumps({n: v for n, v in SOUND.items() if n != "unixReviewTime"}), "unixReviewTime is missing"),
    "no rating": (json.dumps({n: v for n, v in SOUND.items() if n != "overall"}), "overall is missing"),
    "a number as user": (json.dumps({**SOUND, "reviewerID": 5}), "reviewerID is 5, not text"),
    "NaN as rating": (json.dumps({**SOUND, "overall": float("nan")}), "overall nan is not a finite number"),
    "half a second": (json.dumps({**SOUND, "unixReviewTime": 0.5}), "unixReviewTime 0.5 is not a whole number"),
    "an empty user": (json.dumps({**SOUND, "reviewerID": ""}), "cannot be a name"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_review_is_named_or_counted(case: str, tmp_path: Path) -> None:
    line, reason = MALFORMED[case]
    sound = json.dumps(SOUND)
    with pytest.raises(InputError, match=f"r.json, line 2: .*{reason}"):
        reviews(tmp_path / "r.json", sound, line, sound)
    found, tally = reviews(tmp_path / "r.json", line, sound, line, skip=True)
    assert tally.counts["malformed_lines_left_out"] == 2
    assert found.users == ["A1"] and found.items == ["B000000001"]


def test_no_review_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no interaction in it"):
        reviews(tmp_path / "r.json", "")


# -- texts


def titles(file: Path, *lines: str, skip: bool = False) -> tuple[list[str], dict[str, int]]:
    file.write_bytes(gzip.compress("\n".join(lines).encode()))
    tally = Tally(skip)
    items = {"a": 0, "b": 1, "c": 2}
    return read_texts(file, items, lambda item: str(item.get("title", "")), tally, silent), +tally.counts


def test_texts_come_by_id_and_of_repeated_ones_the_longest_stays(tmp_path: Path) -> None:
    lines = [repr({"asin": asin, "title": title}) for asin, title in (("c", "x"), ("q", "other"), ("a", "aa"))]
    lines += [repr({"asin": "c", "title": title}) for title in ("zz", "yy", "")] + [repr({"asin": "b"})]
    for order in (lines, lines[::-1]):
        texts, counts = titles(tmp_path / "m.gz", *order)
        assert texts == ["aa", "", "zz"]
        assert counts == {
            "metadata_of_other_items_left_out": 1,
            "repeated_metadata_left_out": 3,
            "items_with_empty_text": 1,
        }


def test_items_without_metadata_have_an_empty_text(tmp_path: Path) -> None:
    texts, counts = titles(tmp_path / "m.gz", repr({"asin": "b", "title": "x"}))
    assert texts == ["", "x", ""]
    assert counts == {"items_without_metadata": 2, "items_with_empty_text": 2}


def test_malformed_metadata_is_named_or_counted(tmp_path: Path) -> None:
    lines = [repr({"asin": "a", "title": "x"}), "{'title': 'no asin'}", "{'asin': 'a'"]
    with pytest.raises(InputError, match=r"m\.gz, line 2: asin is missing"):
        titles(tmp_path / "m.gz", *lines)
    texts, counts = titles(tmp_path / "m.gz", *lines, skip=True)
    assert texts[0] == "x" and counts["malformed_lines_left_out"] == 2


# -- images


def image(asin: str, value: float) -> bytes:
    return asin.encode() + np.full(IMAGE_WIDTH, value, dtype="<f4").tobytes()


def images(folder: Path, content: bytes, items: int = 3) -> tuple[list[int], np.ndarray, dict[str, int]]:
    """The items without image, the first feature of each item, and what was counted."""
    (folder / "i.b").write_bytes(content)
    tally = Tally()
    names = {f"B{n:09d}": n for n in range(items)}
    with RowFile(folder / "x.npy", items, IMAGE_WIDTH) as rows:
        missing = read_images(folder / "i.b", names, rows, tally, silent)
    written = np.load(folder / "x.npy")
    assert (written == written[:, :1]).all()
    return missing.tolist(), written[:, 0], +tally.counts


def test_images_go_to_the_rows_of_their_items(tmp_path: Path) -> None:
    content = image("B000000002", 2.5) + image("B000000000", -1) + image("0123456789", np.nan)
    missing, values, counts = images(tmp_path, content)
    assert missing == [1] and values.tolist() == [-1, 0, 2.5]
    assert counts == {"images_of_other_items_left_out": 1}, "their numbers are not looked at"


def test_more_images_than_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amazon, "AT_ONCE", 3)
    for count in (8, 9):
        order = np.random.default_rng(0).permutation(count)
        content = b"".join(image(f"B{n:09d}", float(n)) for n in order)
        missing, values, _ = images(tmp_path, content, count)
        assert missing == [] and values.tolist() == list(range(count))
        with pytest.raises(InputError, match=f"byte {(count - 1) * RECORD}: the last record is truncated"):
            images(tmp_path, content[:-1], count)
    assert AT_ONCE > 3


def test_of_repeated_images_the_first_stays(tmp_path: Path) -> None:
    content = b"".join(image("B000000001", value) for value in (4, 4, 5, 4)) + image("B000000000", 0)
    missing, values, counts = images(tmp_path, content)
    assert missing == [2] and values.tolist() == [0, 4, 0]
    assert counts == {"equal_repeated_images_left_out": 2, "differing_repeated_images_left_out": 1}


@pytest.mark.parametrize("left", [1, 9, 10, RECORD - 1])
def test_a_truncated_last_record_is_named_by_its_byte(left: int, tmp_path: Path) -> None:
    content = image("B000000001", 1) + image("B000000002", 2)[:left]
    message = rf"i\.b, byte {RECORD}: the last record is truncated, {left} of {RECORD} bytes"
    with pytest.raises(InputError, match=message):
        images(tmp_path, content)


def test_records_of_another_size_are_told_by_what_should_be_an_asin(tmp_path: Path) -> None:
    short = b"".join(f"B{n:09d}".encode() + np.zeros(512, dtype="<f4").tobytes() for n in range(50))
    with pytest.raises(InputError, match=rf"i\.b, byte {RECORD}: no ASIN here; .* 10 bytes and 4096 float32"):
        images(tmp_path, short)
    with pytest.raises(InputError, match=r"i\.b, byte 0: no ASIN here"):
        images(tmp_path, bytes(2 * RECORD))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named_by_its_byte(value: float, tmp_path: Path) -> None:
    numbers = np.zeros(IMAGE_WIDTH, dtype="<f4")
    numbers[7] = value
    with pytest.raises(InputError, match=rf"i\.b, byte {RECORD + 10 + 28}: {value} is not a finite number"):
        images(tmp_path, image("B000000001", 1) + b"B000000002" + numbers.tobytes())


@pytest.mark.parametrize("content", [b"", image("0123456789", 1)])
def test_a_file_with_no_wanted_image_is_probably_another_categorys(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image of any of the 3 items in it; is it another category's"):
        images(tmp_path, content)
