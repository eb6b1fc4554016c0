"""data: the data sets there are."""

import argparse
import json
from typing import Any

from tmfun.cli.common import DONE, Commands, command, described, prints_json
from tmfun.errors import InputError


def declare(commands: Commands) -> None:
    """Declare this file's commands, all of the form `tmfun data ACTION`."""
    data = command(commands, "data", _list, "list the data sets that are found", "data list")
    actions = data.add_subparsers(title="actions", metavar="ACTION", required=True)
    prints_json(command(actions, "list", _list, "list every data set that is found, and where", "data list"))


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
        print(f"    {row['path']}")
    return DONE
