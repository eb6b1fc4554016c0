"""Claims as files: the shipped ones, those with settings of their own, and every way to get one wrong."""

from pathlib import Path

import pytest

from ablations import claims
from ablations.claims import chosen, read_claims
from ablations.studies import read_study
from ablations.verdicts import fewest_seeds
from baselines import MODELS
from tmfun.errors import InputError
from tmfun.training import Training


def test_claims_read_with_their_family_and_defaults() -> None:
    claims = read_claims()
    card = [claim for claim in claims.values() if claim.family == "design-card"]
    assert {claim.worse for claim in card} == {
        "no-attention",
        "no-contrastive",
        "only-modality-graph",
        "only-item-graph",
    }
    assert {claim.better for claim in card} == {"full"}
    assert all(claim.source and claim.sentence.endswith(".") for claim in claims.values())


def test_tmfun_meets_every_competitor_in_one_family() -> None:
    family = chosen(["outperforms"])
    assert [claim.better for claim in family] == ["full"] * len(family)
    assert {claim.worse for claim in family} == set(MODELS) - {"tmfun"} and len(family) == len(MODELS) - 1
    assert fewest_seeds(len(family)) == 10 == len(read_study("paper").entries[0].seeds)


def test_each_modality_meets_a_counterpart_without_contrast_too() -> None:
    for claim in chosen(["modalities"]):
        assert claim.better == "no-contrastive" and claim.worse.startswith("only-") and claim.datasets


def test_a_family_is_all_its_claims_and_each_claim_counts_once() -> None:
    card = chosen(["design-card"])
    assert [claim.name for claim in card] == [c.name for c in read_claims().values() if c.family == "design-card"]
    assert chosen(["contrastive-loss", "design-card"])[0].name == "contrastive-loss"
    assert len(chosen(["contrastive-loss", "design-card", "contrastive-loss"])) == len(card)


CLAIM = '[c]\nsentence = "s."\nbetter = "full"\nworse = "{worse}"\nsource = "x"\n{more}'


def _with_side(worse: str) -> str:
    return CLAIM.format(worse="", more="").replace('worse = ""', f"worse = {worse}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CLAIM.format(worse="nobody", more=""), "unknown model or variant 'nobody'"),
        (CLAIM.format(worse="lattice[items]", more=""), "unknown control 'items'"),
        (CLAIM.format(worse="vbpr", more='metric = "recal@20"'), "unknown metric 'recal'"),
        (CLAIM.format(worse="vbpr", more="smallest_effect = 0"), "must be above 0"),
        (CLAIM.format(worse="vbpr", more='colour = "red"'), "unknown key 'colour'"),
        (CLAIM.format(worse="full", more=""), "both sides are 'full'"),
        (CLAIM.format(worse="vbpr{l2=1}", more=""), r"unknown model or variant 'vbpr\{l2=1\}'"),
        (_with_side('{ entry = "vbpr" }'), "nothing is set or searched of 'vbpr'"),
        (_with_side('{ entry = "vbpr", set = { l2 = 1 }, grid = { l2 = [1] } }'), "'l2' of 'vbpr' is both"),
        (_with_side("{ set = { l2 = 1 } }"), "the key 'entry' is missing"),
        (_with_side('{ entry = "vbpr", grid = { l2 = 1 } }'), r"grid = \{'l2': 1\} is not a table, each value a list$"),
        (_with_side('{ entry = "vbpr", sets = { l2 = 1 } }'), "unknown key 'sets'.*'set'"),
        (_with_side('{ entry = "vbpr", set = { l2 = 1 }, where = "x" }'), "unknown key 'where'"),
        (_with_side('{ entry = "vbpr", set = { l2 = "1" } }'), r"mine\.toml: \[c\]: l2 = '1' is not a finite number"),
        (_with_side('{ entry = "vbpr", grid = { l2 = [1, -1] } }'), "l2 = -1 must be at least 0"),
        (_with_side('{ entry = "vbpr", set = { heads = 2 } }'), "unknown key 'heads'"),
        (
            _with_side('{ entry = "vbpr", set = { "training.compiled" = "no" } }'),
            "compiled = 'no' is not true or false",
        ),
        (_with_side('{ entry = "vbpr", set = { training.patience = 3 } }'), 'are quoted: "training.patience"'),
        (_with_side('{ entry = "vbpr", grid = { training.patience = [3] } }'), 'are quoted: "training.patience"'),
        (_with_side('{ entry = "full[heads=4]", set = { l2 = 0.1 } }'), "'full' takes no other settings"),
        (_with_side('{ entry = "noise", set = { l2 = 0.1 } }'), r"'noise' is written 'full\[noise\]'"),
        (CLAIM.format(worse="lattice[items-permuted", more=""), "stands in brackets"),
        (CLAIM.format(worse="lattice[]", more=""), "stands in brackets"),
        (_with_side("3"), "worse = 3 is not a text or a table"),
        (CLAIM.format(worse="vbpr", more='datasets = "baby"'), "datasets = 'baby' is not a list"),
        (CLAIM.format(worse="vbpr", more="").replace("[c]", "[mine]"), "has the name of this file"),
        ("c = 3", "a table is needed"),
        ("[c]\nsentence = 's.'", "is missing"),
        ("[c", "not valid TOML"),
    ],
)
def test_a_wrong_claim_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_claims(tmp_path)


def test_two_files_cannot_make_the_same_claim(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.toml").write_text(CLAIM.format(worse="vbpr", more=""))
    with pytest.raises(InputError, match=r"also in one\.toml"):
        read_claims(tmp_path)


def test_an_unknown_claim_is_named() -> None:
    with pytest.raises(InputError, match="unknown claim 'attention'"):
        chosen(["attention"])


def _make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Have these claims be the shipped ones."""
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "mine.toml").write_text(text)
    monkeypatch.setattr(claims, "read_claims", lambda: read_claims(tmp_path / "claims"))


def _study(tmp_path: Path, text: str) -> str:
    (tmp_path / "study.toml").write_text(text)
    return str(tmp_path / "study.toml")


OWN = """
[a]
sentence = "s."
better = { entry = "full", grid = { contrast_weight = [0.003, 0.03], "training.learning_rate" = [1e-3, 1e-2] } }
worse = { entry = "no-contrastive", set = { heads = 4, "training.patience" = 3 } }
source = "x"
[b]
sentence = "s."
better = { entry = "lattice", set = { l2 = 0.1 } }
worse = { entry = "lattice[items-permuted]", set = { l2 = 0.1 } }
source = "x"
"""


def test_a_claim_brings_sides_with_settings_and_grids_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make(tmp_path, monkeypatch, OWN)
    text = """
    title = "t"
    datasets = ["a"]
    seeds = 3
    claims = ["mine"]
    [models.tmfun]
    variants = ["full", "no-contrastive"]
    set = { layers = 3 }
    grid = { l2 = [0.1, 0.2] }
    controls = ["items-permuted"]
    [models.lattice]
    grid = { l2 = [0.1, 0.2] }
    controls = ["items-permuted"]
    """
    read = read_study(_study(tmp_path, text))
    entries = {entry.name: entry for entry in read.entries}
    for claim in chosen(read.claims):
        assert {claim.better, claim.worse} <= set(entries), claim.name
    better = entries["full{contrast_weight=0.003|0.03, training.learning_rate=0.001|0.01}"]
    worse = entries["no-contrastive{heads=4, training.patience=3}"]
    assert len(better.points) == 4, "the claim's grid stands in the place of the study's"
    assert better.at(better.points[-1], "") == ({"layers": 3, "contrast_weight": 0.03}, Training(learning_rate=1e-2))
    assert worse.at({}, "") == ({"layers": 3, "contrast": False, "heads": 4}, Training(patience=3))
    assert worse.points == ({},), "what is set is not searched"
    assert len(entries["no-contrastive"].points) == 2, "the study's own entries stay as they are"
    permuted = entries[worse.name + "[items-permuted]"]
    assert permuted.control == "items-permuted" and permuted.settings == worse.settings
    assert entries["lattice{l2=0.1}[items-permuted]"].settings == entries["lattice{l2=0.1}"].settings == {"l2": 0.1}
    assert len(entries) == 4 + 4 + 2 + 2, "one pair of lattice serves both sides of b"


@pytest.mark.parametrize(
    ("worse", "message"),
    [
        (
            '{ entry = "no-contrastive", set = { contrast = true } }',
            r"mine\.toml: \[c\]: 'contrast' is what the variant",
        ),
        ('{ entry = "no-contrastive", set = { head = 2 } }', r"\[c\]: unknown key 'head'.*'heads'"),
        (
            '{ entry = "full", set = { heads = 1 } }',
            r"mine\.toml: \[c\]: in .*, 'full' and 'full\{heads=1\}' are the same",
        ),
        ('{ entry = "full", set = { contrast = true, l2 = 1e-3 } }', "are the same runs"),
        ('{ entry = "full", grid = { l2 = [0.1, 0.1] } }', r"\[c\]: the grid's key 'l2' has the value 0.1 twice"),
        ('{ entry = "no-contrastive", grid = { heads = [2, "x"] } }', r"\[c\]: heads = 'x' is not a whole number"),
        ('{ entry = "no-contrastive", grid = { heads = [] } }', r"\[c\]: the grid's key 'heads' has no values"),
        ('{ entry = "no-contrastive", set = { "training.patiance" = 2 } }', r"\[c\]: unknown key 'patiance'"),
    ],
)
def test_wrong_settings_of_a_claim_are_one_sentence_that_names_the_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worse: str, message: str
) -> None:
    _make(tmp_path, monkeypatch, _with_side(worse))
    made = 'title = "t"\ndatasets = ["a"]\n' + 'claims = ["c"]\n[models.tmfun]\nvariants = ["full", "no-contrastive"]'
    with pytest.raises(InputError, match=message) as caught:
        read_study(_study(tmp_path, made))
    assert "\n" not in str(caught.value)


def test_a_claim_whose_sides_a_study_makes_the_same_is_refused(tmp_path: Path) -> None:
    same = """
    title = "t"
    datasets = ["a"]
    claims = ["attention-fusion"]
    [models.tmfun]
    variants = ["full", "no-attention"]
    set = { attention = false }
    """
    with pytest.raises(InputError, match=r"attention-fusion.*'full' and 'no-attention' are the same runs"):
        read_study(_study(tmp_path, same))


def test_a_side_under_a_control_has_the_name_that_studies_give_it(tmp_path: Path) -> None:
    text = _with_side('"full[items-permuted]"').replace(
        'better = "full"', 'better = { entry = "full", set = { l2 = 1 } }'
    )
    (tmp_path / "mine.toml").write_text(text)
    assert read_claims(tmp_path)["c"].worse == "items-permuted"
    listed = _with_side('{ entry = "lattice[constant]", set = { l2 = 1 } }').replace("full", "noise")
    (tmp_path / "mine.toml").write_text(listed)
    assert read_claims(tmp_path)["c"].worse == "lattice{l2=1}[constant]"
    with_list = _with_side('{ entry = "full", set = { modalities = ["image", "text"] }, grid = { heads = [1, 2] } }')
    (tmp_path / "mine.toml").write_text(with_list)
    assert read_claims(tmp_path)["c"].worse == "full{modalities=image+text, heads=1|2}", "brackets are for controls"
