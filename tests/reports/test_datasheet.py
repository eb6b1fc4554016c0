import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reports.datasheet import datasheet, write
from tmfun.checks import examine
from tmfun.checks.findings import LEVELS, Finding
from tmfun.dataset import Dataset
from tmfun.formats import synthetic


@pytest.fixture(scope="module")
def examined() -> tuple[Dataset, list[Finding]]:
    dataset = synthetic.generate("synthetic-tiny")
    return dataset, examine(dataset)


def test_the_page_tells_every_finding_once_under_what_it_is_about(examined: tuple[Dataset, list[Finding]]) -> None:
    dataset, found = examined
    page = datasheet(dataset, found)
    sections = dict(re.findall(r"^## (.+?)\n\n(.*?)(?=\n## |\Z)", page, re.DOTALL | re.MULTILINE))
    for finding in found:
        section = " ".join(sections[finding.about[0].upper() + finding.about[1:]].split())
        assert section.count(f"- {finding.level}, {finding.what}: {' '.join(finding.sentence.split())}") == 1
    assert "# Data sheet of `synthetic-tiny`" in page and "generated" in page
    assert max(len(line) for line in page.splitlines() if not line.startswith("|")) <= 120


def test_the_best_offset_stands_out_in_the_table(examined: tuple[Dataset, list[Finding]]) -> None:
    dataset, found = examined
    (line,) = re.findall(r"^\| image, features .*$", datasheet(dataset, found), re.MULTILINE)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert len(cells) == 12 and [cell for cell in cells if "**" in cell] == [cells[6]]


def test_what_is_wrong_comes_first_and_the_worst_before_all(examined: tuple[Dataset, list[Finding]]) -> None:
    dataset, _ = examined
    found = [Finding("interactions", "a", level, f"sentence {level}") for level in LEVELS]
    page = datasheet(dataset, found)
    assert page.index("**error**, interactions: a: sentence error") < page.index("**warning**, interactions: a")
    assert "**Refused**: 1 error, 1 warning, 1 note." in page
    assert page.index("What is wrong") < page.index("## Interactions")
    assert "What is wrong" not in datasheet(dataset, found[:2]) and "**Verified**" in datasheet(dataset, found[:2])


def test_a_broken_set_has_a_page(examined: tuple[Dataset, list[Finding]]) -> None:
    dataset, _ = examined
    image = dataset.modality("image")
    assert image.features is not None
    broken = dataset.with_modalities(replace(image, features=np.full_like(image.features, math.nan)))
    assert "**error**, modality image: finite" in datasheet(broken, examine(broken))


def test_the_page_is_written_whole_under_the_sets_name(examined: tuple[Dataset, list[Finding]], tmp_path: Path) -> None:
    dataset, found = examined
    named = replace(dataset, name="synthetic-tiny[seed=3]")
    path = write(named, found, tmp_path / "data")
    assert path.name == "synthetic-tiny-seed-3.md" and list(path.parent.iterdir()) == [path]
    assert path.read_text() == datasheet(named, found)
    assert write(named, found, tmp_path / "data").read_text() == datasheet(named, found)
