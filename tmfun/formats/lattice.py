"""The layout of LATTICE and its descendants, such as MICRO and MMSSL: splits as JSON, features as .npy.

<name>/5-core/train.json          an object: the user id as text -> the list of the user's item ids (both dense, from 0)
<name>/5-core/val.json            the core may be any number; the files may also lie in <name>/ itself
<name>/5-core/test.json
<name>/5-core/user_list.txt       optional: a line per user with the token it had before, a tab, and the id; then there
<name>/5-core/item_list.txt       are as many users as lines, else as the largest id says; the same of the items
<name>/<modality>_feat.npy        see tmfun/formats/modalities.py
<name>/<modality>_neighbours.npz

Source: `data/build_data.py` and `codes/utility/load_data.py` of the repository CRIPAC-DIG/LATTICE, which write and read
all of these but the last. There is no place for ratings and timestamps.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from tmfun.dataset import Dataset, Extras, Pairs
from tmfun.errors import InputError
from tmfun.formats.files import MOST_IDS, NUMERALS, Tokens, counted, in_id_order, new_folder, numbered, own
from tmfun.formats.modalities import check_items, read_modalities, write_modalities

FILES = ("train.json", "val.json", "test.json")
USERS, ITEMS = "user_list.txt", "item_list.txt"
CORE = "5-core"  # what is written; LATTICE's own default


def recognises(folder: Path) -> bool:
    """Whether the folder looks like this layout."""
    return bool(_cores(folder)) or all((folder / name).is_file() for name in FILES)


def read(folder: Path) -> Dataset:
    """Read the data set in `folder`; its name is the folder's. Raises InputError for a file that is wrong."""
    cores = _cores(folder)
    if len(cores) > 1:
        raise InputError(f"{folder}: {' and '.join(core.name for core in cores)} are two data sets; keep one of them")
    core = cores[0] if cores else folder
    splits = [_read_split(core / name) for name in FILES]
    modalities = read_modalities(folder)
    user_tokens, item_tokens = _read_tokens(core / USERS), _read_tokens(core / ITEMS)
    items = counted(max(int(pairs[:, 1].max(initial=-1)) for pairs, _ in splits), item_tokens, core / ITEMS)
    check_items(items, modalities, core, "item id")
    train, validation, test = (pairs for pairs, _ in splits)
    return Dataset(
        name=folder.name,
        users=counted(max(largest for _, largest in splits), user_tokens, core / USERS),
        items=items,
        train=train,
        validation=validation,
        test=test,
        modalities=modalities,
        where=str(folder),
        extras=Extras(user_tokens=user_tokens and own(user_tokens), item_tokens=item_tokens and own(item_tokens)),
    )


def write(dataset: Dataset, folder: Path) -> None:
    """Write `dataset` as the new folder `folder`: all of it or, with an InputError, nothing."""
    with new_folder(folder) as made:
        (made / CORE).mkdir()
        for name, pairs in zip(FILES, (dataset.train, dataset.validation, dataset.test), strict=True):
            ends = np.searchsorted(pairs[:, 0], np.arange(1, dataset.users))
            # Every user is named, also where the list is empty: no count is lost.
            lists = {str(user): part.tolist() for user, part in enumerate(np.split(pairs[:, 1], ends))}
            (made / CORE / name).write_text(json.dumps(lists), encoding="utf-8")
        largest = max(int(pairs[:, 1].max()) for pairs in (dataset.train, dataset.validation, dataset.test))
        if (tokens := dataset.extras.user_tokens) is not None:
            _write_tokens(tokens, made / CORE / USERS)
        if (tokens := dataset.extras.item_tokens) is not None or largest < dataset.items - 1:
            _write_tokens(tokens or numbered(dataset.items), made / CORE / ITEMS)
        write_modalities(dataset.modalities, made)


def losses(dataset: Dataset) -> tuple[str, ...]:
    """What of the data set this layout cannot hold."""
    extras = dataset.extras
    return tuple(
        what for what, values in (("ratings", extras.rating), ("timestamps", extras.timestamp)) if values is not None
    )


def _cores(folder: Path) -> list[Path]:
    return sorted(
        file.parent for file in folder.glob("*-core/train.json") if re.fullmatch("[0-9]+-core", file.parent.name)
    )


def _read_split(file: Path) -> tuple[Pairs, int]:
    """The pairs in one file, (n, 2), and the largest user id that it names, also without an item."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):  # json would keep the last and say nothing
            (key, _), *_ = Counter(key for key, _ in pairs).most_common(1)
            raise InputError(f"{file}: the user '{key}' occurs more than once")
        return found

    try:
        table = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=unique)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: not a complete JSON file ({' '.join(str(error).split())})") from error
    if not isinstance(table, dict):
        raise InputError(f"{file}: not an object of user ids with lists of item ids")
    users: list[int] = []
    items: list[int] = []
    for key, listed in table.items():
        user = int(key) if NUMERALS.fullmatch(key) else -1
        if str(user) != key or not 0 <= user <= MOST_IDS:
            raise InputError(f"{file}: the user id '{key}' is not a whole number from 0 to {MOST_IDS}")
        if not isinstance(listed, list):
            raise InputError(f"{file}: user {user} has {json.dumps(listed)[:40]} in place of a list of item ids")
        for item in listed:
            if type(item) is not int or not 0 <= item <= MOST_IDS:  # also True and 1.0 are none
                shown = json.dumps(item)[:40]
                raise InputError(
                    f"{file}: the item id {shown} of user {user} is not a whole number from 0 to {MOST_IDS}"
                )
        users += [user] * len(listed)
        items += listed
    return np.column_stack([users, items]).astype(np.int32).reshape(-1, 2), max(map(int, table), default=-1)


def _read_tokens(file: Path) -> Tokens | None:
    if not file.exists():
        return None
    try:
        lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: not UTF-8 text ({error})") from error
    tokens, ids = [], []
    for place, line in enumerate(lines, 1):
        token, tab, number = line.rpartition("\t")
        if not tab or not NUMERALS.fullmatch(number):
            raise InputError(f"{file}: line {place} is not a token, a tab and an id")
        tokens.append(token)
        ids.append(int(number))
    return in_id_order(tokens, ids, file)


def _write_tokens(tokens: Tokens, file: Path) -> None:
    file.write_text("".join(f"{token}\t{number}\n" for number, token in enumerate(tokens)), encoding="utf-8")
