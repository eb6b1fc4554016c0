"""Getting a known data set: download or copy, unpack, recognise, and only then put in place."""

import gzip
import re
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from tmfun.dataset import Dataset
from tmfun.downloading import UnreachableError, Watch, download
from tmfun.errors import InputError
from tmfun.formats import mmrec
from tmfun.known import File, Known, verify
from tmfun.unpacking import is_archive, unpack


@dataclass(frozen=True)
class Fetched:
    """A data set in its place: where, whether it had been there before, and how well it is known to be the one."""

    path: Path
    already_there: bool
    verdict: str


def fetch(known: Known, to: Path, origin: str | None, watch: Watch) -> Fetched:
    """Put `known` into the folder `to`, under its name; what is there already is verified and left as it is.

    `origin` is an address (http or https) or a path to take it from, instead of where it is published: of the
    archive or the file where there is one, of the folder that holds them where there are several.

    Raises UnreachableError where no source gives it, and InputError where what they give, or what is in place, is not
    what is known by that name. Until all is verified everything lies in a folder `.fetch-<name>` beside the place; a
    download that was cut stays there, and the next call goes on with it.
    """
    place = to / known.name
    if place.exists() or place.is_symlink():
        return Fetched(place, True, _verified(known, place, "; move it away, or fetch to another folder with --to"))
    wanted = _wanted(known, origin)
    work = to / f".fetch-{known.name}"
    downloads, unpacked = work / "downloads", work / "unpacked"
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(unpacked, ignore_errors=True)
        obtained = [_obtain(file, where, downloads, watch) for file, where in wanted]
        downloaded = any(path.parent == downloads for path in obtained)
        try:
            for path in obtained:
                _lay_out(path, downloads, unpacked, known)
            folder, verdict = _found(known, unpacked)
            folder.replace(place)
        except InputError as error:
            if downloaded:
                shutil.rmtree(downloads)  # it is not what it should be: the next call is to begin anew
            said = str(error)
            for path in (unpacked, downloads):  # they are gone when this is read
                said = said.replace(str(path), (origin or "downloads").rstrip("/"))
            raise InputError(said) from error
        shutil.rmtree(work)
        return Fetched(place, False, verdict)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
        for folder in (downloads, work):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def steps(known: Known, to: Path | None = None) -> list[str]:
    """What a person can do where no source gives the data set: sentences, in order."""
    again = f"tmfun data fetch {known.name}{f' --to {to}' if to else ''} --from PATH"
    if known.source is None:
        return [f"if you have it: {again}, where PATH is its archive or folder"]
    if not known.files:
        taken = [f"open {known.source.url} in a browser and download {known.take}, which comes as an archive"]
    else:
        taken = [f"download {known.source.url}{file.path}" for file in known.files]
    which = "the folder that holds these files" if len(known.files) > 1 else "what you downloaded"
    return [*taken, f"then: {again}, where PATH is {which}"]


def _wanted(known: Known, origin: str | None) -> list[tuple[File, str]]:
    """The files to get, and where each lies: an address or a path."""
    if origin is None:
        if known.source is None:
            raise UnreachableError(f"where {known.name} is published is not known")
        if not known.files:
            raise UnreachableError(f"{known.name} cannot be fetched without a browser")
        return [(file, known.source.url + file.path) for file in known.files]
    if "://" in origin and urlsplit(origin).scheme not in ("http", "https"):
        raise InputError(f"--from {origin}: neither an address that begins with http:// or https:// nor a path")
    local = None if "://" in origin else Path(origin).expanduser()
    if local is not None and not (local.is_file() or local.is_dir()):
        raise InputError(f"--from {origin}: no such file or folder")
    if len(known.files) > 1 or (local is not None and any((local / file.name).exists() for file in known.files)):
        return [(file, f"{origin.rstrip('/')}/{file.name}") for file in known.files]
    name = local.name if local is not None else PurePosixPath(unquote(urlsplit(origin).path)).name
    safe = re.sub(r"[^\w.-]", "_", name).lstrip(".") or known.name
    return [(known.files[0] if known.files else File(safe), origin)]


def _obtain(file: File, where: str, downloads: Path, watch: Watch) -> Path:
    """The file or folder on this disk, with the size and the checksum that are known. A local one stays where it is."""
    path = downloads / file.name if "://" in where else Path(where).expanduser()
    if "://" in where:
        download(where, path, file.size, file.sha256, watch)
    elif not path.exists():
        raise InputError(f"{path}: no such file; all files of the data set are needed")
    try:
        _check_file(path, file)
    except InputError:
        if path.parent == downloads:
            path.unlink()
        raise
    return path


def _lay_out(path: Path, downloads: Path, unpacked: Path, known: Known) -> None:
    """Put what was obtained under `unpacked`, out of its archive if it is in one."""
    if path.is_dir():
        # Contents alone: with the permissions of a folder that is read only, the copy could not be moved or removed.
        for file in filter(Path.is_file, path.rglob("*")):
            target = unpacked / known.name / file.relative_to(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    elif is_archive(path):
        unpack(path, unpacked)
    else:
        folder = unpacked / known.name
        folder.mkdir(parents=True, exist_ok=True)
        if path.parent == downloads:
            path.replace(folder / path.name)
        else:
            shutil.copyfile(path, folder / path.name)


def _found(known: Known, unpacked: Path) -> tuple[Path, str]:
    """The folder that is the data set, and how well it is known to be. Raises InputError where there is none."""
    if known.layout == "raw":
        entries = list(unpacked.iterdir())
        folder = entries[0] if len(entries) == 1 and entries[0].is_dir() else unpacked
        return folder, _verified(known, folder, "")
    folders = list(_data_folders(unpacked))
    if not folders:
        raise InputError(f"{known.name}: what was got holds no data set in a layout that is read here")
    # An archive may hold several data sets: the one that is asked for counts, wherever it lies.
    refused = []
    for folder in sorted(folders, key=lambda folder: folder.name != known.name):
        try:
            return folder, _verified(known, folder, "")
        except InputError as error:
            refused.append(error)
    raise refused[0]


def _data_folders(root: Path) -> Iterator[Path]:
    yield from (folder for folder in [root, *sorted(root.rglob("*/"))] if mmrec.recognises(folder))


def _read(folder: Path) -> Dataset:
    return mmrec.read(folder).check()


def _verified(known: Known, folder: Path, remedy: str) -> str:
    """How well the folder is known to be `known`, in a sentence; InputError, with the remedy, where it is not."""
    try:
        if known.layout == "raw":
            return _verified_files(known, folder)
        return verify(known, _read(folder))
    except InputError as error:
        raise InputError(f"{error}{remedy}") from error


def _verified_files(known: Known, folder: Path) -> str:
    files = known.contents or known.files
    for file in files:
        if not (folder / file.name).is_file():
            raise InputError(f"{folder}: NOT the known {known.name}: it has no {file.name}")
        _check_file(folder / file.name, file)
    if all(file.sha256 for file in files):
        return f"this is {known.title}: the checksums are the known ones"
    return f"these are files by the names of {known.title}, and complete; their checksums are not known"


def _check_file(path: Path, file: File) -> None:
    """Raise InputError unless the file has the size and the checksum that are known, or at least is a whole .gz."""
    import pooch

    if path.is_dir():
        return
    size = path.stat().st_size
    if file.size not in (None, size):
        raise InputError(f"{path}: NOT the known {file.name}: it has {size:,} bytes instead of {file.size:,}")
    if file.sha256 and pooch.file_hash(str(path), alg="sha256") != file.sha256:
        raise InputError(f"{path}: NOT the known {file.name}: its checksum differs")
    if not file.sha256 and path.suffix == ".gz":
        try:
            with gzip.open(path) as stream:  # its own checksum stands at its end
                while stream.read(2**20):
                    pass
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: not a complete .gz file ({error}); get it anew") from error
