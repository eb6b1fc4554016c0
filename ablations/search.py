"""Searches: whether they are of one size, and what a smaller one would find. Exact expectations, nothing is drawn.

Of N points, n are tried at random *without* replacement, and the best of them on validation is taken, the first in
the grid's order of equals, as `planning.Cell.winner` does. With the points in that order of preference, the r-th (from
1) is taken if it is tried and all others tried come after it: with probability C(N - r, n - 1) / C(N, n). (Dodge et
al., "Show Your Work", EMNLP 2019, give the form with replacement, for searches without end; a grid ends at n = N.)
"""

from collections.abc import Sequence
from math import comb

import numpy as np

from ablations.planning import Plan


def expected(validation: Sequence[float], test: Sequence[float]) -> list[tuple[float, float]]:
    """For n = 1, ..., N tried points: the expected validation and test score of the point that is taken.

    `validation` and `test` hold each point's score, in the order of the grid; the test scores choose nothing.
    """
    order = np.argsort(-np.asarray(validation), kind="stable")
    points = len(order)
    found = []
    for tried in range(1, points + 1):
        chances = np.array([comb(points - rank, tried - 1) / comb(points, tried) for rank in range(1, points + 1)])
        found.append((float(chances @ np.asarray(validation)[order]), float(chances @ np.asarray(test)[order])))
    return found


def unequal(plan: Plan) -> str | None:
    """A sentence on who may try how many grid points, if that differs between models; else None."""
    sizes = plan.search_sizes()
    if len(sizes) < 2:
        return None
    parts = [f"{n} for {', '.join(names)}" for n, names in sorted(sizes.items())]
    return f"Search sizes differ, in grid points: {'; '.join(parts)}."
