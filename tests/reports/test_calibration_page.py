"""The page of the calibration: its rates are those of the counts, and a requirement that is not met is said."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from matplotlib.patches import Rectangle

from ablations import calibration, planted
from ablations.verdicts import RULES
from reports.calibration_page import _statistics_figure, files


def statistics(**changes: int) -> dict[str, Any]:
    """1,000 studies per row in which everything is in order, but for `changes` in the null's rows."""
    good = {"relative_effect": 0.01, "alone_supported": 20, "alone_contradicted": 20, "family_supported": 10}
    good |= {"family_contradicted": 10, "covered": 950, "crossed_covered": 960, "equivalent": 20}
    rows = [
        {"scenario": name, "seeds": seeds, **good, **(changes if name == "null" else {})}
        for name in calibration.SCENARIOS
        for seeds in calibration.SEEDS
    ]
    return {"schema": 1, "seed": 1, "studies": 1000, "family": 4, "users": 200, "rules": RULES, "rows": rows}


def pipeline(each: int = 10) -> dict[str, Any]:
    """So many data sets per step; content is supported on as many of them as the signal says."""
    table = planted._empty()
    for signal in planted.LADDER:
        for seed in range(each):
            word = "supported" if seed < each * signal else "inconclusive"
            scores = {"full": [0.5 + signal / 10] * 10, "again": [0.5] * 10, "ids": [0.5] * 10}
            row = {"signal": signal, "seed": seed, **scores, "null": ["inconclusive"] * 4, "content": [word] * 4}
            table["datasets"].append(row)
    return table


@pytest.fixture
def page(tmp_path: Path, undrawn: None) -> Any:
    """The files of the page, of one part or both."""

    def build(**parts: dict[str, Any]) -> dict[str, str]:
        for name, table in parts.items():
            calibration.write(tmp_path / f"{name}.json", table, "rows" if name == "statistics" else "datasets")
        return {name: content.decode() for name, content in files(tmp_path).items()}

    return build


def rows(written: dict[str, str], table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(written[f"tables/{table}.csv"])))


def test_rates_come_with_wilson_intervals(page: Any) -> None:
    written = page(statistics=statistics())
    assert len(rows(written, "statistics")) == 12
    for row in rows(written, "statistics"):
        assert float(row["supported"]) == 0.02
        interval = float(row["supported low"]), float(row["supported high"])
        assert interval == pytest.approx(calibration.wilson(20, 1000))
        assert float(row["coverage, crossed interval"]) == 0.96
    assert {row["false no effect"] for row in rows(written, "statistics") if row["truth"] == "no effect"} == {""}
    assert "2.0 % [1.3, 3.1]" in written["tables/statistics.md"]


def test_what_is_not_as_it_must_be_is_said(page: Any) -> None:
    assert "Not so" not in page(statistics=statistics())["README.md"]
    assert page(statistics=statistics(alone_supported=90))["README.md"].count("**Not so: the interval reaches") == 1
    assert page(statistics=statistics(covered=900))["README.md"].count("**Not so: that is within 93") == 1


def test_the_ladder_shows_power_over_the_effect(page: Any) -> None:
    written = page(pipeline=pipeline())
    found = [row for row in rows(written, "pipeline") if row["verdict"] == "supported"]
    assert [float(row["10 seeds"]) for row in found] == [0, *planted.LADDER]
    assert [float(row["mean effect"]) for row in found[1:]] == pytest.approx([s / 5 for s in planted.LADDER])
    assert "at most 0.0% (0 of 60" in written["README.md"] and "signal 0: 0.0% (0 of 10" in written["README.md"]


def test_the_page_shows_what_there_is(page: Any) -> None:
    assert "The whole pipeline" not in page(statistics=statistics())["README.md"]
    both = page(statistics=statistics(), pipeline=pipeline())
    assert both["README.md"].index("## The statistics") < both["README.md"].index("## The whole pipeline")
    assert {name for name in both if name.startswith("figures/")} == {
        f"figures/{part}.{kind}" for part in ("statistics", "pipeline") for kind in ("png", "pdf")
    }
    assert 'False "supported", no effect' in both["figures/statistics.png"]


def test_a_part_of_the_pipeline_is_called_so(page: Any) -> None:
    part = page(pipeline=pipeline())["README.md"]
    assert "**Partial.** 60 of the 300 planned data sets are there (6 steps x 50; so far 10 per step)" in part
    assert "60 of the 300" in page(pipeline=pipeline())["figures/pipeline.png"]
    whole = page(pipeline=pipeline(50))["README.md"]
    assert "Partial" not in whole and "All 300 planned data sets are there (6 steps x 50)" in whole


@pytest.mark.parametrize(("each", "judged"), [(10, False), (33, False), (34, True)])
def test_below_200_nulls_no_word_on_5_percent(page: Any, each: int, judged: bool) -> None:
    text = page(pipeline=pipeline(each))["README.md"]
    assert ("reaches 5 %" in text) == judged
    assert ("fewer than 200 nulls" in text) == (not judged)


def test_what_the_null_does_not_go_through_is_said(page: Any) -> None:
    text = page(pipeline=pipeline())["README.md"]
    for words in ("no grid", "no control", "no claim file", "a family of one"):
        assert words in text


def test_the_figure_of_the_statistics() -> None:
    """Legends beside the data, ticks where there are points, the band where there is such a criterion."""
    figure = _statistics_figure(statistics()).figure
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert axes.get_xticks().tolist() == [3, 6, 8, 10]
        legend, data = axes.get_legend().get_window_extent(), axes.get_window_extent()
        assert legend.y1 < data.y0 or legend.y0 > data.y1
    bands = [[patch for patch in axes.patches if isinstance(patch, Rectangle)] for axes in figure.axes]
    assert list(map(len, bands)) == [0, 1, 0]
    note = figure.get_supxlabel().replace("\n", " ")
    assert "With fewer than 6 seeds a claim alone, with fewer than 8 a family of 4, cannot be supported" in note
