"""Ours against the numbers that others print: what is in `published.toml`, and the two tables it becomes.

Only numbers on the same split are compared. Those on another split are shown apart, without a difference: there the
lift over LightGCN, of their table and of ours, is all that can be looked at side by side.
"""

import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from ablations.variants import variants
from baselines import MODELS, model_class
from reports.contents import MAIN, NONE, interval, notes_on
from reports.numbers import FULL, OnDataset, Result, metric_title, seed_count
from reports.tables import MISSING, Column, Number, Row, Table
from tmfun import metrics
from tmfun.dataset import Card
from tmfun.errors import InputError
from tmfun.settings import read_settings, unknown

FILE = Path(__file__).parent / "published.toml"
CLOSE = 0.08  # relative; ours are marked where they lie further from the published number
REFERENCE = "lightgcn"  # what lifts are over
ABOVE, BELOW = "↑ above", "↓ below"
UNEXPLAINED = "not explained yet"
Value = TypeVar("Value")


@dataclass(frozen=True)
class Source:
    """One table of published numbers: `numbers[data set][model]`, one per metric."""

    title: str
    source: str
    split: Literal["lattice", "other"]
    metrics: tuple[str, ...]
    numbers: dict[str, dict[str, tuple[float, ...]]]

    @property
    def decides(self) -> str:
        """The metric by which ours are marked."""
        return MAIN if MAIN in self.metrics else self.metrics[0]


@dataclass(frozen=True)
class Published:
    """The file: its tables, the sizes of the published data sets, and notes by model and data set."""

    sizes: dict[str, tuple[int, ...]]
    sources: tuple[Source, ...]
    notes: dict[str, dict[str, str]]


@dataclass(frozen=True)
class _File:
    sizes: dict[str, tuple[int, ...]]
    tables: dict[str, Any]
    notes: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Match:
    """One of our entries with the numbers that a source prints for it."""

    group: OnDataset
    result: Result
    source: Source
    numbers: dict[str, float]  # by metric


def read_published(path: Path | None = None) -> Published:
    """The published numbers (default: those of `published.toml`). Raises InputError for what is wrong in the file."""
    path = path or FILE
    try:
        with path.open("rb") as stream:
            file = read_settings(_File, tomllib.load(stream), str(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML ({error})") from error
    for name, sizes in file.sizes.items():
        if len(sizes) != 5 or min(sizes) < 1:
            raise InputError(f"{path}: [sizes]: {name} must be users, items and three counts of interactions")
    sources = tuple(_source(given, file, f"{path}: [tables.{name}]") for name, given in file.tables.items())
    for model, texts in file.notes.items():
        _check_names(model, texts, file, f"{path}: [notes.{model}]")
    return Published(file.sizes, sources, file.notes)


def _source(given: Any, file: _File, where: str) -> Source:
    if not isinstance(given, dict):
        raise InputError(f"{where}: a table is needed")
    source = read_settings(Source, given, where)
    if not source.metrics:
        raise InputError(f"{where}: no metrics")
    try:
        for metric in source.metrics:
            metrics.parse(metric)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    for dataset, rows in source.numbers.items():
        for model, numbers in rows.items():
            place = f"{where}: numbers.{dataset}"
            _check_names(model, [dataset], file, place)
            if len(numbers) != len(source.metrics):
                raise InputError(f"{place}: {model} has {len(numbers)} numbers for {len(source.metrics)} metrics")
            wrong = [number for number in numbers if not 0 < number <= 1]
            if wrong:
                raise InputError(
                    f"{place}: {model} = {wrong[0]:g} is no metric's value: above 0 and at most 1, no percent"
                )
    return source


def _check_names(model: str, datasets: Any, file: _File, where: str) -> None:
    if model not in MODELS and model not in variants():
        raise unknown("model or variant", model, [*MODELS, *variants()], where)
    for dataset in datasets:
        if dataset not in file.sizes:
            raise unknown("data set", dataset, file.sizes, f"{where} ([sizes] must have it)")


# -- the tables ------------------------------------------------------------------------------------------------------


def tables(groups: Sequence[OnDataset], published: Published) -> list[Table]:
    """What the entries have in common with published numbers: compared, and shown apart; none of nothing."""
    found = [match for group in groups for match in _matches(group, published)]
    compared = [match for match in found if match.source.split == match.group.card.split]
    apart = [match for match in found if match.source.split == "other" and match.group.card.split == "lattice"]
    return [*([_compared(compared, published)] if compared else []), *([_apart(apart)] if apart else [])]


def of_tmfun(groups: Sequence[OnDataset], published: Published) -> bool:
    """Whether any of the published numbers are TMFUN's or a variant's."""
    found = (match for group in groups for match in _matches(group, published))
    return any(match.result.cell.entry.model == "tmfun" for match in found)


def _matches(group: OnDataset, published: Published) -> Iterator[Match]:
    """Every entry on a published data set with every source of numbers for it."""
    card = group.card
    if card.name not in published.sizes or not _is_published(card, published):
        return
    for result in group.results:
        for source in published.sources:
            numbers = _under(result, source.numbers.get(card.name, {}))
            if numbers is not None:
                yield Match(group, result, source, dict(zip(source.metrics, numbers, strict=True)))


def strangers(groups: Iterable[OnDataset], published: Published) -> list[str]:
    """The data sets that are called as a published one is, and are another."""
    return [g.label for g in groups if g.card.name in published.sizes and not _is_published(g.card, published)]


def _is_published(card: Card, published: Published) -> bool:
    return published.sizes[card.name] == (card.users, card.items, card.train, card.validation, card.test)


def _under(result: Result, by_name: Mapping[str, Value]) -> Value | None:
    """What the file has under an entry's name; the full model goes by the model's name too."""
    entry = result.cell.entry
    names = (entry.model, FULL) if entry.name == FULL else (entry.name,)
    return next((by_name[name] for name in names if name in by_name), None)


def _compared(matches: Sequence[Match], published: Published) -> Table:
    shown = list(dict.fromkeys(metric for match in matches for metric in match.source.metrics))
    rows = []
    for match in matches:
        cells: list[str | Number] = [match.result.title, match.group.label, match.source.title]
        for metric in shown:
            cells += _beside(match, metric)
        sign = _sign(match)
        notes = _under(match.result, published.notes) or {}
        why = notes.get(match.group.card.name, UNEXPLAINED) if sign else ""
        cells += [match.result.seeds, features(match.result, match.group.card), sign, why]
        rows.append(Row(tuple(cells), notes_on(match.result)))
    columns = [Column("model"), Column("data set"), Column("published by")]
    for metric in shown:
        title = metric_title(metric)
        columns += [
            Column(f"{title}, ours", 5 if metric.startswith("precision") else 4, interval=True),
            Column(f"{title}, published", 4),
            Column(f"{title}, difference", 1, interval=True, signed=True, percent=True),
        ]
    columns += [Column("seeds"), Column("features"), Column(f"beyond {100 * CLOSE:g} %"), Column("why", width=4)]
    below = (
        "Compared are runs on the same split, under the same protocol: all items ranked, training items masked. A"
        " difference is relative to the published number; in brackets the 95 % interval over our seeds, none of the"
        " published number's.",
        f"↑, ↓: our {metric_title(MAIN)} lies more than {100 * CLOSE:g} % above, or below. Published precision has two"
        " digits, so that its difference is known to some percent only.",
        *_origins(matches),
    )
    caption = f"Ours against published numbers, on test; {_protocols(matches)}; {_seeds(matches)}."
    return Table("published", caption, tuple(columns), tuple(rows), below, (("protocol", _protocols(matches)),))


def _apart(matches: Sequence[Match]) -> Table:
    shown = list(dict.fromkeys(metric for match in matches for metric in match.source.metrics))
    rows = []
    for match in matches:
        cells: list[str | Number] = [match.result.title, match.group.label, match.source.title]
        over = next((m for m in matches if _same_place(m, match) and m.result.cell.entry.name == REFERENCE), None)
        for metric in shown:
            theirs = match.numbers.get(metric, math.nan)
            cells += [Number(theirs), NONE, NONE]
            if over and over is not match:
                cells[-2] = Number(_lift(theirs, over.numbers.get(metric, math.nan)))
                cells[-1] = Number(_lift(match.result.spread(metric).mean, over.result.spread(metric).mean))
        cells += [match.result.seeds, features(match.result, match.group.card)]
        rows.append(Row(tuple(cells), notes_on(match.result)))
    columns = [Column("model"), Column("data set"), Column("published by")]
    for metric in shown:
        title = metric_title(metric)
        columns += [
            Column(f"{title}, published", 4),
            Column(f"{title}, their lift", 1, signed=True, percent=True),
            Column(f"{title}, our lift", 1, signed=True, percent=True),
        ]
    columns += [Column("seeds"), Column("features")]
    below = (
        "Not comparable with ours, hence no difference: another random split of the same interactions alone moves one"
        " model's Recall@20 by about 6 %. Lift: over LightGCN, theirs in the same table, ours in this study. Whether a"
        " model gains about as much here as there can be looked at, no more.",
        *_origins(matches),
    )
    caption = f"Published numbers on another split; lifts of ours: {_protocols(matches)}; {_seeds(matches)}."
    context = (("protocol of our lifts", _protocols(matches)),)
    return Table("published-elsewhere", caption, tuple(columns), tuple(rows), below, context)


def features(result: Result, card: Card) -> str:
    """Where the features come from that an entry reads: "original", "proxy", ..., or "none"."""
    entry = result.cell.entry
    if result.cell.skipped:
        return MISSING
    kind = model_class(entry.model)
    run = next(iter(result.runs.values()), None) or result.cell.run(0, entry.seeds[0])
    reads = kind.reads(card, read_settings(kind.settings_type, run.settings, entry.name))
    return ", ".join(sorted({m.origin for m in card.modalities if m.name in reads})) or "none"


def _beside(match: Match, metric: str) -> tuple[Number, Number, Number]:
    """Ours, the published number, and the relative difference, with our intervals."""
    theirs = match.numbers.get(metric, math.nan)
    ours = interval(match.result.spread(metric))
    difference = (ours.value / theirs - 1, ours.low / theirs - 1, ours.high / theirs - 1)
    return ours, Number(theirs), Number(*difference)


def _sign(match: Match) -> str:
    """Whether ours lie further from the published number than they may."""
    difference = _beside(match, match.source.decides)[2].value
    return ABOVE if difference > CLOSE else BELOW if difference < -CLOSE else ""


def _lift(value: float, over: float) -> float:
    return value / over - 1 if over else math.nan


def _same_place(a: Match, b: Match) -> bool:
    return a.group is b.group and a.source is b.source


def _origins(matches: Sequence[Match]) -> Iterator[str]:
    for source in dict.fromkeys((match.source.title, match.source.source) for match in matches):
        yield f"{source[0]}: {source[1]}."


def _protocols(matches: Sequence[Match]) -> str:
    return "; ".join(dict.fromkeys(match.group.protocol for match in matches))


def _seeds(matches: Sequence[Match]) -> str:
    return seed_count(match.result for match in matches)
