"""check: the verdict on claims, each with the numbers and the command behind it."""

import argparse
import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tmfun.cli.common import DONE, FAILED, Commands, command, count, prints_json
from tmfun.errors import InputError

if TYPE_CHECKING:
    from ablations.claims import Claim
    from ablations.controlled import Survival
    from ablations.outcomes import Finding
    from ablations.planning import Plan
    from ablations.records import Store


def declare(commands: Commands) -> None:
    """Declare the command."""
    checking = command(commands, "check", check, "print the verdict on claims", "check attention-fusion --study baby")
    checking.add_argument(
        "claims", metavar="CLAIM", nargs="*", help="claims or families by name (default: all of a study)"
    )
    checking.add_argument(
        "--study",
        help="the study that supplies the runs (default: for each claim and data set, the shipped study with the most"
        " seeds)",
    )
    checking.add_argument(
        "--run", action="store_true", dest="train", help="train what these claims and their families lack first"
    )
    checking.add_argument("--strict", action="store_true", help="exit with 1 if a claim is contradicted")
    prints_json(checking)


@dataclass(frozen=True)
class _Answer:
    """A claim on a data set, as the records of one study answer it."""

    plan: "Plan"
    study: str  # as the user names it
    finding: "Finding"
    survivals: tuple["Survival", ...]
    others: tuple[str, ...] = ()  # what other studies with fewer seeds say, and with how many

    @property
    def again(self) -> str:
        return f"tmfun check {self.finding.claim.name} --study {shlex.quote(self.study)} --run"

    def to_json(self) -> dict[str, Any]:
        return {
            "study": self.plan.study.name,
            **self.finding.to_json(),
            "controls": [survival.to_json() for survival in self.survivals],
            "other_studies": list(self.others),
            "again": self.again,
        }


def check(options: argparse.Namespace) -> int:
    """Print a verdict on each claim."""
    from ablations.claims import chosen
    from ablations.outcomes import pooled_over_datasets
    from ablations.records import Store

    asked = chosen(options.claims)
    store = Store()
    study = options.study
    trained = DONE
    if options.train:
        study = study or _study_that_makes(asked, store)
        trained = _train(study, asked, store)
    answers = _answers(study, asked, store)
    findings = [answer.finding for answer in answers]
    means = pooled_over_datasets(findings)
    if options.json:
        pooled = {name: vars(mean) for name, mean in means.items()}
        tables = [{**a.to_json(), "pooled_over_datasets": pooled.get(a.finding.claim.name)} for a in answers]
        print(json.dumps(_without_nan(tables), indent=1, allow_nan=False))
    elif not answers:
        print("no claim to check: the study makes none")
    else:
        for claim in dict.fromkeys(finding.claim for finding in findings):
            for answer in answers:
                if answer.finding.claim == claim:
                    _print(answer)
            if mean := means.get(claim.name):
                interval = "" if mean.datasets < 3 else f", 95 % interval {mean.low:+.1%} to {mean.high:+.1%}"
                print(
                    f"{claim.name} over {mean.datasets} data sets, relative effects only: {mean.relative:+.1%} on"
                    f" average{interval} (Student's t over data sets, no verdict)\n"
                )
    contradicted = any(finding.verdict.word == "contradicted" for finding in findings)
    return FAILED if options.strict and contradicted else trained


def _answers(study: str | None, asked: "Sequence[Claim]", store: "Store") -> list[_Answer]:
    """One answer per claim and data set. Raises InputError where there is none at all; a claim without one is named."""
    from ablations.controlled import survivals
    from ablations.outcomes import findings
    from tmfun.cli.findings import recorded_plans

    found: dict[tuple[str, str], list[_Answer]] = {}
    for plan in recorded_plans(study, store):
        survived = survivals(plan, store)
        for finding in findings(plan, store, [claim.name for claim in asked] or None):
            under = tuple(s for s in survived if (s.claim, s.card) == (finding.claim, finding.card))
            answer = _Answer(plan, study or plan.study.name, finding, under)
            found.setdefault((finding.claim.name, finding.card.content_hash), []).append(answer)
    known = {name for name, _ in found}
    for claim in asked:
        if claim.name in known:
            continue
        made = _studies_that_make([claim])
        where = f"; made by: {', '.join(made)}" if made else "; no shipped study makes it"
        who = f"the study '{study}' does not make" if study else "no study with records makes"
        message = f"{who} the claim '{claim.name}'{where}"
        if not found:
            raise InputError(message)
        print(f"tmfun: {message}", file=sys.stderr)
    return [_with_most_seeds(answers) for answers in found.values()]


def _with_most_seeds(answers: list[_Answer]) -> _Answer:
    """Studies share records, so the same claim may be answered several times over, from more of them or fewer."""
    from dataclasses import replace

    best = max(answers, key=lambda answer: (len(answer.finding.seeds), len(answer.survivals)))
    others = tuple(
        f"{answer.plan.study.name}: {answer.finding.verdict.word}, {count(len(answer.finding.seeds), 'seed')}"
        for answer in answers
        if answer is not best
    )
    return replace(best, others=others)


def _studies_that_make(claims: "Iterable[Claim]") -> list[str]:
    """The shipped studies that make all of these claims."""
    from ablations.claims import chosen
    from ablations.studies import read_study, shipped

    wanted = {claim.name for claim in claims}
    return [name for name in shipped() if wanted <= {claim.name for claim in chosen(read_study(name).claims)}]


def _study_that_makes(claims: "Sequence[Claim]", store: "Store") -> str:
    """The shipped study to train in: of those that make all of the claims, the one with the most records."""
    from ablations.planning import plan_on_records
    from ablations.studies import read_study

    if not claims:
        raise InputError("check --run needs claims, or --study, to know what to train")
    names = _studies_that_make(claims)
    if not names:
        what = f"the claim '{claims[0].name}'" if len(claims) == 1 else "all of these claims"
        raise InputError(f"no shipped study makes {what}: name one with --study")
    plans = {name: plan_on_records(read_study(name), store) for name in names}
    return max(names, key=lambda name: sum(run.run_id in store for run in plans[name].runs(store)))


def _train(name: str, asked: "Sequence[Claim]", store: "Store") -> int:
    """Train what the study lacks of the claims that are asked for and of their families: a claim of a family that has
    no records yet still takes its place in the correction, so without them the verdict would be another."""
    from dataclasses import replace

    from ablations.claims import chosen
    from ablations.planning import plan_on_data
    from ablations.scheduling import slots
    from ablations.studies import read_study
    from tmfun.cli.runs import train

    plan = plan_on_data(read_study(name))
    families = {claim.family for claim in asked}
    corrected = [claim for claim in chosen(plan.study.claims) if claim.family in families]
    sides = {side for claim in [*asked, *corrected] for side in (claim.better, claim.worse)}
    cells = tuple(cell for cell in plan.cells if not asked or cell.entry.name in sides)
    return train(replace(plan, cells=cells), store, slots("auto"))


def _print(answer: _Answer) -> None:
    finding = answer.finding
    claim, compared, card = finding.claim, finding.comparison, finding.card
    on_content = ", ".join(filter(None, (survival.on_content for survival in answer.survivals)))
    word = finding.verdict.word.upper() + (f", {on_content}," if on_content else "")
    print(f"{claim.name}: {word} on {card.name} ({finding.verdict.reason})")
    print(f"  {claim.sentence} [{claim.source}]")
    if compared:
        effect = compared.effect
        means = f"{claim.better} {effect.better:.4f}, {claim.worse} {effect.worse:.4f}"
        print(f"  {claim.metric} on test: {means}; {_size(finding)}; {count(effect.seeds, 'seed')}")
        if effect.seeds > 1 and effect.worse:
            low, high = finding.for_new_users()
            print(f"  for new users too: {low:+.1%} to {high:+.1%} (95 % interval over seeds and users, no verdict)")
        pairs = zip(compared.seeds, compared.scores, strict=True)
        by_seed = ", ".join(f"{seed}: {better:.4f} / {worse:.4f}" for seed, (better, worse) in pairs)
        print(f"  by seed, {claim.better} / {claim.worse}: {by_seed}")
        if compared.unpaired:
            print(f"  left out, as only one side has them: seed {', '.join(map(str, compared.unpaired))}")
    for survival in answer.survivals:
        low, high = survival.under.relative_interval()
        print(
            f"  under the control {survival.control}: {survival.under.relative:+.1%} ({low:+.1%} to {high:+.1%};"
            f" {count(len(survival.seeds), 'seed')}): {survival.meaning}"
        )
    notes = [f"data set {card.name}{' (synthetic)' if card.origin == 'synthetic' else ''}"]
    notes += [f"lattice protocol, split {card.split}", f"study {answer.plan.study.name}"]
    notes += [f"also in {', '.join(answer.others)}"] if answer.others else []
    if finding.family < finding.listed:
        notes.append(f"corrected for {finding.family} of the {finding.listed} claims of {claim.family}")
    notes += [f"proxy features: {', '.join(finding.proxies)}"] if finding.proxies else []
    notes += [f"mixed devices: {', '.join(finding.devices)}"] if len(finding.devices) > 1 else []
    notes += [finding.unequal] if finding.unequal else []
    print(f"  {'; '.join(notes)}")
    print(f"  again: {answer.again}\n")


def _size(finding: "Finding") -> str:
    """The effect with its interval, relative where there is a ratio."""
    effect = finding.effect
    assert effect is not None
    share = bool(effect.worse)
    show = (lambda value: f"{value:+.1%}") if share else (lambda value: f"{value:+.4f} (no ratio to a score of 0)")
    size = show(effect.relative if share else effect.difference)
    if effect.seeds == 1:
        return f"{size}, no interval from one seed"
    if not effect.deviation:
        return f"{size}, the same with every seed"
    low, high = effect.relative_interval() if share else (effect.low, effect.high)
    interval = f"{low:+.1%} to {high:+.1%}" if share else f"{low:+.4f} to {high:+.4f}"
    return f"{size}, 95 % interval {interval}"


def _without_nan(value: Any) -> Any:
    """JSON has no nan: null stands for it."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and value != value else value
