"""What a run is: its specification, and the identity that follows from it."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from baselines import model_class
from tmfun import controls
from tmfun.dataset import Card
from tmfun.errors import InputError
from tmfun.recommender import NUMERICS, Recommender
from tmfun.settings import read_settings
from tmfun.training import Training

PROTOCOL = "lattice"  # all items ranked, training items masked
OF_TRAINING = "training."  # starts the keys of settings that change the training


@dataclass(frozen=True)
class Specification:
    """One model on one data set with one seed. Equal specifications give equal results on equal machines.

    `settings` and `training` are complete: every key, defaults included. A model that only counts has no training,
    and seed 0 unless a control draws by the seed. A run without a control says nothing of controls.
    """

    dataset: str
    content_hash: str
    model: str
    settings: dict[str, Any]
    training: dict[str, Any]
    seed: int
    protocol: str
    numerics: tuple[int, int]  # of the shared code, of the model
    control: str | None = None  # what is done to the data's content (tmfun/controls.py); content_hash is from before

    @cached_property
    def run_id(self) -> str:
        """16 hex digits of the SHA-256 of all that decides the result: everything but the data set's name."""
        identity = self.to_json()
        del identity["dataset"]
        kinds = {"settings": model_class(self.model).settings_type, "training": Training}
        for part, kind in kinds.items():
            legacy = _legacy(kind)
            identity[part] = {k: v for k, v in identity[part].items() if k not in legacy or v != legacy[k]}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dictionaries and numbers."""
        table = json.loads(json.dumps(dataclasses.asdict(self)))
        return {key: value for key, value in table.items() if key != "control" or value is not None}

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> "Specification":
        return cls(**{**table, "numerics": tuple(table["numerics"])})


def specify(
    card: Card,
    model: str,
    settings: dict[str, Any],
    training: Training,
    seed: int,
    where: str,
    control: str | None = None,
) -> Specification:
    """The specification of `model` with `settings` over its defaults. Raises InputError for a bad setting."""
    kind = model_class(model, where)
    complete: Any = read_settings(kind.settings_type, settings, where)
    return Specification(
        dataset=card.name,
        content_hash=card.content_hash,
        model=model,
        settings=json.loads(json.dumps(dataclasses.asdict(complete))),
        training=dataclasses.asdict(training) if kind.learned else {},
        seed=seed if depends_on_seed(kind, control) else 0,
        protocol=PROTOCOL,
        numerics=(NUMERICS, kind.numerics),
        control=control,
    )


def parts(settings: dict[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the model, and of the training, whose keys are `training.<key>`.

    Raises InputError for such a key without quotes: to TOML it is a table.
    """
    if isinstance(settings.get("training"), dict):
        key = next(iter(settings["training"]), "patience")
        raise InputError(f'{where}: keys of the training are quoted: "{OF_TRAINING}{key}"')
    ours = {key: value for key, value in settings.items() if not key.startswith(OF_TRAINING)}
    return ours, {key.removeprefix(OF_TRAINING): value for key, value in settings.items() if key not in ours}


def depends_on_seed(kind: type[Recommender], control: str | None) -> bool:
    """Whether another seed can give another result: by training, or by what a control draws."""
    return kind.learned or (control is not None and controls.control(control).drawn)


def _legacy(kind: type) -> dict[str, Any]:
    """The values at which fields added after the first records stay out of the identity."""
    return {f.name: f.metadata["legacy"] for f in dataclasses.fields(kind) if "legacy" in f.metadata}
