"""Selection: what searches chose, what choosing on test would have claimed, and what a smaller search would find."""

import math
from collections.abc import Sequence
from typing import Any

from ablations.planning import Plan
from ablations.search import expected, unequal
from ablations.specification import Specification
from reports import figures
from reports.contents import MAIN, NONE, context, notes_on, proxy_words
from reports.numbers import OnDataset, Result, counted, metric_title
from reports.parts import Picture, Section
from reports.tables import Column, Number, Row, Table

MOST_COLUMNS = 8  # search sizes that a table shows

PROSE = """\
Settings were searched on validation alone; of points with equal means the first in the grid's order is taken. The
*selection gap* is what choosing on test would have added, as the field's most used toolkit chooses: by so much would
such a result be too good. Below it, what fewer points would have found: the expected test score of the point that
validation chooses from n points, drawn without replacement from the grid. Where lines cross, the order of the models
depends on how long was searched, as far as chance lets one see it."""
CROSSINGS, GAP = "places and crossings may be chance", "a selection gap is noise plus gap"


def section(plan: Plan, groups: Sequence[OnDataset]) -> Section | None:
    """The part of the page on selection; None if nothing was searched."""
    with_grid = [group for group in groups if searched(group)]
    if not with_grid:
        return None
    ladders = {group: _ladders(group) for group in with_grid}
    climbed = [group for group in with_grid if ladders[group]]
    items: tuple[Table | Picture, ...] = (
        *map(selection, with_grid),
        *(search_size(group, ladders[group]) for group in climbed),
        *(_picture(group, ladders[group]) for group in climbed),
    )
    folded = (*(search_size(group, ladders[group], "validation") for group in climbed), *map(grid, with_grid))
    words = unequal(plan)
    warning = [f"**Unequal search.** {words}"] if words else []
    chance = _one_seed([result for group in with_grid for result in searched(group)], f"{CROSSINGS}, and {GAP}")
    return Section("Selection", "\n\n".join([*warning, PROSE, *chance]), items, folded)


def searched(group: OnDataset) -> list[Result]:
    """The entries that have a grid."""
    return [result for result in group.results if result.searched]


def selection(group: OnDataset) -> Table:
    """What the search over a grid chose, and what choosing on test would have claimed."""
    rows = []
    for result in searched(group):
        cell, store = result.cell, result.store
        winner = cell.winner(store)
        tried = f"{len(cell.grid)} points, {counted([len(cell.entry.grid_seeds)])}"
        if winner is None:
            done = sum(run.run_id in store for run in cell.candidates())
            waiting = f"waits for the search: {done} of {len(cell.candidates())} runs have records"
            rows.append(Row((result.title, tried, "–", NONE, "–", NONE, NONE, NONE), (waiting,)))
            continue
        on_test = [grid_score(result, point, MAIN, "test") for point in cell.grid]
        best = max(range(len(on_test)), key=lambda i: (on_test[i], i == winner))
        gap = on_test[best] - on_test[winner]
        points = cell.entry.points
        relative = gap / on_test[winner] if on_test[winner] else math.nan
        cells = (_point(points[winner]), Number(on_test[winner]), _point(points[best]), Number(on_test[best]))
        rows.append(Row((result.title, tried, *cells, Number(gap), Number(relative)), notes_on(result)))
    columns = (
        Column("model"),
        Column("search"),
        Column("chosen on validation", width=4),
        Column("test Recall@20, chosen", 4),
        Column("best on test", width=4),
        Column("test Recall@20, best", 4),
        Column("selection gap", 4, signed=True),
        Column("relative gap", 1, signed=True, percent=True),
    )
    caption = (
        f"Selection on {group.label}: the grid point chosen on validation beside the one that choosing on test would"
        f" have taken, test Recall@20 of both, means over the grid seeds; {group.protocol}."
    )
    notes = (
        "Selection gap: by how much a result chosen on test would have been too good. Of equal points the first is"
        " chosen.",
        *_one_seed(searched(group), f"{GAP}, as chance never makes it negative"),
    )
    return Table(f"selection-{group.slug}", caption, columns, tuple(rows), notes, context(group))


def grid(group: OnDataset) -> Table:
    """Every point of every search."""
    rows = []
    for result in searched(group):
        winner = result.cell.winner(result.store)
        metric = result.cell.entry.training.select_by
        for i, (point, runs) in enumerate(zip(result.cell.entry.points, result.cell.grid, strict=True)):
            done = [run for run in runs if run.run_id in result.store]
            cells = (
                result.title,
                _point(point),
                metric_title(metric),
                Number(grid_score(result, done, metric, "validation")),
                Number(grid_score(result, done, MAIN, "test")),
                str(len(runs)) if len(done) == len(runs) else f"{len(done)} of {len(runs)}",
                "chosen" if i == winner else "",
            )
            rows.append(Row(cells, notes_on(result, runs=done)))
    columns = (
        Column("model"),
        Column("point"),
        Column("selected by"),
        Column("validation", 4),
        Column("test Recall@20", 4),
        Column("grid seeds"),
        Column("winner"),
    )
    caption = f"Every grid point tried on {group.label}: means over the grid seeds; {group.protocol}."
    return Table(f"grid-{group.slug}", caption, columns, tuple(rows), (), context(group))


Ladder = list[tuple[float, float]]  # expected validation and test score, by the number of points tried


def search_size(group: OnDataset, ladders: dict[Result, Ladder], split: str = "test") -> Table:
    """The expected score of the chosen point, by the number of points tried."""
    part = 1 if split == "test" else 0
    most = max(len(ladder) for ladder in ladders.values())
    sizes = _sizes(most)
    shared = min(len(ladder) for ladder in ladders.values())
    best = {n: max(ladder[n - 1][part] for ladder in ladders.values() if len(ladder) >= n) for n in sizes}
    rows = []
    for result, ladder in ladders.items():
        numbers = [
            Number(value := ladder[n - 1][part], best=value == best[n]) if n <= len(ladder) else NONE for n in sizes
        ]
        places = [str(_place(result, ladders, n, part)) for n in (1, shared)]
        rows.append(Row((result.title, *numbers, *places), notes_on(result)))
    metric = MAIN if split == "test" else _metric(ladders)
    columns = (
        Column("model"),
        *(Column(f"{n} point{'s' if n > 1 else ''}", 4) for n in sizes),
        Column("place with 1"),
        Column(f"place with {shared}"),
    )
    what = (
        f"test {metric_title(metric)} of the point chosen on validation"
        if split == "test"
        else f"best validation {metric_title(metric)}"
    )
    text = (
        f"Search size on {group.label}: expected {what}, by the number of grid points tried at random without"
        f" replacement; means over the grid seeds; {group.protocol}; {counted(_grid_seeds(ladders))}."
    )
    notes = (
        "Bold: the largest of the column. Place: among these models, by the expectation.",
        *_one_seed(list(ladders), CROSSINGS),
    )
    name = f"search-size{'' if split == 'test' else '-validation'}-{group.slug}"
    return Table(name, text, columns, tuple(rows), notes, context(group))


def _ladders(group: OnDataset) -> dict[Result, Ladder]:
    """Of each model (not of its variants) whose search is done: what it is expected to find, by its size."""
    found = {}
    for result in group.compared:
        if not result.searched or result.cell.winner(result.store) is None:
            continue
        metric = result.cell.entry.training.select_by
        scores = [
            [grid_score(result, point, which, split) for point in result.cell.grid]
            for which, split in ((metric, "validation"), (MAIN, "test"))
        ]
        found[result] = expected(*scores)
    return found


def _picture(group: OnDataset, ladders: dict[Result, Ladder]) -> Picture:
    full = group.full
    panels = [
        (
            f"{what} {metric_title(metric)}",
            [figures.Line(range(1, len(ladder) + 1), [point[part] for point in ladder]) for ladder in ladders.values()],
        )
        for what, metric, part in (("best validation", _metric(ladders), 0), ("test", MAIN, 1))
    ]
    text = "What a search of a given size is expected to find"
    words = proxy_words(list(ladders))
    seeds = f"grids searched with {counted(_grid_seeds(ladders))}"
    behind = "; ".join([f"{group.label}, {seeds}", group.protocol, *([words] if words else [])])
    note = (
        "Expectation over all sets of so many grid points, drawn without replacement; left: the best validation score"
        " among them; right: the test score of that point. No test score chooses."
        + "".join(f" {words}" for words in _one_seed(list(ladders), CROSSINGS))
    )
    names = [result.title for result in ladders]
    strong = names.index(full.title) if full in ladders else None
    figure = figures.ladders(panels, names, text, behind, "grid points tried", note, strong)
    return Picture(f"search-size-{group.slug}", f"{text}. {behind}.", figure)


def _metric(ladders: dict[Result, Ladder]) -> str:
    return next(iter(ladders)).cell.entry.training.select_by


def _grid_seeds(ladders: dict[Result, Ladder]) -> list[int]:
    """How many grid seeds stand behind the lines; what only counts needs one."""
    counts = {len(result.cell.entry.grid_seeds) for result in ladders if result.cell.entry.seeded}
    return sorted(counts or {1})


def _one_seed(results: Sequence[Result], words: str) -> tuple[str, ...]:
    """What one grid seed leaves open of the numbers beside these words; nothing where all points have more."""
    one = any(len(result.cell.entry.grid_seeds) == 1 for result in results if result.cell.entry.seeded)
    return (f"Each grid point was trained with one seed: {words}.",) if one else ()


def _place(result: Result, ladders: dict[Result, Ladder], n: int, part: int) -> int:
    """The place of an entry among all, with n points; equal scores share the better place."""
    own = ladders[result][n - 1][part]
    return 1 + sum(ladder[n - 1][part] > own for ladder in ladders.values())


def _sizes(most: int) -> list[int]:
    """Search sizes to show: all, or about as many as fit, 1 and the largest among them."""
    if most <= MOST_COLUMNS:
        return list(range(1, most + 1))
    return sorted({round(most ** (i / (MOST_COLUMNS - 1))) for i in range(MOST_COLUMNS)})


def grid_score(result: Result, runs: Sequence[Specification], metric: str, split: str) -> float:
    """The mean of a metric over the runs of a grid point; nan if there are none."""
    scores = [result.store.metric(run.run_id, metric, split) for run in runs]
    return sum(scores) / len(scores) if scores else math.nan


def _point(point: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in point.items())
