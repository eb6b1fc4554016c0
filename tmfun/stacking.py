"""Stacked runs: seeds of one model, trained together as one wider problem.

The parameters of S runs lie side by side, with one dimension more; a step takes one batch of each run, and every
operation serves all of them: a sparse product, for one, has S x d columns. That fills a GPU which a single run leaves
idle. Each run keeps its own random streams, its own early stopping and its own record, and leaves the stack when it is
over. It equals the run alone up to the order in which floating-point numbers are added.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from tmfun.dataset import Dataset
from tmfun.ranking import NotFiniteError, Ranking
from tmfun.recommender import Batch, Recommender
from tmfun.training import Course, DivergedError, Fitted, Sampler, Training, Watch


def fit_stacked(
    models: Sequence[Recommender],
    dataset: Dataset,
    training: Training,
    seeds: Sequence[int],
    device: torch.device | str = "cpu",
    progress: Callable[[int, dict[str, Any]], None] = lambda seed, state: None,
) -> list[Fitted | DivergedError | NotFiniteError]:
    """Train models of one kind with equal settings, one per seed, in place; see training.fit.

    A run that fails gives its error instead, and the others go on. Times are the stack's, in equal shares; `progress`
    also gets the seed. Raises ValueError for a model that cannot be stacked, and for row-adam: a stack's gradients are
    dense.
    """
    kinds = {type(model) for model in models}
    if training.optimiser != "adam":
        raise ValueError(f"{training.optimiser} cannot train a stack")
    if len(kinds) > 1 or not models[0].stackable:
        raise ValueError(f"{', '.join(sorted(kind.__name__ for kind in kinds))} cannot be trained in one stack")
    stack = _Stack([model.to(device) for model in models], training)
    samplers = [Sampler(dataset, training, seed) for seed in seeds]
    courses = [Course(training) for _ in models]
    validation, test = Ranking(dataset, "validation", device), Ranking(dataset, "test", device)
    ended: dict[int, Fitted | DivergedError | NotFiniteError] = {}
    running, epoch = list(range(len(models))), 0  # which run each place of the stack holds

    def end(run: int) -> Fitted | NotFiniteError:
        models[run].load_state_dict(courses[run].best_state)
        try:
            return courses[run].fitted(epoch, test.ranks(models[run]))
        except NotFiniteError as error:
            return error

    while running:
        epoch += 1
        with Watch.shared([courses[run].watch for run in running], "epoch"):
            losses = stack.train([samplers[run] for run in running], training.rate(epoch), device)
        for place, run in enumerate(running):
            loss = float(losses[place])
            if not torch.isfinite(losses[place]):
                ended[run] = DivergedError(f"the loss is {loss} in epoch {epoch}")
            elif not training.evaluates(epoch):
                courses[run].losses.append(loss)
            else:
                model = stack.take(place, models[run])
                try:
                    progress(seeds[run], courses[run].evaluate(epoch, loss, model, validation, dataset))
                except NotFiniteError as error:
                    ended[run] = error
                    continue
                if courses[run].over or epoch == training.max_epochs:
                    ended[run] = end(run)
        left = [place for place, run in enumerate(running) if run not in ended]
        if len(left) < len(running):
            stack.keep(left)
            running = [running[place] for place in left]
    return [ended[run] for run in range(len(models))]


class _Stack:
    """The parameters of all runs, (S, ...) each, and one optimiser for them."""

    def __init__(self, models: Sequence[Recommender], training: Training) -> None:
        self.template = copy.deepcopy(models[0])  # what a step computes, and all that the runs share
        self.template.static_shapes = True
        own = [dict(model.named_parameters()) for model in models]
        self.parameters = {
            name: torch.stack([parameters[name].detach() for parameters in own]).requires_grad_(trained.requires_grad)
            for name, trained in own[0].items()
        }
        self.optimiser = self._optimiser(training.learning_rate)
        self.loss = vmap(self._loss)

    def _optimiser(self, rate: float) -> torch.optim.Adam:
        return torch.optim.Adam([p for p in self.parameters.values() if p.requires_grad], lr=rate, fused=True)

    def _loss(self, parameters: dict[str, Tensor], users: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        return functional_call(self.template, parameters, (Batch(users, positives, negatives),))

    def train(self, samplers: Sequence[Sampler], rate: float, device: torch.device | str) -> Tensor:
        """One epoch; the mean loss of each run's batches, (S,)."""
        self.optimiser.param_groups[0]["lr"] = rate
        self.template.train()
        losses = []
        for batches in zip(*(sampler.epoch(device) for sampler in samplers), strict=True):
            users, positives, negatives = (
                torch.stack([getattr(batch, part) for batch in batches]) for part in ("users", "positives", "negatives")
            )
            self.optimiser.zero_grad(set_to_none=True)
            loss = self.loss(self.parameters, users, positives, negatives)  # (S,)
            loss.sum().backward()
            self.optimiser.step()
            losses.append(loss.detach())
        return torch.stack(losses).mean(dim=0)

    @torch.no_grad()
    def take(self, place: int, model: Recommender) -> Recommender:
        """`model`, with the parameters that the stack holds at `place`."""
        for name, parameter in model.named_parameters():
            parameter.copy_(self.parameters[name][place])
        return model

    def keep(self, places: list[int]) -> None:
        """Go on with the runs at `places` only."""
        old = [self.optimiser.state.get(p, {}) for p in self.parameters.values() if p.requires_grad]
        rate = self.optimiser.param_groups[0]["lr"]
        self.parameters = {
            name: p.detach()[places].requires_grad_(p.requires_grad) for name, p in self.parameters.items()
        }
        self.optimiser = self._optimiser(rate)
        trained = [p for p in self.parameters.values() if p.requires_grad]
        for parameter, state in zip(trained, old, strict=True):
            self.optimiser.state[parameter] = {
                key: value if value.dim() == 0 else value[places] for key, value in state.items()
            }
