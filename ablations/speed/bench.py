"""What `tmfun bench` measures, each part in a process of its own, and where the numbers are kept.

A result is one JSON object; `docs/performance/` holds one per kind of machine, and docs/performance.md shows them.
"""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ablations.execution import processor
from baselines import model_class
from tmfun import PROJECT, formats
from tmfun.errors import InputError

Result = dict[str, Any]
Say = Callable[[str], None]

FOLDER = PROJECT / "docs" / "performance"
MODELS = ("mf-bpr", "lightgcn", "vbpr", "freedom", "micro", "lattice", "tmfun")
BABY = "baby"
LIKE_BABY = "synthetic-electronics[users=19445,items=7050,clusters=70,interactions=8.27]"  # Amazon Baby's size
ELECTRONICS = "synthetic-electronics"
MILLION = "synthetic-million"
SIZES = (10**5, 3 * 10**5, 10**6, 3 * 10**6, 10**7)  # interactions
KNN = (23_033, 4096)  # the items of Amazon Clothing, the width of its image features


@dataclass(frozen=True)
class Bench:
    """What to measure, and how carefully."""

    models: tuple[str, ...] = MODELS
    datasets: tuple[str, ...] = ()  # none: Baby if it is at hand, else a synthetic set of its size
    device: str = "cpu"
    threads: int = 1
    repeat: int = 5
    quick: bool = False  # small sets, one repetition: does everything run?
    compiled: bool = False  # also the compiled steps of the models that have them

    def names(self) -> tuple[str, ...]:
        """The data sets to measure on."""
        if self.datasets:
            return self.datasets
        return ("synthetic-small",) if self.quick else (BABY if formats.find(BABY) else LIKE_BABY,)

    @property
    def common(self) -> dict[str, Any]:
        """The arguments of every measurement."""
        return {"device": self.device, "threads": self.threads}


def measure(kind: str, arguments: dict[str, Any]) -> Result:
    """One measurement in a fresh process. A process that fails, or is killed for want of memory, is its own result."""
    command = [sys.executable, "-m", "ablations.speed.measuring", kind, json.dumps(arguments)]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    if ended.returncode < 0:
        return {"failure": f"ended by signal {-ended.returncode} (out of memory?)"}
    if ended.returncode:
        return {"failure": (ended.stderr.strip().splitlines() or ["no reason given"])[-1]}
    return json.loads(ended.stdout.splitlines()[-1])


def speed(bench: Bench, say: Say, measure: Callable[[str, dict[str, Any]], Result] = measure) -> Result:
    """Models beside their plain references, sparse products, nearest items.

    Raises InputError for an unknown name, and where compiled steps are asked for of models that have none.
    """
    kinds = {name: model_class(name) for name in bench.models}
    if bench.compiled and not any(kind.stackable for kind in kinds.values()):
        raise InputError(f"no compiled steps to measure: {', '.join(kinds)} cannot be compiled")
    cards = {name: formats.load(name).card() for name in bench.names()}
    repeat = 1 if bench.quick else bench.repeat
    result: Result = {"roofs": measure("roofs", bench.common), "models": [], "products": []}
    for dataset, card in cards.items():
        say(f"sparse products on {dataset}")
        arguments = {"dataset": dataset, "repeat": repeat, **bench.common}
        result["products"].append({"dataset": dataset, **measure("products", arguments)})
        for name, kind in kinds.items():
            row: Result = {"dataset": dataset, "model": name, "title": kind.title}
            skipped = kind.unusable(card, kind.settings_type())
            if skipped:
                result["models"].append({**row, "skipped": skipped})
                continue
            ways: list[dict[str, Any]] = [{}]
            ways += [{"optimiser": "row-adam"}] if kind.row_wise else []
            ways += [{"compiled": True}] if kind.stackable and bench.compiled else []
            for way in ways:
                words = [str(key if value is True else value) for key, value in way.items()]
                measured = {**row, **way, "title": ", ".join([kind.title, *words])}
                for side, obvious in (("fast", False), ("plain", True)):
                    say(f"{measured['title']} on {dataset}{', plain' if obvious else ''}")
                    trained = {key: value for key, value in way.items() if not (obvious and key == "compiled")}
                    measured[side] = measure("model", {"name": name, "obvious": obvious, **trained, **arguments})
                result["models"].append(measured)
    result["knn"] = nearest(bench, min(5000, *(card.items for card in cards.values())), say, measure)
    return result


def nearest(
    bench: Bench, items: int, say: Say, measure: Callable[[str, dict[str, Any]], Result] = measure
) -> list[Result]:
    """The search for nearest items: `items` of them beside the plain way, and KNN on one core and on all."""
    cores = os.cpu_count() or 1
    small, large = (items, 64), [] if bench.quick else [(*KNN, bench.threads, False), (*KNN, cores, False)]
    rows = []
    for size, width, threads, obvious in [(*small, bench.threads, False), (*small, bench.threads, True), *large]:
        say(f"nearest of {size:,} items, {width} wide{', plain' if obvious else ''}")
        what = {"items": size, "width": width, "threads": threads}
        found = measure("knn", {**what, "obvious": obvious, "device": bench.device})
        rows.append({**found, **what, "plain": obvious})
    return rows


def scale(bench: Bench, say: Say, measure: Callable[[str, dict[str, Any]], Result] = measure) -> Result:
    """TMFUN's time and memory per step as interactions grow, the exponents of both, and two sets of their own."""
    rows = []
    sizes = SIZES[:2] if bench.quick else SIZES
    # Users, items and interactions in the proportions of Amazon Electronics; neighbours come along.
    grown = [f"{ELECTRONICS}[users={n * 10 // 88},items={n // 27},clusters={n // 2700},neighbours=10]" for n in sizes]
    for name in grown + ([] if bench.quick else [ELECTRONICS, MILLION]):
        say(f"TMFUN on {name}")
        arguments = {"name": "tmfun", "dataset": name, "repeat": 1 if bench.quick else 3, **bench.common}
        rows.append({"dataset": name, **measure("steps", arguments)})
    series = [row for row in rows[: len(sizes)] if "failure" not in row]
    exponents = {
        "time": exponent([(row["interactions"], row["step"]["cpu"]) for row in series]),
        "memory": exponent([(row["interactions"], row["peak_memory_mb"]) for row in series]),
    }
    return {"rows": rows, "exponents": exponents}


def exponent(points: list[tuple[float, float]]) -> float | None:
    """The slope of a line through the logarithms: how y grows with x; None for fewer than two points."""
    if len(points) < 2:
        return None
    x, y = np.log(points).T
    return float(np.polyfit(x, y, 1)[0])


def machine(device: str) -> Result:
    """The kind of machine, and the versions, that the numbers belong to."""
    found: Result = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "gpu": None,
        "versions": {"python": platform.python_version(), **{n: version(n) for n in ("torch", "numpy", "scipy")}},
    }
    if device != "cpu":
        import torch

        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def path_of(result: Result, folder: Path = FOLDER) -> Path:
    """The file of a result's kind of machine."""
    there = result["machine"]
    kind = f"{there['gpu'] or there['processor']} {there['cores']} cores"
    return folder / f"{re.sub(r'[^a-z0-9]+', '-', kind.lower()).strip('-')}.json"


def write(result: Result, folder: Path = FOLDER) -> Path:
    """Keep a result; what was measured before on this kind of machine, and not now, stays."""
    path = path_of(result, folder)
    kept = read(path) if path.exists() else {}
    rows = {(row["dataset"], row["title"]): row for part in (kept, result) for row in part.get("models", [])}
    whole = {**kept, **result, **({"models": list(rows.values())} if rows else {})}
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)
    return path


def read(path: Path) -> Result:
    """A result that was kept. Raises InputError for a file that is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not a result of `tmfun bench` ({error}); delete it") from error
