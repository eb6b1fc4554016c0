"""A web server on the loopback that behaves as badly as it is told to, and raw files as publishers lay them out."""

import gzip
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

WIDTH = 4096


@dataclass
class RawAmazon:
    """A category: what stands in its files, and how to write them."""

    reviews: list[dict[str, Any]]
    meta: list[dict[str, Any]]
    images: list[tuple[str, np.ndarray]]

    def write(
        self,
        folder: Path,
        category: str = "Baby",
        literal: bool = False,
        compress: bool = True,
        seed: int | None = None,
    ) -> Path:
        """The three files; `literal` writes reviews as literals of Python, `seed` shuffles the lines of all files."""
        folder.mkdir(parents=True, exist_ok=True)
        rng = None if seed is None else np.random.default_rng(seed)
        for name, records, style in (
            (f"reviews_{category}_5.json", self.reviews, repr if literal else json.dumps),
            (f"meta_{category}.json", self.meta, repr),
        ):
            lines = [style(record) + "\n" for record in records]
            if rng is not None:
                rng.shuffle(lines)
            content = "".join(lines).encode()
            path = folder / (f"{name}.gz" if compress else name)
            path.write_bytes(gzip.compress(content, 1) if compress else content)
        images = list(self.images)
        order = range(len(images)) if rng is None else rng.permutation(len(images))
        (folder / f"image_features_{category}.b").write_bytes(
            b"".join(images[i][0].encode() + images[i][1].astype("<f4").tobytes() for i in order)
        )
        return folder


def asin(number: int) -> str:
    """Ten characters whose order is not that of `number`."""
    return f"{'B0' if number % 3 else '00'}{number * 7919 % 100000:05d}{number % 1000:03d}"


def review(user: str, item: str, rating: float, time: int, text: str = "good") -> dict[str, Any]:
    """A review with the fields that the files have."""
    return {
        "reviewerID": user,
        "asin": item,
        "reviewerName": 'Zoë "Z" O\'Neil',
        "helpful": [0, 1],
        "reviewText": text,
        "overall": rating,
        "summary": "",
        "unixReviewTime": time,
        "reviewTime": "07 23, 2014",
    }


def make_raw(users: int, items: int, per_user: int, images: int, seed: int = 0) -> RawAmazon:
    """`per_user` reviews of each user of distinct items, metadata of all items and two more, and `images` images."""
    rng = np.random.default_rng(seed)
    reviews = []
    for user in range(users):
        first, step = int(rng.integers(items)), 1 + int(rng.integers(items // per_user))
        for n in range(per_user):
            when, stars = 1_300_000_000 + 86_400 * int(rng.integers(900)), float(rng.integers(1, 6))
            reviews.append(review(f"A{user * 37 % users:05d}X", asin((first + n * step) % items), stars, when))
    meta = [
        {
            "asin": asin(i),
            "title": f"Baby's “Bottle” №{i}",
            "brand": f"Brand{i % 5}",
            "categories": [["Baby", "Feeding"], ["Baby", f"Kind {i % 7}"]],
            "description": f"Soft & warm,\n{i} ml",
            "price": 7.5,
            "related": {"also_bought": [asin(i + 1)]},
        }
        for i in range(items + 2)
    ]
    drawn = rng.standard_normal((images, 8)).astype(np.float32)
    pictures = [(asin(i), np.resize(drawn[i], WIDTH)) for i in range(images)]
    return RawAmazon(reviews, meta, pictures)


@pytest.fixture
def raw() -> RawAmazon:
    """12 users of 6 reviews, 20 items of which 17 have images, and an image of an item that nobody reviewed."""
    made = make_raw(users=12, items=20, per_user=6, images=17)
    seen = {entry["asin"] for entry in made.reviews}
    assert len(seen) == 20
    made.images.append(("9999999999", np.ones(WIDTH, dtype=np.float32)))
    return made


@pytest.fixture
def many_reviews() -> RawAmazon:
    """4,000 users of 25 reviews each, 500 items of which 100 have images."""
    return make_raw(users=4000, items=500, per_user=25, images=100)


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
