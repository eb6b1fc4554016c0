"""The examination as a whole: what is looked at, and what follows for the data set."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tmfun.checks import examine
from tmfun.checks.findings import Finding, graver, verdict
from tmfun.dataset import Dataset, Modality
from tmfun.formats import synthetic


def from_files(dataset: Dataset) -> Dataset:
    """The same data, no longer known to be generated."""
    return replace(dataset, origin="files")


def errors(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(f.about, f.what) for f in findings if f.level == "error"}


def test_the_verdict_is_that_of_the_gravest_finding() -> None:
    levels = [Finding("", "", level, "") for level in ("ok", "note", "warning", "error")]
    expected = ["verified", "verified", "not verified", "refused"]
    assert [verdict(levels[: n + 1]) for n in range(4)] == expected
    thresholds = {"note": 0.0, "warning": 0.1, "error": 0.5}
    assert [graver(x, **thresholds) for x in (0, 0.1, 0.5, 0.6)] == ["ok", "note", "warning", "error"]


@pytest.mark.parametrize("name", [name for name in synthetic.PRESETS if not synthetic.is_large(name)])
def test_shipped_synthetic_sets_are_verified(name: str) -> None:
    assert verdict(examine(synthetic.generate(name))) == "verified"


@pytest.mark.parametrize("seed", range(1, 5))
def test_generated_sets_are_verified_whatever_the_seed(seed: int, shop: Any) -> None:
    dataset = from_files(shop.generated(seed=seed))
    with_files = dataset.with_modalities(*(shop.with_file(m) for m in dataset.modalities))
    found = examine(with_files)
    assert verdict(found) == "verified"
    for modality in ("modality image", "modality text"):
        assert shop.find(found, "signal", modality).sentence.startswith("carries signal")
        assert shop.find(found, "alignment", modality).what == "alignment of the neighbours file"
        assert shop.find(found, "content alone", modality).numbers["recall@20"] > 0.1


def test_a_set_without_modalities_is_looked_at_too(shop: Any) -> None:
    found = examine(from_files(shop.generated().with_modalities()))
    assert verdict(found) == "verified" and {f.about for f in found} == {"interactions"}


def test_modalities_with_neighbours_alone_are_looked_at_too(strong: Dataset, shop: Any) -> None:
    bare = replace(strong.modality("image"), features=None)
    found = examine(from_files(strong).with_modalities(bare))
    assert shop.find(found, "signal").level == shop.find(found, "alignment").level == "ok"


def test_where_features_and_file_moved_apart_it_is_told_which_of_them_is_shifted(strong: Dataset, shop: Any) -> None:
    for features in (True, False):
        apart = shop.laid(strong.modality("image"), shop.moved(400, 2), features=features, neighbours=not features)
        found = examine(from_files(strong).with_modalities(apart))
        wrong, right = ("features", "neighbours file") if features else ("neighbours file", "features")
        assert shop.find(found, "agreement").level == "error"
        assert shop.find(found, f"alignment of the {wrong}").level == "error"
        assert shop.find(found, f"alignment of the {right}").level == "ok"


def test_features_and_file_that_moved_together_are_refused(strong: Dataset, shop: Any) -> None:
    found = examine(strong.with_modalities(shop.laid(strong.modality("image"), shop.moved(400, -1))))
    assert errors(found) == {("modality image", "alignment of the neighbours file")} and verdict(found) == "refused"


def test_everything_that_is_wrong_is_told_at_once(strong: Dataset, shop: Any) -> None:
    image, text = strong.modalities
    assert image.neighbours is not None and text.features is not None
    holes = text.features.copy()
    holes[5, 5] = np.nan
    outside = image.neighbours.copy()
    outside[3, 4] = -1
    broken = replace(
        strong,
        train=np.vstack([strong.train, strong.test[:1], strong.train[:1]]),
        modalities=(replace(image, neighbours=outside), replace(text, features=holes), Modality("audio")),
    )
    found = examine(broken)
    assert errors(found) == {
        ("interactions", "duplicates"),
        ("interactions", "leaks"),
        ("modality image", "neighbour ids"),
        ("modality text", "finite"),
        ("modality audio", "arrays"),
    }
    assert not [f for f in found if "signal" in f.what], "nothing is measured on what is broken"


def test_one_broken_modality_leaves_the_others_to_be_measured(strong: Dataset, shop: Any) -> None:
    image, text = strong.modalities
    found = examine(strong.with_modalities(image, replace(text, features=np.ones((400, 3), np.float32))))
    assert errors(found) == {("modality text", "spread")}
    assert shop.find(found, "alignment", "modality image").level == "ok"


def test_what_loading_refuses_is_never_verified(strong: Dataset) -> None:
    for wrong in (replace(strong.modalities[0], name="items"), strong.modalities[1]):
        found = examine(strong.with_modalities(*strong.modalities, wrong))
        assert ("data set", "loading") in errors(found)


def test_a_graph_without_edges_is_told(shop: Any) -> None:
    alone = Modality("image", None, np.arange(400, dtype=np.int32)[:, None], np.ones((400, 1), np.float32))
    found = examine(from_files(shop.generated()).with_modalities(alone))
    assert "graph is empty" in shop.find(found, "signal").sentence and verdict(found) == "not verified"
