import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmfun.errors import InputError
from tmfun.formats import raw
from tmfun.formats.raw import Collector, MalformedError, Tally, finite, lines, whole

FILE = Path("reviews.json")
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=3)


def silent(what: str, share: float) -> None:
    pass


# -- lines


@pytest.mark.parametrize("name", ["x.json.gz", "x.json"])
@pytest.mark.parametrize("compressed", [True, False])
def test_lines_are_numbered_and_compression_is_told_by_content(name: str, compressed: bool, tmp_path: Path) -> None:
    content = b"one\n\ntwo \xc3\xa9\r\nlast"
    (tmp_path / name).write_bytes(gzip.compress(content) if compressed else content)
    assert list(lines(tmp_path / name, silent)) == [(1, b"one\n"), (2, b"\n"), (3, b"two \xc3\xa9\r\n"), (4, b"last")]


def test_the_share_that_is_read_grows_to_one(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0123456789\n" * 20_000)
    told: list[tuple[str, float]] = []
    assert len(list(lines(tmp_path / "x", lambda *told_now: told.append(told_now)))) == 20_000
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[-1] == 1 and len(shares) > 10
    assert {what for what, _ in told} == {"reading x"}


def test_a_truncated_or_damaged_file_is_named_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "x.gz"
    whole_file = gzip.compress(np.random.default_rng(0).bytes(50_000).hex().encode() + b"\n")
    file.write_bytes(whole_file[:-1000])
    with pytest.raises(InputError, match=r"x\.gz: cannot be read after line 0 .*; fetch the file again"):
        list(lines(file, silent))
    file.write_bytes(whole_file[:200] + bytes(100) + whole_file[300:])
    with pytest.raises(InputError, match=r"x\.gz: cannot be read after line"):
        list(lines(file, silent))
    with pytest.raises(InputError, match="cannot be read"):
        list(lines(tmp_path / "absent", silent))


def test_a_line_without_end_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "LONGEST_LINE", 10)
    (tmp_path / "x").write_bytes(b"123456789\n" * 2 + b"1234567890\n")
    with pytest.raises(InputError, match="line 3: longer than 10 bytes"):
        list(lines(tmp_path / "x", silent))


# -- malformed lines


def test_a_malformed_line_stops_or_is_counted() -> None:
    with pytest.raises(InputError, match=r"^reviews.json, line 7: no good; mend the line, or .* --skip-malformed$"):
        Tally().malformed(FILE, 7, MalformedError("no good"))
    tally = Tally(skip_malformed=True)
    for _ in range(3):
        tally.malformed(FILE, 7, MalformedError("no good"))
    assert tally.counts == {"malformed_lines_left_out": 3}


@pytest.mark.parametrize("value, number", [(3, 3), ("-4", -4), (5.0, 5), ("1388275200.0", 1388275200), ("1e3", 1000)])
def test_whole_numbers(value: object, number: int) -> None:
    assert whole(value, "time") == number


@pytest.mark.parametrize("value", ["x", "", 2.5, "2.5", True, None, [1], 2**63, "9" * 5000, "nan", float("inf")])
def test_what_is_no_whole_number(value: object) -> None:
    with pytest.raises(MalformedError, match=r"time .* is not a "):
        whole(value, "time")


@pytest.mark.parametrize("value", ["x", "", "inf", float("nan"), True, None, {}, 10**400])
def test_what_is_no_finite_number(value: object) -> None:
    with pytest.raises(MalformedError, match=r"rating .* is not a finite number"):
        finite(value, "rating")


# -- from names to ids


@given(
    st.lists(st.tuples(NAMES, NAMES, st.integers(1, 5), st.integers(-3, 3)), min_size=1),
    st.randoms(use_true_random=False),
)
def test_ids_follow_code_points_and_the_earliest_of_equal_pairs_is_kept(
    entries: list[tuple[str, str, int, int]], shuffle: object
) -> None:
    users, items = (sorted({entry[side] for entry in entries}) for side in (0, 1))
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for user, item, rating, time in entries:
        pair = users.index(user), items.index(item)
        best[pair] = min(best.get(pair, (time, rating)), (time, rating))
    expected = [(*pair, *best[pair]) for pair in sorted(best)]

    for _ in range(2):
        collector, tally = Collector(rating=True, timestamp=True), Tally()
        for user, item, rating, time in entries:
            collector.add(user, item, rating=rating, timestamp=time)
        found = collector.finish(FILE, tally)
        given = found.interactions
        assert given.timestamp is not None and given.rating is not None
        columns = (given.user, given.item, given.timestamp, given.rating)
        assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
        assert (found.users, found.items, given.users, given.items) == (users, items, len(users), len(items))
        assert [column.dtype for column in columns] == [np.int64, np.int64, np.int64, np.float64]
        assert tally.counts["duplicate_interactions_left_out"] == len(entries) - len(best)
        shuffle.shuffle(entries)  # type: ignore[attr-defined]


def test_without_ratings_and_timestamps_there_are_none() -> None:
    collector = Collector(label=True)
    for label in (2, 1, 2):
        collector.add("u", "i", label=label)
    found = collector.finish(FILE, Tally())
    assert found.interactions.rating is None and found.interactions.timestamp is None
    assert found.labels is not None and found.labels.tolist() == [1]


@pytest.mark.parametrize("name", ["", "a\tb", "a\nb", "a\x85b", "\ud800", "a\u2028"])
def test_a_name_that_cannot_stand_in_a_table_is_malformed_and_leaves_nothing(name: str) -> None:
    for names in ((name, "i"), ("u", name)):
        collector = Collector()
        with pytest.raises(MalformedError, match="cannot be a name"):
            collector.add(*names)
        with pytest.raises(InputError, match=r"reviews\.json: there is no interaction in it"):
            collector.finish(FILE, Tally())


def test_what_is_kept_gets_dense_ids_again() -> None:
    collector = Collector(rating=True)
    for user, item in (("a", "x"), ("b", "y"), ("c", "x"), ("c", "z")):
        collector.add(user, item, rating=ord(user))
    found = collector.finish(FILE, Tally()).kept(np.array([False, True, False, True]))
    assert (found.users, found.items) == (["b", "c"], ["y", "z"])
    assert found.interactions.user.tolist() == found.interactions.item.tolist() == [0, 1]
    assert found.interactions.rating is not None and found.interactions.rating.tolist() == [98, 99]
    assert (found.interactions.users, found.interactions.items) == (2, 2)
