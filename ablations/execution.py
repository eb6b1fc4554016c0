"""One run, from its specification to its record, in this process."""

import os
import platform
import resource
import sys
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ablations.records import Store
from ablations.specification import Specification
from baselines import model_class
from tmfun import formats
from tmfun.dataset import Dataset
from tmfun.errors import InputError
from tmfun.settings import read_settings
from tmfun.training import Training, be_deterministic, fit

HEARTBEAT = 60.0  # seconds between two lines of a long run


def execute(specification: Specification, store: Store, device: str = "cpu", quiet: bool = True) -> None:
    """Train, rank, and write the record. Raises whatever goes wrong; nothing is written then."""
    started, cpu_started = time.perf_counter(), time.process_time()
    dataset = formats.load(specification.dataset)
    if dataset.content_hash != specification.content_hash:
        raise InputError(f"the data set '{dataset.name}' has changed since the run was planned; plan it again")
    kind = model_class(specification.model)
    settings: Any = read_settings(kind.settings_type, specification.settings, specification.model)
    training = read_settings(Training, specification.training, "training")
    be_deterministic(training.threads)
    model = kind(dataset, settings, specification.seed)
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    fitted = fit(model, dataset, training, specification.seed, device, _heartbeat(specification, quiet))
    with torch.no_grad():
        attention = {name: weights.cpu().numpy() for name, weights in model.eval().weights_of_interest().items()}
    store.write(
        specification,
        dataset,
        fitted.ranks,
        attention,
        result={
            "best_epoch": fitted.best_epoch,
            "epochs": fitted.epochs,
            "history": fitted.history,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "proxies": proxies(specification, dataset),
        },
        provenance={
            "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
            "processor": processor(),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("torch", "numpy", "scipy")},
            },
            "seconds": _times(time.perf_counter() - started, fitted.seconds),
            "cpu_seconds": _times(time.process_time() - cpu_started, fitted.cpu_seconds),
            "peak_memory_mb": round(peak_memory(), 1),
            "peak_gpu_memory_mb": round(torch.cuda.max_memory_allocated(device) / 2**20, 1) if on_gpu else None,
        },
    )


def proxies(specification: Specification, dataset: Dataset) -> list[str]:
    """The modalities whose features the run read and that are known substitutes of the originals."""
    kind = model_class(specification.model)
    settings: Any = read_settings(kind.settings_type, specification.settings, specification.model)
    return [name for name in kind.reads(dataset.card(), settings) if dataset.modality(name).origin == "proxy"]


def run_in_process(table: dict[str, Any], root: str, device: str, environment: dict[str, str]) -> None:
    """The body of a worker process: execute, or leave the reason of the failure in the store and exit with 1."""
    os.environ.update(environment)
    store = Store(Path(root))
    specification = Specification.from_json(table)
    try:
        execute(specification, store, device, quiet=False)
    except KeyboardInterrupt:
        sys.exit(130)
    except InputError as error:
        store.write_failure(specification.run_id, f"{error}\n")
        sys.exit(1)
    except Exception as error:
        store.write_failure(specification.run_id, f"{error or type(error).__name__}\n\n{traceback.format_exc()}")
        sys.exit(1)


def _times(total: float, parts: dict[str, list[float]]) -> dict[str, float]:
    """The total, and the median of each part, in seconds."""
    medians = {what: round(float(np.median(took)), 4) for what, took in parts.items() if took}
    return {"total": round(total, 3), **medians}


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
