"""What all raw files of interactions share: lines, malformed ones, and the way from names to ids."""

import gzip
import os
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tmfun.dataset import Interactions
from tmfun.errors import InputError

LONGEST_LINE = 2**24  # bytes: what a damaged file may make us hold in memory

_NAME = r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]+"

Tell = Callable[[str, float], None]  # what is done, and the share of it that is done, up to 1


class MalformedError(Exception):
    """One line of a raw file is not what it should be; the text says why."""


@dataclass
class Tally:
    """What was left out or filled in, by name; and what to do with a malformed line."""

    skip_malformed: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    def malformed(self, file: Path, number: int, reason: MalformedError) -> None:
        """Count line `number` of `file`, or raise InputError if nothing may be skipped."""
        if not self.skip_malformed:
            raise InputError(
                f"{file}, line {number}: {reason}; mend the line, or leave out all such lines with --skip-malformed"
            )
        self.counts["malformed_lines_left_out"] += 1


def lines(file: Path, tell: Tell) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, gzip-compressed (told by its first bytes) or not, with their numbers from 1."""
    what, number = f"reading {file.name}", 0
    try:
        with file.open("rb") as disk:
            size = os.fstat(disk.fileno()).st_size
            compressed = disk.peek(2)[:2] == b"\x1f\x8b"
            stream = gzip.GzipFile(fileobj=disk) if compressed else disk
            while line := stream.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise InputError(f"{file}, line {number}: longer than {LONGEST_LINE} bytes; this is no such file")
                if number % 1024 == 0:
                    tell(what, min(disk.tell() / size, 0.99))
                yield number, line
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file}: cannot be read after line {number} ({error}); fetch the file again") from error
    tell(what, 1.0)


@dataclass(frozen=True, eq=False)
class Collected:
    """Interactions with the names behind their ids, in the order of user and item; labels where they came with one."""

    interactions: Interactions
    users: list[str]
    items: list[str]
    labels: NDArray[np.int8] | None

    def kept(self, stays: NDArray[np.bool_]) -> "Collected":
        """Only the entries that stay, and only the users and items that occur in them: ids are dense again."""
        found = self.interactions
        users, user = np.unique(found.user[stays], return_inverse=True)
        items, item = np.unique(found.item[stays], return_inverse=True)
        return Collected(
            Interactions(
                len(users),
                len(items),
                user,
                item,
                None if found.rating is None else found.rating[stays],
                None if found.timestamp is None else found.timestamp[stays],
            ),
            [self.users[i] for i in users.tolist()],
            [self.items[i] for i in items.tolist()],
            None if self.labels is None else self.labels[stays],
        )


class Collector:
    """Takes interactions one by one, in any order, with or without each of rating, timestamp and label.

    Ids follow the code points of the names, so that the order of the lines does not matter. Of entries with the same
    user and item one is kept: the earliest, of these the one rated lowest, of these the one with the lowest label.
    """

    def __init__(self, rating: bool = False, timestamp: bool = False, label: bool = False) -> None:
        self._ids: tuple[dict[str, int], dict[str, int]] = {}, {}
        self._columns: dict[str, array] = {"user": array("i"), "item": array("i")}
        asked = (("rating", "d", rating), ("timestamp", "q", timestamp), ("label", "b", label))
        self._columns |= {name: array(kind) for name, kind, wanted in asked if wanted}

    def add(self, user: str, item: str, **values: float) -> None:
        """One interaction. Raises MalformedError for a name that cannot stand in a table."""
        users, items = self._ids
        for names, name in ((users, user), (items, item)):
            if name not in names and not re.fullmatch(_NAME, name):
                raise MalformedError(f"{name!r} is empty or holds control characters, and cannot be a name")
        self._columns["user"].append(users.setdefault(user, len(users)))
        self._columns["item"].append(items.setdefault(item, len(items)))
        for column, value in values.items():
            self._columns[column].append(value)

    def finish(self, file: Path, tally: Tally) -> Collected:
        """All that was added. Raises InputError, naming `file`, if that is nothing."""
        if not self._columns["user"]:
            raise InputError(f"{file}: there is no interaction in it")
        columns = {name: np.frombuffer(column, dtype=column.typecode) for name, column in self._columns.items()}
        names = sorted(self._ids[0]), sorted(self._ids[1])
        user, item = (
            _ranks(ids, ordered)[columns[kind]].astype(np.int64)
            for kind, ids, ordered in zip(("user", "item"), self._ids, names, strict=True)
        )
        order = np.lexsort([columns[n] for n in ("label", "rating", "timestamp") if n in columns] + [item, user])
        user, item = user[order], item[order]
        first = np.append(True, (user[1:] != user[:-1]) | (item[1:] != item[:-1]))
        tally.counts["interactions_read"] += len(first)
        tally.counts["duplicate_interactions_left_out"] += int((~first).sum())
        more = {n: columns[n][order][first] for n in ("rating", "timestamp", "label") if n in columns}
        found = Interactions(
            len(names[0]), len(names[1]), user[first], item[first], more.get("rating"), more.get("timestamp")
        )
        return Collected(found, *names, more.get("label"))


def whole(value: object, what: str) -> int:
    """`value` as a 64-bit whole number; raises MalformedError."""
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = finite(value, what)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or not -(2**63) <= number < 2**63:
        raise MalformedError(f"{what} {value!r} is not a whole number")
    return number


def finite(value: object, what: str) -> float:
    """`value` as a finite number; raises MalformedError."""
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else np.nan
    except (ValueError, OverflowError):
        number = np.nan
    if not np.isfinite(number):
        raise MalformedError(f"{what} {value!r} is not a finite number")
    return number


def _ranks(ids: dict[str, int], ordered: list[str]) -> NDArray[np.int32]:
    """What the id given in the order of arrival becomes in the order of names."""
    ranks = np.empty(len(ids), dtype=np.int32)
    ranks[[ids[name] for name in ordered]] = np.arange(len(ids))
    return ranks
