"""Claims under a control: does the gain of a part survive when the content is destroyed?

The gain is better - worse; under the control it is (better, controlled) - (worse, controlled), each side with the
winner of its own grid, or the side itself where it reads no content. Both gains and their difference, the share that
needs the content, are paired over the seeds that all four sides have. With fewer seeds than the claim's verdict needs
there is no word but "too few seeds".
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from ablations.claims import Claim, chosen
from ablations.outcomes import by_card, scores, shared
from ablations.planning import Cell, Plan, reads_content
from ablations.records import Store
from ablations.studies import Entry
from ablations.verdicts import Effect, fewest_seeds, paired_effect
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
    proxies: tuple[str, ...]

    @property
    def meaning(self) -> str:
        """The word as a plain sentence."""
        destroyed = {"same-modality": "a second modality", "random-neighbours": "the items' own neighbours"}
        return MEANING[self.word].format(destroyed.get(self.control.partition(":")[0], "the items' own content"))

    @property
    def word(self) -> str:
        """One of the keys of MEANING."""
        if len(self.seeds) < self.fewest:
            return "too few seeds"
        if not self.gain.low > 0:
            return "no gain"
        if self.under.low > 0:
            return "survives in part" if self.lost.low > 0 else "survives"
        return "goes" if self.lost.low > 0 else "unsettled"


MEANING = {
    "survives": "the gain survives: it does not need {}",
    "survives in part": "a part of the gain survives: that part does not need {}",
    "goes": "the gain goes: it needs {}",
    "unsettled": "whether the gain survives is not settled",
    "no gain": "no settled gain, so nothing that could survive",
    "too few seeds": "too few seeds to say",
}


def survivals(plan: Plan, store: Store) -> list[Survival]:
    """Every claim of the study on every data set under every control for which all four sides have records."""
    claims = chosen(plan.study.claims, str(plan.study.file))
    names = list(dict.fromkeys(cell.entry.control for cell in plan.cells if cell.entry.control))
    found = []
    for here in by_card(plan, store):
        for claim in here.made(claims):
            fewest = fewest_seeds(len(here.family(claim, claims)))
            found += [_survival(claim, list(here.cells.values()), control, fewest, store) for control in names]
    return [survival for survival in found if survival]


def counterpart(cell: Cell, cells: list[Cell], control: str) -> Cell | None:
    """The cell of the same model and settings under the control; the cell itself if it reads no content."""
    if not reads_content(cell.entry, cell.card):
        return cell
    wanted = _without_names(dataclasses.replace(cell.entry, control=control))
    return next((other for other in cells if _without_names(other.entry) == wanted and not other.skipped), None)


def _survival(claim: Claim, cells: list[Cell], control: str, fewest: int, store: Store) -> Survival | None:
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
        tuple(sorted({name for record in records for name in record.result["proxies"]})),
    )


def _without_names(entry: Entry) -> Entry:
    return dataclasses.replace(entry, name="", title="", seeds=(), grid_seeds=())
