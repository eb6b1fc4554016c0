"""The contract that every layout keeps, whatever the data set; and data sets by name."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmfun import formats
from tmfun.dataset import SPLITS, Dataset, Extras, Modality
from tmfun.errors import InputError
from tmfun.formats import LAYOUTS

NAMES = tuple(LAYOUTS)
TOKENS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=4) | st.integers().map(str)
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    """Small data sets with whatever a layout may meet: gaps in the ids, users without a split, odd tokens, no features,
    features only, neighbours only, both."""
    users, items = draw(st.integers(1, 5)), draw(st.integers(3, 6))
    pairs = list(product(range(users), range(items)))
    chosen = draw(st.lists(st.sampled_from(pairs), min_size=3, max_size=12, unique=True))
    label = np.array([0, 1, 2, *draw(st.lists(st.integers(0, 2), min_size=len(chosen) - 3, max_size=len(chosen) - 3))])
    splits = {split: np.array(chosen)[label == number] for number, split in enumerate(SPLITS)}

    def optional(strategy: st.SearchStrategy, count: int, kind: type, unique: bool = False) -> np.ndarray | None:
        lists = st.lists(strategy, min_size=count, max_size=count, unique=unique)
        values = draw(st.none() | lists)
        return None if values is None else np.array(values, dtype=kind)

    tokens = [optional(TOKENS, count, object, unique=True) for count in (users, items)]
    extras = Extras(
        optional(st.floats(allow_nan=False, allow_infinity=False), len(chosen), np.float64),
        optional(st.integers(-(2**63), 2**63 - 1), len(chosen), np.int64),
        *(
            None if found is None or found.tolist() == list(map(str, range(len(found)))) else tuple(found)
            for found in tokens
        ),
    )
    modalities = []
    for name in draw(st.lists(st.sampled_from(["audio", "image", "text", "x_1"]), max_size=3, unique=True)):
        width, k = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        values = optional(FLOAT32, items * width, np.float32)
        features = None if values is None else values.reshape(items, width)
        if features is not None and (features == features[0]).all():
            features[0, 0] = 1 if features[0, 0] != 1 else 2
        ids = cosine = None
        if features is None or draw(st.booleans()):
            ids = np.array([draw(st.permutations(range(items)))[:k] for _ in range(items)], dtype=np.int32)
            cosine = np.linspace(-1, 1, ids.size, dtype=np.float32).reshape(ids.shape)
        modalities.append(Modality(name, features, ids, cosine))
    return Dataset("drawn", users, items, **splits, modalities=tuple(modalities), extras=extras).check()


def assert_same(found: Dataset, wanted: Dataset, without: tuple[str, ...] = ()) -> None:
    assert found.content_hash == wanted.content_hash
    assert found.extras.user_tokens == wanted.extras.user_tokens
    assert found.extras.item_tokens == wanted.extras.item_tokens
    assert found.extras.left_out == ()
    for name in ("rating", "timestamp"):
        values = getattr(wanted.extras, name)
        kept = None if values is None or f"{name}s" in without else values.tolist()
        read = getattr(found.extras, name)
        assert (None if read is None else read.tolist()) == kept


@pytest.mark.parametrize(("there", "over"), list(product(NAMES, NAMES)))
@given(dataset=datasets())
@settings(max_examples=8)
def test_there_and_back_loses_what_the_layouts_say_and_nothing_else(there: str, over: str, dataset: Dataset) -> None:
    with TemporaryDirectory() as place:
        lost: tuple[str, ...] = ()
        found = dataset
        for number, layout in enumerate((there, over, there)):
            lost += LAYOUTS[layout].losses(found)
            LAYOUTS[layout].write(found, Path(place, f"{number}"))
            assert formats.layout_of(Path(place, f"{number}")) == layout
            found = formats.read(Path(place, f"{number}"))
            assert_same(found, dataset, lost)


@pytest.mark.parametrize("layout", NAMES)
@pytest.mark.parametrize("toy_name", ["none", "two", "neighbours", "both"])
def test_what_is_written_is_read(toys: dict[str, Dataset], toy_name: str, layout: str, tmp_path: Path) -> None:
    """The toy ends in a user and an item that do not occur."""
    LAYOUTS[layout].write(toys[toy_name], tmp_path / "copy")
    found = formats.read(tmp_path / "copy")
    assert (found.name, found.origin, found.where) == ("copy", "files", str(tmp_path / "copy"))
    assert_same(found, toys[toy_name])


def test_only_lattice_loses_anything(toy: Dataset) -> None:
    rated = replace(toy, extras=Extras(rating=np.ones(len(toy.train) + len(toy.validation) + len(toy.test)))).check()
    assert {name: layout.losses(rated) for name, layout in LAYOUTS.items() if layout.losses(rated)} == {
        "lattice": ("ratings",)
    }
    assert not any(layout.losses(toy) for layout in LAYOUTS.values())


@pytest.mark.parametrize("layout", NAMES)
def test_half_precision_features_keep_their_hash(toy: Dataset, layout: str, tmp_path: Path) -> None:
    LAYOUTS["mmrec"].write(toy, tmp_path / "source")
    for file in (tmp_path / "source").glob("*_feat.npy"):
        np.save(file, np.load(file).astype(np.float16))
    half = formats.read(tmp_path / "source")
    assert half.content_hash != toy.content_hash
    LAYOUTS[layout].write(half, tmp_path / "copy")
    assert formats.read(tmp_path / "copy").content_hash == half.content_hash


@pytest.mark.parametrize("layout", NAMES)
def test_a_folder_is_written_whole_or_not_at_all(
    toy: Dataset, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"tmfun.formats.{layout}.write_modalities", full)
    with pytest.raises(InputError, match=r"new: cannot be written \(No space left on device\)"):
        LAYOUTS[layout].write(toy, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "notes").write_text("mine")
    with pytest.raises(InputError, match="new: exists already; take another name, or remove it first"):
        LAYOUTS[layout].write(toy, tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["notes"]


@pytest.mark.parametrize("layout", NAMES)
def test_whatever_byte_is_wrong_it_is_one_sentence_or_another_data_set(layout: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    ids = np.array([[0, 1], [1, 2], [2, 0]], dtype=np.int32)
    dataset = Dataset(
        *("drawn", 2, 3, [[0, 0], [1, 1]], [[0, 1], [1, 2]], [[0, 2], [1, 0]]),
        modalities=(Modality("image", np.eye(3, dtype=np.float32)), Modality("text", None, ids, ids / np.float32(4))),
        extras=Extras(np.arange(6) / 4, np.arange(6) * 10**9, ("b", "a"), ("p", "x x", "Ä")),
    )
    LAYOUTS[layout].write(dataset, tmp_path / "d")
    refused = 0
    for file in sorted(path for path in (tmp_path / "d").rglob("*") if path.is_file()):
        whole = file.read_bytes()
        for place in rng.integers(0, len(whole), 6).tolist():
            byte = bytes([rng.choice(list(b'\t\n\r "-:.,019eE[]{}\0\xff'))])
            for damaged in (
                whole[:place],
                whole[:place] + byte + whole[place + 1 :],
                whole[:place] + byte + whole[place:],
            ):
                file.write_bytes(damaged)
                try:
                    formats.read(tmp_path / "d")
                except InputError as error:
                    refused += 1
                    assert "\n" not in str(error) and str(tmp_path) in str(error)
        file.write_bytes(whole)
    assert refused > 30
    assert_same(formats.read(tmp_path / "d"), dataset, LAYOUTS[layout].losses(dataset))


def test_a_folder_in_no_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^{tmp_path}: no data set in any of the layouts recbole, mmrec, lattice$"):
        formats.read(tmp_path)


# -- data sets by name


LINES = [(0, 0, 0), (0, 1, 0), (0, 2, 1), (0, 3, 2), (1, 1, 0), (1, 2, 0), (1, 3, 1), (1, 0, 2)]


def write_inter(folder: Path, lines: list[tuple]) -> None:
    rows = ["\t".join(map(str, line)) for line in [("userID", "itemID", "x_label"), *lines]]
    (folder / f"{folder.name}.inter").write_text("\n".join(rows) + "\n")


def place(tmp_path: Path, name: str, last_label: int) -> Path:
    folder = tmp_path / name / "tiny"
    folder.mkdir(parents=True)
    write_inter(folder, [*LINES, (2, 0, 0), (2, 1, last_label)])
    return folder.parent


def test_data_sets_are_found_along_the_path_list_the_first_place_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, project = place(tmp_path, "one", 1), place(tmp_path, "two", 2), place(tmp_path, "project/data", 0).parent
    (two / "tiny").rename(two / "other")
    place(tmp_path, "two", 2)
    monkeypatch.setattr(formats, "PROJECT", project)
    monkeypatch.setenv("TMFUN_DATA", f"{tmp_path / 'absent'}:{one}::{two}")
    assert formats.places() == [tmp_path / "absent", one, two, project / "data"]
    assert len(formats.load("tiny").validation) == 3, "from the first place"
    assert formats.load("other").name == "other"
    found = {entry.name: entry for entry in formats.available() if entry.path is not None}
    assert {name: entry.path for name, entry in found.items()} == {"tiny": one / "tiny", "other": two / "other"}
    assert {entry.layout for entry in found.values()} == {"mmrec"}
    monkeypatch.setenv("TMFUN_DATA", f"{two}:{one}")
    assert len(formats.load("tiny").test) == 3, "the order counts"
    monkeypatch.delenv("TMFUN_DATA")
    assert len(formats.load("tiny").train) == 6, "the project's own folder comes last"


def test_a_home_folder_in_the_path_list_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(tmp_path, "data sets", 1)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMFUN_DATA", "~/data sets")
    found = formats.find("tiny")
    assert found is not None and found.path == tmp_path / "data sets" / "tiny"


def test_a_missing_data_set_says_where_was_looked_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMFUN_DATA", str(tmp_path))
    assert formats.find("nowhere") is None
    with pytest.raises(InputError) as caught:
        formats.load("nowhere")
    message = str(caught.value)
    assert message.startswith("no data set 'nowhere'") and str(tmp_path) in message and "TMFUN_DATA" in message


def test_a_folder_without_interactions_is_no_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.inter").write_text("userID\titemID\tx_label\n")
    monkeypatch.setenv("TMFUN_DATA", str(tmp_path))
    assert formats.find("empty") is None
    assert "empty" not in [entry.name for entry in formats.available()]


def test_a_data_set_is_checked_when_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = place(tmp_path, "one", 1) / "tiny"
    write_inter(folder, [*LINES, (0, 0, 2)])
    monkeypatch.setenv("TMFUN_DATA", str(folder.parent))
    with pytest.raises(InputError, match="user 0 and item 0 occur together"):
        formats.load("tiny")


def test_every_layout_is_found_by_name(tmp_path: Path, toy: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMFUN_DATA", str(tmp_path))
    for name, layout in LAYOUTS.items():
        layout.write(toy, tmp_path / f"as_{name}")
    layouts = {found.name: found.layout for found in formats.available() if found.path is not None}
    assert layouts == {f"as_{name}": name for name in LAYOUTS}
    assert {formats.load(name).content_hash for name in layouts} == {toy.content_hash}
