"""Named variants of TMFUN: deltas of its switches, or a control of its data, kept as data in `variants.toml`."""

import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tmfun.controls import control
from tmfun.settings import read_settings, unknown

FILE = Path(__file__).parent / "variants.toml"


@dataclass(frozen=True)
class Variant:
    """A named delta from `full`."""

    title: str
    changes: dict[str, Any] = field(default_factory=dict)
    control: str | None = None
    model: str = "tmfun"


@cache
def variants() -> dict[str, Variant]:
    """Every variant by name."""
    with FILE.open("rb") as stream:
        tables = tomllib.load(stream)
    found = {name: read_settings(Variant, table, f"{FILE.name}: [{name}]") for name, table in tables.items()}
    for name, each in found.items():
        if each.control:
            control(each.control, f"{FILE.name}: [{name}]")
    return found


def under_control(name: str, control: str) -> str:
    """What the model or variant of this name is called under a control; where a variant is just that, by its name."""
    base = variants().get(name)
    if base:
        for known, each in variants().items():
            if (each.model, each.changes, each.control) == (base.model, base.changes, control):
                return known
    return f"{name}[{control}]"


def variant(name: str, where: str) -> Variant:
    """The variant called `name`. Raises InputError for one that does not exist."""
    if name not in variants():
        raise unknown("variant", name, variants(), where)
    return variants()[name]
