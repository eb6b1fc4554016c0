"""Training: batches, epochs, early stopping on validation. The same seed gives the same model, bit for bit."""

import copy
import ctypes
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from tmfun import metrics
from tmfun.dataset import Dataset
from tmfun.ranking import Ranking
from tmfun.recommender import Recommender
from tmfun.sampling import Sampler
from tmfun.settings import added_later, setting

Optimiser = Literal["adam", "row-adam"]


@dataclass(frozen=True)
class Training:
    """How a model is trained; the defaults are the setting `suite`."""

    learning_rate: float = setting(1e-3, above=0, per_run=True)
    decay: float = setting(1.0, above=0, most=1, per_run=True)  # the rate is learning_rate * decay^(epoch / 50)
    batches: Literal["interactions", "users"] = "interactions"  # all pairs in turn, or distinct users, one pair each
    batch_size: int = setting(2048, least=1)
    max_epochs: int = setting(1000, least=1)
    evaluate_every: int = setting(2, least=1)  # epochs
    patience: int = setting(10, least=1)  # evaluations without a new best
    select_by: str = "recall@20"  # on validation; the first best epoch wins
    threads: int = setting(1, least=1)  # CPU threads of one run; part of its identity, as sums depend on it
    optimiser: Optimiser = added_later("adam", legacy="adam")  # what each means: `optimisers_of`
    compiled: bool = added_later(False, legacy=False)  # loss and gradients by torch.compile: `compile_loss`

    def evaluates(self, epoch: int) -> bool:
        """Whether validation is looked at after this epoch."""
        return epoch % self.evaluate_every == 0 or epoch == self.max_epochs

    def rate(self, epoch: int) -> float:
        """The learning rate in this epoch, counted from 1."""
        return self.learning_rate * self.decay ** ((epoch - 1) / 50)

    def sampler(self, dataset: Dataset, seed: int, device: torch.device | str = "cpu") -> Sampler:
        """What draws the batches of a run. Raises InputError for a data set that none can be drawn from."""
        return Sampler(dataset, self.batch_size, seed, self.batches == "users", device)

    def unusable(self, kind: type[Recommender]) -> str | None:
        """Why models of this kind cannot be trained so, in a few words; None if they can."""
        if not kind.learned:
            return None
        if self.optimiser == "row-adam" and not kind.row_wise:
            return "row-adam moves the rows that a batch reads, and here a step reaches all rows"
        if self.compiled and not kind.stackable:
            return "compiled steps are for the models that can be stacked, and this is none of them"
        if self.compiled and self.optimiser != "adam":
            return f"compiled gradients are dense, and {self.optimiser} takes sparse ones"
        return None


SETTINGS = {
    "suite": Training(),
    # LATTICE (Zhang et al. 2021) as its code trains; its L2 weight is 1e-5, a hyper-parameter of the models.
    "lattice": Training(
        learning_rate=5e-4,
        decay=0.96,
        batches="users",
        batch_size=1024,
        max_epochs=200,
        evaluate_every=5,
        patience=10,
    ),
    # MMRec (Zhou 2023).
    "mmrec": Training(evaluate_every=1, patience=20),
}


@dataclass
class Fitted:
    """What training found: the model is left at its best epoch."""

    best_epoch: int
    epochs: int
    history: list[dict[str, float]]  # per evaluation: epoch, mean loss since the last one, validation metric
    ranks: dict[str, NDArray[np.int32]]  # validation and test, at the best epoch
    seconds: dict[str, list[float]] = field(default_factory=dict)  # of each "epoch", of each "evaluation"
    cpu_seconds: dict[str, list[float]] = field(default_factory=dict)  # the same in processor time: no waiting


class DivergedError(Exception):
    """The loss is no longer a finite number."""


def be_deterministic(threads: int) -> None:
    """Make this process compute the same bits every time, on `threads` CPU threads."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it; read at its first use
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing here reads memory it has not written
    torch.backends.cudnn.benchmark = False
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let glibc reuse freed blocks instead of handing them back to the system after every tensor.

    Tensors of some megabytes come and go in every step; faulting their pages in anew costs more than the arithmetic.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library: merely slower
        return
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_threshold, 2**30)


def fit(
    model: Recommender,
    dataset: Dataset,
    training: Training,
    seed: int,
    device: torch.device | str = "cpu",
    progress: Callable[[dict[str, Any]], None] = lambda state: None,
) -> Fitted:
    """Train `model` in place until validation stops improving; a model that only counts is just ranked.

    `progress` is called after every evaluation with its entry of the history and the best so far. Raises DivergedError
    for a loss that is no finite number, ranking.NotFiniteError for a score.
    """
    model.to(device)
    validation = Ranking(dataset, "validation", device)
    course, epoch = Course(training), 0
    if model.learned:
        sampler = training.sampler(dataset, seed, device)
        optimisers = optimisers_of(model, training)
        if training.compiled:
            compile_loss(model)
        for epoch in range(1, training.max_epochs + 1):
            with course.watch("epoch"):
                loss = train_epoch(model, sampler, optimisers, training, epoch)
            if not training.evaluates(epoch):
                course.losses.append(loss)
                continue
            progress(course.evaluate(epoch, loss, model, validation, dataset))
            if course.over:
                break
        model.load_state_dict(course.best_state)
    else:
        course.best_ranks = validation.ranks(model)
    return course.fitted(epoch, Ranking(dataset, "test", device).ranks(model))


class Course:
    """One run's way through its evaluations: the history, the best so far, and when it is over."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.history: list[dict[str, float]] = []
        self.losses: list[float] = []  # since the last evaluation
        self.best, self.best_epoch = -1.0, 0
        self.best_ranks = np.empty(0, dtype=np.int32)
        self.best_state: dict[str, Any] = {}
        self.watch = Watch()

    def evaluate(
        self, epoch: int, loss: float, model: Recommender, validation: Ranking, dataset: Dataset
    ) -> dict[str, Any]:
        """Look at validation after `epoch`; the first best one keeps its ranks and the model's state. For those who
        watch: this evaluation and the best one."""
        with self.watch("evaluation"):
            ranks = validation.ranks(model)
            value = metrics.mean(self.training.select_by, ranks, dataset.validation[:, 0])
        mean = float(np.mean([*self.losses, loss]))
        self.losses = []
        self.history.append({"epoch": epoch, "loss": mean, self.training.select_by: value})
        if value > self.best:
            self.best, self.best_epoch, self.best_ranks = value, epoch, ranks
            self.best_state = copy.deepcopy(model.state_dict())
        best = {"best": self.best, "best_epoch": self.best_epoch}
        return {**self.history[-1], **best, "seconds_per_epoch": self.watch.seconds["epoch"][-1]}

    @property
    def over(self) -> bool:
        """Whether patience has run out."""
        return self.history[-1]["epoch"] - self.best_epoch >= self.training.patience * self.training.evaluate_every

    def fitted(self, epochs: int, test_ranks: NDArray[np.int32]) -> Fitted:
        """What the run found, with the test ranks of its best epoch."""
        ranks = {"validation": self.best_ranks, "test": test_ranks}
        return Fitted(self.best_epoch, epochs, self.history, ranks, self.watch.seconds, self.watch.cpu_seconds)


class Watch:
    """Times what happens inside `with watch(name)`, in seconds of the clock and of the processor."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {"epoch": [], "evaluation": []}
        self.cpu_seconds: dict[str, list[float]] = {"epoch": [], "evaluation": []}

    def __call__(self, what: str) -> AbstractContextManager[None]:
        return self.shared([self], what)

    @staticmethod
    @contextmanager
    def shared(watches: Sequence["Watch"], what: str) -> Iterator[None]:
        """Time something done for several at once: each gets an equal share."""
        clock, cpu = time.perf_counter(), time.process_time()
        yield
        clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
        for watch in watches:
            watch.seconds[what].append(clock / len(watches))
            watch.cpu_seconds[what].append(cpu / len(watches))


def optimisers_of(model: Recommender, training: Training, fused: bool = True) -> list[torch.optim.Optimizer]:
    """What moves the model's parameters, each by one of the optimisers; `fused`: in one operation, as runs do.

    adam        every row of every table in every step: rows outside the batch go on along their moments
    row-adam    the parameters of `row_wise` by torch's SparseAdam: a row and its moments move in the steps whose batch
                reads the row, and stay to the bit in all others. Every other parameter by Adam. Moments are corrected
                for all steps so far, not for the row's own: a row first read late moves by up to sqrt(10) rates.

    Prepares the model's gradients for it. Raises ValueError for a model that cannot be trained so.
    """
    reason = training.unusable(type(model))
    if reason:
        raise ValueError(f"{model.title}: {reason}")
    model.sparse_gradients = training.optimiser == "row-adam"
    named = dict(model.named_parameters())
    tables = [named.pop(name) for name in model.row_wise] if model.sparse_gradients else []
    found: list[torch.optim.Optimizer] = []
    if named:
        found.append(torch.optim.Adam(named.values(), lr=training.learning_rate, fused=fused, foreach=False))
    if tables:
        found.append(torch.optim.SparseAdam(tables, lr=training.learning_rate))
    return found


def no_compiler() -> str | None:
    """Why this machine cannot compile steps, in a few words; None if it can."""
    needed = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")  # as torch looks for it
    return None if shutil.which(needed) else f"compiled steps need a C++ compiler, and '{needed}' is not here"


def compile_loss(model: Recommender) -> None:
    """Have calls of the model, which give its loss, run through torch.compile: fewer and larger operations, the same
    up to the order of sums. On a GPU a step's operations are then recorded once, and launched together (CUDA graphs).

    One program serves all batches of a size, and whatever breaks it in two is an error. Compiling takes half a minute;
    torch keeps what it compiled for the next process.
    """
    model.static_shapes = True
    options = {"deterministic": True, "triton.cudagraphs": True}  # no choice by timing, which could change bits
    model.compile(fullgraph=True, dynamic=False, options=options)


def train_epoch(
    model: Recommender,
    sampler: Sampler,
    optimisers: Sequence[torch.optim.Optimizer],
    training: Training,
    epoch: int,
) -> float:
    """One epoch; the mean loss of its batches."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = training.rate(epoch)
    model.train()
    model.begin_epoch()
    losses = []
    for batch in sampler.epoch():
        if training.compiled:
            torch.compiler.cudagraph_mark_step_begin()  # what the last step gave may be overwritten
        model.zero_grad(set_to_none=True)
        loss = model(batch)
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        losses.append(loss.detach().clone())
    mean = float(torch.stack(losses).mean())
    if not np.isfinite(mean):
        raise DivergedError(f"the loss is {mean} in epoch {epoch}")
    return mean
