"""The page of the calibration: how often a verdict would be wrong, and what effects it finds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ablations import calibration, planted
from ablations.calibration import wilson
from ablations.verdicts import fewest_seeds
from reports import figures
from reports.page import item_files, section_text
from reports.parts import Picture, Section
from reports.tables import Column, Number, Row, Table

PARTS = ("statistics", "pipeline")  # each a file of this name in results/calibration/
LEVEL, BAND = 0.05, (0.93, 0.97)
ENOUGH = 200  # nulls below which no rate is held to LEVEL: the interval of one would reach almost anything
SCENARIOS = {  # of the simulated ranks, in words
    "null": "no effect",
    "planted": "a planted effect",
    "these-users": "an effect on these users only",
}
ABOUT = """\
Before a verdict is believed, it should be tried where the truth is known: with a planted effect the claim must be
found, without one it must not. Rates come with their 95 % Wilson intervals. Random seeds were fixed before anything was
run."""
REDO = """\
## How to redo it

```
python -m tmfun calibrate statistics    # minutes on one core
python -m tmfun calibrate pipeline      # an hour or two on two cores; stop it when you like, it goes on from there
python -m tmfun calibrate report        # this page, from results/calibration/
```"""


def files(folder: Path) -> dict[str, bytes]:
    """Every file of the page, by its path, from the calibrations that lie in `folder`."""
    there = {part: calibration.read(folder / f"{part}.json") for part in PARTS if (folder / f"{part}.json").exists()}
    sections = [{"statistics": _statistics, "pipeline": _pipeline}[part](table) for part, table in there.items()]
    page = "\n\n".join(["# Calibration", ABOUT, *map(section_text, sections), REDO]) + "\n"
    return {"README.md": page.encode(), **item_files(sections, "calibration")}


# -- the statistics on simulated ranks --------------------------------------------------------------------------------


def _statistics(table: dict[str, Any]) -> Section:
    studies, rows = table["studies"], table["rows"]
    null = [row for row in rows if row["scenario"] == "null"]
    false = [row[f"{kind}_supported"] for row in null for kind in ("alone", "family")]
    enough = [row["covered"] for row in rows if row["seeds"] >= 6]
    crossed = [row["crossed_covered"] for row in rows]
    low, high = min(enough) / studies, max(enough) / studies
    within = _whether(low >= BAND[0] and high <= BAND[1], "That is within 93 to 97 %")
    prose = (
        f"{studies:,} studies for each number of seeds and each truth, simulated as ranks of {table['users']} users"
        f" (`ablations/calibration.py` has the model; random seed {table['seed']}) and judged by the code that judges"
        " real ones. Each interval is held to its own truth: the verdict's to the effect on the users at hand, over the"
        " randomness of training; the crossed one to the effect on new users.\n\n"
        f'- False "supported" without an effect: at most {_rate(max(false), studies)}.'
        f" {_whether(wilson(max(false), studies)[0] <= LEVEL, 'The interval reaches 5 % or below')}\n"
        f"- Coverage of the verdict's 95 % interval with 6 seeds and more: {low:.1%} to {high:.1%}. {within}\n"
        f"- Coverage of the crossed 95 % interval: {min(crossed) / studies:.1%} to {max(crossed) / studies:.1%}. It"
        " allows for users who differ in the effect even where they do not."
    )
    return Section("The statistics, on simulated ranks", prose, (_statistics_figure(table), _statistics_table(table)))


def _statistics_table(table: dict[str, Any]) -> Table:
    studies = table["studies"]
    rows = []
    for row in table["rows"]:
        keys = ("alone_supported", "alone_contradicted", "family_supported", "family_contradicted")
        cells = [_number(row[key], studies) for key in (*keys, "covered", "crossed_covered")]
        false = Number(float("nan")) if row["scenario"] == "null" else _number(row["equivalent"], studies)
        effect = Number(row["relative_effect"])
        rows.append(Row((SCENARIOS[row["scenario"]], str(row["seeds"]), effect, *cells, false)))
    columns = (
        Column("truth"),
        Column("seeds"),
        Column("mean effect", 1, signed=True, percent=True),
        _rate_column("supported"),
        _rate_column("contradicted"),
        _rate_column(f"any of {table['family']} supported"),
        _rate_column(f"any of {table['family']} contradicted"),
        _rate_column("coverage, verdict's interval"),
        _rate_column("coverage, crossed interval"),
        _rate_column("false no effect"),
    )
    notes = (
        "Supported, contradicted: a claim judged alone. Any of: one claim or more of a family, corrected by Holm; with"
        " fewer seeds than the family needs, never.",
        "An effect on these users only: none on average over all users, so the crossed interval is to hold 0; but the"
        " users drawn have one, up or down, and a verdict on them can be right either way. Users differ in the planted"
        " effect too: on those drawn it can be negative.",
        "False no effect: how often the verdict would be no effect if the true effect were the smallest that matters.",
    )
    caption = f"The statistics on simulated ranks: rates over {studies:,} studies per row, 95 % Wilson intervals."
    return Table("statistics", caption, columns, tuple(rows), notes)


def _statistics_figure(table: dict[str, Any]) -> Picture:
    studies = table["studies"]

    def line(scenario: str, key: str) -> list[tuple[float, float, float, float]]:
        return [
            (row["seeds"], row[key] / studies, *wilson(row[key], studies))
            for row in table["rows"]
            if row["scenario"] == scenario
        ]

    false = {"a claim alone": line("null", "alone_supported"), "any of a family": line("null", "family_supported")}
    ticks = tuple(sorted({float(row["seeds"]) for row in table["rows"]}))
    panels = [figures.Rates('False "supported", no effect', "seeds", false, level=LEVEL, ticks=ticks)]
    for title, key, band in (
        ("Coverage of the verdict's interval", "covered", BAND),
        ("Coverage of the crossed interval", "crossed_covered", None),  # may be wide: no criterion
    ):
        lines = {words: line(scenario, key) for scenario, words in SCENARIOS.items()}
        panels.append(figures.Rates(title, "seeds", lines, level=0.95, band=band, ticks=ticks))
    text = 'How often "supported" is wrong, and what the intervals hold'
    note = (
        f"{studies:,} simulated studies per point. Bars: 95 % Wilson intervals. Dotted: 5 and 95 %; shaded: 93 to 97 %,"
        f" asked of the verdict's interval. With fewer than {fewest_seeds(1)} seeds a claim alone, with fewer than"
        f" {fewest_seeds(table['family'])} a family of {table['family']}, cannot be supported by construction: the 0 %"
        " there says nothing about the test."
    )
    return Picture("statistics", f"{text}. {note}", figures.rates(panels, text, note))


# -- the pipeline on tiny data sets -----------------------------------------------------------------------------------


def _pipeline(table: dict[str, Any]) -> Section:
    rows, seeds = table["datasets"], table["verdicts_with_seeds"]
    false = [_times(rows, "null", i, "supported") for i in range(len(seeds))]
    steps = _steps(table)
    bare = steps.get(0.0, [])
    misled = max((_times(bare, "content", i, "supported") for i in range(len(seeds))), default=0)
    nulls = _rate(max(false), len(rows))
    judged = (
        _whether(wilson(max(false), len(rows))[0] <= LEVEL, "The interval reaches 5 % or below")
        if len(rows) >= ENOUGH
        else f"With fewer than {ENOUGH} nulls, no word on whether that is 5 % or below."
    )
    prose = (
        f"{_planned(table)}\n\n"
        "On each tiny synthetic data set, TMFUN was trained as a study's runs are, from a study file to records"
        " (`ablations/planted.py`). The ladder is the shipped claim that content helps, with more and more of the"
        " users' taste explained by content; it is judged as any finding is, from its claim file to the verdict. At"
        ' signal 0 content is a burden, and "supported" would be false. The null is TMFUN against itself, with other'
        " seeds on the other side: both sides have the same distribution whatever the data set, so every"
        ' "supported" is false. It goes through comparison, correction and verdict, but through no claim file, as no'
        " claim can say so. Neither has what a larger study adds: no grid is searched, no control is run, and every"
        " claim is a family of one, so that Holm's correction does nothing (the simulated ranks try a family of"
        f" {calibration.FAMILY}).\n\n"
        f'- False "supported" under the null: at most {nulls}. {judged}\n'
        f'- "Supported" at signal 0: {_rate(misled, len(bare)) if bare else "not run yet"}.'
    )
    return Section("The whole pipeline, on tiny data sets", prose, (_pipeline_figure(table), _pipeline_table(table)))


def _steps(table: dict[str, Any]) -> dict[float, list[dict[str, Any]]]:
    """The data sets of each step of the ladder."""
    signals = sorted({row["signal"] for row in table["datasets"]})
    return {signal: [row for row in table["datasets"] if row["signal"] == signal] for signal in signals}


def _of_planned(table: dict[str, Any]) -> str:
    return f"{len(table['datasets'])} of the {len(planted.LADDER) * planted.DATASETS} planned data sets"


def _planned(table: dict[str, Any]) -> str:
    """How many of the planned data sets there are, in words."""
    there, (steps, each) = len(table["datasets"]), (len(planted.LADDER), planted.DATASETS)
    design = f"{steps} steps x {each}"
    nulls = "each gives one null and one step of the ladder"
    if there >= steps * each:
        return f"All {steps * each} planned data sets are there ({design}); {nulls}."
    counts = sorted({len(_steps(table).get(signal, [])) for signal in planted.LADDER})
    per_step = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    return f"**Partial.** {_of_planned(table)} are there ({design}; so far {per_step} per step); {nulls}."


def _times(rows: Sequence[dict[str, Any]], kind: str, place: int, word: str) -> int:
    return sum(row[kind][place] == word for row in rows)


def _effect(rows: Sequence[dict[str, Any]], better: str, worse: str) -> float:
    """The mean over data sets of the relative effect."""
    return float(np.mean([np.mean(row[better]) / np.mean(row[worse]) - 1 for row in rows]))


def _pipeline_table(table: dict[str, Any]) -> Table:
    groups = [("TMFUN against itself", "null", "again", table["datasets"])]
    groups += [(f"content, signal {signal:g}", "content", "ids", rows) for signal, rows in _steps(table).items()]
    lines = []
    for title, kind, worse, rows in groups:
        for word in calibration.WORDS:
            found = [_times(rows, kind, i, word) for i in range(len(table["verdicts_with_seeds"]))]
            effect = Number(_effect(rows, "full", worse))
            lines.append(Row((title, str(len(rows)), effect, word, *(_number(n, len(rows)) for n in found))))
    columns = (
        Column("claim"),
        Column("data sets"),
        Column("mean effect", 1, signed=True, percent=True),
        Column("verdict"),
        *(_rate_column(f"{n} seeds") for n in table["verdicts_with_seeds"]),
    )
    caption = (
        "The whole pipeline on synthetic data sets: how often a claim got a verdict, by seeds; 95 % Wilson intervals."
    )
    notes = ("Mean effect: the relative effect on test Recall@20, mean over seeds, then over data sets.",)
    return Table("pipeline", caption, columns, tuple(lines), notes)


def _pipeline_figure(table: dict[str, Any]) -> Picture:
    rows, seeds = table["datasets"], table["verdicts_with_seeds"]

    def point(x: float, some: Sequence[dict[str, Any]], *what: Any) -> tuple[float, float, float, float]:
        count = _times(some, *what)
        return (x, count / len(some), *wilson(count, len(some)))

    false = {w: [point(n, rows, "null", i, w) for i, n in enumerate(seeds)] for w in calibration.WORDS}
    power = {
        f"{n} seeds": [
            point(100 * _effect(some, "full", "ids"), some, "content", i, "supported")
            for some in _steps(table).values()
        ]
        for i, n in enumerate(seeds)
    }
    panels = [
        figures.Rates("TMFUN against itself: false verdicts", "seeds", false, level=LEVEL, ticks=tuple(seeds)),
        figures.Rates('Content helps: "supported"', "mean effect of the step, %", power),
    ]
    text = "How often the pipeline is wrong under the null, and how often it finds a planted effect"
    text += "" if len(rows) >= len(planted.LADDER) * planted.DATASETS else f" (partial: {_of_planned(table)})"
    note = (
        f"{len(rows)} synthetic data sets in all. Bars: 95 % Wilson intervals over data sets. Dotted: 5 %. With fewer"
        f" than {fewest_seeds(1)} seeds there is no verdict but inconclusive, by construction."
    )
    return Picture("pipeline", f"{text}. {note}", figures.rates(panels, text, note))


# -- words ------------------------------------------------------------------------------------------------------------


def _rate_column(title: str) -> Column:
    return Column(title, 1, interval=True, percent=True, skewed=True)


def _number(count: int, of: int) -> Number:
    return Number(count / of, *wilson(count, of))


def _rate(count: int, of: int) -> str:
    low, high = wilson(count, of)
    return f"{count / of:.1%} ({count} of {of:,}; {low:.1%} to {high:.1%})"


def _whether(is_so: bool, words: str) -> str:
    return f"{words}." if is_so else f"**Not so: {words.lower()}.**"
