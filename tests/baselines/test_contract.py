"""What every model in the registry must keep to, on toy data sets with one, two, three and odd modalities."""

import dataclasses
import inspect
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines import MODELS, model_class
from baselines.popularity import Popularity
from baselines.popularity import Settings as PopularitySettings
from tmfun import controls, metrics
from tmfun.controls import CONTROLS
from tmfun.dataset import Dataset
from tmfun.errors import InputError
from tmfun.formats import synthetic as synthetic_set
from tmfun.ranking import Ranking
from tmfun.recommender import Batch, Recommender
from tmfun.settings import read_settings
from tmfun.training import Training, fit

ROOT = Path(__file__).parents[2]
SMALL = {"dimension": 8, "neighbours": 4, "latent": 6, "contrast_weight": 0.03}
LEARNED = [name for name in MODELS if model_class(name).learned]
CONTENT = [name for name in MODELS if model_class(name).content]


@pytest.fixture(autouse=True)
def deterministic_algorithms() -> Iterator[None]:
    """Runs are made in this mode, in which torch refuses operations that may differ from run to run."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def small_settings(name: str) -> Any:
    kind = model_class(name).settings_type
    table = {key: value for key, value in SMALL.items() if key in {field.name for field in dataclasses.fields(kind)}}
    return read_settings(kind, table, name)


def build(name: str, dataset: Dataset, seed: int = 0) -> Recommender:
    return model_class(name)(dataset, small_settings(name), seed)


def train(model: Recommender, dataset: Dataset, epochs: int, seed: int = 0) -> list[float]:
    """Epochs without evaluation, so that held-out items play no part; the mean loss of each."""
    if not model.learned:
        return []
    sampler = Training(batch_size=64).sampler(dataset, seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    means = []
    for _ in range(epochs):
        model.train()
        model.begin_epoch()
        losses = []
        for batch in sampler.epoch():
            optimiser.zero_grad()
            loss = model.loss(batch)
            assert loss.shape == ()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        means.append(float(np.mean(losses)))
    return means


@torch.no_grad()
def all_scores(model: Recommender, dataset: Dataset) -> Tensor:
    model.eval()
    return model.scores(model.prepare_scores(), torch.arange(dataset.users))


def ranks(model: Recommender, dataset: Dataset) -> np.ndarray:
    return np.concatenate([Ranking(dataset, split).ranks(model) for split in ("validation", "test")])


@pytest.fixture(scope="module")
def trained(toys: dict[str, Dataset]) -> Callable[..., tuple[Recommender, list[float]]]:
    """Models after 25 epochs, with their losses; each is trained once."""
    done: dict[tuple[str, str], tuple[Recommender, list[float]]] = {}

    def get(name: str, toy_name: str = "two") -> tuple[Recommender, list[float]]:
        if (name, toy_name) not in done:
            model = build(name, toys[toy_name])
            done[name, toy_name] = model, train(model, toys[toy_name], epochs=25)
        return done[name, toy_name]

    return get


# -- the registry


def test_listing_models_loads_no_torch() -> None:
    code = "import sys, baselines; print(len(baselines.MODELS), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(MODELS)), "False"]


def test_the_registry_has_the_models_that_tests_are_written_for() -> None:
    assert {"tmfun", "popularity", "item-knn", "mf-bpr", "lightgcn", "vbpr", "lattice"} <= set(MODELS)


def test_an_unknown_model_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"study\.toml: unknown model 'lightgnc' \(did you mean 'lightgcn'\?\)"):
        model_class("lightgnc", "study.toml")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_what_it_is(name: str) -> None:
    kind = model_class(name)
    assert issubclass(kind, Recommender)
    assert "title" in vars(kind) and kind.title
    described = inspect.getdoc(inspect.getmodule(kind)) or ""
    assert kind.title in described, "the file begins with what the model is"
    if kind is not Popularity:
        assert any(str(year) in described for year in range(2000, 2030)), "and where it comes from"
    assert isinstance(kind.numerics, int) and kind.numerics >= 1


def test_no_two_models_have_the_same_title() -> None:
    titles = [model_class(name).title for name in MODELS]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", MODELS)
def test_settings_are_a_frozen_dataclass_whose_defaults_are_allowed(name: str) -> None:
    kind = model_class(name).settings_type
    default = kind()
    assert dataclasses.is_dataclass(default)
    if fields := dataclasses.fields(default):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(default, fields[0].name, None)
    assert read_settings(kind, dataclasses.asdict(default), name) == default
    assert hash(default) == hash(kind())


# -- training


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_gives_the_same_model_bit_for_bit(name: str, toy: Dataset) -> None:
    training = Training(learning_rate=0.01, batch_size=64, max_epochs=4)
    torch.manual_seed(1)
    one, two = build(name, toy), build(name, toy)
    first = fit(one, toy, training, seed=0)
    torch.manual_seed(2)
    second = fit(two, toy, training, seed=0)
    assert first.history == second.history
    for split in ("validation", "test"):
        np.testing.assert_array_equal(first.ranks[split], second.ranks[split])
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key])


@pytest.mark.parametrize("name", LEARNED)
def test_what_a_model_reads_by_rows_has_sparse_gradients_and_what_it_says_not_is_refused(
    name: str, toy: Dataset, batch: Batch
) -> None:
    """With the same numbers, and nothing else has them."""
    model = build(name, toy)
    reason = Training(optimiser="row-adam").unusable(type(model))
    if not model.row_wise:
        assert reason and reason[0].islower() and not reason.endswith("."), "a few words, to stand in a sentence"
        return
    assert reason is None
    gradients = []
    for model.sparse_gradients in (False, True):
        model.zero_grad()
        model.loss(batch).backward()
        gradients.append({key: p.grad for key, p in model.named_parameters()})
    dense, sparse = gradients
    assert {key for key, gradient in sparse.items() if gradient.is_sparse} == set(model.row_wise)
    for key, gradient in dense.items():
        assert not gradient.is_sparse
        torch.testing.assert_close(sparse[key].to_dense(), gradient)


@pytest.mark.parametrize("name", LEARNED)
def test_another_seed_starts_elsewhere(name: str, toy: Dataset) -> None:
    one, two = all_scores(build(name, toy, seed=0), toy), all_scores(build(name, toy, seed=1), toy)
    assert not torch.allclose(one, two)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_leaves_global_random_numbers_and_the_data_alone(name: str, toy: Dataset) -> None:
    before, content = torch.random.get_rng_state(), dataclasses.replace(toy).content_hash
    model = build(name, toy)
    train(model, toy, epochs=1)
    ranks(model, toy)
    assert torch.equal(before, torch.random.get_rng_state())
    assert dataclasses.replace(toy).content_hash == content


@pytest.mark.parametrize("name", LEARNED)
def test_the_loss_falls(name: str, trained: Callable[..., tuple[Recommender, list[float]]]) -> None:
    _, losses = trained(name)
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.97 * np.mean(losses[:3])


@pytest.mark.parametrize("name", MODELS)
def test_held_out_pairs_play_no_part_in_what_is_learned(name: str, toy: Dataset) -> None:
    """Other validation and test pairs, the same training pairs: the same scores, bit for bit."""
    free = np.argwhere(~np.isin(np.arange(toy.users * toy.items), toy.keys("train")).reshape(toy.users, toy.items))
    other_pairs = np.random.default_rng(0).permutation(free)[:120]
    other = dataclasses.replace(toy, validation=other_pairs[:60], test=other_pairs[60:]).check()
    one, two = build(name, toy), build(name, other)
    assert train(one, toy, epochs=2) == train(two, other, epochs=2)
    assert torch.equal(all_scores(one, toy), all_scores(two, other))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_finds_more_than_popularity_does(
    name: str, toy: Dataset, trained: Callable[..., tuple[Recommender, list[float]]]
) -> None:
    """Users of the toy prefer one of three groups of items, which its features show too."""

    def recall(model: Recommender) -> float:
        held_out = np.concatenate([toy.validation, toy.test])
        return metrics.mean("recall@5", ranks(model, toy), held_out[:, 0])

    popularity = recall(Popularity(toy, PopularitySettings(), 0))
    if name != "popularity":
        assert recall(trained(name)[0]) > 1.2 * popularity


# -- scores


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_finite_and_one_per_user_and_item(
    name: str, toy: Dataset, trained: Callable[..., tuple[Recommender, list[float]]]
) -> None:
    model, _ = trained(name)
    scores = all_scores(model, toy)
    assert scores.shape == (toy.users, toy.items) and scores.dtype == torch.float32
    assert scores.isfinite().all()
    with torch.no_grad():
        some = model.scores(model.prepare_scores(), torch.tensor([39, 3, 3]))
    torch.testing.assert_close(some, scores[[39, 3, 3]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_representations_give_the_scores(
    name: str, toy: Dataset, trained: Callable[..., tuple[Recommender, list[float]]]
) -> None:
    model, _ = trained(name)
    if type(model).representations is Recommender.representations:
        assert type(model).scores is not Recommender.scores, "a model has representations, or scores of its own"
        return
    scores = all_scores(model, toy)
    with torch.no_grad():
        z_u, z_i = model.representations()
    assert z_u.shape == (toy.users, z_i.shape[1]) and len(z_i) == toy.items
    torch.testing.assert_close(scores, z_u @ z_i.T, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_writing_to_scores_does_not_change_the_model(
    name: str, toy: Dataset, trained: Callable[..., tuple[Recommender, list[float]]]
) -> None:
    model, _ = trained(name)
    first = ranks(model, toy)
    with torch.no_grad():
        model.scores(model.prepare_scores(), torch.arange(toy.users)).fill_(-1.0)
    np.testing.assert_array_equal(ranks(model, toy), first)


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_ranks_as_the_model_that_was_saved(
    name: str, toy: Dataset, trained: Callable[..., tuple[Recommender, list[float]]]
) -> None:
    model, _ = trained(name)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    restored = build(name, toy, seed=5)
    restored.load_state_dict(torch.load(file, weights_only=True))
    np.testing.assert_array_equal(ranks(restored, toy), ranks(model, toy))


# -- modalities


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("toy_name", ["none", "one", "three", "neighbours", "neighbours-only", "both"])
def test_a_model_runs_on_any_modalities_or_says_why_not(name: str, toy_name: str, toys: dict[str, Dataset]) -> None:
    dataset, settings = toys[toy_name], small_settings(name)
    reason = model_class(name).unusable(dataset.card(), settings)
    if reason is not None:
        assert reason and reason[0].islower() and not reason.endswith("."), "a few words, to stand in a sentence"
        assert name in CONTENT
        assert toy_name in ("none", "neighbours-only"), "features are enough for every model"
        return
    assert toy_name != "none" or name not in CONTENT
    model = build(name, dataset)
    losses = train(model, dataset, epochs=2)
    assert np.isfinite(losses).all() and all_scores(model, dataset).isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_too_few_neighbours_on_file_are_a_reason_to_skip(name: str, toys: dict[str, Dataset]) -> None:
    image, text = toys["both"].modalities
    narrow = dataclasses.replace(text, neighbours=text.neighbours[:, :2], cosine=text.cosine[:, :2])
    dataset, settings = toys["both"].with_modalities(image, narrow), model_class(name).settings_type()
    reason = model_class(name).unusable(dataset.card(), settings)
    if reason is None:
        model_class(name)(dataset, settings, 0)
    else:
        assert reason.startswith("the neighbours file of 'text' holds 2 per item, not 10")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_reads_modalities_that_exist_and_have_features(name: str, toys: dict[str, Dataset]) -> None:
    for dataset in toys.values():
        card = dataset.card()
        read = model_class(name).reads(card, small_settings(name))
        assert set(read) <= {m.name for m in card.modalities if m.width is not None}
        assert not read or name in CONTENT


@pytest.mark.parametrize("name", MODELS)
def test_content_models_and_no_others_depend_on_content(name: str, toys: dict[str, Dataset]) -> None:
    one, two = build(name, toys["two"]), build(name, toys["three"])
    for model, toy_name in ((one, "two"), (two, "three")):
        train(model, toys[toy_name], epochs=2)
    same = torch.equal(all_scores(one, toys["two"]), all_scores(two, toys["three"]))
    assert same == (name not in CONTENT)


# -- controls


@pytest.fixture(scope="module")
def synthetic() -> Dataset:
    """The built-in data set, so small that every model runs under every control in a moment."""
    return synthetic_set.generate("synthetic-tiny[users=40,items=40,clusters=5]").check()


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("name", CONTENT)
def test_a_content_model_runs_under_every_control(name: str, control: str, synthetic: Dataset) -> None:
    """And sees it, except for random neighbours where it reads none; which is what planning goes by."""
    scores = []
    for seen in (synthetic, controls.apply(control, synthetic, seed=0)):
        model = build(name, seen)
        assert np.isfinite(train(model, seen, epochs=2)).all()
        scores.append(all_scores(model, seen))
        assert scores[-1].isfinite().all()
    reads_neighbours = "neighbours" in {field.name for field in dataclasses.fields(model_class(name).settings_type)}
    assert torch.equal(*scores) == (control == "random-neighbours" and not reads_neighbours)


def test_tmfun_with_constant_content_ranks_as_lightgcn_does(synthetic: Dataset) -> None:
    constant = controls.apply("constant", synthetic, seed=0)
    tmfun, lightgcn = build("tmfun", constant), build("lightgcn", synthetic)
    for model in (tmfun, lightgcn):
        train(model, constant, epochs=3)
    np.testing.assert_array_equal(ranks(tmfun, constant), ranks(lightgcn, synthetic))
