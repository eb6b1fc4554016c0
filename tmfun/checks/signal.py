"""Whether content carries signal: are items with like content liked by the same users more often than chance?

With U_i the training users of item i, two items are alike in use as far as

    c_ij = |U_i and U_j| / sqrt(|U_i| |U_j|)          (0 where an item has no training user)

Popular items have higher c_ij whatever their content. Chance is therefore what items of like popularity have: items
are ordered by |U_i| and cut into strata, and e_ij is the mean of c over all pairs of distinct items of i's and of j's
stratum. A kNN graph's statistic is the mean of c_ij - e_ij over its edges: 0 is expected if content has nothing to do
with use. Its standard error is its deviation over permutations of the items within their strata, which keep the graph,
its hubs included, and every item's popularity: z is the statistic in these units.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from tmfun import metrics
from tmfun.checks.edges import Edges
from tmfun.checks.findings import Finding
from tmfun.dataset import Dataset
from tmfun.ranking import Ranking
from tmfun.recommender import Recommender
from tmfun.streams import numpy_stream

STRATUM = 20  # items of like popularity; more of them where there are over 20,000 items
STRATA = 1000  # at most
PERMUTATIONS = 100
CELLS = 3 * 10**7  # pairs of items in users' histories that are counted; the longest histories go beyond it
BEYOND_CHANCE = 4.0  # z
STRONG = 1.5  # c of neighbours over e
SHUFFLED_USERS = 5000  # that the shuffled control is measured on

Array = NDArray[np.float64]


class CoInteraction:
    """c and e of a data set's items, and the permutations that chance is measured by."""

    def __init__(self, dataset: Dataset) -> None:
        users, items = dataset.degrees()
        by_length = np.sort(users.astype(np.int64))
        fits = int(np.searchsorted(np.cumsum(by_length**2), CELLS))
        longest = by_length[fits - 1] if 0 < fits < len(users) else by_length[-1]
        self.left_out = int((users > longest).sum())  # users with longer histories than are counted
        pairs = dataset.train[users[dataset.train[:, 0]] <= longest]
        self.items = dataset.items
        history = sp.csr_array((np.ones(len(pairs)), pairs.T), shape=(dataset.users, dataset.items))
        history.data[:] = 1
        sizes = np.asarray(history.sum(axis=0)).ravel()
        scale = sp.diags_array(1 / np.sqrt(sizes.clip(min=1)))
        c = sp.csr_array(scale @ (history.T @ history) @ scale)
        c.setdiag(0)
        c.eliminate_zeros()
        c.sort_indices()
        self.c = c  # (items, items)
        self.chance = c.nnz / max(self.items * (self.items - 1), 1)  # share of all pairs with a user in common

        size = max(STRATUM, -(-self.items // STRATA))
        tie = numpy_stream(0, "check.strata").random(self.items)
        self.ordered = np.lexsort((tie, items))  # items, by popularity
        self.place = np.arange(self.items) // size  # the stratum of each place in that order
        if self.items % size and self.place[-1]:
            self.place[self.place == self.place[-1]] -= 1  # the remainder joins the last whole one
        self.stratum = np.empty(self.items, np.int64)
        self.stratum[self.ordered] = self.place
        counts = np.bincount(self.stratum)
        among = sp.csr_array((np.ones(self.items), (self.stratum, np.arange(self.items))))
        pairs_of_strata = np.outer(counts, counts) - np.diag(counts)
        self.e = (among @ c @ among.T).toarray() / pairs_of_strata.clip(min=1)  # (strata, strata)

    def like(self, edges: Edges) -> Array:
        """c of every edge."""
        return np.asarray(self.c[edges.i, edges.j]).ravel()

    def expected(self, edges: Edges) -> Array:
        """e of every edge."""
        return self.e[self.stratum[edges.i], self.stratum[edges.j]]

    def excess(self, edges: Edges) -> Array:
        """c - e of every edge."""
        return self.like(edges) - self.expected(edges)

    def permutation(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The items, shuffled within their strata."""
        shuffled = np.empty(self.items, np.int64)
        shuffled[self.ordered] = self.ordered[np.lexsort((rng.random(self.items), self.place))]
        return shuffled

    def null(self, edges: Edges) -> float:
        """The statistic's standard error over permutations; 0 where no permutation has anything in common."""
        rng = numpy_stream(0, "check.permutations")
        expected = self.expected(edges).mean()  # the same under every such permutation
        drawn = [self.like(edges.renamed(self.permutation(rng))).sum() for _ in range(PERMUTATIONS)]
        return float(np.sqrt(np.mean(np.square(np.array(drawn) / len(edges) - expected))))


@dataclass(frozen=True)
class Signal:
    """What the neighbours of one graph have in common: `z`, and two ratios to chance.

    lift   share of edges whose items have a training user in common / the share of all pairs
    likeness  mean c over edges / mean e, so that popularity has no part in it
    """

    z: float
    lift: float
    likeness: float
    shared: float
    chance: float


def measure(use: CoInteraction, edges: Edges, error: float) -> Signal:
    """The signal of a graph whose statistic has this standard error."""
    like, expected = use.like(edges), use.expected(edges)
    shared = float((like > 0).mean())
    return Signal(
        z=float((like - expected).mean() / error) if error else 0.0,
        lift=shared / use.chance if use.chance else 0.0,
        likeness=float(like.mean() / expected.mean()) if expected.any() else 0.0,
        shared=shared,
        chance=use.chance,
    )


def judge(about: str, what: str, signal: Signal, synthetic: bool) -> Finding:
    """The finding on a signal; generated data may lack it on purpose."""
    numbers: dict[str, Any] = dict(vars(signal))
    if signal.z < BEYOND_CHANCE:
        word, level = "no signal beyond chance", "note" if synthetic else "warning"
        meaning = ": content says nothing on who likes what, or its rows are in another order than the items"
    elif signal.likeness < STRONG:
        word, level, meaning = "weak signal", "note", ""
    else:
        word, level, meaning = "carries signal", "ok", ""
    sentence = (
        f"{word}: {signal.shared:.1%} of nearest neighbours have a training user in common, {signal.lift:.2f} times"
        f" the share of all pairs; against items of like popularity, likeness in use is {signal.likeness:.2f}-fold"
        f" (z = {signal.z:.1f}){meaning}"
    )
    return Finding(about, what, level, sentence, {"word": word, **numbers})


def content_only(about: str, dataset: Dataset, ids: NDArray, cosine: NDArray) -> Finding:
    """Test Recall@20 of content alone: score(u, i) = sum of cosine(i, j) over i's neighbours j among u's items.

    Beside it the same with the items' content shuffled, which is what a graph of this shape has without signal.
    """
    recall = _recall(dataset, ids, cosine)
    users = np.unique(dataset.test[:, 0])
    rng = numpy_stream(0, "check.shuffled")
    if len(users) > SHUFFLED_USERS:
        users = rng.choice(users, SHUFFLED_USERS, replace=False)
    some = replace(dataset, test=dataset.test[np.isin(dataset.test[:, 0], users)])
    order = rng.permutation(dataset.items)  # item i gets the content of order[i]
    place = np.argsort(order)
    shuffled = _recall(some, place[ids[order]], cosine[order])
    sentence = (
        f"test Recall@20 of content alone {recall:.4f}, with shuffled content {shuffled:.4f} ({len(users):,} users)"
    )
    numbers = {"recall@20": recall, "shuffled": shuffled, "shuffled_users": len(users)}
    return Finding(about, "content alone", "ok" if recall > 2 * shuffled else "note", sentence, numbers)


def _recall(dataset: Dataset, ids: NDArray, cosine: NDArray) -> float:
    ranks = Ranking(dataset, "test").ranks(_ContentAlone(dataset, ids, cosine))
    return metrics.mean("recall@20", ranks, dataset.test[:, 0])


class _ContentAlone(Recommender):
    """Nobody's interactions but the user's own are used."""

    def __init__(self, dataset: Dataset, ids: NDArray, cosine: NDArray) -> None:
        super().__init__(dataset, None, 0)
        items, k = ids.shape
        weights = cosine.ravel().clip(min=0).astype(np.float32)
        similar = sp.csr_array((weights, (np.repeat(np.arange(items), k), ids.ravel())), shape=(items, items))
        self.similar = sp.csr_array(similar.T)
        ones = np.ones(len(dataset.train), dtype=np.float32)
        self.history = sp.csr_array((ones, dataset.train.T), shape=(dataset.users, items))

    def prepare_scores(self) -> None:
        """Nothing is prepared."""

    def scores(self, prepared: Any, users: Tensor) -> Tensor:
        return torch.from_numpy((self.history[users.numpy()] @ self.similar).toarray())
