"""models: the models there are, as their files describe them."""

import argparse
import json

from tmfun.cli.common import DONE, Commands, command, prints_json


def declare(commands: Commands) -> None:
    """Declare this file's commands."""
    models = command(commands, "models", _models, "list the models, or describe one", "models lattice")
    models.add_argument("model", metavar="MODEL", nargs="?", help="a model to describe (default: a table of all)")
    models.add_argument("--write", action="store_true", help="write docs/models.md anew")
    prints_json(models)


def _models(options: argparse.Namespace) -> int:
    from baselines import model_class
    from reports.models import PAGE, models, page, section
    from reports.report import write

    if options.model:
        model_class(options.model)
    chosen = [model for model in models() if options.model in (None, model.name)]
    if options.write:
        write(PAGE, page().encode())
    if options.json:
        print(json.dumps([model.to_json() for model in chosen], indent=1))
    elif options.write:
        print(f"  {PAGE}")
    elif options.model:
        print(section(chosen[0]))
    else:
        for model in chosen:
            learned = "learned" if model.learned else "counted"
            print(f"{model.name:<12} {model.title:<12} {learned:<8} {model.modalities:<23} {model.description.method}")
    return DONE
