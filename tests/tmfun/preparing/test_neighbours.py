import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tmfun.dataset import Modality
from tmfun.errors import InputError
from tmfun.formats.modalities import features_hash, read_modalities
from tmfun.graphs import knn_matrix, modality_neighbours
from tmfun.preparing.neighbours import make

FEATURES = np.random.default_rng(3).standard_normal((60, 9)).astype(np.float32)


def silent(what: str, share: float) -> None:
    pass


def read(folder: Path) -> Modality:
    (found,) = read_modalities(folder)
    return found.check(60, "here") or found


@pytest.mark.parametrize("self_loops", [True, False])
def test_an_exact_file_gives_the_graph_that_models_build_themselves(tmp_path: Path, self_loops: bool) -> None:
    features = FEATURES.copy()
    features[4] = 0
    make(features, 7, tmp_path / "image_neighbours.npz", silent)
    graphs = [
        knn_matrix(*modality_neighbours(modality, k), self_loops=self_loops)
        for k in (7, 3)
        for modality in (Modality("image", features), replace(read(tmp_path), features=features))
    ]
    for own, filed in (graphs[:2], graphs[2:]):
        assert own.nnz and (own != filed).nnz == 0


def test_the_file_says_how_it_was_made(tmp_path: Path) -> None:
    how = make(FEATURES, 5, tmp_path / "exact_neighbours.npz", silent)
    assert (how["search"], how["k"], how["items"], how["width"]) == ("exact", 5, 60, 9)
    about = make(FEATURES, 5, tmp_path / "some_neighbours.npz", silent, probes=2)
    assert about["search"] == "approximate" and about["library"].startswith("faiss ") and about["recall"] <= 1
    assert about["features_sha256"] == features_hash(FEATURES)
    exact, some = read_modalities(tmp_path)
    assert (json.loads(exact.search or ""), json.loads(some.search or "")) == (how, about)


@pytest.mark.parametrize("probes", [None, 3])
def test_twice_makes_the_same_bytes(tmp_path: Path, probes: int | None) -> None:
    paths = [tmp_path / f"{name}_neighbours.npz" for name in "ab"]
    for path in paths:
        make(FEATURES, 5, path, silent, probes=probes)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_opened_features_are_read_where_they_lie(tmp_path: Path) -> None:
    np.save(tmp_path / "image_feat.npy", FEATURES.astype(np.float64))
    opened = np.load(tmp_path / "image_feat.npy", mmap_mode="c")
    for probes in (None, 50):
        make(opened, 5, tmp_path / "image_neighbours.npz", silent, probes=probes, replacing=True)
        here = read(tmp_path)
        make(FEATURES, 5, tmp_path / "image_neighbours.npz", silent, probes=probes, replacing=True)
        np.testing.assert_array_equal(read(tmp_path).neighbours, here.neighbours)  # type: ignore[arg-type]


def test_what_is_there_is_replaced_when_told_so_and_only_by_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "image_neighbours.npz"
    make(FEATURES, 5, path, silent)
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        make(FEATURES, 4, path, silent)

    def interrupt(what: str, share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(FEATURES, 4, path, interrupt, probes=3, replacing=True)
    with pytest.raises(InputError, match="61 neighbours wanted, but there are 60 items"):
        make(FEATURES, 61, path, silent, replacing=True)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]
    make(FEATURES, 4, path, silent, replacing=True)
    assert read(tmp_path).neighbours.shape == (60, 4)  # type: ignore[union-attr]
