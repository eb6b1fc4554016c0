"""report, check, calibrate: what the records say, and how often that would be wrong."""

import argparse
import json
from typing import TYPE_CHECKING

from tmfun import PROJECT
from tmfun.cli.common import DONE, FAILED, STUDY, Commands, command, count, positive, prints_json
from tmfun.errors import InputError

if TYPE_CHECKING:
    from ablations.claims import Claim
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
    checking.add_argument(
        "claims", metavar="CLAIM", nargs="*", help="claims or families by name (default: all of a study)"
    )
    checking.add_argument(
        "--study", help="the study that supplies the runs (default: every shipped study with records)"
    )
    checking.add_argument(
        "--run", action="store_true", dest="train", help="train what these claims lack first (needs --study)"
    )
    checking.add_argument("--strict", action="store_true", help="exit with 1 if a claim is contradicted")
    prints_json(checking)
    text = "measure how often verdicts are wrong, where the truth is known"
    calibrate = command(commands, "calibrate", _calibrate, text, "calibrate pipeline --jobs 2")
    calibrate.add_argument(
        "part",
        choices=("statistics", "pipeline", "report"),
        help="the statistics on simulated ranks"
        " (minutes); the whole pipeline on tiny data sets (an hour or two on two cores; it goes on from where it was"
        " stopped); the page again, from results/calibration/",
    )
    calibrate.add_argument("--jobs", type=positive, help="data sets side by side (default: one per core)")


def _plans_with_records(store: "Store") -> list["Plan"]:
    """Every shipped study with records on both sides of a claim, unless another has these records and more."""
    from ablations.outcomes import has_evidence
    from ablations.planning import plan_on_records
    from ablations.studies import read_study, shipped

    plans = [plan_on_records(read_study(name), store) for name in shipped()]
    recorded = [{run.run_id for run in plan.runs(store) if run.run_id in store} for plan in plans]
    return [
        plan
        for plan, own in zip(plans, recorded, strict=True)
        if not any(own < other for other in recorded) and has_evidence(plan, store)
    ]


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
    from ablations.outcomes import findings, pooled_over_datasets
    from ablations.records import Store

    asked = chosen(options.claims)
    if options.train and not options.study:
        raise InputError("check --run needs --study, to know what to train")
    store = Store()
    trained = _train(options.study, asked, store) if options.train else DONE
    names = [claim.name for claim in asked] or None
    plans = _recorded_plans(options.study, store)
    found = [(plan, here) for plan in plans if (here := findings(plan, store, names))]
    if not found:
        raise InputError("no study with records makes these claims; `tmfun check` lists those that are made")
    if options.json:
        tables = []
        for plan, here in found:
            means = {name: vars(mean) for name, mean in pooled_over_datasets(here).items()}
            for finding in here:
                over = means.get(finding.claim.name)
                tables.append({"study": plan.study.name, **finding.to_json(), "pooled_over_datasets": over})
        print(json.dumps(tables, indent=1))
    else:
        for plan, here in found:
            _print_findings(plan, here, options.study or plan.study.name)
    words = {finding.verdict.word for _, here in found for finding in here}
    return FAILED if options.strict and "contradicted" in words else trained


def _train(name: str, asked: "list[Claim]", store: "Store") -> int:
    """Train what the claims that are asked for lack, of all claims what the study lacks."""
    from dataclasses import replace

    from ablations.planning import plan_on_data
    from ablations.scheduling import slots
    from ablations.studies import read_study
    from tmfun.cli.runs import train

    plan = plan_on_data(read_study(name))
    sides = {side for claim in asked for side in (claim.better, claim.worse)}
    cells = tuple(cell for cell in plan.cells if not asked or cell.entry.name in sides)
    return train(replace(plan, cells=cells), store, slots("auto"))


def _print_findings(plan: "Plan", found: "list[Finding]", study: str) -> None:
    """Every claim with its data sets together, then what it is on average over them."""
    from ablations.outcomes import pooled_over_datasets

    means = pooled_over_datasets(found)
    for claim in dict.fromkeys(finding.claim for finding in found):
        for finding in found:
            if finding.claim == claim:
                _print_finding(plan, finding, study)
        if mean := means.get(claim.name):
            print(
                f"{claim.name} over {mean.datasets} data sets, relative effects only: {mean.relative:+.1%} on average,"
                f" 95 % interval {mean.low:+.1%} to {mean.high:+.1%} (Student's t over data sets, no verdict)\n"
            )


def _print_finding(plan: "Plan", finding: "Finding", study: str) -> None:
    claim, compared, card = finding.claim, finding.comparison, finding.card
    print(f"{claim.name}: {finding.verdict.word.upper()} on {card.name} ({finding.verdict.reason})")
    print(f"  {claim.sentence} [{claim.source}]")
    if compared:
        effect = compared.effect
        low, high = effect.relative_interval()
        interval = f"95 % interval {low:+.1%} to {high:+.1%}" if effect.seeds > 1 else "no interval from one seed"
        relative = f"{effect.relative:+.1%}, {interval}" if effect.worse else "no ratio to a score of 0"
        print(
            f"  {claim.metric} on test: {claim.better} {effect.better:.4f}, {claim.worse} {effect.worse:.4f};"
            f" {relative}; {count(effect.seeds, 'seed')}"
        )
        if effect.seeds > 1 and effect.worse:
            low, high = finding.for_new_users()
            print(f"  for new users too: {low:+.1%} to {high:+.1%} (95 % interval over seeds and users, no verdict)")
        pairs = zip(compared.seeds, compared.scores, strict=True)
        by_seed = ", ".join(f"{seed}: {better:.4f} / {worse:.4f}" for seed, (better, worse) in pairs)
        print(f"  by seed, {claim.better} / {claim.worse}: {by_seed}")
    notes = [f"data set {card.name}{' (synthetic)' if card.origin == 'synthetic' else ''}"]
    notes += [f"lattice protocol, split {card.split}", f"study {plan.study.name}"]
    notes += [f"proxy features: {', '.join(finding.proxies)}"] if finding.proxies else []
    notes += [f"mixed devices: {', '.join(finding.devices)}"] if len(finding.devices) > 1 else []
    print(f"  {'; '.join(notes)}")
    print(f"  again: tmfun check {claim.name} --study {study} --run\n")


def _calibrate(options: argparse.Namespace) -> int:
    from ablations import calibration, planted
    from ablations.records import Store
    from ablations.scheduling import slots
    from reports.report import write_calibration

    folder = Store().root / "calibration"
    if options.part == "statistics":
        found = calibration.calibrate(say=lambda row: print(f"  {row['scenario']}, {row['seeds']} seeds", flush=True))
        calibration.write(folder / "statistics.json", found, "rows")
    elif options.part == "pipeline":
        jobs = len(slots("cpu", options.jobs))
        planted.calibrate(folder / "pipeline.json", jobs, say=lambda done, of: print(f"  [{done}/{of}]", flush=True))
    elif not list(folder.glob("*.json")):
        raise InputError(f"no calibration in {folder}; first: tmfun calibrate statistics")
    page = PROJECT / "reports" / "calibration"
    write_calibration(folder, page)
    print(f"  {page / 'README.md'}")
    return DONE
