"""data: the data sets there are, whether they are sound, and how to get one."""

import argparse
import json
import sys
from typing import Any

from tmfun.cli import fetch, prepare
from tmfun.cli.common import DONE, FAILED, Commands, command, described, prints_json
from tmfun.errors import InputError


def declare(commands: Commands) -> None:
    """Declare this file's commands, all of the form `tmfun data ACTION`."""
    data = command(commands, "data", _list, "list, check, fetch and make data sets", "data list")
    actions = data.add_subparsers(title="actions", metavar="ACTION", required=True)
    prints_json(command(actions, "list", _list, "list every data set that is found, and where", "data list"))
    check = command(actions, "check", _check, "verify a data set, or say all that is wrong with it", "data check baby")
    check.add_argument("dataset", metavar="NAME", help="a name that `tmfun data list` shows, or a folder")
    check.add_argument("--strict", action="store_true", help="exit with 1 for warnings too, not for errors alone")
    check.add_argument("--write", action="store_true", help="write the data sheet to reports/data/ as well")
    prints_json(check)

    fetch.declare(actions)
    prepare.declare(actions)


def _list(options: argparse.Namespace) -> int:
    from tmfun import formats
    from tmfun.known import recognise

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
        print(f"    {row['path']}" + (f"; known as {row['known_as']}" if row["known_as"] else ""))
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
