"""Modalities on disk, the same in every layout.

<modality>_feat.npy        one row per item id, any float type; read as float32, written as float32
<modality>_neighbours.npz  `neighbours` (items x k, the item itself counted, nearest first) and `cosine`, taken from
                           the original features; where present they define the modality's graph. Optional:
                           `search`, a text (a JSON object) on how they were found. Other members are passed over
"""

import hashlib
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tmfun.dataset import Modality
from tmfun.errors import InputError
from tmfun.formats.files import MOST_IDS

FEATURES, NEIGHBOURS = "_feat.npy", "_neighbours.npz"
HASHED = 4096  # rows at a time


def read_modalities(folder: Path, supplied: Mapping[str, NDArray[np.float32]] | None = None) -> tuple[Modality, ...]:
    """The modalities of the files in `folder`, by name; `supplied` are features that were read from elsewhere."""
    features = dict(supplied or {})
    for path in sorted(folder.glob(f"*{FEATURES}")):
        name = path.name.removesuffix(FEATURES)
        if name in features:
            raise InputError(f"{path}: the modality '{name}' has features in a table already; keep one of them")
        features[name] = _read_features(path)
    neighbours = {path.name.removesuffix(NEIGHBOURS): _read_neighbours(path) for path in folder.glob(f"*{NEIGHBOURS}")}
    modalities = []
    for name in sorted(features.keys() | neighbours.keys()):
        ids, cosine, search = neighbours.get(name, (None, None, None))
        origin = origin_of(features[name]) if name in features else "as supplied"
        modalities.append(Modality(name, features.get(name), ids, cosine, origin, search))
    return tuple(modalities)


def open_features(folder: Path) -> dict[str, NDArray | None]:
    """The features of each modality with a file in `folder`, by name: opened and not read, for they may be larger than
    memory; None where there are neighbours only."""
    found: dict[str, NDArray | None] = {
        path.name.removesuffix(NEIGHBOURS): None for path in folder.glob(f"*{NEIGHBOURS}")
    }
    for path in folder.glob(f"*{FEATURES}"):
        try:  # copied on writing, as torch takes no array that cannot be written
            found[path.name.removesuffix(FEATURES)] = np.lib.format.open_memmap(path, mode="c")
        except Exception as error:  # as many kinds as below
            raise InputError(f"{path}: not a complete numpy file ({' '.join(str(error).split())})") from error
    return dict(sorted(found.items()))


def write_modalities(modalities: tuple[Modality, ...], folder: Path, features: bool = True) -> None:
    """Write the files of `modalities` into `folder`; without `features`, those of the neighbours only."""
    for modality in modalities:
        if features and modality.features is not None:
            np.save(folder / f"{modality.name}{FEATURES}", modality.features)
        if modality.neighbours is not None and modality.cosine is not None:
            with (folder / f"{modality.name}{NEIGHBOURS}").open("wb") as stream:
                write_neighbours(stream, modality.neighbours, modality.cosine, modality.search)


def write_neighbours(
    stream: IO[bytes], neighbours: NDArray[np.int32], cosine: NDArray[np.float32], search: str | None
) -> None:
    """Write a neighbours file; the same arguments give the same bytes."""
    arrays: dict[str, Any] = {"neighbours": neighbours, "cosine": cosine}
    if search is not None:
        arrays["search"] = np.array(search)
    np.savez_compressed(stream, **arrays)


def check_items(items: int, modalities: tuple[Modality, ...], where: Path, what: str) -> None:
    """Raise InputError where every modality has the same number of rows, and an item id, a `what`, lies beyond it."""
    rows = {len(array) for m in modalities for array in (m.features, m.neighbours) if array is not None and array.ndim}
    if len(rows) == 1 and (count := rows.pop()) < items:
        raise InputError(f"{where}: {what} {items - 1} is out of range: the modality files have {count} rows")


def origin_of(features: NDArray[np.float32]) -> str:
    """ "proxy" or "original" for features whose hash is known, else "as supplied"."""
    return _known_features().get(features_hash(features), "as supplied")


def features_hash(features: NDArray[np.float32]) -> str:
    """SHA-256 of the shape and the float32 values, row by row."""
    digest = hashlib.sha256(f"{features.shape}".encode())
    for first in range(0, len(features), HASHED):  # they may be larger than memory
        digest.update(np.ascontiguousarray(features[first : first + HASHED], dtype="<f4").tobytes())
    return digest.hexdigest()


def _read_features(path: Path) -> NDArray[np.float32]:
    features = _load(path)["array"]
    if not np.issubdtype(features.dtype, np.floating):
        raise InputError(f"{path}: features of type {features.dtype}; floating-point numbers are needed")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, which the check refuses
        return np.ascontiguousarray(features, dtype=np.float32)


def _read_neighbours(path: Path) -> tuple[NDArray[np.int32], NDArray[np.float32], str | None]:
    archive = _load(path, ("neighbours", "cosine"), optional=("search",))
    for member, kind in (("neighbours", np.integer), ("cosine", np.floating)):
        if archive[member].ndim != 2 or not np.issubdtype(archive[member].dtype, kind):
            raise InputError(f"{path}: {member} must be {kind.__name__} numbers in two dimensions, items x k")
    neighbours = archive["neighbours"].clip(-1, MOST_IDS).astype(np.int32)  # out of range stays out of range
    search = archive.get("search")
    told = str(search) if search is not None and search.ndim == 0 and search.dtype.kind == "U" else None
    return neighbours, archive["cosine"].astype(np.float32), told


def _load(path: Path, members: tuple[str, ...] = (), optional: tuple[str, ...] = ()) -> dict[str, NDArray]:
    """The named members of an .npz, with the `optional` ones it has, or an .npy as `array`; never a pickle."""
    try:
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray) == bool(members):
                raise InputError(f"{path}: {'an .npy' if members else 'an .npz'} file under the other's name")
            if not members:
                return {"array": loaded}
            absent = [member for member in members if member not in loaded.files]
            if absent:
                raise InputError(f"{path}: the array '{absent[0]}' is missing")
            return {member: loaded[member] for member in (*members, *(o for o in optional if o in loaded.files))}
    except InputError:
        raise
    except Exception as error:  # numpy, zipfile and tokenize raise a dozen kinds, depending on the damaged byte
        raise InputError(f"{path}: not a complete numpy file ({' '.join(str(error).split())})") from error


@cache
def _known_features() -> dict[str, str]:
    with (Path(__file__).parent / "known_features.toml").open("rb") as stream:
        return {entry["sha256"]: entry["origin"] for entry in tomllib.load(stream)["features"]}
