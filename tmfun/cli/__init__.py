"""The command line, the roof of the house: the only part of `tmfun/` that knows the floors above."""

import argparse
import sys
from collections.abc import Sequence

from tmfun import __version__
from tmfun.cli import check, data, everything, findings, machine, models, runs
from tmfun.cli.common import BAD_INPUT, FAILED, INTERRUPTED
from tmfun.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 when done, 1 when something failed, 2 for bad usage or bad input."""
    options = parser().parse_args(arguments)
    try:
        return options.run(options)
    except InputError as error:
        print(f"tmfun: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("\ntmfun: interrupted; finished runs are kept, and the same command goes on from them", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone
        return FAILED


def parser() -> argparse.ArgumentParser:
    """All commands and their options. Loads nothing heavy: a command imports what it needs when it runs."""
    top = argparse.ArgumentParser(
        prog="tmfun",
        description="Reproduce and ablate multimodal recommendation models: studies in, verdicts out.",
        epilog="Each command has --help with an example. Exit codes: 0 done, 1 something failed, 2 bad usage or input.",
    )
    top.add_argument("--version", action="version", version=f"tmfun {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for part in (everything, runs, findings, check, data, models, machine):
        part.declare(commands)
    return top
