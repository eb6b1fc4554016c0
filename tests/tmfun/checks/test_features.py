from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tmfun.checks import features
from tmfun.checks.findings import Finding
from tmfun.dataset import Dataset, Modality


def check(dataset: Dataset, modality: Modality) -> list[Finding]:
    return features.check(dataset, modality)


def test_generated_features_and_their_file_are_not_flagged(strong: Dataset) -> None:
    for modality in strong.modalities:
        assert {finding.level for finding in check(strong, modality)} == {"ok"}
    assert {f.level for f in features.agreement(list(strong.modalities))} <= {"ok", "note"}


# -- features

Change = Callable[[NDArray], object]


def assign(where: object, value: object) -> Change:
    def change(x: NDArray) -> NDArray:
        x[where] = value
        return x

    return change


FEATURES: dict[str, tuple[Change, str, str, str, int]] = {
    "NaN": (assign((3, 1), np.nan), "finite", "error", "rows", 1),
    "infinity": (assign((slice(5, 7), 0), np.inf), "finite", "error", "rows", 2),
    "equal rows": (assign(slice(None), 2.5), "spread", "error", "", 0),
    "nearly equal rows": (lambda x: 100 + 1e-3 * x, "spread", "error", "", 0),
    "one dimension": (lambda x: np.outer(x[:, 0], np.ones(8)), "spread", "warning", "", 0),
    "a zero row": (assign(9, 0), "zero rows", "note", "rows", 1),
    "many zero rows": (assign(slice(100), 0), "zero rows", "warning", "rows", 100),
    "constant columns": (assign((slice(None), [0, 4]), 7), "constant columns", "note", "columns", 2),
    "duplicate rows": (lambda x: assign(slice(0, 3), x[0])(x), "duplicate rows", "note", "rows", 3),
    "many duplicate rows": (lambda x: assign(slice(0, 200), x[0])(x), "duplicate rows", "warning", "most", 200),
    "a huge norm": (lambda x: assign(4, 1e3 * x[4])(x), "norms", "note", "rows", 1),
    "small norms": (lambda x: assign(slice(100), 1e-3 * x[:100])(x), "norms", "warning", "rows", 100),
    "a row too many": (lambda x: np.vstack([x, x[:1]]), "feature rows", "error", "rows", 401),
    "a row too few": (lambda x: x[:-1], "feature rows", "error", "rows", 399),
}


@pytest.mark.parametrize("case", FEATURES)
def test_a_defect_in_features_is_told_with_its_number(case: str, shop: Any) -> None:
    change, what, level, number, value = FEATURES[case]
    dataset = shop.generated()
    image = dataset.modality("image")
    broken = replace(image, features=np.asarray(change(image.features.copy()), np.float32))
    found = shop.find(check(dataset, broken), what)
    assert found.level == level
    assert not number or found.numbers[number] == value


def test_numbers_near_the_limit_of_float32_do_not_overflow(shop: Any) -> None:
    dataset = shop.generated()
    image = dataset.modality("image")
    assert image.features is not None
    large = replace(image, features=(image.features / np.abs(image.features).max() * 3e38).astype(np.float32))
    assert {finding.level for finding in check(dataset, large)} == {"ok"}


def test_the_effective_rank_counts_equal_directions() -> None:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((30, 30)))[0]
    for rank in (1, 5, 20):
        ring = np.vstack([axes[:rank], -axes[:rank]])  # centred, and as wide in each of `rank` directions
        assert features._effective_rank(3 + ring) == pytest.approx(rank, rel=1e-6)
        assert features._effective_rank((3 + ring)[:, :29] @ np.eye(29)) <= rank + 1e-6
    many = rng.standard_normal((features.ROWS + 500, 10))
    assert features._effective_rank(many) == pytest.approx(10, rel=0.01)


def test_proxies_are_noted(shop: Any) -> None:
    dataset = shop.generated()
    proxy = replace(dataset.modality("image"), origin="proxy")
    assert shop.find(check(dataset, proxy), "features").level == "note"


# -- neighbours files


def swap_cosines(ids: NDArray, cosine: NDArray) -> None:
    cosine[:, [1, 8]] = cosine[:, [8, 1]]


def repeat_an_id(ids: NDArray, cosine: NDArray) -> None:
    ids[7, 3] = ids[7, 2]


def out_of_range(ids: NDArray, cosine: NDArray) -> None:
    ids[5, 4] = 400


def large_cosine(ids: NDArray, cosine: NDArray) -> None:
    cosine[2, 1] = 1.2


def not_a_number(ids: NDArray, cosine: NDArray) -> None:
    cosine[2:5, 1] = np.nan


def lack_themselves(rows: int) -> Callable[[NDArray, NDArray], None]:
    def change(ids: NDArray, cosine: NDArray) -> None:
        for row in range(rows):
            ids[row, ids[row] == row] = next(i for i in range(400) if i not in ids[row])

    return change


FILES: dict[str, tuple[Callable[[NDArray, NDArray], None], str, str, str, int]] = {
    "rising cosines": (swap_cosines, "cosines", "warning", "rising", 400),
    "an id twice": (repeat_an_id, "repeated ids", "error", "rows", 1),
    "an id out of range": (out_of_range, "neighbour ids", "error", "rows", 1),
    "a cosine above 1": (large_cosine, "cosines", "error", "out_of_range", 1),
    "cosines that are no numbers": (not_a_number, "cosines", "error", "out_of_range", 3),
    "a row without itself": (lack_themselves(1), "own item", "note", "rows", 1),
    "many rows without themselves": (lack_themselves(40), "own item", "warning", "rows", 40),
    "no row with itself": (lack_themselves(400), "own item", "error", "rows", 400),
}


@pytest.mark.parametrize("case", FILES)
def test_a_defect_in_a_neighbours_file_is_told_with_its_number(case: str, strong: Dataset, shop: Any) -> None:
    change, what, level, number, value = FILES[case]
    image = strong.modality("image")
    assert image.neighbours is not None and image.cosine is not None
    ids, cosine = image.neighbours.copy(), image.cosine.copy()
    change(ids, cosine)
    found = shop.find(check(strong, replace(image, neighbours=ids, cosine=cosine)), what)
    assert (found.level, found.numbers[number]) == (level, value)


@pytest.mark.parametrize(
    ("search", "told"),
    [
        (None, ""),
        ('{"search": "exact", "k": 10}', ", searched exactly"),
        (
            '{"search": "approximate", "recall": 0.98765, "recall_rows": 1000}',
            ", searched approximately: recall 0.988 on 1,000 rows",
        ),
        ("by hand", ""),
        ('["exact"]', ""),
        ('{"search": "approximate", "recall": null}', ""),
    ],
)
def test_how_a_files_neighbours_were_found_is_told(search: str | None, told: str, strong: Dataset, shop: Any) -> None:
    image = strong.modality("image")
    assert image.neighbours is not None
    found = shop.find(check(strong, replace(image, search=search)), "neighbours")
    assert (found.level, found.sentence) == ("ok", f"{image.neighbours.shape[1]} neighbours per item{told}")


@pytest.mark.parametrize("rows", [1, -2, 50])
def test_rows_of_a_file_that_moved_without_their_ids_are_told_by_how_much(
    rows: int, strong: Dataset, shop: Any
) -> None:
    image = strong.modality("image")
    assert image.neighbours is not None and image.cosine is not None
    order = shop.moved(400, rows)
    found = shop.find(
        check(strong, replace(image, neighbours=image.neighbours[order], cosine=image.cosine[order])), "own item"
    )
    assert found.level == "error" and found.numbers["offset"] == -rows


def test_arrays_of_a_wrong_shape_or_missing_are_told(strong: Dataset, shop: Any) -> None:
    image = strong.modality("image")
    assert image.neighbours is not None and image.cosine is not None
    short = replace(image, neighbours=image.neighbours[:-1], cosine=image.cosine[:-1])
    assert shop.find(check(strong, short), "neighbour rows").level == "error"
    assert shop.find(check(strong, replace(image, cosine=image.cosine[:, :4])), "cosines").level == "error"
    assert shop.find(check(strong, Modality("audio")), "arrays").level == "error"


# -- beside each other


def test_the_share_of_common_edges_is_counted(strong: Dataset, shop: Any) -> None:
    image = strong.modality("image")
    assert image.neighbours is not None
    ids = image.neighbours.copy()
    for row in range(40):  # a tenth of the rows loses one of nine neighbours
        ids[row, 9] = next(i for i in range(400) if i not in ids[row])
    found = shop.find(features.agreement([replace(image, neighbours=ids)]), "agreement")
    assert found.level == "ok"
    assert found.numbers["shares"]["image"] == pytest.approx(1 - 40 / 3600, abs=1e-3)
    assert found.numbers["recall"] == pytest.approx(1 - 40 / 4000, abs=1e-3)


@pytest.mark.parametrize("rows", [1, -1, 2, -5, 100])
@pytest.mark.parametrize("which", ["features", "neighbours"])
def test_features_and_file_that_moved_apart_are_told_by_how_much(
    which: str, rows: int, strong: Dataset, shop: Any
) -> None:
    order = shop.moved(400, rows)
    apart = shop.laid(strong.modality("image"), order, features=which == "features", neighbours=which == "neighbours")
    found = shop.find(features.agreement([apart]), "agreement")
    assert found.level == "error" and found.numbers["offset"] == (-rows if which == "features" else rows)


def test_features_in_another_order_than_the_file_are_told(strong: Dataset, shop: Any) -> None:
    order = np.random.default_rng(0).permutation(400)
    found = shop.find(features.agreement([shop.laid(strong.modality("image"), order, neighbours=False)]), "agreement")
    assert found.level == "error" and "offset" not in found.numbers


def test_features_under_another_modalitys_name_are_told_where_a_file_shows_it(shop: Any) -> None:
    base = shop.generated()
    image, text = (shop.with_file(base.modality(name)) for name in ("image", "text"))
    swapped = [replace(image, features=text.features), replace(text, features=image.features)]
    found = features.agreement(swapped)
    for name, other in (("image", "text"), ("text", "image")):
        told = shop.find(found, "name", f"modality {name}")
        assert told.level == "error" and f"the features of {other} under the name of {name}" in told.sentence
    one = features.agreement([replace(image, features=text.features), replace(text, features=None)])
    assert shop.find(one, "name", "modality image").level == "error"
    no_file = features.agreement([replace(image, neighbours=None, cosine=None), replace(text, features=None)])
    assert shop.find(no_file, "name", "modality image").level == "note"


def test_one_content_under_two_names_is_told(shop: Any) -> None:
    base = shop.generated()
    image, text = base.modality("image"), base.modality("text")
    assert shop.find(features.agreement([image, text]), "likeness").level == "ok"
    assert shop.find(features.agreement([image, replace(image, name="text")]), "likeness").level == "warning"
    twice = [shop.with_file(image), replace(shop.with_file(image), name="text", features=None)]
    assert shop.find(features.agreement(twice), "likeness").level == "warning"
