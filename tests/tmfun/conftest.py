"""A web server on the loopback that behaves as badly as it is told to."""

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Page:
    """What lies at an address, and how it is served."""

    body: bytes = b""
    status: int = 200
    ranges: bool = True
    if_range: bool = True  # whether the condition is heeded
    headers: dict[str, str] = field(default_factory=dict)
    declared: int | None = None  # another Content-Length than the truth; 0: none at all
    cuts: list[int] = field(
        default_factory=list
    )  # of each answer in turn: how many bytes it gives before it breaks off
    shifted: bool = False  # a partial answer begins elsewhere than asked for


class Web:
    """The server: `pages` by path; `asked` lists the paths and headers of all requests so far."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append((self.path, dict(self.headers)))
                web.answer(self)

            def log_message(self, *_: object) -> None:
                """Nothing on stderr: tests read it."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{path}"

    def put(self, path: str, body: bytes = b"", **how) -> str:
        """Lay something at an address; the address."""
        self.pages[f"/{path}"] = Page(body, **how)
        return self.url(path)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        page = self.pages.get(handler.path, Page(status=404))
        status, body, headers = page.status, page.body, dict(page.headers)
        span = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        version = handler.headers.get("If-Range")
        holds = version is None or not page.if_range or version in (headers.get("ETag"), headers.get("Last-Modified"))
        if span and page.ranges and holds and status == 200:
            start, end = int(span[1]), len(body)
            if start >= end:
                status, body, headers = 416, b"", {**headers, "Content-Range": f"bytes */{end}"}
            else:
                first = start - 1 if page.shifted else start
                headers["Content-Range"] = f"bytes {first}-{end - 1}/{end}"
                status, body = 206, body[first:]
        handler.send_response(status)
        if page.declared != 0:
            headers["Content-Length"] = str(page.declared or len(body))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if page.cuts:
            body = body[: page.cuts.pop(0)]
        handler.wfile.write(body)
        handler.close_connection = True

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """The server, reached without a proxy; going on after a cut takes no time."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("tmfun.downloading.PAUSE", 0.0)
    server = Web()
    yield server
    server.close()
