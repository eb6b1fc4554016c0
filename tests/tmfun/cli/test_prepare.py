import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tmfun import formats, splits
from tmfun.cli import main, prepare
from tmfun.cli.common import Progress
from tmfun.preparing import texts


class Model:
    """What stands in for sentence-transformers."""

    def __init__(self, name: str) -> None:
        pass

    def encode(self, texts: list[str], **options: bool) -> np.ndarray:
        return np.array([[len(text), hash(text) % 89] for text in texts], dtype=np.float32)


@pytest.fixture
def folder(raw: Any, tmp_path: Path) -> str:
    return str(raw.write(tmp_path / "raw"))


def test_the_names_that_are_offered_are_those_there_are() -> None:
    assert (prepare.SPLITS, prepare.RECIPES) == (splits.NAMES, texts.RECIPES)


def test_a_category_is_prepared_listed_and_not_prepared_twice(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "PROJECT", tmp_path)
    command = ["data", "prepare", "amazon", "--category", "Baby", folder]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "baby: 12 users, 20 items, 48 / 12 / 12 interactions, split lattice (seed 0); image (4096-d)" in printed.out
    assert "images filled with the mean: 3\n" in printed.out
    assert "no text features: embed" in printed.out and "item_text.tsv" in printed.out
    assert f"set TMFUN_DATA={tmp_path / 'data'}" in printed.out
    assert "reading reviews_Baby_5.json.gz: done\n" in printed.err and "\r" not in printed.err

    monkeypatch.setenv("TMFUN_DATA", str(tmp_path / "data"))
    assert main(["data", "list"]) == 0
    assert "baby [" in capsys.readouterr().out
    assert main(command) == 2
    assert "is there already and is not replaced" in capsys.readouterr().err


def test_every_option_reaches_the_datasheet(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Model))
    out = tmp_path / "sets" / "mine"
    options = "--category Baby --split mmrec --seed 7 --k-core 2 --recipe mmrec --as-published --text-model fake"
    command = ["data", "prepare", "amazon", folder, *options.split(), "--skip-malformed", "--out", str(out), "--json"]
    assert main(command) == 0
    sheet = json.loads(capsys.readouterr().out)
    assert sheet == json.loads((out / "prepared.json").read_text(encoding="utf-8"))
    assert sheet["options"] == {
        "split": "mmrec",
        "seed": 7,
        "k_core": 2,
        "skip_malformed": True,
        "category": "Baby",
        "recipe": "mmrec",
        "as_published": True,
        "text_model": "fake",
    }
    assert sheet["result"]["modalities"] == {"image": 4096, "text": 2}


def test_a_terminal_sees_shares_in_place(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = Progress()
    for share in (0.1, 0.101, 0.5, 1.0):
        progress("reading x", share)
    shown = capsys.readouterr().err
    assert shown == "".join(f"\rreading x: {n}%\033[K" for n in (10, 50, 100)) + "\n"


def test_a_table_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare, "PROJECT", tmp_path)
    rows = "".join(f"{u}|{i}|{u + i}\n" for u in range(12) for i in range(9))
    (tmp_path / "Ratings.v2.txt").write_text(rows)
    options = "--user 1 --item 2 --timestamp 3 --separator | --no-header --split leave-one-out"
    assert main(["data", "prepare", "table", str(tmp_path / "Ratings.v2.txt"), *options.split()]) == 0
    assert "ratings: 12 users, 9 items, 84 / 12 / 12 interactions, split leave-one-out" in capsys.readouterr().out
    monkeypatch.setenv("TMFUN_DATA", str(tmp_path / "data"))
    assert formats.load("ratings").test[:, 1].tolist() == [8] * 12

    (tmp_path / "t.data").write_text(rows.replace("|", "\t"))
    more = ["--separator", "tab", "--out", str(tmp_path / "x"), "--no-header"]
    assert main(["data", "prepare", "table", str(tmp_path / "t.data"), "--user", "1", "--item", "2", *more]) == 0


@pytest.mark.parametrize(
    "options, message",
    [
        (["--user", "u", "--item", "i", "--label", "x", "--split", "mmrec"], "only one of the two"),
        (["--user", "u", "--item", "j"], "no column 'j'"),
        (["--user", "u", "--item", "i", "--split", "global-time"], "'global-time' needs timestamps"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.csv").write_text("u,i,x\n" + "".join(f"{u},{i},{i % 3}\n" for u in range(5) for i in range(5)))
    out = tmp_path / "out"
    assert main(["data", "prepare", "table", str(tmp_path / "r.csv"), "--out", str(out), *options]) == 2
    shown = capsys.readouterr().err.splitlines()
    assert message in shown[-1] and shown[-1].startswith("tmfun: ") and not out.exists()


def test_a_missing_package_is_said_before_anything_is_read(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    command = ["data", "prepare", "amazon", "--category", "Baby", folder, "--text-model", "x", "--out"]
    assert main([*command, str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert "needs the package sentence-transformers" in shown and "reading" not in shown


@pytest.mark.parametrize("source", ["amazon", "table"])
def test_each_source_has_help_with_an_example(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main(["data", "prepare", source, "--help"])
    assert exit_code.value.code == 0
    assert f"Example: tmfun data prepare {source}" in capsys.readouterr().out
