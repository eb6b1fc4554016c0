"""`tmfun data check` as a user meets it."""

import json
from pathlib import Path

import numpy as np
import pytest

from reports import datasheet
from tmfun.cli import main


def test_a_verified_set_prints_its_sheet_and_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "synthetic-tiny", "--strict"]) == 0
    printed = capsys.readouterr().out
    assert "**Verified**" in printed and "aligned: z = " in printed


def test_numbers_are_printed_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "synthetic-null", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["verdict"], len(shown["content_hash"])) == ("synthetic-null", "verified", 64)
    (signal,) = [f for f in shown["findings"] if f["about"] == "modality image" and f["what"].startswith("signal")]
    assert signal["numbers"]["word"] == "no signal beyond chance" and abs(signal["numbers"]["z"]) < 4
    (alignment,) = [f for f in shown["findings"] if f["about"] == "modality image" and "alignment" in f["what"]]
    assert list(alignment["numbers"]["z"]) == [str(offset) for offset in range(-5, 6)]


def test_a_folder_may_stand_for_a_name(
    on_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sheets = []
    for place, name in ((".", "disk"), ("/", str(on_disk)), (str(on_disk.parent), "./disk"), (str(on_disk), ".")):
        monkeypatch.chdir(place)
        assert main(["data", "check", name]) == 0
        sheets.append(capsys.readouterr().out)
    assert len(set(sheets)) == 1 and "# Data sheet of `disk`" in sheets[0]


def test_warnings_fail_under_strict_alone(on_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On `disk` users choose at random, so content cannot fit."""
    assert main(["data", "check", "disk"]) == 0
    assert "**Not verified**" in capsys.readouterr().out
    assert main(["data", "check", "disk", "--strict"]) == 1


def test_a_broken_set_is_refused_with_all_that_is_wrong(on_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inter = on_disk / "disk.inter"
    first = inter.read_text().splitlines()[1]
    inter.write_text(inter.read_text() + first + "\n" + first[:-1] + "2\n")
    features = np.load(on_disk / "text_feat.npy")
    features[3, 1] = np.nan
    np.save(on_disk / "text_feat.npy", features)
    assert main(["data", "check", "disk"]) == 1
    printed = capsys.readouterr().out
    wrong = printed[printed.index("## What is wrong") : printed.index("## Interactions")]
    assert [part in wrong for part in ("duplicates", "leaks", "modality text: finite")] == [True] * 3


def test_what_cannot_be_read_is_bad_input(on_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (on_disk / "disk.inter").write_text("userID\titemID\n0\t0\n")
    assert main(["data", "check", "disk"]) == 2
    assert main(["data", "check", "nowhere"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "lacks the column x_label" in errors[0] and "no data set 'nowhere'" in errors[1] and len(errors) == 2


def test_the_sheet_is_written_on_request_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(datasheet, "FOLDER", tmp_path / "sheets")
    assert main(["data", "check", "synthetic-tiny"]) == 0
    assert not (tmp_path / "sheets").exists()
    printed = capsys.readouterr().out
    assert main(["data", "check", "synthetic-tiny", "--write", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) and "synthetic-tiny.md" in captured.err
    assert (tmp_path / "sheets" / "synthetic-tiny.md").read_text() == printed
