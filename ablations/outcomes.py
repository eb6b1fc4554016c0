"""What a study found, from its records alone: scores per entry and seed, and a verdict per claim and data set."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablations.claims import Claim, chosen
from ablations.planning import Cell, Plan
from ablations.records import Store
from ablations.specification import Specification
from ablations.verdicts import Effect, Pooled, Verdict, crossed_interval, holm, judge, paired_effect, pooled
from baselines import model_class
from tmfun.dataset import Card

PerUser = Mapping[int, NDArray[np.float64]]  # by seed: a metric per user, (users,)


@dataclass(frozen=True)
class Comparison:
    """Two sides paired over the seeds that both have."""

    effect: Effect
    seeds: tuple[int, ...]
    scores: tuple[tuple[float, float], ...]  # better and worse, per seed
    for_new_users: tuple[float, float]  # the crossed seeds x users interval of the difference; no part of a verdict


@dataclass(frozen=True)
class Finding:
    """A claim on a data set: what was compared and the verdict, or why there is none."""

    claim: Claim
    card: Card
    verdict: Verdict
    comparison: Comparison | None = None
    family: int = 1  # claims of the family that can be tested on this data set
    proxies: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()  # more than one kind is worth a mark

    @property
    def effect(self) -> Effect | None:
        return self.comparison.effect if self.comparison else None

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.comparison.seeds if self.comparison else ()

    def for_new_users(self) -> tuple[float, float]:
        """The crossed interval as a share of the worse side's mean, as the effect's own; nan where there is none."""
        if self.comparison is None or not self.comparison.effect.worse:
            return math.nan, math.nan
        low, high = self.comparison.for_new_users
        return low / self.comparison.effect.worse, high / self.comparison.effect.worse

    def to_json(self) -> dict[str, Any]:
        """The finding for machines; numbers that do not exist are null."""
        effect = None
        if self.comparison:
            own = self.comparison.effect
            names = ("relative", "relative_low", "relative_high", "for_new_users_low", "for_new_users_high")
            relative = (own.relative, *own.relative_interval(), *self.for_new_users())
            numbers = {**vars(own), **dict(zip(names, relative, strict=True))}
            effect = {key: None if math.isnan(value) else value for key, value in numbers.items()}
            effect |= {"p_corrected": self.verdict.p, "seeds": list(self.seeds)}
            effect["better_by_seed"], effect["worse_by_seed"] = map(list, zip(*self.comparison.scores, strict=True))
        return {
            "claim": self.claim.name,
            "sentence": self.claim.sentence,
            "better": self.claim.better,
            "worse": self.claim.worse,
            "metric": self.claim.metric,
            "source": self.claim.source,
            "dataset": self.card.name,
            "content_hash": self.card.content_hash,
            "split": self.card.split,
            "synthetic": self.card.origin == "synthetic",
            "proxy_features": list(self.proxies),
            "devices": list(self.devices),
            "verdict": self.verdict.word,
            "reason": self.verdict.reason,
            "family": self.family,
            "effect": effect,
        }


def finished(cell: Cell, store: Store) -> dict[int, Specification]:
    """The final runs of a cell that have records, by seed."""
    return {run.seed: run for run in cell.final(store) or [] if run.run_id in store}


def scores(cell: Cell, store: Store, metric: str, split: str = "test") -> dict[int, float]:
    """A metric of the final runs that have records, by seed."""
    return {seed: store.metric(run.run_id, metric, split) for seed, run in finished(cell, store).items()}


def per_user(runs: Mapping[int, Specification], store: Store, metric: str) -> dict[int, NDArray[np.float64]]:
    """A metric on test of runs by seed: (users,) each."""
    return {seed: store.per_user(run.run_id, metric, "test") for seed, run in runs.items()}


def compare(better: PerUser, worse: PerUser) -> Comparison | None:
    """Pair two sides over the seeds that both have; None if there are none. ValueError for different users."""
    seeds = tuple(sorted(set(better) & set(worse)))
    if not seeds:
        return None
    if len({values.shape for side in (better, worse) for values in side.values()}) > 1:
        raise ValueError("the two sides were scored on different users")
    pairs = tuple((float(better[seed].mean()), float(worse[seed].mean())) for seed in seeds)
    differences = np.stack([better[seed] - worse[seed] for seed in seeds])
    return Comparison(paired_effect(*zip(*pairs, strict=True)), seeds, pairs, crossed_interval(differences))


def has_evidence(plan: Plan, store: Store) -> bool:
    """Whether both sides of some claim of the study have records of a common seed."""
    claims = chosen(plan.study.claims, str(plan.study.file))
    for card, cells in _by_card(plan):
        for claim in claims:
            if claim.made_on(card.name) and not _obstacle(claim, cells):
                sides = [_Side(cells[name], finished(cells[name], store)) for name in _names(claim)]
                if set.intersection(*map(set, _meet(*sides))):
                    return True
    return False


def findings(plan: Plan, store: Store, names: Iterable[str] | None = None) -> list[Finding]:
    """Every claim of the study (or those in `names`) on every data set, corrected by Holm within family and data set.

    The family is what the study claims and the data set lets it test, whatever has records by now and whatever is
    asked for: asking again, or in part, must not change a verdict.
    """
    claims = chosen(plan.study.claims, str(plan.study.file))
    wanted = {claim.name for claim in claims} if names is None else set(names)
    return [finding for card, cells in _by_card(plan) for finding in _on(card, cells, claims, wanted, store)]


def pooled_over_datasets(found: Iterable[Finding]) -> dict[str, Pooled]:
    """The relative effect of each claim that was tested on two data sets or more, by the claim's name.

    A data set of which there are several contents is left out: they are no data sets of their own, and none is meant.
    """
    tested: dict[str, dict[str, list[Effect]]] = {}
    for finding in found:
        if finding.effect:
            tested.setdefault(finding.claim.name, {}).setdefault(finding.card.name, []).append(finding.effect)
    over = {name: pooled([one[0] for one in sets.values() if len(one) == 1]) for name, sets in tested.items()}
    return {name: mean for name, mean in over.items() if mean}


@dataclass(frozen=True)
class _Side:
    """One side of a claim: anything by seed."""

    cell: Cell
    values: Mapping[int, Any]

    @property
    def learned(self) -> bool:
        return model_class(self.cell.entry.model).learned


def _meet(better: _Side, worse: _Side) -> tuple[Mapping[int, Any], Mapping[int, Any]]:
    """The two sides by seed; a model that only counts has one value, the same whatever the other's seed."""
    ours, theirs = better.values, worse.values
    if ours and not better.learned:
        ours = dict.fromkeys(theirs, next(iter(ours.values())))
    if theirs and not worse.learned:
        theirs = dict.fromkeys(ours, next(iter(theirs.values())))
    return ours, theirs


def _on(card: Card, cells: dict[str, Cell], claims: list[Claim], wanted: set[str], store: Store) -> list[Finding]:
    """The findings on one data set, in the order of the claims."""

    @cache  # many claims share a side
    def runs(name: str) -> dict[int, Specification]:
        return finished(cells[name], store)

    @cache
    def side(name: str, metric: str) -> _Side:
        return _Side(cells[name], per_user(runs(name), store, metric))

    @cache
    def marks(name: str) -> tuple[set[str], set[str]]:
        return _marks(runs(name), store)

    found: dict[str, Finding] = {}
    made = [claim for claim in claims if claim.made_on(card.name)]
    for family in dict.fromkeys(claim.family for claim in made):
        members = [claim for claim in made if claim.family == family]
        if wanted.isdisjoint(claim.name for claim in members):
            continue
        possible = [claim for claim in members if not _obstacle(claim, cells)]
        compared = {c.name: _compared(*(side(name, c.metric) for name in _names(c))) for c in possible}
        # Without records there is nothing against the null: such a claim takes its place in the family with p = 1.
        p = [one.effect.p if isinstance(one, Comparison) else 1.0 for one in compared.values()]
        corrected = dict(zip(compared, holm(p), strict=True))
        size = max(1, len(possible))
        for claim in members:
            comparison = compared.get(claim.name) or _obstacle(claim, cells) or ""
            if isinstance(comparison, str):
                found[claim.name] = Finding(claim, card, Verdict("inconclusive", comparison, 1.0), family=size)
                continue
            verdict = judge(comparison.effect, corrected[claim.name], size, claim.smallest_effect)
            both = zip(*(marks(name) for name in _names(claim)), strict=True)
            found[claim.name] = Finding(
                claim, card, verdict, comparison, size, *(tuple(sorted(a | b)) for a, b in both)
            )
    return [found[claim.name] for claim in made if claim.name in wanted]


def _names(claim: Claim) -> tuple[str, str]:
    return claim.better, claim.worse


def _by_card(plan: Plan) -> list[tuple[Card, dict[str, Cell]]]:
    cards = dict.fromkeys(cell.card for cell in plan.cells)
    return [(card, {cell.entry.name: cell for cell in plan.cells if cell.card == card}) for card in cards]


def _obstacle(claim: Claim, cells: dict[str, Cell]) -> str | None:
    """Why the study cannot test the claim on this data set, whatever is run; None if it can."""
    for name in _names(claim):
        if name not in cells:
            return f"the study has no '{name}'"
        if cells[name].skipped:
            return f"{cells[name].entry.title} was skipped: {cells[name].skipped}"
    return None


def _compared(better: _Side, worse: _Side) -> Comparison | str:
    """The two sides compared, or why they cannot be."""
    for side in (better, worse):
        if not side.values:
            return f"no records of {side.cell.entry.title}"
    if not (better.learned or worse.learned):
        return "both sides only count: nothing is random, so there is nothing to test"
    return compare(*_meet(better, worse)) or "the two sides share no seed"


def _marks(runs: Mapping[int, Specification], store: Store) -> tuple[set[str], set[str]]:
    """The proxies that the runs read, and the kinds of device they ran on."""
    records = [store.read(run.run_id) for run in runs.values()]
    proxies = {name for record in records for name in record.result["proxies"]}
    return proxies, {record.provenance["device"] for record in records}
