"""One run, or a stack of runs, from specification to record, in this process."""

import os
import platform
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ablations.records import Store
from ablations.specification import Specification
from baselines import model_class
from tmfun import controls, formats
from tmfun.dataset import Dataset
from tmfun.errors import InputError
from tmfun.settings import per_run, read_settings
from tmfun.stacking import fit_stacked
from tmfun.training import Fitted, Training, be_deterministic, fit

HEARTBEAT = 60.0  # seconds between two lines of a long run


def execute(specification: Specification, store: Store, device: str = "cpu", quiet: bool = True) -> None:
    """Train, rank, and write the record. Raises whatever goes wrong; nothing is written then."""
    clock = _Clock(device)
    run = _Run(specification, _dataset(specification))
    fitted = fit(run.model, run.seen, run.training, specification.seed, device, _heartbeat(specification, quiet))
    run.record(fitted, store, clock.provenance())


def execute_stack(
    specifications: Sequence[Specification], store: Store, device: str = "cpu", quiet: bool = True
) -> dict[str, Exception]:
    """Train runs that have one `stack_key` as one stack, and write a record of each; the errors of those that failed,
    by run id. Totals are equal shares of the stack's."""
    clock = _Clock(device)
    dataset = _dataset(specifications[0])
    runs = [_Run(specification, dataset) for specification in specifications]
    say = [_heartbeat(specification, quiet) for specification in specifications]
    results = fit_stacked(
        [run.model for run in runs],
        runs[0].seen,
        [run.training for run in runs],
        [specification.seed for specification in specifications],
        device,
        lambda run, state: say[run](state),
    )
    provenance = clock.provenance(len(runs))
    errors: dict[str, Exception] = {}
    for run, fitted in zip(runs, results, strict=True):
        if isinstance(fitted, Exception):
            errors[run.specification.run_id] = fitted
        else:
            run.record(fitted, store, provenance)
    return errors


def stack_key(specification: Specification) -> str | None:
    """What runs have in common that can be trained as one stack: all but the seed and the numbers marked `per_run`.

    None for a run that cannot be stacked: a control, too, stands against it, as it draws what a run sees from its seed,
    and so do row-adam and compiled steps (see `fit_stacked`).
    """
    kind, training = model_class(specification.model), specification.training
    alone = training.get("optimiser", "adam") != "adam" or training.get("compiled", False)
    if not kind.stackable or specification.control is not None or alone:
        return None

    def shared(table: dict[str, Any], settings: type) -> dict[str, Any]:
        return {name: value for name, value in table.items() if name not in per_run(settings)}

    settings = shared(specification.settings, kind.settings_type)
    return replace(specification, seed=0, settings=settings, training=shared(training, Training)).run_id


def _dataset(specification: Specification) -> Dataset:
    """The data set that the run was planned on. Raises InputError if it is another by now."""
    dataset = formats.load(specification.dataset)
    if dataset.content_hash != specification.content_hash:
        raise InputError(f"the data set '{dataset.name}' has changed since the run was planned; plan it again")
    return dataset


class _Run:
    """What a run's specification asks for, built on its data set."""

    def __init__(self, specification: Specification, dataset: Dataset) -> None:
        self.specification, self.dataset = specification, dataset
        kind = model_class(specification.model)
        settings: Any = read_settings(kind.settings_type, specification.settings, specification.model)
        self.training = read_settings(Training, specification.training, "training")
        be_deterministic(self.training.threads)
        self.seen = controls.apply(specification.control, self.dataset, specification.seed)
        self.model = kind(self.seen, settings, specification.seed)

    def record(self, fitted: Fitted, store: Store, provenance: dict[str, Any]) -> None:
        """Write what training found."""
        with torch.no_grad():
            weights = self.model.eval().weights_of_interest()
        store.write(
            self.specification,
            self.dataset,
            fitted.ranks,
            {name: values.cpu().numpy() for name, values in weights.items()},
            result={
                "best_epoch": fitted.best_epoch,
                "epochs": fitted.epochs,
                "history": fitted.history,
                "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
                "proxies": proxies(self.specification, self.seen),
            },
            provenance={
                **provenance,
                "seconds": provenance["seconds"] | _medians(fitted.seconds),
                "cpu_seconds": provenance["cpu_seconds"] | _medians(fitted.cpu_seconds),
            },
        )


def kind_of(device: str) -> str:
    """The kind of a device, as records name it: "cpu", or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


class _Clock:
    """Where and how fast runs are made."""

    def __init__(self, device: str) -> None:
        self.device, self.on_gpu = device, device.startswith("cuda")
        self.started, self.cpu_started = time.perf_counter(), time.process_time()
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats(device)

    def provenance(self, stacked: int = 1) -> dict[str, Any]:
        """Of each of `stacked` runs that were trained together; the memory is what they needed together."""
        gpu_memory = round(torch.cuda.max_memory_allocated(self.device) / 2**20, 1) if self.on_gpu else None
        return {
            "device": kind_of(self.device),
            "processor": processor(),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("torch", "numpy", "scipy")},
            },
            "stacked": stacked,
            "seconds": {"total": round((time.perf_counter() - self.started) / stacked, 3)},
            "cpu_seconds": {"total": round((time.process_time() - self.cpu_started) / stacked, 3)},
            "peak_memory_mb": round(peak_memory(), 1),
            "peak_gpu_memory_mb": gpu_memory,
        }


def proxies(specification: Specification, dataset: Dataset) -> list[str]:
    """The modalities of what the run saw whose features it read and that are known substitutes of the originals."""
    kind = model_class(specification.model)
    settings: Any = read_settings(kind.settings_type, specification.settings, specification.model)
    return [name for name in kind.reads(dataset.card(), settings) if dataset.modality(name).origin == "proxy"]


def run_in_process(tables: list[dict[str, Any]], root: str, device: str, environment: dict[str, str]) -> None:
    """The body of a worker process: one run, or a stack; failures leave their reason in the store, and exit code 1."""
    os.environ.update(environment)
    store = Store(Path(root))
    specifications = [Specification.from_json(table) for table in tables]
    errors: dict[str, Exception] = {}
    try:
        if len(specifications) > 1:
            errors = execute_stack(specifications, store, device, quiet=False)
        else:
            execute(specifications[0], store, device, quiet=False)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        errors = {specification.run_id: error for specification in specifications}
    for run_id, reason in errors.items():
        trace = "" if isinstance(reason, InputError) else "\n" + "".join(traceback.format_exception(reason))
        store.write_failure(run_id, f"{reason or type(reason).__name__}\n{trace}")
    sys.exit(1 if errors else 0)


def _medians(parts: dict[str, list[float]]) -> dict[str, float]:
    """The median of each part, in seconds."""
    return {what: round(float(np.median(took)), 4) for what, took in parts.items() if took}


def _heartbeat(specification: Specification, quiet: bool) -> Callable[[dict[str, Any]], None]:
    last = time.monotonic()

    def say(state: dict[str, Any]) -> None:
        nonlocal last
        if quiet or time.monotonic() - last < HEARTBEAT:
            return
        last = time.monotonic()
        metric = specification.training["select_by"]
        print(
            f"        {specification.dataset}, {specification.model}, seed {specification.seed}:"
            f" epoch {state['epoch']}, validation {metric} {state[metric]:.4f}"
            f" (best {state['best']:.4f} at {state['best_epoch']}), {state['seconds_per_epoch']:.1f} s an epoch",
            flush=True,
        )

    return say


def processor() -> str:
    """The processor's model name, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory() -> float:
    """This process's largest resident size so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
