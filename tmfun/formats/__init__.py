"""Data sets by name: where they are looked for, and who reads them.

A name is a synthetic set (`synthetic`, or `synthetic[users=400,signal=0]`) or a folder `<name>` under one of the
places of `TMFUN_DATA` (a path list) or under `data/` of the project, in one of the layouts of `LAYOUTS`.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from numpy.typing import NDArray

from tmfun import PROJECT
from tmfun.dataset import Dataset
from tmfun.errors import InputError
from tmfun.formats import lattice, mmrec, recbole, synthetic
from tmfun.formats.modalities import open_features


class Layout(Protocol):
    """What a module in this folder offers for its layout on disk."""

    def recognises(self, folder: Path) -> bool:
        """Whether the folder looks like this layout."""

    def read(self, folder: Path) -> Dataset:
        """The data set in `folder`. Raises InputError for a file that is wrong."""

    def write(self, dataset: Dataset, folder: Path) -> None:
        """Write `dataset` as the new folder `folder`: all of it or, with an InputError, nothing."""

    def losses(self, dataset: Dataset) -> tuple[str, ...]:
        """What of the data set this layout cannot hold."""


LAYOUTS: dict[str, Layout] = {"recbole": recbole, "mmrec": mmrec, "lattice": lattice}  # the first that recognises reads


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
            for folder in sorted(place.iterdir()):
                if folder.name[0] != "." and (layout := layout_of(folder)):  # with a dot: one that is being written
                    found.setdefault(folder.name, Found(folder.name, folder, layout))
    return list(found.values())


def find(name: str) -> Found | None:
    """The data set called `name`, or None if no place has it."""
    if synthetic.is_synthetic(name):
        return Found(name, None, "synthetic")
    for place in places():
        if layout := layout_of(place / name):
            return Found(name, place / name, layout)
    return None


def load(name: str) -> Dataset:
    """Load and check the data set called `name`. Raises InputError where it is missing or wrong."""
    found = find(name)
    if found is None:
        raise InputError(missing(name))
    return synthetic.generate(name).check() if found.path is None else read(found.path)


def read(folder: Path) -> Dataset:
    """Read and check the data set in `folder`. Raises InputError where there is none, or it is wrong."""
    folder = folder.absolute()  # `.` has no name
    layout = layout_of(folder)
    if layout is None:
        raise InputError(f"{folder}: no data set in any of the layouts {', '.join(LAYOUTS)}")
    return LAYOUTS[layout].read(folder).check()


def features(folder: Path) -> dict[str, NDArray | None]:
    """The features of each modality of the data set in `folder`, by name; None where there are neighbours only.

    Files of features are opened, not read; in RecBole's layout features may stand in a table, and that is read.
    """
    if layout_of(folder) == "recbole":
        return {modality.name: modality.features for modality in recbole.read(folder).modalities}
    return open_features(folder)


def layout_of(folder: Path) -> str | None:
    """The name of the layout that `folder` looks like, or None."""
    return next((name for name, layout in LAYOUTS.items() if layout.recognises(folder)), None)


def unchecked(name: str) -> Dataset:
    """The data set called `name`, or in the folder `name`, as it was read: anything that `load` would refuse may be
    wrong with it. Raises InputError where it is missing or cannot be read."""
    found = find(name) or find(str(Path(name).absolute()))
    if found is None:
        raise InputError(missing(name))
    return synthetic.generate(name) if found.path is None else LAYOUTS[found.layout].read(found.path)


def missing(name: str) -> str:
    """One sentence on a data set that is not here, and how to get it here."""
    searched = ", ".join(str(place) for place in places())
    return (
        f"no data set '{name}' (searched: {searched}); put a folder '{name}' there, in one of the layouts"
        f" {', '.join(LAYOUTS)}, or set TMFUN_DATA to the folder that holds it (`tmfun data list` shows what is found)"
    )
