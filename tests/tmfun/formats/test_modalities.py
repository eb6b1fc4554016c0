from pathlib import Path

import numpy as np
import pytest

from tmfun.dataset import Dataset, Modality
from tmfun.errors import InputError
from tmfun.formats import modalities
from tmfun.formats.modalities import open_features, read_modalities, write_modalities

FEATURES = np.arange(12, dtype=np.float32).reshape(4, 3) - 5
IDS = np.array([[0, 1], [1, 2], [2, 3], [3, 0]], dtype=np.int32)
COSINE = np.array([[1, 0.5]] * 4, dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Image features and neighbours of text."""
    np.save(tmp_path / "image_feat.npy", FEATURES)
    np.savez(tmp_path / "text_neighbours.npz", neighbours=IDS, cosine=COSINE)
    return tmp_path


def test_features_and_neighbours_are_found_by_name(folder: Path) -> None:
    np.save(folder / "text_feat.npy", FEATURES.astype(np.float16))
    image, text = read_modalities(folder)
    assert (image.name, image.neighbours, image.cosine, text.name) == ("image", None, None, "text")
    assert text.features is not None and text.features.dtype == np.float32
    for found, wanted in ((image.features, FEATURES), (text.features, FEATURES), (text.neighbours, IDS)):
        np.testing.assert_array_equal(found, wanted)


def test_features_from_elsewhere_stand_beside_those_of_files(folder: Path) -> None:
    audio, image, text = read_modalities(folder, {"audio": FEATURES + 1, "text": FEATURES})
    assert [m.name for m in (audio, image, text)] == ["audio", "image", "text"]
    assert text.features is not None and text.neighbours is not None
    with pytest.raises(InputError, match=r"image_feat\.npy: the modality 'image' has features in a table already"):
        read_modalities(folder, {"image": FEATURES})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    both = Modality("both", FEATURES, IDS, COSINE)
    write_modalities((both, Modality("graph", None, IDS, COSINE), Modality("image", FEATURES)), tmp_path)
    names = ["both_feat.npy", "both_neighbours.npz", "graph_neighbours.npz", "image_feat.npy"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    found = read_modalities(tmp_path)[0]
    for name in ("features", "neighbours", "cosine"):
        np.testing.assert_array_equal(getattr(found, name), getattr(both, name))


def test_features_can_be_left_to_another_file(tmp_path: Path) -> None:
    write_modalities((Modality("both", FEATURES, IDS, COSINE),), tmp_path, features=False)
    assert [path.name for path in tmp_path.iterdir()] == ["both_neighbours.npz"]


def test_what_a_neighbours_file_says_of_itself_is_kept_and_no_part_of_the_content(tmp_path: Path) -> None:
    told = [Modality("image", FEATURES, IDS, COSINE, search=search) for search in ('{"search": "exact"}', None)]
    write_modalities(told[:1], tmp_path)  # type: ignore[arg-type]
    (found,) = read_modalities(tmp_path)
    assert found.search == told[0].search
    pairs = np.array([[0, 0], [1, 1]])
    sets = [Dataset("x", 2, 4, pairs, pairs, pairs, (modality,)) for modality in told]
    assert sets[0].content_hash == sets[1].content_hash


@pytest.mark.parametrize("search", [np.arange(3), np.array(["a", "b"]), np.array(b"text")])
def test_other_members_of_the_archive_are_passed_over(folder: Path, search: np.ndarray) -> None:
    more = {"search": search, "objects": np.array([{}], dtype=object)}
    np.savez(folder / "text_neighbours.npz", neighbours=IDS, cosine=COSINE, **more)
    text = read_modalities(folder)[1]
    assert text.search is None
    np.testing.assert_array_equal(text.neighbours, IDS)  # type: ignore[arg-type]


def test_features_are_opened_without_being_read(folder: Path) -> None:
    found = open_features(folder)
    assert list(found) == ["image", "text"] and found["text"] is None
    assert isinstance(found["image"], np.memmap)
    np.testing.assert_array_equal(found["image"], FEATURES)


@pytest.mark.parametrize("content", ["nothing", "half", "npz", "objects"])
def test_a_file_that_cannot_be_opened_is_named(folder: Path, content: str) -> None:
    path = folder / "image_feat.npy"
    if content in ("nothing", "half"):
        path.write_bytes(path.read_bytes()[: -20 if content == "half" else 0])
    elif content == "npz":
        path.write_bytes((folder / "text_neighbours.npz").read_bytes())
    else:
        np.save(path, np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"image_feat\.npy: not a complete numpy file") as error:
        open_features(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", ["image_feat.npy", "text_neighbours.npz"])
def test_whatever_byte_is_wrong_the_file_is_named(folder: Path, file: str) -> None:
    """numpy, zipfile and tokenize raise a dozen kinds of errors for it."""
    whole = (folder / file).read_bytes()
    refused = 0
    for place in range(0, len(whole), 7):
        for byte in (b"'", b"\xff", b"("):
            (folder / file).write_bytes(whole[:place] + byte + whole[place + 1 :])
            try:
                read_modalities(folder)
            except InputError as error:
                refused += 1
                assert str(error).startswith(str(folder / file)) and "\n" not in str(error)
    assert refused > 10


# -- known features


def test_known_features_are_recognised_by_hash(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modalities, "_known_features", lambda: {modalities.features_hash(FEATURES): "proxy"})
    assert read_modalities(folder)[0].origin == "proxy"
    assert read_modalities(folder)[1].origin == "as supplied"
    np.save(folder / "image_feat.npy", FEATURES + np.float32(0.001))
    assert read_modalities(folder)[0].origin == "as supplied"


def test_the_hash_of_features_depends_on_values_and_shape_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    base = modalities.features_hash(FEATURES)
    assert modalities.features_hash(np.asfortranarray(FEATURES)) == base
    assert modalities.features_hash(FEATURES.reshape(3, 4)) != base
    assert modalities.features_hash(FEATURES[::-1]) != base
    monkeypatch.setattr(modalities, "HASHED", 3)  # rows at a time
    assert modalities.features_hash(FEATURES) == base


def test_the_shipped_table_of_known_features_is_sound() -> None:
    table = modalities._known_features()
    assert set(table.values()) <= {"proxy", "original"} and "proxy" in table.values()
    assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in table)
