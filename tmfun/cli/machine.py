"""doctor, bench: this machine, and how fast everything is on it."""

import argparse
import json
import os
import sys

from tmfun import PROJECT
from tmfun.cli.common import DONE, FAILED, Commands, command, positive, prints_json
from tmfun.errors import InputError


def declare(commands: Commands) -> None:
    """Declare this file's commands."""
    prints_json(command(commands, "doctor", _doctor, "show versions, devices and data, and what is missing", "doctor"))
    bench = command(
        commands, "bench", _bench, "measure speed and memory beside plain references", "bench lightgcn tmfun --repeat 3"
    )
    bench.add_argument("models", metavar="MODEL", nargs="*", help="models by name (default: seven)")
    bench.add_argument("--data", metavar="NAME", action="append", help="a data set; may be repeated (default: baby)")
    bench.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:0, ... (default: auto)")
    bench.add_argument("--threads", type=positive, default=1, help="CPU threads (default: 1, as runs have)")
    bench.add_argument(
        "--repeat", type=positive, default=5, help="repetitions, of which the median counts (default: 5)"
    )
    bench.add_argument("--compiled", action="store_true", help="measure compiled steps, too, of models that have them")
    bench.add_argument("--quick", action="store_true", help="small sets, once: does everything run?")
    bench.add_argument("--scale", action="store_true", help="instead: TMFUN's step from 10^5 to 10^7 interactions")
    bench.add_argument(
        "--write", action="store_true", help="measure both, and renew docs/performance.md (half an hour)"
    )
    prints_json(bench)


def _doctor(options: argparse.Namespace) -> int:
    from tmfun.doctor import examine

    state = examine()
    if options.json:
        print(json.dumps(state, indent=1))
        return FAILED if state["problems"] else DONE
    print(f"tmfun {state['tmfun']}, Python {state['python']}")
    print("packages   " + ", ".join(f"{name} {version or 'MISSING'}" for name, version in state["packages"].items()))
    no_gpu = "" if len(state["devices"]) > 1 else " (no GPU; none is needed, and runs go there if there is one)"
    print("devices    " + ", ".join(state["devices"]) + no_gpu)
    for place, there in state["places"].items():
        print(f"data       {place}{'' if there else ' (not there)'}")
    print("data sets  " + ", ".join(state["datasets"]))
    if state["absent"]:
        print(f"absent     {', '.join(state['absent'])}: set TMFUN_DATA to a folder that holds folders of these names")
    for problem in state["problems"]:
        print(f"problem    {problem}")
    return FAILED if state["problems"] else DONE


def _refuse_together(options: argparse.Namespace) -> None:
    """Raise InputError for what bench would otherwise leave out without a word."""
    cores = os.cpu_count() or 1
    if options.threads > cores:
        raise InputError(f"--threads {options.threads}: this machine has {cores} cores")
    if options.scale and (options.models or options.data or options.compiled):
        raise InputError("--scale measures TMFUN on sets of its own, and takes no models, --data or --compiled")
    if options.write and options.quick:
        raise InputError("--quick measures on small sets, once: too little for --write to keep")


def _bench(options: argparse.Namespace) -> int:
    from ablations.scheduling import slots
    from ablations.speed import bench, tables

    _refuse_together(options)
    asked = bench.Bench(
        models=tuple(options.models) or bench.MODELS,
        datasets=tuple(options.data or ()),
        device=slots(options.device, 1)[0],
        threads=options.threads,
        repeat=1 if options.quick else options.repeat,
        quick=options.quick,
        compiled=options.compiled,
    )

    def say(what: str) -> None:
        print(f"  {what} ...", file=sys.stderr, flush=True)

    result = {"machine": bench.machine(asked.device), "how": {"threads": asked.threads, "repeat": asked.repeat}}
    if not options.scale:
        result |= bench.speed(asked, say)
    if options.scale or options.write:
        result["scale"] = bench.scale(asked, say)
    if options.write:
        kept = bench.write(result)
        page = PROJECT / "docs" / "performance.md"
        results = {path.stem: bench.read(path) for path in sorted(kept.parent.glob("*.json"))}
        page.write_text(tables.refreshed(page.read_text(encoding="utf-8"), results), encoding="utf-8")
        say(f"written: {kept} and {page}")
    print(json.dumps(result, indent=1) if options.json else tables.sections(result))
    return FAILED if '"failure"' in json.dumps(result) else DONE
