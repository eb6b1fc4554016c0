"""Studies and variants as files: the shipped ones, and every way to get one wrong."""

import tomllib
from pathlib import Path

import pytest

from ablations.claims import chosen
from ablations.studies import read_study, shipped
from ablations.variants import FILE, variants
from baselines import MODELS, model_class
from tmfun.errors import InputError
from tmfun.settings import read_settings


def study(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", shipped())
def test_shipped_studies_read_and_name_known_claims_with_both_sides(name: str) -> None:
    read = read_study(name)
    for claim in chosen(read.claims):
        for side in (claim.better, claim.worse):
            assert name == "smoke" or read.entry(side), f"{name} lacks {side} of {claim.name}"


def test_the_shipped_studies_are_there() -> None:
    assert {"smoke", "quick", "paper", "baby", "controls", "interpretations"} <= set(shipped())


@pytest.mark.parametrize("name", variants())
def test_every_variant_is_a_valid_delta_of_its_model(name: str) -> None:
    variant = variants()[name]
    kind = model_class(variant.model).settings_type
    changed = read_settings(kind, variant.changes, name)
    assert (changed == kind() and not variant.control) == (name == "full")
    assert variant.control is None or (variant.control == name and not variant.changes), (
        "a control is called by its name"
    )


def test_variants_and_models_share_no_name_and_no_two_variants_are_equal() -> None:
    assert not set(variants()) & set(MODELS)
    deltas = [(repr(sorted(variant.changes.items())), variant.control) for variant in variants().values()]
    assert len(set(deltas)) == len(deltas)
    assert tomllib.loads(FILE.read_text()).keys() == variants().keys()


def test_the_design_cards_ablations_are_variants() -> None:
    assert {"no-attention", "no-contrastive", "only-modality-graph", "only-item-graph"} <= set(variants())


def test_a_grid_is_the_product_of_its_values_and_settings_reach_the_entry(tmp_path: Path) -> None:
    text = """
    title = "t"
    datasets = ["a"]
    seeds = [3, 5]
    grid_seeds = [3]
    training = { setting = "lattice", max_epochs = 7 }
    [models.lightgcn]
    set = { layers = 3 }
    grid = { l2 = [0.1, 0.2], "training.learning_rate" = [1e-3, 1e-2, 1e-1] }
    training = { patience = 2 }
    [models.tmfun]
    variants = ["full", "no-attention"]
    seeds = 4
    [models.popularity]
    """
    entries = {entry.name: entry for entry in read_study(str(study(tmp_path, text))).entries}
    lightgcn = entries["lightgcn"]
    assert len(lightgcn.points) == 6 and (lightgcn.seeds, lightgcn.grid_seeds) == ((3, 5), (3,))
    settings, training = lightgcn.at(lightgcn.points[-1], "")
    assert settings == {"layers": 3, "l2": 0.2}
    assert (training.learning_rate, training.batches, training.max_epochs, training.patience) == (0.1, "users", 7, 2)
    assert entries["no-attention"].settings == {"attention": False}
    assert entries["full"].seeds == (0, 1, 2, 3)
    assert entries["popularity"].seeds == (0,), "what only counts needs one run"


def test_controls_give_entries_of_their_own_by_the_variants_name_where_there_is_one(tmp_path: Path) -> None:
    text = """
    title = "t"
    datasets = ["a"]
    seeds = 3
    [models.tmfun]
    variants = ["full", "no-attention", "noise"]
    set = { layers = 3 }
    grid = { l2 = [0.1, 0.2] }
    controls = ["items-permuted", "noise", "same-modality:text"]
    [models.lattice]
    controls = ["constant"]
    [models.content-knn]
    controls = ["items-permuted", "constant"]
    """
    entries = {entry.name: entry for entry in read_study(str(study(tmp_path, text))).entries}
    assert set(entries) == {
        "full", "items-permuted", "noise", "full[same-modality:text]",
        "no-attention", "no-attention[items-permuted]", "no-attention[noise]", "no-attention[same-modality:text]",
        "lattice", "lattice[constant]", "content-knn", "content-knn[items-permuted]", "content-knn[constant]",
    }  # fmt: skip
    permuted = entries["no-attention[items-permuted]"]
    assert permuted.control == "items-permuted" and permuted.title == "no attention fusion, items permuted"
    assert permuted.settings == {"layers": 3, "attention": False} and len(permuted.points) == 2
    assert entries["items-permuted"].settings == entries["full"].settings
    assert entries["content-knn[items-permuted]"].seeds == (0, 1, 2), "each seed draws"
    assert entries["content-knn[constant]"].seeds == (0,)


def test_search_sizes_are_those_of_the_grids(tmp_path: Path) -> None:
    head = 'title = "t"\ndatasets = ["a"]\n'
    text = head + "[models.vbpr]\ngrid = { l2 = [1, 2, 3] }\n[models.item-knn]\n[models.popularity]"
    sizes = {entry.name: entry.search_size for entry in read_study(str(study(tmp_path, text))).entries}
    assert sizes == {"vbpr": 3, "item-knn": 1, "popularity": None}, "popularity has nothing to search"


@pytest.mark.parametrize("name", [name for name in shipped() if name != "baby"])
def test_shipped_studies_search_as_much_for_every_model(name: str) -> None:
    read = read_study(name)
    assert len({entry.search_size for entry in read.entries if not entry.own} - {None}) == 1
    sizes = {entry.name: entry.search_size for entry in read.entries}
    for claim in chosen(read.claims):
        assert not claim.own_sides or sizes[claim.better] == sizes[claim.worse], claim.name


GOOD = 'title = "t"\ndatasets = ["a"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", "not valid TOML"),
        ('datasets = ["a"]\n[models.vbpr]', "the key 'title' is missing"),
        (GOOD + "sedes = 3\n[models.vbpr]", "unknown key 'sedes'.*'seeds'"),
        (GOOD + "seeds = 0\n[models.vbpr]", "seeds = 0 must be at least 1"),
        (GOOD + "seeds = [1, 1]\n[models.vbpr]", "distinct"),
        (GOOD + "seeds = [-1]\n[models.vbpr]", "from 0 up"),
        (GOOD + "seeds = 1.5\n[models.vbpr]", "seeds = 1.5 is not"),
        (GOOD + "[models.vbprr]", "unknown model 'vbprr'.*'vbpr'"),
        (GOOD + "[models]\nvbpr = 3", "a table is needed"),
        (GOOD + "[models]\n", "no models"),
        ('title = "t"\ndatasets = []\n[models.vbpr]', "no data sets"),
        (GOOD + '[models.tmfun]\nvariants = ["no-atention"]', "unknown variant 'no-atention'.*'no-attention'"),
        (GOOD + '[models.vbpr]\nvariants = ["full"]', "'full' is one of tmfun"),
        (GOOD + '[models.tmfun]\nvariants = ["full", "full"]', "'full' occurs twice"),
        (GOOD + "[models.vbpr]\ngrid = { l3 = [1.0] }", "unknown key 'l3'"),
        (GOOD + '[models.vbpr]\ncontrols = ["noize"]', "unknown control 'noize'.*'noise'"),
        (GOOD + '[models.vbpr]\ninterpretations = "all"', "interpretations are those of tmfun"),
        (GOOD + '[models.tmfun]\ninterpretations = ["heads=5"]', "unknown interpretation 'heads=5'.*'heads=4'"),
        (GOOD + '[models.tmfun]\ninterpretations = "al"', "unknown interpretation 'al'"),
        (GOOD + '[models.tmfun]\ngrid = { layers = [1] }\ninterpretations = "one-away"', "'layers' is a switch of"),
        (GOOD + "[models.vbpr]\ngrid = { l2 = [] }", "'l2' has no values"),
        (GOOD + '[models.vbpr]\ngrid = { l2 = ["x"] }', "l2 = 'x' is not a finite number"),
        (GOOD + "[models.vbpr]\nset = { l2 = -1 }", "l2 = -1 must be at least 0"),
        (GOOD + '[models.vbpr]\ngrid = { "training.rate" = [1] }', "unknown key 'rate'"),
        (GOOD + '[models.tmfun]\nvariants = ["no-attention"]\ngrid = { attention = [true] }', "what the variant"),
        (GOOD + 'training = { setting = "latice" }\n[models.vbpr]', "unknown training setting 'latice'.*'lattice'"),
        (GOOD + "training = { max_epochs = true }\n[models.vbpr]", "max_epochs = True is not a whole number"),
        (GOOD + 'training = { optimiser = "rowadam" }\n[models.vbpr]', "'rowadam' is not one of 'adam', 'row-adam'$"),
        (GOOD + '[models.vbpr]\ntraining = { optimizer = "adam" }', "unknown key 'optimizer'.*'optimiser'"),
        (GOOD + '[models.vbpr]\ngrid = { "training.optimiser" = ["row_adam"] }', "'row_adam' is not one of 'adam'"),
        (GOOD + "[models.vbpr]\nfoo = 1", "unknown key 'foo'"),
        (GOOD + 'claims = ["x"]\n[models.vbpr]', "mine.toml: unknown claim 'x'"),
    ],
)
def test_a_wrong_study_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_study(str(study(tmp_path, text)))
    assert "\n" not in str(caught.value)


def test_unknown_and_missing_studies() -> None:
    with pytest.raises(InputError, match=r"unknown study 'quik' \(did you mean 'quick'\?\)"):
        read_study("quik")
    with pytest.raises(InputError, match="no such file"):
        read_study("nowhere/mine.toml")
