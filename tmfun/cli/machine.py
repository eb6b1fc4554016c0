"""doctor: this machine."""

import argparse
import json

from tmfun.cli.common import DONE, FAILED, Commands, command, prints_json


def declare(commands: Commands) -> None:
    """Declare this file's commands."""
    prints_json(command(commands, "doctor", _doctor, "show versions, devices and data, and what is missing", "doctor"))


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
