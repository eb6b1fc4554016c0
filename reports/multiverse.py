"""Interpretations: how far a claim depends on how the paper is read."""

from collections.abc import Sequence

from ablations.multiverse import HOLDS, NONE, REVERSED, Multiverse, Reading
from ablations.verdicts import Effect
from reports import contents, figures
from reports.contents import proxy_note
from reports.numbers import OnDataset, counted, metric_title, slug
from reports.parts import Picture, Section
from reports.tables import Column, Number, Row, Table

PROSE = """\
The known text of the paper leaves switches open. An interpretation sets one of them (or a few) another way, for both
sides of a claim; everything else is equal, seeds included. A claim *holds* under an interpretation if its mean effect
is at least the smallest that matters; it is *reversed* if the effect is as large the other way. These words take the
mean over seeds alone: few seeds make wide intervals, and how many intervals leave 0 out is counted beside them,
and by chance one in twenty does. An interpretation that sets the very switch that a claim is about is left out."""


def section(found: Sequence[Multiverse], groups: Sequence[OnDataset]) -> Section | None:
    """The part of the page on interpretations; None if the study has none."""
    if not found:
        return None
    sentences = "\n".join(f"- {_sentence(each, groups)}" for each in found)
    pictures = tuple(_picture(each, groups) for each in found if each.measured)
    return Section(
        "Interpretations", f"{PROSE}\n\n{sentences}", (*pictures, summary(found, groups)), (readings(found, groups),)
    )


def summary(found: Sequence[Multiverse], groups: Sequence[OnDataset]) -> Table:
    """One row per claim and data set: in how many interpretations it holds."""
    rows = []
    for each in found:
        measured = each.measured
        largest, smallest = (_number(measured[i].effect if measured else None) for i in (0, -1))
        rows.append(
            Row(
                (
                    f"{each.claim.sentence} ({each.claim.name})",
                    _label(each, groups),
                    _number(each.default.effect),
                    smallest,
                    largest,
                    f"{each.count(HOLDS)} of {len(measured)}",
                    str(each.count(NONE)),
                    str(each.count(REVERSED)),
                    f"{sum(r.effect is not None and r.effect.low > 0 for r in measured)} above,"
                    f" {sum(r.effect is not None and r.effect.high < 0 for r in measured)} below",
                    _seeds(each),
                    ", ".join(each.left_out) or "–",
                ),
                _proxies(each.readings),
            )
        )
    interval = {"interval": True, "signed": True, "percent": True}
    columns = (
        Column("claim", width=5.5),
        Column("data set"),
        Column("default", 1, **interval),
        Column("smallest", 1, **interval),
        Column("largest", 1, **interval),
        Column("holds in"),
        Column("no effect to speak of"),
        Column("reversed"),
        Column("intervals without 0"),
        Column("seeds each"),
        Column("left out: what the claim is about", width=3),
    )
    text = f"Claims under every interpretation, on test; {_protocols(groups)}."
    notes = ("Effects relative to the worse side's mean, in brackets the 95 % interval, paired over seeds.",)
    return Table("interpretations-summary", text, columns, tuple(rows), notes, (("protocol", _protocols(groups)),))


def readings(found: Sequence[Multiverse], groups: Sequence[OnDataset]) -> Table:
    """Every claim under every interpretation, the largest effect first."""
    rows = []
    for each in found:
        head = (each.claim.name, _label(each, groups))
        for reading in each.measured:
            word = reading.word + (", interval without 0" if reading.settled else "")
            seeds = str(len(reading.seeds))
            rows.append(Row((*head, reading.name, _number(reading.effect), seeds, word), _proxies([reading])))
        without = [reading for reading in each.readings if reading not in each.measured]
        rows += [Row((*head, reading.name, contents.NONE, "0", "–"), (reading.reason,)) for reading in without]
        rows += [Row((*head, name, contents.NONE, "0", "left out"), ()) for name in each.left_out]
    columns = (
        Column("claim"),
        Column("data set"),
        Column("interpretation"),
        Column("relative effect", 1, interval=True, signed=True, percent=True),
        Column("seeds"),
        Column("the claim"),
    )
    text = f"Every claim under every interpretation, on test; {_protocols(groups)}."
    return Table("interpretations", text, columns, tuple(rows), (), (("protocol", _protocols(groups)),))


def _sentence(each: Multiverse, groups: Sequence[OnDataset]) -> str:
    measured = each.measured
    head = f"*{each.claim.name}* on {_label(each, groups)}:"
    waiting = len(each.readings) - len(measured)
    rest = f"; {waiting} without records on both sides" if waiting else ""
    left = f"; left out, as the claim is about it: {', '.join(each.left_out)}" if each.left_out else ""
    if not measured:
        return f"{head} no records yet{left}."
    proxies = "; proxy features" if any(reading.proxies for reading in measured) else ""
    return (
        f"{head} **holds in {each.count(HOLDS)} of {len(measured)}** (effect of at least"
        f" {100 * each.claim.smallest_effect:g} %; the interval leaves 0 out, too, in {each.count(HOLDS, True)}),"
        f" no effect to speak of in {each.count(NONE)}, reversed in {each.count(REVERSED)};"
        f" {_seeds(each)} each{proxies}{rest}{left}."
    )


def _picture(each: Multiverse, groups: Sequence[OnDataset]) -> Picture:
    group = next(group for group in groups if group.card == each.card)
    rows = []
    for reading in each.measured:
        effect = reading.effect
        assert effect is not None
        rows.append(
            figures.Dot(
                reading.name, effect.relative, *effect.relative_interval(), reading.single, bool(reading.proxies),
                strong=reading is each.default,
            )
        )  # fmt: skip
    proxies = sorted({name for reading in each.measured for name in reading.proxies})
    behind = [f"{group.label}, {_seeds(each)} each", group.protocol]
    behind += [f"proxy features: {', '.join(proxies)}"] if proxies else []
    text = f"{each.claim.name}: {each.claim.better} minus {each.claim.worse}, under every interpretation"
    note = (
        "Dot: mean over seeds. Line: 95 % interval, paired over seeds; cut off where it leaves the panel. Small dots:"
        f" single seeds. Orange: the default. Shaded: within {100 * each.claim.smallest_effect:g} %, the smallest"
        f" effect that matters. Holds in {each.count(HOLDS)} of {len(each.measured)}."
        + (" Hollow: proxy features took part." if any(row.hollow for row in rows) else "")
    )
    axis = f"effect on {metric_title(each.claim.metric)}, %"
    figure = figures.dots([(behind, rows)], text, axis, note, each.claim.smallest_effect, tight=True)
    basis = "; ".join(behind)
    return Picture(f"interpretations-{slug(each.claim.name)}-{group.slug}", f"{text}. {basis}.", figure)


def _number(effect: Effect | None) -> Number:
    return contents.NONE if effect is None else Number(effect.relative, *effect.relative_interval())


def _seeds(each: Multiverse) -> str:
    return counted(sorted({len(reading.seeds) for reading in each.measured}))


def _proxies(found: Sequence[Reading]) -> tuple[str, ...]:
    names = sorted({name for reading in found for name in reading.proxies})
    return (proxy_note(names),) if names else ()


def _label(each: Multiverse, groups: Sequence[OnDataset]) -> str:
    return next(group.label for group in groups if group.card == each.card)


def _protocols(groups: Sequence[OnDataset]) -> str:
    return "; ".join(dict.fromkeys(f"{group.label}: {group.protocol}" for group in groups))
