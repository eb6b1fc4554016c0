"""Published numbers: the file is read strictly, and only what is comparable is compared."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ablations.studies import read_study
from reports.numbers import gather
from reports.published import ABOVE, BELOW, FILE, UNEXPLAINED, of_tmfun, read_published, strangers, tables
from reports.report import write_report
from reports.tables import Number, Table, to_csv
from tmfun.errors import InputError

Make = Callable[..., SimpleNamespace]

TOY = """
[sizes]
toy = [40, 60, 240, 40, 40]
[tables.near]
title = "near"
source = "somebody"
split = "lattice"
metrics = ["recall@20", "ndcg@20"]
[tables.near.numbers.toy]
tmfun = [{full}, 0.3]
no-attention = [{without}, 0.3]
lightgcn = [{lightgcn}, 0.3]
slmrec = [0.5, 0.3]
[tables.far]
title = "far"
source = "somebody else"
split = "other"
metrics = ["recall@20"]
[tables.far.numbers.toy]
lightgcn = [0.2]
vbpr = [0.25]
mgcn = [0.9]
[notes.no-attention]
toy = "measured: it is so"
"""


def recall(toy: SimpleNamespace, entry: str) -> float:
    """Ours, from the ranks: one test item per user."""
    cell = next(cell for cell in toy.plan.cells if cell.entry.name == entry)
    return float(np.mean([np.mean(toy.store.arrays(run.run_id)["test"] <= 20) for run in cell.final(toy.store)]))


@pytest.fixture
def file(toy: SimpleNamespace, tmp_path: Path) -> Path:
    """Published numbers: the full model's 5 % below ours, of no-attention a tenth above, LightGCN's a tenth below."""
    ours = {name: recall(toy, name) for name in ("full", "no-attention", "lightgcn")}
    path = tmp_path / "published.toml"
    path.write_text(
        TOY.format(full=ours["full"] / 1.05, without=ours["no-attention"] / 0.9, lightgcn=ours["lightgcn"] / 1.1)
    )
    return path


def made(toy: SimpleNamespace, path: Path) -> dict[str, Table]:
    return {table.name: table for table in tables(gather(toy.plan, toy.store), read_published(path))}


def rows(table: Table) -> dict[str, dict[str, str]]:
    return {row["model"]: row for row in csv.DictReader(io.StringIO(to_csv(table)))}


# -- the shipped file


def test_the_shipped_numbers_are_sound() -> None:
    """One held-out item for most users: recall is some twenty times the precision, and above NDCG. Typos would show."""
    published = read_published()
    assert {source.split for source in published.sources} == {"lattice", "other"}
    for source in published.sources:
        for dataset, models in source.numbers.items():
            for model, numbers in models.items():
                values = dict(zip(source.metrics, numbers, strict=True))
                recall = values["recall@20"]
                ndcg = next(value for metric, value in values.items() if metric.startswith("ndcg"))
                assert 0.4 * recall < ndcg < 0.5 * recall, (source.title, dataset, model)
                if "precision@20" in values:
                    assert 0.95 < 20 * values["precision@20"] / recall < 1.15, (source.title, dataset, model)


def test_the_shipped_study_has_published_numbers_for_its_data_sets_and_most_of_its_models() -> None:
    study, published = read_study("published"), read_published()
    assert set(study.datasets) == set(published.sizes)
    named = {model for source in published.sources for models in source.numbers.values() for model in models}
    assert named < {entry.name for entry in study.entries}
    assert "tmfun" not in named, "no number of TMFUN's is known to this project"


def test_who_has_the_paper_only_removes_the_comment_signs_and_fills_in_numbers(tmp_path: Path) -> None:
    text = FILE.read_text()
    start, end = (text.index(mark) for mark in ("# [tables.tmfun]", "# -- end of TMFUN's"))
    filled = re.sub(r"^# ", "", text[start:end], flags=re.MULTILINE).replace("0.0000", "0.0900")
    (tmp_path / "published.toml").write_text(text[:start] + filled + text[end:])
    published = read_published(tmp_path / "published.toml")
    (source,) = (source for source in published.sources if source.title == "TMFUN")
    assert set(source.numbers) == {"baby", "sports", "clothing"}
    assert source.numbers["baby"] == {"tmfun": (0.09,) * 3, "no-contrastive": (0.09,) * 3}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("[sizes]", "[sizes", "not valid TOML"),
        ("[sizes]", "size = 1\n[sizes]", "unknown key 'size' (did you mean 'sizes'?)"),
        ("240, 40, 40]", "240]", "[sizes]: toy must be users, items and three counts of interactions"),
        ('split = "lattice"', 'split = "latice"', "[tables.near]: split = 'latice' is not one of 'lattice', 'other'"),
        ('source = "somebody"', "", "[tables.near]: the key 'source' is missing"),
        ('"ndcg@20"]', '"ndgc@20"]', "[tables.near]: unknown metric 'ndgc' (did you mean 'ndcg'?)"),
        ("slmrec = [0.5, 0.3]", "slmrec = [0.5]", "numbers.toy: slmrec has 1 numbers for 2 metrics"),
        ("slmrec = [0.5, 0.3]", "slmrec = [5.0, 3.0]", "slmrec = 5 is no metric's value"),
        ("slmrec = [0.5, 0.3]", "slmrec = [0.0, 0.3]", "slmrec = 0 is no metric's value"),
        ("slmrec = [0.5, 0.3]", "slmrek = [0.5, 0.3]", "unknown model or variant 'slmrek' (did you mean 'slmrec'?)"),
        ("[tables.far.numbers.toy]", "[tables.far.numbers.toys]", "unknown data set 'toys' (did you mean 'toy'?)"),
        ("[notes.no-attention]", "[notes.no-attentions]", "[notes.no-attentions]: unknown model or variant"),
        ('toy = "measured', 'toi = "measured', "[notes.no-attention] ([sizes] must have it): unknown data set 'toi'"),
        ("[tables.far]", "[tables]\nodd = 1\n[tables.far]", "[tables.odd]: a table is needed"),
    ],
)
def test_what_is_wrong_is_one_sentence_that_names_file_and_place(old: str, new: str, sentence: str, file: Path) -> None:
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(InputError) as error:
        read_published(file)
    assert sentence in str(error.value) and "\n" not in str(error.value)


# -- the tables


def test_ours_stand_beside_the_published_numbers(toy: SimpleNamespace, file: Path) -> None:
    found = rows(made(toy, file)["published"])
    assert list(found) == ["TMFUN (full)", "no attention fusion", "LightGCN"], "the entries that have published numbers"
    for title, entry, difference in (
        ("TMFUN (full)", "full", 0.05),
        ("no attention fusion", "no-attention", -0.1),
        ("LightGCN", "lightgcn", 0.1),
    ):
        row = found[title]
        assert float(row["Recall@20, ours"]) == pytest.approx(recall(toy, entry))
        assert float(row["Recall@20, difference"]) == pytest.approx(difference)
        assert float(row["Recall@20, published"]) == pytest.approx(recall(toy, entry) / (1 + difference))
        low, high = (float(row[f"Recall@20, ours {end}"]) for end in ("low", "high"))
        assert low < float(row["Recall@20, ours"]) < high
        published = float(row["Recall@20, published"])
        assert float(row["Recall@20, difference low"]) == pytest.approx(low / published - 1)
        assert row["seeds"] == "3" and row["data set"] == "toy" and row["published by"] == "near"
    assert "somebody." in " ".join(made(toy, file)["published"].notes)


def test_what_lies_far_off_is_marked_and_explained_where_there_is_an_explanation(
    toy: SimpleNamespace, file: Path
) -> None:
    found = rows(made(toy, file)["published"])
    assert [row["beyond 8 %"] for row in found.values()] == ["", BELOW, ABOVE]
    assert [row["why"] for row in found.values()] == ["", "measured: it is so", UNEXPLAINED]


def test_features_are_named_by_their_origin(toy: SimpleNamespace, file: Path) -> None:
    """The toy's image features are proxies, its text features are not."""
    found = made(toy, file)
    assert rows(found["published"])["TMFUN (full)"]["features"] == "original, proxy"
    assert rows(found["published"])["LightGCN"]["features"] == "none"
    assert "proxy features (known" in rows(found["published"])["TMFUN (full)"]["notes"]


def test_another_splits_numbers_are_apart_without_a_difference(toy: SimpleNamespace, file: Path) -> None:
    table = made(toy, file)["published-elsewhere"]
    found = rows(table)
    assert list(found) == ["LightGCN", "VBPR"]
    assert not any("difference" in column.title or "ours" in column.title for column in table.columns)
    assert float(found["VBPR"]["Recall@20, their lift"]) == pytest.approx(0.25 / 0.2 - 1)
    wanted = recall(toy, "vbpr") / recall(toy, "lightgcn") - 1
    assert float(found["VBPR"]["Recall@20, our lift"]) == pytest.approx(wanted)
    assert found["LightGCN"]["Recall@20, their lift"] == "" == found["LightGCN"]["Recall@20, our lift"]


def test_missing_runs_leave_gaps_and_no_marks(make: Make, file: Path) -> None:
    empty = made(make(keep=lambda run: False), file)
    for row in empty["published"].rows:
        assert all(np.isnan(cell.value) for cell in (row.cells[3], row.cells[5]) if isinstance(cell, Number))
    assert {row["beyond 8 %"] for row in rows(empty["published"]).values()} == {""}
    assert {row["Recall@20, our lift"] for row in rows(empty["published-elsewhere"]).values()} == {""}


def test_a_data_set_of_the_same_name_is_compared_only_if_it_has_the_same_sizes(
    toy: SimpleNamespace, file: Path
) -> None:
    file.write_text(file.read_text().replace("toy = [40, 60, 240", "toy = [40, 60, 241", 1))
    groups, published = gather(toy.plan, toy.store), read_published(file)
    assert tables(groups, published) == [] and strangers(groups, published) == ["toy"]
    assert not of_tmfun(groups, published)


def test_a_split_that_is_not_lattices_is_never_compared(
    make: Make, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmfun.dataset.Dataset.split", "as supplied")
    assert tables(gather((study := make()).plan, study.store), read_published(file)) == []


# -- the page


def test_the_page_shows_them_and_follows_the_file(
    toy: SimpleNamespace, file: Path, undrawn: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = write_report(toy.plan, toy.store, tmp_path / "report")
    assert "published" not in {path.stem for path in folder.glob("tables/*")}
    monkeypatch.setattr("reports.published.FILE", file)
    (folder / ".inputs").unlink()
    write_report(toy.plan, toy.store, folder)
    page = (folder / "README.md").read_text()
    assert "## Against published numbers" in page and "(tables/published.csv)" in page
    assert (folder / "tables" / "published.tex").read_text().count(r"$\uparrow$") == 2  # the row and the note
    assert "no number on this page is the paper's, but those that the tables" in page.replace("\n> ", " ")
    file.write_text(re.sub(r"^(tmfun|no-attention) = .*\n", "", file.read_text(), flags=re.MULTILINE))
    (folder / ".inputs").unlink()
    write_report(toy.plan, toy.store, folder)
    assert "no number on this page is the paper's." in (folder / "README.md").read_text()


def test_a_report_is_drawn_anew_when_the_published_numbers_change(
    toy: SimpleNamespace, undrawn: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = write_report(toy.plan, toy.store, tmp_path / "report")
    assert write_report(toy.plan, toy.store, folder) == (folder, False)
    changed = FILE.read_text() + "\n# changed\n"
    original = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda p, **kw: changed if p == FILE else original(p, **kw))
    assert write_report(toy.plan, toy.store, folder) == (folder, True)
