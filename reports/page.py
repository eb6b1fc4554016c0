"""The page of a study: which tables and figures, in which order, and the prose between them."""

from collections import Counter
from collections.abc import Sequence
from html import escape

from ablations.claims import chosen
from ablations.controlled import Survival, survivals
from ablations.multiverse import multiverses
from ablations.outcomes import Finding, findings
from ablations.planning import Plan
from ablations.records import Store
from ablations.studies import FOLDER, Study
from reports import contents, controls, figures, multiverse, published, selection
from reports.contents import MAIN, proxy_words
from reports.numbers import (
    FULL,
    Curve,
    OnDataset,
    Result,
    change,
    counted,
    curves,
    gather,
    mean_curve,
    metric_title,
    slug,
)
from reports.parts import Picture, Section, absent, basis, caption, hollow
from reports.tables import Column, Number, Table, latex, markdown, show, to_csv

PROXY = "†"  # marks the panels of a figure whose runs read proxies
PANELS = 12  # of training curves that fit on a printed page
MATTERS = 0.01  # the smallest relative effect that matters, for a study without claims
WORDS = ("supported", "contradicted", "no effect", "inconclusive")
RECONSTRUCTION = """\
> **A reconstruction.** TMFUN here is rebuilt from what the paper's abstract and introduction say (Zhou et al., SIGIR
> 2023, arXiv 2304.11979). The paper's equations, hyper-parameters and result tables are not known to this project:
> no number on this page is the paper's{except_published}."""
EXCEPT_PUBLISHED = ", but those that the tables of published numbers show as TMFUN's"
PROTOCOL = """\
Every user's held-out test items are ranked among all items, the user's training items left out; validation items stay
candidates. Models are selected and stopped on validation alone. *NDCG@20* is the usual form (trec_eval's);
*NDCG@20 (lattice)* is the form that the code of LATTICE and MICRO computes and papers of that line print, and is never
the smaller one. Intervals are 95 % intervals of Student's t over seeds: they cover the randomness of training on this
split, and say nothing about other users or other splits. Where a number is *for new users too*, its interval is over
seeds and users, crossed."""


def files(plan: Plan, store: Store) -> dict[str, bytes]:
    """Every file of the report, by its path in the report's folder."""
    groups = gather(plan, store)
    found = findings(plan, store)
    sections = _sections(plan, store, groups, found)
    page = _page(plan, groups, found, sections)
    return {"README.md": page.encode(), **item_files(sections, slug(plan.study.name))}


def item_files(sections: Sequence[Section], label: str) -> dict[str, bytes]:
    """The files of all tables and figures; `label` tells those of one page from another's in LaTeX."""
    written: dict[str, bytes] = {}
    for item in (item for section in sections for item in (*section.items, *section.folded)):
        if isinstance(item, Picture):
            written |= {f"figures/{item.name}.{kind}": body for kind, body in figures.rendered(item.figure).items()}
        else:
            written[f"tables/{item.name}.md"] = markdown(item).encode()
            written[f"tables/{item.name}.tex"] = latex(item, f"{label}-{item.name}").encode()
            written[f"tables/{item.name}.csv"] = to_csv(item).encode()
    return written


def _sections(plan: Plan, store: Store, groups: Sequence[OnDataset], found: Sequence[Finding]) -> list[Section]:
    sections = []
    survived = survivals(plan, store)
    if found:
        over = contents.over_datasets(found)
        tables = (contents.verdicts(found, groups, survived), *([over] if over else []))
        sections.append(Section("Verdicts", _headlines(found, groups, survived), tables))
    ablated = [group for group in groups if group.ablated]
    if ablated:
        prose = "Each variant is TMFUN with one part changed, everything else equal, seeds included."
        picture = _ablation_effect(plan.study, ablated)
        items: tuple[Table | Picture, ...] = (*([picture] if picture else []), *map(contents.ablation, ablated))
        sections.append(Section("What each part contributes", prose, items))
    compared = [group for group in groups if group.compared]
    if compared:
        picture = _comparison(compared)
        sections.append(Section("Beside its competitors", "", (picture, *map(contents.comparison, compared))))
    printed = published.tables(groups, published.read_published())
    if printed:
        prose = "A check of the implementations: is our reading of each method as good as what others report of it?"
        sections.append(Section("Against published numbers", prose, tuple(printed)))
    readings = multiverse.section(multiverses(plan, store), groups)
    sections += [section for section in (controls.section(groups, survived), readings) if section]
    pictures = tuple(picture for group in groups for picture in _training(group))
    if pictures:
        sections.append(Section("Training", "", pictures))
    search = selection.section(plan, groups)
    if search:
        sections.append(search)
    if groups:
        sections.append(Section("Data sets", "", (contents.datasets(groups),)))
        sections.append(Section("Cost", "", tuple(map(contents.cost, groups))))
    return sections


# -- prose ---------------------------------------------------------------------------------------------------------


def _page(plan: Plan, groups: Sequence[OnDataset], found: Sequence[Finding], sections: Sequence[Section]) -> str:
    theirs = published.of_tmfun(groups, published.read_published())
    reconstruction = RECONSTRUCTION.format(except_published=EXCEPT_PUBLISHED if theirs else "")
    parts = [f"# {plan.study.title}", reconstruction, *_warnings(plan, groups)]
    verdicts = [section for section in sections if section.heading == "Verdicts"]
    parts += [section_text(section) for section in verdicts]
    parts += ["## How to read the numbers", PROTOCOL]
    parts += [section_text(section) for section in sections if section not in verdicts]
    parts += [_redo(plan.study)]
    return "\n\n".join(parts) + "\n"


def section_text(section: Section) -> str:
    """A section in Markdown."""
    parts = [f"## {section.heading}", *([section.prose] if section.prose else []), *map(_item, section.items)]
    for table in section.folded:
        parts += [f"<details><summary>{escape(table.caption)}</summary>", _item(table), "</details>"]
    return "\n\n".join(parts)


def _item(item: Table | Picture) -> str:
    if isinstance(item, Picture):
        what, _, _ = item.text.partition(". ")
        return f"![{what}](figures/{item.name}.png)\n\n{item.text} ([PDF](figures/{item.name}.pdf))"
    links = ", ".join(f"[{kind}](tables/{item.name}.{end})" for kind, end in (("CSV", "csv"), ("LaTeX", "tex")))
    return f"{markdown(item)}\n{links}"


def _warnings(plan: Plan, groups: Sequence[OnDataset]) -> list[str]:
    found = []
    for group in groups:
        missing = sum(len(r.cell.entry.seeds) - len(r.runs) for r in group.results if not r.cell.skipped)
        if missing:
            found.append(f"**Incomplete.** {missing} runs on {group.label} have no record yet; the tables say where.")
        if group.card.origin == "synthetic":
            found.append(f"**Synthetic.** {group.label} is generated: its numbers say nothing about real users.")
        if any(result.cut for result in group.results):
            found.append(f"**Cut short.** Some runs on {group.label} met the limit of epochs; the tables say which.")
        words = proxy_words(group.results)
        if words:
            found.append(
                f"**Proxies.** Runs on {group.label} that are marked so used {words}, in place of the originals."
            )
    found += [
        f"**Not the published data set.** {label} has other sizes: no published number is shown for it."
        for label in published.strangers(groups, published.read_published())
    ]
    if plan.missing:
        found.append(f"**Missing.** No records yet on: {', '.join(plan.missing)}.")
    return found


def _headlines(found: Sequence[Finding], groups: Sequence[OnDataset], survived: Sequence[Survival]) -> str:
    on_content = {(each.claim, each.card): each.on_content for each in survived if each.on_content}
    lines = []
    for group in groups:
        here = [finding for finding in found if finding.card == group.card]
        counts = Counter(finding.verdict.word for finding in here)
        summary = ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word])
        lines.append(f"On **{group.label}**: {summary}.\n")
        for finding in here:
            word = finding.verdict.word
            if control := on_content.get((finding.claim, finding.card)):
                word += f", {control}"
            lines.append(f"- **{word}**: {finding.claim.sentence} {_evidence(finding)}")
        lines.append("")
    return "\n".join(lines).strip()


def _evidence(finding: Finding) -> str:
    effect = finding.effect
    if effect is None:
        return f"({finding.verdict.reason})"
    column = Column("", 1, interval=True, signed=True, percent=True)
    number = show(column, Number(effect.relative, *effect.relative_interval()))
    proxies = "; proxy features" if finding.proxies else ""
    seeds = counted([effect.seeds])
    return f"({metric_title(finding.claim.metric)} {number}, {seeds}{proxies}; {finding.verdict.reason})"


def _redo(study: Study) -> str:
    name = study.name if study.file.parent == FOLDER else study.file.name
    return f"""\
## How to redo it

```
python -m tmfun run {name}              # train what has no record; the records are kept in results/
python -m tmfun report {name}           # this page, from the records alone
python -m tmfun check --study {name}    # the verdicts, with the numbers and the command behind each
```"""


# -- figures -------------------------------------------------------------------------------------------------------


def _ablation_effect(study: Study, groups: Sequence[OnDataset]) -> Picture | None:
    """The changes by data set; None where no variant has a seed in common with the full model: all would be words."""
    band = min((claim.smallest_effect for claim in chosen(study.claims, study.name)), default=MATTERS)
    panels = []
    for group in groups:
        assert group.full is not None
        rows = []
        for variant in group.ablated:
            found = change(variant, group.full, MAIN)
            if found is None:
                reason = "no seed in common with the full model" if variant.runs else absent(variant)
                rows.append(figures.Dot(variant.title, instead=reason))
            else:
                interval = found.effect.relative_interval()
                proxied = bool(variant.proxies or group.full.proxies)
                rows.append(figures.Dot(variant.title, found.effect.relative, *interval, found.single, proxied))
        panels.append((basis(group, (group.full, *group.ablated)), rows))
    if all(row.instead for _, rows in panels for row in rows):
        return None
    note = (
        "Dot: mean over seeds. Line: 95 % interval, paired over seeds. Small dots: single seeds."
        f" Shaded: changes below {100 * band:g} %, the smallest that matters. Left of 0: worse than the full model."
        + hollow(panels)
    )
    text = f"Relative change of test {metric_title(MAIN)} when one part of TMFUN is changed"
    figure = figures.dots(panels, text, f"change of {metric_title(MAIN)}, %", note, band)
    return Picture("ablation-effect", caption(text, panels), figure)


def _comparison(groups: Sequence[OnDataset]) -> Picture:
    panels = []
    for group in groups:
        rows = []
        for result in group.compared:
            spread = result.spread(MAIN)
            if not spread.values:
                rows.append(figures.Dot(result.title, instead=absent(result)))
                continue
            low, high = spread.mean - spread.half, spread.mean + spread.half
            seeds = spread.values if result.seeded else ()
            rows.append(figures.Dot(result.title, spread.mean, low, high, seeds, bool(result.proxies)))
        panels.append((basis(group, group.compared), rows))
    note = (
        "Dot: mean over seeds. Line: 95 % interval. Small dots: single seeds; none for models that only count."
        + hollow(panels)
    )
    text = f"Test {metric_title(MAIN)} of TMFUN and its competitors"
    figure = figures.dots(panels, text, metric_title(MAIN), note)
    return Picture("comparison", caption(text, panels), figure)


def _training(group: OnDataset) -> list[Picture]:
    """The curves of every entry, by the metric that its runs were selected by; a figure for every twelve."""
    found = {result: curves(result) for result in group.plain}
    drawn = [result for result in group.plain if found[result]]
    pictures: list[Picture] = []
    for metric in dict.fromkeys(result.cell.entry.training.select_by for result in drawn):
        results = [result for result in drawn if result.cell.entry.training.select_by == metric]
        reference = group.full if group.full in results else None
        for start in range(0, len(results), PANELS):
            shown = results[start : start + PANELS]
            panels = [_panel(result, found[result], found[reference] if reference else []) for result in shown]
            note = (
                "Thin lines: single seeds. Thick line: their mean, as far as every seed was still training. Dots: the"
                " epochs that were kept." + (f" Grey: the mean of {reference.title}." if reference else "")
            )
            title = f"Validation {metric_title(metric)} during training"
            behind = "; ".join(basis(group, shown, f"{PROXY} "))
            figure = figures.training(panels, f"{title}\n{behind}", f"validation {metric_title(metric)}", note)
            number = f"-{len(pictures) + 1}" if pictures else ""
            pictures.append(Picture(f"training-curves-{group.slug}{number}", f"{title}. {behind}.", figure))
    return pictures


def _panel(result: Result, runs: Sequence[Curve], reference: Sequence[Curve]) -> figures.Curves:
    planned = len(result.cell.entry.seeds)
    seeds = "" if len(runs) == planned else f", {len(runs)} of {planned} seeds"
    title = f"{result.title} {PROXY}" if result.proxies else result.title
    lines = tuple(figures.Line(run.epochs, run.values, run.kept) for run in runs)
    behind = _mean_line(reference) if reference and result.cell.entry.name != FULL else None
    return figures.Curves(title + seeds, lines, _mean_line(runs), behind)


def _mean_line(lines: Sequence[Curve]) -> figures.Line:
    return figures.Line(*mean_curve(lines))
