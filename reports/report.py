"""The report of a study on disk: written whole, and only when something that it shows has changed."""

import hashlib
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from ablations.claims import chosen
from ablations.planning import Plan
from ablations.records import Store

SOURCES = Path(__file__).resolve().parents[1]
FOLDERS = ("tables", "figures")
INPUTS = ".inputs"  # the hash of what the report was made from, then the hash and name of each of its files


def write_report(plan: Plan, store: Store, folder: Path) -> tuple[Path, bool]:
    """Write the page, the tables and the figures of a study into `folder`, unless they lie there already.

    They are a function of the records in `store` and of the program: written twice, they are the same bytes.
    Returns the folder, and whether anything was drawn.
    """
    inputs = _inputs(plan, store)
    if _is_current(folder, inputs):
        return folder, False
    from reports.page import files  # draws: slow to import, and not needed when nothing has changed

    written = files(plan, store)
    _write_all(folder, written)
    lines = [f"{_hash(content)}  {name}" for name, content in sorted(written.items())]
    write(folder / INPUTS, "\n".join([inputs, *lines, ""]).encode())
    return folder, True


def write_calibration(calibrations: Path, folder: Path) -> None:
    """Write the page of the calibrations that lie in one folder into another."""
    from reports.calibration_page import files

    _write_all(folder, files(calibrations))


def _write_all(folder: Path, written: Mapping[str, bytes]) -> None:
    """Write these files, and remove tables and figures of an earlier report."""
    for name, content in written.items():
        write(folder / name, content)
    for stale in (path for kind in FOLDERS for path in sorted((folder / kind).glob("*"))):
        if stale.relative_to(folder).as_posix() not in written:
            stale.unlink()


def _inputs(plan: Plan, store: Store) -> str:
    """The hash of all that decides what the report shows."""
    digest = hashlib.sha256()

    def add(part: object) -> None:
        digest.update(repr(part).encode() + b"\n")

    code = [
        *SOURCES.glob("reports/*.py"),
        *SOURCES.glob("reports/*.toml"),
        *SOURCES.glob("ablations/*.py"),
        SOURCES / "tmfun" / "metrics.py",
    ]
    for path in sorted(code):
        add((path.name, path.read_text(encoding="utf-8")))
    add([(name, version(name)) for name in ("matplotlib", "numpy", "scipy", "statsmodels")])
    add((plan.study.name, plan.study.title, plan.study.file.name, plan.missing))
    add(chosen(plan.study.claims, str(plan.study.file)))
    for cell in plan.cells:
        add((cell.card, cell.entry, cell.skipped))
        if cell.skipped:
            continue
        # All seeds of all points: which of them the report shows would take the ranks to find out.
        runs = [cell.run(i, seed) for i in range(len(cell.entry.points)) for seed in cell.entry.seeds]
        for run_id in dict.fromkeys(run.run_id for run in [*cell.candidates(), *runs]):
            add((run_id, store.read(run_id) if run_id in store else None))
    return digest.hexdigest()


def _is_current(folder: Path, inputs: str) -> bool:
    """Whether `folder` holds the report made from these inputs, byte for byte and with nothing beside it."""
    if not (folder / INPUTS).is_file():
        return False
    made_from, *lines = (folder / INPUTS).read_text(encoding="utf-8").splitlines() or [""]
    names = {line[66:] for line in lines}
    there = {path.relative_to(folder).as_posix() for kind in FOLDERS for path in (folder / kind).glob("*")}
    return (
        made_from == inputs
        and names == there | {"README.md"}
        and (folder / "README.md").is_file()
        and all(_hash((folder / line[66:]).read_bytes()) == line[:64] for line in lines)
    )


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write(path: Path, content: bytes) -> None:
    """Write atomically: readers see the old file, or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
