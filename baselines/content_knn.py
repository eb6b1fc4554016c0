"""Content kNN: score(u, i) = sum over the user's items j of sim(i, j), where only content says what is similar.

Ferrari Dacrema et al., "Are we really making much progress?", RecSys 2019, call it ItemKNN-CBF: the neighbourhood
recommender on item features. With cos_m the cosine of the raw features of modality m:

    sim_m(i, j) = max(cos_m(i, j), 0) where j is among i's `neighbours` nearest (a neighbours file defines them), else 0
    sim(i, j)   = sum over the chosen modalities of sim_m(i, j)

It shows what content is worth on its own: nobody's interactions but the user's own are used.

Defaults: all modalities, and the k = 10 of the item graphs here.

Deviations
1. No shrinkage: dense features have no count of shared ones to shrink by.
2. The item itself is counted among its neighbours, as in those graphs; it scores the user's own items only, which are
   no candidates.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from tmfun.dataset import Card, Dataset, Modality
from tmfun.graphs import modality_neighbours
from tmfun.recommender import Recommender
from tmfun.settings import setting


@dataclass(frozen=True)
class Settings:
    modalities: Literal["all"] | tuple[str, ...] = "all"
    neighbours: int = setting(10, least=1)  # the item itself counted


class ContentKNN(Recommender):
    title = "Content kNN"
    settings_type = Settings
    learned = False
    content = True

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        ones = np.ones(len(dataset.train), dtype=np.float32)
        self.history = sp.csr_array((ones, dataset.train.T), shape=(dataset.users, dataset.items))
        self.similarity = sp.csr_array((dataset.items, dataset.items), dtype=np.float32)  # row i: neighbours of i
        for modality in dataset.modalities:
            if _chosen(modality.name, settings):
                self.similarity += item_similarity(modality, settings.neighbours)

    @classmethod
    def unusable(cls, card: Card, settings: Settings) -> str | None:
        known = [modality.name for modality in card.modalities]
        absent = [name for name in settings.modalities if name not in known] if settings.modalities != "all" else []
        if absent:
            return f"the data set has no modality '{absent[0]}'"
        if not settings.modalities:
            return "no modality is chosen"
        chosen = known if settings.modalities == "all" else settings.modalities
        return super().unusable(card, settings) or card.too_narrow(settings.neighbours, chosen)

    @classmethod
    def reads(cls, card: Card, settings: Settings) -> list[str]:
        """Features are read only where no neighbours file stands in for them."""
        return [m.name for m in card.modalities if m.neighbours is None and _chosen(m.name, settings)]

    def prepare_scores(self) -> sp.csr_array:
        return sp.csr_array(self.similarity.T)

    def scores(self, prepared: Any, users: Tensor) -> Tensor:
        scores = (self.history[users.cpu().numpy()] @ prepared).toarray()
        return torch.from_numpy(scores).to(users.device)


def item_similarity(modality: Modality, neighbours: int) -> sp.csr_array:
    """sim_m: the cosine of each item's nearest neighbours, negative ones as 0, (items, items)."""
    ids, cosines = modality_neighbours(modality, neighbours)
    items, k = ids.shape
    rows = np.repeat(np.arange(items), k)
    values = cosines.ravel().clip(min=0).astype(np.float32)
    return sp.csr_array((values, (rows, ids.ravel())), shape=(items, items))


def _chosen(name: str, settings: Settings) -> bool:
    return settings.modalities == "all" or name in settings.modalities
