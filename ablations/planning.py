"""From a study to its runs: what there is to train, in two stages.

An entry without a grid is a list of runs, one per seed. An entry with a grid first tries every point with the grid
seeds; which point then gets all seeds is known only when those runs are done, so until then the second stage is
symbolic: "the winner by validation, with these seeds".
"""

import dataclasses
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ablations.records import Store
from ablations.specification import Specification, specify
from ablations.studies import Entry, Study
from baselines import model_class
from tmfun import controls, formats
from tmfun.dataset import Card
from tmfun.errors import InputError
from tmfun.settings import read_settings


@dataclass(frozen=True)
class Cell:
    """One entry on one data set: its grid (specifications per point and grid seed), and its seeds.

    `skipped` says why the entry cannot use the data set, or cannot be trained as asked; then there are no runs.
    """

    entry: Entry
    card: Card
    grid: tuple[tuple[Specification, ...], ...] = ()
    skipped: str | None = None
    where: str = field(default="", repr=False)

    def candidates(self) -> list[Specification]:
        """The runs of the first stage; none without a grid."""
        return [run for point in self.grid for run in point]

    def winner(self, store: Store) -> int | None:
        """The grid point with the best mean validation score, the first of equals; None until all are done.

        Selection never sees a test score.
        """
        if len(self.entry.points) == 1:
            return 0
        if any(run.run_id not in store for run in self.candidates()):
            return None
        metric = self.entry.training.select_by
        means = [
            float(np.mean([store.metric(run.run_id, metric, "validation") for run in point])) for point in self.grid
        ]
        return int(np.argmax(means))

    def final(self, store: Store) -> list[Specification] | None:
        """The runs that the tables show, one per seed; None while the winner is unknown."""
        if self.skipped:
            return []
        point = self.winner(store)
        return None if point is None else [self.run(point, seed) for seed in self.entry.seeds]

    def run(self, point: int, seed: int) -> Specification:
        settings, training = self.entry.at(self.entry.points[point], self.where)
        return specify(self.card, self.entry.model, settings, training, seed, self.where, self.entry.control)


@dataclass(frozen=True)
class Plan:
    """A study unfolded over the data sets that are at hand; `missing` names those that are not."""

    study: Study
    cells: tuple[Cell, ...]
    missing: tuple[str, ...] = ()

    def runs(self, store: Store) -> list[Specification]:
        """Every run known by now, each once: grids first, as others wait for them; then the first seed of all, ..."""
        grids = [run for cell in self.cells for run in cell.candidates()]
        finals = [cell.final(store) or [] for cell in self.cells]
        by_seed = [run for runs in itertools.zip_longest(*finals) for run in runs if run is not None]
        return list({run.run_id: run for run in grids + by_seed}.values())

    def names(self, store: Store) -> dict[str, str]:
        """The entry of every known run, by run id; of runs that serve several entries the first."""
        named: dict[str, str] = {}
        for cell in self.cells:
            for run in cell.candidates() + (cell.final(store) or []):
                named.setdefault(run.run_id, cell.entry.name)
        return named

    def to_do(self, store: Store) -> list[Specification]:
        """The known runs that have no record."""
        return [run for run in self.runs(store) if run.run_id not in store]

    def search_sizes(self) -> dict[int, list[str]]:
        """The study's entries by how many grid points each may try; more than one size is an unequal search.

        Those that a claim brought are the claim's to compare.
        """
        sizes: dict[int, list[str]] = {}
        for entry in self.study.entries:
            if entry.search_size is not None and not entry.own:
                sizes.setdefault(entry.search_size, []).append(entry.name)
        return sizes

    def symbolic(self, store: Store) -> int:
        """How many runs wait for a winner (an upper bound: a grid run can be one of them)."""
        return sum(len(cell.entry.seeds) for cell in self.cells if cell.final(store) is None)


def plan_on_data(study: Study) -> Plan:
    """The plan on the data sets that are at hand. Raises InputError if none is."""
    here = [name for name in study.datasets if formats.find(name)]
    if not here:
        raise InputError(formats.missing(study.datasets[0]))
    missing = [name for name in study.datasets if name not in here]
    return unfold(study, [formats.load(name).card() for name in here], missing)


def plan_on_records(study: Study, store: Store) -> Plan:
    """The plan on every data set that the store has records of: needs no data."""
    cards = [card for name in study.datasets for card in store.cards(name)]
    return unfold(study, cards, [name for name in study.datasets if not store.cards(name)])


def unfold(study: Study, cards: Iterable[Card], missing: Iterable[str] = ()) -> Plan:
    """The plan of `study` on the data sets of `cards`."""
    return Plan(study, tuple(_cell(study, entry, card) for card in cards for entry in study.entries), tuple(missing))


def _cell(study: Study, entry: Entry, card: Card) -> Cell:
    where = f"{study.file}: {entry.name}"
    cell = Cell(entry, card, where=where)
    reason = _unusable(entry, card, where) or _untrainable(entry, where)
    if reason:
        return Cell(entry, card, skipped=reason, where=where)
    if len(entry.points) == 1:
        return cell
    grid = tuple(tuple(cell.run(i, seed) for seed in entry.grid_seeds) for i in range(len(entry.points)))
    return Cell(entry, card, grid, where=where)


def reads_content(entry: Entry, card: Card) -> bool:
    """Whether the entry's model needs modalities: one that would do without any reads none."""
    return _refusal(entry, dataclasses.replace(card, modalities=()), "") is not None


def _unusable(entry: Entry, card: Card, where: str) -> str | None:
    if entry.control is None:
        return _refusal(entry, card, where)
    if not reads_content(entry, card):
        return "it reads no content that a control could change"
    if entry.control == "random-neighbours" and "neighbours" not in _fields(entry):
        return "it reads no neighbours"
    return controls.unusable(entry.control, card) or _refusal(
        entry, controls.controlled_card(entry.control, card), where
    )


def _refusal(entry: Entry, card: Card, where: str) -> str | None:
    """Why the model cannot use the data set, with some point of the grid."""
    kind = model_class(entry.model)
    for point in entry.points:
        settings, _ = entry.at(point, where)
        reason = kind.unusable(card, read_settings(kind.settings_type, settings, where))
        if reason:
            return reason
    return None


def _untrainable(entry: Entry, where: str) -> str | None:
    """Why the model cannot be trained as asked, at some point of the grid."""
    kind = model_class(entry.model)
    reasons = (entry.at(point, where)[1].unusable(kind) for point in entry.points)
    return next((reason for reason in reasons if reason), None)


def _fields(entry: Entry) -> set[str]:
    return {f.name for f in dataclasses.fields(model_class(entry.model).settings_type)}
