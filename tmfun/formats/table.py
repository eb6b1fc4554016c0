"""Interactions in a table of any program: CSV or TSV, one interaction a row, compressed or not.

Fields of a table separated by tabs are taken as they are; otherwise they may be quoted with ".
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tmfun.errors import InputError
from tmfun.formats.raw import Collected, Collector, MalformedError, Tally, Tell, finite, lines, whole

LABELS = {"0": 0, "1": 1, "2": 2, "train": 0, "validation": 1, "valid": 1, "test": 2}


@dataclass(frozen=True)
class Columns:
    """Which column holds what: its name in the header, or without a header its number from 1. None: there is none."""

    user: str
    item: str
    rating: str | None = None
    timestamp: str | None = None
    label: str | None = None  # the split of each row, where there is one already: LABELS
    separator: str | None = None  # None: a tab for .tsv, .tab and .inter, else a comma
    header: bool = True


def read_table(file: Path, columns: Columns, tally: Tally, tell: Tell) -> Collected:
    """All rows as interactions. Raises InputError for a column that is not there and for what cannot be read."""
    separator = columns.separator or ("\t" if {".tsv", ".tab", ".inter"} & set(file.suffixes) else ",")
    if len(separator) != 1 or separator in '"\r\n':
        raise InputError(f"{separator!r} cannot separate columns: one character is needed, such as , or ;")
    text = _decoded(file, tell)
    if separator == "\t":
        rows = csv.reader(text, delimiter=separator, quoting=csv.QUOTE_NONE)
    else:
        rows = csv.reader(text, delimiter=separator, strict=True)
    names = {
        kind: name
        for kind in ("user", "item", "rating", "timestamp", "label")
        if (name := getattr(columns, kind)) is not None
    }
    collector = Collector(*(kind in names for kind in ("rating", "timestamp", "label")))
    places = None if columns.header else _places(file, names, [])
    while True:
        try:
            row = next(rows, None)
            if row is None:
                break
            if row and places is None:
                places = _places(file, names, row)
            elif row and places:
                _add(collector, row, places)
        except (csv.Error, MalformedError) as error:
            reason = error if isinstance(error, MalformedError) else MalformedError(str(error))
            tally.malformed(file, rows.line_num, reason)
    return collector.finish(file, tally)


def _decoded(file: Path, tell: Tell) -> Iterator[str]:
    """Lines as text; bytes that are no UTF-8 become surrogates, which `Collector` does not take in a name."""
    for number, line in lines(file, tell):
        yield line.decode("utf-8-sig" if number == 1 else "utf-8", errors="surrogateescape")


def _places(file: Path, names: dict[str, str], header: list[str]) -> dict[str, int]:
    """The column of each kind, counted from 0; without a header the columns are called 1, 2, ..."""
    places = {}
    for kind, name in names.items():
        if header.count(name) > 1:
            raise InputError(f"{file}: two columns are called '{name}'")
        if name in header:
            places[kind] = header.index(name)
        elif not header and name.isdecimal() and int(name) > 0:
            places[kind] = int(name) - 1
        elif header:
            raise InputError(f"{file}: no column '{name}' (there are: {', '.join(header)}); is the separator right?")
        else:
            raise InputError(f"{file}: without a header a column is its number, from 1, not '{name}'")
    return places


def _add(collector: Collector, row: list[str], places: dict[str, int]) -> None:
    if len(row) <= max(places.values()):
        raise MalformedError(f"{len(row)} columns, and at least {max(places.values()) + 1} are needed")
    value = {kind: row[place].strip() for kind, place in places.items()}
    more: dict[str, float] = {}
    if "rating" in value:
        more["rating"] = finite(value["rating"], "the rating")
    if "timestamp" in value:
        more["timestamp"] = whole(value["timestamp"], "the timestamp")
    if "label" in value:
        if value["label"] not in LABELS:
            raise MalformedError(f"'{value['label']}' is no split; they are called {', '.join(LABELS)}")
        more["label"] = LABELS[value["label"]]
    collector.add(value["user"], value["item"], **more)
