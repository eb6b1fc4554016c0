"""Interpretations: the switches of TMFUN that the paper leaves open, kept as data in `interpretations.toml`.

An interpretation is a delta of switches, named by them: `edge_weights=binary`, `fusion=single-step,combine=sum`. Under
it, a variant keeps what it changes itself; where both change the same switch, the variant has no such interpretation.
"""

import itertools
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tmfun.model import Settings
from tmfun.settings import read_settings, unknown

FILE = Path(__file__).parent / "interpretations.toml"
MODEL = "tmfun"  # whose switches they are
DEFAULT = "default"  # the interpretation that changes nothing


@dataclass(frozen=True)
class Interpretation:
    """A named delta of switches."""

    name: str
    changes: dict[str, Any]

    def under(self, settings: dict[str, Any]) -> dict[str, Any]:
        """What it adds to `settings`: switches that do nothing beside them are left out, so that runs are shared."""
        idle = {
            switch
            for each in _tables().idle
            if all(settings.get(key) == value for key, value in each["where"].items())
            for switch in each["switches"]
        }
        return {switch: value for switch, value in self.changes.items() if switch not in idle}


@dataclass(frozen=True)
class _File:
    one_away: dict[str, Any]
    crossed: dict[str, Any] = field(default_factory=dict)
    idle: tuple[dict[str, Any], ...] = ()


@cache
def interpretations() -> dict[str, Interpretation]:
    """Every interpretation by name, the default not counted: first those one switch away, then the crossed ones."""
    tables, default = _tables(), Settings()
    deltas = [{key: value} for key, values in tables.one_away.items() for value in values]
    for values in itertools.product(*tables.crossed.values()):
        crossed = dict(zip(tables.crossed, values, strict=True))
        deltas.append({key: value for key, value in crossed.items() if value != getattr(default, key)})
    found = {name(delta): Interpretation(name(delta), delta) for delta in deltas if delta}
    for each in found.values():
        read_settings(Settings, each.changes, f"{FILE.name}: {each.name}")
    return found


def name(changes: dict[str, Any]) -> str:
    """`fusion=single-step,combine=sum`."""
    return ",".join(f"{key}={str(value).lower()}" for key, value in changes.items())


def chosen(given: str | tuple[str, ...], where: str) -> list[Interpretation]:
    """What a study asks for: "all", "one-away", or names. Raises InputError for one that does not exist."""
    known = interpretations()
    if given == "all":
        return list(known.values())
    if given == "one-away":
        return [each for each in known.values() if len(each.changes) == 1]
    names = (given,) if isinstance(given, str) else given
    for each in names:
        if each not in known:
            raise unknown("interpretation", each, ["all", "one-away", *known], where)
    return [known[each] for each in dict.fromkeys(names)]


@cache
def _tables() -> _File:
    with FILE.open("rb") as stream:
        tables = tomllib.load(stream)
    return read_settings(_File, {key.replace("-", "_"): value for key, value in tables.items()}, FILE.name)
