"""Every number is there, none is asserted: what `tmfun bench` measures, keeps and shows."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from ablations.speed import bench, measuring, tables
from ablations.speed.bench import Bench, Result
from baselines import vbpr
from baselines.mf_bpr import MFBPR, Settings
from baselines.vbpr import VBPR
from tmfun import formats
from tmfun.cli import main
from tmfun.dataset import Dataset
from tmfun.errors import InputError
from tmfun.recommender import Batch
from tmfun.training import Training, optimisers_of

ROOT = Path(__file__).parents[3]
ROOFS = {"bytes_per_second": 1e9, "flops_per_second": 1e9}


def here(kind: str, arguments: dict[str, Any]) -> Result:
    """`bench.measure` without a process of its own."""
    return json.loads(json.dumps(measuring.KINDS[kind](**arguments)))


@pytest.fixture(scope="module")
def result() -> Result:
    asked = Bench(models=("mf-bpr", "tmfun", "popularity"), datasets=("synthetic-tiny",), quick=True)
    settings = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "TRIAD", 2**16)
        patch.setattr(measuring, "SQUARE", 2**6)
        patch.setattr(bench, "SIZES", (10**4, 2 * 10**4))
        found = {"machine": bench.machine("cpu"), "how": {"threads": 1, "repeat": 1}}
        found |= bench.speed(asked, lambda what: None, here)
        found["scale"] = bench.scale(asked, lambda what: None, here)
    torch.use_deterministic_algorithms(settings[0])
    torch.set_num_threads(settings[1])
    return found


def times(value: Any) -> bool:
    return set(value) == {"clock", "cpu"} and all(isinstance(v, float) and v >= 0 for v in value.values())


def test_the_json_holds_every_number(result: Result) -> None:
    assert result["roofs"].keys() == {"bytes_per_second", "flops_per_second"} and min(result["roofs"].values()) > 0
    assert set(result["machine"]) == {"processor", "cores", "memory_gb", "gpu", "versions"}
    rows = {row["title"]: row for row in result["models"]}
    assert list(rows) == ["MF-BPR", "MF-BPR, row-adam", "TMFUN", "Popularity"]
    for row in rows.values():
        for side in ("fast", "plain"):
            assert times(row[side]["evaluation"]) and times(row[side]["build"]) and row[side]["peak_memory_mb"] > 0
    for name in ("MF-BPR", "MF-BPR, row-adam", "TMFUN"):
        fast, plain = rows[name]["fast"], rows[name]["plain"]
        assert all(times(fast[part]) and times(plain[part]) for part in ("epoch", "sampling", "rebuild"))
        assert times(fast["loose"]) and "loose" not in plain
        assert 0.8 < sum(fast["profile"].values()) <= 1.01
    assert "epoch" not in rows["Popularity"]["fast"], "it only counts"
    (products,) = result["products"]
    assert len(products["seconds"]) == 4 and all(times(value) for value in products["seconds"].values())
    assert [(row["items"], row["plain"]) for row in result["knn"]] == [(90, False), (90, True)]
    scale = result["scale"]
    assert [row["interactions"] > 5000 and times(row["step"]) for row in scale["rows"]] == [True, True]
    assert all(isinstance(value, float) for value in scale["exponents"].values())


def test_the_floor_counts_the_bytes_that_a_step_moves(result: Result) -> None:
    """The parameters of matrix factorisation are two tables; it has no graph."""
    row = next(row for row in result["models"] if row["model"] == "mf-bpr")
    nodes = result["products"][0]["nodes"]  # users and items
    batch = min(2048, len(formats.load("synthetic-tiny").train))
    assert row["fast"]["bytes_per_step"] == {
        "products": 0,
        "rows": 3 * batch * 64 * 4 * 3,
        "optimiser": 7 * nodes * 64 * 4,
    }


def test_the_floor_of_row_adam_counts_the_rows_that_a_batch_reads(toy: Dataset, batch: Batch) -> None:
    model = MFBPR(toy, Settings(), 0)
    optimisers_of(model, Training(optimiser="row-adam"))
    rows = len(batch.users.unique()) + len(torch.cat([batch.positives, batch.negatives]).unique())
    moved = measuring._work(model, batch)["bytes_per_step"]
    assert moved["optimiser"] == 7 * rows * 64 * 4 and rows < toy.users + toy.items


def test_the_floor_counts_the_arithmetic_of_dense_products(toy: Dataset, batch: Batch) -> None:
    """VBPR multiplies the items' features with a projection and with a bias, forward and for their gradients."""
    width = sum(m.features.shape[1] for m in toy.modalities if m.features is not None)
    projected = measuring._work(VBPR(toy, vbpr.Settings(dimension=8), 0), batch)
    assert projected["flops_per_step"] == 2 * (2 * toy.items * width * (8 + 1))
    row = {"title": "VBPR", "dataset": "toy", "plain": {}, "fast": {"steps": 10, **projected}}
    row["fast"] |= {what: {"clock": 1.0, "cpu": 1.0} for what in ("epoch", "evaluation", "build")}
    row["fast"]["peak_memory_mb"] = 1
    moved = sum(projected["bytes_per_step"].values())
    roofs = {"bytes_per_second": 10 * moved / 0.3, "flops_per_second": 10 * projected["flops_per_step"] / 0.2}
    shown = tables.models({"machine": {"gpu": None}, "roofs": roofs, "models": [row]})
    cells = [cell.strip() for cell in shown.splitlines()[-1].split("|")]
    assert cells[6:8] == ["0.5", "2.0"], "0.3 s of moving, 0.2 s of arithmetic, and twice that measured"


def test_compiled_steps_are_measured_where_they_are_asked_for_beside_the_same_plain_reference() -> None:
    asked: list[dict[str, Any]] = []

    def told(kind: str, arguments: dict[str, Any]) -> Result:
        asked.append(arguments)
        return ROOFS

    found = bench.speed(
        Bench(models=("mf-bpr", "freedom"), datasets=("synthetic-tiny",), compiled=True), lambda what: None, told
    )
    assert [row["title"] for row in found["models"]] == ["MF-BPR", "MF-BPR, row-adam", "MF-BPR, compiled", "FREEDOM"]
    compiled = [arguments["obvious"] for arguments in asked if arguments.get("compiled")]
    assert compiled == [False], "the plain reference is not compiled"
    assert [row.get("compiled", False) for row in found["models"]] == [False, False, True, False]


def test_the_exponent_is_the_slope_of_the_logarithms() -> None:
    assert bench.exponent([(10, 5), (100, 50), (1000, 500)]) == pytest.approx(1)
    assert bench.exponent([(1, 3), (4, 6), (16, 12)]) == pytest.approx(0.5)
    assert bench.exponent([(1, 3)]) is None


def test_the_tables_show_the_numbers_and_the_aims_what_was_missed(result: Result) -> None:
    text = tables.sections(result)
    for title, _ in tables.SECTIONS.values():
        assert f"## {title}\n" in text
    assert "TMFUN, synthetic-tiny" in text and "not measured" in text
    profiled = {"models": [{"title": "A", "fast": {"profile": {"copies": 0.2, "mul": 0.7}}}]}
    assert "mul 70%, copies 20%" in tables.profiles(profiled), "the largest first, in whatever order they are kept"
    measured = copy.deepcopy(result)
    row = copy.deepcopy(next(row for row in result["models"] if row["model"] == "mf-bpr"))
    row |= {"dataset": "baby"}
    row["fast"] |= {"epoch": {"clock": 9.0, "cpu": 0.6}, "rebuild": {"clock": 0.0, "cpu": 0.0}}
    measured["models"] = [row]
    (line,) = [line for line in tables.aims(measured).splitlines() if "MF-BPR, epoch" in line]
    assert "0.4 s" in line and "0.6 s" in line and "missed by 50%" in line
    row["fast"]["epoch"]["cpu"] = 0.39
    by_row = {**row, "optimiser": "row-adam", "fast": {**row["fast"], "epoch": {"clock": 9.0, "cpu": 0.1}}}
    assert tables.aims(measured | {"models": [by_row, row]}) == tables.aims(measured), "the aim is Adam's"
    assert "met" in next(line for line in tables.aims(measured).splitlines() if "MF-BPR, epoch" in line)
    measured["machine"]["gpu"] = "some GPU"
    assert "missed by 2150%" in tables.aims(measured), "there the clock counts"


def test_the_large_search_runs_on_one_core_and_on_all(result: Result) -> None:
    def told(kind: str, arguments: dict[str, Any]) -> Result:
        threads = arguments["threads"]
        return {"seconds": {"clock": 99.0, "cpu": 10.0 * threads}, "peak_memory_mb": 1000.0 * threads}

    rows = bench.nearest(Bench(), 70, lambda what: None, told)
    assert [(row["items"], row["width"]) for row in rows] == [(70, 64)] * 2 + [bench.KNN] * 2
    assert [row["threads"] for row in rows] == [1, 1, 1, os.cpu_count()]
    lines = tables.aims({**result, "knn": rows}).splitlines()
    assert "10 s" in next(line for line in lines if "nearest items" in line), "processor time per core"
    assert f"{1.048576 * (os.cpu_count() or 1):.3g} GB" in next(line for line in lines if "their memory" in line)


def test_a_process_that_fails_is_shown_and_the_rest_goes_on(result: Result) -> None:
    def killed(kind: str, arguments: dict[str, Any]) -> Result:
        found = {"failure": "ended by signal 9 (out of memory?)"}
        return ROOFS if kind == "roofs" else found

    asked = Bench(models=("mf-bpr",), datasets=("synthetic-tiny",), quick=True)
    failed = {**result, **bench.speed(asked, lambda what: None, killed), "scale": bench.scale(asked, str, killed)}
    text = tables.sections(failed)
    assert text.count("ended by signal 9") >= 5
    assert failed["scale"]["exponents"] == {"time": None, "memory": None}


def test_without_roofs_there_is_no_floor_and_the_rest_is_shown(result: Result) -> None:
    text = tables.sections({**result, "roofs": {"failure": "no reason given"}})
    (line,) = [line for line in text.splitlines() if line.startswith("| TMFUN, synthetic-tiny")]
    assert [cell.strip() for cell in line.split("|")[6:8]] == ["–", "–"]
    assert "memory moves" not in text and "memory moves" in tables.sections(result)


def test_a_measurement_runs_in_a_process_of_its_own_and_says_why_it_failed() -> None:
    found = bench.measure("knn", {"items": 50, "width": 4, "device": "cpu", "threads": 1, "obvious": False})
    assert times(found["seconds"]) and found["peak_memory_mb"] > 50
    failed = bench.measure("products", {"dataset": "nowhere", "device": "cpu", "threads": 1, "repeat": 1})
    assert "no data set 'nowhere'" in failed["failure"]


def test_a_model_that_cannot_use_the_set_is_skipped_with_the_reason(
    result: Result, on_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in on_disk.glob("*_feat.npy"):
        file.unlink()
    asked = Bench(models=("vbpr",), datasets=("disk",), quick=True)
    found = bench.speed(asked, lambda what: None, lambda kind, arguments: ROOFS)
    assert found["models"][0]["skipped"] == "the data set has no features"
    assert "the data set has no features" in tables.models({**result, **found})


def test_results_are_kept_by_kind_of_machine_and_parts_renewed(result: Result, tmp_path: Path) -> None:
    speed = {key: value for key, value in result.items() if key != "scale"}
    path = bench.write(speed, tmp_path)
    assert bench.write({**speed, "scale": result["scale"], "knn": []}, tmp_path) == path
    assert bench.read(path) == {**result, "knn": []}
    bench.write(speed, tmp_path)
    assert bench.read(path) == result, "what was not measured again stays"
    again = copy.deepcopy(next(row for row in result["models"] if row["model"] == "tmfun"))
    again["fast"]["epoch"] = {"clock": 7.0, "cpu": 7.0}
    bench.write({**speed, "models": [again]}, tmp_path)
    kept = {row["title"]: row for row in bench.read(path)["models"]}
    assert list(kept) == [row["title"] for row in result["models"]] and kept["TMFUN"] == again
    other = copy.deepcopy(result)
    other["machine"] |= {"gpu": "NVIDIA X1", "cores": 8}
    assert bench.path_of(other, tmp_path).name == "nvidia-x1-8-cores.json"
    path.write_text("{")
    with pytest.raises(InputError, match=r"not a result of `tmfun bench`.*delete it"):
        bench.read(path)


def test_the_page_shows_what_is_kept() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    results = {path.stem: bench.read(path) for path in sorted(bench.FOLDER.glob("*.json"))}
    assert results and tables.refreshed(page, results) == page, "tmfun bench --write renews both"
    assert tables.refreshed("<!-- bench -->\nold\n<!-- end -->", {}) == "<!-- bench -->\n\n<!-- end -->"


def test_the_command_prints_tables_json_and_one_sentence_on_mistakes(
    result: Result, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "speed", lambda asked, say: {k: v for k, v in result.items() if k != "scale"})
    assert main(["bench", "--quick", "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == result["models"]
    assert main(["bench", "--device", "cpu"]) == 0
    assert "## Where a step's time goes" in capsys.readouterr().out
    monkeypatch.undo()
    assert main(["bench", "tmfum", "--quick", "--device", "cpu"]) == 2
    assert "unknown model 'tmfum' (did you mean 'tmfun'?)" in capsys.readouterr().err
    assert main(["bench", "--data", "nowhere", "--device", "cpu"]) == 2
    assert "no data set 'nowhere'" in capsys.readouterr().err
    for words, reason in (
        (["--scale", "--compiled"], "--scale measures TMFUN on sets of its own"),
        (["--quick", "--write"], "too little for --write to keep"),
        (["freedom", "--compiled", "--quick", "--data", "synthetic-tiny"], "freedom cannot be compiled"),
        (["--threads", "99999"], "this machine has"),
    ):
        assert main(["bench", *words, "--device", "cpu"]) == 2
        assert reason in capsys.readouterr().err


def test_what_the_first_step_of_an_epoch_takes_beyond_the_others() -> None:
    assert measuring._first(one=5.0, many=5.0 + 9 * 2.0, steps=10) == pytest.approx(3.0)
    assert measuring._first(one=1.0, many=10.0, steps=10) == 0 == measuring._first(4.0, 4.0, 1)
