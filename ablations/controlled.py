"""Claims under a control: does the gain of a part survive when the content is destroyed?

The gain is better - worse; under the control it is (better, controlled) - (worse, controlled), each side with the
winner of its own grid, or the side itself where it reads no content. Both gains and their difference, the share that
needs the content, are paired over the seeds that all four sides have.

Words are for claims that are supported, and from as many seeds as the verdict needs. They follow the 95 % intervals,
not corrected, of the gain under the control and of what is lost. That nothing is left is said only where the interval
of what is left stays below the smallest effect that matters, not where it merely holds 0; nor, the other way round,
that nothing is lost.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ablations.claims import Claim, base, chosen
from ablations.outcomes import by_card, findings, scores, shared
from ablations.planning import Cell, Plan, reads_content
from ablations.records import Store
from ablations.studies import Entry
from ablations.variants import variants
from ablations.verdicts import Effect, fewest_seeds, paired_effect
from tmfun.controls import CONTROLS
from tmfun.dataset import Card

PERMUTED = "items-permuted"  # the control that leaves everything of the content but whose it is


@dataclass(frozen=True)
class Survival:
    """A claim's gain with the content as it is and under a control, on one data set; `word` says what became of it."""

    claim: Claim
    card: Card
    control: str
    gain: Effect
    under: Effect
    lost: Effect  # gain - under, as the two sides of one paired effect
    seeds: tuple[int, ...]
    fewest: int  # seeds that the claim's family needs
    verdict: str  # on the claim, the content as it is
    proxies: tuple[str, ...]

    @property
    def word(self) -> str:
        """One of the keys of MEANING."""
        if len(self.seeds) < self.fewest:
            return "too few seeds"
        if self.verdict != "supported":
            return "no gain"
        margin = self.claim.smallest_effect * abs(self.gain.worse)
        if self.under.low > 0:
            if self.lost.low > 0:
                return "survives in part"
            return "survives" if self.lost.high <= margin else "survives at least in part"
        if self.lost.low > 0:
            return "goes" if self.under.high <= margin else "goes at least in part"
        return "unsettled"

    @property
    def meaning(self) -> str:
        """The word as a plain sentence."""
        destroyed = {"same-modality": "a second modality", "random-neighbours": "the items' own neighbours"}
        return MEANING[self.word].format(destroyed.get(self.control.partition(":")[0], "the items' own content"))

    @property
    def on_content(self) -> str:
        """What a verdict must say of itself: whether the gain is one of content; empty where that is not known."""
        return ON_CONTENT.get(self.word, "") if self.control == PERMUTED else ""

    def to_json(self) -> dict[str, Any]:
        """The control for machines, relative to the worse side's mean without it; nan for what does not exist."""
        table: dict[str, Any] = {"control": self.control, "word": self.word, "meaning": self.meaning}
        for name, effect in (("gain", self.gain), ("under_control", self.under), ("lost", self.lost)):
            for part in ("difference", "low", "high"):
                value = getattr(effect, part) / self.gain.worse if self.gain.worse else math.nan
                table[f"{name}_{part}".removesuffix("_difference")] = value
        return {**table, "seeds": list(self.seeds), "proxy_features": list(self.proxies)}


MEANING = {
    "survives": "the gain survives: it does not need {}",
    "survives in part": "a part of the gain survives: that part does not need {}",
    "survives at least in part": "a part of the gain survives, perhaps all of it: that part does not need {}",
    "goes": "the gain goes: it needs {}",
    "goes at least in part": "a part of the gain goes, perhaps all of it: that part needs {}",
    "unsettled": "whether the gain survives is not settled",
    "no gain": "the claim is not supported, so there is no gain that could survive",
    "too few seeds": "too few seeds to say",
}
ON_CONTENT = {
    "survives": "not a content effect",
    "survives in part": "in part not a content effect",
    "survives at least in part": "at least in part not a content effect",
    "goes": "a content effect",
    "goes at least in part": "at least in part a content effect",
}


def is_about_content(claim: Claim) -> bool:
    """Whether a side of the claim is itself a control, so that none can be laid over it."""
    return any(_own_control(side) for side in (claim.better, claim.worse))


def _own_control(side: str) -> bool:
    name, under = base(side), side.partition("[")[2]
    own = variants()[name].control if name in variants() else None
    return own is not None or under.rstrip("]").partition(":")[0] in CONTROLS


def survivals(plan: Plan, store: Store) -> list[Survival]:
    """Every claim of the study on every data set under every control for which all four sides have records."""
    claims = chosen(plan.study.claims, str(plan.study.file))
    names = list(dict.fromkeys(cell.entry.control for cell in plan.cells if cell.entry.control))
    if not names:
        return []
    words = {(finding.claim, finding.card): finding.verdict.word for finding in findings(plan, store)}
    found = []
    for here in by_card(plan, store):
        for claim in here.made(claims):
            judged = fewest_seeds(len(here.family(claim, claims))), words[claim, here.card]
            found += [_survival(claim, list(here.cells.values()), control, *judged, store) for control in names]
    return [survival for survival in found if survival]


def counterpart(cell: Cell, cells: list[Cell], control: str) -> Cell | None:
    """The cell of the same model and settings under the control; the cell itself if it reads no content."""
    if not reads_content(cell.entry, cell.card):
        return cell
    wanted = _without_names(dataclasses.replace(cell.entry, control=control))
    return next((other for other in cells if _without_names(other.entry) == wanted and not other.skipped), None)


def _survival(
    claim: Claim, cells: list[Cell], control: str, fewest: int, verdict: str, store: Store
) -> Survival | None:
    sides = [next((cell for cell in cells if cell.entry.name == name), None) for name in (claim.better, claim.worse)]
    plain = [cell for cell in sides if cell is not None and cell.entry.control is None and not cell.skipped]
    under = [other for cell in plain if (other := counterpart(cell, cells, control))]
    if len(under) < 2 or under == plain:
        return None
    by_seed = shared([(cell, scores(cell, store, claim.metric)) for cell in (*plain, *under)])
    seeds = tuple(by_seed[0])
    if not seeds:
        return None
    better, worse, better_under, worse_under = (np.array(list(values.values())) for values in by_seed)
    runs = [cell.final(store) or [] for cell in (*plain, *under)]
    records = [store.read(run.run_id) for side in runs for run in side if run.run_id in store]
    return Survival(
        claim,
        plain[0].card,
        control,
        paired_effect(better, worse),
        paired_effect(better_under, worse_under),
        paired_effect(better - worse, better_under - worse_under),
        seeds,
        fewest,
        verdict,
        tuple(sorted({name for record in records for name in record.result["proxies"]})),
    )


def _without_names(entry: Entry) -> Entry:
    return dataclasses.replace(entry, name="", title="", seeds=(), grid_seeds=())
