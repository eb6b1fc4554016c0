"""The command line as a user meets it: what it prints, what it returns, and what it says about mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ablations.records import Store
from baselines import MODELS
from tmfun.cli import main

ROOT = Path(__file__).parents[1]
COMMANDS = (
    "all",
    "plan",
    "run",
    "status",
    "report",
    "check",
    "calibrate",
    "data",
    "models",
    "doctor",
    "bench",
)


def tmfun(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m tmfun` in a process of its own, from the source tree."""
    command = [sys.executable, "-m", "tmfun", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main([command, "--help"])
    assert exit_code.value.code == 0
    assert f"Example: tmfun {command}" in capsys.readouterr().out


def test_help_and_listing_models_load_no_torch() -> None:
    code = "import sys, baselines, tmfun.cli as c; c.parser().format_help(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_study_from_plan_to_verdict(
    on_disk: Path, study_file: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    study = str(study_file)
    assert main(["plan", study, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["to_do"], plan["recorded"], plan["missing"]) == (5, 0, [])

    assert main(["run", study, "--jobs", "1", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert printed.index("5 to run") < printed.index("[1/5]") < printed.index("[5/5]")
    assert "popularity  seed 0: recall@20" in printed

    assert main(["run", study]) == 0
    assert "5 runs have records, 0 to run" in capsys.readouterr().out

    assert main(["status", study, "--json"]) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert {(cell["entry"], cell["seeds_done"], cell["seeds"]) for cell in cells} == {
        ("full", 2, 2),
        ("no-attention", 2, 2),
        ("popularity", 1, 1),
    }

    assert main(["check", "attention-fusion", "--study", study, "--json"]) == 0
    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["verdict"] == "inconclusive" and finding["effect"]["seeds"] == [0, 1]
    assert finding["effect"]["difference"] == pytest.approx(finding["effect"]["better"] - finding["effect"]["worse"])

    assert main(["check", "--study", study]) == 0
    printed = capsys.readouterr().out
    assert "attention-fusion: INCONCLUSIVE on disk" in printed and "2 seeds" in printed
    assert f"again: tmfun check attention-fusion --study {study} --run" in printed
    assert "for new users too: " in printed and "no verdict" in printed
    (first, _), *_ = zip(finding["effect"]["better_by_seed"], finding["effect"]["worse_by_seed"], strict=True)
    assert f"by seed, full / no-attention: 0: {first:.4f} / " in printed
    assert "significant" not in printed, "two seeds"


def test_without_a_compiler_compiled_runs_are_refused_before_any_starts(
    on_disk: Path, study_file: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study_file.write_text(
        'title = "t"\ndatasets = ["disk"]\ntraining = { compiled = true }\n[models.lightgcn]\n[models.popularity]'
    )
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert main(["run", str(study_file), "--jobs", "1", "--device", "cpu"]) == 2
    assert "need a C++ compiler, and 'no-such-compiler' is not here" in capsys.readouterr().err
    store.refresh()
    assert not list(store.root.rglob("*.json"))


def test_all_runs_reports_and_checks_in_one_process(
    on_disk: Path,
    study_file: Path,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tmfun.cli.findings.PROJECT", tmp_path)
    assert main(["all", str(study_file), "--jobs", "1", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    steps = ("5 to run", "[5/5]", "== 2. Report", "reports/study/README.md", "== 3. Check", "attention-fusion: ")
    places = [printed.index(step) for step in steps]
    assert places == sorted(places)
    assert main(["all", str(study_file)]) == 0
    printed = capsys.readouterr().out
    assert "5 runs have records, 0 to run" in printed and "README.md  (unchanged)" in printed

    study_file.write_text(study_file.read_text().replace("claims =", "clams ="))
    assert main(["all", str(study_file)]) == 2
    assert "== 2." not in capsys.readouterr().out, "bad input ends it"


def test_a_stacked_grid_leaves_the_records_of_its_points_alone(
    on_disk: Path, study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grids = """
grid = { l2 = [1e-3, 1.0], "training.learning_rate" = [1e-2, 1e30] }

[models.lightgcn]
grid = { l2 = [1e-3, 1.0], "training.learning_rate" = [1e-3, 1e-2] }
"""
    study_file.write_text(study_file.read_text().replace("[models.popularity]", grids))
    stores = {}
    for size in (1, 4):
        monkeypatch.setenv("TMFUN_RESULTS", str(tmp_path / f"stacked-{size}"))
        assert main(["run", str(study_file), "--device", "cpu", "--jobs", "1", "--stack", str(size)]) == 1
        assert capsys.readouterr().out.count("FAILED") == 4, "a rate that is far too large, in two variants"
        stores[size] = Store()
    alone, stacked = stores[1], stores[4]
    assert stacked.run_ids() == alone.run_ids()
    together = [stacked.read(run_id).provenance["stacked"] for run_id in stacked.run_ids()]
    assert sorted(together) == [1] + [4] * 8, "the sound points, two of each variant, and LightGCN's winner again"
    for run_id in alone.run_ids():
        one, other = alone.read(run_id), stacked.read(run_id)
        assert other.specification == one.specification
        assert (other.result["epochs"], other.result["best_epoch"]) == (one.result["epochs"], one.result["best_epoch"])
        for step, reference in zip(other.result["history"], one.result["history"], strict=True):
            assert step == pytest.approx(reference, rel=1e-4)
        assert np.mean(stacked.arrays(run_id)["test"] == alone.arrays(run_id)["test"]) > 0.97


def test_check_strict_fails_on_a_contradicted_claim_only(
    on_disk: Path, study_file: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ablations import outcomes
    from ablations.verdicts import Verdict

    assert main(["check", "--study", str(study_file), "--run", "--strict"]) == 0
    monkeypatch.setattr(outcomes, "judge", lambda *_: Verdict("contradicted", "for the test", 0.001))
    assert main(["check", "--study", str(study_file)]) == 0
    assert main(["check", "--study", str(study_file), "--strict"]) == 1


def test_check_run_trains_the_whole_family_and_nothing_else(
    on_disk: Path, study_file: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command beside a verdict redoes it: the family's other claims take part in the correction."""
    text = study_file.read_text().replace('"no-attention"]', '"no-attention", "no-contrastive"]')
    study_file.write_text(text.replace('"attention-fusion"', '"attention-fusion", "contrastive-loss"'))
    assert main(["check", "attention-fusion", "--study", str(study_file), "--run"]) == 0
    printed = capsys.readouterr().out
    assert "popularity" not in printed and "6 runs done" in printed
    assert "attention-fusion: INCONCLUSIVE on disk" in printed and "contrastive-loss:" not in printed
    assert "corrected for 2 of the 4 claims of design-card" in printed
    store.refresh()
    assert len(store) == 6


@pytest.fixture
def shipped(on_disk: Path, study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped studies: `few`, with one seed, and `more`, with two."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    text = study_file.read_text()
    (folder / "few.toml").write_text(text.replace("seeds = 2", "seeds = 1").replace("popularity", "mf-bpr"))
    (folder / "more.toml").write_text(text)
    monkeypatch.setattr("ablations.studies.FOLDER", folder)
    return folder


def test_a_claim_that_several_studies_make_is_answered_once_from_the_most_seeds(
    shipped: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for study in ("few", "more"):
        assert main(["run", study]) == 0
    capsys.readouterr()
    assert main(["check", "attention-fusion"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("attention-fusion: ") == 1
    assert "2 seeds" in printed and "study more; also in few: inconclusive, 1 seed" in printed
    assert main(["check", "attention-fusion", "--json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)
    assert table["study"] == "more" and table["again"] == "tmfun check attention-fusion --study more --run"


def test_check_run_finds_the_study_by_itself(shipped: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "more"]) == 0
    (shipped / "other.toml").write_text((shipped / "few.toml").read_text().replace("claims =", "# claims ="))
    assert main(["check", "attention-fusion", "--run"]) == 0
    assert "--study more --run" in capsys.readouterr().out
    assert main(["check", "multi-step-fusion", "--run"]) == 2
    assert "no shipped study makes the claim 'multi-step-fusion'" in capsys.readouterr().err


def test_a_claim_that_a_study_does_not_make_is_named(
    on_disk: Path, study_file: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(study_file)]) == 0
    assert main(["check", "attention-fusion", "own-content", "--study", str(study_file)]) == 0
    captured = capsys.readouterr()
    assert "does not make the claim 'own-content'; made by: " in captured.err and "attention-fusion: " in captured.out
    assert main(["check", "own-content", "--study", str(study_file)]) == 2


def test_a_study_without_claims_has_nothing_to_check(
    on_disk: Path, study_file: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    study_file.write_text(study_file.read_text().replace("claims =", "# claims ="))
    assert main(["run", str(study_file)]) == 0
    assert main(["check", "--study", str(study_file)]) == 0
    assert "the study makes none" in capsys.readouterr().out


def test_what_becomes_of_a_gain_under_a_control_stands_beside_the_verdict(
    on_disk: Path, study_file: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ablations import controlled

    study_file.write_text(study_file.read_text() + "\n")
    text = study_file.read_text().replace('"no-attention"]', '"no-attention"]\ncontrols = ["items-permuted"]')
    study_file.write_text(text)
    assert main(["run", str(study_file)]) == 0
    capsys.readouterr()
    assert main(["check", "--study", str(study_file)]) == 0
    printed = capsys.readouterr().out
    assert "under the control items-permuted: " in printed and "2 seeds): too few seeds to say" in printed
    monkeypatch.setattr(controlled.Survival, "word", property(lambda self: "survives"))
    assert main(["check", "--study", str(study_file)]) == 0
    assert "attention-fusion: INCONCLUSIVE, not a content effect, on disk" in capsys.readouterr().out
    assert main(["check", "--study", str(study_file), "--json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)
    (control,) = table["controls"]
    assert (control["control"], control["word"], control["seeds"]) == ("items-permuted", "survives", [0, 1])


def test_a_claim_on_two_data_sets_is_pooled_below_them(
    on_disk: Path, study_file: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    twin = on_disk.parent / "twin"
    twin.mkdir()
    for file in on_disk.iterdir():
        (twin / file.name.replace("disk", "twin")).write_bytes(file.read_bytes())
    np.save(twin / "text_feat.npy", np.load(twin / "text_feat.npy") * [1, 2, 3, 4])
    study_file.write_text(study_file.read_text().replace('["disk"]', '["disk", "twin"]'))
    assert main(["check", "--study", str(study_file), "--run"]) == 0
    printed = capsys.readouterr().out
    assert "attention-fusion over 2 data sets, relative effects only: " in printed
    assert printed.index("on disk (") < printed.index("on twin (") < printed.index("over 2 data sets")
    assert main(["check", "--study", str(study_file), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["pooled_over_datasets"] == second["pooled_over_datasets"]
    ratios = [f["effect"]["better"] / f["effect"]["worse"] for f in (first, second)]
    assert first["pooled_over_datasets"]["relative"] == pytest.approx(np.sqrt(np.prod(ratios)) - 1)


def test_calibrate_writes_what_it_found_and_the_page_of_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ablations import calibration, planted

    monkeypatch.setattr("tmfun.cli.findings.PROJECT", tmp_path)
    monkeypatch.setattr("reports.figures.rendered", lambda figure: {"png": b"", "pdf": b""})
    assert main(["calibrate", "report"]) == 2
    assert "first: tmfun calibrate statistics" in capsys.readouterr().err
    few = calibration.calibrate
    monkeypatch.setattr(calibration, "calibrate", lambda say: few(2, say))
    assert main(["calibrate", "statistics"]) == 0
    assert "null, 3 seeds" in capsys.readouterr().out
    page = tmp_path / "reports" / "calibration" / "README.md"
    assert "2 studies for each number of seeds" in page.read_text()
    assert calibration.read(store.root / "calibration" / "statistics.json")["studies"] == 2
    scores, words = [0.5, 0.6], ["inconclusive"] * 4
    row = {"full": scores, "again": scores, "ids": scores, "null": words, "content": words}
    monkeypatch.setattr(planted, "one", lambda signal, seed: {"signal": signal, "seed": seed, **row})
    monkeypatch.setattr(planted.calibrate, "__defaults__", (1, planted.calibrate.__defaults__[1]))
    assert main(["calibrate", "pipeline", "--jobs", "1"]) == 0
    assert "[6/6]" in capsys.readouterr().out
    assert "## The whole pipeline" in page.read_text() and "## The statistics" in page.read_text()


def test_the_data_set_can_go_once_the_records_are_there(
    on_disk: Path, study_file: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(study_file)]) == 0
    monkeypatch.setenv("TMFUN_DATA", "")
    assert main(["status", str(study_file)]) == 0
    assert "seeds 2 of 2" in capsys.readouterr().out
    assert main(["check", "--study", str(study_file)]) == 0
    assert main(["run", str(study_file)]) == 2
    assert "no data set 'disk'" in capsys.readouterr().err


def test_data_list_shows_synthetic_and_own_sets_and_what_is_wrong_with_a_broken_one(
    on_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = on_disk.parent / "broken"
    broken.mkdir()
    (broken / "broken.inter").write_text("userID\titemID\n0\t0\n")
    assert main(["data", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["disk"]["problem"] is None and len(rows["disk"]["content_hash"]) == 64
    assert "lacks the column x_label" in rows["broken"]["problem"]
    assert "(synthetic)" in rows["synthetic"]["description"]


def test_doctor_names_versions_devices_and_absent_data(
    on_disk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["doctor", "--json"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert state["packages"]["torch"] and state["devices"][0] == "cpu" and "disk" in state["datasets"]
    assert set(state["absent"]) == {"baby", "sports", "clothing", "tiktok", "ml100k"}
    monkeypatch.setattr("tmfun.doctor.PACKAGES", ("numpy", "no-such-package"))
    assert main(["doctor"]) == 1
    assert "no-such-package is missing" in capsys.readouterr().out


def test_models_lists_them_all_describes_one_and_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(MODELS)
    assert main(["models", "--json"]) == 0
    found = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    assert set(found) == set(MODELS)
    assert (found["vbpr"]["title"], found["vbpr"]["modalities"], found["vbpr"]["learned"]) == ("VBPR", "features", True)
    assert main(["models", "lattice"]) == 0
    described = capsys.readouterr().out
    assert described.startswith("## lattice") and "**Deviations**" in described
    monkeypatch.setattr("reports.models.PAGE", tmp_path / "models.md")
    assert main(["models", "--write"]) == 0
    assert (tmp_path / "models.md").read_text() == (ROOT / "docs" / "models.md").read_text()


def break_features(folder: Path, change: str) -> None:
    """Put a mistake into the data set's files."""
    features = folder / "text_feat.npy"
    inter = folder / f"{folder.name}.inter"
    rows = np.load(features)
    if change == "missing file":
        inter.unlink()
    elif change == "wrong row count":
        np.save(features, np.vstack([rows, rows[:1]]))
    elif change == "NaN features":
        rows[3, 1] = np.nan
        np.save(features, rows)
    elif change == "constant features":
        np.save(features, np.ones_like(rows))
    elif change == "truncated file":
        features.write_bytes(features.read_bytes()[:-4])
    elif change == "id out of range":
        inter.write_text(inter.read_text() + "0\t25\t0\n")
    elif change == "negative id":
        inter.write_text(inter.read_text() + "-1\t3\t0\n")
    elif change == "duplicate":
        inter.write_text(inter.read_text() + inter.read_text().splitlines()[1] + "\n")
    elif change == "empty split":
        inter.write_text("\n".join(line for line in inter.read_text().splitlines() if not line.endswith("\t2")) + "\n")
    elif change == "not a number":
        inter.write_text(inter.read_text() + "zero\t1\t0\n")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("missing file", "no data set 'disk'"),
        ("wrong row count", "text features have shape (26, 4), but there are 25 items"),
        ("NaN features", "text features of item 3 are not finite"),
        ("constant features", "text features are the same for every item"),
        ("truncated file", "text_feat.npy: not a complete numpy file"),
        ("id out of range", "itemID 25 is out of range"),
        ("negative id", "userID -1 is out of range"),
        ("duplicate", "user 0 and item 0 occur together more than once"),
        ("empty split", "the test split is empty"),
        ("not a number", "the userID 'zero' in line 182 is not a whole number"),
    ],
)
def test_bad_data_is_one_sentence_and_exit_code_2(
    change: str, sentence: str, on_disk: Path, study_file: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    break_features(on_disk, change)
    assert main(["run", str(study_file)]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err and captured.err.startswith("tmfun: ")
    assert captured.err.count("\n") == 1 and "Traceback" not in captured.err
    assert not store.root.exists(), "nothing is half-written"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('titel = "x"', "unknown key 'titel' (did you mean 'title'?)"),
        ('title = "x"\ndatasets = ["disk"]\n[models.tmfum]', "unknown model 'tmfum' (did you mean 'tmfun'?)"),
        ('title = "x"\ndatasets = ["dsik"]\n[models.tmfun]', "no data set 'dsik'"),
        ('title = "x"\ndatasets = ["disk"]\n[models.tmfun]\nset = { atention = false }', "unknown key 'atention'"),
        ('title = "x"\ndatasets = ["synthetic[signl=0]"]\n[models.tmfun]', "signl"),
    ],
)
def test_a_bad_study_is_one_sentence_and_exit_code_2(
    text: str, sentence: str, on_disk: Path, study_file: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    study_file.write_text(text)
    assert main(["plan", str(study_file)]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err and captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["plan", "quik"], "unknown study 'quik' (did you mean 'quick'?)"),
        (["check", "atention"], "unknown claim 'atention'"),
        (["check", "--run"], "check --run needs claims, or --study"),
        (["check"], "no records of any shipped study"),
        (["report", "quick"], "no records of quick"),
        (["run", "smoke", "--device", "cuda:7"], "no device 'cuda:7'"),
        (["models", "latice"], "unknown model 'latice' (did you mean 'lattice'?)"),
    ],
)
def test_a_bad_call_is_one_sentence_and_exit_code_2(
    arguments: list[str], sentence: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err and captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["run"], ["fly"], [], ["run", "smoke", "--jobs", "0"], ["plan", "smoke", "--jason"]]
)
def test_bad_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main(arguments)
    assert exit_code.value.code == 2
    assert "usage: tmfun" in capsys.readouterr().err


def test_it_runs_as_a_module_with_exit_codes_and_survives_a_closed_pipe() -> None:
    assert "tmfun 0." in tmfun("--version").stdout
    bad = tmfun("plan", "nowhere.toml")
    assert (bad.returncode, bad.stderr) == (2, "tmfun: nowhere.toml: no such file\n")
    piped = subprocess.run(
        f"{sys.executable} -m tmfun data list | head -c 1", shell=True, cwd=ROOT, capture_output=True, text=True
    )
    assert "Traceback" not in piped.stderr


def test_the_shell_scripts_explain_themselves_and_refuse_two_studies() -> None:
    shown = subprocess.run(["./run_all.sh", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0 and "./run_all.sh my_study.toml" in shown.stdout
    refused = subprocess.run(["./run_all.sh", "quick", "paper"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2 and "one study at a time" in refused.stderr
