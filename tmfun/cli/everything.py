"""all: a study from plan to verdicts. In one process, as loading the libraries takes longer than a finished study."""

import argparse

from tmfun.cli import check, findings, runs
from tmfun.cli.common import Commands, command


def declare(commands: Commands) -> None:
    """Declare this file's command."""
    everything = command(commands, "all", _all, "run what a study lacks, report, and check its claims", "all quick")
    runs.takes_places(everything)
    everything.set_defaults(claims=[], train=False, strict=False, json=False)


def _all(options: argparse.Namespace) -> int:
    print("== 1. Plan and run: one record per run in results/", flush=True)
    code = runs.run(options)  # a failed run is still reported; bad input and interruptions end it here
    print("== 2. Report: tables and figures from the records")
    findings.report(options)
    print("== 3. Check: a verdict on each claim")
    check.check(options)
    return code
