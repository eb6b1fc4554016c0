"""data: the data sets there are, whether they are sound, their layouts, and how to get one."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tmfun.cli import fetch, neighbours, prepare
from tmfun.cli.common import DONE, FAILED, Commands, command, described, prints_json
from tmfun.errors import InputError

LAYOUTS = ("lattice", "mmrec", "recbole")  # those of tmfun.formats, which --help need not load


def declare(commands: Commands) -> None:
    """Declare this file's commands, all of the form `tmfun data ACTION`."""
    data = command(commands, "data", _list, "list, check, convert, fetch and make data sets", "data list")
    actions = data.add_subparsers(title="actions", metavar="ACTION", required=True)
    prints_json(command(actions, "list", _list, "list every data set that is found, and where", "data list"))
    check = command(actions, "check", _check, "verify a data set, or say all that is wrong with it", "data check baby")
    check.add_argument("dataset", metavar="NAME", help="a name that `tmfun data list` shows, or a folder")
    check.add_argument("--strict", action="store_true", help="exit with 1 for warnings too, not for errors alone")
    check.add_argument("--write", action="store_true", help="write the data sheet to reports/data/ as well")
    prints_json(check)

    fetch.declare(actions)
    prepare.declare(actions)
    neighbours.declare(actions)

    text = "write a data set in another layout, as a new folder"
    convert = command(actions, "convert", _convert, text, "data convert baby recbole elsewhere/baby")
    convert.add_argument("source", metavar="SOURCE", help="a name that `tmfun data list` shows, or a folder")
    convert.add_argument("layout", metavar="TO_LAYOUT", choices=LAYOUTS, help=", ".join(LAYOUTS))
    convert.add_argument("destination", metavar="DESTINATION", type=Path, help="a folder that is not there yet")
    convert.add_argument("--lossy", action="store_true", help="leave out what cannot be kept, instead of refusing")
    prints_json(convert)


def _list(options: argparse.Namespace) -> int:
    from tmfun import formats
    from tmfun.fetching.known import recognise

    rows = []
    for found in formats.available():
        row: dict[str, Any] = {"name": found.name, "path": str(found.path or "built in"), "layout": found.layout}
        try:
            dataset = formats.load(found.name)
            card, known = dataset.card(), recognise(dataset)
            row |= {"content_hash": card.content_hash, "description": described(card), "problem": None}
            row |= {"known_as": str(known) if known else None, "same_split": known.same_split if known else None}
        except InputError as error:
            row |= {"content_hash": None, "description": None, "problem": str(error)}
            row |= {"known_as": None, "same_split": None}
        rows.append(row)
    if options.json:
        print(json.dumps(rows, indent=1))
        return DONE
    for row in rows:
        print(row["description"] or f"{row['name']}: {row['problem']}")
        layout = "" if row["layout"] == "synthetic" else f" ({row['layout']})"
        print(f"    {row['path']}{layout}" + (f"; known as {row['known_as']}" if row["known_as"] else ""))
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


def _check(options: argparse.Namespace) -> int:
    from reports import datasheet
    from tmfun import formats
    from tmfun.checks import examine
    from tmfun.checks.findings import verdict

    dataset = formats.unchecked(options.dataset)
    findings = examine(dataset)
    word = verdict(findings)
    if options.json:
        shown = {"name": dataset.name, "content_hash": dataset.content_hash, "verdict": word}
        print(json.dumps(shown | {"findings": [finding.to_json() for finding in findings]}, indent=1))
    else:
        print(datasheet.datasheet(dataset, findings), end="")
    if options.write:
        path = datasheet.write(dataset, findings)
        print(f"written to {path}", file=sys.stderr)
    return FAILED if word == "refused" or (options.strict and word != "verified") else DONE
