"""What the layouts share: folders that appear whole or not at all, tables read strictly, tokens of ids."""

import csv
import math
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tmfun.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

MOST_IDS = 2**31 - 1
NUMERALS = re.compile("-?[0-9]{1,18}")  # what counts as an integer among tokens and ids

Tokens = tuple[str, ...]  # of users or items, in id order


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to write into; it takes that name when the block ends, and is removed if it fails.

    Raises InputError where `folder` exists and is not empty, or cannot be written.
    """
    if folder.exists() and not (folder.is_dir() and next(folder.iterdir(), None) is None):
        raise InputError(f"{folder}: exists already; take another name, or remove it first")
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(folder)  # an empty folder gives way
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def new_file(path: Path, replace: bool = False) -> Iterator[IO[bytes]]:
    """A stream to write into; what was written takes the name `path` when the block ends, and is gone if it fails.

    Raises InputError where `path` is there already and not to be replaced, or its folder cannot be written; both are
    seen before the block begins.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
    refusal = InputError(f"{path}: exists already, and is not replaced")
    if path.exists() and not replace:
        raise refusal
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as stream:
            yield stream
        if path.exists() and not replace:  # by another process, in the meantime
            raise refusal
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


# -- tables


def interactions_file(folder: Path) -> Path | None:
    """The `.inter` file of the folder's name, else the first there is, else None."""
    named = folder / f"{folder.name}.inter"
    return named if named.exists() else min(folder.glob("*.inter"), default=None)


def header(file: Path, separator: str = "\t") -> list[str]:
    """The columns named in the first line. Raises InputError for a file that is no text, or names a column twice."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            columns = stream.readline().rstrip("\r\n").split(separator)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not a table in UTF-8 text ({error})") from error
    twice = [column for column in columns if columns.count(column) > 1]
    if twice:
        raise InputError(f"{file}: the header names the column '{twice[0]}' twice")
    return columns


def read_table(file: Path, columns: Sequence[str], separator: str = "\t", quotes: bool = False) -> "pd.DataFrame":
    """The named columns as text, without empty lines; the index is the line's number.

    Quotes are text like any other, unless `quotes`. Fields that a line has beyond the header are passed over, those
    that it lacks are empty. Raises InputError for a file that is no such table.
    """
    import pandas as pd  # slow to load, and many commands read no file

    try:
        table = pd.read_csv(
            file,
            sep=separator,
            usecols=list(columns),
            index_col=False,  # or the first column of lines that are too long would be taken for an index
            dtype=str,
            keep_default_na=False,
            quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
            encoding="utf-8-sig",
            skip_blank_lines=False,
        )
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: not a complete table ({' '.join(str(error).split())})") from error
    table.index += 2
    return table[(table != "").any(axis=1)]


def numbers(column: "pd.Series", file: Path, whole: bool = False) -> NDArray[Any]:
    """A column of text as float64, or int64 if `whole`; InputError names the first line that holds no such number."""
    import pandas as pd

    if whole and (quick := pd.to_numeric(column, errors="coerce")).dtype == np.int64:
        return quick.to_numpy()
    values: list[float] = []
    parse: Callable[[str], float] = _whole if whole else _finite
    for line, text in column.items():
        try:
            values.append(parse(text))
        except ValueError:
            name = str(column.name).partition(":")[0]
            wanted = "a whole number of at most 64 bits" if whole else "a finite number"
            raise InputError(f"{file}: the {name} '{text}' in line {line} is not {wanted}") from None
    return np.array(values, dtype=np.int64 if whole else np.float64)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or "_" in text:
        raise ValueError
    return number


def _whole(text: str) -> int:
    """An integer; also one written as `1388275200.0` or `1.3882752e9`."""
    if not re.fullmatch("-?[0-9]{1,19}", text):
        number = _finite(text)
        if not number.is_integer():
            raise ValueError
        text = f"{number:.0f}"
    if not -(2**63) <= int(text) < 2**63:
        raise ValueError
    return int(text)


# -- tokens: what files call users and items


def numbered(count: int) -> Tokens:
    """The tokens of ids that have none of their own: 0, 1, 2 ..."""
    return tuple(map(str, range(count)))


def own(tokens: Tokens) -> Tokens | None:
    """The tokens, or None where they are nothing but the ids."""
    return None if tokens == numbered(len(tokens)) else tokens


def in_id_order(tokens: Sequence[str], ids: Sequence[int], file: Path) -> Tokens:
    """The tokens, each at the place of its id. Raises InputError unless the ids are 0, 1, 2 ..., each once."""
    ordered: list[str | None] = [None] * len(tokens)
    for token, place in zip(tokens, ids, strict=True):
        if not 0 <= place < len(tokens) or ordered[place] is not None:
            raise InputError(
                f"{file}: '{token}' has the id {place}, which is taken or outside 0..{len(tokens) - 1}; number the"
                " tokens 0, 1, 2 ..., each once"
            )
        ordered[place] = token
    return tuple(ordered)  # type: ignore[arg-type]  # every place was filled: as many distinct ids as places


def counted(largest: int, tokens: Tokens | None, file: Path) -> int:
    """How many ids there are: one per token, where there are tokens, else up to the largest id that occurs."""
    if tokens is None:
        return largest + 1
    if largest >= len(tokens):
        raise InputError(f"{file}: the id {largest} occurs in the interactions, but is not listed here")
    return len(tokens)
