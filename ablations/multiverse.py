"""Claims under every interpretation that a study runs: how far a conclusion depends on how the paper is read.

A claim *holds* under an interpretation if its mean effect is at least the smallest effect that matters, in the claim's
direction; it is *reversed* if the effect is as large the other way, and between the two there is *no effect to speak
of*. These words take the mean over seeds alone, as interpretations usually have few; how many of the effects have a
95 % interval that leaves 0 out is counted beside them, from three seeds on.

A side whose variant fixes a switch of the interpretation keeps that switch, and the other side alone is read the other
way: `item_graph=concatenated` makes "the item graph against none" a claim about the concatenated graph. Left out are
interpretations under which nothing is left to compare: both sides fix the switch, or both would be the same runs. A
claim with settings of its own is about those, and is not read in other ways; nor is one about a control.
"""

import dataclasses
import math
from dataclasses import dataclass

from ablations import interpretations
from ablations.claims import Claim, chosen
from ablations.controlled import is_about_content
from ablations.interpretations import DEFAULT
from ablations.outcomes import OnCard, by_card
from ablations.planning import Plan
from ablations.records import Store
from ablations.variants import variants
from ablations.verdicts import Effect
from tmfun.dataset import Card

HOLDS, NONE, REVERSED = "holds", "no effect to speak of", "reversed"
FEWEST = 3  # seeds with which an interval says something: Student's t over two is wider than any effect here


@dataclass(frozen=True)
class Reading:
    """A claim under one interpretation: its effect, or the `reason` why there is none.

    Without an effect it waits for records, unless it is not `possible`: then no run would give one on this data set.
    """

    name: str
    effect: Effect | None
    seeds: tuple[int, ...]
    reason: str = ""
    smallest: float = 0.0
    single: tuple[float, ...] = ()  # the effect of each seed, relative to the worse side's mean
    proxies: tuple[str, ...] = ()
    possible: bool = True
    stays: str = ""  # the side whose variant fixes a switch of the interpretation

    @property
    def word(self) -> str:
        """HOLDS, NONE or REVERSED."""
        assert self.effect is not None
        relative = self.effect.relative
        return HOLDS if relative >= self.smallest else REVERSED if relative <= -self.smallest else NONE

    @property
    def bounded(self) -> bool:
        """Whether the 95 % interval is worth a word: of enough seeds, and of seeds that differ."""
        if self.effect is None or self.effect.seeds < FEWEST:
            return False
        return not math.isclose(self.effect.deviation, 0, abs_tol=1e-12)  # not 0 to the last digit

    @property
    def settled(self) -> bool:
        """Whether there is a 95 % interval that leaves 0 out."""
        return self.bounded and self.effect is not None and (self.effect.low > 0 or self.effect.high < 0)


@dataclass(frozen=True)
class Multiverse:
    """A claim on a data set under the default and every interpretation; `left_out`: nothing to compare under them."""

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
    def waiting(self) -> list[Reading]:
        """Those without records on both sides by now."""
        return [reading for reading in self.readings if reading.effect is None and reading.possible]

    @property
    def impossible(self) -> list[Reading]:
        """Those that cannot be run on the data set."""
        return [reading for reading in self.readings if not reading.possible]

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
    if claim.own_sides or is_about_content(claim) or not own & set(sides) or not set(sides) <= set(here.cells):
        return None
    readings, left_out = [_reading(claim, DEFAULT, here)], []
    for name in dict.fromkeys(names.values()):
        better, worse = (_under(side, name) if side in own else side for side in sides)
        if (better, worse) == sides or _same_runs(better, worse, here):
            left_out.append(name)
            continue
        stays = next((side for side in sides if side in own and _under(side, name) != f"{side}[{name}]"), "")
        reading = _reading(dataclasses.replace(claim, better=better, worse=worse), name, here)
        readings.append(dataclasses.replace(reading, stays=stays))
    return Multiverse(claim, here.card, tuple(readings), tuple(left_out))


def _under(side: str, name: str) -> str:
    """The entry that is the side under the interpretation, read the other way in all that its variant does not fix."""
    fixed = variants()[side].changes if side in variants() else {}
    changes = interpretations.interpretations()[name].changes
    rest = {switch: value for switch, value in changes.items() if switch not in fixed}
    return f"{side}[{interpretations.name(rest)}]" if rest else side


def _same_runs(better: str, worse: str, here: OnCard) -> bool:
    """Whether both sides are the same model with the same settings."""
    cells = [here.cells[name] for name in (better, worse) if name in here.cells]
    runs = [[cell.run(i, 0).run_id for i in range(len(cell.entry.points))] for cell in cells]
    return len(runs) == 2 and runs[0] == runs[1]


def _reading(claim: Claim, name: str, here: OnCard) -> Reading:
    if obstacle := _obstacle(claim, here):
        return Reading(name, None, (), obstacle, possible=False)
    found = here.effect_of(claim)
    if isinstance(found, str):
        return Reading(name, None, (), found)
    effect = found.effect
    single = tuple((better - worse) / effect.worse for better, worse in found.scores if effect.worse)
    reason = "" if effect.worse else "the worse side scores 0, so no effect is relative to it"
    return Reading(name, effect, found.seeds, reason, claim.smallest_effect, single, here.proxies(claim))


def _obstacle(claim: Claim, here: OnCard) -> str:
    """Why no run would show the claim here; nothing if some would."""
    for side in (claim.better, claim.worse):
        if side not in here.cells:
            return f"the study has no '{side}'"
        if here.cells[side].skipped:
            return str(here.cells[side].skipped)
    return ""
