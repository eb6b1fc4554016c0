"""Claims under every interpretation that a study runs: how far a conclusion depends on how the paper is read.

A claim *holds* under an interpretation if its mean effect is at least the smallest effect that matters, in the claim's
direction; it is *reversed* if the effect is as large the other way, and between the two there is *no effect to speak
of*. These words take the mean over seeds alone, as interpretations usually have few; how many of the effects have a
95 % interval that leaves 0 out is counted beside them.
"""

import dataclasses
import math
from dataclasses import dataclass

from ablations.claims import Claim, chosen
from ablations.interpretations import DEFAULT, interpretations
from ablations.outcomes import OnCard, by_card
from ablations.planning import Plan
from ablations.records import Store
from ablations.variants import variants
from ablations.verdicts import Effect
from tmfun.dataset import Card

HOLDS, NONE, REVERSED = "holds", "no effect to speak of", "reversed"


@dataclass(frozen=True)
class Reading:
    """A claim under one interpretation: its effect, or why there is none."""

    name: str
    effect: Effect | None
    seeds: tuple[int, ...]
    reason: str = ""
    smallest: float = 0.0
    single: tuple[float, ...] = ()  # the effect of each seed, relative to the worse side's mean
    proxies: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """HOLDS, NONE or REVERSED."""
        assert self.effect is not None
        relative = self.effect.relative
        return HOLDS if relative >= self.smallest else REVERSED if relative <= -self.smallest else NONE

    @property
    def settled(self) -> bool:
        """Whether the 95 % interval leaves 0 out."""
        return self.effect is not None and (self.effect.low > 0 or self.effect.high < 0)


@dataclass(frozen=True)
class Multiverse:
    """A claim on a data set under the default and every interpretation; `left_out`: those that the claim is about."""

    claim: Claim
    card: Card
    readings: tuple[Reading, ...]
    left_out: tuple[str, ...]

    @property
    def measured(self) -> list[Reading]:
        """Those with an effect, the largest first."""
        found = [reading for reading in self.readings if reading.effect and not math.isnan(reading.effect.relative)]
        return sorted(found, key=lambda reading: -reading.effect.relative)  # type: ignore[union-attr]

    @property
    def default(self) -> Reading:
        return self.readings[0]

    def count(self, word: str, settled: bool = False) -> int:
        """How many readings have this word (and, with `settled`, an interval that leaves 0 out)."""
        return sum(reading.word == word and (reading.settled or not settled) for reading in self.measured)


def multiverses(plan: Plan, store: Store) -> list[Multiverse]:
    """Every claim of the study with a side that has interpretations, on every data set."""
    claims = chosen(plan.study.claims, str(plan.study.file))
    found = [_multiverse(claim, here) for here in by_card(plan, store) for claim in here.made(claims)]
    return [multiverse for multiverse in found if multiverse]


def _multiverse(claim: Claim, here: OnCard) -> Multiverse | None:
    sides = (claim.better, claim.worse)
    names = {name: cell.entry.interpretation for name, cell in here.cells.items() if cell.entry.interpretation}
    own = {name.partition("[")[0] for name in names}
    if not own & set(sides) or not set(sides) <= set(here.cells):
        return None
    readings, left_out = [_reading(claim, DEFAULT, here)], []
    for name in dict.fromkeys(names.values()):
        if any(_is_about(side, name) for side in sides):
            left_out.append(name)
            continue
        better, worse = (f"{side}[{name}]" if side in own else side for side in sides)
        readings.append(_reading(dataclasses.replace(claim, better=better, worse=worse), name, here))
    return Multiverse(claim, here.card, tuple(readings), tuple(left_out))


def _is_about(side: str, name: str) -> bool:
    """Whether the side's variant fixes a switch of the interpretation."""
    return side in variants() and bool(set(variants()[side].changes) & set(interpretations()[name].changes))


def _reading(claim: Claim, name: str, here: OnCard) -> Reading:
    found = here.effect_of(claim)
    if isinstance(found, str):
        return Reading(name, None, (), found)
    effect = found.effect
    single = tuple((better - worse) / effect.worse for better, worse in found.scores if effect.worse)
    return Reading(name, effect, found.seeds, "", claim.smallest_effect, single, here.proxies(claim))
