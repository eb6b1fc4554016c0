"""Raw files of the Amazon product data of 2014, one category in a folder.

    reviews_<Category>_5.json.gz    a review a line: reviewerID, asin, overall, unixReviewTime
    meta_<Category>.json.gz         an item a line: asin, and what there is of title, brand, categories, description
    image_features_<Category>.b     records of a 10-byte ASIN and 4096 little-endian float32

A line is JSON, or, as in most copies, a literal of Python. The .json files may be compressed or not; blank lines are
passed over. Everything is read as a stream.
"""

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tmfun.errors import InputError
from tmfun.formats.raw import Collected, Collector, MalformedError, Tally, Tell, finite, lines, whole
from tmfun.rows import AT_ONCE, RowFile

IMAGE_WIDTH = 4096
_RECORD = np.dtype([("asin", "V10"), ("features", "<f4", IMAGE_WIDTH)])

Made = TypeVar("Made")


@dataclass(frozen=True)
class Files:
    """Where the raw files of a category lie; None for what is not asked for."""

    reviews: Path
    meta: Path | None
    images: Path | None


def find(folder: Path, category: str, text: bool = True, images: bool = True) -> Files:
    """The raw files of `category` in `folder`. Raises InputError, naming what is missing."""
    if not re.fullmatch(r"\w+", category):
        raise InputError(f"'{category}' is no category of Amazon; write it as in the files' names, such as Baby")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; it should hold reviews_{category}_5.json.gz")

    def file(name: str, without: str) -> Path:
        stem = name.removesuffix(".gz")
        for found in (folder / name, folder / stem):
            if found.is_file():
                return found
        raise InputError(f"{folder / name} is missing; put it there{without}")

    return Files(
        file(f"reviews_{category}_5.json.gz", ""),
        file(f"meta_{category}.json.gz", ", or go without texts: --no-text") if text else None,
        file(f"image_features_{category}.b", ", or go without images: --no-images") if images else None,
    )


def read_reviews(file: Path, tally: Tally, tell: Tell) -> Collected:
    """All reviews as interactions, whatever their rating."""
    collector = Collector(rating=True, timestamp=True)

    def add(review: dict[str, Any]) -> None:
        collector.add(
            _field(review, "reviewerID", str),
            _field(review, "asin", str),
            rating=finite(_field(review, "overall"), "overall"),
            timestamp=whole(_field(review, "unixReviewTime"), "unixReviewTime"),
        )

    for _ in _each(file, add, tally, tell):
        pass
    return collector.finish(file, tally)


def read_texts(
    file: Path, items: Mapping[str, int], compose: Callable[[dict[str, Any]], str], tally: Tally, tell: Tell
) -> list[str]:
    """The text of each of `items` (ASIN -> id), by id; "" where there is no metadata.

    Of several texts for one item the longest is kept, of equal lengths the last by code point.
    """
    texts: list[str | None] = [None] * len(items)

    def text(item: dict[str, Any]) -> tuple[int, str] | None:
        place = items.get(_field(item, "asin", str))
        return None if place is None else (place, compose(item))

    for found in _each(file, text, tally, tell):
        if found is None:
            tally.counts["metadata_of_other_items_left_out"] += 1
            continue
        place, new = found
        old = texts[place]
        tally.counts["repeated_metadata_left_out"] += old is not None
        texts[place] = new if old is None else max(old, new, key=lambda text: (len(text), text))
    tally.counts["items_without_metadata"] += sum(text is None for text in texts)
    tally.counts["items_with_empty_text"] += sum(not text for text in texts)
    return [text or "" for text in texts]


def read_images(file: Path, items: Mapping[str, int], rows: RowFile, tally: Tally, tell: Tell) -> NDArray[np.int64]:
    """Write the image features of `items` (ASIN -> id) to their rows; returns the ids of those that have none.

    Of several records for one item the first is kept. Raises InputError, naming the byte, for a record that is no
    record, a truncated last one, and a number that is not finite.
    """
    wanted = {asin.encode(): place for asin, place in items.items()}
    there = np.zeros(len(items), dtype=bool)
    size, position = file.stat().st_size, 0
    with file.open("rb") as stream:
        while data := stream.read(_RECORD.itemsize * AT_ONCE):
            whole_ones = len(data) // _RECORD.itemsize
            for record in np.frombuffer(data, dtype=_RECORD, count=whole_ones):
                asin = bytes(record["asin"])
                if not asin.isalnum():  # of bytes: ASCII only
                    raise InputError(
                        f"{file}, byte {position}: no ASIN here; the file should consist of records of 10 bytes and"
                        f" {IMAGE_WIDTH} float32 numbers: fetch it again"
                    )
                _keep(file, position, wanted.get(asin), record["features"], there, rows, tally)
                position += _RECORD.itemsize
            if position < size and len(data) % _RECORD.itemsize:
                raise InputError(
                    f"{file}, byte {position}: the last record is truncated, {size - position} of {_RECORD.itemsize}"
                    " bytes; fetch the file again"
                )
            tell(f"reading {file.name}", min(position / size, 0.99))
    tell(f"reading {file.name}", 1.0)
    if not there.any():
        raise InputError(f"{file}: there is no image of any of the {len(items)} items in it; is it another category's?")
    return np.flatnonzero(~there)


def _keep(
    file: Path,
    position: int,
    place: int | None,
    features: NDArray[np.float32],
    there: NDArray[np.bool_],
    rows: RowFile,
    tally: Tally,
) -> None:
    """Write one record's features, which begin 10 bytes after `position`, to the row `place` unless it is filled."""
    if place is None:
        tally.counts["images_of_other_items_left_out"] += 1
        return
    bad = np.flatnonzero(~np.isfinite(features))
    if len(bad):
        byte = position + 10 + 4 * int(bad[0])
        raise InputError(f"{file}, byte {byte}: {features[bad[0]]} is not a finite number; fetch the file again")
    if there[place]:
        same = np.array_equal(rows.read(place)[0], features)
        tally.counts[f"{'equal' if same else 'differing'}_repeated_images_left_out"] += 1
        return
    rows.write(place, features)
    there[place] = True


def _each(file: Path, make: Callable[[dict[str, Any]], Made], tally: Tally, tell: Tell) -> Iterator[Made]:
    """What `make` makes of each line that is not malformed."""
    for number, line in lines(file, tell):
        if not line.strip():
            continue
        try:
            made = make(_parsed(line))
        except MalformedError as reason:
            tally.malformed(file, number, reason)
        else:
            yield made


def _parsed(line: bytes) -> dict[str, Any]:
    """A line as JSON or as a literal of Python; nothing in it is ever executed."""
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MalformedError("not UTF-8") from None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # escapes such as \d, which newer versions of Python warn of
                record = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            raise MalformedError("neither JSON nor a literal of Python") from None
    if not isinstance(record, dict):
        raise MalformedError("not a record of names and values")
    return record


def _field(record: dict[str, Any], name: str, kind: type | None = None) -> Any:
    if name not in record:
        raise MalformedError(f"{name} is missing")
    if kind and not isinstance(record[name], kind):
        raise MalformedError(f"{name} is {record[name]!r}, not text")
    return record[name]
