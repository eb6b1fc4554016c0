"""A study without training: a toy data set, and made-up records whose ranks depend on the entry and the seed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from ablations.planning import Plan, unfold
from ablations.records import Store
from ablations.specification import Specification
from ablations.studies import read_study
from reports.report import write_report
from tmfun.dataset import Dataset, Modality

STUDY = """
title = "Toy: parts & competitors"
datasets = ["toy", "toy-b"]
seeds = 3
claims = ["attention-fusion", "contrastive-loss", "content-helps"]

[models.tmfun]
variants = ["full", "no-attention", "no-contrastive", "only-audio", "id-only"]
[models.lightgcn]
grid = { l2 = [1e-4, 1e-3], layers = [2, 3] }
[models.vbpr]
seeds = 1
[models.popularity]
"""
ITEMS = 60


def dataset(name: str = "toy", draw: int = 0, origin: str = "files") -> Dataset:
    """40 users with 8 items each, split as LATTICE does; image features are proxies."""
    rng = np.random.default_rng(draw)
    pairs = [[(user, item) for item in rng.permutation(ITEMS)[:8]] for user in range(40)]
    train, validation, test = (
        np.array([pair for user in pairs for pair in user[part]]) for part in (slice(6), slice(6, 7), slice(7, 8))
    )
    image = Modality("image", rng.normal(size=(ITEMS, 4)).astype(np.float32), origin="proxy")
    text = Modality("text", rng.normal(size=(ITEMS, 3)).astype(np.float32), origin="original")
    return Dataset(name, 40, ITEMS, train, validation, test, (image, text), origin).check()


def write(store: Store, run: Specification, data: Dataset) -> None:
    """A made-up record of a run: the same whenever it is written."""
    rng = np.random.default_rng(int(run.run_id, 16))
    weak = run.model == "popularity" or not run.settings.get("attention", True)
    ranks = {
        split: (1 + ITEMS * rng.random(40) ** (1.0 if weak else 2.0)).astype(np.int32)
        for split in ("validation", "test")
    }
    evaluations = 4 + run.seed if run.training else 0
    values = np.sort(rng.random(evaluations) * 0.1)
    history = [{"epoch": 2 * i + 2, "loss": 0.5, "recall@20": float(v)} for i, v in enumerate(values)]
    reads = run.model == "vbpr" or (run.model == "tmfun" and run.settings["modalities"] != [])
    store.write(
        run, data, ranks, {},
        result={
            "best_epoch": 2 * evaluations, "epochs": 2 * evaluations, "history": history, "parameters": 1234567,
            "proxies": ["image"] if reads else [],
        },
        provenance={
            "device": "cpu", "processor": "A processor", "versions": {},
            "seconds": {"total": 12.5, "epoch": 0.25} if run.training else {"total": 0.5},
            "peak_memory_mb": 512.0, "peak_gpu_memory_mb": None,
        },
    )  # fmt: skip


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., SimpleNamespace]:
    """Make a study with records: a namespace of its plan, its store, its folder, and `fill` to add records."""

    def build(
        text: str = STUDY,
        data: Sequence[tuple[str, int, str]] = (("toy", 0, "files"),),
        keep: Callable[[Specification], bool] = lambda run: True,
    ) -> SimpleNamespace:
        root = tmp_path_factory.mktemp("toy")
        (root / "toy-study.toml").write_text(text)
        study = read_study(str(root / "toy-study.toml"))
        sets = {each.content_hash: each for each in (dataset(*arguments) for arguments in data)}
        missing = [name for name in study.datasets if name not in {each.name for each in sets.values()}]
        plan: Plan = unfold(study, [each.card() for each in sets.values()], missing)
        store = Store(root / "results")

        def fill(keep: Callable[[Specification], bool] = keep) -> None:
            for _ in range(2):  # the winners of grids are known after the first round
                for run in filter(keep, plan.to_do(store)):
                    write(store, run, sets[run.content_hash])
                store.refresh()

        fill()
        return SimpleNamespace(plan=plan, store=store, root=root, fill=fill)

    return build


@pytest.fixture(scope="session")
def toy(make: Callable[..., SimpleNamespace]) -> SimpleNamespace:
    """The toy study on one data set, all records there."""
    return make()


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are files of the words in them: quick, and readable for a test."""

    def words(figure: Figure) -> dict[str, bytes]:
        note = figure.get_supxlabel()
        parts = [figure.get_suptitle(), *(text.get_text() for text in figure.texts if text.get_text() != note)]
        for axes in figure.axes:
            labels = [*axes.texts, *axes.get_yticklabels()]
            parts += [axes.get_title(loc="left"), *(label.get_text() for label in labels)]
        return {"png": " ".join(parts).replace("\n", " ").encode(), "pdf": b""}

    monkeypatch.setattr("reports.figures.rendered", words)


@pytest.fixture(scope="session")
def report(toy: SimpleNamespace) -> Path:
    """Its report."""
    folder, drawn = write_report(toy.plan, toy.store, toy.root / "report")
    assert drawn
    return folder
