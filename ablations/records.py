"""Records on disk: one JSON file per run with its ranks beside it, and one card per data set.

    <root>/datasets/<name>-<hash>.json   the data set's card
    <root>/datasets/<name>-<hash>.npz    per held-out entry (validation, then test): user ordinal, split, training
                                         degrees of user and item; no item ids
    <root>/runs/<name>-<hash>/<run>.json specification, `result` (what a repeated run must reproduce), `provenance`
    <root>/runs/<name>-<hash>/<run>.npz  ranks of the validation and of the test items, attention weights (float16)
    <root>/failures/<run>.txt            why a run failed; never taken for a result, the run is tried again

Everything is written to a temporary name and renamed; the JSON comes last, and a run exists if its JSON does.
"""

import dataclasses
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablations.specification import Specification
from tmfun import PROJECT, metrics
from tmfun.dataset import Card, Dataset, ModalityCard
from tmfun.errors import InputError

SCHEMA = 1  # of a record; readers upgrade older ones
HELD_OUT = ("validation", "test")


@dataclass(frozen=True)
class Record:
    """One finished run."""

    specification: Specification
    result: dict[str, Any]  # best_epoch, epochs, history, parameters, ranks_sha256
    provenance: dict[str, Any]  # versions, device, seconds, memory


@dataclass(frozen=True)
class HeldOut:
    """The held-out entries of a data set, in the order of the ranks: arrays (entries,) per split."""

    users: dict[str, NDArray[np.int32]]  # ordinals; the same user has the same number in both splits
    user_degrees: dict[str, NDArray[np.int32]]  # training interactions of the entry's user
    item_degrees: dict[str, NDArray[np.int32]]  # and of its item


class Store:
    """The records below one folder (default: `results/` of the project, or TMFUN_RESULTS)."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or Path(os.environ.get("TMFUN_RESULTS") or PROJECT / "results")
        self._held_out: dict[str, HeldOut] = {}
        self._metrics: dict[tuple[str, str, str], float] = {}

    @cached_property
    def _paths(self) -> dict[str, Path]:
        return {path.stem: path for path in sorted(self.root.glob("runs/*/*.json"))}

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._paths

    def __len__(self) -> int:
        return len(self._paths)

    def run_ids(self) -> list[str]:
        return list(self._paths)

    def refresh(self) -> None:
        """Look at the folder again: other processes write into it."""
        self.__dict__.pop("_paths", None)
        self.__dict__.pop("_cards", None)

    def read(self, run_id: str) -> Record:
        """The record of a run that is in the store. Raises InputError for a file that is damaged."""
        path = self._paths[run_id]
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            if table["schema"] != SCHEMA:
                raise InputError(f"{path}: schema {table['schema']} is newer than this program; update it")
            return Record(Specification.from_json(table["specification"]), table["result"], table["provenance"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not a complete record ({error!r}); delete it to run it again") from error

    def arrays(self, run_id: str, *names: str) -> dict[str, NDArray]:
        """Ranks (`validation`, `test`) and attention weights of a run, or those of `names`."""
        path = self._paths[run_id].with_suffix(".npz")
        try:
            return _read_npz(path, names)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path}: not a complete array file ({error}); delete the run's files to redo it"
            ) from error

    def card(self, run_id: str) -> Card:
        """The card of the data set that a run was made on."""
        version = self._paths[run_id].parent.name
        return next(card for card in self.cards() if card.version == version)

    def cards(self, name: str | None = None) -> list[Card]:
        """The cards of all data sets with records, or of those called `name`."""
        return [card for card in self._cards if name is None or card.name == name]

    @cached_property
    def _cards(self) -> list[Card]:
        return [_read_card(path) for path in sorted(self.root.glob("datasets/*.json"))]

    def held_out(self, card: Card) -> HeldOut:
        """The held-out entries of a data set."""
        if card.version not in self._held_out:
            arrays = _read_npz(self.root / "datasets" / f"{card.version}.npz")
            parts = {
                key: {split: arrays[key][arrays["split"] == code] for code, split in enumerate(HELD_OUT)}
                for key in ("users", "user_degrees", "item_degrees")
            }
            self._held_out[card.version] = HeldOut(**parts)
        return self._held_out[card.version]

    def per_user(self, run_id: str, metric: str, split: str) -> NDArray[np.float64]:
        """A metric of a run per user with an item in `split`, users ascending: from ranks alone."""
        users = self.held_out(self.card(run_id)).users[split]
        ranks = self.arrays(run_id, split)[split]
        if len(ranks) != len(users):
            path = self._paths[run_id].with_suffix(".npz")
            raise InputError(f"{path}: {len(ranks)} {split} ranks, not {len(users)}; delete the run's files to redo it")
        return metrics.per_user(metric, ranks, users)

    def metric(self, run_id: str, metric: str, split: str) -> float:
        """The mean of `per_user`."""
        key = (run_id, metric, split)
        if key not in self._metrics:
            self._metrics[key] = float(self.per_user(run_id, metric, split).mean())
        return self._metrics[key]

    def write(
        self,
        specification: Specification,
        dataset: Dataset,
        ranks: Mapping[str, NDArray[np.int32]],
        attention: Mapping[str, NDArray],
        result: dict[str, Any],
        provenance: dict[str, Any],
    ) -> None:
        """Add a finished run, and its data set's card if that is new."""
        card = dataset.card()
        self._write_card(card, dataset)
        folder = self.root / "runs" / card.version
        arrays = {split: ranks[split].astype(_smallest(dataset.items)) for split in HELD_OUT}
        arrays |= {f"{name}_attention": weights.astype(np.float16) for name, weights in attention.items()}
        run_id = specification.run_id
        _write(folder / f"{run_id}.npz", _npz(arrays))
        record = {
            "schema": SCHEMA,
            "run": run_id,
            "specification": specification.to_json(),
            "result": {**result, "ranks_sha256": ranks_hash(ranks)},
            "provenance": provenance,
        }
        _write(folder / f"{run_id}.json", _json(record))
        self.failure_path(run_id).unlink(missing_ok=True)

    def failure_path(self, run_id: str) -> Path:
        return self.root / "failures" / f"{run_id}.txt"

    def write_failure(self, run_id: str, text: str) -> None:
        _write(self.failure_path(run_id), text.encode())

    def _write_card(self, card: Card, dataset: Dataset) -> None:
        path = self.root / "datasets" / f"{card.version}.json"
        if path.exists():
            return
        user_degrees, item_degrees = dataset.degrees()
        pairs = np.concatenate([getattr(dataset, split) for split in HELD_OUT])
        ordinals = np.unique(pairs[:, 0], return_inverse=True)[1]
        arrays = {
            "users": ordinals.astype(np.int32),
            "split": np.repeat(np.arange(2, dtype=np.int8), [len(dataset.validation), len(dataset.test)]),
            "user_degrees": user_degrees[pairs[:, 0]].astype(np.int32),
            "item_degrees": item_degrees[pairs[:, 1]].astype(np.int32),
        }
        _write(path.with_suffix(".npz"), _npz(arrays))
        _write(path, _json(dataclasses.asdict(card)))


def ranks_hash(ranks: Mapping[str, NDArray]) -> str:
    """SHA-256 of the validation ranks followed by the test ranks, as int32."""
    digest = hashlib.sha256()
    for split in HELD_OUT:
        digest.update(np.ascontiguousarray(ranks[split], dtype="<i4").tobytes())
    return digest.hexdigest()


def _read_card(path: Path) -> Card:
    table = json.loads(path.read_text(encoding="utf-8"))
    modalities = tuple(ModalityCard(**modality) for modality in table.pop("modalities"))
    return Card(**table, modalities=modalities)


def _smallest(largest: int) -> type[np.unsignedinteger]:
    return np.uint16 if largest < 2**16 else np.uint32


def _read_npz(path: Path, names: Sequence[str] = ()) -> dict[str, NDArray]:
    """The arrays called `names`, or all of them."""
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        return {name: archive[name] for name in names or archive.files}


def _npz(arrays: Mapping[str, NDArray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _json(table: Any) -> bytes:
    return (json.dumps(table, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    """Write atomically: readers see the old file, or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
