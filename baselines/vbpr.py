"""VBPR: matrix factorisation with a second inner product on projected content.

He and McAuley, "VBPR: visual Bayesian personalized ranking from implicit feedback", AAAI 2016 (eq. 4):

    score(u, i) = b_i + e_u . e_i + t_u . (W f_i) + c . f_i

f_i is the concatenation of the item's features over all modalities that have them, as in LATTICE's comparison.

Defaults: d is that of all models here, for e and for t. The weight of the L2 term was looked at on Amazon Baby with
one seed, by validation Recall@20: .0621 at 1e-2, .0767 at 1e-1, which is kept.

Deviations
1. The L2 term takes the batch's final rows (e, t, W f and the bias), as all models here do, instead of W and c.
2. User bias and global offset, which change no ranking, are left out.
3. Each modality's features are centred and scaled to unit mean square, so that none dominates by its units.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tmfun.dataset import Card, Dataset
from tmfun.recommender import Batch, PairwiseRecommender, pairwise_loss_of_rows
from tmfun.settings import setting
from tmfun.streams import xavier


@dataclass(frozen=True)
class Settings:
    dimension: int = setting(64, least=1)  # of e, and of t
    l2: float = setting(1e-1, least=0, per_run=True)


class VBPR(PairwiseRecommender):
    title = "VBPR"
    settings_type = Settings
    stackable = True
    row_wise = ("user_embedding", "item_embedding", "user_taste", "item_bias")
    content = True

    features: Tensor

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        d = settings.dimension
        scaled = [_standardised(torch.from_numpy(m.features)) for m in dataset.modalities if m.features is not None]
        self.register_buffer("features", torch.cat(scaled, dim=1), persistent=False)  # f, (items, width)
        width = self.features.shape[1]
        self.user_embedding = xavier(seed, "user_embedding", dataset.users, d)  # e_u
        self.item_embedding = xavier(seed, "item_embedding", dataset.items, d)  # e_i
        self.user_taste = xavier(seed, "user_taste", dataset.users, d)  # t_u
        self.projection = xavier(seed, "projection", width, d)  # W
        self.content_bias = xavier(seed, "content_bias", width, 1)  # c
        self.item_bias = nn.Parameter(torch.zeros(dataset.items, 1))  # b_i

    @classmethod
    def unusable(cls, card: Card, settings: Settings) -> str | None:
        return None if cls.reads(card, settings) else "the data set has no features"

    def loss(self, batch: Batch) -> Tensor:
        content = self._content()
        i, j = (self._items(content, items) for items in (batch.positives, batch.negatives))
        return pairwise_loss_of_rows(self._users(batch.users), i, j, self.settings.l2)

    def representations(self) -> tuple[Tensor, Tensor]:
        return self._users(), self._items(self._content())

    def _content(self) -> tuple[Tensor, Tensor]:
        """W f, (items, d), and c . f, (items, 1)."""
        return self.features @ self.projection, self.features @ self.content_bias

    def _users(self, ids: Tensor | None = None) -> Tensor:
        """[e_u, t_u, 1] of all users, or of `ids`."""
        e, t = self.rows(self.user_embedding, ids), self.rows(self.user_taste, ids)
        return torch.cat([e, t, torch.ones_like(e[:, :1])], dim=1)

    def _items(self, content: tuple[Tensor, Tensor], ids: Tensor | None = None) -> Tensor:
        """[e_i, W f_i, b_i + c . f_i] of all items, or of `ids`."""
        projected, content_bias = (self.rows(part, ids) for part in content)
        bias = self.rows(self.item_bias, ids) + content_bias
        return torch.cat([self.rows(self.item_embedding, ids), projected, bias], dim=1)


def _standardised(features: Tensor) -> Tensor:
    centred = features - features.mean(dim=0)
    size = centred.square().mean().sqrt()
    return centred / size if size > 0 else centred  # constant features stay 0
