"""report, check: what the records say."""

import argparse
import json
from typing import TYPE_CHECKING

from tmfun import PROJECT
from tmfun.cli.common import DONE, FAILED, STUDY, Commands, command, count, prints_json
from tmfun.errors import InputError

if TYPE_CHECKING:
    from ablations.outcomes import Finding
    from ablations.planning import Plan
    from ablations.records import Store


def declare(commands: Commands) -> None:
    """Declare this file's commands."""
    reporting = command(commands, "report", report, "regenerate reports/ from the records, nothing else", "report baby")
    reporting.add_argument(
        "study", metavar="STUDY", nargs="?", help=f"{STUDY} (default: all shipped ones with records)"
    )
    checking = command(commands, "check", check, "print the verdict on claims", "check attention-fusion --study baby")
    checking.add_argument("claims", metavar="CLAIM", nargs="*", help="claims by name (default: all that a study makes)")
    checking.add_argument(
        "--study", help="the study that supplies the runs (default: every shipped study with records)"
    )
    checking.add_argument(
        "--run", action="store_true", dest="train", help="train what is missing first (needs --study)"
    )
    checking.add_argument("--strict", action="store_true", help="exit with 1 if a claim is contradicted")
    prints_json(checking)


def _plans_with_records(store: "Store") -> list["Plan"]:
    """Every shipped study with records on both sides of one of its claims."""
    from ablations.outcomes import findings
    from ablations.planning import plan_on_records
    from ablations.studies import read_study, shipped

    plans = [plan_on_records(read_study(name), store) for name in shipped()]
    return [plan for plan in plans if any(finding.effect for finding in findings(plan, store))]


def _recorded_plans(study: str | None, store: "Store") -> list["Plan"]:
    """The plan of one study, or of all shipped ones; InputError if there are no records."""
    from ablations.planning import plan_on_records
    from ablations.studies import read_study

    plans = [plan_on_records(read_study(study), store)] if study else _plans_with_records(store)
    if not plans or not plans[0].cells:
        name = study or "quick"
        raise InputError(f"no records of {study or 'any shipped study'} in {store.root}; first: tmfun run {name}")
    return plans


def report(options: argparse.Namespace) -> int:
    """Write the reports that are not there yet."""
    from ablations.records import Store
    from reports.report import write_report

    store = Store()
    for plan in _recorded_plans(options.study, store):
        folder, drawn = write_report(plan, store, PROJECT / "reports" / plan.study.name)
        print(f"  {folder / 'README.md'}{'' if drawn else '  (unchanged)'}")
    return DONE


def check(options: argparse.Namespace) -> int:
    """Print a verdict on each claim."""
    from ablations.claims import chosen
    from ablations.outcomes import findings
    from ablations.planning import plan_on_data
    from ablations.records import Store
    from ablations.scheduling import slots
    from ablations.studies import read_study
    from tmfun.cli.runs import train

    chosen(options.claims)
    if options.train and not options.study:
        raise InputError("check --run needs --study, to know what to train")
    store = Store()
    trained = train(plan_on_data(read_study(options.study)), store, slots("auto")) if options.train else DONE
    names = tuple(options.claims) or None
    found = [(p, f) for p in _recorded_plans(options.study, store) for f in findings(p, store, names)]
    if not found:
        raise InputError("no study with records makes these claims; `tmfun check` lists those that are made")
    if options.json:
        print(json.dumps([{"study": plan.study.name, **finding.to_json()} for plan, finding in found], indent=1))
    else:
        for plan, finding in found:
            _print_finding(plan, finding, options.study or plan.study.name)
    contradicted = options.strict and any(finding.verdict.word == "contradicted" for _, finding in found)
    return FAILED if contradicted else trained


def _print_finding(plan: "Plan", finding: "Finding", study: str) -> None:
    claim, effect, card = finding.claim, finding.effect, finding.card
    print(f"{claim.name}: {finding.verdict.word.upper()} on {card.name} ({finding.verdict.reason})")
    print(f"  {claim.sentence}")
    if effect:
        low, high = effect.relative_interval()
        interval = f"95 % interval {low:+.1%} to {high:+.1%}" if effect.seeds > 1 else "no interval from one seed"
        print(
            f"  {claim.metric} on test: {claim.better} {effect.better:.4f}, {claim.worse} {effect.worse:.4f};"
            f" {effect.relative:+.1%}, {interval}; {count(effect.seeds, 'seed')}"
        )
    notes = [f"data set {card.name}{' (synthetic)' if card.origin == 'synthetic' else ''}"]
    notes += [f"lattice protocol, split {card.split}", f"study {plan.study.name}"]
    notes += [f"proxy features: {', '.join(finding.proxies)}"] if finding.proxies else []
    notes += [f"mixed devices: {', '.join(finding.devices)}"] if len(finding.devices) > 1 else []
    print(f"  {'; '.join(notes)}")
    print(f"  again: tmfun check {claim.name} --study {study} --run\n")
