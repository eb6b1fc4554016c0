"""The interactions of a data set by themselves: counts, leaks, the kind of split, and what ids give away."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tmfun.checks.findings import Finding, graver
from tmfun.dataset import SPLITS, Dataset

ABOUT = "interactions"
BY_ORDER = 0.3  # |rank correlation| with the id from which on ids are said to run by something
COLD, ABSENT = 0.1, 0.05  # shares of test pairs, and of ids, from which on a count is a warning
ONE_SPREAD = 4.0  # standard errors within which a spread is that of chance


def check(dataset: Dataset) -> list[Finding]:
    """All findings on the interactions; of a set with ids out of range or an empty split, only those."""
    wrong = [finding for split in SPLITS for finding in _split_problems(dataset, split)]
    if wrong:
        return wrong
    return [
        _counts(dataset),
        *_repeated(dataset),
        _degrees(dataset),
        *_without(dataset),
        _cold(dataset),
        _split_kind(dataset),
        *_id_order(dataset),
    ]


def _split_problems(dataset: Dataset, split: str) -> list[Finding]:
    pairs = getattr(dataset, split)
    if not len(pairs):
        return [Finding(ABOUT, f"{split} split", "error", f"the {split} split is empty", {"pairs": 0})]
    found = []
    for column, (kind, count) in enumerate((("user", dataset.users), ("item", dataset.items))):
        ids = pairs[:, column]
        outside = ids[(ids < 0) | (ids >= count)]
        if len(outside):
            sentence = (
                f"{len(outside):,} pairs of the {split} split have a {kind} id outside 0..{count - 1},"
                f" such as {outside[0]}"
            )
            found.append(Finding(ABOUT, f"{kind} ids", "error", sentence, {"pairs": len(outside)}))
    return found


def _counts(dataset: Dataset) -> Finding:
    sizes = {split: len(getattr(dataset, split)) for split in SPLITS}
    total = sum(sizes.values())
    density = total / (dataset.users * dataset.items)
    sentence = (
        f"{dataset.users:,} users, {dataset.items:,} items, {total:,} interactions"
        f" ({' / '.join(f'{size:,}' for size in sizes.values())}), density {density:.4%}"
    )
    numbers = {"users": dataset.users, "items": dataset.items, "interactions": total, **sizes, "density": density}
    return Finding(ABOUT, "counts", "ok", sentence, numbers)


def _repeated(dataset: Dataset) -> list[Finding]:
    """Pairs twice within a split, and pairs in two splits."""
    found, keys = [], {split: dataset.keys(split) for split in SPLITS}
    repeats = {split: len(k) - len(np.unique(k)) for split, k in keys.items()}
    total = sum(repeats.values())
    sentence = "no pair occurs twice within a split"
    if total:
        example = next(_repeated_key(k) for split, k in keys.items() if repeats[split])
        sentence = f"{total:,} pairs repeat one of their own split, such as {_pair(dataset, example)}; remove them"
    found.append(Finding(ABOUT, "duplicates", "error" if total else "ok", sentence, repeats))
    leaks = {}
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        leaks[f"{first} and {second}"] = np.intersect1d(keys[first], keys[second])
    counts = {name: len(shared) for name, shared in leaks.items()}
    sentence = "no pair is in two splits"
    if sum(counts.values()):
        parts = [f"{len(k):,} in {name} (such as {_pair(dataset, k[0])})" for name, k in leaks.items() if len(k)]
        sentence = f"pairs are in two splits: {', '.join(parts)}; a model would be tested on what it was trained on"
    found.append(Finding(ABOUT, "leaks", "error" if sum(counts.values()) else "ok", sentence, counts))
    return found


def _repeated_key(keys: NDArray[np.int64]) -> np.int64:
    return keys[1:][keys[1:] == keys[:-1]][0]


def _pair(dataset: Dataset, key: np.int64) -> str:
    user, item = divmod(int(key), dataset.items)
    return f"user {user} with item {item}"


def _degrees(dataset: Dataset) -> Finding:
    parts, numbers = [], {}
    for kind, degrees in zip(("user", "item"), dataset.degrees(), strict=True):
        low, middle, high = (int(x) for x in np.quantile(degrees, (0, 0.5, 1), method="nearest"))
        gini = _gini(degrees)
        parts.append(f"{low} to {high:,} per {kind} (median {middle}, mean {degrees.mean():.1f}, Gini {gini:.2f})")
        numbers[kind] = {"least": low, "median": middle, "mean": float(degrees.mean()), "most": high, "gini": gini}
    return Finding(ABOUT, "degrees", "ok", f"training interactions: {'; '.join(parts)}", numbers)


def _gini(values: NDArray[np.int64]) -> float:
    """0 if all have the same, towards 1 if one has all."""
    ordered, n = np.sort(values).astype(np.float64), len(values)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * max(ordered.sum(), 1)))


def _without(dataset: Dataset) -> list[Finding]:
    """Users and items that a split, or all of them, lack."""
    found = []
    for column, (kind, count) in enumerate((("user", dataset.users), ("item", dataset.items))):
        there = {split: np.bincount(getattr(dataset, split)[:, column], minlength=count) > 0 for split in SPLITS}
        missing = {split: int((~present).sum()) for split, present in there.items()}
        missing["any"] = int((~np.any(list(there.values()), axis=0)).sum())
        level = graver(missing["any"] / count, note=0, warning=ABSENT)
        if level == "ok" and (missing["train"] or (kind == "user" and any(missing.values()))):
            level = "note"
        absent = f"; {missing['any']:,} ids have no interaction at all: ids are not dense" if missing["any"] else ""
        sentence = (
            f"{missing['train']:,} {kind}s have no training, {missing['validation']:,} no validation,"
            f" {missing['test']:,} no test interaction{absent}"
        )
        found.append(Finding(ABOUT, f"{kind}s without", level, sentence, missing))
    return found


def _cold(dataset: Dataset) -> Finding:
    known = dataset.degrees()[1] > 0
    cold = {split: int((~known[getattr(dataset, split)[:, 1]]).sum()) for split in ("validation", "test")}
    share = cold["test"] / len(dataset.test)
    sentence = (
        f"{cold['validation']:,} validation and {cold['test']:,} test pairs ({share:.1%}) have an item without"
        " training interaction: only content can rank it"
    )
    return Finding(ABOUT, "cold pairs", graver(share, note=0, warning=COLD), sentence, cold)


def _split_kind(dataset: Dataset) -> Finding:
    """What rule the split follows, as far as its sizes per user tell.

    Were held-out pairs drawn at random from all interactions, the number that a user has in a split would be
    near binomial, and the mean over users of (observed - expected)^2 / variance would be 1, give or take a standard
    error: the spread. A rule per user lies far below 1; a split by time, or in blocks of users, above.
    """
    sizes = np.stack([np.bincount(getattr(dataset, split)[:, 0], minlength=dataset.users) for split in SPLITS])
    own = sizes.sum(axis=0)
    active = own > 0
    sizes, own = sizes[:, active], own[active]
    share = stats.spearmanr(np.flatnonzero(active), sizes[1:].sum(axis=0) / own).statistic if _varies(sizes, own) else 0
    (validation, error_v), (test, error_t) = (_spread(held_out, own) for held_out in sizes[1:])
    numbers = {"spread_validation": validation, "spread_test": test, "share_by_user_id": float(share)}
    level = "note"
    if dataset.split == "lattice":
        kind, level, sentence = "lattice", "ok", "the LATTICE rule, per user: about 8:1:1, at least one of each"
    elif (sizes[1:] == 1).all():
        kind, sentence = "leave one out", "one validation and one test interaction per user"
    elif _by_rule(sizes, own):
        kind, sentence = "per user", "per user: users with as many interactions have as many held out"
    elif abs(validation - 1) < ONE_SPREAD * error_v and abs(test - 1) < ONE_SPREAD * error_t:
        kind = "random"
        sentence = "at random over all interactions, not per user: some users have few or no held-out items"
    else:
        kind = "other"
        sentence = (
            f"no known rule: held-out counts per user vary {validation:.1f} (validation) and {test:.1f} (test)"
            " times as much as a split at random over interactions would make them (a rule per user: well below 1)"
        )
        if abs(share) > BY_ORDER:
            sentence += (
                f"; the held-out share runs with the user id (rank correlation {share:+.2f}), as it does when the"
                " split is by time or by blocks of rows"
            )
    return Finding(ABOUT, "split kind", level, sentence, {"kind": kind, **numbers})


def _spread(held_out: NDArray[np.int64], own: NDArray[np.int64]) -> tuple[float, float]:
    """The spread and its standard error at random, from the binomial's fourth moment."""
    rate = held_out.sum() / own.sum()
    variance = own * rate * (1 - rate)
    error = math.sqrt((2 + (1 - 6 * rate * (1 - rate)) / variance).sum()) / len(own)
    return float(((held_out - own * rate) ** 2 / variance).mean()), error


def _by_rule(sizes: NDArray[np.int64], own: NDArray[np.int64]) -> bool:
    """Whether the number of interactions decides the sizes of a user's splits, and often enough to tell."""
    shapes = np.unique(np.vstack([own, sizes]), axis=1)[0]
    return len(np.unique(shapes)) == len(shapes) and len(shapes) <= len(own) / 2


def _varies(sizes: NDArray[np.int64], own: NDArray[np.int64]) -> bool:
    return len(np.unique(sizes[1:].sum(axis=0) / own)) > 1


def _id_order(dataset: Dataset) -> list[Finding]:
    """Rank correlations of ids with how often they occur in training."""
    found = []
    for kind, degrees in zip(("user", "item"), dataset.degrees(), strict=True):
        varies = len(np.unique(degrees)) > 1
        r = float(stats.spearmanr(np.arange(len(degrees)), degrees).statistic) if varies else 0.0
        sentence = f"rank correlation of {kind} id and training interactions {r:+.2f}"
        if abs(r) > BY_ORDER:
            means = "breaking ties by id would leak popularity (the ranking here does not)"
            means = means if kind == "item" else "take no stretch of ids for a sample of users"
            sentence += f": {kind} ids run by {'popularity' if kind == 'item' else 'activity'}; {means}"
        found.append(Finding(ABOUT, f"{kind} id order", graver(abs(r), note=BY_ORDER), sentence, {"correlation": r}))
    return found
