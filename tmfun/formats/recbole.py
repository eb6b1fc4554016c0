"""RecBole's atomic files: tab-separated tables whose header says `name:type` of every column.

<name>/<name>.train.inter         user_id:token, item_id:token, and optionally rating:float and timestamp:float
<name>/<name>.valid.inter         (RecBole's benchmark files; an unsplit <name>.inter is refused by `read`, and
<name>/<name>.test.inter          `read_unsplit` is for those who split it)
<name>/<name>.user                optional: user_id:token; further users of whom no interaction is known
<name>/<name>.item                optional: item_id:token; the same of the items, and one <modality>:float_seq per
                                  modality: numbers with spaces between them
<name>/<modality>_neighbours.npz  no part of RecBole's layout; see tmfun/formats/modalities.py, also for features. Their
<name>/<modality>_feat.npy        rows are in the order of our ids.

Tokens are any text. All tokens of users, from every file, get ids in sorted order: by number if all are integers of
at most 18 digits, else by code point; the same for items. Where a file of users or items has a column
`user_index:token` or `item_index:token`, that is the id, and every token must be listed; we write it where sorting
would lose the order of the ids. Quotes are text like any other.

Sources: docs/source/user_guide/data/atomic_files.rst and recbole/data/dataset/dataset.py of the repository
RUCAIBox/RecBole.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tmfun.dataset import Dataset, Extras, Interactions, Modality
from tmfun.errors import InputError
from tmfun.formats.files import (
    NUMERALS,
    Tokens,
    header,
    in_id_order,
    interactions_file,
    new_folder,
    numbered,
    numbers,
    own,
    read_table,
)
from tmfun.formats.modalities import read_modalities, write_modalities

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("train", "valid", "test")
TYPES = ("token", "token_seq", "float", "float_seq")
VALUES = {"rating": "float", "timestamp": "float"}
OTHERS = ("kg", "link", "net")  # kinds of atomic files that hold nothing for us

Types = dict[str, str]  # column -> type


def recognises(folder: Path) -> bool:
    """Whether the folder looks like this layout: its `.inter` file has types in the header."""
    file = interactions_file(folder)
    try:
        return file is not None and ":" in header(file)[0]
    except InputError:
        return False


def read(folder: Path) -> Dataset:
    """Read the data set in `folder`; its name is the folder's. Raises InputError for a file that is wrong."""
    stem = _find_stem(folder)
    files = [folder / f"{stem}.{part}.inter" for part in PARTS]
    absent = [file for file in files if not file.exists()]
    if len(absent) == len(files):
        raise InputError(
            f"{folder / stem}.inter: not split into training, validation and test; split it with `tmfun data prepare`,"
            f" or supply {', '.join(file.name for file in files)}"
        )
    if absent:
        raise InputError(
            f"{absent[0]}: no such file, but {stem} is split: {', '.join(f.name for f in files)} go together"
        )
    table, sizes, modalities, extras = _read(folder, stem, files)
    label = np.repeat(np.arange(len(PARTS)), sizes)
    return Dataset.from_interactions(folder.name, table, label, modalities, extras, where=str(folder))


def read_unsplit(folder: Path) -> tuple[Interactions, tuple[Modality, ...], Extras]:
    """What `folder` holds with its `<name>.inter` in one piece, for `Dataset.from_interactions` once it is split.

    Pairs may occur more than once.
    """
    stem = _find_stem(folder)
    table, _, modalities, extras = _read(folder, stem, [folder / f"{stem}.inter"])
    return table, modalities, extras


def write(dataset: Dataset, folder: Path) -> None:
    """Write `dataset` as the new folder `folder`: all of it or, with an InputError, nothing."""
    import pandas as pd

    named = [m.name for m in dataset.modalities if m.name in ("item_id", "item_index")]
    if named:
        raise InputError(
            f"{dataset.name}: a modality called '{named[0]}' has no place in a .item file; rename it first"
        )
    users = dataset.extras.user_tokens or numbered(dataset.users)
    items = dataset.extras.item_tokens or numbered(dataset.items)
    table, label = dataset.interactions()
    columns = {
        "user_id:token": np.array(users, dtype=object)[table.user],
        "item_id:token": np.array(items, dtype=object)[table.item],
        "rating:float": table.rating,
        "timestamp:float": table.timestamp,
    }
    interactions = pd.DataFrame({name: values for name, values in columns.items() if values is not None})
    vectors = {
        f"{modality.name}:float_seq": [" ".join(map("{:.9g}".format, row)) for row in modality.features.tolist()]
        for modality in dataset.modalities
        if modality.features is not None  # 9 digits tell all float32 apart
    }
    with new_folder(folder) as made:
        for place, part in enumerate(PARTS):
            _write_table(interactions[label == place], made / f"{folder.name}.{part}.inter")
        for kind, tokens, more in (("user", users, {}), ("item", items, vectors)):
            named_by = {f"{kind}_id:token": list(tokens)}
            if _sorted(tokens) != tokens:
                named_by[f"{kind}_index:token"] = list(numbered(len(tokens)))
            _write_table(pd.DataFrame(named_by | more), made / f"{folder.name}.{kind}")
        write_modalities(dataset.modalities, made, features=False)


def losses(dataset: Dataset) -> tuple[str, ...]:
    """What of the data set this layout cannot hold: nothing."""
    return ()


# -- reading


@dataclass(frozen=True, eq=False)
class _Atomic:
    """One file: the columns that are read, and the names of those that are not."""

    file: Path
    table: "pd.DataFrame"  # its columns without types
    vectors: tuple[str, ...]  # those of type float_seq, where they were asked for
    left_out: tuple[str, ...]


def _read(
    folder: Path, stem: str, files: Sequence[Path]
) -> tuple[Interactions, list[int], tuple[Modality, ...], Extras]:
    """The rows of all the `.inter` files, how many came from each, the modalities, and everything else."""
    import pandas as pd

    parts = [_read_atomic(file, {"user_id": "token", "item_id": "token"}, VALUES) for file in files]
    for part in parts:
        if not len(part.table):
            raise InputError(f"{part.file}: no interactions below the header")
        for name in VALUES:
            if name in parts[0].table and name not in part.table:
                raise InputError(f"{part.file}: the column {name}:float is missing, which {files[0].name} has")
            if name in part.table and name not in parts[0].table:
                raise InputError(f"{files[0]}: the column {name}:float is missing, which {part.file.name} has")
    values = {
        name: np.concatenate([numbers(part.table[name], part.file, whole=name == "timestamp") for part in parts])
        for name in VALUES
        if name in parts[0].table
    }
    users, listed_users = _identify(folder / f"{stem}.user", "user", parts)
    items, listed_items = _identify(folder / f"{stem}.item", "item", parts)
    user, item = (
        pd.Index(tokens).get_indexer(pd.concat([part.table[key] for part in parts])).astype(np.int64)
        for tokens, key in ((users, "user_id"), (items, "item_id"))
    )
    features = {}
    if listed_items is not None:
        rows = pd.Index(listed_items.table["item_id"]).get_indexer(list(items))
        features = {name: _vectors(listed_items, name)[rows] for name in listed_items.vectors}
    left_out = [left for one in (*parts, listed_users, listed_items) if one is not None for left in one.left_out]
    left_out += [f"the file {stem}.{suffix}" for suffix in OTHERS if (folder / f"{stem}.{suffix}").exists()]
    return (
        Interactions(len(users), len(items), user, item, values.get("rating"), values.get("timestamp")),
        [len(part.table) for part in parts],
        read_modalities(folder, features),
        Extras(user_tokens=own(users), item_tokens=own(items), left_out=tuple(left_out)),
    )


def _identify(file: Path, kind: str, parts: Sequence[_Atomic]) -> tuple[Tokens, _Atomic | None]:
    """All tokens of users or items in id order: those in `parts`, and those in `file`, which is read if it exists."""
    key, index = f"{kind}_id", f"{kind}_index"
    tokens = {token for part in parts for token in part.table[key].unique()}
    if not file.exists():
        return _sorted(tokens), None
    listed = _read_atomic(file, {key: "token"}, {index: "token"}, vectors=kind == "item")
    rows = listed.table[key]
    if rows.duplicated().any():
        line = rows.index[rows.duplicated()][0]
        raise InputError(f"{file}: the {kind} '{rows[line]}' in line {line} is listed before")
    absent = min(tokens - set(rows), default=None)
    if absent is not None and (index in listed.table or listed.vectors):
        raise InputError(f"{file}: the {kind} '{absent}', which occurs in the interactions, is not listed here")
    if index in listed.table:
        return in_id_order(rows.tolist(), numbers(listed.table[index], file, whole=True).tolist(), file), listed
    return _sorted(tokens | set(rows)), listed


def _read_atomic(file: Path, keys: Types, optional: Types, vectors: bool = False) -> _Atomic:
    """The columns `keys`, whose tokens are not empty, those in `optional`, and with `vectors` those of float_seq."""
    types: dict[str, str] = {}
    for entry in header(file):
        name, _, kind = entry.partition(":")
        if kind not in TYPES:
            raise InputError(f"{file}: the column '{entry}' has no type; write {name}: and one of {', '.join(TYPES)}")
        if name in types:
            raise InputError(f"{file}: the header names the column '{name}' twice")
        types[name] = kind
    for name, kind in (keys | optional).items():
        if name in keys and name not in types:
            raise InputError(f"{file}: the header lacks the column {name}:{kind} (it has: {', '.join(types)})")
        if types.get(name, kind) != kind:
            raise InputError(f"{file}: the column {name} is of type {types[name]}; {kind} is needed")
    sequences = tuple(name for name, kind in types.items() if vectors and kind == "float_seq")
    taken = [name for name in types if name in {*keys, *optional, *sequences}]
    table = read_table(file, [f"{name}:{types[name]}" for name in taken])
    table.columns = [column.partition(":")[0] for column in table.columns]
    for name in keys:
        empty = table.index[table[name] == ""]
        if len(empty):
            raise InputError(f"{file}: line {empty[0]} has no {name}")
    left_out = tuple(f"the column {name} of {file.name}" for name in types if name not in taken)
    return _Atomic(file, table, sequences, left_out)


def _vectors(listed: _Atomic, name: str) -> NDArray[np.float32]:
    """A column of number sequences, (lines, width)."""
    rows: list[NDArray[np.float32]] = []
    for line, text in listed.table[name].items():
        try:
            with np.errstate(over="ignore"):  # what does not fit becomes infinite, which the check refuses
                rows.append(np.array(text.split(), dtype=np.float64).astype(np.float32))
        except ValueError:
            raise InputError(f"{listed.file}: {name} in line {line} is not a sequence of numbers") from None
        if not rows[-1].size or rows[-1].size != rows[0].size:
            raise InputError(
                f"{listed.file}: {name} in line {line} has {rows[-1].size} numbers; as many as in every line are needed"
            )
    return np.array(rows)


def _sorted(tokens: Collection[str]) -> Tokens:
    """In the order of ids: by number if all are integers, else by code point."""
    if all(map(NUMERALS.fullmatch, tokens)):
        return tuple(sorted(tokens, key=lambda token: (int(token), token)))
    return tuple(sorted(tokens))


def _find_stem(folder: Path) -> str:
    file = interactions_file(folder)
    if file is None:
        raise InputError(f"{folder}: no .inter file here")
    return _stem(file)


def _stem(file: Path) -> str:
    """`<name>` of `<name>.inter` and of `<name>.train.inter`."""
    name, _, part = file.stem.rpartition(".")
    return name if part in PARTS else file.stem


def _write_table(table: "pd.DataFrame", file: Path) -> None:
    """As `DataFrame.to_csv`, but without quotes, as they are text here: no token holds a tab or an end of line."""
    rows = zip(*(table[column].map(str) for column in table), strict=True)
    lines = ["\t".join(table.columns), *map("\t".join, rows)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
