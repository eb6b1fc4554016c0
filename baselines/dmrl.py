"""DMRL: each modality cut into factors that are kept apart; per factor a user attends to the modalities of an item.

Liu et al., "Disentangled multimodal representation learning for recommendation", IEEE TMM 2022. c^0 is an item's ID
embedding; for a modality m = 1..M with features x, and N(v) = v / |v|:

    c^m      = W2 N( dropout( LeakyReLU_0.2( W1 N(x) + b1 ) ) ) + b2

Users e_u and contents c^m are cut into K factors of d / K numbers. For user u, item i and each factor k

    a        = softmax( V tanh( W N([e_uk, c_ik^0, .., c_ik^M]) + b ) )              one network for all factors
    score    = sum over k, m of a_m softplus( e_uk . c_ik^m )

    loss     = mean over pairs of softplus( score(u, j) - score(u, i) ), j the hardest of `negatives` candidates
             + `correlation` * D + L2
    D        = sum over k, and over e_u, c_i^0 .. c_i^M of the batch, of dCor(factor k, factor k + 1),
               over K (K + 1) / 2, with dCor the distance correlation (Szekely et al. 2007)

Defaults are those of the authors' first code: d 128, K 4, four negatives, dropout 0.2, hidden width 256 (text; images
512), and, beside a loss summed over 1,024 pairs, correlation 1 and L2 1e-2: divided by 1,024 and rounded here. It
trains at a learning rate of 1e-4. No grid is published there.

Deviations
1. The candidates for the hardest negative are the pair's own and those of the next pairs in the batch, as a batch here
   brings one negative a pair; a candidate that the user has in training is left out.
2. D takes the first `correlated` pairs of the (shuffled) batch, since its matrices are pairs x pairs.
3. All parameters are trained; the authors' first code passes only the embeddings to its optimiser. Their second code
   puts LightGCN under the embeddings and softplus around a_m times the product: neither is in the paper.
4. Modalities without features are left out.
5. The L2 term is l2 / (2 B) * squared norms of the batch's e_u, c_i and c_j, each once.
6. Dropout acts in training; in the authors' first code its layer is never told of training, so that it does nothing.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tmfun.dataset import Card, Dataset
from tmfun.recommender import Batch, Recommender
from tmfun.sampling import are_pairs
from tmfun.settings import setting
from tmfun.streams import key, xavier

TINY = 1e-8  # under a square root, as published: its slope at 0 stays finite


@dataclass(frozen=True)
class Settings:
    dimension: int = setting(128, least=1)  # d
    factors: int = setting(4, least=1)  # K
    hidden: int = setting(256, least=1)  # width of W1
    dropout: float = setting(0.2, least=0, most=0.99)
    negatives: int = setting(4, least=1)
    correlation: float = setting(1e-3, least=0)
    correlated: int = setting(512, least=2)  # pairs
    l2: float = setting(1e-5, least=0)


class Side(NamedTuple):
    """What users, or items, bring to a score."""

    vectors: Tensor  # (n, K, 1, d / K) of users; (n, K, 1 + M, d / K) of items
    attention: Tensor  # (n, K, 1 + M): their share of W [..]
    squares: Tensor  # (n, K): their share of |[..]|^2


class DMRL(Recommender):
    title = "DMRL"
    settings_type = Settings
    content = True

    settings: Settings
    known: Tensor

    def __init__(self, dataset: Dataset, settings: Settings, seed: int) -> None:
        super().__init__(dataset, settings, seed)
        self.items = dataset.items
        d = settings.dimension
        self.user_embedding = xavier(seed, "user_embedding", dataset.users, d)  # e
        self.item_embedding = xavier(seed, "item_embedding", dataset.items, d)  # c^0
        self.names = [m.name for m in dataset.modalities if m.features is not None]
        self.inner, self.inner_bias = nn.ParameterDict(), nn.ParameterDict()  # W1, b1
        self.outer, self.outer_bias = nn.ParameterDict(), nn.ParameterDict()  # W2, b2
        for m in dataset.modalities:
            if m.features is not None:
                unit = F.normalize(torch.from_numpy(m.features), dim=1)
                self.register_buffer(f"features_{m.name}", unit, persistent=False)
                self.inner[m.name] = xavier(seed, f"inner.{m.name}", m.features.shape[1], settings.hidden)
                self.inner_bias[m.name] = nn.Parameter(torch.zeros(settings.hidden))
                self.outer[m.name] = xavier(seed, f"outer.{m.name}", settings.hidden, d)
                self.outer_bias[m.name] = nn.Parameter(torch.zeros(d))
        contents = 1 + len(self.names)
        self.attention = xavier(seed, "attention", (1 + contents) * d // settings.factors, contents)  # W
        self.attention_bias = nn.Parameter(torch.zeros(contents))  # b
        self.weigh = xavier(seed, "weigh", contents, contents)  # V
        self.register_buffer("known", torch.from_numpy(dataset.keys("train")), persistent=False)
        self.draws = torch.Generator().manual_seed(key(seed, "dropout"))

    @classmethod
    def unusable(cls, card: Card, settings: Settings) -> str | None:
        if settings.dimension % settings.factors:
            return f"{settings.factors} factors do not divide {settings.dimension} dimensions"
        return None if cls.reads(card, settings) else "the data set has no features"

    def loss(self, batch: Batch) -> Tensor:
        s = self.settings
        items, place = torch.cat([batch.positives, batch.negatives]).unique(return_inverse=True)
        contents = self._contents(items).flatten(1)
        positive, negative = F.embedding(place, contents).split(len(batch.users))
        u, i, j = self._user_side(batch.users), self._item_side(positive), self._item_side(negative)
        candidates = []
        for shift in range(s.negatives):
            rolled = Side(*(part.roll(-shift, dims=0) for part in j))
            known = are_pairs(self.known, batch.users * self.items + batch.negatives.roll(-shift))
            candidates.append(self._pair_scores(u, rolled).masked_fill(known, -torch.inf))
        hardest = torch.stack(candidates).amax(dim=0)
        loss = F.softplus(hardest - self._pair_scores(u, i)).mean()
        if s.correlation and s.factors > 1:
            factors = torch.cat([u.vectors, i.vectors], dim=2)[: s.correlated].permute(
                2, 1, 0, 3
            )  # (2 + M, K, n, d / K)
            total = distance_correlation(factors[:, :-1], factors[:, 1:]).sum()
            loss = loss + s.correlation * total / (s.factors * (s.factors + 1) / 2)
        squares = u.squares.sum() + i.squares.sum() + j.squares.sum()
        return loss + s.l2 / (2 * len(batch.users)) * squares

    def prepare_scores(self) -> tuple[Side, Side]:
        users = torch.arange(len(self.user_embedding), device=self.user_embedding.device)
        return self._user_side(users), self._item_side(self._contents().flatten(1))

    def scores(self, prepared: tuple[Side, Side], users: Tensor) -> Tensor:
        u, i = Side(*(part[users] for part in prepared[0])), prepared[1]
        total = u.squares.new_zeros(len(users), self.items)
        for k in range(self.settings.factors):
            norm = (u.squares[:, k].unsqueeze(1) + i.squares[:, k]).sqrt_().clamp_(min=1e-12)  # (n, items)
            shares = u.attention[:, k].T.unsqueeze(2) + i.attention[:, k].T.unsqueeze(1)  # (1 + M, n, items)
            hidden = shares.div_(norm).add_(self.attention_bias[:, None, None]).tanh_()
            weights = torch.einsum("hni,hm->mni", hidden, self.weigh).softmax(dim=0)
            products = u.vectors[:, k, 0] @ i.vectors[:, k].permute(1, 2, 0)  # (1 + M, n, items)
            total += weights.mul_(F.softplus(products)).sum(dim=0)
        return total

    def _contents(self, items: Tensor | None = None) -> Tensor:
        """c^0 .. c^M of all items, or of `items` (n,): (items, 1 + M, d)."""

        def rows(x: Tensor) -> Tensor:
            return x if items is None else F.embedding(items, x)

        contents = [rows(self.item_embedding)]
        for name in self.names:
            hidden = rows(self.get_buffer(f"features_{name}")) @ self.inner[name] + self.inner_bias[name]
            hidden = self._drop(F.leaky_relu(hidden, 0.2))
            contents.append(F.normalize(hidden, dim=1) @ self.outer[name] + self.outer_bias[name])
        return torch.stack(contents, dim=1)

    def _drop(self, x: Tensor) -> Tensor:
        rate = self.settings.dropout
        if not (self.training and rate):
            return x
        kept = torch.rand(x.shape, generator=self.draws) >= rate
        return x * kept.to(x.device) / (1 - rate)

    def _user_side(self, users: Tensor) -> Side:
        e = F.embedding(users, self.user_embedding).unflatten(1, (self.settings.factors, 1, -1))
        return self._side(e, self.attention[: e.shape[3]])

    def _item_side(self, contents: Tensor) -> Side:
        """From c^0 .. c^M in one row, (n, (1 + M) d)."""
        c = contents.unflatten(1, (1 + len(self.names), self.settings.factors, -1)).transpose(1, 2)
        return self._side(c, self.attention[c.shape[3] :])

    def _side(self, vectors: Tensor, attention: Tensor) -> Side:
        return Side(vectors, vectors.flatten(2) @ attention, vectors.square().sum(dim=(2, 3)))

    def _pair_scores(self, u: Side, i: Side) -> Tensor:
        """The score of each pair of rows, (n,)."""
        norm = (u.squares + i.squares).sqrt().clamp(min=1e-12).unsqueeze(2)
        hidden = ((u.attention + i.attention) / norm + self.attention_bias).tanh()  # (n, K, 1 + M)
        weights = (hidden @ self.weigh).softmax(dim=2)
        return (weights * F.softplus((u.vectors * i.vectors).sum(dim=3))).sum(dim=(1, 2))


def distance_correlation(a: Tensor, b: Tensor) -> Tensor:
    """dCor between the n paired rows of a and b, (..., n, width) each: (...)."""
    a, b = _centred_distances(a), _centred_distances(b)
    both, within = _covariance(a, b), _covariance(a, a) * _covariance(b, b)
    return both / (within.sqrt() + 1e-10)


def _centred_distances(x: Tensor) -> Tensor:
    squares = x.square().sum(dim=-1)
    squared = squares.unsqueeze(-1) - 2 * (x @ x.mT) + squares.unsqueeze(-2)
    distances = (squared.clamp(min=0) + TINY).sqrt()
    return (
        distances
        - distances.mean(dim=-1, keepdim=True)
        - distances.mean(dim=-2, keepdim=True)
        + distances.mean(dim=(-2, -1), keepdim=True)
    )


def _covariance(a: Tensor, b: Tensor) -> Tensor:
    return ((a * b).mean(dim=(-2, -1)).clamp(min=0) + TINY).sqrt()
