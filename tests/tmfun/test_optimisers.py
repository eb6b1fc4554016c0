"""Adam and row-adam: the second against loops, against the first, and what it leaves alone."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from baselines import model_class
from baselines.lightgcn import LightGCN
from baselines.lightgcn import Settings as LightGCNSettings
from baselines.mf_bpr import MFBPR, Settings
from baselines.popularity import Popularity
from baselines.popularity import Settings as PopularitySettings
from tmfun.dataset import Dataset
from tmfun.ranking import Ranking
from tmfun.recommender import Batch, PairwiseRecommender, Recommender
from tmfun.sampling import Sampler
from tmfun.training import Optimiser, Training, fit, optimisers_of, train_epoch

ROW_WISE = ["mf-bpr", "vbpr"]
RATE, L2 = 0.05, 0.3
BETAS, EPSILON = (0.9, 0.999), 1e-8  # the defaults of torch, and of the paper


@pytest.fixture(autouse=True)
def deterministic_algorithms() -> Iterator[None]:
    """As runs are made."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


class Given(Sampler):
    """Gives the batches it is made of, as (user, positive, negative) triples."""

    def __init__(self, *batches: Sequence[tuple[int, int, int]]) -> None:
        self.batches = [Batch(*torch.tensor(batch).T.contiguous()) for batch in batches]

    def epoch(self) -> Iterator[Batch]:
        return iter(self.batches)


def built(name: str, dataset: Dataset, seed: int = 0, **changes: float) -> Recommender:
    kind = model_class(name)
    return kind(dataset, replace(kind.settings_type(), dimension=6, **changes), seed)


def trained(
    name: str,
    dataset: Dataset,
    optimiser: Optimiser,
    *batches: Sequence[tuple[int, int, int]],
    epsilon: float = EPSILON,
) -> tuple[Recommender, list[torch.optim.Optimizer]]:
    """A model after one epoch of these batches, and what moved it."""
    model, training = built(name, dataset, l2=L2), Training(learning_rate=RATE, optimiser=optimiser)
    optimisers = optimisers_of(model, training)
    for group in (group for each in optimisers for group in each.param_groups):
        assert group["eps"] == EPSILON and group["betas"] == BETAS
        group["eps"] = epsilon
    if batches:
        train_epoch(model, Given(*batches), optimisers, training, 1)
    return model, optimisers


# Users and items come more than once, as positives and as negatives; some are read, then not, then read again.
FIRST = [(0, 1, 2), (0, 2, 1), (3, 1, 4), (3, 5, 1), (7, 2, 9)]
SECOND = [(1, 6, 7), (1, 7, 8), (2, 6, 8)]
THIRD = [(0, 2, 6), (2, 1, 9), (9, 9, 2), (9, 3, 6)]


def rows_moved_by_loops(model: MFBPR, batches: Sequence[Sequence[tuple[int, int, int]]]) -> dict[str, np.ndarray]:
    """MF-BPR's tables after these steps of row-wise Adam: gradients triple by triple, moments row by row."""
    tables = {side: getattr(model, f"{side}_embedding").detach().double().numpy().copy() for side in ("user", "item")}
    moments: dict[tuple[str, int], list[np.ndarray]] = {}
    for step, batch in enumerate(batches, start=1):
        gradients: dict[tuple[str, int], np.ndarray] = {}
        for u, i, j in batch:
            e_u, e_i, e_j = tables["user"][u], tables["item"][i], tables["item"][j]
            wrong = 1 / (1 + np.exp(e_u @ e_i - e_u @ e_j))
            for place, gradient in (
                (("user", u), wrong * (e_j - e_i) + L2 * e_u),
                (("item", i), -wrong * e_u + L2 * e_i),
                (("item", j), wrong * e_u + L2 * e_j),
            ):
                gradients[place] = gradients.get(place, 0) + gradient / len(batch)
        for (side, row), gradient in gradients.items():
            m, v = moments.setdefault((side, row), [np.zeros(6), np.zeros(6)])
            m += (1 - BETAS[0]) * (gradient - m)
            v += (1 - BETAS[1]) * (gradient**2 - v)
            rate = RATE * np.sqrt(1 - BETAS[1] ** step) / (1 - BETAS[0] ** step)
            tables[side][row] -= rate * m / (np.sqrt(v) + EPSILON)
    return tables


def test_row_adam_is_adam_written_with_loops_over_the_rows_that_are_read(toy: Dataset) -> None:
    steps = (FIRST, SECOND, THIRD, FIRST)
    model, _ = trained("mf-bpr", toy, "row-adam", *steps)
    expected = rows_moved_by_loops(built("mf-bpr", toy), steps)
    for side, table in expected.items():
        found = getattr(model, f"{side}_embedding").detach()
        np.testing.assert_allclose(found, table, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ROW_WISE)
def test_where_every_batch_reads_every_row_it_is_adam(name: str, toy: Dataset) -> None:
    """But for epsilon, next to nothing here, which SparseAdam adds before it corrects the second moment."""
    whole = [(n % toy.users, n % toy.items, (7 * n + 3) % toy.items) for n in range(toy.users * 3)]
    one, two = (trained(name, toy, each, *[whole] * 5, epsilon=1e-14)[0] for each in ("adam", "row-adam"))
    for key, value in one.named_parameters():
        assert (value - dict(built(name, toy).named_parameters())[key]).abs().max() > 2 * RATE, "it moves"
        torch.testing.assert_close(dict(two.named_parameters())[key], value, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ROW_WISE)
def test_rows_outside_the_batch_and_their_moments_stay_to_the_bit(name: str, toy: Dataset) -> None:
    """A row of the first batch that the second does not read is where the first has left it; Adam moves it on."""
    after = {
        optimiser: [trained(name, toy, optimiser, *steps) for steps in ([], [FIRST], [FIRST, SECOND])]
        for optimiser in ("adam", "row-adam")
    }
    for table in model_class(name).row_wise:
        columns = (0,) if "user" in table else (1, 2)
        first, second = ({triple[c] for triple in batch for c in columns} for batch in (FIRST, SECOND))
        left = sorted(first - second)
        start, one, two = (getattr(model, table).detach() for model, _ in after["row-adam"])
        assert torch.equal(two[left], one[left]) and not torch.isclose(one[left], start[left]).any()
        unread = [row for row in range(len(start)) if row not in first | second]
        assert torch.equal(two[unread], start[unread])
        assert not torch.isclose(two[sorted(second)], one[sorted(second)], rtol=0).any()
        for moment in ("exp_avg", "exp_avg_sq"):
            one_, two_ = (
                optimisers[-1].state[getattr(model, table)][moment] for model, optimisers in after["row-adam"][1:]
            )
            assert torch.equal(two_[left], one_[left]) and two_[left].any() and not two_[unread].any()
        one, two = (getattr(model, table).detach() for model, _ in after["adam"][1:])
        assert not torch.isclose(one[left], two[left], rtol=0).any()


@pytest.mark.parametrize("name", ROW_WISE)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_run_twice_gives_the_same_bits(name: str, threads: int, toy: Dataset) -> None:
    """And training ends, and leaves the model, as it does under Adam."""
    training = Training(learning_rate=RATE, batch_size=64, max_epochs=40, patience=2, optimiser="row-adam")
    models = [built(name, toy) for _ in range(2)]
    torch.set_num_threads(threads)
    try:
        one, two = (fit(model, toy, training, seed=0) for model in models)
    finally:
        torch.set_num_threads(1)
    assert one.history == two.history and one.epochs == two.epochs < training.max_epochs, "patience ran out"
    assert one.epochs - one.best_epoch == training.patience * training.evaluate_every
    for split in ("validation", "test"):
        np.testing.assert_array_equal(one.ranks[split], two.ranks[split])
        np.testing.assert_array_equal(one.ranks[split], Ranking(toy, split).ranks(models[0]))
    for key, value in models[0].state_dict().items():
        assert torch.equal(value, models[1].state_dict()[key])


def test_it_is_another_optimiser_and_leaves_a_model_that_adam_can_train(toy: Dataset) -> None:
    training = Training(learning_rate=RATE, batch_size=16, max_epochs=2)
    by_row = replace(training, optimiser="row-adam")
    model = built("mf-bpr", toy)
    histories = [fit(model, toy, how, seed=0).history for how in (training, by_row, training)]
    assert histories[0] != fit(built("mf-bpr", toy), toy, by_row, seed=0).history
    assert all(np.isfinite(entry["loss"]) for history in histories for entry in history)


@pytest.mark.parametrize("name", ROW_WISE)
def test_under_adam_taking_rows_first_changes_no_bit(name: str, toys: dict[str, Dataset]) -> None:
    """The loss as it was, of the rows of everything's representations, and Adam made by hand."""
    dataset, training = toys["three"], Training(learning_rate=RATE, batch_size=64, max_epochs=4, evaluate_every=4)
    model, before = built(name, dataset), built(name, dataset)
    fitted = fit(model, dataset, training, seed=0)
    optimiser, sampler = torch.optim.Adam(before.parameters(), lr=RATE, fused=True), training.sampler(dataset, 0)
    for _ in range(4):
        for batch in sampler.epoch():
            optimiser.zero_grad()
            assert isinstance(before, PairwiseRecommender)
            PairwiseRecommender.loss(before, batch).backward()
            optimiser.step()
    for key, value in before.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)
    np.testing.assert_array_equal(fitted.ranks["test"], Ranking(dataset, "test").ranks(before))


def test_the_rate_of_both_optimisers_decays(toy: Dataset) -> None:
    training = Training(learning_rate=RATE, decay=0.5, optimiser="row-adam")
    model = built("vbpr", toy)
    optimisers = optimisers_of(model, training)
    assert [type(optimiser) for optimiser in optimisers] == [torch.optim.Adam, torch.optim.SparseAdam]
    train_epoch(model, Given(FIRST), optimisers, training, 51)
    assert [group["lr"] for optimiser in optimisers for group in optimiser.param_groups] == [RATE / 2] * 2


def test_what_cannot_be_trained_so_is_refused_before_it_starts_and_what_only_counts_is_ranked(toy: Dataset) -> None:
    training = Training(optimiser="row-adam")
    with pytest.raises(ValueError, match="LightGCN: row-adam moves the rows that a batch reads"):
        fit(LightGCN(toy, LightGCNSettings(dimension=6), 0), toy, training, seed=0)
    assert fit(Popularity(toy, PopularitySettings(), 0), toy, training, seed=0).epochs == 0
    with pytest.raises(
        RuntimeError, match="dense gradients"
    ):  # a model that reads a table otherwise, and says it does not
        trained_wrongly(MFBPR(toy, Settings(dimension=6), 0), training)


def trained_wrongly(model: MFBPR, training: Training) -> None:
    model.loss = lambda batch: PairwiseRecommender.loss(model, batch)  # type: ignore[method-assign]
    train_epoch(model, Given(FIRST), optimisers_of(model, training), training, 1)
