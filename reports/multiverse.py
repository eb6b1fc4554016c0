"""Interpretations: how far a claim depends on how the paper is read."""

import math
from collections.abc import Sequence

from ablations.multiverse import FEWEST, HOLDS, NONE, REVERSED, Multiverse, Reading
from reports import contents, figures
from reports.contents import proxy_note
from reports.numbers import OnDataset, counted, metric_title, slug
from reports.parts import Picture, Section
from reports.tables import Column, Number, Row, Table

PROSE = """\
The known text of the paper leaves switches open. An interpretation sets one of them (or a few) another way, for both
sides of a claim; everything else is equal, seeds included. A side whose variant fixes that very switch stays as it is,
and the other side alone is read the other way; where nothing would be left to compare, the interpretation is left out.
A claim *holds* under an interpretation if its mean effect is at least the smallest that matters; it is *reversed* if
the effect is as large the other way. These words take the mean over seeds alone. How many 95 % intervals leave 0 out is
counted beside them from {fewest} seeds on, and by chance one in twenty does; fewer seeds give signs, and no
intervals."""


def section(found: Sequence[Multiverse], groups: Sequence[OnDataset]) -> Section | None:
    """The part of the page on interpretations; None if the study has none."""
    if not found:
        return None
    sentences = "\n".join(f"- {_sentence(each, groups)}" for each in found)
    pictures = tuple(_picture(each, groups) for each in found if each.measured)
    return Section(
        "Interpretations",
        f"{PROSE.format(fewest=FEWEST)}\n\n{sentences}",
        (*pictures, summary(found, groups)),
        (readings(found, groups),),
    )


def summary(found: Sequence[Multiverse], groups: Sequence[OnDataset]) -> Table:
    """One row per claim and data set: in how many interpretations it holds."""
    rows = []
    for each in found:
        measured = each.measured
        largest, smallest = (_number(measured[i]) if measured else contents.NONE for i in (0, -1))
        rows.append(
            Row(
                (
                    f"{each.claim.sentence} ({each.claim.name})",
                    _label(each, groups),
                    _number(each.default),
                    smallest,
                    largest,
                    f"{each.count(HOLDS)} of {len(measured)}",
                    str(each.count(NONE)),
                    str(each.count(REVERSED)),
                    _sides_of_zero(each),
                    _seeds(each),
                    str(len(each.waiting)),
                    "; ".join(f"{r.name}: {r.reason}" for r in each.impossible) or "–",
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
        Column("no records yet"),
        Column("cannot be run here", width=3),
        Column("left out: nothing to compare", width=3),
    )
    text = f"Claims under every interpretation, on test; {_protocols(groups)}."
    notes = (
        "Effects relative to the worse side's mean, in brackets the 95 % interval, paired over seeds: none for fewer"
        f" than {FEWEST} seeds, or seeds that do not differ.",
    )
    return Table("interpretations-summary", text, columns, tuple(rows), notes, (("protocol", _protocols(groups)),))


def readings(found: Sequence[Multiverse], groups: Sequence[OnDataset]) -> Table:
    """Every claim under every interpretation, the largest effect first."""
    rows = []
    for each in found:
        head = (each.claim.name, _label(each, groups))
        for reading in each.measured:
            word = reading.word + (", interval without 0" if reading.settled else "")
            seeds = str(len(reading.seeds))
            rows.append(
                Row((*head, reading.name, _number(reading), seeds, word), (*_stays(reading), *_proxies([reading])))
            )
        for reading in (reading for reading in each.readings if reading not in each.measured):
            seeds = str(len(reading.seeds))
            word = reading.reason if reading.possible else f"cannot be run here: {reading.reason}"
            rows.append(Row((*head, reading.name, contents.NONE, seeds, word)))
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
    rest = [f"no records yet on both sides under {len(each.waiting)}"] if measured and each.waiting else []
    reasons: dict[str, list[str]] = {}
    for reading in each.impossible:
        reasons.setdefault(reading.reason, []).append(reading.name)
    rest += [f"cannot be run here: {', '.join(names)} ({reason})" for reason, names in reasons.items()]
    rest += [f"left out, as nothing is left to compare: {', '.join(each.left_out)}"] if each.left_out else []
    if not measured:
        return f"{head} {'; '.join(['no records yet', *rest])}."
    rest = ["proxy features", *rest] if any(reading.proxies for reading in measured) else rest
    return (
        f"{head} **holds in {each.count(HOLDS)} of {len(measured)} by the mean over seeds; {_intervals(each)}**"
        f" (holds: an effect of at least {100 * each.claim.smallest_effect:g} %); no effect to speak of in"
        f" {each.count(NONE)}, reversed in {each.count(REVERSED)}; {'; '.join([f'{_seeds(each)} each', *rest])}."
    )


def _intervals(each: Multiverse) -> str:
    """What the intervals say where the claim holds; with fewer than FEWEST seeds, that there are none."""
    holding = [reading for reading in each.measured if reading.word == HOLDS]
    bounded = [reading for reading in holding if reading.bounded]
    if not any(reading.bounded for reading in each.measured):
        return "signs, no intervals"
    of = "of them" if len(bounded) == len(holding) else f"of the {len(bounded)} with {FEWEST} seeds or more"
    return f"in {each.count(HOLDS, True)} {of} the 95 % interval leaves 0 out"


def _sides_of_zero(each: Multiverse) -> str:
    """How many intervals lie above 0, and how many below."""
    effects = [reading.effect for reading in each.measured if reading.effect and reading.bounded]
    if not effects:
        return "–"
    few = f", of {len(effects)}" if len(effects) < len(each.measured) else ""
    return f"{sum(e.low > 0 for e in effects)} above, {sum(e.high < 0 for e in effects)} below{few}"


def _picture(each: Multiverse, groups: Sequence[OnDataset]) -> Picture:
    group = next(group for group in groups if group.card == each.card)
    rows = []
    for reading in each.measured:
        number = _number(reading)
        rows.append(
            figures.Dot(
                reading.name, number.value, number.low, number.high, reading.single, bool(reading.proxies),
                strong=reading is each.default,
            )
        )  # fmt: skip
    proxies = sorted({name for reading in each.measured for name in reading.proxies})
    sides = f"{each.claim.better} minus {each.claim.worse}, under every interpretation"
    behind = [f"{group.label}, {_seeds(each)} each: {_intervals(each)}", group.protocol]
    behind += [f"proxy features: {', '.join(proxies)}"] if proxies else []
    text = f"{each.claim.name}: holds in {each.count(HOLDS)} of {len(each.measured)} by the mean over seeds"
    lines = any(not math.isnan(row.low) for row in rows)
    note = (
        "Dot: mean over seeds."
        + (" Line: 95 % interval, paired over seeds; an arrow where it goes on beyond the panel." if lines else "")
        + " Small dots: single seeds. Orange: the default. Shaded: within"
        f" {100 * each.claim.smallest_effect:g} %, the smallest effect that matters."
        + (" Hollow: proxy features took part." if any(row.hollow for row in rows) else "")
    )
    axis = f"effect on {metric_title(each.claim.metric)}, %"
    figure = figures.dots([([sides, *behind], rows)], text, axis, note, each.claim.smallest_effect, tight=True)
    basis = "; ".join([sides, *behind])
    return Picture(f"interpretations-{slug(each.claim.name)}-{group.slug}", f"{text}. {basis}.", figure)


def _number(reading: Reading) -> Number:
    """The relative effect, with its interval where that is worth a word."""
    effect = reading.effect
    if effect is None:
        return contents.NONE
    return Number(effect.relative, *(effect.relative_interval() if reading.bounded else (math.nan, math.nan)))


def _seeds(each: Multiverse) -> str:
    return counted(sorted({len(reading.seeds) for reading in each.measured}))


def _stays(reading: Reading) -> tuple[str, ...]:
    return (f"{reading.stays} stays as it is, as it fixes the switch",) if reading.stays else ()


def _proxies(found: Sequence[Reading]) -> tuple[str, ...]:
    names = sorted({name for reading in found for name in reading.proxies})
    return (proxy_note(names),) if names else ()


def _label(each: Multiverse, groups: Sequence[OnDataset]) -> str:
    return next(group.label for group in groups if group.card == each.card)


def _protocols(groups: Sequence[OnDataset]) -> str:
    return "; ".join(dict.fromkeys(f"{group.label}: {group.protocol}" for group in groups))
