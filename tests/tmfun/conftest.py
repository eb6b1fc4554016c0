"""Raw files in the formats in which the Amazon product data of 2014 come."""

import gzip
import json
from dataclasses import dataclass
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
