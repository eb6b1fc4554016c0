"""Whether row i of a modality belongs to item i.

If it does, the kNN graph of the rows fits the items' co-interactions (signal.py) as it lies, and worse when rows are
taken for other items. So the statistic is computed for the rows as they are, and laid elsewhere: all moved by up to 5
items (a header line too many, ids from 1); moved by one from some row on (a row lost, or one too many); and at the best
of all other offsets, forwards and backwards. Where items are sorted by kind, a moved graph still fits much better than
chance; hence not the fit itself is judged, but its lead:

    lead = (statistic here - statistic there) / standard error
    standard error = the larger of  sqrt(2) times that of the statistic under permutations (signal.py), and
                                    that of the difference, its sum per row taken for independent over rows

A lead counts if, for a normal number, it has a probability below ALPHA, divided by the number of places that were
tried (Bonferroni). The rows are *aligned* if they fit better than chance (z of 4 or more) and lead all offsets up to 5;
they are *shifted* if any place leads them and fits better than chance; else it *cannot be told*.
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
STRETCHES = 10  # a lost row is looked for between these
ALPHA = 0.001

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """One way to lay rows on items: row r for item r + offset, or, backwards, for the last item - r + offset.

    With a stretch, that holds from this tenth of the rows on, and rows before it stay where they are.
    """

    offset: int
    backwards: bool = False
    stretch: int = 0

    def of(self, edges: Edges) -> Edges:
        """The edges, with their rows laid so."""
        if not self.stretch:
            return (edges.reversed() if self.backwards else edges).moved(self.offset)
        names = np.arange(edges.items)
        names[self.start(edges.items) :] += self.offset
        return edges.renamed(names % edges.items)

    def start(self, items: int) -> int:
        """The first row that is moved."""
        return items * self.stretch // STRETCHES

    def describe(self, items: int) -> str:
        """Which row fits which item, in words."""
        if self.backwards:
            return f"the rows are in reverse order: row r fits item {items - 1 + self.offset} - r"
        if self.stretch:
            start = self.start(items)
            return f"from about row {start} on the rows are shifted: row r fits item r {self.offset:+d}"
        return f"the rows are shifted: row r fits item r {self.offset:+d}"


HERE = Place(0)
NEAR = tuple(Place(offset) for offset in range(-REACH, REACH + 1) if offset)
LOST = tuple(Place(offset, stretch=stretch) for offset in (-1, 1) for stretch in range(1, STRETCHES))


def check(about: str, source: str, use: CoInteraction, edges: Edges, synthetic: bool) -> list[Finding]:
    """The findings on one graph's signal and on its alignment; they share their permutations."""
    if not len(edges):
        sentence = "no item has a neighbour of positive cosine but itself: the graph is empty"
        return [Finding(about, f"signal of the {source}", "warning", sentence)]
    error = use.null(edges)
    signal = judge(about, f"signal of the {source}", measure(use, edges, error), synthetic)
    level, sentence, numbers = _align(use, edges, error)
    if level == "warning" and synthetic and signal.level == "note":
        level = "note"
    return [signal, Finding(about, f"alignment of the {source}", level, sentence, numbers)]


def _align(use: CoInteraction, edges: Edges, error: float) -> tuple[str, str, dict]:
    if not error:
        return "warning", "cannot be told: no two of these items have a training user in common", {}
    places = (HERE, *NEAR, *LOST, *_far(use, edges))
    excess = {place: use.excess(place.of(edges)) for place in places}
    z = {place: float(values.mean()) / error for place, values in excess.items()}
    near, rival = max(NEAR, key=z.__getitem__), max(places[1:], key=z.__getitem__)
    numbers: dict = {"z": {place.offset: z[place] for place in sorted((HERE, *NEAR), key=lambda place: place.offset)}}

    behind = _lead(edges, excess[rival], excess[HERE], error)
    needed = _needed(len(NEAR) + len(LOST) if rival in NEAR + LOST else 2 * edges.items)
    if z[rival] >= BEYOND_CHANCE and behind >= needed:
        sentence = (
            f"{rival.describe(edges.items)} (z = {z[rival]:.1f}; as they are {z[HERE]:.1f}; a lead of {behind:.1f}"
            f" standard errors, {needed:.1f} needed)"
        )
        numbers |= {"offset": rival.offset, "backwards": rival.backwards, "from_row": rival.start(edges.items)}
        return "error", sentence, numbers | {"lead": -behind, "needed": needed}

    lead, needed = _lead(edges, excess[HERE], excess[near], error), _needed(len(NEAR))
    numbers |= {"rival": near.offset, "lead": lead, "needed": needed}
    sentence = (
        f"z = {z[HERE]:.1f} as they are, {z[near]:.1f} at offset {near.offset:+d}, a lead of {lead:.1f} standard errors"
        f" ({needed:.1f} needed)"
    )
    if z[HERE] < BEYOND_CHANCE:
        return "warning", f"cannot be told, too little signal: {sentence}", numbers
    if lead < needed:
        return "warning", f"cannot be told, neighbouring rows are alike or some are shifted: {sentence}", numbers
    return "ok", f"aligned: {sentence}", numbers


def _far(use: CoInteraction, edges: Edges) -> list[Place]:
    """The best places among all others, by the plain mean of c over the edges."""
    found, n = [], edges.items
    for backwards in (False, True):
        fit = scan(edges.reversed() if backwards else edges, use.c)
        offsets = np.argsort(-fit, kind="stable")[: BEST + len(NEAR) + 1]
        places = [Place(int(o) - (n if o > n / 2 else 0), backwards) for o in offsets]
        found += [place for place in places if place not in (HERE, *NEAR)][:BEST]
    return found


def _lead(edges: Edges, here: Array, there: Array, error: float) -> float:
    """How many standard errors the mean over edges is larger here than there."""
    by_row = np.bincount(edges.i, weights=here - there, minlength=edges.items)[np.unique(edges.i)]
    paired = np.sqrt(len(by_row)) * by_row.std() / len(edges)
    return float((here - there).mean() / max(np.sqrt(2) * error, paired))


def _needed(places: int) -> float:
    return float(norm.isf(ALPHA / places))
