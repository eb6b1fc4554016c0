"""What smaller searches find, against all subsets of the grid; the choice among equals as `Cell.winner` makes it."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.search import expected


def brute(validation: list[float], test: list[float], tried: int) -> tuple[float, float]:
    """The means over all subsets: each takes the first of its best points."""
    taken = [max(subset, key=lambda i: (validation[i], -i)) for subset in combinations(range(len(test)), tried)]
    return float(np.mean([validation[i] for i in taken])), float(np.mean([test[i] for i in taken]))


# few distinct values, so that equals occur
SCORES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 100)), min_size=1, max_size=8)


@given(SCORES)
def test_expectations_are_the_means_over_all_subsets(scores: list[tuple[int, int]]) -> None:
    validation, test = [v / 10 for v, _ in scores], [t / 100 for _, t in scores]
    found = expected(validation, test)
    assert len(found) == len(scores)
    for tried, (on_validation, on_test) in enumerate(found, start=1):
        assert (on_validation, on_test) == pytest.approx(brute(validation, test, tried))


@given(SCORES)
def test_one_point_is_the_mean_all_points_are_the_winner_and_validation_never_falls(
    scores: list[tuple[int, int]],
) -> None:
    validation, test = [v / 10 for v, _ in scores], [t / 100 for _, t in scores]
    found = expected(validation, test)
    assert found[0] == pytest.approx((np.mean(validation), np.mean(test)))
    winner = int(np.argmax(validation))
    assert found[-1] == pytest.approx((validation[winner], test[winner]))
    assert (np.diff([v for v, _ in found]) >= -1e-12).all()


def test_more_search_can_lower_the_test_score() -> None:
    """Where validation misleads: the number is that of the chosen point, not the best on test."""
    assert [t for _, t in expected([0.1, 0.2], [0.6, 0.2])] == pytest.approx([0.4, 0.2])
