"""The synthetic data set: reproducible, and with the properties that its equations promise."""

import dataclasses
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from tmfun import formats
from tmfun.dataset import SPLITS, Dataset
from tmfun.errors import InputError
from tmfun.formats import synthetic

OTHER_VALUES = {
    "users": "121",
    "items": "91",
    "factors": "9",
    "clusters": "16",
    "within": "0.2",
    "interactions": "12",
    "activity": "0.5",
    "popularity": "0.8",
    "meets": "8",
    "strength": "2.5",
    "signal": "0.6",
    "shared": "0.6",
    "reliability": "0.6",
    "reliability_spread": "0.6",
    "mark": "0.5",
    "noise": "0.2",
    "modalities": "image+audio",
    "widths": "16+9",
    "neighbours": "4",
    "seed": "1",
}


def all_pairs(dataset: Dataset) -> NDArray[np.int32]:
    return np.concatenate([getattr(dataset, split) for split in SPLITS])


def same_interactions(a: Dataset, b: Dataset) -> bool:
    return all(np.array_equal(getattr(a, split), getattr(b, split)) for split in SPLITS)


def same_features(a: Dataset, b: Dataset) -> bool:
    return all(np.array_equal(x.features, b.modality(x.name).features) for x in a.modalities)


def norms(name: str) -> list[NDArray[np.float32]]:
    """The items' norms in each modality, over their mean: a mark that dominates reveals which are shown badly."""
    found = [np.linalg.norm(m.features, axis=1) for m in synthetic.generate(name).modalities if m.features is not None]
    return [norm / norm.mean() for norm in found]


def cosines(dataset: Dataset, modality: str) -> NDArray[np.float32]:
    features = dataset.modality(modality).features
    assert features is not None
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return unit @ unit.T


def lift(name: str, rows: NDArray[np.bool_] | None = None, k: int = 5) -> float:
    """How much likelier than any two items an item (of `rows`) and its k nearest images share users; 1 is chance.

    Expected counts are products of degrees, so that popular neighbours do not count for more.
    """
    dataset = synthetic.generate(name)
    chosen = np.zeros((dataset.users, dataset.items), dtype=np.float32)
    chosen[tuple(all_pairs(dataset).T)] = 1
    together = chosen.T @ chosen
    expected = np.outer(chosen.sum(axis=0), chosen.sum(axis=0))
    other = ~np.eye(dataset.items, dtype=bool)
    cosine = np.where(other, cosines(dataset, "image"), -np.inf)
    near = np.zeros_like(other)
    np.put_along_axis(near, np.argpartition(-cosine, k, axis=1)[:, :k], True, axis=1)
    if rows is not None:
        near[~rows] = False
    return float(together[near].sum() / expected[near].sum() / (together[other].sum() / expected[other].sum()))


SMALL = [name for name in synthetic.PRESETS if not synthetic.is_large(name)]
LARGE = sorted(set(synthetic.PRESETS) - set(SMALL))
AMONG_MET = "synthetic-small[meets=8,neighbours=6]"


@pytest.mark.parametrize("name", SMALL)
def test_presets_are_complete_data_sets_under_the_lattice_rule(name: str):
    dataset = formats.load(name)
    settings = synthetic.PRESETS[name]
    assert (dataset.users, dataset.items) == (settings.users, settings.items)
    assert dataset.split == "lattice"
    assert dataset.name == name
    assert dataset.origin == "synthetic"
    assert [modality.origin for modality in dataset.modalities] == ["synthetic", "synthetic"]
    pairs = all_pairs(dataset)
    counts = np.bincount(pairs[:, 0], minlength=dataset.users)
    assert counts.min() >= 5
    assert counts.max() <= dataset.items // 4
    assert counts.mean() == pytest.approx(settings.interactions, rel=0.2)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("synthetic", "fd5d1b3f2662"),
        ("synthetic-small", "127281947c59"),
        ("synthetic-tiny", "d13872c19d81"),
        ("synthetic-null", "01dcb09853ad"),
    ],
)
def test_the_content_of_a_preset_stays_as_it_was(name: str, head: str):
    """Else its records would no longer count."""
    assert synthetic.generate(name).content_hash.startswith(head)


def test_large_presets_are_not_made_just_to_be_listed():
    assert LARGE == ["synthetic-electronics", "synthetic-million"]
    listed = {found.name for found in formats.available()}
    assert listed >= set(SMALL) and not listed & set(LARGE)
    assert all(formats.find(name) for name in LARGE)


def test_users_who_choose_among_the_items_they_meet_choose_by_taste_and_what_is_popular():
    dataset = formats.load(AMONG_MET)
    pairs = all_pairs(dataset)
    counts = np.bincount(pairs[:, 0], minlength=600)
    assert dataset.split == "lattice" and counts.min() >= 5
    knowing_all = np.bincount(all_pairs(synthetic.generate("synthetic-small"))[:, 0], minlength=600)
    assert np.array_equal(counts, knowing_all), "as active as users who know all items"
    steep, flat = (f"synthetic-small[meets=8,popularity={value}]" for value in ("1.5", "0.0"))
    degrees = [np.bincount(all_pairs(synthetic.generate(name))[:, 1], minlength=600) for name in (steep, flat)]
    assert degrees[0].max() > 3 * degrees[1].max()
    shown_well = "synthetic-small[meets=8,reliability=1]"
    assert lift(shown_well) > 2 and lift("synthetic-small[meets=8,reliability=1,signal=0]") < 1.2


def test_memory_grows_with_interactions_and_not_with_users_times_items():
    tracemalloc.start()
    dataset = synthetic.generate("synthetic[users=20000,items=20000,meets=8,interactions=6,activity=0.5,widths=4+4]")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(all_pairs(dataset)) > 100_000
    assert peak < dataset.users * dataset.items / 2, "half a byte for each pair"


def test_neighbours_that_come_along_show_content_of_the_items_cluster():
    dataset = formats.load(AMONG_MET)
    for modality in dataset.modalities:
        assert modality.neighbours is not None and modality.cosine is not None
        exact = np.take_along_axis(cosines(dataset, modality.name), modality.neighbours.astype(np.int64), axis=1)
        assert modality.cosine == pytest.approx(exact, abs=1e-3)
        assert np.array_equal(modality.neighbours[:, 0], np.arange(600)) and (np.diff(modality.cosine) <= 0).all()
        assert all(len(set(row)) == 6 for row in modality.neighbours.tolist()), "nobody twice"
        assert np.median(modality.cosine[:, 1:]) > 0.8 > 0.3 > np.median(cosines(dataset, modality.name))


def test_the_same_name_gives_the_same_content_and_another_seed_another():
    first, again, other = (synthetic.generate(f"synthetic-tiny[seed={seed}]") for seed in (3, 3, 4))
    assert first.content_hash == again.content_hash
    assert not same_interactions(first, other)
    assert not same_features(first, other)


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(synthetic.Settings)])
def test_every_parameter_changes_the_content(key: str):
    base = {"signal": "0.5", "shared": "0.5", "reliability_spread": "0.5"}
    names = [
        "synthetic-tiny[" + ",".join(f"{k}={v}" for k, v in table.items()) + "]"
        for table in (base, {**base, key: OTHER_VALUES[key]})
    ]
    first, second = (synthetic.generate(name).content_hash for name in names)
    assert first != second


@pytest.mark.parametrize("change", ["reliability=0.9", "reliability_spread=0.1", "mark=0", "noise=1", "widths=9"])
def test_how_items_are_shown_does_not_change_what_users_choose(change: str):
    plain, changed = synthetic.generate("synthetic-tiny"), synthetic.generate(f"synthetic-tiny[{change}]")
    assert same_interactions(plain, changed)
    assert not same_features(plain, changed)


@pytest.mark.parametrize("change", ["signal=0.3", "strength=1", "popularity=1", "activity=0.2", "interactions=8"])
def test_how_users_choose_does_not_change_how_items_are_shown(change: str):
    plain, changed = synthetic.generate("synthetic-tiny"), synthetic.generate(f"synthetic-tiny[{change}]")
    assert same_features(plain, changed)
    assert not same_interactions(plain, changed)


def test_neighbours_in_the_features_share_users_where_there_is_a_signal_and_only_there():
    assert lift("synthetic-small") > 1.3
    assert lift("synthetic-null") == pytest.approx(1, abs=0.1)
    assert lift("synthetic-null[reliability=1]") == pytest.approx(1, abs=0.1)


def test_the_signal_grows_with_its_parameters():
    none, half, full = (lift(f"synthetic-small[reliability=1,signal={signal}]") for signal in (0, 0.5, 1))
    assert none < half - 0.3 < full - 0.6
    none, half, full = (lift(f"synthetic-small[reliability={reliability}]") for reliability in (0, 0.5, 1))
    assert none == pytest.approx(1, abs=0.1)
    assert none < half - 0.3 < full - 0.6


def test_modalities_resemble_each_other_as_far_as_they_share_their_content():
    def resemblance(shared: float) -> float:
        """The correlation between the items' cosines in one modality and in the other."""
        dataset = synthetic.generate(f"synthetic-small[reliability=1,shared={shared},factors=4,noise=0]")
        upper = np.triu_indices(dataset.items, 1)
        return float(np.corrcoef(cosines(dataset, "image")[upper], cosines(dataset, "text")[upper])[0, 1])

    assert abs(resemblance(0.0)) < 0.1
    assert resemblance(0.0) < resemblance(0.7) - 0.1 < resemblance(1.0) - 0.3


def test_reliability_is_all_or_nothing_at_full_spread_and_equal_at_none():
    image, text = (norm > 1 for norm in norms("synthetic-small[mark=10]"))
    assert 0.4 < image.mean() < 0.6
    assert (image != text).all()  # of two modalities at reliability 0.5, each item has exactly one that shows it well
    badly = np.stack([norm > 1 for norm in norms("synthetic-small[mark=10,reliability=0.4,modalities=a+b+c]")])
    assert set(badly.sum(axis=0)) == {1, 2}  # 3 * 0.4 lies between 1 and 2 shown well
    even = norms("synthetic-small[mark=10,reliability_spread=0]")[0]
    assert even.std() < 0.2 < norms("synthetic-small[mark=10]")[0].std()


def test_items_shown_well_have_right_neighbours_and_items_shown_badly_wrong_ones():
    badly = norms("synthetic-small[mark=10]")[0] > 1  # the mark draws nothing: the same items as in synthetic-small
    assert lift("synthetic-small", ~badly) > 2
    assert lift("synthetic-small", badly) == pytest.approx(1, abs=0.15)


def test_items_and_users_have_long_tails():
    def share_of_the_top_tenth(name: str) -> float:
        dataset = synthetic.generate(name)
        degree = np.sort(np.bincount(all_pairs(dataset)[:, 1], minlength=dataset.items))[::-1]
        return float(degree[: dataset.items // 10].sum() / degree.sum())

    assert share_of_the_top_tenth("synthetic") > 0.25
    flat = share_of_the_top_tenth("synthetic[popularity=0,strength=0]")
    assert flat < 0.2
    assert share_of_the_top_tenth("synthetic[popularity=1.5,strength=0]") > 2 * flat

    counts = np.bincount(all_pairs(synthetic.generate("synthetic"))[:, 0])
    assert counts.max() > 5 * np.median(counts)
    even = np.bincount(all_pairs(synthetic.generate("synthetic[activity=0]"))[:, 0])
    assert (even == 10).all()


def test_held_out_items_are_no_different_from_training_items():
    dataset = synthetic.generate("synthetic")
    popularity = np.bincount(all_pairs(dataset)[:, 1], minlength=dataset.items)
    means = [popularity[getattr(dataset, split)[:, 1]].mean() for split in SPLITS]
    assert means == pytest.approx([means[0]] * 3, rel=0.1)


@pytest.mark.parametrize(
    "listed, widths", [("image", [16]), ("image+text+audio", [16, 8, 16]), ("a+b+c+d_2", [16, 8, 16, 8])]
)
def test_any_number_of_modalities(listed: str, widths: list[int]):
    dataset = formats.load(f"synthetic-tiny[modalities={listed}]")
    assert [modality.name for modality in dataset.modalities] == listed.split("+")
    assert [m.features.shape for m in dataset.modalities if m.features is not None] == [(90, width) for width in widths]
    arrays = {m.features.tobytes() for m in dataset.modalities if m.features is not None}
    assert len(arrays) == len(widths)


def test_features_are_rounded_far_above_the_last_bits():
    for modality in synthetic.generate("synthetic-small").modalities:
        assert modality.features is not None
        wide = modality.features.astype(np.float64)
        assert np.array_equal(np.round(wide, 3).astype(np.float32), modality.features)


@pytest.mark.parametrize(
    "name, complaint",
    [
        ("synthetic[signl=0]", "unknown key 'signl' (did you mean 'signal'?)"),
        ("synthetic[signal=2]", "signal = 2 must be at most 1"),
        ("synthetic[signal=nan]", "signal = 'nan' is not a finite number"),
        ("synthetic[users=12.5]", "users = 12.5 is not a whole number"),
        ("synthetic[users=5]", "users = 5 must be at least 10"),
        ("synthetic[interactions=5]", "interactions = 5 must be above 5"),
        ("synthetic[users=2000,items=1501]", "more than 3,000,000 users x items need meets=8"),
        ("synthetic[neighbours=90,items=80]", "there are more neighbours than items"),
        ("synthetic[seed=-1]", "seed = -1 must be at least 0"),
        ("synthetic[seed=1e3]", "seed = '1e3' is not a whole number"),
        ("synthetic[seed=1,seed=2]", "seed is given twice"),
        ("synthetic[signal]", "'signal' is not of the form key=value"),
        ("synthetic[signal=]", "'signal=' is not of the form key=value"),
        ("synthetic[]", "'' is not of the form key=value"),
        ("synthetic[signal=0,]", "'' is not of the form key=value"),
        ("synthetic[signal=0", "write it as synthetic[key=value,key=value]"),
        ("synthetic[signal=0]x", "write it as synthetic[key=value,key=value]"),
        ("synthetic[signal=0][seed=1]", "write it as synthetic[key=value,key=value]"),
        ("synthetic[signal=0, seed=1]", "without spaces"),
        ("synthetic[modalities=Image]", "names of small letters"),
        ("synthetic[modalities=image+image]", "two modalities have the same name"),
        ("synthetic[modalities=image+]", "names of small letters"),
        ("synthetic[widths=64+0]", "widths must lie between 1 and 4096"),
        ("synthetic[widths=wide]", "widths = ['wide'] is not a list"),
        ("syntetic[seed=1]", "unknown synthetic data set 'syntetic' (did you mean 'synthetic'?)"),
    ],
)
def test_bad_names_are_one_sentence(name: str, complaint: str):
    assert synthetic.is_synthetic(name)
    with pytest.raises(InputError) as caught:
        formats.load(name)
    assert complaint in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_names_are_left_to_the_files():
    assert not synthetic.is_synthetic("baby")
    assert not synthetic.is_synthetic("synthetic-other")
    with pytest.raises(InputError, match="unknown synthetic data set 'synthetic-other'"):
        synthetic.generate("synthetic-other")


def test_listing_data_sets_loads_no_torch():
    code = "import sys, tmfun.formats as f; f.available(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=formats.PROJECT)
