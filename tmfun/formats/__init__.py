"""Data sets by name: where they are looked for, and who reads them.

A name is a synthetic set (`synthetic`, or `synthetic[users=400,signal=0]`) or a folder `<name>` under one of the
places of `TMFUN_DATA` (a path list) or under `data/` of the project.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from tmfun import PROJECT
from tmfun.dataset import Dataset
from tmfun.errors import InputError
from tmfun.formats import mmrec, synthetic


@dataclass(frozen=True)
class Found:
    """A data set that can be loaded: its name, where it lies (None: generated), and the layout."""

    name: str
    path: Path | None
    layout: str


def places() -> list[Path]:
    """The folders searched for data sets, in order."""
    listed = [Path(entry).expanduser() for entry in os.environ.get("TMFUN_DATA", "").split(os.pathsep) if entry]
    return [*listed, PROJECT / "data"]


def available() -> list[Found]:
    """Every data set that can be loaded here in seconds, synthetic ones first; of equal names the first place wins."""
    found = {name: Found(name, None, "synthetic") for name in synthetic.PRESETS if not synthetic.is_large(name)}
    for place in places():
        if place.is_dir():
            for folder in sorted(entry for entry in place.iterdir() if entry.is_dir() and mmrec.recognises(entry)):
                found.setdefault(folder.name, Found(folder.name, folder, "mmrec"))
    return list(found.values())


def find(name: str) -> Found | None:
    """The data set called `name`, or None if no place has it."""
    if synthetic.is_synthetic(name):
        return Found(name, None, "synthetic")
    for place in places():
        if mmrec.recognises(place / name):
            return Found(name, place / name, "mmrec")
    return None


def load(name: str) -> Dataset:
    """Load and check the data set called `name`. Raises InputError where it is missing or wrong."""
    found = find(name)
    if found is None:
        raise InputError(missing(name))
    dataset = synthetic.generate(name) if found.path is None else mmrec.read(found.path)
    return dataset.check()


def missing(name: str) -> str:
    """One sentence on a data set that is not here, and how to get it here."""
    searched = ", ".join(str(place) for place in places())
    return (
        f"no data set '{name}' (searched: {searched}); put a folder '{name}' with {name}.inter there, or set"
        " TMFUN_DATA to the folder that holds it (`tmfun data list` shows what is found)"
    )
