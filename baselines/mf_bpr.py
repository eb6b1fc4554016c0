"""MF-BPR: matrix factorisation trained on pairs.

Rendle et al., "BPR: Bayesian personalized ranking from implicit feedback", UAI 2009:

    score(u, i) = e_u . e_i,   loss = -ln sigmoid(score(u, i) - score(u, j)) + L2

Defaults: d is that of all models here. The weight of the L2 term was looked at on Amazon Baby with one seed, by
validation Recall@20: .0593 at 1e-2, .0756 at 1e-1, which is kept.

Deviations
1. One weight of the L2 term, where the paper has one each for users, positive and negative items.
2. Adam on shuffled batches, each training pair once an epoch, where the paper takes single steps on pairs drawn anew.
"""

from dataclasses import dataclass

from torch import Tensor

from tmfun.dataset import Dataset
from tmfun.recommender import Batch, PairwiseRecommender, pairwise_loss_of_rows
from tmfun.settings import setting
from tmfun.streams import xavier


@dataclass(frozen=True)
class Settings:
    dimension: int = setting(64, least=1)
    l2: float = setting(1e-1, least=0, per_run=True)


class MFBPR(PairwiseRecommender):
    title = "MF-BPR"
    settings_type = Settings
    stackable = True
    row_wise = ("user_embedding", "item_embedding")

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        self.user_embedding = xavier(seed, "user_embedding", dataset.users, settings.dimension)
        self.item_embedding = xavier(seed, "item_embedding", dataset.items, settings.dimension)

    def loss(self, batch: Batch) -> Tensor:
        u = self.rows(self.user_embedding, batch.users)
        i, j = (self.rows(self.item_embedding, items) for items in (batch.positives, batch.negatives))
        return pairwise_loss_of_rows(u, i, j, self.settings.l2)

    def representations(self) -> tuple[Tensor, Tensor]:
        return self.user_embedding, self.item_embedding
