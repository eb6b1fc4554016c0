"""Strict tables: from TOML (or JSON) to a frozen dataclass, where a typo is an error and never a None.

A settings class is a frozen dataclass whose fields are annotated with bool, int, float, str, a `Literal`,
a tuple of those, or a union of these. Limits stand in the field's metadata: `setting(0.5, above=0)`.
"""

import dataclasses
import difflib
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tmfun.errors import InputError

Settings = TypeVar("Settings")


def setting(
    default: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    per_run: bool = False,
) -> Any:
    """A field with limits: its value is > `above`, >= `least`, <= `most`.

    `per_run` marks a number that a loss or a step only calculates with: runs that differ in it can share a stack
    (tmfun/stacking.py).
    """
    metadata = {"above": above, "least": least, "most": most, "per_run": per_run}
    return dataclasses.field(default=default, metadata=metadata)


def per_run(kind: type) -> set[str]:
    """The fields of the settings class `kind` that are marked so."""
    return {field.name for field in dataclasses.fields(kind) if field.metadata.get("per_run")}


def added_later(default: Any, *, legacy: Any) -> Any:
    """A field that older records lack; `legacy` is the value they implied.

    At that value the field stays out of a run's identity, so that old records remain valid.
    """
    return dataclasses.field(default=default, metadata={"legacy": legacy})


def unknown(what: str, given: str, known: Iterable[str], where: str = "") -> InputError:
    """The error for a name that does not exist, with the nearest name that does."""
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names) or 'none'}"
    return InputError(f"{where + ': ' if where else ''}unknown {what} '{given}' ({hint})")


def read_settings(kind: type[Settings], table: Mapping[str, Any], where: str, base: Settings | None = None) -> Settings:
    """Build the settings class `kind` from `table`, over its defaults or over `base`.

    Raises InputError, naming `where`, for an unknown key, a wrong type or a value outside the field's limits.
    """
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}  # type: ignore[arg-type]
    values = {}
    for name, given in table.items():
        if name not in fields:
            raise unknown("key", name, fields, where)
        value = _convert(given, hints[name])
        if value is _MISFIT:
            raise InputError(f"{where}: {name} = {given!r} is not {_describe(hints[name])}")
        _check_limits(value, fields[name].metadata, f"{where}: {name} = {given!r}")
        values[name] = value
    if base is not None:
        return dataclasses.replace(base, **values)  # type: ignore[type-var]
    missing = [
        name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{where}: the key '{missing[0]}' is missing")
    return kind(**values)


_MISFIT = object()


def _convert(value: Any, hint: Any) -> Any:
    """`value` as the annotated type (int becomes float, list becomes tuple), or _MISFIT."""
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin is Literal:
        return value if any(value == choice and type(value) is type(choice) for choice in get_args(hint)) else _MISFIT
    if origin in (Union, types.UnionType):
        return next((c for option in get_args(hint) if (c := _convert(value, option)) is not _MISFIT), _MISFIT)
    if origin is tuple:
        item = get_args(hint)[0]
        if not isinstance(value, list | tuple):
            return _MISFIT
        items = tuple(_convert(entry, item) for entry in value)
        return _MISFIT if any(entry is _MISFIT for entry in items) else items
    if origin is dict:
        of = get_args(hint)[1]
        if not isinstance(value, dict):
            return _MISFIT
        entries = {key: _convert(entry, of) for key, entry in value.items()}
        return _MISFIT if any(entry is _MISFIT for entry in entries.values()) else entries
    if hint is type(None):
        return None if value is None else _MISFIT
    if isinstance(value, bool) and hint is not bool:
        return _MISFIT
    if hint is float and isinstance(value, int | float):
        return float(value) if abs(value) <= sys.float_info.max else _MISFIT  # false for nan, too
    return value if isinstance(value, hint) else _MISFIT


def _describe(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(option) for option in get_args(hint))
    if origin in (tuple, dict):
        what, each, of = ("a list", "each", 0) if origin is tuple else ("a table", "each value", 1)
        inner = get_args(hint)[of]
        return what if inner is Any else f"{what}, {each} {_describe(inner)}"
    names = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}
    return names.get(hint, str(hint))


def _check_limits(value: Any, limits: Mapping[str, Any], what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if limits.get("above") is not None and not value > limits["above"]:
        raise InputError(f"{what} must be above {limits['above']}")
    if limits.get("least") is not None and not value >= limits["least"]:
        raise InputError(f"{what} must be at least {limits['least']}")
    if limits.get("most") is not None and not value <= limits["most"]:
        raise InputError(f"{what} must be at most {limits['most']}")
