"""A data set as every model sees it: users, items, three splits of their interactions, and the items' modalities."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tmfun.errors import InputError

SPLITS = ("train", "validation", "test")

# Names of modalities are small letters, digits and _, beginning with a letter. These are taken: modules hold parts
# by the modality's name, beside these methods of their own.
TAKEN = frozenset(
    "apply buffers children clear compile copy cpu cuda double eval float forward fromkeys get half ipu items keys"
    " modules mtia parameters pop popitem setdefault to train training type update values xpu".split()
)

Pairs = NDArray[np.int32]  # (interactions, 2): user id, item id; sorted by user, then item


@dataclass(frozen=True, eq=False)
class Modality:
    """One kind of content of the items: features, or nearest neighbours, or both.

    features    (items, width) float32, row i belongs to item i
    neighbours  (items, k) int32: each item's nearest neighbours in the original features, nearest first,
                the item itself counted; where present they define the modality's graph
    cosine      (items, k) float32: the cosines of those neighbours
    origin      "original", "proxy" (known substitutes), "synthetic" (generated here), or "as supplied"
    search      how the neighbours were found, a JSON object, where their file says so; no part of the content hash
    """

    name: str
    features: NDArray[np.float32] | None = None
    neighbours: NDArray[np.int32] | None = None
    cosine: NDArray[np.float32] | None = None
    origin: str = "as supplied"
    search: str | None = None

    def check(self, items: int, where: str) -> None:
        """Raise InputError unless the arrays are complete, finite and of one row per item."""
        if not re.fullmatch("[a-z][a-z0-9_]*", self.name) or self.name in TAKEN:
            raise InputError(
                f"{where}: a modality cannot be called '{self.name}'; take small letters, digits and _, such as image"
            )
        if self.features is None and self.neighbours is None:
            raise InputError(f"{where}: the modality '{self.name}' has neither features nor neighbours")
        if self.features is not None:
            _check_rows(self.features, items, f"{where}: {self.name} features")
            bad = np.flatnonzero(~np.isfinite(self.features).all(axis=1))
            if len(bad):
                raise InputError(
                    f"{where}: {self.name} features of item {bad[0]} are not finite"
                    f" ({len(bad)} such rows); repair or impute them first"
                )
            if items > 1 and (self.features == self.features[0]).all():
                raise InputError(f"{where}: {self.name} features are the same for every item; remove this modality")
        if self.neighbours is not None:
            if self.cosine is None or self.cosine.shape != self.neighbours.shape:
                raise InputError(f"{where}: {self.name} neighbours and their cosines differ in shape")
            _check_rows(self.neighbours, items, f"{where}: {self.name} neighbours")
            if not self.neighbours.size:
                raise InputError(f"{where}: {self.name} neighbours have no column")
            if self.neighbours.min() < 0 or self.neighbours.max() >= items:
                raise InputError(f"{where}: {self.name} neighbours hold an item id outside 0..{items - 1}")
            ordered = np.sort(self.neighbours, axis=1)
            twice = np.argwhere(ordered[:, 1:] == ordered[:, :-1])
            if len(twice):
                row, place = twice[0]
                raise InputError(f"{where}: {self.name} neighbours of item {row} list item {ordered[row, place]} twice")
            if not np.isfinite(self.cosine).all() or np.abs(self.cosine).max() > 1.001:
                raise InputError(f"{where}: {self.name} cosines are not finite numbers between -1 and 1")


@dataclass(frozen=True)
class ModalityCard:
    """What is known of a modality without its arrays: None where it has no features, or no neighbours."""

    name: str
    origin: str
    width: int | None
    neighbours: int | None


@dataclass(frozen=True)
class Card:
    """What is known of a data set without its arrays: enough to plan runs and to label results."""

    name: str
    content_hash: str
    origin: str
    split: str
    users: int
    items: int
    train: int
    validation: int
    test: int
    modalities: tuple[ModalityCard, ...]

    @property
    def version(self) -> str:
        """The name with the head of the content hash: two contents under one name stay apart."""
        return f"{self.name}-{self.content_hash[:8]}"

    def too_narrow(self, k: int, names: Sequence[str] | None = None) -> str | None:
        """Why no graph of k nearest neighbours can be built from the modalities (of these names); None if it can."""
        for m in self.modalities:
            if (names is None or m.name in names) and m.neighbours is not None and m.neighbours < k:
                return f"the neighbours file of '{m.name}' holds {m.neighbours} per item, not {k}"
        return None


@dataclass(frozen=True, eq=False)
class Interactions:
    """Who had to do with what, before any split: one entry per pair in each array, ids dense from 0."""

    users: int
    items: int
    user: NDArray[np.int64]
    item: NDArray[np.int64]
    rating: NDArray[np.float64] | None
    timestamp: NDArray[np.int64] | None


@dataclass(frozen=True, eq=False)
class Extras:
    """What files say of a data set and no model reads: kept for writing it again, no part of its content hash.

    rating       (interactions,) float64: of the training pairs, then the validation pairs, then the test pairs
    timestamp    (interactions,) int64, in the same order
    user_tokens  what the files call each user, in id order; None where they count from 0 as we do
    item_tokens  the same of the items
    left_out     what the files hold beyond all this: "the column title of tiny.item"
    """

    rating: NDArray[np.float64] | None = None
    timestamp: NDArray[np.int64] | None = None
    user_tokens: tuple[str, ...] | None = None
    item_tokens: tuple[str, ...] | None = None
    left_out: tuple[str, ...] = ()

    def check(self, users: int, items: int, interactions: int, where: str) -> None:
        """Raise InputError unless there is one finite number per interaction and one usable token per id."""
        for what, values in (("rating", self.rating), ("timestamp", self.timestamp)):
            if values is not None and values.shape != (interactions,):
                raise InputError(
                    f"{where}: {what}s have shape {values.shape}, but there are {interactions} interactions"
                )
        if self.rating is not None and not np.isfinite(self.rating).all():
            raise InputError(f"{where}: a rating is not a finite number; remove that interaction or the column")
        for what, tokens, count in (("user", self.user_tokens, users), ("item", self.item_tokens, items)):
            if tokens is None:
                continue
            if len(tokens) != count:
                raise InputError(f"{where}: there are {len(tokens)} {what} tokens, but {count} {what}s")
            if len(set(tokens)) < count:
                token = next(token for token, times in Counter(tokens).items() if times > 1)
                raise InputError(f"{where}: two {what}s have the token '{token}'")
            # Control characters end lines and fields, lone surrogates have no bytes: no file could hold them.
            bad = next(
                (token for token in tokens if not token or re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", token)), None
            )
            if bad is not None:
                raise InputError(
                    f"{where}: {bad!r} cannot be the token of a {what}; take text without control characters"
                )


@dataclass(frozen=True, eq=False)
class Dataset:
    """Interactions between `users` and `items` in three splits, with the items' modalities.

    Ids are dense and start at 0. `origin` is "synthetic" for generated data and "files" for data that was read.
    Pairs may come in any order; they, and the entries of `extras` with them, are put in order.
    """

    name: str
    users: int
    items: int
    train: Pairs
    validation: Pairs
    test: Pairs
    modalities: tuple[Modality, ...] = ()
    origin: str = "files"
    where: str = field(default="", repr=False)
    extras: Extras = field(default=Extras(), repr=False)

    def __post_init__(self) -> None:
        orders: list[NDArray[np.int64]] = []
        for split in SPLITS:
            pairs = np.asarray(getattr(self, split), dtype=np.int32).reshape(-1, 2)
            order = np.lexsort((pairs[:, 1], pairs[:, 0]))
            object.__setattr__(self, split, pairs[order])
            orders.append(order + sum(map(len, orders)))
        whole = np.concatenate(orders)
        for name in ("rating", "timestamp"):
            values = getattr(self.extras, name)
            if values is not None and values.shape == whole.shape:  # what does not fit is for the check to refuse
                object.__setattr__(self, "extras", replace(self.extras, **{name: values[whole]}))

    @classmethod
    def from_interactions(
        cls,
        name: str,
        interactions: Interactions,
        label: NDArray,
        modalities: tuple[Modality, ...] = (),
        extras: Extras = Extras(),
        where: str = "",
    ) -> "Dataset":
        """The data set whose `label` (n,) says of each interaction: 0 train, 1 validation, 2 test.

        The ratings and timestamps are those of `interactions`, the rest of the extras that of `extras`.
        """
        order = np.argsort(label, kind="stable")
        pairs = np.column_stack([interactions.user, interactions.item])[order]
        train, validation, test = np.split(pairs.astype(np.int32), np.searchsorted(label[order], [1, 2]))
        rating, timestamp = interactions.rating, interactions.timestamp
        return cls(
            name,
            interactions.users,
            interactions.items,
            train,
            validation,
            test,
            modalities,
            where=where,
            extras=replace(
                extras,
                rating=None if rating is None else rating[order],
                timestamp=None if timestamp is None else timestamp[order],
            ),
        )

    def interactions(self) -> tuple[Interactions, NDArray[np.int8]]:
        """All pairs in one table, split after split, and of each 0 (train), 1 (validation) or 2 (test)."""
        parts = [getattr(self, split) for split in SPLITS]
        pairs = np.concatenate(parts).astype(np.int64)
        label = np.repeat(np.arange(len(SPLITS), dtype=np.int8), [len(part) for part in parts])
        table = Interactions(
            self.users, self.items, pairs[:, 0], pairs[:, 1], self.extras.rating, self.extras.timestamp
        )
        return table, label

    def check(self) -> "Dataset":
        """Return the data set, or raise InputError with the first thing that is wrong with it."""
        where = self.where or self.name
        for split in SPLITS:
            pairs = getattr(self, split)
            if not len(pairs):
                raise InputError(f"{where}: the {split} split is empty")
            for column, (kind, count) in enumerate((("user", self.users), ("item", self.items))):
                low, high = int(pairs[:, column].min()), int(pairs[:, column].max())
                if low < 0 or high >= count:
                    raise InputError(
                        f"{where}: {kind} id {low if low < 0 else high} in the {split} split is outside 0..{count - 1}"
                    )
        keys = np.concatenate([self.keys(split) for split in SPLITS])
        if len(np.unique(keys)) < len(keys):
            values, counts = np.unique(keys, return_counts=True)
            key = int(values[counts > 1][0])
            user, item = divmod(key, self.items)
            splits = " and ".join(split for split in SPLITS if key in self.keys(split))
            raise InputError(f"{where}: user {user} and item {item} occur together more than once, in {splits}")
        if len({modality.name for modality in self.modalities}) < len(self.modalities):
            raise InputError(f"{where}: two modalities have the same name")
        for modality in self.modalities:
            modality.check(self.items, where)
        self.extras.check(self.users, self.items, len(keys), where)
        return self

    def card(self) -> Card:
        """The data set without its arrays."""
        return Card(
            name=self.name,
            content_hash=self.content_hash,
            origin=self.origin,
            split=self.split,
            users=self.users,
            items=self.items,
            train=len(self.train),
            validation=len(self.validation),
            test=len(self.test),
            modalities=tuple(
                ModalityCard(
                    name=modality.name,
                    origin=modality.origin,
                    width=None if modality.features is None else modality.features.shape[1],
                    neighbours=None if modality.neighbours is None else modality.neighbours.shape[1],
                )
                for modality in self.modalities
            ),
        )

    def keys(self, split: str) -> NDArray[np.int64]:
        """One sorted integer per pair of the split: user * items + item."""
        pairs = getattr(self, split).astype(np.int64)
        return pairs[:, 0] * self.items + pairs[:, 1]

    def modality(self, name: str) -> Modality:
        """The modality called `name`; KeyError if there is none."""
        return {modality.name: modality for modality in self.modalities}[name]

    def with_modalities(self, *modalities: Modality) -> "Dataset":
        """The same interactions with other modalities (its content hash differs)."""
        return replace(self, modalities=modalities)

    def degrees(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Training interactions per user (users,) and per item (items,)."""
        return (
            np.bincount(self.train[:, 0], minlength=self.users),
            np.bincount(self.train[:, 1], minlength=self.items),
        )

    @cached_property
    def split(self) -> str:
        """ "lattice" if every user's split sizes follow the LATTICE rule, else "as supplied".

        The rule: of a user's n interactions, h = 2 if n < 10 else floor(0.2 n) are held out; floor(h / 2) of
        them are for test, the rest for validation.
        """
        train, validation, test = (np.bincount(getattr(self, split)[:, 0], minlength=self.users) for split in SPLITS)
        wanted_validation, wanted_test = lattice_sizes(train + validation + test)
        follows = (validation == wanted_validation).all() and (test == wanted_test).all()
        return "lattice" if follows else "as supplied"

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of interactions, splits, features and neighbours, in id order: what a run was trained on."""
        digest = hashlib.sha256()

        def add(label: str, array: NDArray, kind: str) -> None:
            digest.update(f"{label} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())

        digest.update(f"{self.users} {self.items} ".encode())
        for split in SPLITS:
            add(split, getattr(self, split), "<i4")
        for modality in sorted(self.modalities, key=lambda modality: modality.name):
            digest.update(f"modality {modality.name} ".encode())
            if modality.features is not None:
                add("features", modality.features, "<f4")
            if modality.neighbours is not None and modality.cosine is not None:
                add("neighbours", modality.neighbours, "<i4")
                add("cosine", modality.cosine, "<f4")
        return digest.hexdigest()


def lattice_sizes(interactions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many of each user's interactions the LATTICE rule holds out: (for validation, for test)."""
    held_out = np.where(interactions < 10, 2, interactions * 2 // 10)
    test = held_out // 2
    return held_out - test, test


def _check_rows(array: NDArray, items: int, what: str) -> None:
    if array.ndim != 2 or array.shape[0] != items:
        raise InputError(f"{what} have shape {array.shape}, but there are {items} items: one row per item is needed")
