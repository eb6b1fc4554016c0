"""report, calibrate: what the records say, and how often that would be wrong."""

import argparse
from typing import TYPE_CHECKING

from tmfun import PROJECT
from tmfun.cli.common import DONE, STUDY, Commands, command, positive
from tmfun.errors import InputError

if TYPE_CHECKING:
    from ablations.planning import Plan
    from ablations.records import Store


def declare(commands: Commands) -> None:
    """Declare this file's commands."""
    reporting = command(commands, "report", report, "regenerate reports/ from the records, nothing else", "report baby")
    reporting.add_argument(
        "study", metavar="STUDY", nargs="?", help=f"{STUDY} (default: all shipped ones with records)"
    )
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


def recorded_plans(study: str | None, store: "Store") -> list["Plan"]:
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
    for plan in recorded_plans(options.study, store):
        folder, drawn = write_report(plan, store, PROJECT / "reports" / plan.study.name)
        print(f"  {folder / 'README.md'}{'' if drawn else '  (unchanged)'}")
    return DONE


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
