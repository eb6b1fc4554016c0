"""Stacked runs: seeds and grid points of one model, trained together as one wider problem.

The parameters of S runs lie side by side, with one dimension more; a step takes one batch of each run, and every
operation serves all of them: a sparse product, for one, has S x d columns. That fills a GPU which a single run leaves
idle. Each run keeps its own random streams, its own numbers in loss and step (the fields marked `per_run`), its own
early stopping and its own record, and leaves the stack when it is over. It equals the run alone up to the order in
which floating-point numbers are added.

All else is one function for the whole stack: runs that differ in a switch, a shape or the course of training are
stacks of their own.
"""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from tmfun.dataset import Dataset
from tmfun.ranking import NotFiniteError, Ranking
from tmfun.recommender import Batch, Recommender
from tmfun.sampling import Sampler
from tmfun.settings import per_run
from tmfun.training import Course, DivergedError, Fitted, Training, Watch


def fit_stacked(
    models: Sequence[Recommender],
    dataset: Dataset,
    trainings: Sequence[Training],
    seeds: Sequence[int],
    device: torch.device | str = "cpu",
    progress: Callable[[int, dict[str, Any]], None] = lambda run, state: None,
) -> list[Fitted | DivergedError | NotFiniteError]:
    """Train models of one kind in place, each with its training and its seed; see training.fit.

    A run that fails gives its error instead, and the others go on. Times are the stack's, in equal shares; `progress`
    also gets the run's place among `models`. Raises ValueError for a model that cannot be stacked, for settings or
    trainings that differ in more than numbers of their own, for row-adam, as a stack's gradients are dense, and for
    compiled steps, as torch's compiler does not see through the sparse product of a stack.
    """
    kinds = {type(model) for model in models}
    if len(kinds) > 1 or not models[0].stackable:
        raise ValueError(f"{', '.join(sorted(kind.__name__ for kind in kinds))} cannot be trained in one stack")
    if apart := _apart([model.settings for model in models]) + _apart(trainings):
        raise ValueError(f"runs that differ in {', '.join(apart)} cannot be trained in one stack")
    if trainings[0].optimiser != "adam" or trainings[0].compiled:
        raise ValueError(
            f"{'compiled steps' if trainings[0].compiled else trainings[0].optimiser} cannot train a stack"
        )
    stack = _Stack([model.to(device) for model in models])
    samplers = [training.sampler(dataset, seed, device) for training, seed in zip(trainings, seeds, strict=True)]
    courses, training = [Course(training) for training in trainings], trainings[0]  # evaluations fall together
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
            rates = [trainings[run].rate(epoch) for run in running]
            losses = stack.train([samplers[run] for run in running], rates)
        for place, run in enumerate(running):
            loss = float(losses[place])
            if not torch.isfinite(losses[place]):
                ended[run] = DivergedError(f"the loss is {loss} in epoch {epoch}")
            elif not training.evaluates(epoch):
                courses[run].losses.append(loss)
            else:
                model = stack.take(place, models[run])
                try:
                    progress(run, courses[run].evaluate(epoch, loss, model, validation, dataset))
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


def _apart(tables: Sequence[Any]) -> list[str]:
    """The fields in which settings or trainings differ, though all runs of a stack share them."""
    first, own = tables[0], per_run(type(tables[0]))
    shared = [field.name for field in dataclasses.fields(first) if field.name not in own]
    return [name for name in shared if any(getattr(table, name) != getattr(first, name) for table in tables)]


class _Stack:
    """The parameters of all runs, (S, ...) each, their own numbers, (S,) each, and one optimiser for them."""

    def __init__(self, models: Sequence[Recommender]) -> None:
        self.template = copy.deepcopy(models[0])  # what a step computes, and all that the runs share
        self.template.static_shapes = True
        self.settings: Any = models[0].settings
        own = [dict(model.named_parameters()) for model in models]
        self.parameters = {
            name: torch.stack([parameters[name].detach() for parameters in own]).requires_grad_(trained.requires_grad)
            for name, trained in own[0].items()
        }
        device = next(iter(self.parameters.values())).device
        self.numbers = {
            name: torch.tensor([getattr(model.settings, name) for model in models], device=device)
            for name in sorted(per_run(type(self.settings)))
        }
        self._new_optimiser()
        self.loss = vmap(self._loss)

    def _new_optimiser(self) -> None:
        self.trained = [p for p in self.parameters.values() if p.requires_grad]
        self.moves = [torch.zeros_like(p, requires_grad=False) for p in self.trained]
        self.optimiser = torch.optim.Adam(self.moves, lr=1.0, fused=True)

    def _loss(
        self,
        parameters: dict[str, Tensor],
        numbers: dict[str, Tensor],
        users: Tensor,
        positives: Tensor,
        negatives: Tensor,
    ) -> Tensor:
        """The loss of one run, a scalar; `vmap` gives it each run's parameters, numbers and batch."""
        self.template.settings = dataclasses.replace(self.settings, **numbers)
        return functional_call(self.template, parameters, (Batch(users, positives, negatives),))

    @torch.no_grad()
    def _step(self, rates: Tensor) -> None:
        """Move each run's parameters down their gradients at its own rate, (S,).

        What Adam adds to a parameter is the rate times a move that depends on the gradients alone. So one optimiser
        moves zeros at rate 1, and each run takes its rate's part of that.
        """
        for parameter, move in zip(self.trained, self.moves, strict=True):
            move.grad, parameter.grad = parameter.grad, None
        self.optimiser.step()
        for parameter, move in zip(self.trained, self.moves, strict=True):
            parameter.addcmul_(move, rates.view(-1, *[1] * (move.dim() - 1)))
            move.zero_()

    def train(self, samplers: Sequence[Sampler], rates: Sequence[float]) -> Tensor:
        """One epoch, each run at its rate; the mean loss of each run's batches, (S,)."""
        on_device = torch.tensor(rates, device=self.trained[0].device)
        self.template.train()
        losses = []
        for batches in zip(*(sampler.epoch() for sampler in samplers), strict=True):
            users, positives, negatives = (
                torch.stack([getattr(batch, part) for batch in batches]) for part in ("users", "positives", "negatives")
            )
            loss = self.loss(self.parameters, self.numbers, users, positives, negatives)  # (S,)
            loss.sum().backward()
            self._step(on_device)
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
        old = [self.optimiser.state.get(move, {}) for move in self.moves]
        self.parameters = {
            name: p.detach()[places].requires_grad_(p.requires_grad) for name, p in self.parameters.items()
        }
        self.numbers = {name: numbers[places] for name, numbers in self.numbers.items()}
        self._new_optimiser()
        for move, state in zip(self.moves, old, strict=True):
            self.optimiser.state[move] = {
                key: value if value.dim() == 0 else value[places] for key, value in state.items()
            }
