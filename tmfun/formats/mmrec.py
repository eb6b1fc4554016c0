"""The MMRec layout: a folder with one `.inter` file and one `<modality>_feat.npy` per modality.

<name>/<name>.inter               tab-separated with a header, in any order: userID, itemID (dense, from 0), x_label
                                  (0 train, 1 validation, 2 test), and optionally rating and timestamp
<name>/u_id_mapping.csv           optional: user_id, userID - what each user was called before; then there are as many
<name>/i_id_mapping.csv           users as lines, else as the largest id says; and asin, itemID - the same of the items
<name>/<modality>_feat.npy        see tmfun/formats/modalities.py
<name>/<modality>_neighbours.npz

Source: `preprocessing/0rating2inter.ipynb` of the repository enoche/MMRec, which writes all of these but the last. Its
mappings are separated by tabs in spite of their name; commas are read too.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tmfun.dataset import Dataset, Extras, Interactions
from tmfun.errors import InputError
from tmfun.formats.files import (
    MOST_IDS,
    Tokens,
    counted,
    header,
    in_id_order,
    interactions_file,
    new_folder,
    numbered,
    numbers,
    own,
    read_table,
)
from tmfun.formats.modalities import check_items, read_modalities, write_modalities

IDS = ("userID", "itemID", "x_label")
USERS, ITEMS = ("u_id_mapping.csv", "user_id", "userID"), ("i_id_mapping.csv", "asin", "itemID")


def recognises(folder: Path) -> bool:
    """Whether the folder looks like this layout."""
    return interactions_file(folder) is not None


def read(folder: Path) -> Dataset:
    """Read the data set in `folder`; its name is the folder's. Raises InputError for a file that is wrong.

    A feature file with more rows than there are items is an error, so that a file of another data set is never taken
    in silence.
    """
    file = interactions_file(folder)
    if file is None:
        raise InputError(f"{folder}: no .inter file here")
    columns = header(file)
    absent = [name for name in IDS if name not in columns]
    if absent:
        raise InputError(f"{file}: the header lacks the column {absent[0]} (it has: {', '.join(columns)})")
    values = [name for name in ("rating", "timestamp") if name in columns]
    table = read_table(file, [*IDS, *values])
    if not len(table):
        raise InputError(f"{file}: no interactions below the header")
    user, item, label = (numbers(table[name], file, whole=True) for name in IDS)
    for name, ids in (("userID", user), ("itemID", item)):
        if ids.min() < 0:
            raise InputError(f"{file}: {name} {ids.min()} is out of range (ids start at 0)")
        if ids.max() > MOST_IDS:
            raise InputError(f"{file}: {name} {ids.max()} is out of range (ids are dense, below {MOST_IDS})")
    strange = set(np.unique(label)) - {0, 1, 2}
    if strange:
        raise InputError(f"{file}: x_label {min(strange)} is none of 0 (train), 1 (validation), 2 (test)")
    modalities = read_modalities(folder)
    user_tokens, item_tokens = _read_tokens(folder, *USERS), _read_tokens(folder, *ITEMS)
    items = counted(int(item.max()), item_tokens, folder / ITEMS[0])
    check_items(items, modalities, file, "itemID")
    return Dataset.from_interactions(
        folder.name,
        Interactions(
            users=counted(int(user.max()), user_tokens, folder / USERS[0]),
            items=items,
            user=user,
            item=item,
            rating=numbers(table["rating"], file) if "rating" in values else None,
            timestamp=numbers(table["timestamp"], file, whole=True) if "timestamp" in values else None,
        ),
        label,
        modalities,
        Extras(
            user_tokens=user_tokens and own(user_tokens),
            item_tokens=item_tokens and own(item_tokens),
            left_out=tuple(f"the column {name} of {file.name}" for name in columns if name not in {*IDS, *values}),
        ),
        where=str(folder),
    )


def write(dataset: Dataset, folder: Path) -> None:
    """Write `dataset` as the new folder `folder`: all of it or, with an InputError, nothing."""
    table, label = dataset.interactions()
    with new_folder(folder) as made:
        write_interactions(table, label, dataset.extras.user_tokens, dataset.extras.item_tokens, made, folder.name)
        write_modalities(dataset.modalities, made)


def write_interactions(
    table: Interactions,
    label: NDArray[np.int8],
    user_tokens: Sequence[str] | None,
    item_tokens: Sequence[str] | None,
    folder: Path,
    name: str,
) -> None:
    """Write interactions with their splits (0, 1, 2) into a folder that is there, and what ids stand for."""
    import pandas as pd

    for (file, token, number), tokens, count, ids in (
        (USERS, user_tokens, table.users, table.user),
        (ITEMS, item_tokens, table.items, table.item),
    ):
        if tokens is not None or ids.max() < count - 1:  # or the last ids would be lost
            mapping = pd.DataFrame({token: tokens or numbered(count), number: range(count)})
            mapping.to_csv(folder / file, sep="\t", index=False, lineterminator="\n")
    columns = {"userID": table.user, "itemID": table.item, "rating": table.rating, "timestamp": table.timestamp}
    present = {column: values for column, values in columns.items() if values is not None}
    frame = pd.DataFrame({**present, "x_label": label})
    frame.to_csv(folder / f"{name}.inter", sep="\t", index=False, lineterminator="\n")


def losses(dataset: Dataset) -> tuple[str, ...]:
    """What of the data set this layout cannot hold: nothing."""
    return ()


def _read_tokens(folder: Path, name: str, token: str, number: str) -> Tokens | None:
    """What the file `name` calls each id; its first column that is not the id's is taken, whatever it is called."""
    file = folder / name
    if not file.exists():
        return None
    separator = "\t" if len(header(file)) > 1 else ","
    columns = header(file, separator)
    names = [column for column in columns if column != number]
    if number not in columns or not names:
        raise InputError(
            f"{file}: the header has {', '.join(columns)}, but {token} and {number} are needed; no model reads this"
            " file, so it can also go"
        )
    table = read_table(file, (names[0], number), separator=separator, quotes=True)
    return in_id_order(table[names[0]].tolist(), numbers(table[number], file, whole=True).tolist(), file)
