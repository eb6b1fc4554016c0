"""From paired scores to a verdict: pure functions of numbers.

A verdict concerns one data set's users and the randomness of training: scores are paired over seeds. It is

    supported      the better side is better: significant after Holm's correction, with an interval above 0
    contradicted   the same the other way round
    no effect      the 95 % interval lies within the smallest effect that matters
    inconclusive   anything else, with the number of seeds that would settle it

Below the fewest seeds at which an exact test can reach 5 % after correction, nothing is called significant.
"No effect" is an equivalence test: two one-sided tests (Schuirmann 1987) reject at 5 % where the 90 % interval lies
within the margin; asking it of the 95 % interval is the stricter test, at 2.5 %. The margin is a share of the worse
side's mean, taken as it was found.

Two other questions have numbers of their own and no part in a verdict: `crossed_interval`, whether the effect would
hold for new users too, and `pooled`, what it is on average over data sets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

RULES = 2  # raised when a verdict or an interval is computed in another way: calibrations made before no longer count
LEVEL = 0.05
MOST_SEEDS = 200  # beyond this, "more than 200"
POWER = 0.8  # the chance of finding an effect that "about n seeds" promises
EXACT = 14  # seeds up to which all 2^n sign flips are tried; beyond, SAMPLED of them
SAMPLED = 100_000
SPREAD = 3  # the fewest seeds from which a spread is guessed


@dataclass(frozen=True)
class Effect:
    """The paired difference better - worse over seeds, in the metric's units; interval at 95 %, Student's t."""

    seeds: int
    better: float  # means of the two sides
    worse: float
    difference: float
    deviation: float  # of the differences; nan with one seed
    low: float  # nan with one seed
    high: float
    p: float  # exact two-sided sign-flip test, not corrected

    @property
    def relative(self) -> float:
        """The difference as a share of the worse side's mean; nan if that is 0."""
        return self.difference / self.worse if self.worse else math.nan

    def relative_interval(self) -> tuple[float, float]:
        return (self.low / self.worse, self.high / self.worse) if self.worse else (math.nan, math.nan)


@dataclass(frozen=True)
class Verdict:
    """A word, and why it is that word."""

    word: str
    reason: str
    p: float  # after correction


def paired_effect(better: ArrayLike, worse: ArrayLike) -> Effect:
    """The effect of two sides scored with the same seeds, in the same order: (seeds,) each, finite."""
    b, w = np.asarray(better, dtype=float), np.asarray(worse, dtype=float)
    if b.shape != w.shape or b.ndim != 1 or not len(b):
        raise ValueError(f"paired scores of shapes {b.shape} and {w.shape}")
    if not (np.isfinite(b).all() and np.isfinite(w).all()):
        raise ValueError("paired scores must be finite numbers")
    d = b - w
    mean = float(d.mean())
    low = high = deviation = math.nan
    if len(d) > 1:
        deviation = float(d.std(ddof=1))
        half = float(stats.t.ppf(1 - LEVEL / 2, len(d) - 1)) * deviation / math.sqrt(len(d))
        low, high = mean - half, mean + half
    return Effect(len(d), float(b.mean()), float(w.mean()), mean, deviation, low, high, sign_flip_p(d))


def sign_flip_p(differences: ArrayLike) -> float:
    """The exact two-sided p that the mean of the differences is 0, over all sign flips; sampled for many seeds."""
    d = np.asarray(differences, dtype=float)
    if len(d) < 2 or not d.any():
        return 1.0
    resamples = np.inf if len(d) <= EXACT else SAMPLED
    test = stats.permutation_test(
        (d,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=resamples,
        vectorized=True, rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(test.pvalue)


def fewest_seeds(family: int) -> int:
    """The smallest n with 2^(1-n) <= 5 % / family size: with fewer, no exact test can reach significance."""
    return 1 + math.ceil(math.log2(family / LEVEL))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's correction (1979) for a family of tests.

    Written out, as statsmodels' multipletests collects garbage at every call: 0.2 s each, with torch loaded.
    """
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(np.asarray(p)[order] * np.arange(len(p), 0, -1)), 1.0)
    return corrected.tolist()


def judge(effect: Effect, corrected_p: float, family: int, smallest: float) -> Verdict:
    """The verdict on an effect whose p was corrected within a family; `smallest` is relative to the worse side."""
    margin = smallest * abs(effect.worse)
    matters = f"{100 * smallest:g} %"
    fewest = fewest_seeds(family)
    if effect.seeds < fewest:  # no word on significance
        reason = f"{effect.seeds} of the {fewest} seeds that a family of {family} needs"
        more = f"; {_outlook(effect, margin, family)}" if effect.seeds >= SPREAD else ""
        return Verdict("inconclusive", reason + more, corrected_p)
    if effect.better == effect.worse == 0:
        return Verdict("inconclusive", "both sides score 0 with every seed: there is nothing to compare", corrected_p)
    if -margin <= effect.low and effect.high <= margin:
        return Verdict("no effect", f"the interval lies within {matters} of the worse side", corrected_p)
    if corrected_p <= LEVEL and not effect.low <= 0 <= effect.high:
        p = f"p = {corrected_p:.3f}" if corrected_p >= 0.001 else "p < 0.001"
        small = (
            f"; it may be smaller than the {matters} that matter"
            if min(abs(effect.low), abs(effect.high)) < margin
            else ""
        )
        word = "supported" if effect.low > 0 else "contradicted"
        return Verdict(word, f"significant: {p} after Holm's correction{small}", corrected_p)
    return Verdict("inconclusive", _outlook(effect, margin, family), corrected_p)


def _outlook(effect: Effect, margin: float, family: int) -> str:
    needed = seeds_to_settle(effect, margin, family)
    count = f"more than {MOST_SEEDS}" if needed is None else f"about {needed}"
    return f"{count} seeds would settle it, were effect and spread as found"


def seeds_to_settle(effect: Effect, margin: float, family: int) -> int | None:
    """How many seeds have the chance POWER to find the effect, or to bound it within the margin, if difference and
    deviation are as they were found; None: more than MOST_SEEDS.

    Found is what passes the first step of Holm's correction, the strictest: Student's t at 5 % / family, or rather at
    the largest level below it that n sign flips can reach. Bounded: both one-sided tests of the 95 % interval, their
    power from below by Bonferroni's inequality.
    """
    n = np.arange(max(fewest_seeds(family), effect.seeds + 1), MOST_SEEDS + 1)
    size, spread = abs(effect.difference), effect.deviation / np.sqrt(n)
    if not effect.deviation:
        return int(n[0])
    flips = 2.0 ** (n - 1)
    level = np.floor(LEVEL / family * flips) / flips
    finds = stats.nct.sf(stats.t.ppf(1 - level / 2, n - 1), n - 1, size / spread)
    critical = stats.t.ppf(1 - LEVEL / 2, n - 1)
    bounds = sum(stats.nct.sf(critical, n - 1, (margin + side * size) / spread) for side in (1, -1)) - 1
    enough = (finds >= POWER) | (bounds >= POWER)
    return int(n[enough.argmax()]) if enough.any() else None


def crossed_interval(differences: ArrayLike) -> tuple[float, float]:
    """The 95 % interval for the mean difference over new users and new seeds, from (seeds, users) of them.

    Users and seeds are random and crossed: d[s,u] = mean + a_s + b_u + e_su. The variance of the mean follows from the
    mean squares of the two-way layout, (MS_seeds + MS_users - MS_rest) / (seeds users), its degrees of freedom from
    Satterthwaite (1946); Searle, Casella and McCulloch, Variance Components (1992), has both. A component whose
    estimate is negative counts as 0. It is never narrower than the interval over seeds alone: with two or three seeds
    the degrees of freedom, borrowed from many users, would promise too much where it is seeds that vary. (nan, nan)
    with one seed or one user. Raises ValueError for what is no table of finite numbers.
    """
    d = np.asarray(differences, dtype=float)
    if d.ndim != 2 or not d.size or not np.isfinite(d).all():
        raise ValueError(f"differences must be a table of finite numbers, seeds x users; theirs is of shape {d.shape}")
    seeds, users = d.shape
    if seeds < 2 or users < 2:
        return math.nan, math.nan
    mean, by_seed, by_user = d.mean(), d.mean(axis=1), d.mean(axis=0)
    squares = [
        users * np.square(by_seed - mean).sum(),
        seeds * np.square(by_user - mean).sum(),
        np.square(d - by_seed[:, None] - by_user + mean).sum(),
    ]
    freedom = np.array([seeds - 1, users - 1, (seeds - 1) * (users - 1)])
    of_seeds, of_users, of_rest = parts = np.array(squares) / freedom / d.size
    variance = max(of_seeds + of_users - of_rest, of_seeds, of_users)
    if variance == 0:
        return float(mean), float(mean)
    half = stats.t.ppf(1 - LEVEL / 2, variance**2 / (parts**2 / freedom).sum()) * math.sqrt(variance)
    half = max(half, stats.t.ppf(1 - LEVEL / 2, seeds - 1) * math.sqrt(of_seeds))
    return float(mean - half), float(mean + half)


@dataclass(frozen=True)
class Pooled:
    """A relative effect over data sets: the mean of better / worse - 1 on the logarithmic scale, with its interval;
    nan for two data sets, which tell next to nothing of others."""

    datasets: int
    relative: float
    low: float
    high: float


def pooled(effects: Sequence[Effect]) -> Pooled | None:
    """The mean relative effect over data sets, one effect from each; None for fewer than two.

    Units differ between data sets, so only ratios are pooled: the plain mean of log(better / worse) and Student's t
    over data sets, the paired t test over data sets of Demsar (JMLR 2006). Each data set counts once: weights by the
    precision within would follow how many seeds somebody ran. The interval speaks of data sets of which these are a
    sample. A data set on which a side scores 0 has no ratio and is left out.
    """
    logs = [math.log(effect.better / effect.worse) for effect in effects if effect.better > 0 and effect.worse > 0]
    if len(logs) < 2:
        return None
    found = paired_effect(logs, np.zeros(len(logs)))
    interval = (found.low, found.high) if len(logs) > 2 else (math.nan, math.nan)
    return Pooled(len(logs), *(math.expm1(value) for value in (found.difference, *interval)))
