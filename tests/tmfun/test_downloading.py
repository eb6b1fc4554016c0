"""Downloads that are cut, refused, misled and lied to."""

import gzip
import hashlib
import socket
from pathlib import Path
from typing import Any

import pytest

from tmfun import downloading
from tmfun.downloading import UnreachableError, download, refuse_downgrade
from tmfun.errors import InputError

BODY = bytes(range(256)) * 40
SHA256 = hashlib.sha256(BODY).hexdigest()
TAG = {"ETag": '"first"'}


class Seen(list):
    def __call__(self, name: str, done: int, total: int | None) -> None:
        self.append((name, done, total))


def get(url: str, folder: Path, size: int | None = None, sha256: str | None = None) -> Seen:
    seen = Seen()
    download(url, folder / "file.bin", size, sha256, seen)
    return seen


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ranges(web: Any) -> list[str | None]:
    return [headers.get("Range") for _, headers in web.asked]


@pytest.mark.parametrize("size", [None, len(BODY)])
@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_file_arrives_whole_and_alone(web, tmp_path: Path, size: int | None, sha256: str | None) -> None:
    seen = get(web.put("file", BODY), tmp_path, size, sha256)
    assert (tmp_path / "file.bin").read_bytes() == BODY and left(tmp_path) == ["file.bin"]
    assert seen[-1] == ("file.bin", len(BODY), len(BODY))


def test_what_is_there_with_the_right_checksum_is_not_downloaded_again(web, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(BODY)
    get(web.put("file", BODY), tmp_path, len(BODY), SHA256)
    assert web.asked == []


def test_a_wrong_checksum_leaves_nothing(web, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"NOT file\.bin: its checksum differs"):
        get(web.put("file", BODY[::-1]), tmp_path, len(BODY), SHA256)
    assert left(tmp_path) == []


@pytest.mark.parametrize("body, declared", [(BODY + b"x", None), (BODY[:-1], None), (BODY + b"x", 0)])
def test_a_wrong_size_leaves_nothing(web, tmp_path: Path, body: bytes, declared: int | None) -> None:
    with pytest.raises(InputError, match=r"NOT file\.bin: it has "):
        get(web.put("file", body, declared=declared), tmp_path, len(BODY))
    assert left(tmp_path) == []


def test_an_end_before_the_known_size_is_a_cut(web, tmp_path: Path) -> None:
    url = web.put("file", BODY, declared=0, headers=TAG, cuts=[1000])
    get(url, tmp_path, len(BODY))
    assert (tmp_path / "file.bin").read_bytes() == BODY and ranges(web) == [None, "bytes=1000-"]


def test_a_length_that_promises_less_than_there_is_gives_a_file_that_the_checksum_refuses(web, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="checksum differs"):
        get(web.put("file", BODY, declared=100), tmp_path, None, SHA256)
    assert left(tmp_path) == []


def test_a_length_that_promises_more_than_comes_is_a_cut_and_the_rest_is_asked_for(web, tmp_path: Path) -> None:
    get(web.put("file", BODY, declared=len(BODY) + 50, headers=TAG), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == BODY, "the server said on the second question that this is all"
    assert ranges(web) == [None, f"bytes={len(BODY)}-"]


def test_a_cut_download_goes_on_by_itself_while_it_gets_on(web, tmp_path: Path) -> None:
    url = web.put("file", BODY, headers=TAG, cuts=[1000, 2000, 3000])
    get(url, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == BODY and left(tmp_path) == ["file.bin"]
    assert ranges(web) == [None, "bytes=1000-", "bytes=3000-", "bytes=6000-"]
    assert [headers.get("If-Range") for _, headers in web.asked[1:]] == ['"first"'] * 3


@pytest.mark.parametrize("headers", [TAG, {"Last-Modified": "Mon, 05 May 2014 10:00:00 GMT"}])
def test_the_next_call_goes_on_where_a_cut_one_stopped(web, tmp_path: Path, headers: dict[str, str]) -> None:
    url = web.put("file", BODY, headers=headers, cuts=[1000, 0])
    with pytest.raises(UnreachableError, match="the connection was cut; 1,000 bytes are kept"):
        get(url, tmp_path)
    assert left(tmp_path) == ["file.bin.part", "file.bin.part.from"]
    seen = get(url, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == BODY and left(tmp_path) == ["file.bin"]
    assert ranges(web)[-1] == "bytes=1000-" and seen[0][1] > 1000


@pytest.mark.parametrize("if_range", [True, False])
def test_a_part_of_an_older_version_is_dropped(web, tmp_path: Path, if_range: bool) -> None:
    url = web.put("file", BODY, headers=TAG, cuts=[1000, 0])
    with pytest.raises(UnreachableError):
        get(url, tmp_path)
    web.put("file", BODY[::-1], headers={"ETag": '"second"'}, if_range=if_range)
    get(url, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == BODY[::-1]


def test_a_part_from_another_address_is_dropped_unless_a_checksum_will_tell(web, tmp_path: Path) -> None:
    first, second = web.put("one", BODY, headers=TAG, cuts=[1000, 0, 1000, 0]), web.put("two", BODY, headers=TAG)
    for sha256, asked in ((None, None), (SHA256, "bytes=1000-")):
        with pytest.raises(UnreachableError):
            get(first, tmp_path, None, sha256)
        get(second, tmp_path, None, sha256)
        assert ranges(web)[-1] == asked and "If-Range" not in web.asked[-1][1]
        assert (tmp_path / "file.bin").read_bytes() == BODY
        (tmp_path / "file.bin").unlink()


def test_without_a_version_a_part_is_not_gone_on_with(web, tmp_path: Path) -> None:
    url = web.put("file", BODY, cuts=[1000])
    with pytest.raises(UnreachableError):
        get(web.put("file", BODY, headers={"ETag": 'W/"weak"'}, cuts=[1000, 1000]), tmp_path)
    get(url, tmp_path)
    assert set(ranges(web)) == {None} and (tmp_path / "file.bin").read_bytes() == BODY


def test_a_server_without_ranges_begins_anew(web, tmp_path: Path) -> None:
    url = web.put("file", BODY, headers=TAG, ranges=False, cuts=[1000, 500, len(BODY)])
    with pytest.raises(UnreachableError, match="500 bytes are kept"):
        get(url, tmp_path)
    get(url, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert ranges(web) == [None, "bytes=1000-", "bytes=500-"]


def test_a_server_that_answers_with_another_range_is_asked_for_all_of_it(web, tmp_path: Path) -> None:
    get(web.put("file", BODY, headers=TAG, shifted=True, cuts=[1000]), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert ranges(web) == [None, "bytes=1000-", None]


def test_a_part_that_is_longer_than_the_file_is_dropped(web, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(BODY * 2)
    get(web.put("file", BODY), tmp_path, None, SHA256)
    assert (tmp_path / "file.bin").read_bytes() == BODY and ranges(web) == [f"bytes={2 * len(BODY)}-", None]


def test_a_wrong_part_is_found_out_by_the_checksum_and_gone_the_next_time(web, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"not the beginning")
    url = web.put("file", BODY)
    with pytest.raises(InputError, match="checksum"):
        get(url, tmp_path, len(BODY), SHA256)
    get(url, tmp_path, len(BODY), SHA256)
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_it_gives_up_on_a_server_that_always_cuts(web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "TRIES", 3)
    with pytest.raises(UnreachableError, match="30 bytes are kept"):
        get(web.put("file", BODY, headers=TAG, cuts=[10] * 50), tmp_path)
    assert len(web.asked) == 3


def test_compressed_files_stay_as_they_are(web, tmp_path: Path) -> None:
    body = gzip.compress(BODY)
    get(web.put("file.gz", body, headers={"Content-Encoding": "gzip"}), tmp_path, len(body))
    assert (tmp_path / "file.bin").read_bytes() == body
    assert web.asked[0][1]["Accept-Encoding"] == "identity"


def test_redirects_are_followed(web, tmp_path: Path) -> None:
    web.put("file", BODY)
    get(web.put("old", status=302, headers={"Location": "/file"}), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_redirect_without_end_a_foreign_scheme_or_nowhere_is_refused(web, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    for place, reason in (
        ("/loop", "leads from one address to the next without end"),
        (secret.as_uri(), "cannot be reached"),
        ("ftp://127.0.0.1/file", "cannot be reached"),
        ("/nowhere", "the server answers 404 Not Found"),
    ):
        with pytest.raises(UnreachableError, match=reason):
            get(web.put("loop", status=302, headers={"Location": place}), tmp_path)
    assert left(tmp_path) == ["secret"]


def test_leaving_https_is_refused() -> None:
    refuse_downgrade(["http://a/f", "https://a/f", "https://b/f"])
    refuse_downgrade(["http://a/f", "http://b/f"])
    for hops in (["https://a/f", "http://b/f"], ["http://a/f", "https://a/f", "http://b/f"]):
        with pytest.raises(UnreachableError, match="from https back to http"):
            refuse_downgrade(hops)


@pytest.mark.parametrize("status, reason", [(404, "404 Not Found"), (403, "403 Forbidden"), (503, "503 Service")])
def test_an_answer_that_is_none_is_told(web, tmp_path: Path, status: int, reason: str) -> None:
    with pytest.raises(UnreachableError, match=f"the server answers {reason}"):
        get(web.put("file", b"no such thing", status=status), tmp_path)
    assert left(tmp_path) == []


def test_a_web_page_is_not_a_file(web, tmp_path: Path) -> None:
    url = web.put("file", b"<html>sign in</html>", headers={"Content-Type": "text/html; charset=utf-8"})
    with pytest.raises(UnreachableError, match="a web page, not to a file"):
        get(url, tmp_path)
    assert left(tmp_path) == []


def test_nobody_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UnreachableError, match="cannot be reached \\(Connection refused\\)"):
            get(f"http://127.0.0.1:{taken.getsockname()[1]}/file", tmp_path)
    assert left(tmp_path) == []


@pytest.mark.parametrize("url", ["http://", "http://[/file", "http://127.0.0.1:99999/file"])
def test_an_address_that_is_none_is_told(tmp_path: Path, url: str) -> None:
    with pytest.raises(UnreachableError, match="cannot be reached"):
        get(url, tmp_path)


def test_no_room_is_told_before_it_is_filled(web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100})())
    with pytest.raises(InputError, match="10,240 bytes are to come, and there is room for 100"):
        get(web.put("file", BODY), tmp_path)
    assert left(tmp_path) == []
