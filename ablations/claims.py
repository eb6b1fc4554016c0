"""Claims as TOML: a sentence, its two sides, a metric, and where it comes from. One file is one family.

[no-such-thing]                        # the claim's name
sentence = "This part helps."
better = "full"                        # a model or a variant, as studies name them: also lattice[items-permuted]
worse = "no-such-part"
metric = "recall@20"                   # on test, of the runs selected on validation
smallest_effect = 0.01                 # relative; smaller ones do not matter
source = "where the claim is made"
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from ablations.interpretations import interpretations
from ablations.variants import variants
from baselines import MODELS
from tmfun import metrics
from tmfun.controls import control
from tmfun.errors import InputError
from tmfun.settings import read_settings, setting, unknown

FOLDER = Path(__file__).parent / "claims"


@dataclass(frozen=True)
class _ClaimTable:
    sentence: str
    better: str
    worse: str
    source: str
    metric: str = "recall@20"
    smallest_effect: float = setting(0.01, above=0)


@dataclass(frozen=True)
class Claim:
    """One claim: that `better` scores higher than `worse`. Claims of one `family` are corrected together."""

    name: str
    family: str
    sentence: str
    better: str
    worse: str
    source: str
    metric: str
    smallest_effect: float


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
            for side in (table.better, table.worse):
                _check_side(side, where)
            claims[name] = Claim(name=name, family=path.stem, **vars(table))
    return claims


def _check_side(side: str, where: str) -> None:
    base, bracket, under = side.partition("[")
    if base not in variants() and base not in MODELS:
        raise unknown("model or variant", side, [*variants(), *MODELS], where)
    if bracket and under.removesuffix("]") not in interpretations():
        control(under.removesuffix("]"), where)


def chosen(names: tuple[str, ...] | list[str], where: str = "") -> list[Claim]:
    """The claims called `names`. Raises InputError for one that does not exist."""
    known = read_claims()
    for name in names:
        if name not in known:
            raise unknown("claim", name, known, where)
    return [known[name] for name in names]
