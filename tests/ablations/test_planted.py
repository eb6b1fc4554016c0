"""The calibration of the whole pipeline, made smaller still."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablations import calibration, planted
from ablations.verdicts import judge, paired_effect
from tmfun.errors import InputError


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs of a model with four dimensions; verdicts with 2 and 3 seeds."""
    small = planted.STUDY.replace("max_epochs = 60", "max_epochs = 2").replace("dimension = 16", "dimension = 4")
    assert small != planted.STUDY
    monkeypatch.setattr(planted, "STUDY", small.replace("users=100,items=150", "users=40,items=50"))
    monkeypatch.setattr(planted, "SEEDS", (2, 3))


def test_one_data_set_from_its_study_to_its_verdicts(quick: None) -> None:
    row = planted.one(0.5, 3, most=3)
    assert (row["signal"], row["seed"]) == (0.5, 3)
    sides = {name: row[name] for name in ("full", "again", "ids")}
    assert all(len(side) == 3 and min(side) > 0 and max(side) <= 1 for side in sides.values())
    assert set(row["full"]) != set(row["again"]), "other seeds, other runs"
    assert row["null"] == row["content"] == ["inconclusive"] * 2, "two and three seeds are too few"


def test_verdicts_follow_from_the_scores(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the fewest seeds waived, so that the words differ from each other."""
    monkeypatch.setattr("ablations.verdicts.fewest_seeds", lambda family: 2)
    monkeypatch.setattr("ablations.verdicts.LEVEL", 0.9)
    words = set()
    for seed in range(3):
        row = planted.one(1.0, seed, most=3)
        for kind, worse in (("null", "again"), ("content", "ids")):
            for place, n in enumerate((2, 3)):
                effect = paired_effect(row["full"][:n], row[worse][:n])
                assert row[kind][place] == judge(effect, effect.p, 1, 0.01).word
                words.add(row[kind][place])
    assert len(words) > 1


def fake(signal: float, seed: int) -> dict[str, Any]:
    scores = np.random.default_rng(seed).random(10).tolist()
    words = ["inconclusive"] * 4
    return {
        "signal": signal,
        "seed": seed,
        "full": scores,
        "again": scores,
        "ids": scores,
        "null": words,
        "content": words,
    }


def test_it_goes_on_from_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, made = tmp_path / "pipeline.json", []

    def stopped(signal: float, seed: int) -> dict[str, Any]:
        if len(made) == 8:
            raise KeyboardInterrupt
        made.append((signal, seed))
        return fake(signal, seed)

    monkeypatch.setattr(planted, "one", stopped)
    with pytest.raises(KeyboardInterrupt):
        planted.calibrate(path, 1, datasets=2)
    kept = calibration.read(path)["datasets"]
    assert len(kept) >= 7 and {row["signal"] for row in kept} == set(planted.LADDER), "the steps stay even"

    again: list[tuple[float, int]] = []
    monkeypatch.setattr(planted, "one", lambda signal, seed: again.append((signal, seed)) or fake(signal, seed))
    told: list[tuple[int, int]] = []
    planted.calibrate(path, 1, datasets=2, say=lambda done, of: told.append((done, of)))
    rows = calibration.read(path)["datasets"]
    assert len(rows) == 12 == len({(row["signal"], row["seed"]) for row in rows})
    assert len(again) == 12 - len(kept) and told[0] == (len(kept), 12) and told[-1] == (12, 12)
    assert rows == sorted(rows, key=lambda row: (row["signal"], row["seed"]))
    planted.calibrate(path, 1, datasets=2)
    assert len(again) == 12 - len(kept), "nothing is left to do"


def test_another_design_is_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pipeline.json"
    monkeypatch.setattr(planted, "one", fake)
    planted.calibrate(path, 1, datasets=1)
    monkeypatch.setattr(planted, "STUDY", planted.STUDY.replace("patience = 4", "patience = 5"))
    with pytest.raises(InputError, match="made by another design"):
        planted.calibrate(path, 1, datasets=1)


def test_there_are_enough_nulls_and_every_step_is_on_the_ladder() -> None:
    assert planted.DATASETS * len(planted.LADDER) >= 200
    assert planted.LADDER[0] == 0 and sorted(planted.LADDER) == list(planted.LADDER)
    assert (min(planted.SEEDS), planted.MOST) == (3, 10)
