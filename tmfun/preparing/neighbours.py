"""A modality's neighbours file, made from its features: searched exactly, as models do themselves, or approximately.

What the file says on how it was found (`search`, a JSON object): search ("exact" or "approximate"), k, items and width,
the SHA-256 of the features (`formats.modalities.features_hash`), versions; of an approximate search also its index and
parameters, and the recall that was measured on `recall_rows` rows.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tmfun import __version__
from tmfun.errors import InputError
from tmfun.formats.files import new_file
from tmfun.formats.modalities import features_hash, write_neighbours
from tmfun.graphs import nearest
from tmfun.preparing import approximate
from tmfun.preparing.approximate import Found, UnitRows
from tmfun.preparing.raw import Tell


def make(
    features: NDArray,
    k: int,
    path: Path,
    tell: Tell,
    *,
    probes: int | None = None,
    replacing: bool = False,
) -> dict[str, Any]:
    """Write the k nearest items of each item, itself counted, to the neighbours file `path`; returns what it says.

    features  (items, width), any float type, in memory or opened
    probes    of the approximate search; None: the search is exact

    Raises InputError where the features or k are wrong, or the file cannot be written; then `path` is as it was.
    """
    rows = UnitRows(features)
    if k > rows.items:
        raise InputError(f"{k} neighbours wanted, but there are {rows.items} items; lower --k")
    with new_file(path, replacing) as stream:  # opened before hours of searching
        found = _exact(features, k) if probes is None else approximate.search(rows, k, tell, probes)
        how = found.how | {
            "k": k,
            "items": rows.items,
            "width": rows.width,
            "features_sha256": features_hash(features),
            "tmfun": __version__,
        }
        write_neighbours(stream, found.neighbours, found.cosine, json.dumps(how))
    return how


def _exact(features: NDArray, k: int) -> Found:
    """The search of models."""
    whole = np.ascontiguousarray(features, dtype=np.float32)
    ids, cosine = nearest(torch.from_numpy(whole), k)
    how = {"search": "exact", "library": f"torch {torch.__version__}"}
    return Found(ids.numpy().astype(np.int32), cosine.numpy(), how)
