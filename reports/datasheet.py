"""The data sheet of a data set: its findings as a page, for readers in a terminal and in `reports/data/`."""

import os
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from reports.numbers import slug
from reports.tables import Column, Number, Row, Table, markdown
from tmfun import PROJECT
from tmfun.checks.findings import LEVELS, Finding, verdict
from tmfun.dataset import Dataset

FOLDER = PROJECT / "reports" / "data"
WIDTH = 116


def datasheet(dataset: Dataset, findings: Sequence[Finding]) -> str:
    """The page in Markdown: verdict, what is wrong, then all findings by what they are about."""
    counts = Counter(finding.level for finding in findings)
    summary = ", ".join(f"{counts[level]} {level}{'s' * (counts[level] != 1)}" for level in LEVELS[:0:-1])
    parts = [
        f"# Data sheet of `{dataset.name}`",
        f"**{verdict(findings).capitalize()}**: {summary}. Content `{dataset.content_hash[:8]}`"
        f"{', generated' if dataset.origin == 'synthetic' else ''}; again: `tmfun data check {dataset.name}`.",
    ]
    grave = [finding for finding in findings if finding.level in ("error", "warning")]
    if grave:
        lines = (_line(finding, f"{finding.about}: ") for finding in sorted(grave, key=_gravity))
        parts += ["## What is wrong or could not be verified", "\n".join(lines)]
    for about in dict.fromkeys(finding.about for finding in findings):
        parts.append(f"## {about[0].upper()}{about[1:]}")
        parts.append("\n".join(_line(finding) for finding in findings if finding.about == about))
    aligned = [finding for finding in findings if "z" in finding.numbers and isinstance(finding.numbers["z"], dict)]
    if aligned:
        parts += ["## Fit at every offset", markdown(_offsets(aligned)).rstrip()]
    return "\n\n".join(parts) + "\n"


def write(dataset: Dataset, findings: Sequence[Finding], folder: Path | None = None) -> Path:
    """Write the page as `<name>.md` into `folder`, or `FOLDER`, whole or not at all; returns its path."""
    folder = folder or FOLDER
    path = folder / f"{slug(dataset.name)}.md"
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(datasheet(dataset, findings), encoding="utf-8")
    temporary.replace(path)
    return path


def _gravity(finding: Finding) -> int:
    return -LEVELS.index(finding.level)


def _line(finding: Finding, before: str = "") -> str:
    level = finding.level if finding.level in ("ok", "note") else f"**{finding.level}**"
    text = f"- {level}, {before}{finding.what}: {finding.sentence}"
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _offsets(findings: Sequence[Finding]) -> Table:
    offsets = sorted(findings[0].numbers["z"])
    rows = [
        Row((f"{f.about.removeprefix('modality ')}, {f.what.rpartition(' the ')[2]}",
             *(Number(f.numbers["z"][offset], best=f.numbers["z"][offset] == max(f.numbers["z"].values()))
               for offset in offsets)))
        for f in findings
    ]  # fmt: skip
    caption = "How well each graph fits the co-interactions, in z, with row r taken for item r + offset"
    columns = (Column("modality, graph"), *(Column(f"{offset:+d}" if offset else "0", 1) for offset in offsets))
    return Table("offsets", f"{caption}.", columns, tuple(rows), ("Bold: the best of these offsets.",))
