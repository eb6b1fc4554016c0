"""Whether row i of a modality belongs to item i.

If it does, the kNN graph of the rows fits the items' co-interactions (signal.py) as it lies, and worse when every row
is taken for another item. So the statistic is computed for the rows as they are, moved by up to 5 items (a header
line too many, ids from 1, a row lost), and at the best places among all other offsets, forwards and backwards.
Where items are sorted by kind, a moved graph still fits much better than chance; hence not the fit itself is judged,
but its lead:

    lead = (statistic here - statistic there) / standard error
    standard error = the larger of  sqrt(2) times that of the statistic under permutations (signal.py), and
                                    that of the difference, its sum per row taken for independent over rows

A lead counts if, for a normal number, it has a probability below ALPHA, divided by the number of places that were
tried (Bonferroni). The rows are *aligned* if they fit better than chance (z of 4 or more) and lead all neighbouring
offsets; they are *shifted* if any place leads them and fits better than chance; else it *cannot be told*. The same is
asked of each half of the rows, where a row lost in the middle shows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from tmfun.checks.edges import Edges, scan
from tmfun.checks.findings import Finding
from tmfun.checks.signal import BEYOND_CHANCE, CoInteraction, judge, measure

REACH = 5  # offsets this far on either side are always tried
BEST = 3  # of the other offsets
ALPHA = 0.001

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """One way to lay rows on items: row r for item r + offset, or, backwards, for the last item - r + offset."""

    offset: int
    backwards: bool = False

    def __str__(self) -> str:
        return f"{'backwards, ' if self.backwards else ''}{self.offset:+d}"

    def of(self, edges: Edges) -> Edges:
        """The edges, with their rows laid so."""
        return (edges.reversed() if self.backwards else edges).moved(self.offset)


HERE = Place(0)
NEAR = tuple(Place(offset) for offset in range(-REACH, REACH + 1) if offset)


def check(about: str, source: str, use: CoInteraction, edges: Edges, synthetic: bool) -> list[Finding]:
    """The findings on one graph's signal and on its alignment; they share their permutations."""
    middle = edges.items // 2
    parts = {
        "all": np.ones(len(edges), dtype=bool),
        "the first half": (edges.i < middle) & (edges.j < middle),
        "the second half": (edges.i >= middle) & (edges.j >= middle),
    }
    errors = use.null(edges, parts)
    found = judge(about, measure(use, edges, errors["all"]), synthetic)
    level, sentence, numbers = _align(use, edges, parts, errors)
    if level == "warning" and synthetic and found.level == "note":
        level = "note"
    return [
        Finding(about, f"signal of the {source}", found.level, found.sentence, found.numbers),
        Finding(about, f"alignment of the {source}", level, sentence, numbers),
    ]


def _align(
    use: CoInteraction, edges: Edges, parts: dict[str, NDArray[np.bool_]], errors: dict[str, float]
) -> tuple[str, str, dict]:
    if not errors["all"]:
        return "warning", "cannot be told: no two of these items have a training user in common", {}
    excess = {place: use.excess(place.of(edges)) for place in (HERE, *NEAR)}
    z = {place: float(values.mean()) / errors["all"] for place, values in excess.items()}
    numbers: dict = {"z": {place.offset: round(z[place], 2) for place in sorted(z, key=lambda place: place.offset)}}
    for place in _far(use, edges):
        excess[place] = use.excess(place.of(edges))
        z[place] = float(excess[place].mean()) / errors["all"]

    rival = max((place for place in z if place != HERE), key=lambda place: z[place])
    tried = len(NEAR) if rival in NEAR else 2 * edges.items
    behind, needed = _lead(edges, excess[rival], excess[HERE], errors["all"]), _needed(tried)
    numbers |= {"rival": str(rival), "rival_z": z[rival], "lead": -behind, "needed": needed}
    if z[rival] >= BEYOND_CHANCE and behind >= needed:
        numbers["fits"] = str(rival)
        return "error", _moved("the rows", edges.items, rival, (z[rival], z[HERE], behind, needed)), numbers

    for name in ("the first half", "the second half"):
        part, error = parts[name], errors[name]
        if not error:
            continue
        best = max(NEAR, key=lambda place: excess[place][part].mean())
        behind, needed = _lead(edges.part(part), excess[best][part], excess[HERE][part], error), _needed(2 * len(NEAR))
        there, here = (float(excess[place][part].mean()) / error for place in (best, HERE))
        if there >= BEYOND_CHANCE and behind >= needed:
            numbers |= {"fits": str(best), "part": name}
            sentence = _moved(f"the rows of {name}", edges.items, best, (there, here, behind, needed))
            return "error", f"{sentence}: a row is missing, or one too many, somewhere between", numbers

    near = max(NEAR, key=lambda place: z[place])
    lead, needed = _lead(edges, excess[HERE], excess[near], errors["all"]), _needed(len(NEAR))
    numbers |= {"nearest_rival": str(near), "lead": lead, "needed": needed}
    against = f"z = {z[HERE]:.1f} as they are, {z[near]:.1f} at offset {near}, a lead of {lead:.1f} standard errors"
    if z[HERE] >= BEYOND_CHANCE and lead >= needed:
        return "ok", f"aligned: {against} ({needed:.1f} needed)", numbers
    why = (
        "too little signal"
        if z[HERE] < BEYOND_CHANCE
        else "rows fit elsewhere nearly as well (all alike, or some of them shifted)"
    )
    return "warning", f"cannot be told, {why}: {against} ({needed:.1f} needed)", numbers


def _far(use: CoInteraction, edges: Edges) -> list[Place]:
    """The best places among all others, by the plain mean of c over the edges."""
    found, n = [], edges.items
    for backwards in (False, True):
        fit = scan(edges.reversed() if backwards else edges, use.c)
        offsets = np.argsort(-fit, kind="stable")[: BEST + 2 * REACH + 1]
        places = [Place(int(o) - (n if o > n / 2 else 0), backwards) for o in offsets]
        found += [place for place in places if place not in (HERE, *NEAR)][:BEST]
    return found


def _lead(edges: Edges, here: Array, there: Array, error: float) -> float:
    """How many standard errors the mean over edges is larger here than there."""
    by_row = np.bincount(edges.i, weights=here - there, minlength=edges.items)
    rows = by_row[np.unique(edges.i)]
    paired = float(np.sqrt(len(rows)) * rows.std() / len(edges))
    return float((here - there).mean()) / max(np.sqrt(2) * error, paired)


def _needed(places: int) -> float:
    return float(norm.isf(ALPHA / places))


def _moved(what: str, items: int, place: Place, fit: tuple[float, float, float, float]) -> str:
    how = "in reverse order" if place.backwards else "shifted"
    of = f"item {items - 1 + place.offset} - r" if place.backwards else f"item r {place.offset:+d}"
    there, here, lead, needed = fit
    return (
        f"{what} are {how}: row r fits {of} (z = {there:.1f}; as they are {here:.1f}; a lead of {lead:.1f} standard"
        f" errors, {needed:.1f} needed)"
    )
