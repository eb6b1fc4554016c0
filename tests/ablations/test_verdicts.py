"""Statistics against closed forms and independent implementations, and the edge cases of a verdict."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from ablations.verdicts import (
    Effect,
    crossed_interval,
    fewest_seeds,
    holm,
    judge,
    paired_effect,
    pooled,
    seeds_to_settle,
    sign_flip_p,
)

values = st.lists(st.floats(-1, 1).map(lambda x: round(x, 4)), min_size=2, max_size=8)


def brute_force_p(d: list[float]) -> float:
    observed = abs(np.mean(d))
    flips = [abs(np.mean(np.array(signs) * d)) for signs in itertools.product((1, -1), repeat=len(d))]
    return float(np.mean([flip >= observed - 1e-12 for flip in flips]))


@given(values)
def test_the_sign_flip_p_is_that_of_all_flips(d: list[float]) -> None:
    assert sign_flip_p(d) == pytest.approx(brute_force_p(d))


@given(values)
def test_the_interval_is_students(d: list[float]) -> None:
    effect = paired_effect(np.array(d) + 0.5, np.full(len(d), 0.5))
    if np.std(d) > 1e-6:
        low, high = stats.t.interval(0.95, len(d) - 1, loc=np.mean(d), scale=stats.sem(d))
        assert (effect.low, effect.high) == pytest.approx((low, high), abs=1e-9)
        assert stats.ttest_1samp(d, 0).confidence_interval().low == pytest.approx(effect.low, abs=1e-9)


@given(values, st.integers(0, 99))
def test_the_interval_is_that_of_a_paired_t_test(d: list[float], draw: int) -> None:
    worse = np.random.default_rng(draw).normal(0.5, 0.1, len(d))
    if np.std(d) > 1e-6:
        effect, theirs = paired_effect(worse + d, worse), stats.ttest_rel(worse + d, worse).confidence_interval(0.95)
        assert (effect.low, effect.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@given(st.lists(st.floats(-0.004, 0.004), min_size=6, max_size=10), st.floats(0.001, 0.05))
def test_no_effect_is_two_one_sided_tests_at_half_the_usual_level(d: list[float], smallest: float) -> None:
    worse = np.full(len(d), 0.1)
    effect = paired_effect(worse + d, worse)
    if effect.deviation > 1e-9:
        margin = smallest * 0.1
        p, _, _ = ttost_paired(worse + d, worse, -margin, margin)
        assert abs(p - 0.025) < 1e-9 or (judge(effect, 1.0, 1, smallest).word == "no effect") == (p <= 0.025)


def test_pairing_is_over_seeds() -> None:
    seeds = np.array([0.1, 0.2, 0.3, 0.4])
    effect = paired_effect(seeds + 0.01, seeds)
    assert effect.deviation == pytest.approx(0, abs=1e-12)
    assert effect.difference == pytest.approx(0.01)
    assert effect.relative == pytest.approx(0.04)


@pytest.mark.parametrize(("family", "seeds"), [(1, 6), (2, 7), (4, 8), (19, 10)])
def test_fewest_seeds_is_the_smallest_n_with_enough_flips(family: int, seeds: int) -> None:
    assert fewest_seeds(family) == seeds
    assert 2.0 ** (1 - seeds) <= 0.05 / family < 2.0 ** (2 - seeds)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@settings(max_examples=10)  # multipletests takes its time
@given(st.lists(st.floats(0, 1), min_size=1, max_size=25))
def test_holm_is_that_of_statsmodels(p: list[float]) -> None:
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def effect_of(better: list[float], worse: list[float]) -> Effect:
    return paired_effect(better, worse)


def constant(difference: float, seeds: int) -> Effect:
    return paired_effect([0.1 + difference] * seeds, [0.1] * seeds)


def noisy(mean: float, deviation: float, seeds: int) -> Effect:
    d = np.random.default_rng(0).normal(size=seeds)
    d = (d - d.mean()) / d.std(ddof=1) * deviation + mean
    return paired_effect(0.1 + d, np.full(seeds, 0.1))


@pytest.mark.parametrize(
    ("effect", "word"),
    [
        (noisy(0.01, 0.002, 8), "supported"),
        (noisy(-0.01, 0.002, 8), "contradicted"),
        (noisy(0.0001, 0.0003, 8), "no effect"),
        (noisy(0.0001, 0.01, 8), "inconclusive"),
        (noisy(0.01, 0.002, 5), "inconclusive"),
        (constant(0.0, 8), "no effect"),
        (constant(0.01, 8), "supported"),
        (constant(-0.01, 8), "contradicted"),
        (constant(0.01, 1), "inconclusive"),
        (constant(0.01, 2), "inconclusive"),
    ],
)
def test_the_word_follows_from_the_numbers(effect: Effect, word: str) -> None:
    assert judge(effect, effect.p, 1, 0.01).word == word


def test_a_gain_too_small_to_matter_is_no_effect_even_if_every_seed_shows_it() -> None:
    assert judge(constant(0.0005, 10), 0.002, 1, 0.01).word == "no effect"


def test_too_few_seeds_for_the_family_are_named_and_never_significant() -> None:
    verdict = judge(noisy(0.01, 0.0001, 7), 0.016, 4, 0.01)
    assert verdict.word == "inconclusive"
    assert verdict.reason.startswith("7 of the 8 seeds that a family of 4 needs; about 8 seeds would settle it")
    two = judge(noisy(0.01, 0.0001, 2), 1.0, 4, 0.01).reason
    assert two == "2 of the 8 seeds that a family of 4 needs", "two seeds show no spread to guess from"
    assert "significant" in judge(noisy(0.01, 0.0001, 8), 0.03, 4, 0.01).reason


def test_the_correction_decides_not_the_raw_p() -> None:
    effect = noisy(0.01, 0.002, 8)
    assert judge(effect, 0.04, 4, 0.01).word == "supported"
    assert judge(effect, 0.06, 4, 0.01).word == "inconclusive"


def test_one_seed_has_no_interval_and_all_zero_metrics_no_relative_effect() -> None:
    one = effect_of([0.2], [0.1])
    assert math.isnan(one.low) and math.isnan(one.high) and one.p == 1.0
    zero = effect_of([0.0] * 8, [0.0] * 8)
    assert math.isnan(zero.relative) and all(map(math.isnan, zero.relative_interval()))
    verdict = judge(zero, 1.0, 1, 0.01)
    assert verdict.word == "inconclusive" and "both sides score 0" in verdict.reason
    assert judge(effect_of([0.1] * 8, [0.0] * 8), 0.01, 1, 0.01).word == "supported", "no ratio is needed for that"


def test_scores_that_are_no_numbers_are_refused() -> None:
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite"):
            paired_effect([0.1, bad], [0.1, 0.1])
        with pytest.raises(ValueError, match="finite"):
            crossed_interval([[0.1, bad], [0.1, 0.1]])


def test_different_numbers_of_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="paired scores"):
        paired_effect([0.1, 0.2], [0.1])


def p_of_all_flips(d: np.ndarray) -> np.ndarray:
    """The exact sign-flip p of many studies at once, (studies, seeds)."""
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=d.shape[1] - 1)))
    means = np.abs(np.column_stack([d.sum(axis=1), d @ np.column_stack([np.ones(len(signs)), signs]).T]))
    return (means[:, 1:] >= means[:, :1] - 1e-9).mean(axis=1)


@pytest.mark.parametrize(("size", "family"), [(1.5, 1), (1.5, 4), (1.2, 4), (1.6, 19)])
def test_the_seeds_that_settle_it_have_the_power_they_promise(size: float, family: int) -> None:
    """Power of what decides: the sign-flip test after Holm's first step, and the interval."""
    needed = seeds_to_settle(noisy(0.001 * size, 0.001, 6), 1e-9, family)
    assert needed is not None and 6 < needed < 14

    def found(seeds: int) -> float:
        d = np.random.default_rng(1).normal(size, 1, (600, seeds))
        return np.mean((p_of_all_flips(d) * family <= 0.05) & (stats.ttest_1samp(d, 0, axis=1).pvalue < 0.05))

    assert 0.7 < found(needed) < 0.93


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 0.002), (0.0003, 0.001)])
def test_so_have_those_that_bound_it(mean: float, deviation: float) -> None:
    needed = seeds_to_settle(noisy(mean, deviation, 6), 0.001, 1)
    assert needed is not None and needed > 10
    d = np.random.default_rng(1).normal(mean, deviation, (4000, needed))
    low, high = stats.ttest_1samp(d, 0, axis=1).confidence_interval(0.95)
    assert 0.78 < np.mean((low >= -0.001) & (high <= 0.001)) < 0.86


def test_the_larger_the_family_the_more_seeds_it_takes() -> None:
    needed = [seeds_to_settle(noisy(0.001, 0.001, 8), 1e-9, family) for family in (1, 4, 19)]
    assert needed == sorted(set(needed))


def test_what_is_supported_may_still_be_too_small_to_matter() -> None:
    assert "may be smaller than the 1 % that matter" in judge(noisy(0.002, 0.0015, 8), 0.01, 1, 0.01).reason
    assert "may be smaller" not in judge(noisy(0.01, 0.001, 8), 0.01, 1, 0.01).reason


@pytest.mark.parametrize(("smallest", "said"), [(0.005, "0.5 %"), (0.01, "1 %"), (0.025, "2.5 %")])
def test_the_reason_names_the_smallest_effect_as_it_is(smallest: float, said: str) -> None:
    assert f"within {said} of the worse side" in judge(constant(0.0, 8), 1.0, 1, smallest).reason


def test_a_small_p_is_no_zero() -> None:
    assert "p < 0.001" in judge(noisy(0.01, 0.001, 12), 0.0002, 1, 0.01).reason


def test_an_effect_that_no_number_of_seeds_settles_says_so() -> None:
    verdict = judge(noisy(0.001, 0.05, 8), 0.9, 1, 0.01)
    assert "more than 200 seeds" in verdict.reason


# -- for new users, and over data sets --------------------------------------------------------------------------------


def layout(draw: int, seeds: int, users: int, of_seeds: float, of_users: float, of_rest: float) -> np.ndarray:
    """Differences with mean 0 and these standard deviations: (seeds, users)."""
    rng = np.random.default_rng(draw)
    parts = rng.normal(size=(seeds, 1)), rng.normal(size=(1, users)), rng.normal(size=(seeds, users))
    return of_seeds * parts[0] + of_users * parts[1] + of_rest * parts[2]


def test_the_crossed_interval_follows_from_the_mean_squares_of_an_analysis_of_variance() -> None:
    import pandas as pd
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    seeds, users = 4, 9
    d = layout(3, seeds, users, 0.8, 1.5, 1.0)
    long = pd.DataFrame([(s, u, d[s, u]) for s in range(seeds) for u in range(users)], columns=["s", "u", "d"])
    table = anova_lm(ols("d ~ C(s) + C(u)", long).fit())
    squares = (table["sum_sq"] / table["df"]).to_numpy() * [1, 1, -1]
    variance = squares.sum() / d.size
    df = squares.sum() ** 2 / (squares**2 / table["df"]).sum()
    assert variance > max(squares) / d.size, "no component is negative here"
    both = stats.t.interval(0.95, df, d.mean(), math.sqrt(variance))
    seeds_alone = stats.t.interval(0.95, seeds - 1, d.mean(), math.sqrt(squares[0] / d.size))
    assert crossed_interval(d) == pytest.approx((min(both[0], seeds_alone[0]), max(both[1], seeds_alone[1])))


def test_where_only_one_thing_varies_the_crossed_interval_is_students_over_it() -> None:
    values = np.random.default_rng(0).normal(1, 1, 7)
    students = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    assert crossed_interval(np.tile(values[:, None], 50)) == pytest.approx(students)
    assert crossed_interval(np.tile(values, (5, 1))) == pytest.approx(students)


@pytest.mark.parametrize("seeds", [3, 6, 10])
def test_the_crossed_interval_covers_the_mean_of_a_design_with_known_components(seeds: int) -> None:
    """95 % up to what 1,000 draws can tell, and not far above: it is no interval that covers everything."""
    intervals = np.array([crossed_interval(layout(draw, seeds, 60, 0.1, 0.5, 1.0)) for draw in range(1000)])
    covered = np.mean((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0))
    assert 0.93 <= covered <= 0.985
    true_error = math.sqrt(0.1**2 / seeds + 0.5**2 / 60 + 1 / (60 * seeds))
    assert np.median(np.ptp(intervals, axis=1)) < 6 * true_error


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("of_seeds", [0.05, 0.2])
def test_it_is_never_narrower_than_the_interval_over_seeds_and_covers_where_seeds_vary_most(
    seeds: int, of_seeds: float
) -> None:
    covered = []
    for draw in range(800):
        d = layout(draw, seeds, 400, of_seeds, 1.0, 1.0)
        low, high = crossed_interval(d)
        effect = paired_effect(d.mean(axis=1), np.zeros(seeds))
        assert low <= effect.low + 1e-12 and high >= effect.high - 1e-12
        covered.append(low <= 0 <= high)
    assert np.mean(covered) >= 0.93


def test_edges_of_the_crossed_interval() -> None:
    assert all(map(math.isnan, crossed_interval([[0.1, 0.2, 0.3]]))), "one seed"
    assert all(map(math.isnan, crossed_interval([[0.1], [0.2]]))), "one user"
    assert crossed_interval(np.zeros((3, 4))) == (0, 0)
    assert crossed_interval(np.full((3, 4), 0.25)) == (0.25, 0.25)
    for shape in ((0, 4), (3,), (2, 2, 2)):
        with pytest.raises(ValueError, match="seeds x users"):
            crossed_interval(np.zeros(shape))


def test_pooling_is_of_ratios_each_data_set_counting_once() -> None:
    better, worse = [[0.12, 0.13], [0.6, 0.62, 0.64], [0.033]], [[0.1, 0.11], [0.5, 0.5, 0.5], [0.03]]
    effects = [paired_effect(b, w) for b, w in zip(better, worse, strict=True)]
    found = pooled(effects)
    assert found is not None and found.datasets == 3
    logs = [math.log(np.mean(b) / np.mean(w)) for b, w in zip(better, worse, strict=True)]
    theirs = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((math.exp(theirs.low) - 1, math.exp(theirs.high) - 1))
    assert found.relative == pytest.approx(stats.gmean(np.exp(logs)) - 1)
    other_units = [effects[0], paired_effect(np.multiply(better[1], 100), np.multiply(worse[1], 100)), effects[2]]
    assert vars(pooled(other_units)) == pytest.approx(vars(found))


def test_what_has_no_ratio_is_not_pooled() -> None:
    one, zero = paired_effect([0.2], [0.1]), paired_effect([0.2, 0.2], [0.0, 0.0])
    assert pooled([one]) is None and pooled([one, zero]) is None and pooled([]) is None
    found = pooled([one, zero, one])
    assert found is not None and (found.datasets, found.relative) == (2, pytest.approx(1.0))
    assert math.isnan(found.low) and math.isnan(found.high), "two data sets say nothing of others"
