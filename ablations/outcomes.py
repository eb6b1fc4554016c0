"""What a study found, from its records alone: scores per entry and seed, and a verdict per claim and data set."""

import math
from dataclasses import dataclass
from typing import Any

from ablations.claims import Claim, chosen
from ablations.planning import Cell, Plan
from ablations.records import Store
from ablations.specification import Specification
from ablations.verdicts import Effect, Verdict, holm, judge, paired_effect
from tmfun.dataset import Card


@dataclass(frozen=True)
class Finding:
    """A claim on a data set: its effect and verdict, or why there is none."""

    claim: Claim
    card: Card
    effect: Effect | None
    verdict: Verdict
    seeds: tuple[int, ...] = ()
    family: int = 1
    proxies: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()  # more than one kind is worth a mark

    def to_json(self) -> dict[str, Any]:
        """The finding for machines; numbers that do not exist are null."""
        effect = None
        if self.effect:
            numbers = {key: None if math.isnan(value) else value for key, value in vars(self.effect).items()}
            effect = {**numbers, "p_corrected": self.verdict.p, "seeds": list(self.seeds)}
        return {
            "claim": self.claim.name,
            "sentence": self.claim.sentence,
            "better": self.claim.better,
            "worse": self.claim.worse,
            "metric": self.claim.metric,
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


def findings(plan: Plan, store: Store, names: tuple[str, ...] | None = None) -> list[Finding]:
    """Every claim of the study (or those in `names`) on every data set, corrected by Holm within family and data set.

    The family is what the study claims, whether or not only a few are asked for: asking again must not change a
    verdict.
    """
    claims = chosen(plan.study.claims, str(plan.study.file))
    found: list[Finding] = []
    for card in dict.fromkeys(cell.card for cell in plan.cells):
        cells = {cell.entry.name: cell for cell in plan.cells if cell.card == card}
        for family in dict.fromkeys(claim.family for claim in claims):
            members = [claim for claim in claims if claim.family == family]
            effects = {claim.name: effect_of(claim, cells, store) for claim in members}
            tested = [claim.name for claim in members if isinstance(effects[claim.name][0], Effect)]
            corrected = dict(zip(tested, holm([effects[name][0].p for name in tested]), strict=True))  # type: ignore[union-attr]
            for claim in members:
                effect, seeds = effects[claim.name]
                if isinstance(effect, Effect):
                    verdict = judge(effect, corrected[claim.name], len(members), claim.smallest_effect)
                    runs = [finished(cells[side], store) for side in (claim.better, claim.worse)]
                    found.append(Finding(claim, card, effect, verdict, seeds, len(members), *_marks(runs, store)))
                else:
                    found.append(Finding(claim, card, None, Verdict("inconclusive", effect, 1.0), (), len(members)))
    return [finding for finding in found if names is None or finding.claim.name in names]


def effect_of(claim: Claim, cells: dict[str, Cell], store: Store) -> tuple[Effect | str, tuple[int, ...]]:
    """The effect between a claim's sides among a data set's cells (by name), or why there is none; and its seeds."""
    sides = []
    for name in (claim.better, claim.worse):
        if name not in cells:
            return f"the study has no '{name}'", ()
        cell = cells[name]
        if cell.skipped:
            return f"{cell.entry.title} was skipped: {cell.skipped}", ()
        values = scores(cell, store, claim.metric)
        if not values:
            return f"no records of {cell.entry.title}", ()
        sides.append((cell.entry.seeded, values))
    (better_seeded, better), (worse_seeded, worse) = sides
    # A model that only counts has one score, the same whatever the seed.
    if not better_seeded:
        better = dict.fromkeys(worse, next(iter(better.values())))
    if not worse_seeded:
        worse = dict.fromkeys(better, next(iter(worse.values())))
    seeds = tuple(sorted(set(better) & set(worse)))
    if not seeds:
        return "the two sides share no seed", ()
    return paired_effect([better[seed] for seed in seeds], [worse[seed] for seed in seeds]), seeds


def _marks(sides: list[dict[int, Specification]], store: Store) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The proxies that the runs read, and the kinds of device they ran on."""
    records = [store.read(run.run_id) for side in sides for run in side.values()]
    proxies = sorted({name for record in records for name in record.result["proxies"]})
    return tuple(proxies), tuple(sorted({record.provenance["device"] for record in records}))
