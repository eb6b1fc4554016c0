"""One file over HTTP: a cut download goes on where it stopped, and nothing is taken for a file that is not it.

pooch keeps a file under a temporary name until its checksum is right. It cannot go on with a part of a file, so the
transfer itself is done here (RFC 9110, section 14 on range requests, and 13.1.5 on If-Range).
"""

import logging
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tmfun.errors import InputError

if TYPE_CHECKING:
    import requests

CHUNK = 2**18
TIMEOUT = (20, 60)  # seconds to connect, and without a byte
TRIES = 20  # of a transfer that is cut, but goes on each time
PAUSE = 1.0  # seconds before going on

Watch = Callable[[str, int, int | None], None]  # file name, bytes so far, bytes in all if known


class UnreachableError(Exception):
    """A source gave nothing, or not all: one sentence on why. What arrived is kept, and the next call goes on."""


class _CutError(Exception):
    """The transfer broke off, or has to begin anew."""


def download(url: str, file: Path, size: int | None, sha256: str | None, watch: Watch) -> None:
    """Download `url` to `file`, unless it is there with the right checksum; a part is kept as `<file>.part`.

    Raises UnreachableError where the source gives nothing or not all of it, and InputError, leaving nothing, where
    what it gives has not the size (bytes) or the checksum that is known.
    """
    import pooch
    import requests

    def transfer(url: str, output_file: str, _: object) -> None:
        part = file.with_name(f"{file.name}.part")
        _complete(url, part, size, sha256 is not None, watch)
        part.replace(output_file)

    pooch.get_logger().setLevel(logging.WARNING)
    try:
        known_hash = f"sha256:{sha256}" if sha256 else None
        pooch.retrieve(url, known_hash, file.name, file.parent, downloader=transfer)
    except requests.TooManyRedirects as error:
        raise UnreachableError(f"{url}: leads from one address to the next without end") from error
    except requests.RequestException as error:
        raise UnreachableError(f"{url}: cannot be reached ({_reason(error)})") from error
    except ValueError as error:  # pooch's word for a wrong checksum
        raise InputError(
            f"{url}: what lies there is NOT {file.name}: its checksum differs from the known one"
        ) from error


def _complete(url: str, part: Path, size: int | None, checked: bool, watch: Watch) -> None:
    """Transfer into `part`, again as long as each try brings something. `checked`: a checksum is known."""
    note = part.with_name(f"{part.name}.from")  # the part's address and version
    anew = False
    for _ in range(TRIES):
        before = _length(part)
        try:
            _transfer(url, part, note, size, checked, watch)
            note.unlink(missing_ok=True)
            return
        except _CutError as error:
            cut = error
        if before and not anew and not part.exists():
            anew = True  # once
        elif _length(part) <= before:
            break
        time.sleep(PAUSE)
    raise UnreachableError(f"{url}: {cut}; {_length(part):,} bytes are kept, and the same command goes on from there")


def _transfer(url: str, part: Path, note: Path, size: int | None, checked: bool, watch: Watch) -> None:
    """One request and its answer, added to `part`."""
    import requests
    import urllib3

    start = _length(part)
    noted, _, version = note.read_text(encoding="utf-8").partition("\n") if note.exists() else ("", "", "")
    version = version if noted == url else ""
    if not (version or checked) or (size is not None and start >= size):
        start = 0  # nothing would tell if parts of two versions were put together
    headers = {"Accept-Encoding": "identity"}  # a .gz is neither to be wrapped again nor to be unwrapped
    if start:
        headers |= {"Range": f"bytes={start}-", **({"If-Range": version} if version else {})}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        refuse_downgrade([step.url for step in [*answer.history, answer]])
        if answer.status_code == 416 and start and _span(answer)[1] == start:
            return  # all of it is here
        start, total = _placed(url, answer, part, start, version)
        if size is not None and total not in (None, size):
            raise _another(url, part, note, f"has {total:,} bytes instead of {size:,}")
        room = shutil.disk_usage(part.parent).free
        if total is not None and total - start > room:
            raise InputError(f"{part.parent}: {total - start:,} bytes are to come, and there is room for {room:,}")
        if not start:
            part.unlink(missing_ok=True)  # before the note: it must never be that of another version
            note.write_text(f"{url}\n{_version(answer.headers)}", encoding="utf-8")
        done = start
        try:
            with part.open("ab" if start else "wb") as stream:
                for chunk in answer.raw.stream(CHUNK, decode_content=False):
                    stream.write(chunk)
                    done += len(chunk)
                    watch(part.stem, done, total or size)
                    if size is not None and done > size:
                        break
        except (urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
            raise _CutError("the connection was cut") from error
    if done < (total or size or 0):
        raise _CutError("the connection was cut")
    if size is not None and done > size:
        raise _another(url, part, note, f"has more than the {size:,} bytes that are known")


def _another(url: str, part: Path, note: Path, how: str) -> InputError:
    """The error for what is another file than was wanted, of which nothing is kept."""
    part.unlink(missing_ok=True)
    note.unlink(missing_ok=True)
    return InputError(f"{url}: what lies there is NOT {part.stem}: it {how}")


def _placed(url: str, answer: "requests.Response", part: Path, start: int, version: str) -> tuple[int, int | None]:
    """Where the answer's bytes begin in the file, and how long that is if known; raises for an answer without them."""
    if answer.status_code not in (200, 206, 416) or (answer.status_code == 416 and not start):
        raise UnreachableError(f"{url}: the server answers {answer.status_code} {answer.reason}")
    if answer.status_code == 200 and answer.headers.get("Content-Type", "").startswith("text/html"):
        raise UnreachableError(f"{url}: leads to a web page, not to a file; it may take a browser")
    if answer.status_code == 200:  # all of it, whether a part was asked for or not
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    first, total = _span(answer)
    same = not version or _version(answer.headers) in ("", version)
    if answer.status_code == 206 and start and first == start and same:
        return start, total
    part.unlink(missing_ok=True)
    raise _CutError("the server does not go on with the part that is here")


def _span(answer: "requests.Response") -> tuple[int | None, int | None]:
    """From the header Content-Range: the first byte of the answer, and the length of the file, where they are told."""
    span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", answer.headers.get("Content-Range", ""))
    first, total = span.groups() if span else (None, None)
    return int(first) if first else None, int(total) if total else None


def refuse_downgrade(hops: list[str]) -> None:
    """Raise UnreachableError where these redirects lead from https back to http: what comes could be anybody's."""
    schemes = [urlsplit(hop).scheme for hop in hops]
    if "https" in schemes and "http" in schemes[schemes.index("https") :]:
        raise UnreachableError(f"{hops[0]}: leads from https back to http ({hops[-1]}), which is not followed")


def _version(headers: Mapping[str, str]) -> str:
    """What If-Range can be asked with: a strong ETag, or the date of the last change."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified", "")


def _length(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _reason(error: BaseException) -> str:
    """The first cause of an error: `Connection refused` rather than all that was made of it on its way."""
    while error.__context__ is not None:
        error = error.__context__
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
