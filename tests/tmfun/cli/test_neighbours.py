import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tmfun import formats
from tmfun.cli import main, neighbours
from tmfun.preparing import approximate


def test_the_default_that_help_tells_is_the_one_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert neighbours.PROBES == approximate.PROBES
    with pytest.raises(SystemExit) as exit_code:
        main(["data", "neighbours", "--help"])
    assert exit_code.value.code == 0
    printed = capsys.readouterr().out
    assert "Example: tmfun data neighbours mine" in printed and f"(default: {neighbours.PROBES})" in printed


def test_every_modality_gets_a_file_which_changes_the_content_hash(
    on_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = formats.load("disk").content_hash
    assert main(["data", "neighbours", "disk", "--k", "4"]) == 0
    printed = capsys.readouterr()
    assert "image: 4 neighbours of each of 25 items, exact\n" in printed.out
    assert str(on_disk / "text_neighbours.npz") in printed.out
    assert "the content hash is another one" in printed.err and "to use what is in" not in printed.err
    after = formats.load("disk")
    assert [m.neighbours.shape for m in after.modalities if m.neighbours is not None] == [(25, 4)] * 2
    assert after.content_hash != before

    assert main(["data", "neighbours", "disk", "--k", "3"]) == 2
    assert "add --replace to replace it" in capsys.readouterr().err
    assert main(["data", "neighbours", "disk", "--k", "3", "--modality", "text", "--replace"]) == 0
    assert [m.neighbours.shape[1] for m in formats.load("disk").modalities if m.neighbours is not None] == [4, 3]


def test_an_approximate_search_tells_its_recall_to_people_and_machines(
    on_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["data", "neighbours", str(on_disk), "--approximate", "--probes", "2", "--modality", "image"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "recall 1.000 on 25 rows, the item itself not counted (faiss " in printed.out
    assert "searching: done\n" in printed.err
    assert main([*command, "--replace", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["name"] == str(on_disk) and [row["modality"] for row in shown["files"]] == ["image"]
    assert shown["files"][0] | {"recall": 1.0, "index": "IVF1,Flat", "probes": 1, "k": 10} == shown["files"][0]


def test_files_can_go_elsewhere_and_it_says_how_they_are_used(
    on_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(on_disk.iterdir())
    assert main(["data", "neighbours", "disk", "--to", str(tmp_path / "else" / "where")]) == 0
    assert "make a folder with links to the files of" in capsys.readouterr().err
    assert sorted(on_disk.iterdir()) == before
    linked = tmp_path / "sets" / "linked"
    linked.mkdir(parents=True)
    for file in (*before, *(tmp_path / "else" / "where").iterdir()):
        (linked / file.name).symlink_to(file)
    made = formats.read(linked)
    assert all(m.features is not None and m.neighbours is not None for m in made.modalities)
    assert main(["data", "neighbours", "disk", "--to", str(linked), "--replace"]) == 0
    assert "it is a data set of its own, and has them; its name is linked" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_said_before_the_search(
    on_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert main(["data", "neighbours", "disk"]) == 2
    assert f"{on_disk}: cannot be written; add --to FOLDER" in capsys.readouterr().err


def test_features_in_a_table_are_searched_too(
    on_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "convert", "disk", "recbole", str(tmp_path / "atomic")]) == 0
    assert main(["data", "neighbours", str(tmp_path / "atomic"), "--k", "4"]) == 0
    assert main(["data", "neighbours", "disk", "--k", "4"]) == 0
    twins = [formats.read(folder).modality("image").neighbours for folder in (on_disk, tmp_path / "atomic")]
    np.testing.assert_array_equal(*twins)


def test_what_a_file_says_is_kept_by_conversion_and_told_by_the_check(
    on_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "neighbours", "disk", "--k", "4", "--approximate"]) == 0
    assert main(["data", "convert", "disk", "lattice", str(tmp_path / "twin")]) == 0
    said = [formats.read(folder).modality("text").search for folder in (on_disk, tmp_path / "twin")]
    assert said[0] and said[0] == said[1]
    capsys.readouterr()
    main(["data", "check", "disk"])
    assert "4 neighbours per item, searched approximately: recall 1.000 on 25 rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["dsik"], "no data set 'dsik'"),
        (["synthetic-tiny"], "synthetic-tiny is generated and has no files; `tmfun data convert"),
        (["disk", "--modality", "imgae"], "unknown modality 'imgae' (did you mean 'image'?)"),
        (["disk", "--k", "26"], "disk: image: 26 neighbours wanted, but there are 25 items; lower --k"),
        (["disk", "--probes", "3"], "--probes belongs to an approximate search"),
    ],
)
def test_a_bad_call_is_one_sentence_and_exit_code_2(
    arguments: list[str], sentence: str, on_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(on_disk.iterdir())
    assert main(["data", "neighbours", *arguments]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err and captured.err.count("\n") == 1
    assert sorted(on_disk.iterdir()) == before


def test_without_features_there_is_nothing_to_search_in(on_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "neighbours", "disk", "--k", "4"]) == 0
    (on_disk / "text_feat.npy").unlink()
    assert main(["data", "neighbours", "disk", "--modality", "text", "--replace"]) == 2
    assert "'text' has neighbours and no features to search in" in capsys.readouterr().err
    (on_disk / "image_feat.npy").unlink()
    assert main(["data", "neighbours", "disk", "--replace"]) == 2
    assert "no modality has features" in capsys.readouterr().err


def test_without_faiss_nothing_is_begun(
    on_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert main(["data", "neighbours", "disk", "--approximate"]) == 2
    captured = capsys.readouterr()
    assert "pip install -e '.[approximate]'" in captured.err and captured.err.count("\n") == 1
    assert not list(on_disk.glob("*neighbours*"))
