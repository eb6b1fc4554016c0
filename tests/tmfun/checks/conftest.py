"""Generated data sets, and their content laid in another order."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from tmfun.checks.findings import Finding
from tmfun.dataset import Dataset, Modality
from tmfun.formats import synthetic
from tmfun.graphs import modality_neighbours


class Workshop:
    """What the tests of the checks share."""

    @staticmethod
    @cache
    def generated(**changes: object) -> Dataset:
        """A set of 500 users and 400 items with signal in image and text, and what is changed in it."""
        settings = {"users": 500, "items": 400, **changes}
        return synthetic.generate("synthetic[" + ",".join(f"{key}={value}" for key, value in settings.items()) + "]")

    @staticmethod
    def with_file(modality: Modality, k: int = 10) -> Modality:
        """The modality with the neighbours file that its features make."""
        ids, cosine = modality_neighbours(modality, k)
        return replace(modality, neighbours=ids.astype(np.int32), cosine=cosine.clip(-1, 1))

    @staticmethod
    def laid(modality: Modality, order: NDArray, features: bool = True, neighbours: bool = True) -> Modality:
        """Row r holds the content of item order[r], in the features, in the neighbours file, or in both."""
        if features and modality.features is not None:
            modality = replace(modality, features=modality.features[order])
        if neighbours and modality.neighbours is not None and modality.cosine is not None:
            row = np.zeros(len(order), np.int64)
            row[order] = np.arange(len(order))  # of every item
            ids = row[modality.neighbours[order]].astype(np.int32)
            modality = replace(modality, neighbours=ids, cosine=modality.cosine[order])
        return modality

    @staticmethod
    def moved(items: int, rows: int) -> NDArray:
        """The order in which row r holds the content of item r - rows."""
        return (np.arange(items) - rows) % items

    @staticmethod
    def find(findings: list[Finding], what: str, about: str = "") -> Finding:
        """The one finding on `what`, which may be followed by ` of ...`."""
        (found,) = [f for f in findings if (f.what == what or f.what.startswith(f"{what} of ")) and about in f.about]
        return found


@pytest.fixture(scope="session")
def shop() -> type[Workshop]:
    """What the tests of the checks share."""
    return Workshop


@pytest.fixture(scope="session")
def strong() -> Dataset:
    """A generated set with a neighbours file for image."""
    base = Workshop.generated()
    return base.with_modalities(Workshop.with_file(base.modality("image")), base.modality("text"))
