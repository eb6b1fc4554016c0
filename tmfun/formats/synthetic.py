"""The built-in synthetic data set: effects are planted in it, so that a study can be tried without any download.

A name is a preset, alone or with settings changed: `synthetic-small[signal=0,seed=3,modalities=image+text+audio]`.

Latent vectors have F = `factors` numbers, and one law draws them all: an item falls into one of `clusters` clusters,
each with a standard normal centre, and its vector is sqrt(1 - within) centre + sqrt(within) N(0, 1)^F. Item i has
these, each with clusters of its own and hence independent of the others (M modalities, m one of them):

    s_i    content that every modality shows            q_im   content that modality m alone shows
    h_i    what users like and no modality shows        w_im   wrong content that modality m shows: nobody's taste

Interactions: user u with the taste p_u ~ N(0, 1)^F draws n_u items without replacement from P(u, .), where n_u is 5
plus a log-normal number (its logarithm deviates by `activity`) and rank_i is a random order of the items:

    v_i = sqrt(signal) (sqrt(shared) s_i + sqrt((1 - shared) / M) sum_m q_im) + sqrt(1 - signal) h_i
    P(u, i) ~ exp(strength p_u . v_i / sqrt(F)) (1 + rank_i)^-popularity

With `meets` > 0, memory grows with the interactions instead of users x items: user u meets `meets` items for each one
that they choose, and at least LEAST_MET, drawn by (1 + rank_i)^-popularity, and draws the n_u items from those alone,
by taste. Chosen items are then popular because they are met, and users differ more by chance.

Features: r_im is the share of what modality m shows of item i that is right. Systematic sampling with one uniform
number per item picks the items that m shows well, a share `reliability` of them, and as even a number of modalities
per item as can be: of two modalities at 0.5, each item has exactly one.

    r_im = reliability + reliability_spread ([m shows i well] - reliability)
    x_im = [sqrt(r_im) (sqrt(shared) s_i + sqrt(1 - shared) q_im) + sqrt(1 - r_im) w_im ; mark sqrt(F (1 - r_im))] B_m
           + noise N(0, 1)

Right and wrong content go through the same random matrix B_m, so no projection can part them, and items with alike
wrong content become wrong neighbours. What tells them apart is that wrong content disagrees with the interactions,
and the mark: like placeholder pictures, items shown badly have one direction in common.

With `neighbours` = k > 0, k neighbours come along, as they may in a data set's files, so that none need be searched
for among a million items: the item itself, and k - 1 items chosen at random from those that show content, right or
wrong, of the same cluster, with the cosines of their features.

Measured with TMFUN (learning rate 5e-3, batches of 512, at most 150 epochs; the rest as by default), test Recall@20,
means over 8 paired seeds on `synthetic-small`: the full model is 2 % above its variant without attention (7 seeds of
8), 6 % above the one without the item graph (8 of 8) and 5 % above ID only (8 of 8). The contrast and the modality
graph made no difference, and no setting was found that clearly plants an effect of the contrast. The controls, over
6 seeds: with reliability_spread=0 attention does not help (-1 %), and on `synthetic-null` content does harm (-5 %
against ID only). Over six other generator seeds the first three effects are 2 % (5 of 6), 3 % (6 of 6) and 10 %
(6 of 6).
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmfun.dataset import Dataset, Modality, Pairs, lattice_sizes
from tmfun.errors import InputError
from tmfun.settings import read_settings, setting, unknown

LEAST_INTERACTIONS = 5  # per user: three to train on, one each for validation and test
LEAST_MET = 64
MOST_CELLS = 3_000_000  # users x items where every user knows all items
CHUNK = 2**20  # items met, or numbers of features, held at a time

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """The parameters of the generator, in the order of the equations."""

    users: int = setting(1000, least=10, most=2_000_000)
    items: int = setting(800, least=40, most=2_000_000)
    factors: int = setting(16, least=1, most=64)  # F
    clusters: int = setting(60, least=1, most=200_000)
    within: float = setting(0.1, least=0, most=1)  # the share of a latent's variance inside its cluster

    interactions: float = setting(10.0, above=LEAST_INTERACTIONS, most=100)  # mean per user
    activity: float = setting(1.0, least=0, most=2)  # how unequally active users are
    popularity: float = setting(0.4, least=0, most=2)  # the exponent of the items' popularity
    meets: int = setting(0, least=0, most=1000)  # items that a user meets per item chosen; 0: they know all items
    strength: float = setting(3.0, least=0, most=20)  # how much taste decides, beside popularity and chance
    signal: float = setting(1.0, least=0, most=1)  # the share of taste that content explains; 0: none
    shared: float = setting(1.0, least=0, most=1)  # the share of that content which all modalities show

    reliability: float = setting(0.5, least=0, most=1)  # the mean share of right content in the features
    reliability_spread: float = setting(1.0, least=0, most=1)  # 0: the same for all items; 1: all or nothing
    mark: float = setting(1.0, least=0, most=10)  # how plainly a badly shown item looks like one
    noise: float = setting(0.1, least=0, most=10)
    modalities: tuple[str, ...] = ("image", "text")
    widths: tuple[int, ...] = (64, 32)  # of the modalities in turn, starting over where there are more of them
    neighbours: int = setting(0, least=0, most=100)  # that come with the features, the item itself counted

    seed: int = setting(0, least=0)


PRESETS: dict[str, Settings] = {
    "synthetic": Settings(),
    "synthetic-small": Settings(users=600, items=600),
    "synthetic-tiny": Settings(users=120, items=90, clusters=15, factors=8, widths=(16, 8)),
    "synthetic-null": Settings(users=600, items=600, signal=0.0),
    # The size of Amazon Electronics (2014, 5-core): 192,403 users, 63,001 items, 1.69 million interactions.
    "synthetic-electronics": Settings(
        users=192_403, items=63_001, clusters=600, interactions=8.8, popularity=0.8, meets=8
    ),
    "synthetic-million": Settings(
        users=1_000_000, items=1_000_000, clusters=10_000, popularity=0.8, meets=8, neighbours=10
    ),
}


def is_synthetic(name: str) -> bool:
    """Whether `name` is meant for `generate`: a preset, or anything in brackets."""
    return name in PRESETS or "[" in name


def is_large(name: str) -> bool:
    """Whether making the preset `name` takes so long that it is made only when asked for by name."""
    return PRESETS[name].meets > 0


def generate(name: str) -> Dataset:
    """The data set called `name`, the same on every machine. Raises InputError for a name that is none."""
    s = read_name(name)
    rng = _Streams(s.seed)
    shared, hidden = _latent(s, rng, "shared"), _latent(s, rng, "hidden")
    private = [_latent(s, rng, f"private.{name}") for name in s.modalities]

    content = np.sqrt(s.shared) * shared + np.sqrt((1 - s.shared) / len(private)) * sum(private)
    liked = np.sqrt(s.signal) * content + np.sqrt(1 - s.signal) * hidden  # v, (items, F)
    interactions = _interactions_among_met if s.meets else _interactions
    train, validation, test = _split(s, rng, interactions(s, rng, liked))

    lot = rng("reliability").random(s.items)
    modalities = []
    for place, (modality, own) in enumerate(zip(s.modalities, private, strict=True)):
        shown_well = (lot + place / len(private)) % 1 < s.reliability
        right = s.reliability + s.reliability_spread * (shown_well - s.reliability)  # r, (items,)
        shown = np.sqrt(s.shared) * shared + np.sqrt(1 - s.shared) * own
        width = s.widths[place % len(s.widths)]
        features = _features(s, rng, modality, width, shown, np.clip(right, 0, 1)[:, None])
        neighbours, cosine = None, None
        if s.neighbours:
            content_of = _clusters(s, rng, "shared" if s.shared >= 0.5 else f"private.{modality}")
            seen = np.where(right >= 0.5, content_of, s.clusters + _clusters(s, rng, f"wrong.{modality}"))
            neighbours, cosine = _fellows(s, rng, modality, seen, features)
        modalities.append(Modality(modality, features, neighbours, cosine, origin="synthetic"))
    return Dataset(name, s.users, s.items, train, validation, test, tuple(modalities), origin="synthetic", where=name)


def read_name(name: str) -> Settings:
    """The settings behind `preset` or `preset[key=value,...]`; the parts of a list are joined by `+`."""
    preset, bracket, rest = name.partition("[")
    if preset not in PRESETS:
        raise unknown("synthetic data set", preset, PRESETS, name if bracket else "")
    if not bracket:
        return PRESETS[preset]
    if not rest.endswith("]") or re.search(r"[\[\]\s]", rest[:-1]):
        raise InputError(f"{name}: write it as {preset}[key=value,key=value], without spaces")
    table: dict[str, Any] = {}
    for entry in rest[:-1].split(","):
        key, equals, text = entry.partition("=")
        if not (key and equals and text):
            raise InputError(f"{name}: '{entry}' is not of the form key=value")
        if key in table:
            raise InputError(f"{name}: {key} is given twice")
        table[key] = _value(key, text)
    s = read_settings(Settings, table, name, PRESETS[preset])
    if not all(re.fullmatch(r"[a-z][a-z0-9_]*", modality) for modality in s.modalities):
        raise InputError(f"{name}: the modalities need names of small letters, digits and _, joined by +")
    if len(set(s.modalities)) < len(s.modalities):
        raise InputError(f"{name}: two modalities have the same name")
    if not all(1 <= width <= 4096 for width in s.widths):
        raise InputError(f"{name}: widths must lie between 1 and 4096")
    if not s.meets and s.users * s.items > MOST_CELLS:
        raise InputError(f"{name}: more than {MOST_CELLS:,} users x items need meets=8 or so: see {__name__}")
    if s.neighbours > s.items:
        raise InputError(f"{name}: there are more neighbours than items")
    return s


def _value(key: str, text: str) -> Any:
    """`text` as the number, or the list of texts or numbers, that it looks like; `read_settings` judges it."""
    if isinstance(getattr(Settings, key, None), tuple):
        return [int(part) if re.fullmatch(r"\d+", part) else part for part in text.split("+")]
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?\d+\.\d*(e-?\d+)?", text) else text


class _Streams:
    """One generator per part, as in `tmfun.streams`: a setting of one part leaves the draws of the others alone."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, part: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.seed}/synthetic.{part}".encode()).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))


def _latent(s: Settings, rng: _Streams, part: str) -> Array:
    """Clustered latent vectors, (items, F)."""
    centres = rng(f"{part}.centres").standard_normal((s.clusters, s.factors))
    inside = rng(f"{part}.within").standard_normal((s.items, s.factors))
    return np.sqrt(1 - s.within) * centres[_clusters(s, rng, part)] + np.sqrt(s.within) * inside


def _clusters(s: Settings, rng: _Streams, part: str) -> NDArray[np.int64]:
    """The cluster of each item in a latent, (items,)."""
    return rng(f"{part}.cluster").integers(0, s.clusters, s.items)


def _interactions(s: Settings, rng: _Streams, liked: Array) -> Pairs:
    """The pairs that users choose, (interactions, 2), by user.

    Gumbel noise on the logarithms turns sorting into drawing without replacement. Scores are real numbers without
    ties, so that the last bits, in which machines differ, do not decide.
    """
    taste = rng("taste").standard_normal((s.users, s.factors))
    rank = rng("popularity").permutation(s.items)
    scores = s.strength / np.sqrt(s.factors) * (taste @ liked.T) - s.popularity * np.log1p(rank)  # (users, items)
    order = np.argsort(-scores - rng("choice").gumbel(size=scores.shape), axis=1)

    chosen = np.arange(s.items) < _counts(s, rng)[:, None]
    return np.stack([np.nonzero(chosen)[0], order[chosen]], axis=1).astype(np.int32)


def _interactions_among_met(s: Settings, rng: _Streams, liked: Array) -> Pairs:
    """The pairs that users choose among the items that they meet, (interactions, 2), by user.

    Users are taken in order of their activity, in chunks whose users meet equally many items.
    """
    taste = rng("taste").standard_normal((s.users, s.factors))
    rank = rng("popularity").permutation(s.items)
    reach = np.cumsum((1.0 + rank) ** -s.popularity)
    counts = _counts(s, rng)
    order = np.argsort(counts, kind="stable")
    ascending = counts[order]
    encounter, choice = rng("encounter"), rng("choice")
    pairs, first = [], 0
    while first < s.users:
        met = max(LEAST_MET, s.meets * int(ascending[first]))
        alike = np.searchsorted(ascending, met // s.meets, side="right")
        users = order[first : min(int(alike), first + max(1, CHUNK // met))]
        first += len(users)
        items = np.searchsorted(reach, encounter.random((len(users), met)) * reach[-1], side="right")
        items.sort(axis=1)  # so that an item met twice stands beside itself
        scores = np.einsum("uf,umf->um", taste[users], liked[items]) * (s.strength / np.sqrt(s.factors))
        scores = scores + choice.gumbel(size=scores.shape)
        scores[:, 1:][items[:, 1:] == items[:, :-1]] = -np.inf
        best = np.argsort(-scores, axis=1)
        chosen = np.arange(met) < counts[users][:, None]
        chosen &= np.take_along_axis(scores, best, axis=1) > -np.inf
        pairs.append(np.stack([users[np.nonzero(chosen)[0]], np.take_along_axis(items, best, axis=1)[chosen]], axis=1))
    joined = np.concatenate(pairs).astype(np.int32)
    return joined[np.argsort(joined[:, 0], kind="stable")]


def _counts(s: Settings, rng: _Streams) -> NDArray[np.int64]:
    """n: how many items each user chooses, (users,)."""
    middle = np.log(s.interactions - LEAST_INTERACTIONS) - s.activity**2 / 2  # makes `interactions` the mean
    extra = rng("activity").lognormal(middle, s.activity, s.users)
    # A quarter of the items at most: negatives must remain.
    return np.minimum(LEAST_INTERACTIONS + np.rint(extra).astype(np.int64), s.items // 4)


def _split(s: Settings, rng: _Streams, pairs: Pairs) -> tuple[Pairs, Pairs, Pairs]:
    """Train, validation and test, at random within each user, in the sizes of the LATTICE rule."""
    stream = rng("split")
    lot = stream.random(len(pairs)) if s.meets else stream.random((s.users, s.items))[pairs[:, 0], pairs[:, 1]]
    pairs = pairs[np.lexsort((lot, pairs[:, 0]))]
    counts = np.bincount(pairs[:, 0], minlength=s.users)
    place = np.arange(len(pairs)) - (np.cumsum(counts) - counts)[pairs[:, 0]]  # among the user's own pairs
    for_validation, for_test = (sizes[pairs[:, 0]] for sizes in lattice_sizes(counts))
    held_out = place < for_validation + for_test
    test = place < for_test
    return pairs[~held_out], pairs[held_out & ~test], pairs[test]


def _features(s: Settings, rng: _Streams, name: str, width: int, shown: Array, right: Array) -> NDArray[np.float32]:
    """(items, width): the modality shows `shown` (items, F) as far as `right` (items, 1) says."""
    seen = np.sqrt(right) * shown + np.sqrt(1 - right) * _latent(s, rng, f"wrong.{name}")
    seen = np.hstack([seen, s.mark * np.sqrt(s.factors * (1 - right))])  # (items, F + 1)
    mix = rng(f"mix.{name}").standard_normal((s.factors + 1, width)) / np.sqrt(s.factors)  # B
    features = seen @ mix + s.noise * rng(f"noise.{name}").standard_normal((s.items, width))
    # Rounded far above the last bits, in which machines differ: the content hash is the same everywhere.
    return np.round(features, 3).astype(np.float32)


def _fellows(
    s: Settings, rng: _Streams, name: str, cluster: NDArray[np.int64], features: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Neighbours (items, k) and their cosines, nearest first: the item, and random others of its cluster (items,).

    The items of a cluster stand in a random circle, and each takes those that follow it; where a cluster is smaller
    than k, they come from the next one.
    """
    circle = np.lexsort((rng(f"circle.{name}").random(s.items), cluster))  # place -> item, cluster after cluster
    first, counts = np.unique(cluster[circle], return_index=True, return_counts=True)[1:]
    own_first, own_count = np.repeat(first, counts)[:, None], np.repeat(counts, counts)[:, None]
    step = np.arange(s.neighbours)
    place = np.arange(s.items)[:, None] + step
    around = own_first + (place - own_first) % own_count
    places = np.where(step < own_count, around, place % s.items)
    neighbours = np.empty((s.items, s.neighbours), dtype=np.int32)
    neighbours[circle] = circle[places]

    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    rows = max(1, CHUNK // (s.neighbours * features.shape[1]))
    starts = range(0, s.items, rows)
    near = [np.einsum("if,ikf->ik", unit[i : i + rows], unit[neighbours[i : i + rows]]) for i in starts]
    cosine = np.round(np.concatenate(near).astype(np.float64), 4).astype(np.float32)  # as features are
    nearest_first = np.argsort(-cosine, axis=1, kind="stable")
    return np.take_along_axis(neighbours, nearest_first, axis=1), np.take_along_axis(cosine, nearest_first, axis=1)
