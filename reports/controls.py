"""Controls: what models lose when their content is destroyed, and which claims do not mind."""

import math
from collections.abc import Sequence
from statistics import fmean

from ablations.controlled import Survival
from ablations.verdicts import Effect
from reports import figures
from reports.contents import MAIN, NONE, context, notes_on, proxy_note
from reports.numbers import Change, OnDataset, Result, change, counted, metric_title, seed_count
from reports.parts import Picture, Section, absent, basis, caption, hollow
from reports.tables import Column, Number, Row, Table, show
from tmfun.controls import control

PROSE = """\
A control runs the same model on content that says less, or nothing; interactions and split stay. What is still gained
under a control is not due to what the control destroys. Draws follow the run's seed."""


def section(groups: Sequence[OnDataset], survived: Sequence[Survival]) -> Section | None:
    """The part of the page on controls; None if the study has none."""
    with_controls = [group for group in groups if group.controlled]
    if not with_controls:
        return None
    names = dict.fromkeys(r.cell.entry.control for group in with_controls for r in group.controlled)
    legend = [f"- **{control(name).title}**: {control(name).text}." for name in names if name]
    sentences = [f"- {_sentence(each, groups)}" for each in survived]
    prose = "\n\n".join([PROSE, "\n".join(legend), *(["\n".join(sentences)] if sentences else [])])
    tables = [*map(controlled, with_controls), *([claims(survived, groups)] if survived else [])]
    picture = _picture(with_controls)
    return Section("Controls", prose, (*([picture] if picture else []), *tables))


def controlled(group: OnDataset) -> Table:
    """Every entry under a control against the same entry on the content as it is."""
    rows = []
    metrics = (MAIN, "ndcg@20")
    for result in group.controlled:
        found = [_change(result, group, metric) for metric in metrics]
        cells = [cell for each in found for cell in _numbers(each)]
        rows.append(Row((result.title, *cells, result.seeds), notes_on(result)))
    columns: list[Column] = [Column("model under a control")]
    for metric in metrics:
        title = metric_title(metric)
        columns += [
            Column(f"{title}, content as it is", 4),
            Column(f"{title}, under the control", 4),
            Column(f"{title} relative change", 1, interval=True, signed=True, percent=True),
        ]
    columns.append(Column("seeds"))
    text = (
        f"What the content is worth on {group.label}, on test: the model under a control minus the same model on the"
        f" content as it is, paired over seeds; {group.protocol}; {seed_count(group.controlled)}."
    )
    notes = ("A negative change: the model needs what the control destroys. In brackets the 95 % interval over seeds.",)
    return Table(f"controls-{group.slug}", text, tuple(columns), tuple(rows), notes, context(group))


def claims(survived: Sequence[Survival], groups: Sequence[OnDataset]) -> Table:
    """The gain of every claim, and the same gain under each control."""
    labels = {group.card: group.label for group in groups}
    rows = [
        Row(
            (
                f"{each.claim.sentence} ({each.claim.name})",
                labels[each.card],
                control(each.control).title,
                metric_title(each.claim.metric),
                Number(each.gain.relative, *each.gain.relative_interval()),
                Number(each.under.relative, *each.under.relative_interval()),
                _relative(each.lost, each.gain.worse),
                f"{len(each.seeds)} / {each.fewest}",
                each.meaning,
            ),
            (proxy_note(each.proxies),) if each.proxies else (),
        )
        for each in survived
    ]
    columns = (
        Column("claim", width=5.5),
        Column("data set"),
        Column("control"),
        Column("metric"),
        Column("gain", 1, interval=True, signed=True, percent=True),
        Column("gain under the control", 1, interval=True, signed=True, percent=True),
        Column("lost", 1, interval=True, signed=True, percent=True),
        Column("seeds / needed"),
        Column("what became of it", width=4),
    )
    protocols = "; ".join(dict.fromkeys(f"{group.label}: {group.protocol}" for group in groups))
    text = (
        f"The gains of the claims under controls, on test; {protocols};"
        f" {counted(sorted({len(each.seeds) for each in survived}))}."
    )
    notes = (
        "Gain: better side minus worse side, relative to the worse side's mean, over the seeds that all four sides"
        " have. Lost: the gain minus the gain under the control, relative to the worse side without it. In brackets the"
        " 95 % interval, paired over seeds.",
    )
    return Table("controls-claims", text, columns, tuple(rows), notes, (("protocol", protocols),))


def _relative(effect: Effect, base: float) -> Number:
    return Number(effect.difference / base, effect.low / base, effect.high / base) if base else NONE


def _sentence(each: Survival, groups: Sequence[OnDataset]) -> str:
    label = next(group.label for group in groups if group.card == each.card)
    column = Column("", 1, interval=True, signed=True, percent=True)
    gain, under = (show(column, Number(e.relative, *e.relative_interval())) for e in (each.gain, each.under))
    proxies = "; proxy features" if each.proxies else ""
    return (
        f"*{each.claim.name}* on {label}, {control(each.control).title}: {gain} becomes {under}"
        f" ({counted([len(each.seeds)])}{proxies}): {each.meaning}."
    )


def _picture(groups: Sequence[OnDataset]) -> Picture | None:
    """The changes, the largest loss first; None if there is none.

    What was skipped on every data set is in the table alone, with the reason.
    """
    run = [[result for result in group.controlled if not result.cell.skipped] for group in groups]
    names = list(dict.fromkeys(result.cell.entry.name for results in run for result in results))
    found = [{r.cell.entry.name: _change(r, group, MAIN) for r in group.controlled} for group in groups]
    effects = {name: [each.effect.relative for by in found if (each := by[name])] for name in names}
    if not any(effects.values()):
        return None
    means = {name: fmean(there) if there else math.inf for name, there in effects.items()}
    names.sort(key=lambda name: math.inf if math.isnan(means[name]) else means[name])
    panels = []
    for group, changes in zip(groups, found, strict=True):
        results = {result.cell.entry.name: result for result in group.controlled}
        rows = [_dot(results[name], changes[name]) for name in names]
        panels.append((basis(group, group.controlled), rows))
    text = f"Relative change of test {metric_title(MAIN)} when the content is destroyed"
    note = (
        "Dot: mean over seeds. Line: 95 % interval, paired over seeds. Small dots: single seeds. Left of 0: worse than"
        " the same model on the content as it is." + hollow(panels)
    )
    figure = figures.dots(panels, text, f"change of {metric_title(MAIN)}, %", note, 0.0)
    return Picture("controls", caption(text, panels), figure)


def _dot(result: Result, found: Change | None) -> figures.Dot:
    if found is None:
        reason = "no seed in common with the content as it is" if result.runs else absent(result)
        return figures.Dot(result.title, instead=reason)
    interval = found.effect.relative_interval()
    return figures.Dot(result.title, found.effect.relative, *interval, found.single, bool(result.proxies))


def _change(result: Result, group: OnDataset, metric: str) -> Change | None:
    """What the control changes; None without records of both."""
    entry = result.cell.entry
    for other in group.uncontrolled:
        if (other.cell.entry.model, other.cell.entry.settings) == (entry.model, entry.settings):
            return change(result, other, metric)
    return None


def _numbers(found: Change | None) -> tuple[Number, Number, Number]:
    if found is None:
        return NONE, NONE, NONE
    effect = found.effect
    return Number(effect.worse), Number(effect.better), Number(effect.relative, *effect.relative_interval())
