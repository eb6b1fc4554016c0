"""`tmfun data fetch` and `tmfun data list`, against a server on the loopback and files on the disk."""

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tmfun import known
from tmfun.cli import main
from tmfun.fingerprint import counts, fingerprint
from tmfun.formats import mmrec
from tmfun.known import File, Known, Source

REVIEWS, FEATURES = gzip.compress(b"a review\n" * 2000, mtime=0), bytes(5000)


@dataclass
class Scene:
    """A data set that is known, where it is published, and the folder it is fetched to."""

    web: Any
    data: Path  # the folder of the data set `disk`
    to: Path
    read: Callable[[], tuple[str, str]]

    def run(self, *arguments: str) -> int:
        return main(["data", "fetch", *arguments, "--to", str(self.to)])

    def archive(self, changes: Callable[[Path], None] | None = None, name: str = "disk") -> bytes:
        """The data set as a zip archive, in a folder of its own, changed before it is packed."""
        copy = self.to.parent / "copy" / name
        shutil.copytree(self.data, copy)
        (copy / "disk.inter").rename(copy / f"{name}.inter")
        if changes:
            changes(copy)
        packed = shutil.make_archive(str(self.to.parent / "packed"), "zip", copy.parent)
        shutil.rmtree(copy.parent)
        return Path(packed).read_bytes()

    def left(self) -> list[str]:
        return sorted(path.relative_to(self.to).as_posix() for path in self.to.rglob("*")) if self.to.exists() else []


@pytest.fixture
def scene(web, on_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> Scene:
    dataset = mmrec.read(on_disk)
    found = fingerprint(dataset)
    at = Source(web.url("pub/"), "data", "free for all", "nowhere", browser=False, checked=False)
    disk = Known(
        "disk", "The disk set", None, *counts(dataset), (found.interactions, found.split), "the folder disk", at
    )
    raw = (File("a/reviews.json.gz"), File("b/features.b", len(FEATURES), hashlib.sha256(FEATURES).hexdigest()))
    entries = [
        replace(disk, files=(File("disk.zip"),)),
        replace(disk, name="by-hand", title="The same by hand"),
        replace(disk, name="lost", source=None),
        Known("raw", "The raw files", "raw", source=at, files=raw),
        Known("packed", "The packed raw files", "raw", source=at, files=(File("packed.tgz"),), contents=raw[1:]),
    ]
    table = {entry.name: entry for entry in entries}
    monkeypatch.setattr(known, "registry", lambda: table)

    def read() -> tuple[str, str]:
        captured = capsys.readouterr()
        return captured.out, captured.err

    return Scene(web, on_disk, tmp_path / "fetched", read)


def test_a_known_set_is_fetched_recognised_and_put_in_place(scene: Scene) -> None:
    scene.web.put("pub/disk.zip", scene.archive())
    assert scene.run("disk") == 0
    out, err = scene.read()
    assert "this is The disk set, recognised by its fingerprint (30 users, 25 items, 180 interactions)" in out
    assert "licence: free for all" in out and f"export TMFUN_DATA={scene.to}" in out
    assert "disk.zip: 0.0 of 0.0 MB (100%)\n" in err and "\r" not in err, "plain lines in a pipe"
    place = scene.to / "disk"
    assert sorted(path.name for path in place.iterdir()) == sorted(path.name for path in scene.data.iterdir())
    assert [path.name for path in scene.to.iterdir()] == ["disk"]


def test_what_is_in_place_is_verified_and_nothing_is_downloaded(scene: Scene) -> None:
    shutil.copytree(scene.data, scene.to / "disk")
    before = scene.left()
    assert scene.run("disk", "--json") == 0
    told = json.loads(scene.read()[0])
    assert (told["fetched"], told["already_there"], told["path"]) == (True, True, str(scene.to / "disk"))
    assert told["verdict"].startswith("this is The disk set") and told["licence"] == "free for all"
    assert scene.web.asked == [] and scene.left() == before


def another_interaction(folder: Path) -> None:
    """Another item for a user's first training interaction: the counts stay."""
    file = next(folder.glob("*.inter"))
    header, *rows = file.read_text().splitlines()
    have = {row.rpartition("\t")[0] for row in rows}
    user, _, split = rows[0].split("\t")
    item = next(item for item in range(25) if f"{user}\t{item}" not in have)
    rows[1] = f"{user}\t{item}\t{split}"
    file.write_text("\n".join([header, *rows]) + "\n")


def one_less(folder: Path) -> None:
    file = next(folder.glob("*.inter"))
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")


def test_another_set_in_its_place_is_told_and_left(scene: Scene) -> None:
    shutil.copytree(scene.data, scene.to / "disk")
    another_interaction(scene.to / "disk")
    before = (scene.to / "disk/disk.inter").read_text()
    assert scene.run("disk") == 2
    err = scene.read()[1]
    assert "NOT the known disk: its fingerprint differs" in err and "move it away, or fetch to another folder" in err
    assert (scene.to / "disk/disk.inter").read_text() == before and scene.web.asked == []


@pytest.mark.parametrize(
    "change, reason",
    [
        (another_interaction, "NOT the known disk: its fingerprint differs (30 users, 25 items, 180 interactions"),
        (one_less, "it has 30 users, 25 items, 179 interactions, and that one has 30 users, 25 items, 180"),
        (lambda folder: next(folder.glob("*.inter")).unlink(), "no data set in a layout that is read here"),
        (lambda folder: (folder / "text_feat.npy").write_bytes(b"x"), "text_feat.npy: not a complete numpy file"),
    ],
)
def test_what_is_not_the_known_set_leaves_nothing(scene: Scene, change: Callable[[Path], None], reason: str) -> None:
    scene.web.put("pub/disk.zip", scene.archive(change))
    assert scene.run("disk") == 2
    out, err = scene.read()
    (sentence,) = [line for line in err.splitlines() if line.startswith("tmfun: ")]
    assert reason in sentence and ".fetch" not in sentence and out == ""
    assert scene.left() == []


def test_a_cut_fetch_goes_on_with_the_next_call(scene: Scene) -> None:
    body = scene.archive()
    scene.web.put("pub/disk.zip", body, headers={"ETag": '"1"'}, cuts=[300, 0])
    assert scene.run("disk") == 1
    assert "300 bytes are kept" in scene.read()[1]
    assert scene.left()[-2:] == [".fetch-disk/downloads/disk.zip.part", ".fetch-disk/downloads/disk.zip.part.from"]
    assert scene.run("disk") == 0
    assert scene.web.asked[-1][1]["Range"] == "bytes=300-"
    assert [path.name for path in scene.to.iterdir()] == ["disk"]


def test_a_dead_source_gives_the_steps_by_hand(scene: Scene) -> None:
    assert scene.run("disk") == 1
    out, err = scene.read()
    assert err == f"tmfun: {scene.web.url('pub/disk.zip')}: the server answers 404 Not Found\n"
    assert f"download {scene.web.url('pub/disk.zip')}" in out
    assert f"tmfun data fetch disk --to {scene.to} --from PATH" in out
    assert scene.left() == []


@pytest.mark.parametrize(
    "name, reason, step",
    [
        ("by-hand", "without a browser", "in a browser and download the folder disk"),
        ("lost", "not known", "if you have"),
    ],
)
def test_what_takes_a_browser_gives_the_steps_and_asks_nobody(scene: Scene, name: str, reason: str, step: str) -> None:
    assert scene.run(name, "--json") == 1
    out, err = scene.read()
    told = json.loads(out)
    assert told["fetched"] is False and reason in told["reason"] and step in told["steps"][0]
    assert reason in err and scene.web.asked == [] and not scene.to.exists()


@pytest.mark.parametrize("name", ["by-hand", "disk"])
def test_a_mirror_can_be_named(scene: Scene, name: str) -> None:
    """Its archive may be called anything, and hold the data set in a folder of any name."""
    body = scene.archive(name="other")
    assert scene.run(name, "--from", scene.web.put("mirror/a%20copy.zip?key=1", body)) == (0 if name == "disk" else 2)
    out, err = scene.read()
    if name == "disk":
        assert "this is The disk set" in out and (scene.to / "disk" / "other.inter").exists()
    else:  # in this registry two names have one fingerprint: the first is what it is
        assert "NOT the known by-hand: it is The disk set" in err and scene.left() == []


def test_a_local_archive_file_or_folder_can_be_named_and_is_left_as_it_is(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "got").mkdir()
    (tmp_path / "got" / "disk (1).zip").write_bytes(scene.archive())
    for path in (tmp_path / "got" / "disk (1).zip", scene.data, scene.data / "disk.inter", tmp_path / "got"):
        before = path.stat()
        code = scene.run("lost" if path.name == "got" else "disk", "--from", str(path))
        assert code == (2 if path.name == "got" else 0), "a folder with an archive in it is no data set"
        assert path.stat() == before or path.stat().st_mtime == before.st_mtime
        shutil.rmtree(scene.to)
    assert scene.web.asked == []


def test_the_copy_of_a_folder_that_cannot_be_written_can_be(scene: Scene) -> None:
    scene.data.chmod(0o555)
    assert scene.run("disk", "--from", str(scene.data)) == 0
    scene.data.chmod(0o755)
    assert (scene.to / "disk").stat().st_mode & 0o200


def test_an_archive_of_several_sets_gives_the_one_that_was_asked_for(scene: Scene) -> None:
    def beside(folder: Path) -> None:
        other = folder.parent / "another"
        shutil.copytree(folder, other)
        one_less(other)
        folder.rename(folder.parent / "zzz")

    scene.web.put("pub/disk.zip", scene.archive(beside))
    assert scene.run("disk") == 0
    assert len((scene.to / "disk" / "disk.inter").read_text().splitlines()) == 181


@pytest.mark.parametrize(
    "origin, reason",
    [
        ("file:///etc/passwd", "neither an address that begins with http"),
        ("ftp://host/disk.zip", "neither an address that begins with http"),
        ("nowhere.zip", "no such file or folder"),
        ("/dev/null", "no such file or folder"),
    ],
)
def test_a_place_that_is_none_is_refused(scene: Scene, origin: str, reason: str) -> None:
    assert scene.run("disk", "--from", origin) == 2
    assert reason in scene.read()[1] and not scene.to.exists()


@pytest.mark.parametrize("member, link", [("../evil", False), ("/tmp/evil", False), ("disk/link", True)])
def test_an_archive_that_wants_out_is_refused_and_leaves_nothing(scene: Scene, member: str, link: bool) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(scene.data, "disk")
        info = tarfile.TarInfo(member)
        info.type, info.linkname = (tarfile.SYMTYPE, "/etc/passwd") if link else (tarfile.REGTYPE, "")
        tar.addfile(info, io.BytesIO())
    scene.web.put("pub/disk.zip", archive.getvalue())
    assert scene.run("disk") == 2
    assert "nothing was unpacked" in scene.read()[1] and scene.left() == []
    assert not (scene.to.parent / "evil").exists()


def test_members_that_differ_in_case_only_are_refused(scene: Scene) -> None:
    scene.web.put("pub/disk.zip", scene.archive(lambda folder: (folder / "DISK.inter").write_text("x")))
    assert scene.run("disk") == 2
    assert "two members would both be" in scene.read()[1] and scene.left() == []


def test_a_file_in_the_way_is_told(scene: Scene) -> None:
    scene.to.write_text("a file")
    scene.web.put("pub/disk.zip", scene.archive())
    assert scene.run("disk") == 2
    assert f"tmfun: {scene.to}" in scene.read()[1] and scene.to.read_text() == "a file"


def test_raw_files_are_fetched_all_and_verified_again_in_place(scene: Scene) -> None:
    scene.web.put("pub/a/reviews.json.gz", REVIEWS)
    scene.web.put("pub/b/features.b", FEATURES)
    assert scene.run("raw") == 0
    out = scene.read()[0]
    assert "by the names of The raw files, and complete; their checksums are not known" in out and "TMFUN" not in out
    assert scene.left() == ["raw", "raw/features.b", "raw/reviews.json.gz"]
    asked = len(scene.web.asked)
    assert scene.run("raw") == 0 and "already there" in scene.read()[0] and len(scene.web.asked) == asked
    (scene.to / "raw" / "features.b").write_bytes(FEATURES[:-1] + b"x")
    assert scene.run("raw") == 2 and "NOT the known features.b: its checksum differs" in scene.read()[1]
    (scene.to / "raw" / "features.b").unlink()
    assert scene.run("raw") == 2 and "it has no features.b; move it away" in scene.read()[1]


@pytest.mark.parametrize("body", [b"<html>", REVIEWS[:-5], REVIEWS[:-8] + bytes(8)], ids=["page", "cut", "crc"])
def test_a_damaged_raw_file_costs_no_other(scene: Scene, body: bytes) -> None:
    scene.web.put("pub/a/reviews.json.gz", body)
    scene.web.put("pub/b/features.b", FEATURES)
    assert scene.run("raw") == 2
    assert "reviews.json.gz: not a complete .gz file" in scene.read()[1] and scene.left() == []
    scene.web.put("pub/a/reviews.json.gz", REVIEWS)
    scene.web.put("pub/b/features.b", FEATURES + b"x")
    assert scene.run("raw") == 2
    assert "what lies there is NOT features.b: it has 5,001 bytes instead of 5,000" in scene.read()[1]
    assert scene.left()[-1] == ".fetch-raw/downloads/reviews.json.gz"
    scene.web.put("pub/b/features.b", FEATURES)
    assert scene.run("raw") == 0
    assert [path for path, _ in scene.web.asked].count("/pub/a/reviews.json.gz") == 2


def test_a_mirror_or_a_folder_of_several_files(scene: Scene, tmp_path: Path) -> None:
    scene.web.put("mirror/reviews.json.gz", REVIEWS)
    scene.web.put("mirror/features.b", FEATURES)
    assert scene.run("raw", "--from", scene.web.url("mirror/")) == 0
    shutil.copytree(scene.to / "raw", tmp_path / "mine")
    shutil.rmtree(scene.to)
    assert scene.run("raw", "--from", str(tmp_path / "mine")) == 0
    assert scene.left() == ["raw", "raw/features.b", "raw/reviews.json.gz"]
    shutil.rmtree(scene.to)
    (tmp_path / "mine" / "reviews.json.gz").unlink()
    scene.read()
    assert scene.run("raw", "--from", str(tmp_path / "mine")) == 2
    assert "reviews.json.gz: no such file; all files of the data set are needed" in scene.read()[1]
    assert (tmp_path / "mine" / "features.b").read_bytes() == FEATURES and scene.left() == []


def test_raw_files_in_an_archive_are_known_by_their_contents(scene: Scene) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("folder/features.b", FEATURES)
        opened.writestr("folder/README", "read me")
    scene.web.put("pub/packed.tgz", archive.getvalue())
    for said in ("packed: this is", "already there; this is"):
        assert scene.run("packed") == 0
        assert f"{said} The packed raw files: the checksums are the known ones" in scene.read()[0]
    assert scene.left() == ["packed", "packed/README", "packed/features.b"]


def test_an_unknown_name_is_told_and_no_name_lists_them(scene: Scene) -> None:
    assert scene.run("dsik") == 2
    assert "unknown data set 'dsik' (did you mean 'disk'?)" in scene.read()[1]
    assert main(["data", "fetch"]) == 0
    listed = scene.read()[0].splitlines()
    assert listed[0].split() == "disk The disk set; 30 users, 25 items".split() and "by hand" in listed[1]
    assert main(["data", "fetch", "--json"]) == 0
    assert [row["fetched"] for row in json.loads(scene.read()[0])] == [True, False, False, True, True]


def test_on_a_terminal_progress_is_one_line(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    scene.web.put("pub/disk.zip", scene.archive())
    assert scene.run("disk") == 0
    err = scene.read()[1]
    assert err.startswith("\rdisk.zip: ") and err.endswith("(100%) \n") and err.count("\n") == 1


def test_data_list_recognises_known_sets_under_other_names_and_ids(scene: Scene) -> None:
    rng = np.random.default_rng(3)
    users, items = rng.permutation(30), rng.permutation(25)
    for name, change in (("mine", None), ("newer", another_interaction)):
        folder = scene.data.parent / name
        shutil.copytree(scene.data, folder)
        header, *rows = (folder / "disk.inter").read_text().splitlines()
        cells = [[int(cell) for cell in row.split("\t")] for row in rows]
        cells = [[users[user], items[item], split] for user, item, split in cells]
        if name == "newer":
            cells = [[user, item, (0, 2, 1)[split]] for user, item, split in cells]
        rows = ["\t".join(map(str, cells[place])) for place in rng.permutation(len(cells))]
        (folder / "disk.inter").write_text("\n".join([header, *rows]) + "\n")
        if change is None:
            continue
        shutil.copytree(folder, scene.data.parent / "changed")
        change(scene.data.parent / "changed")
    assert main(["data", "list", "--json"]) == 0
    rows = {row["name"]: (row["known_as"], row["same_split"]) for row in json.loads(scene.read()[0])}
    assert rows["disk"] == rows["mine"] == ("The disk set", True)
    assert rows["newer"] == ("the interactions of disk in another split", False)
    assert rows["changed"] == rows["synthetic"] == (None, None)
    assert main(["data", "list"]) == 0
    assert f"{scene.data.parent / 'mine'}; known as The disk set" in scene.read()[0]
