"""Archives that want out of their folder, or too much."""

import io
import stat
import tarfile
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from tmfun import unpacking
from tmfun.errors import InputError
from tmfun.unpacking import is_archive, unpack

Link = namedtuple("Link", "target kind")
Members = list[tuple[str, bytes | Link | None]]  # None: a folder

GOOD: Members = [("baby", None), ("baby/a.inter", b"one"), ("baby/deep/b.npy", b"two" * 1000), ("empty", b"")]


def zipped(path: Path, members: Members) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name + "/" if content is None else name)
            if isinstance(content, Link):
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, content.target if isinstance(content, Link) else content or b"")
    return path


def tarred(path: Path, members: Members, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, Link):
                info.type, info.linkname = content.kind, content.target
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path


PACK = {"zip": zipped, "tar": tarred}


@pytest.fixture(params=PACK)
def pack(request: pytest.FixtureRequest, tmp_path: Path):
    return lambda members: PACK[request.param](tmp_path / f"data.{request.param}", members)


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_archive_becomes_its_files(pack, tmp_path: Path) -> None:
    archive = pack(GOOD)
    assert is_archive(archive)
    unpack(archive, tmp_path / "out")
    assert everything(tmp_path / "out") == {name: content for name, content in GOOD if content is not None}


@pytest.mark.parametrize("mode", ["w", "w:bz2", "w:xz"])
def test_every_compression_of_tar_is_read(mode: str, tmp_path: Path) -> None:
    unpack(tarred(tmp_path / "data.tar", GOOD, mode), tmp_path / "out")
    assert len(everything(tmp_path / "out")) == 3


@pytest.mark.parametrize(
    "name",
    ["../evil", "baby/../../evil", "/evil", "//evil", "C:evil", "..\\evil", "baby/..", ".", "a\nb", "a:b"],
)
def test_a_name_that_is_not_safe_is_refused_before_anything_is_written(name: str, pack, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a name that is not safe; nothing was unpacked"):
        unpack(pack([*GOOD, (name, b"evil")]), tmp_path / "out")
    assert everything(tmp_path / "out") == {} and not (tmp_path / "evil").exists()


def test_a_symlink_is_refused(pack, tmp_path: Path) -> None:
    members = [*GOOD, ("baby/link", Link("/etc/passwd", tarfile.SYMTYPE)), ("baby/link/x", b"evil")]
    with pytest.raises(InputError, match="is a link or a device; nothing was unpacked"):
        unpack(pack(members), tmp_path / "out")
    assert everything(tmp_path / "out") == {}


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_hard_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    archive = tarred(tmp_path / "data.tar", [*GOOD, ("baby/x", Link("baby/a.inter", kind))])
    with pytest.raises(InputError, match="is a link or a device"):
        unpack(archive, tmp_path / "out")
    assert everything(tmp_path / "out") == {}


@pytest.mark.parametrize(
    "members",
    [
        [("baby/a", b"1"), ("baby/A", b"2")],
        [("baby/a", b"1"), ("baby/a/b", b"2")],
        [("baby/a/b", b"1"), ("baby/a", b"2")],
        [("baby/a", b"1"), ("baby/a", None)],
        [("baby/a", None), ("baby/a", b"1")],
        [("caf\u00e9", b"1"), ("cafe\u0301", b"2")],
        [("baby/a", b"1"), ("baby//a", b"2")],
        [("baby/a", b"1"), ("./baby/a", b"2")],
    ],
)
def test_two_members_of_one_name_are_refused(members: Members, pack, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two members would both be"):
        unpack(pack(members), tmp_path / "out")
    assert everything(tmp_path / "out") == {}


def test_folders_may_be_named_more_than_once(pack, tmp_path: Path) -> None:
    unpack(pack([("a", None), ("a/b", b"1"), ("A/c", b"2"), ("a/d", None)]), tmp_path / "out")
    assert len(everything(tmp_path / "out")) == 2


def test_too_much_is_refused_before_anything_is_written(pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = pack(GOOD)
    monkeypatch.setattr(unpacking, "MOST_BYTES", 3002)
    with pytest.raises(InputError, match=r"3,003 bytes when unpacked; .*out takes 3,002 at most"):
        unpack(archive, tmp_path / "out")
    monkeypatch.setattr(unpacking, "MOST_BYTES", 3003)
    monkeypatch.setattr(unpacking, "MOST_MEMBERS", 3)
    with pytest.raises(InputError, match="4 members, more than the 3"):
        unpack(archive, tmp_path / "out")
    assert everything(tmp_path / "out") == {}
    monkeypatch.setattr(unpacking, "MOST_MEMBERS", 4)
    unpack(archive, tmp_path / "out")


def test_a_zip_that_hides_its_size_gives_no_more_than_it_declares(tmp_path: Path) -> None:
    """A bomb: 10 MB that the directory says are 10 bytes."""
    archive = zipped(tmp_path / "bomb.zip", [("bomb", bytes(10_000_000))])
    data = archive.read_bytes()
    archive.write_bytes(data.replace((10_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(InputError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out")
    assert all(len(content) <= 10 for content in everything(tmp_path / "out").values())


def test_a_damaged_archive_is_one_sentence(pack, tmp_path: Path) -> None:
    archive = pack([("a", bytes(range(256)) * 400), ("b", b"x" * 100_000)])
    data = bytearray(archive.read_bytes())
    data[len(data) // 3] ^= 255
    archive.write_bytes(bytes(data))
    with pytest.raises(InputError, match="cannot be unpacked") as caught:
        unpack(archive, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_truncated_tar_is_damaged(tmp_path: Path) -> None:
    archive = tarred(tmp_path / "data.tar", [("a", b"x" * 100_000)], "w")
    archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises(InputError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out")


def test_a_locked_zip_is_told(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "data.zip", [("a", b"secret")])
    data = bytearray(archive.read_bytes())
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(header) + flags] |= 1
    archive.write_bytes(bytes(data))
    with pytest.raises(InputError, match="encrypted"):
        unpack(archive, tmp_path / "out")


def test_an_npz_and_other_files_are_no_archives(tmp_path: Path) -> None:
    zipped(tmp_path / "x.npz", GOOD)
    (tmp_path / "x.inter").write_text("userID\titemID\n")
    (tmp_path / "zeros.b").write_bytes(bytes(5000))  # tarfile takes them for an archive of nothing
    (tmp_path / "x.gz").write_bytes(b"\x1f\x8b nothing")
    assert not any(is_archive(path) for path in tmp_path.iterdir())
