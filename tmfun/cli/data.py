"""data: the data sets there are, and their layouts."""

import argparse
import json
from pathlib import Path
from typing import Any

from tmfun.cli.common import DONE, Commands, command, described, prints_json
from tmfun.errors import InputError

LAYOUTS = ("lattice", "mmrec", "recbole")  # those of tmfun.formats, which --help need not load


def declare(commands: Commands) -> None:
    """Declare this file's commands, all of the form `tmfun data ACTION`."""
    data = command(commands, "data", _list, "list the data sets that are found", "data list")
    actions = data.add_subparsers(title="actions", metavar="ACTION", required=True)
    prints_json(command(actions, "list", _list, "list every data set that is found, and where", "data list"))

    text = "write a data set in another layout, as a new folder"
    convert = command(actions, "convert", _convert, text, "data convert baby recbole elsewhere/baby")
    convert.add_argument("source", metavar="SOURCE", help="a name that `tmfun data list` shows, or a folder")
    convert.add_argument("layout", metavar="TO_LAYOUT", choices=LAYOUTS, help=", ".join(LAYOUTS))
    convert.add_argument("destination", metavar="DESTINATION", type=Path, help="a folder that is not there yet")
    convert.add_argument("--lossy", action="store_true", help="leave out what cannot be kept, instead of refusing")
    prints_json(convert)


def _list(options: argparse.Namespace) -> int:
    from tmfun import formats

    rows = []
    for found in formats.available():
        row: dict[str, Any] = {"name": found.name, "path": str(found.path or "built in"), "layout": found.layout}
        try:
            card = formats.load(found.name).card()
            row |= {"content_hash": card.content_hash, "description": described(card), "problem": None}
        except InputError as error:
            row |= {"content_hash": None, "description": None, "problem": str(error)}
        rows.append(row)
    if options.json:
        print(json.dumps(rows, indent=1))
        return DONE
    for row in rows:
        print(row["description"] or f"{row['name']}: {row['problem']}")
        print(f"    {row['path']}" + ("" if row["layout"] == "synthetic" else f" ({row['layout']})"))
    return DONE


def _convert(options: argparse.Namespace) -> int:
    from tmfun import formats

    source, layout, folder = options.source, formats.LAYOUTS[options.layout], options.destination.absolute()
    dataset = formats.load(source) if formats.find(source) or not Path(source).is_dir() else formats.read(Path(source))
    lost = [*dataset.extras.left_out, *layout.losses(dataset)]
    if lost and not options.lossy:
        raise InputError(
            f"{source}: {', '.join(lost)} would be lost in the layout {options.layout}; add --lossy to write the rest"
        )
    layout.write(dataset, folder)
    card = formats.read(folder).card()
    if card.content_hash != dataset.content_hash:
        raise RuntimeError(f"{folder} was written, but reads as {card.content_hash}: a fault of tmfun's")
    if options.json:
        shown = {"path": str(folder), "layout": options.layout, "content_hash": card.content_hash, "lost": lost}
        print(json.dumps(shown, indent=1))
        return DONE
    print(described(card))
    print(f"    {folder} ({options.layout})")
    print(f"    lost: {', '.join(lost)}" if lost else "    nothing is lost")
    if dataset.origin == "synthetic":
        print("    no layout says that data are synthetic: read from there, these count as data from files")
    return DONE
