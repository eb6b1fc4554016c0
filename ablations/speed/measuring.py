"""One measurement in this process: `python -m ablations.speed.measuring KIND ARGUMENTS` prints its numbers as JSON.

A process of its own for each, so that peaks of memory do not mix. Times are pairs: seconds of the clock, seconds of
the processor. The processor's are the ones to compare where others use the machine too.
"""

import itertools
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from ablations.execution import peak_memory
from ablations.speed import plain
from baselines import model_class
from tmfun import formats
from tmfun.graphs import Graph, interaction_graph, nearest
from tmfun.ranking import Ranking
from tmfun.recommender import Batch, Recommender
from tmfun.sampling import Sampler
from tmfun.streams import numpy_stream
from tmfun.training import Training, be_deterministic, compile_loss, optimisers_of, train_epoch

Times = dict[str, float]  # "clock", "cpu": seconds
WARM_UP, PROFILED, SCALED = 2, 10, 5  # steps
TRIAD = 2**25  # numbers in each of three arrays: far more than any cache holds
SQUARE = 2**11  # rows and columns of the dense product


def timed(what: Callable[[], Any], repeat: int = 1) -> Times:
    """The medians of what `repeat` calls take."""
    found = []
    for _ in range(repeat):
        clock, cpu = time.perf_counter(), time.process_time()
        what()
        found.append((time.perf_counter() - clock, time.process_time() - cpu))
    return dict(zip(("clock", "cpu"), np.median(found, axis=0).tolist(), strict=True))


class _Drawn(Sampler):
    """Stands in for the sampler, with batches that are drawn already."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def epoch(self) -> Iterator[Batch]:
        return iter(self.batches)


def roofs(device: str, threads: int) -> dict[str, float]:
    """What floors are computed from: the most that the machine does of each kind of work.

    bytes_per_second    memory, in a = b + s c
    flops_per_second    arithmetic, in a dense product of float32
    """
    be_deterministic(threads)
    a, b, c = (torch.ones(TRIAD, device=device) for _ in range(3))
    x, y, z = (torch.ones(SQUARE, SQUARE, device=device) for _ in range(3))

    def least(what: Callable[[], Any]) -> float:
        def run() -> None:
            what()
            _wait(device)

        run()
        found = [timed(run) for _ in range(7)]
        return min(times["cpu"] / threads if device == "cpu" else times["clock"] for times in found)

    return {
        "bytes_per_second": 3 * a.nbytes / least(lambda: torch.add(b, c, alpha=3.0, out=a)),
        "flops_per_second": 2 * SQUARE**3 / least(lambda: torch.mm(x, y, out=z)),
    }


def model(
    name: str, dataset: str, device: str, threads: int, repeat: int, obvious: bool, **training_as: Any
) -> dict[str, Any]:
    """Building, epochs and a validation pass of one model with default settings, fast or with the obvious parts.

    `loose` is an epoch without deterministic algorithms: by so much determinism costs more. A compiled program has its
    algorithms compiled in, and no loose epoch.
    """
    data = formats.load(dataset)
    training = Training(threads=threads, **training_as)
    be_deterministic(threads)
    if obvious and device != "cpu":
        torch.use_deterministic_algorithms(False)  # sparse products of torch have no deterministic way there
    kind = model_class(name)
    built: list[Recommender] = []
    with plain.parts() if obvious else nullcontext():
        build = timed(lambda: built.append(kind(data, kind.settings_type(), 0).to(device)))
        found: dict[str, Any] = {"build": build}
        (made,) = built
        if made.learned:
            sampler = training.sampler(data, 0, device)
            if obvious:
                sampler = plain.LoopSampler(data, training.batch_size, 0, device=device)
            optimisers = optimisers_of(made, training, fused=not obvious)

            def epoch(source: Sampler) -> Callable[[], float]:
                return lambda: train_epoch(made, source, optimisers, training, 1)

            batches = list(itertools.islice(sampler.epoch(), PROFILED))
            if training.compiled:
                compile_loss(made)
                epoch(sampler)()  # compiles for both sizes of batch
            epoch(_Drawn(batches[:WARM_UP]))()
            found["epoch"] = timed(epoch(sampler), repeat)
            found["steps"] = -(-len(data.train) // training.batch_size)
            found["sampling"] = timed(lambda: list(sampler.epoch()), repeat)
            one, many = (timed(epoch(_Drawn(some)), repeat) for some in (batches[:1], batches))
            found["rebuild"] = {which: _first(one[which], many[which], len(batches)) for which in one}
            if not obvious:
                if not training.compiled:
                    torch.use_deterministic_algorithms(False)
                    found["loose"] = timed(epoch(sampler), repeat)
                    torch.use_deterministic_algorithms(True)
                found |= _work(made, batches[0])
                found["profile"] = _profile(epoch(_Drawn(batches)))
        if obvious:
            found["evaluation"] = timed(lambda: plain.ranks(made, data, "validation", device))
        else:
            ranking = Ranking(data, "validation", device)
            ranking.ranks(made)
            found["evaluation"] = timed(lambda: ranking.ranks(made), repeat)
    return {**found, **_memory(device)}


def steps(name: str, dataset: str, device: str, threads: int, repeat: int) -> dict[str, Any]:
    """Seconds of one training step with default settings, sampling apart."""
    data = formats.load(dataset)
    training = Training(threads=threads)
    be_deterministic(threads)
    before = _peak()
    kind = model_class(name)
    built: list[Recommender] = []
    build = timed(lambda: built.append(kind(data, kind.settings_type(), 0).to(device)))
    (made,) = built
    optimisers = optimisers_of(made, training)
    sampler = training.sampler(data, 0, device)
    batches: list[Batch] = []
    sampling = timed(lambda: batches.extend(sampler.epoch()))
    some = _Drawn(list(itertools.islice(itertools.cycle(batches), SCALED)))
    train_epoch(made, _Drawn(some.batches[:WARM_UP]), optimisers, training, 1)
    many = timed(lambda: train_epoch(made, some, optimisers, training, 1), repeat)
    card = data.card()
    sizes = {"users": card.users, "items": card.items, "interactions": card.train + card.validation + card.test}
    step = {kind: seconds / len(some.batches) for kind, seconds in many.items()}
    return {**sizes, "build": build, "step": step, "sampling": sampling, "data_mb": round(before, 1), **_memory(device)}


def knn(items: int, width: int, device: str, threads: int, obvious: bool) -> dict[str, Any]:
    """The 10 nearest of each of `items` rows of random numbers, on as many cores as threads, even if pinned to one."""
    if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) < threads:
        with suppress(OSError):  # cores that this program may not have
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
    be_deterministic(threads)
    features = torch.from_numpy(numpy_stream(0, "bench.knn").standard_normal((items, width), dtype=np.float32))
    features = features.to(device)
    search = plain.nearest if obvious else nearest

    def run() -> None:
        search(features, 10)
        _wait(device)

    return {"items": items, "width": width, "seconds": timed(run), **_memory(device)}


def products(dataset: str, device: str, threads: int, repeat: int) -> dict[str, Any]:
    """The product of the interaction graph with 64 columns, in each of the ways at hand."""
    be_deterministic(threads)
    graph = interaction_graph(formats.load(dataset))
    matrix, x = graph.matrix(), torch.ones(graph.shape[1], 64)
    ways: dict[str, Callable[[], Any]] = {}
    if device == "cpu":
        array = x.numpy()
        ways["scipy CSR"] = lambda: matrix @ array
    graph, x = graph.to(device), x.to(device)
    with warnings.catch_warnings(action="ignore"):  # torch calls its CSR a beta
        offsets, columns, weights = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
        csr = torch.sparse_csr_tensor(offsets, columns, weights, size=matrix.shape, device=device)
    ways |= {
        "embedding bag (what runs use)": lambda: graph.times(x),
        "torch CSR": lambda: csr @ x,
        "torch COO": lambda: plain.product(x, graph),
    }
    if device != "cpu":
        torch.use_deterministic_algorithms(False)
    found = {}
    for way, product in ways.items():

        def run(product: Callable[[], Any] = product) -> None:
            product()
            _wait(device)

        run()
        found[way] = timed(run, 10 * repeat)
    return {"nodes": graph.shape[0], "edges": int(sp.csr_array(matrix).nnz), "columns": 64, "seconds": found}


def _first(one: float, many: float, steps: int) -> float:
    """What an epoch's first step takes beyond a usual one, from an epoch of one step and an epoch of `steps`."""
    return max(0.0, one - (many - one) / (steps - 1)) if steps > 1 else 0.0


def _work(made: Recommender, batch: Batch) -> dict[str, Any]:
    """What one training step must do at least, as the rest of the step is left out.

    `bytes_per_step`, moved:
        products    sparse products, forward and backward: per edge its number, its column and a row of x; each result
                    once
        rows        the batch's users and items: read, and their gradients read and written
        optimiser   Adam: parameter, gradient and two moments read, all but the gradient written; row-adam: of rows read
    `flops_per_step`, of dense products, forward and backward.
    """
    found = {"products": 0}
    times = Graph.times

    def counted(graph: Graph, x: Tensor, direction: str = "forward") -> Tensor:
        result = times(graph, x, direction)
        edges = graph.get_buffer(f"{direction}_columns").numel()
        found["products"] += edges * (x[0].nbytes + 8) + result.nbytes
        return result

    with mock.patch.object(Graph, "times", counted), FlopCounterMode(display=False) as flops:
        made.zero_grad(set_to_none=True)
        made.loss(batch).backward()
    try:
        with torch.no_grad():
            width = made.representations()[0].shape[1]
    except NotImplementedError:
        width = 0
    found["rows"] = 3 * len(batch.users) * width * 4 * 3
    gradients = [p.grad for p in made.parameters() if p.grad is not None]
    found["optimiser"] = 7 * sum((g.coalesce().values() if g.is_sparse else g).nbytes for g in gradients)
    made.zero_grad(set_to_none=True)
    return {"bytes_per_step": found, "flops_per_step": flops.get_total_flops()}


NAMES = {  # how the profile calls what the profiler found
    "aten::_embedding_bag_forward_only": "sparse products",
    "aten::_embedding_bag": "sparse products",
    "aten::embedding_dense_backward": "gradients of gathered rows",
    "aten::_index_put_impl_": "gradients of gathered rows",
    "aten::index_select": "gathered rows",
    "aten::mm": "dense products",
    "aten::addmm": "dense products",
    "aten::bmm": "dense products",
    "aten::_fused_adam_": "optimiser",
    "aten::copy_": "copies",
    "aten::cat": "copies",
}


def _profile(what: Callable[[], Any]) -> dict[str, float]:
    """Which share of the processor's time each kind of operation takes, the largest first, until 90 % are named."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        what()
    shares: dict[str, float] = {}
    for entry in profiler.key_averages():
        compiled = entry.key.startswith("## Call CompiledFxGraph")
        name = "compiled program" if compiled else NAMES.get(entry.key, entry.key.removeprefix("aten::"))
        shares[name] = shares.get(name, 0.0) + entry.self_cpu_time_total
    total = sum(shares.values())
    largest = sorted(shares.items(), key=lambda share: -share[1])
    named = itertools.accumulate(value for _, value in largest)
    return {
        name: round(value / total, 4)
        for (name, value), so_far in zip(largest, named, strict=True)
        if so_far - value < 0.9 * total
    }


def _memory(device: str) -> dict[str, float | None]:
    on_gpu = device != "cpu"
    return {
        "peak_memory_mb": round(_peak(), 1),
        "peak_gpu_memory_mb": round(torch.cuda.max_memory_allocated(device) / 2**20, 1) if on_gpu else None,
    }


def _peak() -> float:
    """This program's largest resident size so far, in MiB: what the system counts can be that of its parent."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    own = [int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM:")]
    return own[0] if own else peak_memory()


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


KINDS: dict[str, Callable[..., dict[str, Any]]] = {
    function.__name__: function for function in (roofs, model, steps, knn, products)
}

if __name__ == "__main__":
    print(json.dumps(KINDS[sys.argv[1]](**json.loads(sys.argv[2]))))
