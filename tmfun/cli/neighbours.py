"""data neighbours: the neighbours file of a modality, made from its features."""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmfun.cli.common import DONE, Commands, Progress, command, positive, prints_json
from tmfun.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROBES = 64  # that of tmfun.preparing.approximate, which --help need not load

CAUTION = (
    "a neighbours file is part of its data set, as the graph that it defines is: with it the content hash is another"
    " one, and so are the ids of runs; records on the data set without it do not count for it"
)


def declare(actions: Commands) -> None:
    """Declare the action `neighbours` of `tmfun data`."""
    text = "find each item's nearest neighbours once, and write the files that then define the modalities' graphs"
    made = command(actions, "neighbours", _neighbours, text, "data neighbours mine --modality image --approximate")
    made.epilog = f"{made.epilog}. Mind: {CAUTION}."
    made.add_argument("dataset", metavar="NAME", help="a name that `tmfun data list` shows, or a folder")
    made.add_argument("--modality", metavar="M", nargs="+", help="which ones (default: all that have features)")
    text = "neighbours per item, itself counted; models can ask for fewer, not for more (default: 10, as they do)"
    made.add_argument("--k", metavar="K", type=positive, default=10, help=text)
    made.add_argument("--approximate", action="store_true", help="through faiss: for 100,000 items and more")
    text = "lists of the approximate index that an item is compared with: more find more, and take longer"
    made.add_argument("--probes", metavar="N", type=positive, help=f"{text} (default: {PROBES})")
    text = "where to put the files, if not beside the features"
    made.add_argument("--to", metavar="FOLDER", type=Path, help=text)
    made.add_argument("--replace", action="store_true", help="replace neighbours files that are there")
    text = "threads of the search (default: 1, as runs have; another number can change the last bits)"
    made.add_argument("--threads", metavar="N", type=positive, default=1, help=text)
    prints_json(made)


def _neighbours(options: argparse.Namespace) -> int:
    import torch

    from tmfun import formats
    from tmfun.formats.modalities import NEIGHBOURS
    from tmfun.preparing import approximate, neighbours

    if options.probes and not options.approximate:
        raise InputError("--probes belongs to an approximate search: add --approximate, or leave it out")
    name = options.dataset
    found = formats.find(name) or formats.find(str(Path(name).absolute()))
    if found is None:
        raise InputError(formats.missing(name))
    if found.path is None:
        raise InputError(
            f"{name} is generated and has no files; `tmfun data convert {name} mmrec data/mine` writes some, and"
            f" {name.partition('[')[0]}[neighbours=10] has neighbours by itself"
        )
    chosen = _chosen(found.path, options.modality)
    to = (options.to or found.path).expanduser().absolute()
    paths = {modality: to / f"{modality}{NEIGHBOURS}" for modality in chosen}
    there = [path for path in paths.values() if path.exists()]
    if there and not options.replace:
        raise InputError(f"{there[0]}: exists already; add --replace to replace it, or --to FOLDER to keep both")
    if to.is_dir() and not os.access(to, os.W_OK):
        raise InputError(f"{to}: cannot be written; add --to FOLDER to put the files elsewhere")
    if options.approximate:
        approximate.library()
    torch.set_num_threads(options.threads)

    probes = (options.probes or PROBES) if options.approximate else None
    rows: list[dict[str, Any]] = []
    for modality, features in chosen.items():
        start = time.perf_counter()
        try:
            how = neighbours.make(
                features, options.k, paths[modality], Progress(), probes=probes, replacing=options.replace
            )
        except InputError as error:
            raise InputError(f"{name}: {modality}: {error}") from error
        seconds = round(time.perf_counter() - start, 1)
        rows.append({"modality": modality, "path": str(paths[modality]), "seconds": seconds, **how})
        if not options.json:
            _print(rows[-1])
    if options.json:
        print(json.dumps({"name": found.name, "files": rows}, indent=1))
    print(f"mind: {CAUTION}", file=sys.stderr)
    if to != found.path.absolute():
        print(f"to use what is in {to}: {_use(found.path, to)}", file=sys.stderr)
    return DONE


def _chosen(folder: Path, wanted: list[str] | None) -> dict[str, "NDArray"]:
    """The features of the modalities that are wanted, by name; of all there are, where `wanted` is None."""
    from tmfun import formats
    from tmfun.settings import unknown

    there = formats.features(folder)
    for modality in wanted or ():
        if modality not in there:
            raise unknown("modality", modality, there, str(folder))
        if there[modality] is None:
            raise InputError(f"{folder}: the modality '{modality}' has neighbours and no features to search in")
    chosen = {name: array for name, array in there.items() if array is not None and name in (wanted or there)}
    if not chosen:
        raise InputError(f"{folder}: no modality has features (<modality>_feat.npy), so there is nothing to search in")
    return chosen


def _print(row: dict[str, Any]) -> None:
    print(f"{row['modality']}: {row['k']} neighbours of each of {row['items']:,} items, {row['search']}")
    if row["search"] == "approximate":
        print(
            f"    recall {row['recall']:.3f} on {row['recall_rows']:,} rows, the item itself not counted"
            f" ({row['library']}, {row['index']}, {row['probes']} probes; the file says so too)"
        )
    print(f"    {row['path']} ({row['seconds']:,} s)")


def _use(folder: Path, to: Path) -> str:
    """What to do with files that do not lie beside the features."""
    from tmfun import formats

    if formats.layout_of(to):
        return f"it is a data set of its own, and has them; its name is {to.name}"
    return (
        f"make a folder with links to the files of {folder}, or copies of them, add these, and set TMFUN_DATA to the"
        " folder in which it lies"
    )
