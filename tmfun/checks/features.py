"""A modality's arrays by themselves, and beside each other: no interactions are needed."""

import json
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tmfun.checks.edges import Edges, file_edges, knn_edges, where_it_fits
from tmfun.checks.findings import Finding, graver
from tmfun.dataset import Dataset, Modality
from tmfun.streams import numpy_stream

ROWS = 2000  # rows that the effective rank is computed from
DEAD = 1e-3  # rows whose distance from their mean is less than this share of their norm are all the same
OUTLIER = 5.0  # a norm this many times the median, or less than one part in it, is out of line
SAME = 0.5  # two kNN graphs with this share of edges in common are of one content
STRETCHES = 10  # of rows, that must agree one by one
FULL = 0.9  # with this share they agree; what lies between is noted


def check(dataset: Dataset, modality: Modality) -> list[Finding]:
    """All findings on one modality's features and neighbours file, each by itself."""
    about = about_modality(modality)
    found = []
    if modality.features is None and modality.neighbours is None:
        found.append(Finding(about, "arrays", "error", "neither features nor neighbours"))
    if modality.features is not None:
        found += _features(about, modality.features, dataset.items, modality.origin)
    if modality.neighbours is not None:
        found += _neighbours(about, modality, dataset.items)
    return found


def about_modality(modality: Modality) -> str:
    """What findings on this modality are about."""
    return f"modality {modality.name}"


def _features(about: str, features: NDArray[np.float32], items: int, origin: str) -> list[Finding]:
    if features.ndim != 2 or len(features) != items or not features.size:
        sentence = f"features have shape {features.shape}, but there are {items:,} items: one row per item is needed"
        return [Finding(about, "feature rows", "error", sentence, {"rows": len(features), "items": items})]
    what = f"{features.shape[1]}-d features, {origin}"
    proxies = "; results that use them say so" if origin == "proxy" else ""
    found = [Finding(about, "features", "note" if proxies else "ok", what + proxies, {"width": features.shape[1]})]
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        sentence = f"{bad.sum():,} rows hold NaN or infinite numbers, such as row {np.flatnonzero(bad)[0]}"
        return [*found, Finding(about, "finite", "error", sentence, {"rows": int(bad.sum())})]
    found.append(Finding(about, "finite", "ok", "every number is finite", {"rows": 0}))

    x = features / (np.abs(features).max() or np.float32(1))  # squares stay finite
    norms = np.linalg.norm(x, axis=1)
    away = np.linalg.norm(x - x.mean(axis=0), axis=1).mean() / max(norms.mean(), 1e-300)
    if items > 1 and away < DEAD:
        sentence = f"all rows are the same, to {away:.1g} of their norm: the modality says nothing; remove it"
        return [*found, Finding(about, "spread", "error", sentence, {"spread": float(away)})]
    rank = _effective_rank(x)
    sentence = (
        f"rows lie {away:.2f} of their norm away from their mean, in {rank:.1f} effective dimensions"
        f" of {features.shape[1]}"
    )
    level = "warning" if rank < min(1.5, features.shape[1]) else "ok"
    found.append(Finding(about, "spread", level, sentence, {"spread": float(away), "effective_rank": rank}))

    zero = norms == 0
    sentence = f"{zero.sum():,} rows are all zero: items without content" if zero.any() else "no row is all zero"
    found.append(Finding(about, "zero rows", _share(zero), sentence, {"rows": int(zero.sum())}))
    constant = (features == features[0]).all(axis=0)
    sentence = f"{constant.sum():,} of {len(constant):,} columns have one value only"
    found.append(Finding(about, "constant columns", _share(constant), sentence, {"columns": int(constant.sum())}))
    found.append(_duplicates(about, features[~zero]))
    ratio = norms[~zero] / np.median(norms[~zero])
    outside = (ratio > OUTLIER) | (ratio < 1 / OUTLIER)
    sentence = (
        f"norms are {ratio.min():.2g} to {ratio.max():.3g} times their median; {outside.sum():,} of them"
        f" differ from it by a factor above {OUTLIER:g}"
    )
    numbers = {"rows": int(outside.sum()), "least": float(ratio.min()), "most": float(ratio.max())}
    found.append(Finding(about, "norms", _share(outside), sentence, numbers))
    return found


def _share(flags: NDArray[np.bool_]) -> str:
    """Some is a note, a tenth a warning."""
    return graver(flags.mean() if len(flags) else 0, note=0, warning=0.1)


def _effective_rank(x: NDArray[np.float64]) -> float:
    """exp of the entropy of the normalised singular values of the centred rows (Roy and Vetterli 2007)."""
    if len(x) > ROWS:
        x = x[numpy_stream(0, "check.rank").choice(len(x), ROWS, replace=False)]
    x = x - x.mean(axis=0)
    singular = np.sqrt(np.linalg.eigvalsh(x @ x.T if len(x) < x.shape[1] else x.T @ x).clip(min=0))
    p = singular[singular > 0] / singular.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def _duplicates(about: str, features: NDArray[np.float32]) -> Finding:
    _, counts = np.unique(features, axis=0, return_counts=True)
    rows, most = int(counts[counts > 1].sum()), int(counts.max(initial=0))
    sentence = "no two rows are the same"
    if rows:
        sentence = (
            f"{rows:,} rows ({rows / len(features):.1%}) equal another one; the most frequent is in {most:,} rows"
        )
    level = graver(rows / max(len(features), 1), note=0, warning=0.2)
    return Finding(about, "duplicate rows", level, sentence, {"rows": rows, "most": most})


def _told(search: str | None) -> str:
    """What a neighbours file says on how its neighbours were found, if it says so."""
    try:
        how = json.loads(search or "{}")
        if how["search"] == "exact":
            return ", searched exactly"
        return f", searched approximately: recall {float(how['recall']):.3f} on {int(how['recall_rows']):,} rows"
    except (ValueError, TypeError, LookupError):  # another program's words
        return ""


def _neighbours(about: str, modality: Modality, items: int) -> list[Finding]:
    ids, cosine = modality.neighbours, modality.cosine
    assert ids is not None
    if ids.ndim != 2 or len(ids) != items or not ids.size:
        sentence = f"neighbours have shape {ids.shape}, but there are {items:,} items: one row per item is needed"
        return [Finding(about, "neighbour rows", "error", sentence, {"rows": len(ids), "items": items})]
    if cosine is None or cosine.shape != ids.shape:
        return [Finding(about, "cosines", "error", "neighbours and their cosines differ in shape")]
    sentence = f"{ids.shape[1]} neighbours per item{_told(modality.search)}"
    found = [Finding(about, "neighbours", "ok", sentence, {"k": ids.shape[1]})]
    outside = ((ids < 0) | (ids >= items)).any(axis=1)
    if outside.any():
        sentence = f"{outside.sum():,} rows hold an id outside 0..{items - 1}, such as row {np.flatnonzero(outside)[0]}"
        found.append(Finding(about, "neighbour ids", "error", sentence, {"rows": int(outside.sum())}))
    wrong = (~np.isfinite(cosine) | (np.abs(cosine) > 1.001)).any(axis=1)
    rising = (np.diff(cosine, axis=1) > 1e-3).any(axis=1)
    level, sentence = "ok", "cosines lie between -1 and 1 and never rise along a row"
    if wrong.any():
        level, sentence = "error", f"{wrong.sum():,} rows hold a cosine that is no number between -1 and 1"
    elif rising.any():
        level, sentence = "warning", f"in {rising.sum():,} rows the cosines rise: nearest come first"
    numbers = {"out_of_range": int(wrong.sum()), "rising": int(rising.sum())}
    found.append(Finding(about, "cosines", level, sentence, numbers))
    ordered = np.sort(ids, axis=1)
    repeated = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    sentence = f"{repeated.sum():,} rows name an item twice" if repeated.any() else "no row names an item twice"
    level = "error" if repeated.any() else "ok"
    found.append(Finding(about, "repeated ids", level, sentence, {"rows": int(repeated.sum())}))
    found.append(_own(about, ids))
    return found


def _own(about: str, ids: NDArray[np.int32]) -> Finding:
    """Whether rows hold their own item: most rows without it belong to other items."""
    items = len(ids)
    lacking = ~(ids == np.arange(items)[:, None]).any(axis=1)
    level = graver(lacking.mean(), note=0, warning=0.05, error=0.5)
    sentence = f"{lacking.sum():,} rows ({lacking.mean():.1%}) lack the item itself"
    numbers = {"rows": int(lacking.sum())}
    if level == "error":
        offsets, counts = np.unique((ids[:, 0] - np.arange(items)) % items, return_counts=True)
        usual = int(offsets[counts.argmax()])
        if counts.max() > items / 2:
            usual -= items if usual > items / 2 else 0
            sentence += f", and most name item row {usual:+d} first: the rows are shifted"
            numbers["offset"] = usual
        else:
            sentence += ": its own item must be counted, or the rows belong to other items"
    return Finding(about, "own item", level, sentence, numbers)


def agreement(modalities: list[Modality]) -> list[Finding]:
    """Features beside neighbours files, and modalities beside each other, where their arrays are sound.

    Two kNN graphs agree as far as they have edges in common: of those of the neighbours file, or of the second
    modality, the share that is among those of the features, or of the first; an item's edge to itself is left out.
    """
    own = {m.name: knn_edges(m) for m in modalities if m.features is not None}
    file = {m.name: file_edges(m) for m in modalities if m.neighbours is not None}
    own, file = ({name: edges for name, edges in graphs.items() if len(edges)} for graphs in (own, file))
    found = [_with_files(modality, own[modality.name], file) for modality in modalities if modality.name in own]
    for first, second in combinations(own | file, 2):  # the graphs that models take: of the file, where there is one
        share = (own | file)[second].share_in((own | file)[first])
        level = graver(share, note=SAME, warning=FULL)
        sentence = f"{share:.1%} of their kNN edges are the same"
        sentence += ": one content under two names?" if level != "ok" else ""
        found.append(Finding(f"modalities {first} and {second}", "likeness", level, sentence, {"share": share}))
    return found


def _stretches(edges: Edges) -> list[tuple[int, Edges]]:
    """The edges from each stretch of rows that has any, with the stretch's first row."""
    stretch = edges.i * STRETCHES // edges.items
    return [(-(-edges.items * s // STRETCHES), edges.part(stretch == s)) for s in np.unique(stretch).tolist()]


def _with_files(modality: Modality, own: Edges, file: dict[str, Edges]) -> Finding:
    """A modality's features beside its neighbours file, and beside those of the other modalities."""
    name, about = modality.name, about_modality(modality)
    shares = {other: graph.share_in(own) for other, graph in file.items()}
    fits = max(shares, key=lambda other: shares[other], default=name)
    if fits != name and shares[fits] >= SAME and shares[fits] > 2 * shares.get(name, 0):
        sentence = f"these features have {shares[fits]:.1%} of the edges of {fits}'s neighbours file"
        sentence += f" and {shares[name]:.1%} of those of their own" if name in shares else ""
        sentence += f": they are the features of {fits} under the name of {name}"
        return Finding(about, "name", "error", sentence, {"shares": shares})
    if name not in shares:
        sentence = "there is no neighbours file: features of another modality under this name would not show"
        return Finding(about, "name", "note", sentence, {"shares": shares})
    share, recall = shares[name], file[name].recall_in(own)
    numbers: dict = {"shares": shares, "recall": recall}
    sentence = (
        f"the features' nearest neighbours hold {share:.1%} of the edges of the neighbours file (recall {recall:.3f}"
        " with items' edges to themselves)"
    )
    by_row = {row: part.share_in(own) for row, part in _stretches(file[name])}
    numbers["least"] = min(by_row.values())
    if numbers["least"] >= SAME:
        return Finding(about, "agreement", "ok" if share >= FULL else "note", sentence, numbers)
    offset, at = where_it_fits(file[name], own)
    if share >= SAME:
        numbers["from_row"] = min(row for row, share in by_row.items() if share < SAME)
        sentence += f"; but in the {STRETCHES} stretches of rows down to {numbers['least']:.1%}, first in that from row"
        sentence += f" {numbers['from_row']} on: a row lost, or one too many?"
        return Finding(about, "agreement", "error", sentence, numbers)
    if at >= SAME:
        sentence += f"; with the features' row r taken for item r {offset:+d} they hold {at:.1%}: one is shifted"
        numbers["offset"] = offset
    else:
        sentence += ": the two are of other content, or of other items"
    return Finding(about, "agreement", "error", sentence, numbers)
