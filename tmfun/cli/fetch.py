"""data fetch: a data set that is known by name."""

import argparse
import json
import sys
import time
from pathlib import Path

from tmfun.cli.common import DONE, FAILED, Commands, command, prints_json
from tmfun.errors import InputError


def declare(actions: Commands) -> None:
    """Declare the action `fetch` of `tmfun data`."""
    fetch = command(
        actions, "fetch", _fetch, "download a known data set, and verify it", "data fetch movielens-100k-raw"
    )
    fetch.add_argument("name", metavar="NAME", nargs="?", help="which one; left out: list those that are known")
    fetch.add_argument("--to", metavar="FOLDER", type=Path, help="where to put the data set's folder (default: data/)")
    fetch.add_argument("--from", metavar="URL", dest="origin", help="a mirror, or a file or folder on this disk")
    prints_json(fetch)


def _fetch(options: argparse.Namespace) -> int:
    from tmfun import PROJECT, formats
    from tmfun.downloading import UnreachableError
    from tmfun.fetching import fetch, steps
    from tmfun.known import named

    if options.name is None:
        return _known(options)
    known = named(options.name)
    to = (options.to or PROJECT / "data").expanduser()
    progress = _Progress()
    try:
        fetched = fetch(known, to, options.origin, progress)
    except UnreachableError as error:
        todo = steps(known, options.to)
        if options.json:
            print(json.dumps({"name": known.name, "fetched": False, "reason": str(error), "steps": todo}, indent=1))
        print(f"tmfun: {error}", file=sys.stderr)
        if not options.json:
            print(f"To get {known.title} by hand:", *todo, sep="\n    ")
        return FAILED
    except OSError as error:
        raise InputError(f"{error.filename or to}: {error.strerror or error}") from error
    finally:
        progress.end()
    licence = known.source.licence if known.source else "not known"
    if options.json:
        found = {"path": str(fetched.path), "already_there": fetched.already_there, "verdict": fetched.verdict}
        print(json.dumps({"name": known.name, "fetched": True, **found, "licence": licence}, indent=1))
        return DONE
    print(f"{fetched.path}: {'already there; ' if fetched.already_there else ''}{fetched.verdict}")
    print(f"    licence: {licence}")
    if known.layout != "raw" and not any(to.resolve() == place.resolve() for place in formats.places()):
        print(f"    for the other commands to find it: export TMFUN_DATA={to}")
    return DONE


def _known(options: argparse.Namespace) -> int:
    """Print the data sets that are known."""
    from tmfun.known import registry

    rows = [
        {
            "name": known.name,
            "title": known.title,
            "users": known.users,
            "items": known.items,
            "interactions": known.interactions,
            "layout": known.layout,
            "source": known.source and known.source.url,
            "fetched": bool(known.files),
        }
        for known in registry().values()
    ]
    if options.json:
        print(json.dumps(rows, indent=1))
        return DONE
    for row in rows:
        size = f"; {row['users']:,} users, {row['items']:,} items" if row["users"] else ""
        print(f"{row['name']:<20} {row['title']}{size}{'' if row['fetched'] else '; by hand'}")
    return DONE


class _Progress:
    """How far a download is: on a terminal one line that changes, else a line for every tenth of the file."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.said: tuple[str, int] = ("", -1)  # file, and how many tenths (or hundreds of MB) were told of
        self.at = 0.0

    def __call__(self, name: str, done: int, total: int | None) -> None:
        share = f" of {total / 1e6:,.1f} MB ({done / total:.0%})" if total else " MB"
        finished = done == total
        if self.terminal:
            if finished or time.monotonic() - self.at > 0.2:
                self.at = time.monotonic()
                print(f"\r{name}: {done / 1e6:,.1f}{share} ", end="", file=sys.stderr, flush=True)
            return
        mark = name, done * 10 // total if total else done // 10**8
        if mark != self.said:
            self.said = mark
            print(f"{name}: {done / 1e6:,.1f}{share}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line that changed."""
        if self.terminal and self.at:
            print(file=sys.stderr)
