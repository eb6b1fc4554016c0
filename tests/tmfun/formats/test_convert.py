"""`tmfun data convert` and the layouts in `tmfun data list`."""

import json
from pathlib import Path

import pytest

from tmfun import formats
from tmfun.cli import data, main


def test_the_command_offers_every_layout() -> None:
    assert set(data.LAYOUTS) == set(formats.LAYOUTS)


@pytest.mark.parametrize("layout", data.LAYOUTS)
def test_a_data_set_is_converted_and_nothing_is_lost(
    on_disk: Path, tmp_path: Path, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = formats.load("disk")
    assert main(["data", "convert", "disk", layout, str(tmp_path / "made")]) == 0
    card, place, lost = capsys.readouterr().out.splitlines()
    assert card.startswith(f"made [{wanted.content_hash[:8]}]: 30 users, 25 items")
    assert (place.strip(), lost.strip()) == (f"{tmp_path / 'made'} ({layout})", "nothing is lost")
    assert main(["data", "convert", str(tmp_path / "made"), "mmrec", str(tmp_path / "back"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {
        "path": str(tmp_path / "back"),
        "layout": "mmrec",
        "content_hash": wanted.content_hash,
        "lost": [],
    }


def test_a_loss_is_announced_before_anything_is_written(
    on_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *lines = (on_disk / "disk.inter").read_text().splitlines()
    rows = [f"{first}\ttimestamp\ttitle", *(f"{line}\t{n}\tx" for n, line in enumerate(lines))]
    (on_disk / "disk.inter").write_text("\n".join(rows))
    command = ["data", "convert", "disk", "lattice", str(tmp_path / "made")]
    assert main(command) == 2
    assert capsys.readouterr().err == (
        "tmfun: disk: the column title of disk.inter, timestamps would be lost in the layout lattice; add --lossy to"
        " write the rest\n"
    )
    assert not (tmp_path / "made").exists()
    assert main([*command, "--lossy"]) == 0
    assert capsys.readouterr().out.endswith("lost: the column title of disk.inter, timestamps\n")
    assert formats.read(tmp_path / "made").content_hash == formats.load("disk").content_hash


def test_synthetic_data_say_that_they_will_count_as_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "convert", "synthetic-tiny[seed=3]", "recbole", str(tmp_path / "made")]) == 0
    assert "read from there, these count as data from files" in capsys.readouterr().out
    assert formats.read(tmp_path / "made").content_hash == formats.load("synthetic-tiny[seed=3]").content_hash


def test_a_folder_that_is_here_can_be_named_by_a_dot(
    on_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(on_disk)
    assert main(["data", "convert", ".", "lattice", "../made"]) == 0
    assert formats.load("made").content_hash == formats.load("disk").content_hash


@pytest.mark.parametrize(
    ("source", "destination", "sentence"),
    [
        ("nowhere", "made", "no data set 'nowhere'"),
        ("{tmp}", "made", "no data set in any of the layouts"),
        ("disk", "data/disk", "data/disk: exists already; take another name, or remove it first"),
    ],
)
def test_a_bad_call_is_one_sentence_and_exit_code_2(
    source: str, destination: str, sentence: str, on_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in tmp_path.rglob("*"))
    assert main(["data", "convert", source.format(tmp=tmp_path), "recbole", str(tmp_path / destination)]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err and captured.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_writer_that_changes_the_content_is_found_out(
    on_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = formats.lattice.write
    monkeypatch.setattr(formats.lattice, "write", lambda dataset, folder: write(dataset.with_modalities(), folder))
    with pytest.raises(RuntimeError, match="was written, but reads as"):
        main(["data", "convert", "disk", "lattice", str(tmp_path / "made")])


def test_the_list_shows_the_layout(on_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "convert", "disk", "recbole", str(on_disk.parent / "other")]) == 0
    capsys.readouterr()
    assert main(["data", "list"]) == 0
    shown = capsys.readouterr().out
    assert f"    {on_disk} (mmrec)\n" in shown and f"    {on_disk.parent / 'other'} (recbole)\n" in shown
