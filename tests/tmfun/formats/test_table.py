import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from tmfun.errors import InputError
from tmfun.formats.raw import Collected, Tally
from tmfun.formats.table import Columns, read_table

COLUMNS = Columns("who", "what", "stars", "when")
ROWS = [("who", "what", "stars", "when"), ("u2", "i1", "4.5", "20"), ("u1", "i10", "1", "10"), ("u1", "i9", "5", "1e1")]


def read(
    folder: Path, content: str | bytes, columns: Columns = COLUMNS, name: str = "x.csv", skip: bool = False
) -> tuple[Collected, Tally]:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    tally = Tally(skip)
    return read_table(file, columns, tally, lambda what, share: None), tally


def joined(separator: str) -> str:
    return "\n".join(separator.join(row) for row in ROWS) + "\n"


def entries(found: Collected) -> list[tuple[str, str, float, int]]:
    given = found.interactions
    assert given.rating is not None and given.timestamp is not None
    names = [(found.users[u], found.items[i]) for u, i in zip(given.user.tolist(), given.item.tolist(), strict=True)]
    more = zip(names, given.rating.tolist(), given.timestamp.tolist(), strict=True)
    return [(*pair, rating, time) for pair, rating, time in more]


EXPECTED = [("u1", "i10", 1.0, 10), ("u1", "i9", 5.0, 10), ("u2", "i1", 4.5, 20)]


@pytest.mark.parametrize(
    "name, separator, stated",
    [("x.csv", ",", None), ("x.tsv", "\t", None), ("x.inter", "\t", None), ("x.txt", ";", ";"), ("x.csv", "\t", "\t")],
)
def test_the_separator_follows_the_ending_or_is_stated(
    name: str, separator: str, stated: str | None, tmp_path: Path
) -> None:
    columns = replace(COLUMNS, separator=stated)
    assert entries(read(tmp_path, joined(separator), columns, name)[0]) == EXPECTED
    packed = gzip.compress(joined(separator).encode())
    assert entries(read(tmp_path, packed, columns, f"{name}.gz")[0]) == EXPECTED


def test_windows_line_ends_a_byte_order_mark_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + joined(",").replace("\n", "\r\n\r\n").encode()
    assert entries(read(tmp_path, content)[0]) == EXPECTED
    assert entries(read(tmp_path, b"\n" + joined(",").encode())[0]) == EXPECTED


def test_other_columns_and_quotes(tmp_path: Path) -> None:
    content = 'n,what,who,when,stars\n1,"a, ""b""",u,3,2\n2,"two\nlines",u,3,2\n'
    with pytest.raises(InputError, match=r"x\.csv, line 4: 'two\\nlines' .* cannot be a name"):
        read(tmp_path, content)
    assert entries(read(tmp_path, content, skip=True)[0]) == [("u", 'a, "b"', 2, 3)]
    tabs = 'who\twhat\tstars\twhen\nu\t"7 inch\t2\t3\n'
    assert entries(read(tmp_path, tabs, name="x.tsv")[0]) == [("u", '"7 inch', 2, 3)], "between tabs a quote is a quote"


def test_without_a_header_columns_are_numbers(tmp_path: Path) -> None:
    columns = Columns("1", "2", "3", "4", header=False)
    body = joined(",").split("\n", 1)[1]
    assert entries(read(tmp_path, body, columns)[0]) == EXPECTED
    with pytest.raises(InputError, match="without a header a column is its number, from 1, not 'who'"):
        read(tmp_path, body, replace(COLUMNS, header=False))


def test_users_and_items_are_enough(tmp_path: Path) -> None:
    found, _ = read(tmp_path, joined(","), Columns("who", "what"))
    assert found.interactions.rating is None and found.interactions.timestamp is None and found.labels is None


@pytest.mark.parametrize("words", [("0", "1", "2"), ("train", "validation", "test"), ("0", "valid", "2")])
def test_a_split_that_is_there_is_read(words: tuple[str, str, str], tmp_path: Path) -> None:
    rows = "".join(f"u,i{n},{word}\n" for n, word in enumerate(words))
    found, _ = read(tmp_path, "who,what,part\n" + rows, Columns("who", "what", label="part"))
    assert found.labels is not None and found.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "row, reason",
    [
        ("u,i,4", "3 columns, and at least 4 are needed"),
        ("u,i,good,3", "the rating 'good' is not a finite number"),
        ("u,i,4,yesterday", "the timestamp 'yesterday' is not a finite number"),
        ("u,i,4,2.5", "the timestamp '2.5' is not a whole number"),
        (",i,4,3", "'' is empty"),
        ('u,"i"x,4,3', "expected after"),
    ],
)
def test_a_malformed_row_is_named_or_counted(row: str, reason: str, tmp_path: Path) -> None:
    lines = joined(",").splitlines()
    content = "\n".join([*lines[:2], row, *lines[2:]])
    with pytest.raises(InputError, match=rf"x\.csv, line 3: .*{reason}.*; mend the line"):
        read(tmp_path, content)
    found, tally = read(tmp_path, content, skip=True)
    assert entries(found) == EXPECTED and tally.counts["malformed_lines_left_out"] == 1


def test_bytes_that_are_no_utf8_are_no_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.csv, line 5: .* cannot be a name"):
        read(tmp_path, joined(",").encode() + b"caf\xe9,i,1,1\n")


def test_a_strange_label_is_malformed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2: '3' is no split; they are called 0, 1, 2, train"):
        read(tmp_path, "who,what,part\nu,i,3\n", Columns("who", "what", label="part"))


def test_columns_that_are_not_there_or_twice_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no column 'user' .there are: who, what, stars, when.; is the separator"):
        read(tmp_path, joined(","), Columns("user", "what"))
    with pytest.raises(InputError, match="two columns are called 'who'"):
        read(tmp_path, "who,who,what\n", Columns("who", "what"))
    with pytest.raises(InputError, match="'::' cannot separate columns"):
        read(tmp_path, joined(","), replace(COLUMNS, separator="::"))
    with pytest.raises(InputError, match="there is no interaction in it"):
        read(tmp_path, "who,what\n", Columns("who", "what"))
    with pytest.raises(InputError, match="there is no interaction in it"):
        read(tmp_path, "", Columns("who", "what"))
