"""Claims as TOML: a sentence, its two sides, a metric, and where it comes from. One file is one family.

[no-such-thing]                        # the claim's name
sentence = "This part helps."
better = "full"                        # a model or a variant as studies name them, also lattice[items-permuted];
                                       # with the settings or the grid that the study gives it
worse = { entry = "no-such-part", set = { heads = 2 }, grid = { l2 = [1e-3, 1e-2] } }
                                       # or with settings of the claim's own, over the study's, and a grid of its own,
                                       # in the place of the study's
source = "where the claim is made"
metric = "recall@20"                   # on test, of the runs selected on validation
datasets = ["baby"]                    # where the claim is made; without it, on all data sets of the study
smallest_effect = 0.01                 # relative; smaller ones do not matter

The last three may be left out. A family is corrected together, so its size decides the fewest seeds for a verdict.
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablations.interpretations import interpretations
from ablations.specification import parts
from ablations.variants import under_control, variants
from baselines import MODELS, model_class
from tmfun import metrics
from tmfun.controls import control
from tmfun.errors import InputError
from tmfun.settings import read_settings, setting, unknown
from tmfun.training import Training

FOLDER = Path(__file__).parent / "claims"


@dataclass(frozen=True)
class _ClaimTable:
    sentence: str
    better: str | dict[str, Any]
    worse: str | dict[str, Any]
    source: str
    metric: str = "recall@20"
    datasets: tuple[str, ...] = ()
    smallest_effect: float = setting(0.01, above=0)


@dataclass(frozen=True)
class Side:
    """One side of a claim: an entry of a study, and what the claim itself sets and searches of it.

    Keys `training.<key>` change the training, as in a study's grid.
    """

    entry: str
    set: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """The model or variant, without a control."""
        return self.entry.partition("[")[0]

    @property
    def under(self) -> str:
        """The control or the interpretation that it is under; empty without one."""
        return self.entry.removeprefix(self.base)[1:].removesuffix("]")

    @property
    def own(self) -> str:
        """What is set and searched, as names have it: `{heads=4, l2=0.001|0.01}`; nothing where all is the study's."""
        values = {key: (value,) for key, value in self.set.items()} | self.grid
        found = (f"{key}={'|'.join(map(_shown, some))}" for key, some in values.items())
        return f"{{{', '.join(found)}}}" if values else ""

    @property
    def name(self) -> str:
        """What studies and tables call it: `lattice{l2=0.001|0.01}[items-permuted]`."""
        return under_control(self.base + self.own, self.under) if self.under else self.base + self.own


@dataclass(frozen=True)
class Claim:
    """One claim: that `better` scores higher than `worse`. Claims of one `family` are corrected together.

    A side is the name of a study's entry; a study makes those that have settings of the claim's own, `own_sides`.
    """

    name: str
    family: str
    sentence: str
    better: str
    worse: str
    source: str
    metric: str
    datasets: tuple[str, ...]
    smallest_effect: float
    own_sides: tuple[Side, ...] = field(default=(), compare=False)  # their names tell them apart
    where: str = field(default="", compare=False)  # its place, as messages name it

    def made_on(self, dataset: str) -> bool:
        """Whether the claim is made on the data set of this name."""
        return not self.datasets or dataset in self.datasets


def read_claims(folder: Path = FOLDER) -> dict[str, Claim]:
    """Every claim by name. Raises InputError for what is wrong in a file."""
    claims: dict[str, Claim] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            with path.open("rb") as stream:
                tables = tomllib.load(stream)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not valid TOML ({error})") from error
        for name, given in tables.items():
            where = f"{path}: [{name}]"
            if not isinstance(given, dict):
                raise InputError(f"{where}: a table is needed")
            if name in claims:
                raise InputError(f"{where}: this name is also in {claims[name].family}.toml")
            table = read_settings(_ClaimTable, given, where)
            metrics.parse(table.metric)
            sides = [_read_side(side, where) for side in (table.better, table.worse)]
            better, worse = (side.name for side in sides)
            if better == worse:
                raise InputError(f"{where}: both sides are '{better}'")
            rest = {**vars(table), "better": better, "worse": worse, "own_sides": tuple(s for s in sides if s.own)}
            claims[name] = Claim(name=name, family=path.stem, where=where, **rest)
    for family in {claim.family for claim in claims.values()} & set(claims):
        raise InputError(f"{folder / family}.toml: a claim in {claims[family].family}.toml has the name of this file")
    return claims


def base(side: str) -> str:
    """The model or variant that the side of this name is, without its own settings, its control, its interpretation."""
    return side.partition("[")[0].partition("{")[0]


def _read_side(given: str | dict[str, Any], where: str) -> Side:
    table = {"entry": given} if isinstance(given, str) else given
    for part in (table.get("set"), table.get("grid")):
        if isinstance(part, dict):
            parts(part, where)
    side = read_settings(Side, table, where)
    if isinstance(given, dict) and not side.own:
        raise InputError(f"{where}: nothing is set or searched of '{side.entry}': its name alone says that")
    if twice := sorted(set(side.set) & set(side.grid)):
        raise InputError(f"{where}: '{twice[0]}' of '{side.entry}' is both set and searched")
    if side.base not in variants() and side.base not in MODELS:
        raise unknown("model or variant", side.entry, [*variants(), *MODELS], where)
    if side.entry != side.base and not (side.under and side.entry.endswith("]")):
        raise InputError(f"{where}: what '{side.base}' is under stands in brackets: '{side.base}[items-permuted]'")
    if side.under and side.under not in interpretations():
        control(side.under, where)
    if side.own:
        _check_own(side, where)
    return side


def _check_own(side: Side, where: str) -> None:
    """Raise InputError for settings that the model does not know, or that no study could give it."""
    if side.under in interpretations():
        raise InputError(f"{where}: under an interpretation, '{side.base}' takes no other settings: set all of them")
    named = variants().get(side.base)
    if named and named.control:
        full = next(k for k, each in variants().items() if (each.model, each.changes) == (named.model, named.changes))
        raise InputError(f"{where}: with settings of its own, '{side.base}' is written '{full}[{named.control}]'")
    kind = model_class(named.model if named else side.base)
    for point in (side.set, *({key: value} for key, values in side.grid.items() for value in values)):
        ours, of_training = parts(point, where)
        read_settings(kind.settings_type, ours, where)
        read_settings(Training, of_training, where)


def _shown(value: Any) -> str:
    """A value in a name, where brackets stand for controls."""
    return "+".join(map(_shown, value)) or "none" if isinstance(value, list | tuple) else str(value).lower()


def chosen(names: tuple[str, ...] | list[str], where: str = "") -> list[Claim]:
    """The claims that `names` stand for, each once: claims, or families as a whole. InputError for an unknown name."""
    known = read_claims()
    families = {claim.family for claim in known.values()}
    found: dict[str, Claim] = {}
    for name in names:
        if name not in known and name not in families:
            raise unknown("claim", name, [*known, *families], where)
        found |= {claim.name: claim for claim in known.values() if name in (claim.name, claim.family)}
    return list(found.values())
