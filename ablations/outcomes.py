"""What a study found, from its records alone: scores per entry and seed, and a verdict per claim and data set."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ablations.claims import Claim, chosen, read_claims
from ablations.planning import Cell, Plan
from ablations.records import Record, Store
from ablations.specification import Specification
from ablations.verdicts import EXACT, Effect, Pooled, Verdict, crossed_interval, holm, judge, paired_effect, pooled
from tmfun.dataset import Card

T = TypeVar("T")
PerUser = Mapping[int, NDArray[np.float64]]  # by seed: a metric per user, (users,)


@dataclass(frozen=True)
class Comparison:
    """Two sides paired over the seeds that both have."""

    effect: Effect
    seeds: tuple[int, ...]
    scores: tuple[tuple[float, float], ...]  # better and worse, per seed
    for_new_users: tuple[float, float]  # the crossed seeds x users interval of the difference; no part of a verdict
    unpaired: tuple[int, ...] = ()  # seeds that only one side has: left out


@dataclass(frozen=True)
class Finding:
    """A claim on a data set: what was compared and the verdict, or why there is none."""

    claim: Claim
    card: Card
    verdict: Verdict
    comparison: Comparison | None = None
    family: int = 1  # claims of the family that the study makes and can test on this data set
    listed: int = 1  # claims of the family's file, made or not
    proxies: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()  # more than one kind is worth a mark
    searched: tuple[int, ...] = ()  # grid points that better and worse may try; of sides that have settings

    @property
    def unequal(self) -> str:
        """What an unequal search must say of itself; empty where both sides may try as many points."""
        if len(set(self.searched)) < 2:
            return ""
        return f"unequal search: {self.searched[0]} grid points for the better side, {self.searched[1]} for the worse"

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
        """The finding for machines; numbers that do not exist are nan."""
        effect = None
        if self.comparison:
            own = self.comparison.effect
            names = ("relative", "relative_low", "relative_high", "for_new_users_low", "for_new_users_high")
            relative = (own.relative, *own.relative_interval(), *self.for_new_users())
            effect = {**vars(own), **dict(zip(names, relative, strict=True))}
            effect |= {"p_corrected": self.verdict.p, "p_exact": own.seeds <= EXACT}
            effect |= {"seeds": list(self.seeds), "unpaired_seeds": list(self.comparison.unpaired)}
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
            "search_sizes": list(self.searched),
            "verdict": self.verdict.word,
            "reason": self.verdict.reason,
            "family": self.claim.family,
            "family_tested": self.family,
            "family_listed": self.listed,
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


def shared(sides: Sequence[tuple[Cell, Mapping[int, T]]]) -> list[dict[int, T]]:
    """Anything by seed, of several sides: of the seeds that all have.

    A side that no seed changes, as it only counts, has one value: the same beside every seed of the others.
    """
    if not all(values for _, values in sides):
        return [{} for _ in sides]
    drawn = [values for cell, values in sides if cell.entry.seeded] or [values for _, values in sides]
    seeds = sorted(set.intersection(*map(set, drawn)))
    return [
        {seed: values[seed] if cell.entry.seeded else next(iter(values.values())) for seed in seeds}
        for cell, values in sides
    ]


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


class OnCard:
    """The entries of a study on one data set, by name, and what claims find there. What records hold is read once."""

    def __init__(self, card: Card, cells: Iterable[Cell], store: Store) -> None:
        self.card = card
        self.cells = {cell.entry.name: cell for cell in cells if cell.card == card}
        self._runs = cache(lambda name: finished(self.cells[name], store))
        self._searching = cache(lambda name: self.cells[name].final(store) is None)
        self._per_user = cache(lambda name, metric: per_user(self._runs(name), store, metric))
        self._records = cache(lambda name: [store.read(run.run_id) for run in self._runs(name).values()])

    def made(self, claims: Iterable[Claim]) -> list[Claim]:
        """Those of the claims that are made on this data set."""
        return [claim for claim in claims if claim.made_on(self.card.name)]

    def family(self, claim: Claim, claims: Iterable[Claim]) -> list[Claim]:
        """Those of the claims that are corrected together with this one: of its family, and possible to test here."""
        return [each for each in self.made(claims) if each.family == claim.family and not self._obstacle(each)]

    def has_evidence(self, claim: Claim) -> bool:
        """Whether both sides of the claim have records of a common seed."""
        if self._obstacle(claim):
            return False
        return bool(shared([(self.cells[name], self._runs(name)) for name in _sides(claim)])[0])

    def effect_of(self, claim: Claim) -> Comparison | str:
        """The sides of the claim compared, or why they cannot be."""
        if obstacle := self._obstacle(claim):
            return obstacle
        sides = [(self.cells[name], self._per_user(name, claim.metric)) for name in _sides(claim)]
        for cell, values in sides:
            if self._searching(cell.entry.name):
                return f"the grid of {cell.entry.title} is not searched to its end"
            if not values:
                return f"no records of {cell.entry.title}"
        seeded = [set(values) for cell, values in sides if cell.entry.seeded]
        if not seeded:
            return "both sides only count: nothing is random, so there is nothing to test"
        compared = compare(*shared(sides))
        if compared is None:
            return "the two sides share no seed"
        return replace(compared, unpaired=tuple(sorted(set.union(*seeded) - set(compared.seeds))))

    def proxies(self, claim: Claim) -> tuple[str, ...]:
        """The proxies that the runs on both sides of the claim read."""
        return tuple(sorted({name for record in self._both(claim) for name in record.result["proxies"]}))

    def devices(self, claim: Claim) -> tuple[str, ...]:
        """The kinds of device that the runs on both sides of the claim were made on."""
        return tuple(sorted({record.provenance["device"] for record in self._both(claim)}))

    def searched(self, claim: Claim) -> tuple[int, ...]:
        """How many grid points the sides of the claim may try, of those that have settings."""
        sizes = [self.cells[name].entry.search_size for name in _sides(claim) if name in self.cells]
        return tuple(size for size in sizes if size is not None)

    def _both(self, claim: Claim) -> list[Record]:
        return [record for name in _sides(claim) for record in self._records(name)]

    def _obstacle(self, claim: Claim) -> str | None:
        """Why the study cannot test the claim here, whatever is run; None if it can."""
        for name in _sides(claim):
            if name not in self.cells:
                return f"the study has no '{name}'"
            if self.cells[name].skipped:
                return f"{self.cells[name].entry.title} was skipped: {self.cells[name].skipped}"
        return None


def by_card(plan: Plan, store: Store) -> list[OnCard]:
    """The entries of the study on each data set."""
    return [OnCard(card, plan.cells, store) for card in dict.fromkeys(cell.card for cell in plan.cells)]


def has_evidence(plan: Plan, store: Store) -> bool:
    """Whether both sides of some claim of the study have records of a common seed."""
    claims = chosen(plan.study.claims, str(plan.study.file))
    return any(here.has_evidence(claim) for here in by_card(plan, store) for claim in here.made(claims))


def findings(plan: Plan, store: Store, names: Iterable[str] | None = None) -> list[Finding]:
    """Every claim of the study (or those in `names`) on every data set, corrected by Holm within family and data set.

    The family is what the study claims and the data set lets it test, whatever has records by now and whatever is
    asked for: asking again, or in part, must not change a verdict.
    """
    claims = chosen(plan.study.claims, str(plan.study.file))
    wanted = {claim.name for claim in claims} if names is None else set(names)
    return [finding for here in by_card(plan, store) for finding in _findings(here, claims, wanted)]


def pooled_over_datasets(found: Iterable[Finding]) -> dict[str, Pooled]:
    """The relative effect of each claim that was tested on two data sets or more, by the claim's name.

    A data set of which there are several contents is left out: they are no data sets of their own, and none is meant.
    So are synthetic ones beside real ones.
    """
    found = list(found)
    real = any(finding.effect and finding.card.origin != "synthetic" for finding in found)
    tested: dict[str, dict[str, list[Effect]]] = {}
    for finding in found:
        if finding.effect and not (real and finding.card.origin == "synthetic"):
            tested.setdefault(finding.claim.name, {}).setdefault(finding.card.name, []).append(finding.effect)
    over = {name: pooled([one[0] for one in sets.values() if len(one) == 1]) for name, sets in tested.items()}
    return {name: mean for name, mean in over.items() if mean}


def _findings(here: OnCard, claims: list[Claim], wanted: set[str]) -> list[Finding]:
    """The findings on one data set, in the order of the claims."""
    found: dict[str, Finding] = {}
    made = here.made(claims)
    for family in dict.fromkeys(claim.family for claim in made):
        members = [claim for claim in made if claim.family == family]
        if wanted.isdisjoint(claim.name for claim in members):
            continue
        effects = {claim.name: here.effect_of(claim) for claim in members}
        possible = [claim.name for claim in here.family(members[0], claims)]
        # Without records there is nothing against the null: such a claim takes its place in the family with p = 1.
        p = [one.effect.p if isinstance(one := effects[name], Comparison) else 1.0 for name in possible]
        corrected = dict(zip(possible, holm(p), strict=True))
        size, listed = max(1, len(possible)), sum(claim.family == family for claim in read_claims().values())
        for claim in members:
            comparison = effects[claim.name]
            if isinstance(comparison, str):
                found[claim.name] = Finding(
                    claim, here.card, Verdict("inconclusive", comparison, 1.0), None, size, listed
                )
                continue
            verdict = judge(comparison.effect, corrected[claim.name], size, claim.smallest_effect)
            found[claim.name] = Finding(
                claim,
                here.card,
                verdict,
                comparison,
                size,
                listed,
                here.proxies(claim),
                here.devices(claim),
                here.searched(claim),
            )
    return [found[claim.name] for claim in made if claim.name in wanted]


def _sides(claim: Claim) -> tuple[str, str]:
    return claim.better, claim.worse
