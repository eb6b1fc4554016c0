"""Studies as TOML: data sets x models or variants (under interpretations, under controls) x grid x seeds."""

import dataclasses
import itertools
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ablations import interpretations
from ablations.claims import Side, chosen
from ablations.interpretations import Interpretation
from ablations.specification import depends_on_seed, parts
from ablations.variants import under_control, variant, variants
from baselines import model_class
from tmfun.controls import control
from tmfun.errors import InputError
from tmfun.settings import read_settings, setting, unknown
from tmfun.training import SETTINGS, Training

FOLDER = Path(__file__).parent / "studies"


@dataclass(frozen=True)
class Entry:
    """One row of a study's tables: a model, or a variant of one, with the settings it may try.

    Under a control or an interpretation, the name ends in its name in brackets: `lattice[items-permuted]`. What a claim
    sets or searches itself stands in braces: `lattice{l2=0.001|0.01}`.
    `points` are the grid points, each a dictionary over `settings` (keys `training.<key>` change the training);
    without a grid there is one empty point.
    """

    name: str
    title: str
    model: str
    settings: dict[str, Any]
    training: Training
    points: tuple[dict[str, Any], ...]
    seeds: tuple[int, ...]
    grid_seeds: tuple[int, ...]
    control: str | None = None
    interpretation: str | None = None
    own: str = ""  # what a claim sets or searches of it

    @property
    def seeded(self) -> bool:
        """Whether its runs differ from seed to seed; what only counts has one run."""
        return depends_on_seed(model_class(self.model), self.control)

    @property
    def search_size(self) -> int | None:
        """How many grid points it may try, 1 without a grid; None for a model that has no settings."""
        return len(self.points) if dataclasses.fields(model_class(self.model).settings_type) else None

    def at(self, point: dict[str, Any], where: str) -> tuple[dict[str, Any], Training]:
        """The settings and the training at one grid point."""
        ours, of_training = parts(point, where)
        return {**self.settings, **ours}, read_settings(Training, of_training, where, base=self.training)


@dataclass(frozen=True)
class Study:
    """A study, read and checked."""

    name: str
    title: str
    datasets: tuple[str, ...]
    entries: tuple[Entry, ...]
    claims: tuple[str, ...]
    file: Path

    def entry(self, name: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.name == name), None)


@dataclass(frozen=True)
class _ModelTable:
    variants: tuple[str, ...] = ()
    set: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    seeds: int | tuple[int, ...] | None = None
    controls: tuple[str, ...] = ()
    interpretations: str | tuple[str, ...] = ()


@dataclass(frozen=True)
class _StudyTable:
    title: str
    datasets: tuple[str, ...]
    models: dict[str, Any]
    seeds: int | tuple[int, ...] = setting(8, least=1)
    grid_seeds: int | tuple[int, ...] = setting(1, least=1)
    training: dict[str, Any] = field(default_factory=dict)
    claims: tuple[str, ...] = ()


def shipped() -> list[str]:
    """The names of the studies that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_study(name: str) -> Study:
    """The study called `name`, or in the TOML file `name`. Raises InputError for what is wrong in it."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.exists():
        if name.endswith(".toml"):
            raise InputError(f"{name}: no such file")
        raise unknown("study", name, shipped())
    try:
        with path.open("rb") as stream:
            tables = tomllib.load(stream)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML ({error})") from error
    table = read_settings(_StudyTable, tables, str(path))
    if not table.datasets:
        raise InputError(f"{path}: no data sets")
    sides = _own_sides(table.claims, str(path))
    entries = [entry for model, given in table.models.items() for entry in _entries(model, given, table, sides, path)]
    if not entries:
        raise InputError(f"{path}: no models")
    twice = {entry.name for entry in entries if sum(other.name == entry.name for other in entries) > 1}
    if twice:
        raise InputError(f"{path}: '{min(twice)}' occurs twice")
    _refuse_same(table.claims, entries, str(path))
    return Study(path.stem, table.title, table.datasets, tuple(entries), table.claims, path)


def _entries(model: str, given: Any, study: _StudyTable, sides: Iterable[tuple[Side, str]], path: Path) -> list[Entry]:
    """A model or its variants, and again as claims want them; all under the controls that the study asks for, too, and
    the study's own under interpretations."""
    where = f"{path}: [models.{model}]"
    kind = model_class(model, where)
    if not isinstance(given, dict):
        raise InputError(f"{where}: a table is needed, such as models.{model} = {{}}")
    if isinstance(given.get("grid"), dict):
        parts(given["grid"], where)
    table = read_settings(_ModelTable, given, where)
    readings = interpretations.chosen(table.interpretations, where)
    if readings and model != interpretations.MODEL:
        raise InputError(f"{where}: interpretations are those of {interpretations.MODEL}")
    entries = []
    for name in table.variants or (model,):
        title, changes, own_control = kind.title, {}, None
        if table.variants:
            named = variant(name, where)
            if named.model != model:
                raise InputError(f"{where}: the variant '{name}' is one of {named.model}")
            title, changes, own_control = named.title, named.changes, named.control
        _refuse_fixed(table.grid, name, changes, where)
        entry = Entry(
            name=name,
            title=title,
            model=model,
            settings={**table.set, **changes},
            training=_training({**study.training, **table.training}, path),
            points=_points(table.grid, where),
            seeds=_seeds(study.seeds if table.seeds is None else table.seeds, where),
            grid_seeds=_seeds(study.grid_seeds, where),
            control=own_control,
        )
        of_claims = [_with_own(entry, side, changes, place) for side, place in sides if side.base == name]
        for each in (entry, *of_claims):
            under = [_under_control(each, one, where) for one in table.controls if own_control is None]
            entries += [each, *(one for one in under if one.name not in table.variants)]
        entries += [
            _under(entry, each) for each in readings if own_control is None and not set(each.changes) & set(changes)
        ]
    for entry in entries:
        _complete(entry, where)
        clash = sorted(set(table.grid) & set(next((r.changes for r in readings if r.name == entry.interpretation), {})))
        if clash:
            raise InputError(f"{where}: the grid's key '{clash[0]}' is a switch of the interpretations, too")
    return [entry if entry.seeded else replace(entry, seeds=(0,), grid_seeds=(0,)) for entry in entries]


def _own_sides(claims: tuple[str, ...], where: str) -> list[tuple[Side, str]]:
    """What claims set or search themselves, each once, whatever control a claim lays over it; and a claim's place."""
    sides = [(side, claim.where) for claim in chosen(claims, where) for side in claim.own_sides]
    return list({side.base + side.own: (side, place) for side, place in sides}.values())


def _complete(entry: Entry, where: str) -> list[tuple[Any, Training]]:
    """The settings, defaults included, and the training of each point. InputError for what is not known: a typo shows
    before anything runs."""
    kind = model_class(entry.model).settings_type
    points = (entry.at(point, where) for point in entry.points)
    return [(read_settings(kind, settings, where), training) for settings, training in points]


def _refuse_same(claims: tuple[str, ...], entries: list[Entry], where: str) -> None:
    """Raise InputError for a claim whose sides are the same runs under two names: it has nothing to find."""
    named = {entry.name: entry for entry in entries}
    for claim in chosen(claims, where):
        sides = [named[side] for side in (claim.better, claim.worse) if side in named]
        runs = [(side.model, side.control, _complete(side, claim.where)) for side in sides]
        if len(runs) == 2 and runs[0] == runs[1]:
            raise InputError(f"{claim.where}: in {where}, '{claim.better}' and '{claim.worse}' are the same runs")


def _refuse_fixed(keys: Iterable[str], name: str, changes: dict[str, Any], where: str) -> None:
    clash = sorted(set(changes) & set(keys))
    if clash:
        raise InputError(f"{where}: '{clash[0]}' is what the variant '{name}' fixes")


def _with_own(entry: Entry, side: Side, changes: dict[str, Any], where: str) -> Entry:
    """The entry with the settings that a claim wants of it, and the claim's grid in the place of the study's."""
    _refuse_fixed([*side.set, *side.grid], entry.name, changes, where)
    settings, training = entry.at(side.set, where)
    return replace(
        entry,
        name=entry.name + side.own,
        title=f"{entry.title} {side.own}",
        settings=settings,
        training=training,
        points=_points(side.grid, where),
        own=side.own,
    )


def _under_control(entry: Entry, name: str, where: str) -> Entry:
    """The entry under a control; where a variant is just that, by the variant's name."""
    found = under_control(entry.name, name)
    title = variants()[found].title if found in variants() else f"{entry.title}, {control(name, where).title}"
    return replace(entry, name=found, title=title, control=name)


def _under(entry: Entry, reading: Interpretation) -> Entry:
    """The entry under an interpretation that changes none of the switches that the entry's variant fixes."""
    return replace(
        entry,
        name=f"{entry.name}[{reading.name}]",
        title=f"{entry.title} [{reading.name}]",
        settings={**entry.settings, **reading.under(entry.settings)},
        interpretation=reading.name,
    )


def _points(grid: dict[str, tuple[Any, ...]], where: str) -> tuple[dict[str, Any], ...]:
    empty = [key for key, values in grid.items() if not values]
    if empty:
        raise InputError(f"{where}: the grid's key '{empty[0]}' has no values")
    twice = [(key, value) for key, values in grid.items() for value in values if values.count(value) > 1]
    if twice:
        raise InputError(f"{where}: the grid's key '{twice[0][0]}' has the value {twice[0][1]} twice")
    return tuple(dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))


def _seeds(given: int | tuple[int, ...], where: str) -> tuple[int, ...]:
    seeds = tuple(range(given)) if isinstance(given, int) else given
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise InputError(f"{where}: seeds must be a count of at least 1, or distinct numbers from 0 up")
    return seeds


def _training(table: dict[str, Any], path: Path) -> Training:
    rest = dict(table)
    name = rest.pop("setting", "suite")
    if name not in SETTINGS:
        raise unknown("training setting", str(name), SETTINGS, str(path))
    return read_settings(Training, rest, f"{path}: training", base=SETTINGS[name])
