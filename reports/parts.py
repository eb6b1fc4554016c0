"""What a page is made of, and what its figures have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from reports import figures
from reports.contents import proxy_words
from reports.numbers import OnDataset, Result, seed_count
from reports.tables import Table


@dataclass(frozen=True)
class Picture:
    """A figure, its file name, and what it shows in words."""

    name: str
    text: str
    figure: Figure


@dataclass(frozen=True)
class Section:
    """A part of the page; items that are `folded` are behind a click."""

    heading: str
    prose: str
    items: tuple[Table | Picture, ...]
    folded: tuple[Table, ...] = ()


def basis(group: OnDataset, results: Sequence[Result], mark: str = "") -> list[str]:
    """What stands behind the numbers of a panel: data set, seeds, protocol, split, proxies (of what is marked so)."""
    words = proxy_words(results)
    return [f"{group.label}, {seed_count(results)}", group.protocol, *([mark + words] if words else [])]


def hollow(panels: Sequence[tuple[list[str], Sequence[figures.Dot]]]) -> str:
    """The note on hollow dots, if there are any."""
    return " Hollow: proxy features took part." if any(row.hollow for _, rows in panels for row in rows) else ""


def absent(result: Result) -> str:
    """Why an entry has no numbers."""
    return f"skipped: {result.cell.skipped}" if result.cell.skipped else "no records yet"


def caption(text: str, panels: Sequence[tuple[list[str], Sequence[figures.Dot]]]) -> str:
    """What a figure shows, and what stands behind each panel."""
    return ". ".join([text, *("; ".join(basis) for basis, _ in panels)]) + "."
