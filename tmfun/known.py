"""Data sets that are known by name (known.toml): where they are published, and how they are recognised."""

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from tmfun.dataset import Dataset
from tmfun.errors import InputError
from tmfun.fingerprint import Fingerprint, counts, fingerprint
from tmfun.settings import read_settings, unknown

REGISTRY = Path(__file__).parent / "known.toml"


@dataclass(frozen=True)
class Source:
    """Who publishes data sets, and where; known.toml says what its keys mean."""

    url: str
    holds: str
    licence: str
    seen: str
    browser: bool
    checked: bool


@dataclass(frozen=True)
class File:
    """A file below the source's address; None where size (bytes) or checksum is not known."""

    path: str
    size: int | None = None
    sha256: str | None = None

    @property
    def name(self) -> str:
        """What it is called on disk."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Known:
    """A data set that is known by name; None for what is not known of it."""

    name: str
    title: str
    layout: Literal["mmrec", "lattice", "raw"] | None = None
    users: int | None = None
    items: int | None = None
    interactions: int | None = None
    fingerprint: tuple[str, ...] = ()
    take: str | None = None
    source: Source | None = None
    files: tuple[File, ...] = ()
    contents: tuple[File, ...] = ()

    @property
    def counts(self) -> tuple[int | None, int | None, int | None]:
        """Users, items, interactions."""
        return self.users, self.items, self.interactions

    @property
    def measured(self) -> Fingerprint | None:
        """Its fingerprint, where somebody has measured it."""
        return Fingerprint(*self.fingerprint) if self.fingerprint else None


@cache
def registry() -> dict[str, Known]:
    """All known data sets by name."""
    with REGISTRY.open("rb") as stream:
        table = tomllib.load(stream)
    sources = {
        name: read_settings(Source, entry, f"{REGISTRY.name}: {name}") for name, entry in table["sources"].items()
    }
    return {name: _read(name, entry, sources) for name, entry in table["datasets"].items()}


def _read(name: str, entry: dict[str, Any], sources: dict[str, Source]) -> Known:
    where = f"{REGISTRY.name}: {name}"
    nested = {"files", "contents", "source"}
    known = read_settings(Known, {"name": name, **{k: v for k, v in entry.items() if k not in nested}}, where)
    files, contents = (
        tuple(read_settings(File, file, where) for file in entry.get(key, ())) for key in ("files", "contents")
    )
    return replace(
        known, files=files, contents=contents, source=sources[entry["source"]] if "source" in entry else None
    )


def named(name: str) -> Known:
    """The known data set called `name`. Raises InputError for a name that is not known."""
    if name not in registry():
        raise unknown("data set", name, registry())
    return registry()[name]


@dataclass(frozen=True)
class Recognised:
    """What a data set was found to be, or to share its interactions with, in another split."""

    known: Known
    same_split: bool

    def __str__(self) -> str:
        return self.known.title if self.same_split else f"the interactions of {self.known.name} in another split"


def recognise(dataset: Dataset) -> Recognised | None:
    """Which known data set this is, by its fingerprint, which is computed only where the counts are those of one."""
    size = counts(dataset)
    candidates = [known for known in registry().values() if known.measured and known.counts == size]
    if not candidates:
        return None
    found = fingerprint(dataset)
    alike = [known for known in candidates if known.fingerprint[0] == found.interactions]
    exact = [known for known in alike if known.measured == found]
    return Recognised((exact or alike)[0], bool(exact)) if alike else None


def verify(known: Known, dataset: Dataset) -> str:
    """One sentence on how well the data set is known to be `known`. Raises InputError where it is another."""
    size = counts(dataset)
    counted = "{:,} users, {:,} items, {:,} interactions".format(*size)
    if size != known.counts:
        due = "{:,} users, {:,} items, {:,} interactions".format(*known.counts)
        raise InputError(f"{dataset.where}: NOT the known {known.name}: it has {counted}, and that one has {due}")
    found = recognise(dataset)
    other = f"; it is {found}" if found else ""
    if found and found.same_split and found.known != known:
        raise InputError(f"{dataset.where}: NOT the known {known.name}: it is {found}")
    if known.measured is None:
        return f"the counts are those of {known.title} ({counted}); its fingerprint is not known{other}"
    if found is None or not found.same_split:
        raise InputError(
            f"{dataset.where}: NOT the known {known.name}: its fingerprint differs ({counted}, as it should be){other}"
        )
    return f"this is {known.title}, recognised by its fingerprint ({counted})"
