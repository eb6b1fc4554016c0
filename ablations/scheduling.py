"""Many runs side by side: over the cores, or over the GPUs there are, each run or stack in a process of its own."""

import multiprocessing
import multiprocessing.connection
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import joblib

from ablations.execution import run_in_process, stack_key
from ablations.planning import Plan
from ablations.records import Store
from ablations.specification import Specification
from tmfun.errors import InputError

Started = Callable[[Specification], None]


@dataclass
class Outcome:
    """How one run ended."""

    run: Specification
    seconds: float
    failure: str | None = None  # the first line of what went wrong


@dataclass
class Progress:
    """Where a schedule stands, for those who print it."""

    done: list[Outcome] = field(default_factory=list)
    to_do: int = 0  # runs known by now that are not done
    symbolic: int = 0  # runs that wait for a winner


def slots(device: str, jobs: int | None = None) -> list[str]:
    """The places where a run can go, one device each: "auto" takes the GPUs there are, else the cores.

    Raises InputError for a device that is not there.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    if device == "cpu":
        return ["cpu"] * (jobs or _cores())
    name, _, index = device.partition(":")
    if name != "cuda" or (index and not index.isdecimal()):
        raise InputError(f"unknown device '{device}' (known: auto, cpu, cuda, cuda:0, ...)")
    chosen = [int(index)] if index else list(range(gpus))
    if not chosen or max(chosen) >= gpus:
        raise InputError(f"no device '{device}': this machine has {gpus} GPUs; use --device cpu")
    return [f"cuda:{i}" for i in chosen] * (jobs or 1)


def run_plan(
    plan: Plan, store: Store, places: list[str], report: Callable[[Outcome, Progress], None], stack: int = 1
) -> list[Outcome]:
    """Run what has no record, in waves: a second stage becomes known when the first is done. All outcomes.

    Up to `stack` runs that differ in seeds and numbers of their own are trained together. A failed run loses only
    itself, a killed process the runs it held; what failed is not tried again within one call. Ctrl-C keeps what is
    finished.
    """
    progress = Progress()
    tried: set[str] = set()
    free: queue.Queue[str] = queue.Queue()
    for place in places:
        free.put(place)
    context = _context()
    lock = threading.Lock()

    def one(runs: list[Specification]) -> None:
        place = free.get()
        try:
            outcomes = _in_process(runs, store, place, context)
        finally:
            free.put(place)
        with lock:
            for outcome in outcomes:
                progress.done.append(outcome)
                progress.to_do -= 1
                report(outcome, progress)

    while wave := [run for run in plan.to_do(store) if run.run_id not in tried]:
        tried |= {run.run_id for run in wave}
        progress.to_do, progress.symbolic = len(wave), plan.symbolic(store)
        # Threads that each start a process: a killed worker loses its own run, where one of loky's loses the batch.
        joblib.Parallel(n_jobs=len(places), backend="threading", batch_size=1)(
            joblib.delayed(one)(runs) for runs in stacks(wave, stack)
        )
        store.refresh()
    return progress.done


def stacks(wave: Sequence[Specification], size: int) -> list[list[Specification]]:
    """The runs in groups of up to `size` that have one `stack_key`, in the wave's order."""
    groups: list[list[Specification]] = []
    open_groups: dict[str, list[Specification]] = {}
    for run in wave:
        key = stack_key(run)
        if key is None:
            groups.append([run])
        elif len(open_groups.get(key, ())) in (0, size):
            open_groups[key] = [run]
            groups.append(open_groups[key])
        else:
            open_groups[key].append(run)
    return groups


# Starting a process also reads the exit codes of finished ones, and each code can be read but once.
_ONE_READER = threading.Lock()


def _in_process(
    runs: list[Specification], store: Store, device: str, context: multiprocessing.context.BaseContext
) -> list[Outcome]:
    started = time.perf_counter()
    environment = {"TMFUN_DATA": os.environ.get("TMFUN_DATA", "")}  # a fork server keeps the one it started with
    arguments = ([run.to_json() for run in runs], str(store.root), device, environment)
    process = context.Process(target=run_in_process, args=arguments)  # type: ignore[attr-defined]
    with _ONE_READER:
        process.start()
    multiprocessing.connection.wait([process.sentinel])
    with _ONE_READER:
        process.join()
    seconds = (time.perf_counter() - started) / len(runs)
    return [Outcome(run, seconds, _failure(run, store, process.exitcode)) for run in runs]


def _failure(run: Specification, store: Store, exitcode: int) -> str | None:
    """The first line of why a run has no record after its process ended; None if it has one."""
    if exitcode == 0 or run.run_id in Store(store.root):
        return None
    path = store.failure_path(run.run_id)
    if exitcode < 0:
        store.write_failure(run.run_id, f"the process was ended by signal {-exitcode} (out of memory?)\n")
    return path.read_text(encoding="utf-8").splitlines()[0] if path.exists() else f"exit code {exitcode}"


def _context() -> multiprocessing.context.BaseContext:
    """Fresh processes, forked where possible from a server that has loaded torch once and nothing else."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # torch's optimisers load torch._dynamo when the first is made: seconds, here paid once for all runs
    context.set_forkserver_preload(["ablations.execution", "torch._dynamo", *_model_modules()])
    return context


def _model_modules() -> list[str]:
    from baselines import MODELS

    return sorted({path.partition(":")[0] for path in MODELS.values()})


def _cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
