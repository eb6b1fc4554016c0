"""Archives from elsewhere: nothing is unpacked before the name, the kind and the size of every member are checked."""

import lzma
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from tmfun.errors import InputError

MOST_MEMBERS = 100_000
MOST_BYTES = 256 * 2**30
NO_ARCHIVES = (".npz", ".npy", ".inter")  # an .npz is a zip archive that numpy opens itself
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    kind: str  # "file", "folder", or what it is instead
    open: Callable[[], IO[bytes]]


def is_archive(path: Path) -> bool:
    """Whether the file is a zip or tar archive (compressed or not), by its content."""
    if path.name.endswith(NO_ARCHIVES):
        return False
    if zipfile.is_zipfile(path):
        return True
    try:
        with tarfile.open(path) as archive:
            return archive.next() is not None  # zeros pass for an empty one
    except DAMAGE:
        return False


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into `folder`, which is made, and into nothing else.

    Raises InputError, before anything is written, for a member with an absolute name or one that leads outside, for
    links and devices, for two members of one name (letter case counts for nothing, as on some disks), and for more
    than there is room for; and for a damaged archive, of which a part may then lie in `folder`.
    """
    with ExitStack() as stack:
        try:
            members = _zip(archive, stack) if zipfile.is_zipfile(archive) else _tar(archive, stack)
            _check_size(archive, members, folder)
            for member, target in zip(members, _targets(archive, members, folder), strict=True):
                if member.kind == "folder":
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                # Both libraries stop at the declared size, so the sum that was checked holds.
                with member.open() as source, target.open("xb") as copy:
                    shutil.copyfileobj(source, copy, 2**20)
                if target.stat().st_size != member.size:
                    raise EOFError(f"{member.name} ends early")
        except DAMAGE as error:
            raise InputError(f"{archive}: cannot be unpacked ({' '.join(str(error).split())}); get it anew") from error


def _zip(archive: Path, stack: ExitStack) -> list[_Member]:
    opened = stack.enter_context(zipfile.ZipFile(archive))

    def member(info: zipfile.ZipInfo) -> _Member:
        mode = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was not made on Unix
        kind = "folder" if info.is_dir() else "file" if mode in (0, stat.S_IFREG) else "a link or a device"
        return _Member(info.orig_filename, info.file_size, kind, lambda: opened.open(info))

    return [member(info) for info in opened.infolist()]


def _tar(archive: Path, stack: ExitStack) -> list[_Member]:
    opened = stack.enter_context(tarfile.open(archive))  # noqa: SIM115

    def contents(info: tarfile.TarInfo) -> IO[bytes]:
        stream = opened.extractfile(info)
        assert stream is not None, "it is a file"
        return stream

    def member(info: tarfile.TarInfo) -> _Member:
        kind = "folder" if info.isdir() else "file" if info.isreg() else "a link or a device"
        return _Member(info.name, info.size, kind, lambda: contents(info))

    members = [member(info) for info in opened.getmembers()]
    while opened.fileobj is not None and opened.fileobj.read(2**20):
        pass  # to the end, where a .gz has its checksum
    return members


def _check_size(archive: Path, members: list[_Member], folder: Path) -> None:
    if len(members) > MOST_MEMBERS:
        raise InputError(f"{archive}: {len(members):,} members, more than the {MOST_MEMBERS:,} that are unpacked here")
    folder.mkdir(parents=True, exist_ok=True)
    total, most = sum(member.size for member in members), min(MOST_BYTES, shutil.disk_usage(folder).free)
    if total > most:
        raise InputError(f"{archive}: {total:,} bytes when unpacked; {folder} takes {most:,} at most")


def _targets(archive: Path, members: list[_Member], folder: Path) -> list[Path]:
    """Where each member goes; InputError for the first that must not go anywhere."""
    kinds: dict[tuple[str, ...], str] = {}  # by the parts of the name, as a disk that folds letter case sees them
    targets = []
    for member in members:
        parts = PurePosixPath(member.name).parts
        strange = any(unicodedata.category(letter) == "Cc" or letter in '\\:*?"<>|' for letter in member.name)
        if not parts or strange or ".." in parts or parts[0].startswith("/"):
            raise InputError(f"{archive}: the member {member.name!r} has a name that is not safe; nothing was unpacked")
        if member.kind not in ("file", "folder"):
            raise InputError(f"{archive}: the member {member.name!r} is {member.kind}; nothing was unpacked")
        folded = tuple(unicodedata.normalize("NFC", part).casefold() for part in parts)
        above = {kinds.setdefault(folded[:depth], "folder") for depth in range(1, len(folded))}
        taken = kinds.setdefault(folded, member.kind) if member.kind == "folder" else kinds.get(folded)
        if "file" in above or taken not in (None, "folder") or (taken and member.kind == "file"):
            raise InputError(f"{archive}: two members would both be {member.name!r}; nothing was unpacked")
        kinds[folded] = member.kind
        targets.append(folder.joinpath(*parts))
    return targets
