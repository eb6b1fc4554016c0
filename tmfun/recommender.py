"""The contract of every model here, and the losses that models share.

A recommender is built from a data set, its settings and a seed. A learned one gives a loss for a batch; every one
gives scores, most through user and item representations. One new baseline is one file in `baselines/` and one
line in its registry.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tmfun.dataset import Card, Dataset

LEAST_TEMPERATURE = 0.03  # of a contrast: thousands of exp(1 / 0.03) still fit a float32
NUMERICS = 1  # part of every run's identity; raised when shared code changes what models compute


@dataclass(frozen=True)
class Batch:
    """Training triples: user, an item of theirs, an item not in their training set; int64, each (batch,)."""

    users: Tensor
    positives: Tensor
    negatives: Tensor


class Recommender(nn.Module):
    """What training, ranking and the suite know of a model.

    `title`          the model's name in tables
    `settings_type`  a frozen dataclass: switches and hyper-parameters, checked before anything runs
    `numerics`       raised when the model's file changes what it computes; part of a run's identity
    `learned`        False for models that only count: no epochs, no seeds
    `content`        whether the model reads the items' modalities
    `stackable`      whether runs can be trained as one wider problem (tmfun/stacking.py), and steps be compiled: `loss`
                     is then a function of the parameters, the batch and the settings marked `per_run` alone, without
                     draws, and nothing is rebuilt per epoch. `loss` takes those settings from `self.settings`, where a
                     stack puts its runs' own as tensors, and only calculates with them
    `row_wise`       the names of the parameters that `loss` reads through `rows` and in no other way, so that a step
                     can leave the rows outside its batch alone (the optimiser row-adam); none where gradients reach
                     all rows, as they do through a graph
    """

    title: ClassVar[str]
    settings_type: ClassVar[type]
    numerics: ClassVar[int] = 1
    learned: ClassVar[bool] = True
    content: ClassVar[bool] = False
    stackable: ClassVar[bool] = False
    row_wise: ClassVar[tuple[str, ...]] = ()

    settings: Any
    sparse_gradients = False  # True where row-adam trains: then gradients of `row_wise` hold the batch's rows only
    static_shapes = False  # True where runs are stacked or compiled: no shape in `loss` may depend on the batch's ids

    def __init__(self, dataset: Dataset, settings: Any, seed: int) -> None:
        super().__init__()
        self.settings = settings

    @classmethod
    def unusable(cls, card: Card, settings: Any) -> str | None:
        """Why this model cannot use this data set, in a few words; None if it can."""
        if cls.content and not card.modalities:
            return "the data set has no modalities"
        return None

    @classmethod
    def reads(cls, card: Card, settings: Any) -> list[str]:
        """The modalities whose features the model reads under these settings."""
        return [m.name for m in card.modalities if m.width is not None] if cls.content else []

    def begin_epoch(self) -> None:
        """Called before every training epoch, with gradients on: the place to rebuild what is rebuilt per epoch."""

    def loss(self, batch: Batch) -> Tensor:
        """The loss of one batch, a scalar."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        """The loss, under the name that torch's function transforms and its compiler know."""
        return self.loss(batch)

    def rows(self, table: Tensor, ids: Tensor | None = None) -> Tensor:
        """The rows `ids` (n,) of `table` (rows, d), or all of them: (n, d)."""
        if ids is None:
            return table
        return F.embedding(ids, table, sparse=self.sparse_gradients and isinstance(table, nn.Parameter))

    def representations(self) -> tuple[Tensor, Tensor]:
        """z_U (users, d) and z_I (items, d); a score is their inner product. In `eval()` mode a function of the
        parameters alone, so that a restored checkpoint ranks as the model that was saved."""
        raise NotImplementedError

    def prepare_scores(self) -> Any:
        """What `scores` needs once per ranking; by default the representations."""
        return self.representations()

    def scores(self, prepared: Any, users: Tensor) -> Tensor:
        """The scores of all items for `users` (n,): (n, items), larger is better."""
        z_u, z_i = prepared
        return z_u[users] @ z_i.T

    def weights_of_interest(self) -> dict[str, Tensor]:
        """Per-item attention weights to keep beside the ranks, by name; none by default."""
        return {}


class PairwiseRecommender(Recommender):
    """A recommender trained by BPR on its representations, with the L2 term on the batch's final rows (10).

    Its settings have the field `l2`.
    """

    def loss(self, batch: Batch) -> Tensor:
        return pairwise_loss(*self.representations(), batch, self.settings.l2)


def pairwise_loss(z_u: Tensor, z_i: Tensor, batch: Batch, l2: float) -> Tensor:
    """(10) without contrast, of the final representations of all users and all items."""
    u = F.embedding(batch.users, z_u)
    return pairwise_loss_of_rows(u, F.embedding(batch.positives, z_i), F.embedding(batch.negatives, z_i), l2)


def pairwise_loss_of_rows(u: Tensor, i: Tensor, j: Tensor, l2: float) -> Tensor:
    """BPR (Rendle et al. 2009) + l2 / (2 B) * squared norms, of the batch's own z_u, z_i, z_j, (B, d) each."""
    bpr = F.softplus((u * j).sum(dim=1) - (u * i).sum(dim=1)).mean()
    squares = u.square().sum() + i.square().sum() + j.square().sum()
    return bpr + l2 / (2 * len(u)) * squares


def once(ids: Tensor) -> Tensor:
    """Which of `ids` (n,) to keep so that each id is there once: booleans (n,)."""
    order = ids.argsort(stable=True)
    ordered = ids[order]
    first = F.pad(ordered[1:] != ordered[:-1], (1, 0), value=True)
    return torch.zeros_like(first).scatter(0, order, first)


def info_nce(a: Tensor, b: Tensor, temperature: float, weights: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE between paired rows of a and b, (n, d) each, on cosines (van den Oord et al. 2018):

    the mean over pairs of both directions' cross-entropies. Weights of 0 and 1 (n,) leave pairs out, as if their rows
    were not there. One exponential serves both directions, not shifted: temperatures below LEAST_TEMPERATURE would
    let it overflow.
    """
    return _InfoNCE.apply(F.normalize(a, dim=1) / temperature, F.normalize(b, dim=1), weights)[0]


class _InfoNCE(torch.autograd.Function):
    """Written out because its n x n matrices are what a training step would spend its time on."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor, weights: Tensor | None) -> tuple[Tensor, ...]:
        similar = a @ b.T  # (n, n)
        matched = similar.diagonal().clone()
        similar.exp_()
        if weights is None:
            rows, columns = similar.sum(dim=1), similar.sum(dim=0)
            loss = (rows.log() + columns.log()).mean() / 2 - matched.mean()
        else:
            similar = similar * weights.unsqueeze(1) * weights
            rows, columns = similar.sum(dim=1) + (1 - weights), similar.sum(dim=0) + (1 - weights)
            loss = (weights * ((rows.log() + columns.log()) / 2 - matched)).sum() / weights.sum()
        return loss, similar, rows, columns

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs, *output[1:])
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        if grads[0] is None:  # not materialised, as zeros for the n x n output would be dear
            return None, None, None
        a, b, weights, similar, rows, columns = ctx.saved_tensors
        matched = torch.ones_like(rows) if weights is None else weights
        share = grads[0] / (2 * matched.sum())
        slope = (share / rows).unsqueeze(1) + share / columns
        slope *= similar
        slope.diagonal().sub_(2 * share * matched)
        return slope @ b, slope.T @ a, None
