"""The numbers that tables and figures share: the final records of every entry, by data set and seed."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy import stats

from ablations.outcomes import finished, shared
from ablations.planning import Cell, Plan
from ablations.records import Record, Store
from ablations.specification import PROTOCOL, Specification
from ablations.verdicts import LEVEL, Effect, paired_effect
from baselines import model_class
from tmfun.dataset import Card

FULL = "full"  # the variant that the others are measured against


@dataclass(frozen=True)
class Spread:
    """Values over seeds: their mean and the 95 % interval of Student's t; nan for the interval of fewer than two."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values)) if self.values else math.nan

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        n = len(self.values)
        if n < 2:
            return math.nan
        return float(stats.t.ppf(1 - LEVEL / 2, n - 1) * np.std(self.values, ddof=1) / math.sqrt(n))


@dataclass(frozen=True, eq=False)
class Result:
    """One entry on one data set, with the final runs that have records, by seed."""

    cell: Cell
    runs: dict[int, Specification]
    store: Store = field(repr=False)

    @property
    def title(self) -> str:
        return self.cell.entry.title

    @property
    def learned(self) -> bool:
        return model_class(self.cell.entry.model).learned

    @property
    def seeded(self) -> bool:
        """Whether another seed can give another number."""
        return self.cell.entry.seeded

    @property
    def searched(self) -> bool:
        """Whether a search over a grid stands behind it."""
        return bool(self.cell.grid)

    @cached_property
    def records(self) -> list[Record]:
        return [self.store.read(run.run_id) for run in self.runs.values()]

    def scores(self, metric: str, split: str = "test") -> dict[int, float]:
        """The metric by seed."""
        return {seed: self.store.metric(run.run_id, metric, split) for seed, run in self.runs.items()}

    def spread(self, metric: str) -> Spread:
        """The metric on test over seeds."""
        return Spread(tuple(self.scores(metric).values()))

    @property
    def proxies(self) -> tuple[str, ...]:
        """The modalities whose proxy features any of the runs read."""
        return tuple(sorted({name for record in self.records for name in record.result["proxies"]}))

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(sorted({record.provenance["device"] for record in self.records}))

    @property
    def cut(self) -> bool:
        """Whether some run reached the limit of epochs before early stopping ended it."""
        return any(_cut(record) for record in self.records)

    @property
    def seeds(self) -> str:
        """How many seeds have records: "3", "2 of 3", "skipped", or "deterministic" for a model that only counts."""
        if self.cell.skipped:
            return "skipped"
        planned = len(self.cell.entry.seeds)
        if not self.seeded:
            return "deterministic" if self.runs else "no record"
        return str(planned) if len(self.runs) == planned else f"{len(self.runs)} of {planned}"


@dataclass(frozen=True, eq=False)
class OnDataset:
    """All entries of a study on one data set.

    `label` names the data set for readers, `slug` in file names; both tell two contents under one name apart.
    """

    card: Card
    label: str
    slug: str
    results: tuple[Result, ...]

    @property
    def full(self) -> Result | None:
        return next((result for result in self.results if _is_full(result.cell)), None)

    @property
    def plain(self) -> tuple[Result, ...]:
        """All with the study's settings under the default interpretation: the others serve claims, and stand there."""
        entries = ((result, result.cell.entry) for result in self.results)
        return tuple(result for result, entry in entries if entry.interpretation is None and not entry.own)

    @property
    def controlled(self) -> tuple[Result, ...]:
        """Models and variants under a control."""
        return tuple(result for result in self.plain if result.cell.entry.control)

    @property
    def ablated(self) -> tuple[Result, ...]:
        """The variants of the full model; none if the study has no full model."""
        if self.full is None:
            return ()
        model = self.full.cell.entry.model
        return tuple(r for r in self.uncontrolled if r.cell.entry.model == model and r is not self.full)

    @property
    def compared(self) -> tuple[Result, ...]:
        """The full model and its competitors."""
        return tuple(result for result in self.uncontrolled if result not in self.ablated)

    @property
    def uncontrolled(self) -> tuple[Result, ...]:
        """Models and variants on the content as it is."""
        return tuple(result for result in self.plain if not result.cell.entry.control)

    @property
    def protocol(self) -> str:
        """The protocol of the records, and whose split it is."""
        found = {run.protocol for result in self.results for run in result.runs.values()} or {PROTOCOL}
        return f"{' and '.join(sorted(found))} protocol, split: {self.card.split}"


@dataclass(frozen=True)
class Change:
    """A variant minus the full model, paired over the seeds that both have."""

    effect: Effect
    seeds: tuple[int, ...]
    single: tuple[float, ...]  # per seed, as a share of the full model's mean


@dataclass(frozen=True)
class Curve:
    """The validation metric over epochs, of one run."""

    epochs: tuple[int, ...]
    values: tuple[float, ...]
    kept: tuple[int, float]  # the epoch with the best value, and that value


def gather(plan: Plan, store: Store) -> tuple[OnDataset, ...]:
    """The records of the plan, in the order of the study."""
    cards = list(dict.fromkeys(cell.card for cell in plan.cells))
    names = [card.name for card in cards]
    groups = []
    for card in cards:
        twice = names.count(card.name) > 1
        label = f"{card.name} [{card.content_hash[:8]}]" if twice else card.name
        label += " (synthetic)" if card.origin == "synthetic" else ""
        results = tuple(Result(cell, finished(cell, store), store) for cell in plan.cells if cell.card == card)
        groups.append(OnDataset(card, label, slug(card.version if twice else card.name), results))
    return tuple(groups)


def slug(text: str) -> str:
    """`text` as a file name: letters, digits and single dashes."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()


def change(variant: Result, full: Result, metric: str) -> Change | None:
    """What replacing the full model by the variant changes; None without a common seed."""
    ours, theirs = shared([(result.cell, result.scores(metric)) for result in (variant, full)])
    seeds = tuple(ours)
    if not seeds:
        return None
    effect = paired_effect([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])
    single = tuple((ours[s] - theirs[s]) / effect.worse if effect.worse else math.nan for s in seeds)
    return Change(effect, seeds, single)


def curves(result: Result) -> list[Curve]:
    """The training of each run that has a history; the metric is the one it was selected by."""
    metric = result.cell.entry.training.select_by
    found = []
    for record in result.records:
        history = record.result["history"]
        if history:
            epochs, values = (tuple(point[key] for point in history) for key in ("epoch", metric))
            best = record.result["best_epoch"]
            found.append(Curve(epochs, values, (best, values[epochs.index(best)])))
    return found


def mean_curve(seeds: Sequence[Curve]) -> tuple[list[int], list[float]]:
    """The mean over seeds at the epochs that every one of them was evaluated at: none where one has ended."""
    points = [dict(zip(curve.epochs, curve.values, strict=True)) for curve in seeds]
    common = sorted(set.intersection(*(set(p) for p in points))) if points else []
    return common, [float(np.mean([p[epoch] for p in points])) for epoch in common]


def seed_count(results: Iterable[Result]) -> str:
    """How many seeds stand behind the numbers of these entries, in words."""
    counts = sorted({len(result.runs) for result in results if result.seeded and result.runs})
    return counted([n for n in counts if n])


def counted(counts: Sequence[int]) -> str:
    """[3] -> "3 seeds"; [2, 3] -> "2 to 3 seeds"."""
    if not counts:
        return "no seeds yet"
    if min(counts) < max(counts):
        return f"{min(counts)} to {max(counts)} seeds"
    return f"{counts[0]} seed{'s' if counts[0] > 1 else ''}"


def metric_title(metric: str) -> str:
    """ "ndcg_lattice@20" -> "NDCG@20 (lattice)"."""
    name, _, k = metric.partition("@")
    kind, _, form = name.partition("_")
    kind = kind.upper() if kind in ("ndcg", "mrr") else kind.capitalize()
    return f"{kind}@{k}" + (f" ({form})" if form else "")


def _is_full(cell: Cell) -> bool:
    return cell.entry.name == FULL


def _cut(record: Record) -> bool:
    training, result = record.specification.training, record.result
    if not training or result["epochs"] < training["max_epochs"]:
        return False
    return result["epochs"] - result["best_epoch"] < training["patience"] * training["evaluate_every"]
