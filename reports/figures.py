"""Drawing: from plain numbers to figures, and from figures to bytes. Nothing here knows studies or records."""

import io
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

COLUMNS = 3  # panels side by side
SHARE = 2 / 3  # of the lowest kept value: where a training panel may begin
WIDTH = 7.0  # inches: the text width of a page
# Of Okabe and Ito: apart for every kind of colour vision.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#767676"
OTHERS = (ORANGE, GREEN, "#AA4499", "#8A5A00", "#33A9C7")  # of lines with a name beside; BLUE is the strong one's
PALE = "#BDBDBD"  # of lines that are there to compare with
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "figure.titlesize": 9.5,
    "pdf.fonttype": 42,
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Dot:
    """One row of a dot plot: the mean, its interval (nan if none), the single seeds; or why there is nothing.

    A `hollow` dot is one that readers are warned of, a `strong` one the one to look at first.
    """

    label: str
    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    seeds: tuple[float, ...] = ()
    hollow: bool = False
    instead: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Line:
    """A curve: a single run's, with the point that was kept, or a mean."""

    x: Sequence[float]
    y: Sequence[float]
    kept: tuple[float, float] | None = None


@dataclass(frozen=True)
class Curves:
    """One panel of curves: the single seeds, their mean, and a curve to compare with."""

    title: str
    seeds: tuple[Line, ...]
    mean: Line
    reference: Line | None = None


@dataclass(frozen=True)
class Rates:
    """One panel of rates over x: lines of (x, rate, low, high) by name, a level and a band to compare with."""

    title: str
    x_label: str
    lines: Mapping[str, Sequence[tuple[float, float, float, float]]]
    level: float | None = None
    band: tuple[float, float] | None = None
    ticks: tuple[float, ...] = ()  # where x was measured; round numbers without


@contextmanager
def _style() -> Iterator[None]:
    """The same look whatever a user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    @wraps(draw)
    def styled(*arguments: Any, **options: Any) -> Figure:
        with _style():
            return draw(*arguments, **options)

    return styled


@_styled
def dots(
    panels: Sequence[tuple[list[str], Sequence[Dot]]],
    title: str,
    x_label: str,
    note: str,
    band: float | None = None,
    tight: bool = False,
) -> Figure:
    """Means with their intervals and single seeds, one row each, one panel per data set, with lines of title.

    With `band` the numbers are relative changes: there is a line at 0, and changes within the band are shaded. A
    `tight` figure shows all means; intervals much wider than these are cut off, with an arrow head at the cut end.
    """
    columns = min(len(panels), COLUMNS)
    names = [row.label if columns == 1 else textwrap.fill(row.label, 24) for row in panels[0][1]]
    beside = 0.06 * max(len(line) for name in names for line in name.split("\n"))  # inches
    width = (WIDTH - beside) / columns - 0.2
    row_height = 0.6 + 0.28 * max(len(rows) for _, rows in panels)
    figure, grid = _grid(len(panels), row_height, title, note, sharex=band is not None)
    for (lines, rows), axes in zip(panels, grid, strict=True):
        axes.set_title(_wrapped("\n".join(lines), width, 7.5), fontsize=7.5)
        if band is not None:
            axes.axvspan(-band, band, color=GREY, alpha=0.18, linewidth=0)
            axes.axvline(0, color="black", linewidth=0.8)
            axes.xaxis.set_major_formatter(FuncFormatter(_percent))
        for y, row in enumerate(rows):
            _dot(axes, y, row, width)
        if tight:
            axes.set_xlim(_around(rows, band or 0.0))
            _mark_cuts(axes, rows)
        axes.set_yticks(range(len(rows)), names, fontsize=8.5 if columns == 1 else 7.5, linespacing=0.95)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0, pad=7 if tight else 3.5)  # room for arrow heads
        axes.xaxis.set_major_locator(_ticks(max(4, 8 - 2 * columns)))
        axes.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.tick_params(axis="x", labelbottom=True)
        axes.set_xlabel(x_label)
    return figure


@_styled
def training(panels: Sequence[Curves], title: str, y_label: str, note: str) -> Figure:
    """Validation over epochs, one small panel per entry: on one pair of axes many entries would hide each other."""
    lines = [line for panel in panels for line in panel.seeds]
    floor = SHARE * min(line.kept[1] for line in lines if line.kept)
    below = any(min(line.y) < floor for line in lines)
    note += f" Values below {floor:.2g} are cut off." if below else ""
    figure, grid = _grid(len(panels), 1.8, title, note, sharex=True)
    for panel, axes in zip(panels, grid, strict=True):
        axes.set_title(_wrapped(panel.title, WIDTH / min(len(panels), COLUMNS) - 0.5))
        if panel.reference:
            axes.plot(panel.reference.x, panel.reference.y, color=GREY, linewidth=1.4, alpha=0.8)
        for line in panel.seeds:
            axes.plot(line.x, line.y, color=BLUE, linewidth=0.6, alpha=0.6)
            if line.kept:
                axes.plot(*line.kept, "o", color=ORANGE, markersize=3.2, zorder=3)
        axes.plot(panel.mean.x, panel.mean.y, color=BLUE, linewidth=1.6)
        axes.xaxis.set_major_locator(_ticks(5))
        axes.yaxis.set_major_locator(_ticks(6))
        axes.grid(color=GREY, alpha=0.2, linewidth=0.5)
        axes.set_xlabel("epoch")
        axes.tick_params(labelbottom=True)
    if below:
        grid[0].set_ylim(bottom=floor)  # shared: an early epoch near 0 would squeeze all that matters into a strip
    figure.supylabel(y_label, fontsize=8.5)
    return figure


@_styled
def rates(panels: Sequence[Rates], title: str, note: str) -> Figure:
    """Rates with their intervals, each panel on a scale of its own."""
    figure, grid = _grid(len(panels), 3.0, title, note, sharex=False, sharey=False)
    figure.set_layout_engine("constrained", h_pad=0.12)  # inches: legends are to keep off the note
    for panel, axes in zip(panels, grid, strict=True):
        axes.set_title(_wrapped(panel.title, WIDTH / len(panels) - 0.5))
        if panel.band:
            axes.axhspan(*panel.band, color=GREY, alpha=0.18, linewidth=0)
        if panel.level is not None:
            axes.axhline(panel.level, color="black", linewidth=0.8, linestyle=":")
        places = [x for line in panel.lines.values() for x, *_ in line]
        step = 0.012 * (max(places) - min(places))  # aside, so that equal rates do not hide each other
        for i, (name, line) in enumerate(panel.lines.items()):
            x, y, low, high = (np.array(column) for column in zip(*line, strict=True))
            aside = x + step * (i - (len(panel.lines) - 1) / 2)
            look: dict[str, Any] = {"color": (BLUE, ORANGE, GREEN, GREY)[i % 4], "marker": "osD^"[i % 4]}
            bars = np.maximum([y - low, high - y], 0)
            axes.errorbar(aside, y, bars, label=name, linewidth=1, elinewidth=0.8, markersize=3.5, **look)
        if panel.ticks:
            axes.set_xticks(panel.ticks)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}"))
        axes.grid(color=GREY, alpha=0.2, linewidth=0.5)
        axes.set_xlabel(panel.x_label)
        axes.set_ylabel("%")
        # below the axes: within, it would lie on some line or other
        axes.legend(fontsize=6.5, frameon=False, loc="upper left", bbox_to_anchor=(-0.03, -0.29), borderaxespad=0)
    return figure


@_styled
def ladders(
    panels: Sequence[tuple[str, Sequence[Line]]],
    names: Sequence[str],
    title: str,
    behind: str,
    x_label: str,
    note: str,
    strong: int | None = None,
) -> Figure:
    """The same lines by name in each panel, side by side: `strong` and the best of the last panel, the rest in grey.

    The last panel names the lines that have a colour, the note those in grey, and those that lie below a panel: few
    colours can be told apart, and a line far below the others would flatten all that is of interest.
    """
    last = panels[-1][1]
    best = sorted((i for i in range(len(names)) if i != strong), key=lambda i: -last[i].y[-1])[: len(OTHERS)]
    named = best if strong is None else [strong, *best]
    colours = {i: BLUE if i == strong else OTHERS[best.index(i)] for i in named}
    floors = [_floor(lines, named) for _, lines in panels]
    hidden = [
        sum(max(lines[i].y) < low for (_, lines), low in zip(panels, floors, strict=True)) for i in range(len(names))
    ]
    below = [i for i in range(len(names)) if hidden[i]]
    grey = [names[i] for i in range(len(names)) if i not in named and hidden[i] < len(panels)]
    note += f"\nGrey: {', '.join(grey)}." if grey else ""
    ends = [f"{names[i]} {last[i].y[-1]:.3g}" for i in below]
    note += f"\nToo low to be shown ({panels[-1][0]}): {', '.join(ends)}." if below else ""
    figure, grid = _grid(len(panels), 3.0, title, note, sharex=True, sharey=False, behind=behind)
    for place, ((what, lines), axes, low) in enumerate(zip(panels, grid, floors, strict=True)):
        axes.set_title(what)
        for i in sorted(range(len(lines)), key=lambda i: (i in named, i == strong)):  # what stands out lies on top
            width, marker = (2.0, 4.0) if i == strong else (1.2, 3.0) if i in named else (0.8, 0.0)
            look: dict[str, Any] = {"color": colours.get(i, PALE), "linewidth": width, "markersize": marker}
            axes.plot(lines[i].x, lines[i].y, "o-", **look)
        top = max(y for line in lines for y in line.y)
        axes.set_ylim(low - 0.05 * (top - low), top + 0.05 * (top - low))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.yaxis.set_major_locator(_ticks(6))
        axes.grid(color=GREY, alpha=0.2, linewidth=0.5)
        axes.set_xlabel(x_label)
        if place == len(panels) - 1:
            _name_ends(axes, lines, names, colours, strong)
    return figure


def rendered(figure: Figure) -> dict[str, bytes]:
    """The figure as PNG and PDF: the same bytes whenever and wherever it is drawn with one matplotlib."""
    files = {}
    with _style():
        for kind, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
            stream = io.BytesIO()
            figure.savefig(stream, format=kind, dpi=200, metadata=metadata)
            files[kind] = stream.getvalue()
    return files


def _dot(axes: Axes, y: float, row: Dot, width: float) -> None:
    if row.instead:
        text = _wrapped(row.instead, width, 7)
        place = axes.get_yaxis_transform()
        blank = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(0.02, y, text, transform=place, color="#505050", va="center", fontsize=7, bbox=blank, zorder=3)
        return
    if len(row.seeds) > 1:
        axes.plot(row.seeds, [y + 0.22] * len(row.seeds), "o", color=BLUE, alpha=0.35, markersize=3, markeredgewidth=0)
    colour = ORANGE if row.strong else BLUE
    if not math.isnan(row.low):
        axes.plot([row.low, row.high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
    axes.plot([row.mean], [y], "o", color=colour, markersize=5, markerfacecolor="white" if row.hollow else colour)


def _around(rows: Sequence[Dot], band: float) -> tuple[float, float]:
    """Limits that hold all means, the band, and as much again on both sides where an interval or a seed needs it."""
    means = [row.mean for row in rows if not row.instead]
    low, high = min(*means, -band), max(*means, band)
    ends = [end for row in rows for end in (row.low, row.high, *row.seeds) if not math.isnan(end)]
    margin = 0.05 * (high - low)
    return (
        max(low - (high - low), min([low, *ends])) - margin,
        min(high + (high - low), max([high, *ends])) + margin,
    )


def _mark_cuts(axes: Axes, rows: Sequence[Dot]) -> None:
    """An arrow head where an interval goes on beyond the panel."""
    left, right = axes.get_xlim()
    for y, row in enumerate(rows):
        look: dict[str, Any] = {"color": ORANGE if row.strong else BLUE, "markersize": 6, "clip_on": False, "zorder": 3}
        if row.low < left:
            axes.plot([left], [y], "<", **look)
        if row.high > right:
            axes.plot([right], [y], ">", **look)
    axes.set_xlim(left, right)


def _floor(lines: Sequence[Line], named: Sequence[int]) -> float:
    """Where a panel begins: at the lowest line, or above those that lie far below the others (Tukey's fence).

    Lines that are `named` are shown whatever they are.
    """
    lowest = np.array([min(line.y) for line in lines])
    low, high = np.percentile([y for line in lines for y in line.y], [25, 75])
    kept = lowest[lowest >= low - 1.5 * (high - low)]
    return float(min([*kept, *(lowest[i] for i in named)]))


def _name_ends(
    axes: Axes, lines: Sequence[Line], names: Sequence[str], colours: Mapping[int, str], strong: int | None
) -> None:
    """A name right of the end of each line that has a colour, moved apart where they would lie on each other."""
    bottom, top = axes.get_ylim()
    end = max(line.x[-1] for line in lines)
    order = sorted(colours, key=lambda i: lines[i].y[-1])
    step = 1 / 14  # of the axes' height
    places = [(lines[i].y[-1] - bottom) / (top - bottom) for i in order]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + step)
    for i in range(len(places) - 1, -1, -1):
        places[i] = min(places[i], 1.0 - step * (len(places) - 1 - i))
    for i, y in zip(order, places, strict=True):
        leader = {"arrowstyle": "-", "color": colours[i], "linewidth": 0.5, "shrinkA": 1, "shrinkB": 3}
        axes.annotate(
            names[i],
            (lines[i].x[-1], lines[i].y[-1]),
            (1.1, y),
            xycoords="data",
            textcoords="axes fraction",
            va="center",
            fontsize=7.5,
            color=colours[i],
            fontweight="bold" if i == strong else "normal",
            arrowprops={**leader, "relpos": (0, 0.5)},  # to where the name begins, not through it
        )
    axes.set_xlim(right=end + 0.02 * (end - 1))


def _grid(
    panels: int, row_height: float, title: str, note: str, *, sharex: bool, sharey: bool = True, behind: str = ""
) -> tuple[Figure, list[Axes]]:
    """Axes for so many panels, up to three side by side, below a title (and what is `behind` it) and above a note."""
    columns = min(panels, COLUMNS)
    lines = math.ceil(panels / columns)
    height = lines * row_height + 0.9
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    words = _wrapped(title, WIDTH - 0.3, 12)  # wider letters
    if behind:
        text = _wrapped(behind, WIDTH - 0.2, 7.5)
        below = 0.05 + 9.5 * 1.25 / 72 * (1 + words.count("\n"))  # inches from the top
        figure.text(0.01, 1 - below / height, text, va="top", fontsize=7.5)
        words += "\n " * (1 + text.count("\n"))  # keeps room for it
    figure.suptitle(words, x=0.01, ha="left", fontweight="bold")
    figure.supxlabel(_wrapped(note, WIDTH - 0.4, 7), x=0.01, ha="left", fontsize=7, color="#404040")
    grid = figure.subplots(lines, columns, sharex=sharex, sharey=sharey, squeeze=False).ravel().tolist()
    for spare in grid[panels:]:
        spare.set_visible(False)
    return figure, grid[:panels]


def _wrapped(text: str, inches: float, size: float = 8.5) -> str:
    """`text` in lines that fit: a letter is about 0.49 of its size wide."""
    width = max(12, int(inches * 72 / (0.49 * size)))
    return "\n".join(textwrap.fill(line, width) for line in text.split("\n"))


def _ticks(most: int) -> MaxNLocator:
    """Round numbers, at most so many steps."""
    return MaxNLocator(most, steps=[1, 2, 5, 10])


def _percent(value: float, _position: int | None = None) -> str:
    return f"{100 * value:+.3g}".replace("-", "−") if value else "0"
