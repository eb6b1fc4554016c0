"""The three forms of a table."""

import csv
import io
import math
import re
from pathlib import Path

import pytest

from reports.tables import MISSING, Column, Number, Row, Table, latex, markdown, show, to_csv

NASTY = r"a_b & 50% of $x #1 {y} ~z ^w \q <t> |p| [r]"
TABLE = Table(
    "nasty",
    NASTY,
    (
        Column("model"),
        Column("Recall@20", 4, interval=True),
        Column("change", 1, interval=True, signed=True, percent=True),
    ),
    (
        Row(
            (NASTY, Number(0.08291, 0.0819, 0.0839, best=True), Number(-0.0312, -0.05, 0.001)),
            ("proxy features: image",),
        ),
        Row(("[starts so", Number(0.5), Number(math.nan)), ("proxy features: image", "one seed: 100 %")),
    ),
    ("A note on R&D.",),
    (("data set", "toy"),),
)


def balanced(text: str) -> bool:
    """Whether unescaped braces and environments close in order."""
    depth = 0
    for brace in re.sub(r"\\[{}\\]", "", text):
        depth += {"{": 1, "}": -1}.get(brace, 0)
        if depth < 0:
            return False
    opened: list[str] = []
    for what, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if what == "begin":
            opened.append(name)
        elif not opened or opened.pop() != name:
            return False
    return depth == 0 and not opened


def numbers(text: str) -> list[float]:
    """Every number of a rendered cell."""
    return [
        float(n.replace(",", "")) for n in re.findall(r"[-+]?[\d,]*\.?\d+", text.replace("−", "-").replace("$-$", "-"))
    ]


def test_markdown():
    text = markdown(TABLE)
    assert "| **0.0829** ± 0.0010 |" in text
    assert "−3.1 % [−5.0, +0.1]" in text
    assert r"\|p\|" in text and r"a\_b" in text and r"\<t\>" in text
    assert "† proxy features: image" in text and "‡ one seed: 100 %" in text
    assert r"| \[starts so † ‡ " in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_latex_is_complete_and_escaped():
    text = latex(TABLE, "nasty-table")
    assert balanced(text)
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{", r"\label{tab:nasty-table}", r"\begin{table}"):
        assert text.count(part) == 1
    escaped = r"a\_b \& 50\% of \$x \#1 \{y\} \textasciitilde{}z \textasciicircum{}w \textbackslash{}q"
    assert escaped in text
    assert r"\textbf{0.0829} $\pm$ 0.0010" in text
    assert r"$-$3.1 \% [$-$5.0, +0.1]" in text
    assert "\n    {}[starts so" in text  # else the bracket is the argument of the line break before it
    assert not re.search(r"(?<!\\)[%&#_](?!.*needs)", re.sub(r" & |% needs.*", "", text))


def test_csv_is_for_machines():
    header, first, second = csv.reader(io.StringIO(to_csv(TABLE)))
    assert header == [
        "data set", "model", "Recall@20", "Recall@20 low", "Recall@20 high",
        "change", "change low", "change high", "notes",
    ]  # fmt: skip
    assert first == ["toy", NASTY, "0.08291", "0.0819", "0.0839", "-0.0312", "-0.05", "0.001", "proxy features: image"]
    assert second[2:8] == ["0.5", "", "", "", "", ""]
    assert second[-1] == "proxy features: image; one seed: 100 %"


@pytest.mark.parametrize(
    ("column", "number", "shown"),
    [
        (Column("", 4), Number(math.nan), MISSING),
        (Column("", 0), Number(1234567), "1,234,567"),
        (Column("", 4, signed=True), Number(-0.00001), "+0.0000"),
        (Column("", 1, signed=True, percent=True), Number(-0.0312), "−3.1 %"),
        (Column("", 4, interval=True), Number(0.5), "0.5000"),
    ],
)
def test_numbers_for_readers(column: Column, number: Number, shown: str):
    assert show(column, number) == shown


def test_the_three_forms_hold_the_same_numbers(report: Path):
    """Cell by cell, for every table of a report: what Markdown and LaTeX show is what the CSV rounds to."""
    found = sorted((report / "tables").glob("*.csv"))
    assert len(found) >= 6
    for path in found:
        in_markdown = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in path.with_suffix(".md").read_text().splitlines()
            if line.startswith("|")
        ]
        in_latex = [
            [cell.strip() for cell in re.split(r"(?<!\\)&", line.strip().removesuffix(r"\\"))]
            for line in path.with_suffix(".tex").read_text().splitlines()
            if line.endswith(r" \\")
        ]
        titles = in_markdown[0]
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        assert len(rows) == len(in_markdown) - 2 == len(in_latex) - 1 > 0
        for row, md_cells, tex_cells in zip(rows, in_markdown[2:], in_latex[1:], strict=True):
            for title, md_cell, tex_cell in zip(titles, md_cells, tex_cells, strict=True):
                if not re.fullmatch(r"[\d.,+−–±%\[\]* ]+", md_cell):  # text
                    continue
                assert numbers(md_cell) == numbers(tex_cell), (path.name, title)
                scale = 100 if "%" in md_cell else 1
                if row[title] == "":
                    assert md_cell == MISSING
                    continue
                value = float(row[title]) if re.fullmatch(r"[-+.\de]+", row[title]) else None
                if value is None:
                    continue
                shown = numbers(md_cell)
                digits = len(md_cell.replace("*", "").split()[0].partition(".")[2])
                tolerance = 0.5001 * 10**-digits
                assert shown[0] == pytest.approx(scale * value, abs=tolerance), (path.name, title)
                if len(shown) > 1:
                    low, high = (scale * float(row[f"{title} {end}"]) for end in ("low", "high"))
                    wanted = [(high - low) / 2] if "±" in md_cell else [low, high]
                    assert shown[1:] == pytest.approx(wanted, abs=tolerance), (path.name, title)


def test_notes_never_run_out_of_marks() -> None:
    rows = tuple(Row((f"row {i}",), (f"note {i}",)) for i in range(800))
    marks = Table("t", "t.", (Column("name"),), rows).marks
    assert list(marks.values())[3:6] == ["¶", "a", "b"] and list(marks.values())[29:32] == ["z", "aa", "ab"]
    assert len(set(marks.values())) == 800
