"""The simulated studies: their truth against brute force, and what is counted over them."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ablations import calibration
from ablations.calibration import ITEM_USERS, SEEDS, USERS, Scenario, simulate
from ablations.outcomes import compare
from ablations.verdicts import RULES
from tmfun.errors import InputError
from tmfun.streams import numpy_stream

STRONG = Scenario(effect=0.5, fit=0.05)


def test_the_truth_on_these_users_is_what_endless_training_would_show() -> None:
    for (better, worse, *_), truth in simulate(STRONG, 500, numpy_stream(1, "test"), 2):
        differences = np.array([better[seed].mean() - worse[seed].mean() for seed in better])
        assert abs(differences.mean() - truth.these_users) < 4 * stats.sem(differences)
        share = truth.these_users / np.mean([worse[seed].mean() for seed in worse])
        assert truth.relative == pytest.approx(share, rel=0.05)


def test_the_truth_on_new_users_is_what_endless_users_would_show() -> None:
    studies = list(simulate(STRONG, 1, numpy_stream(2, "test"), 400))
    differences = np.array([better[0].mean() - worse[0].mean() for (better, worse, *_), _ in studies])
    assert len({truth.new_users for _, truth in studies}) == 1
    assert abs(differences.mean() - studies[0][1].new_users) < 4 * stats.sem(differences)


def test_without_an_effect_both_truths_are_none_and_sides_are_paired() -> None:
    for (better, worse, *_), truth in simulate(calibration.SCENARIOS["null"], 40, numpy_stream(3, "test"), 3):
        assert (truth.these_users, truth.new_users, truth.relative) == (0, 0, 0)
        paired = np.corrcoef([better[s].mean() for s in better], [worse[s].mean() for s in worse])[0, 1]
        assert paired > 0, "a seed moves both sides"
        assert not np.array_equal(better[0], worse[0])


def test_users_have_one_to_three_items_and_recall_is_a_share_of_them() -> None:
    assert set(np.bincount(ITEM_USERS)) == {1, 2, 3} and len(np.bincount(ITEM_USERS)) == USERS
    ((sides, _),) = simulate(STRONG, 2, numpy_stream(4, "test"), 1)
    for side in sides:
        for recall in side.values():
            hits = recall * np.bincount(ITEM_USERS)
            assert recall.shape == (USERS,) and np.allclose(hits, np.rint(hits))


def test_an_overwhelming_effect_is_always_found_and_few_seeds_never_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "SCENARIOS", {"planted": Scenario(1.0, 0.0)})
    told: list[dict] = []
    found = calibration.calibrate(12, told.append)
    assert told == found["rows"] and [row["seeds"] for row in told] == list(SEEDS)
    assert [row["alone_supported"] for row in told] == [0, 12, 12, 12]
    assert [row["family_supported"] for row in told] == [0, 0, 12, 12]
    assert not any(row["alone_contradicted"] or row["family_contradicted"] for row in told)
    assert sum(row["equivalent"] for row in told) <= 6, "a margin at the truth is a chance of 2.5 %"


def test_what_is_counted_is_what_the_intervals_hold() -> None:
    row = calibration._row("null", calibration.SCENARIOS["null"], 6, 30)
    stream = numpy_stream(calibration.SEED, "calibration/null/6/0")
    compared = [compare(*sides[:2]) for sides, _ in simulate(calibration.SCENARIOS["null"], 6, stream, 30)]
    assert row["covered"] == sum(c.effect.low <= 0 <= c.effect.high for c in compared if c)
    assert row["crossed_covered"] == sum(c.for_new_users[0] <= 0 <= c.for_new_users[1] for c in compared if c)
    assert row == calibration._row("null", calibration.SCENARIOS["null"], 6, 30), "the same seed, the same studies"


def test_wilson_by_its_formula() -> None:
    n, p, z = 40, 3 / 40, stats.norm.ppf(0.975)
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert calibration.wilson(3, n) == pytest.approx((middle - half, middle + half))


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "statistics.json"
    table = {"schema": calibration.SCHEMA, "rules": RULES, "text": 'a "quoted"\nline', "rows": [{"a": 1}, {"a": 2}]}
    for rows in ([], [{"a": 1}], table["rows"]):
        calibration.write(path, {**table, "rows": rows}, "rows")
        assert calibration.read(path) == {**table, "rows": rows}
    assert len(path.read_text().splitlines()) == 4, "one line per row"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a complete calibration"),
        ("[]", "not a complete calibration"),
        ("{}", "not a complete calibration"),
        (json.dumps({"schema": 99}), "schema 99"),
        (json.dumps({"schema": calibration.SCHEMA, "rules": RULES - 1}), "made with other rules for verdicts"),
        (None, "no such file; first: tmfun calibrate statistics"),
    ],
)
def test_a_damaged_calibration_is_one_sentence(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "statistics.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        calibration.read(path)
