"""Searches, controls and interpretations in a report, against the ranks and against brute force."""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ablations import claims
from ablations.claims import Side, chosen
from ablations.outcomes import findings
from ablations.search import unequal
from reports import figures
from reports.report import write_report

Make = Callable[..., SimpleNamespace]

SEARCH = """
title = "Search"
datasets = ["toy"]
seeds = 1
[models.tmfun]
variants = ["full"]
grid = { l2 = [1e-4, 1e-3, 1e-2], layers = [1, 2] }
[models.lightgcn]
grid = { l2 = [1e-4, 1e-3, 1e-2], layers = [1, 2] }
[models.vbpr]
grid = { l2 = [1e-4, 1e-3, 1e-2] }
[models.item-knn]
"""
CONTROLS = """
title = "Controls"
datasets = ["toy"]
seeds = 7
claims = ["own-content", "attention-fusion", "content-helps", "contrastive-loss"]
[models.tmfun]
variants = ["full", "no-attention", "no-contrastive", "id-only", "noise"]
[models.lattice]
controls = ["items-permuted"]
[models.lightgcn]
controls = ["items-permuted"]
"""
READINGS = """
title = "Interpretations"
datasets = ["toy"]
seeds = 2
claims = ["attention-fusion", "item-graph-beside-modality-graph", "item-graph-helps-lightgcn"]
[models.tmfun]
variants = ["full", "no-attention", "only-modality-graph"]
interpretations = ["edge_weights=binary", "item_graph=concatenated", "heads=4"]
[models.lattice]
[models.lightgcn]
"""


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "tables" / f"{table}.csv").read_text())))


def report(made: SimpleNamespace, tmp_path: Path) -> Path:
    return write_report(made.plan, made.store, tmp_path / "report")[0]


@pytest.fixture(scope="module")
def search(make: Make) -> SimpleNamespace:
    return make(SEARCH)


@pytest.fixture(scope="module")
def controlled(make: Make) -> SimpleNamespace:
    return make(CONTROLS.replace('"noise"]', '"noise"]\ncontrols = ["items-permuted"]'))


@pytest.fixture(scope="module")
def readings(make: Make) -> SimpleNamespace:
    return make(READINGS)


# -- searches


@pytest.mark.parametrize("split", ["validation", "test"])
def test_search_size_is_the_mean_over_all_smaller_searches(
    split: str, search: SimpleNamespace, undrawn: None, tmp_path: Path
) -> None:
    folder = report(search, tmp_path)
    shown = {row["model"]: row for row in rows(folder, f"search-size{'' if split == 'test' else '-validation'}-toy")}
    cells = {cell.entry.title: cell for cell in search.plan.cells if cell.grid}
    assert set(shown) == set(cells) == {"TMFUN (full)", "LightGCN", "VBPR"}
    for title, cell in cells.items():
        scores = {
            s: [np.mean(search.store.arrays(r.run_id)[s] <= 20) for (r,) in cell.grid] for s in ("validation", split)
        }
        for tried in range(1, len(cell.grid) + 1):
            taken = [
                max(subset, key=lambda i: (scores["validation"][i], -i))
                for subset in combinations(range(len(cell.grid)), tried)
            ]
            wanted = np.mean([scores[split][i] for i in taken])
            point = f"{tried} point{'s' if tried > 1 else ''}"
            assert float(shown[title][point]) == pytest.approx(wanted)
    assert shown["VBPR"]["4 points"] == "", "it has three"
    for n in (1, 3):
        values = {title: float(row[f"{n} point{'s' if n > 1 else ''}"]) for title, row in shown.items()}
        for title, row in shown.items():
            assert int(row[f"place with {n}"]) == 1 + sum(other > values[title] for other in values.values())


def test_sides_with_settings_of_a_claims_own_stand_in_verdict_and_selection_alone(
    make: Make, undrawn: None, tmp_path: Path
) -> None:
    text = SEARCH.replace("seeds = 1", 'seeds = 7\nclaims = ["searched-contrast"]')
    text = text.replace('["full"]', '["full", "no-contrastive"]\ncontrols = ["items-permuted"]')
    made = make(text)
    folder = report(made, tmp_path)
    (claim,) = chosen(["searched-contrast"])
    better, worse = claim.better, claim.worse
    (verdict,) = rows(folder, "verdicts")
    cells = {cell.entry.name: cell for cell in made.plan.cells}
    means = [
        np.mean([np.mean(made.store.arrays(run.run_id)["test"] <= 20) for run in cells[side].final(made.store)])
        for side in (better, worse)
    ]
    assert float(verdict["relative effect"]) == pytest.approx(means[0] / means[1] - 1)
    assert verdict["under permuted content"], "the study's controls are laid over these sides, too"
    searched = [row["model"] for row in rows(folder, "selection-toy")]
    assert sum("contrast_weight=0.003|0.03|0.3" in model for model in searched) == 2, "and under the control"
    for table in ("ablation-toy", "comparison-toy", "cost-toy", "controls-toy"):
        assert "{" not in (folder / "tables" / f"{table}.md").read_text()


def test_unequal_searches_are_warned_of(search: SimpleNamespace, undrawn: None, tmp_path: Path) -> None:
    page = (report(search, tmp_path) / "README.md").read_text()
    assert "**Unequal search.** Search sizes differ, in grid points: 1 for item-knn; 3 for vbpr; 6 for full," in page
    assert "with 1 seed" in page and page.index("**Unequal search.**") > page.index("## Selection")


def test_a_verdict_says_that_its_sides_were_not_searched_alike(
    make: Make, undrawn: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (claim,) = chosen(["contrastive-loss"])
    side = Side("full", grid={"l2": (0.001, 0.1), "heads": (1, 2)})
    uneven = replace(claim, name="uneven", better=side.name, own_sides=(side,))
    monkeypatch.setattr(claims, "read_claims", lambda: {"contrastive-loss": claim, "uneven": uneven})
    text = SEARCH.replace("seeds = 1", 'seeds = 2\nclaims = ["contrastive-loss", "uneven"]')
    text = text.replace('["full"]', '["full", "no-contrastive"]')
    made = make(text)
    found = {each.claim.name: each for each in findings(made.plan, made.store)}
    assert found["contrastive-loss"].searched == (6, 6) and not found["contrastive-loss"].unequal
    assert found["uneven"].searched == (4, 6) == tuple(found["uneven"].to_json()["search_sizes"])
    words = "unequal search: 4 grid points for the better side, 6 for the worse"
    assert found["uneven"].unequal == words
    folder = report(made, tmp_path)
    assert (folder / "tables" / "verdicts.md").read_text().count(words) == 1
    assert side.name not in unequal(made.plan), "what a claim brings is the claim's to compare"


def test_a_search_figure_names_every_model(search: SimpleNamespace, undrawn: None, tmp_path: Path) -> None:
    drawn = (report(search, tmp_path) / "figures" / "search-size-toy.png").read_text()
    assert all(title in drawn for title in ("TMFUN (full)", "LightGCN", "VBPR", "proxy features: image"))


def test_of_many_models_a_search_figure_names_the_best_and_says_who_is_below() -> None:
    lines = [figures.Line((1, 2, 3), (0.06 + i / 1000, 0.0605 + i / 1000, 0.061 + i / 1000)) for i in range(10)]
    lines += [figures.Line((1, 2, 3), (0.020, 0.025, 0.03))]
    names = [f"model {i}" for i in range(10)] + ["far below"]
    figure = figures.ladders([("validation", lines), ("test", lines)], names, "title", "behind", "points", "Note.", 2)
    left, right = figure.axes
    assert [text.get_text() for text in right.texts] == [
        "model 2",
        "model 5",
        "model 6",
        "model 7",
        "model 8",
        "model 9",
    ]
    colours = [line.get_color() for line in right.lines if line.get_color() != figures.PALE]
    assert len(set(colours)) == 6, "no colour twice"
    note = figure.get_supxlabel().replace("\n", " ")
    assert "Grey: model 0, model 1, model 3, model 4." in note
    assert "Too low to be shown (test): far below 0.03." in note
    assert all(0.055 < axes.get_ylim()[0] < 0.06 for axes in (left, right)), "one outlier does not flatten the rest"
    assert figure.get_suptitle().strip() == "title" and "behind" in [text.get_text() for text in figure.texts]


def test_numbers_of_one_grid_seed_come_with_a_warning(
    make: Make, search: SimpleNamespace, undrawn: None, tmp_path: Path
) -> None:
    folder = report(search, tmp_path)
    assert "noise plus gap" in (folder / "tables" / "selection-toy.md").read_text()
    for name in ("search-size-toy", "search-size-validation-toy"):
        assert "crossings may be chance" in (folder / "tables" / f"{name}.md").read_text()
    assert "crossings may be chance" in (folder / "README.md").read_text()


def test_long_grids_show_some_sizes_and_always_the_first_and_last() -> None:
    from reports.selection import _sizes

    for most in range(1, 200):
        sizes = _sizes(most)
        assert sizes[0] == 1 and sizes[-1] == most and len(sizes) <= 8 and sizes == sorted(set(sizes))


# -- controls


def test_controls_stand_apart_from_parts_and_competitors(
    controlled: SimpleNamespace, undrawn: None, tmp_path: Path
) -> None:
    folder = report(controlled, tmp_path)
    shown = {row["model under a control"]: row for row in rows(folder, "controls-toy")}
    assert set(shown) == {
        "TMFUN, content is noise", "TMFUN, items permuted", "no attention fusion, items permuted",
        "no contrastive loss, items permuted", "ID only (= LightGCN), items permuted", "LATTICE, items permuted",
        "LightGCN, items permuted", "no attention fusion, content is noise",
    } - {"no attention fusion, content is noise"}  # fmt: skip
    assert [row["variant"] for row in rows(folder, "ablation-toy")] == [
        "TMFUN (full)", "no attention fusion", "no contrastive loss", "ID only (= LightGCN)",
    ]  # fmt: skip
    assert [row["model"] for row in rows(folder, "comparison-toy")] == ["TMFUN (full)", "LATTICE", "LightGCN"]
    skipped = shown["LightGCN, items permuted"]
    assert skipped["seeds"] == "skipped" and "reads no content" in skipped["notes"]
    cells = {cell.entry.name: cell for cell in controlled.plan.cells}
    plain, under = (
        [np.mean(controlled.store.arrays(r.run_id)["test"] <= 20) for r in cells[name].final(controlled.store)]
        for name in ("lattice", "lattice[items-permuted]")
    )
    row = shown["LATTICE, items permuted"]
    assert float(row["Recall@20, content as it is"]) == pytest.approx(np.mean(plain))
    assert float(row["Recall@20, under the control"]) == pytest.approx(np.mean(under))
    assert float(row["Recall@20 relative change"]) == pytest.approx(np.mean(under) / np.mean(plain) - 1)


def test_the_controls_figure_shows_what_was_run_the_largest_loss_first(
    controlled: SimpleNamespace, undrawn: None, tmp_path: Path
) -> None:
    folder = report(controlled, tmp_path)
    drawn = (folder / "figures" / "controls.png").read_text()
    shown = {r["model under a control"]: r["Recall@20 relative change"] for r in rows(folder, "controls-toy")}
    assert "skipped" not in drawn and "LightGCN, items permuted" not in drawn.replace("(= LightGCN), items", "")
    order = sorted((title for title, change in shown.items() if change), key=lambda title: float(shown[title]))
    places = [drawn.index(title) for title in order]
    assert len(order) == 5 and places == sorted(places)


def test_verdicts_say_what_becomes_of_a_gain_under_permuted_content(
    controlled: SimpleNamespace, undrawn: None, tmp_path: Path
) -> None:
    folder = report(controlled, tmp_path)
    words = {row["claim"].rpartition("(")[2]: row["under permuted content"] for row in rows(folder, "verdicts")}
    assert words["own-content)"].startswith("does not apply"), "there is nothing to permute in a control"
    assert "7 seeds: at least in part not a content effect; a part of the gain survives" in words["attention-fusion)"]
    headline = next(
        line for line in (folder / "README.md").read_text().splitlines() if "Attention fusion helps" in line
    )
    assert headline.startswith("- **supported, at least in part not a content effect**: ")
    assert words["contrastive-loss)"].endswith("no gain that could survive")
    page = (folder / "README.md").read_text()
    assert "- **items permuted**: every item has the content of another item." in page
    claims = {(row["claim"].rpartition("(")[2], row["control"]) for row in rows(folder, "controls-claims")}
    permuted = {(f"{name})", "items permuted") for name in ("attention-fusion", "content-helps", "contrastive-loss")}
    assert claims == permuted | {("content-helps)", "content is noise")}, "the full model was run on noise, too"


def test_without_controls_the_verdicts_have_no_such_column(
    readings: SimpleNamespace, undrawn: None, tmp_path: Path
) -> None:
    folder = report(readings, tmp_path)
    assert "under permuted content" not in rows(folder, "verdicts")[0]
    assert "## Controls" not in (folder / "README.md").read_text()


# -- interpretations


def test_interpretations_have_a_figure_per_claim_and_a_sentence(
    readings: SimpleNamespace, undrawn: None, tmp_path: Path
) -> None:
    folder = report(readings, tmp_path)
    page = (folder / "README.md").read_text()
    (attention, graph) = (line for line in page.splitlines() if "**holds in " in line)
    assert "*attention-fusion* on toy: **holds in " in attention and " of 4 by the mean" in attention
    assert " of 4 by the mean" in graph and "left out" not in graph
    assert "2 seeds each; proxy features" in attention
    assert "by the mean over seeds; signs, no intervals**" in attention and "leaves 0 out" not in attention
    drawn = (folder / "figures" / "interpretations-attention-fusion-toy.png").read_text()
    assert re.match(r"attention-fusion: holds in \d of 4 by the mean over seeds ", drawn)
    assert "2 seeds each: signs, no intervals" in drawn
    of = {row["interpretation"]: row["notes"] for row in rows(folder, "interpretations") if "graph" in row["claim"]}
    assert "only-modality-graph stays as it is" in of["item_graph=concatenated"] and "stays" not in of["heads=4"]
    assert all(name in drawn for name in ("default", "edge_weights=binary", "heads=4", "item_graph=concatenated"))
    assert not list(folder.glob("figures/interpretations-item-graph-helps-lightgcn*")), "no side of it is TMFUN"


def test_the_effects_are_those_of_the_ranks_largest_first(
    readings: SimpleNamespace, undrawn: None, tmp_path: Path
) -> None:
    folder = report(readings, tmp_path)
    cells = {cell.entry.name: cell for cell in readings.plan.cells}
    shown = [row for row in rows(folder, "interpretations") if row["claim"] == "attention-fusion"]
    effects = [float(row["relative effect"]) for row in shown]
    assert effects == sorted(effects, reverse=True) and len(shown) == 4
    for row in shown:
        mark = "" if row["interpretation"] == "default" else f"[{row['interpretation']}]"
        full, without = (
            np.mean(
                [
                    np.mean(readings.store.arrays(r.run_id)["test"] <= 20)
                    for r in cells[f"{side}{mark}"].final(readings.store)
                ]
            )
            for side in ("full", "no-attention")
        )
        assert float(row["relative effect"]) == pytest.approx(full / without - 1)
    (summary, _) = rows(folder, "interpretations-summary")
    assert summary["holds in"] == f"{sum(effect >= 0.01 for effect in effects)} of 4"
    assert summary["reversed"] == str(sum(effect <= -0.01 for effect in effects))


def test_interpretations_stay_out_of_the_other_tables(readings: SimpleNamespace, undrawn: None, tmp_path: Path) -> None:
    folder = report(readings, tmp_path)
    for table in ("ablation-toy", "comparison-toy", "cost-toy"):
        assert "edge_weights" not in (folder / "tables" / f"{table}.md").read_text()


def test_an_unfinished_multiverse_says_what_is_missing(make: Make, undrawn: None, tmp_path: Path) -> None:
    made = make(READINGS, keep=lambda run: run.settings.get("edge_weights") != "binary")
    folder = report(made, tmp_path)
    page = (folder / "README.md").read_text()
    assert "no records yet on both sides under 1" in page and "cannot be run here:" not in page
    missing = [row for row in rows(folder, "interpretations") if row["interpretation"] == "edge_weights=binary"]
    assert all("no records of TMFUN (full)" in row["the claim"] for row in missing) and len(missing) == 2
    empty = make(READINGS, keep=lambda run: False)
    assert "no records yet" in (write_report(empty.plan, empty.store, tmp_path / "empty")[0] / "README.md").read_text()


def test_intervals_are_counted_from_three_seeds_on(make: Make, undrawn: None, tmp_path: Path) -> None:
    folder = report(make(READINGS.replace("seeds = 2", "seeds = 3")), tmp_path)
    shown = [row for row in rows(folder, "interpretations") if row["claim"] == "attention-fusion"]
    holding = [row for row in shown if float(row["relative effect"]) >= 0.01]
    settled = sum(float(row["relative effect low"]) > 0 for row in holding)
    words = f"in {settled} of them the 95 % interval leaves 0 out**"
    sentence = f"**holds in {len(holding)} of 4 by the mean over seeds; {words}"
    assert sentence in (folder / "README.md").read_text()
    drawn = (folder / "figures" / "interpretations-attention-fusion-toy.png").read_text()
    assert f"3 seeds each: {words.removesuffix('**')}" in drawn


def test_an_interpretation_that_cannot_be_run_on_the_data_set_is_not_waited_for(
    make: Make, undrawn: None, tmp_path: Path
) -> None:
    six = READINGS.replace("interpretations =", "set = { dimension = 6 }\ninterpretations =")
    folder = report(make(six), tmp_path)
    page = (folder / "README.md").read_text()
    assert "cannot be run here: heads=4 (4 heads do not divide 6 dimensions)" in page
    assert "no records yet on both sides" not in page
    found = [row for row in rows(folder, "interpretations") if row["interpretation"] == "heads=4"]
    assert [row["the claim"] for row in found] == ["cannot be run here: 4 heads do not divide 6 dimensions"] * 2
    for row in rows(folder, "interpretations-summary"):
        assert row["cannot be run here"] == "heads=4: 4 heads do not divide 6 dimensions"
        assert row["no records yet"] == "0" and row["holds in"].endswith(" of 3")


def test_an_interval_that_leaves_a_tight_panel_has_an_arrow_where_it_is_cut() -> None:
    rows = [figures.Dot("a", 0.1, -0.9, 0.15), figures.Dot("b", 0.05, 0.04, 0.06), figures.Dot("c", 0.08, -0.7, 0.9)]
    figure = figures.dots([(["basis"], rows)], "title", "x", "note", 0.01, tight=True)
    (axes,) = figure.axes
    ends = {line.get_marker(): [] for line in axes.lines if line.get_marker() in "<>"}
    for line in axes.lines:
        if line.get_marker() in ends:
            ends[line.get_marker()] += [(float(line.get_xdata()[0]), float(line.get_ydata()[0]))]
    low, high = axes.get_xlim()
    assert ends == {"<": [(low, 0.0), (low, 2.0)], ">": [(high, 2.0)]}


def test_figures_of_all_three_are_drawn(
    search: SimpleNamespace, controlled: SimpleNamespace, readings: SimpleNamespace, tmp_path: Path
) -> None:
    from ablations.controlled import survivals
    from ablations.multiverse import multiverses
    from reports import controls, multiverse, selection
    from reports.numbers import gather
    from reports.parts import Picture

    sections = []
    for made in (search, controlled, readings):
        groups = gather(made.plan, made.store)
        sections += [
            selection.section(made.plan, groups),
            controls.section(groups, survivals(made.plan, made.store)),
            multiverse.section(multiverses(made.plan, made.store), groups),
        ]
    pictures = [item for section in sections if section for item in section.items if isinstance(item, Picture)]
    assert len(pictures) == 1 + 1 + 2
    for picture in pictures:
        picture.figure.draw_without_rendering()
