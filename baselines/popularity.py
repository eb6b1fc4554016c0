"""Popularity: every user is shown the items with the most training interactions.

There is no paper: score(u, i) = |U_i|, for every user the same.

Defaults: none, as there are no settings.

Deviations
1. None, as there is no paper to deviate from.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tmfun.dataset import Dataset
from tmfun.recommender import Recommender


@dataclass(frozen=True)
class Settings:
    """None."""


class Popularity(Recommender):
    title = "Popularity"
    settings_type = Settings
    learned = False

    counts: Tensor

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        self.register_buffer("counts", torch.from_numpy(dataset.degrees()[1]).float())

    def prepare_scores(self) -> None:
        return None

    def scores(self, prepared: Any, users: Tensor) -> Tensor:
        return self.counts.repeat(len(users), 1)
