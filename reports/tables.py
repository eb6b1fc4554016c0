"""What a table is, and how it reads in Markdown, LaTeX (booktabs) and CSV. The three hold the same numbers."""

import csv
import io
import itertools
import math
import re
from dataclasses import dataclass
from string import ascii_lowercase

MISSING = "–"
SYMBOLS = ("†", "‡", "§", "¶")  # of notes on rows, in order of appearance; then a, b, ..., z, aa, ab, ...


@dataclass(frozen=True)
class Column:
    """A column of text (`digits` None) or of numbers.

    With `interval`, numbers carry one: `x ± half`, or `x [low, high]` if signed or `skewed`. `percent` shows 0.01 as
    1 %.
    `width` is that of long text in LaTeX, in cm.
    """

    title: str
    digits: int | None = None
    interval: bool = False
    signed: bool = False
    percent: bool = False
    width: float | None = None
    skewed: bool = False


@dataclass(frozen=True)
class Number:
    """A number, nan if there is none, with its interval, nan likewise."""

    value: float
    low: float = math.nan
    high: float = math.nan
    best: bool = False


@dataclass(frozen=True)
class Row:
    """The cells, and what there is to say of this row; notes are marked on its first cell."""

    cells: tuple[str | Number, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table; `context` holds for all rows and is written out in each row of the CSV."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    context: tuple[tuple[str, str], ...] = ()

    @property
    def marks(self) -> dict[str, str]:
        """The symbol of each note on a row."""
        texts = dict.fromkeys(note for row in self.rows for note in row.notes)
        letters = ("".join(word) for n in itertools.count(1) for word in itertools.product(ascii_lowercase, repeat=n))
        return dict(zip(texts, itertools.chain(SYMBOLS, letters), strict=False))


def markdown(table: Table) -> str:
    """The table with its caption above and its notes below."""
    marks = table.marks
    lines = [[_md(column.title) for column in table.columns]]
    for row in table.rows:
        cells = [
            _md(cell) if isinstance(cell, str) else "**".join(_parts(column, cell))
            for column, cell in zip(table.columns, row.cells, strict=True)
        ]
        symbols = " ".join(marks[note] for note in row.notes)
        lines.append([f"{cells[0]} {symbols}".strip(), *cells[1:]])
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(table.columns))]
    right = [column.digits is not None for column in table.columns]
    rule = [f"{'-' * (w - 1)}:" if r else "-" * w for w, r in zip(widths, right, strict=True)]
    padded = [
        [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(line, widths, right, strict=True)]
        for line in [lines[0], rule, *lines[1:]]
    ]
    body = "\n".join(f"| {' | '.join(line)} |" for line in padded)
    notes = [f"{symbol} {_md(note)}" for note, symbol in marks.items()] + [_md(note) for note in table.notes]
    return "\n\n".join([f"**{_md(table.caption)}**", body, *([" <br>\n".join(notes)] if notes else [])]) + "\n"


def latex(table: Table, label: str) -> str:
    """A complete `table` environment."""
    marks = table.marks
    kinds = "".join("r" if c.digits is not None else f"p{{{c.width}cm}}" if c.width else "l" for c in table.columns)
    lines = [" & ".join(_tex(column.title) for column in table.columns) + r" \\", r"\midrule"]
    for row in table.rows:
        cells = [
            _tex(cell) if isinstance(cell, str) else _tex_number(column, cell)
            for column, cell in zip(table.columns, row.cells, strict=True)
        ]
        cells[0] += "".join(rf"\textsuperscript{{{_tex(marks[note])}}}" for note in row.notes)
        guard = "{}" if cells[0].startswith(("[", "*")) else ""  # after \\ these would be taken for its argument
        lines.append(guard + " & ".join(cells) + r" \\")
    notes = [rf"\textsuperscript{{{_tex(symbol)}}} {_tex(note)}" for note, symbol in marks.items()]
    notes += [_tex(note) for note in table.notes]
    below = [
        r"  \par\smallskip",
        r"  \begin{minipage}{\linewidth}\footnotesize\raggedright",
        *(f"    {note}\\par" for note in notes),
        r"  \end{minipage}",
    ]
    return "\n".join([
        r"% needs \usepackage[utf8]{inputenc}, \usepackage[T1]{fontenc} and \usepackage{booktabs,adjustbox}",
        r"\begin{table}[t]",
        r"  \centering",
        rf"  \caption{{{_tex(table.caption)}}}",
        rf"  \label{{tab:{label}}}",
        r"  \begin{adjustbox}{max width=\linewidth}",
        rf"  \begin{{tabular}}{{{kinds}}}",
        r"    \toprule",
        *(f"    {line}" for line in lines),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"  \end{adjustbox}",
        *(below if notes else []),
        r"\end{table}",
        "",
    ])  # fmt: skip


def to_csv(table: Table) -> str:
    """One header line; a number with an interval takes three columns, and the last column holds the row's notes."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    header = [key for key, _ in table.context]
    for column in table.columns:
        header += [column.title, *([f"{column.title} low", f"{column.title} high"] if column.interval else [])]
    writer.writerow([*header, "notes"])
    for row in table.rows:
        cells = [value for _, value in table.context]
        for column, cell in zip(table.columns, row.cells, strict=True):
            if isinstance(cell, str):
                cells.append(cell)
            else:
                cells += [_plain(x) for x in (cell.value, cell.low, cell.high)[: 3 if column.interval else 1]]
        writer.writerow([*cells, "; ".join(row.notes)])
    return stream.getvalue()


def show(column: Column, number: Number) -> str:
    """The number as readers see it."""
    return "".join(_parts(column, number))


def _parts(column: Column, number: Number) -> list[str]:
    """What stands before, in and after the emphasis of a best number; one part if it is not the best."""
    if math.isnan(number.value):
        return [MISSING]
    unit = " %" if column.percent else ""
    value, low, high = (_digits(column, x) for x in (number.value, number.low, number.high))
    rest = unit
    if column.interval and not math.isnan(number.low):
        half = _digits(Column("", column.digits, percent=column.percent), (number.high - number.low) / 2)
        rest = f"{unit} [{low}, {high}]" if column.signed or column.skewed else f" ± {half}{unit}"
    return ["", value, rest] if number.best else [value + rest]


def _digits(column: Column, value: float) -> str:
    if math.isnan(value):
        return MISSING
    rounded = round(value * (100 if column.percent else 1), column.digits or 0) + 0.0  # no -0
    return f"{rounded:{'+' if column.signed else ''},.{column.digits}f}".replace("-", "−")


def _plain(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.10g}"  # enough digits to compute on, and no noise in the last ones


def _md(text: str) -> str:
    return re.sub(r"([\\|*_<>\[\]`])", r"\\\1", text)


TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": "$-$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "±": r"$\pm$", "–": "--", "†": r"\dag{}", "‡": r"\ddag{}", "§": r"\S{}", "¶": r"\P{}",
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(TEX.get(character, character) for character in text)


def _tex_number(column: Column, number: Number) -> str:
    parts = [_tex(part) for part in _parts(column, number)]
    return parts[0] if len(parts) == 1 else rf"\textbf{{{parts[1]}}}{parts[2]}"
