from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmfun.errors import InputError
from tmfun.formats.files import header, in_id_order, new_file, new_folder, numbered, numbers, own, read_table

HERE = Path("there.inter")


def column(*texts: str) -> pd.Series:
    return pd.Series(list(texts), index=range(2, 2 + len(texts)), name="rating:float", dtype=str)


# -- folders


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with new_folder(tmp_path / "deep" / "new") as made:
        (made / "file").write_text("text")
        assert made.parent == tmp_path / "deep" and not (tmp_path / "deep" / "new").exists()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("file")] == ["deep/new/file"]


def test_nothing_is_left_of_a_folder_that_failed(tmp_path: Path) -> None:
    with pytest.raises(KeyError), new_folder(tmp_path / "new") as made:
        (made / "file").write_text("text")
        raise KeyError
    with pytest.raises(InputError, match="new: cannot be written"), new_folder(tmp_path / "new") as made:
        (made / "file" / "below").write_text("text")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_gives_way_and_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with new_folder(tmp_path / "empty") as made:
        (made / "file").write_text("text")
    for taken in (tmp_path / "empty", tmp_path / "empty" / "file"):
        with pytest.raises(InputError, match="exists already; take another name"), new_folder(taken):
            pass
    assert (tmp_path / "empty" / "file").read_text() == "text"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="below: cannot be written"), new_folder(tmp_path / "file" / "below"):
        pass


# -- files


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    with new_file(path) as stream:
        stream.write(b"old")
        assert not path.exists()
    for replace in (False, True):
        with pytest.raises(KeyError if replace else InputError), new_file(path, replace) as stream:
            stream.write(b"new")
            raise KeyError
    assert path.read_bytes() == b"old"
    with new_file(path, replace=True) as stream:
        stream.write(b"new")
    assert path.read_bytes() == b"new" and list(path.parent.iterdir()) == [path]


def test_a_file_that_came_in_the_meantime_stays(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"), new_file(tmp_path / "file") as stream:
        stream.write(b"mine")
        (tmp_path / "file").write_bytes(b"theirs")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"theirs"]


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="below: cannot be written"), new_file(tmp_path / "file" / "below"):
        raise AssertionError


# -- tables


def test_a_table_is_text_and_its_index_the_line(tmp_path: Path) -> None:
    file = tmp_path / "table"
    file.write_bytes('\ufeffa\tb\tc\r\nNA\t"x\t1\r\n\r\n nan \t\t01\r\n\r\n'.encode())
    assert header(file) == ["a", "b", "c"]
    table = read_table(file, ["c", "a"])
    assert table["a"].to_dict() == {2: "NA", 4: " nan "}
    assert table["c"].to_dict() == {2: "1", 4: "01"}


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_real_numbers_are_read_to_the_last_bit(values: list[float]) -> None:
    assert numbers(column(*map(repr, values)), HERE).tolist() == values


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.booleans())
def test_whole_numbers_are_read_to_the_last_digit(values: list[int], beside_a_real: bool) -> None:
    found = numbers(column(*map(str, values), *["5.0"] * beside_a_real), HERE, whole=True)
    assert found.dtype == np.int64
    assert found.tolist() == values + [5] * beside_a_real


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-inf", "1_0", "1,5", "0x10", "1e999"])
def test_what_is_no_number_is_named_with_its_line(text: str) -> None:
    with pytest.raises(InputError, match=r"^there\.inter: the rating '.*' in line 3 is not a finite number$"):
        numbers(column("1", text, "2"), HERE)


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1.5", "1_0", str(2**63), "-1e19", "9" * 5000])
def test_what_is_no_whole_number_is_named_with_its_line(text: str) -> None:
    with pytest.raises(InputError, match=r"^there\.inter: the rating '.*' in line 3 is not a whole number"):
        numbers(column("1", text, "2"), HERE, whole=True)


# -- tokens


def test_tokens_that_are_the_ids_are_no_tokens() -> None:
    assert numbered(3) == ("0", "1", "2")
    assert own(("0", "1", "2")) is None
    assert own(("0", "2", "1")) == ("0", "2", "1")
    assert own(("00", "1")) == ("00", "1")


@given(st.permutations(range(6)))
def test_tokens_are_put_at_the_place_of_their_id(ids: list[int]) -> None:
    tokens = in_id_order([f"t{number}" for number in ids], ids, HERE)
    assert tokens == ("t0", "t1", "t2", "t3", "t4", "t5")


@pytest.mark.parametrize("ids", [[0, 0, 1], [0, 1, 3], [0, 1, -1]])
def test_ids_that_are_not_dense_are_refused(ids: list[int]) -> None:
    with pytest.raises(InputError, match=r"^there\.inter: '\w' has the id -?\d, which is taken or outside 0\.\.2"):
        in_id_order(["a", "b", "c"], ids, HERE)
