"""Controls: data sets whose content says less than it did, or nothing. What a model still gains is not due to content.

A control changes the items' modalities alone; interactions, splits and the modalities' names stay. Those that draw take
their draw from the run's seed, so that an effect is averaged over draws, and both sides of a claim, paired by seed,
meet the same one.

    items-permuted     each item has the content of another: features and neighbours alike, a graph A becomes P A P^T;
                       P is one random cycle over all items, the same for all modalities, and leaves no item its own
    noise              features are N(0, s^2), s the root mean square of the modality's features, and its neighbours
                       are rebuilt from them. A modality without features has neighbours in WIDTH such numbers
    constant           features are 0, the one constant that has no direction: each cosine is 0, no graph has an edge
    random-neighbours  neighbours are rewired within each rank: an item keeps how many neighbours it has and of how
                       many it is one (for every k), its cosines, and itself as its own neighbour. Features stay, and
                       so does a graph that a model makes of them by itself (LATTICE learns a share of its graph so)
    same-modality      every modality has the content of the first; of another with same-modality:NAME
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from tmfun.dataset import Card, Dataset, Modality, ModalityCard
from tmfun.graphs import nearest
from tmfun.settings import unknown
from tmfun.streams import numpy_stream

WIDTH = 64  # of the noise behind a modality that has neighbours only
RANKS = 50  # neighbours per item that are rewired where there is no neighbours file: the most that a model can ask for
ROUNDS = 10  # of swaps per rank; in each, every item swaps with a random other, if neither gets itself or one twice

Named = TypeVar("Named", Modality, ModalityCard)
Change = Callable[[Modality, np.random.Generator], Modality]


@dataclass(frozen=True)
class Control:
    """What a control does to one modality; `drawn`: by the seed. For readers: a `title`, to follow the name of a model,
    and a `text` that tells what a run sees."""

    title: str
    text: str
    change: Change
    drawn: bool = True


def apply(name: str | None, dataset: Dataset, seed: int) -> Dataset:
    """The data set under the control called `name`, as a run with `seed` sees it; None: as it is."""
    if name is None:
        return dataset
    chosen = control(name)
    sources = {m.name: _source(name, m, dataset.modalities) for m in dataset.modalities}
    return dataset.with_modalities(
        *(
            replace(chosen.change(sources[m.name], numpy_stream(seed, _stream(name, m.name))), name=m.name)
            for m in dataset.modalities
        )
    )


def control(name: str, where: str = "") -> Control:
    """The control called `name`. Raises InputError for one that does not exist."""
    kind, colon, modality = name.partition(":")
    if kind not in CONTROLS or (colon and (kind != "same-modality" or not modality)):
        raise unknown("control", name, CONTROLS, where)
    if not modality:
        return CONTROLS[kind]
    text = f"{modality} stands in the place of all modalities"
    return replace(CONTROLS[kind], title=f"{modality} in all places", text=text)


def unusable(name: str, card: Card) -> str | None:
    """Why the control cannot be applied to a data set, in a few words; None if it can."""
    kind, _, modality = name.partition(":")
    known = [m.name for m in card.modalities]
    if not known:
        return "the data set has no modalities"
    if kind == "same-modality" and len(known) < 2:
        return "the data set has one modality only"
    if modality and modality not in known:
        return f"the data set has no modality '{modality}'"
    return None


def controlled_card(name: str | None, card: Card) -> Card:
    """The card with the modalities that a run under the control sees: enough to say whether a model can use them."""
    if name is None:
        return card
    kind, _, _ = name.partition(":")
    modalities = []
    for m in card.modalities:
        seen = replace(_source(name, m, card.modalities), name=m.name)
        if kind == "random-neighbours" and m.neighbours is None:
            seen = replace(seen, neighbours=_ranks(card.items))
        modalities.append(seen)
    return replace(card, modalities=tuple(modalities))


def _source(name: str, place: Named, modalities: Sequence[Named]) -> Named:
    """The modality, or its card, whose content stands in the `place` of one."""
    kind, _, wanted = name.partition(":")
    if kind != "same-modality":
        return place
    return next(m for m in modalities if m.name == wanted or not wanted)


def _stream(name: str, modality: str) -> str:
    """Items are permuted alike in all modalities; all else is drawn for each by itself."""
    return f"control.{name}" if name == "items-permuted" else f"control.{name}.{modality}"


def _permuted(modality: Modality, rng: np.random.Generator) -> Modality:
    items = _items(modality)
    cycle = rng.permutation(items)
    source, place = np.empty(items, dtype=np.int64), np.empty(items, dtype=np.int32)
    source[cycle] = np.roll(cycle, 1)  # item i has the content of item source[i], and that of i went to place[i]
    place[source] = np.arange(items)
    features, neighbours, cosine = modality.features, modality.neighbours, modality.cosine
    return replace(
        modality,
        features=None if features is None else features[source],
        neighbours=None if neighbours is None else place[neighbours[source]],
        cosine=None if cosine is None else cosine[source],
    )


def _noise(modality: Modality, rng: np.random.Generator) -> Modality:
    old, rows = modality.features, _items(modality)
    scale = 1.0 if old is None else float(np.sqrt(np.mean(old.astype(np.float64) ** 2)))
    width = WIDTH if old is None else old.shape[1]
    features = (scale * rng.standard_normal((rows, width))).astype(np.float32)
    neighbours, cosine = modality.neighbours, modality.cosine
    if neighbours is not None:
        ids, values = nearest(torch.from_numpy(features), neighbours.shape[1])
        neighbours, cosine = ids.numpy().astype(np.int32), values.numpy()
    kept = None if old is None else features
    return replace(modality, features=kept, neighbours=neighbours, cosine=cosine, origin="synthetic")


def _constant(modality: Modality, rng: np.random.Generator) -> Modality:
    return replace(
        modality,
        features=None if modality.features is None else np.zeros_like(modality.features),
        cosine=None if modality.cosine is None else np.zeros_like(modality.cosine),
        origin="synthetic",
    )


def _rewired(modality: Modality, rng: np.random.Generator) -> Modality:
    neighbours, cosine = modality.neighbours, modality.cosine
    if neighbours is None:
        assert modality.features is not None
        rows = len(modality.features)
        ids, values = nearest(torch.from_numpy(modality.features), _ranks(rows))
        neighbours, cosine = ids.numpy().astype(np.int32), values.numpy()
    neighbours = neighbours.copy()
    items = len(neighbours)
    for rank in range(neighbours.shape[1]):
        for _ in range(ROUNDS):
            others = np.flatnonzero(neighbours[:, rank] != np.arange(items))
            rng.shuffle(others)
            a, b = others[: len(others) // 2], others[len(others) // 2 : len(others) // 2 * 2]
            to_a, to_b = neighbours[b, rank], neighbours[a, rank]
            fits = (to_a != a) & (to_b != b) & _absent(to_a, neighbours[a]) & _absent(to_b, neighbours[b])
            neighbours[a[fits], rank], neighbours[b[fits], rank] = to_a[fits], to_b[fits]
    return replace(modality, neighbours=neighbours, cosine=cosine)


def _ranks(items: int) -> int:
    """Of few items half are enough: the neighbours of one that has all cannot be other ones."""
    return min(RANKS, max(1, items // 2))


def _same(modality: Modality, rng: np.random.Generator) -> Modality:
    return modality


def _absent(ids: NDArray[np.int32], rows: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether each id is not in its row."""
    return (rows != ids[:, None]).all(axis=1)


def _items(modality: Modality) -> int:
    array = modality.neighbours if modality.features is None else modality.features
    assert array is not None
    return len(array)


CONTROLS: dict[str, Control] = {
    "items-permuted": Control("items permuted", "every item has the content of another item", _permuted),
    "noise": Control("content is noise", "features are Gaussian noise, and graphs are built from it", _noise),
    "constant": Control("content is constant", "all items have the same features, and no neighbours", _constant, False),
    "random-neighbours": Control(
        "random neighbours", "an item's neighbours are random, as many and as near as they were", _rewired
    ),
    "same-modality": Control(
        "one modality in all places", "the first modality stands in the place of all", _same, False
    ),
}
