"""The house: which floor may import which, and that everything public says what it is."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from baselines import MODELS

ROOT = Path(__file__).parents[1]
FLOORS = {"tmfun": 0, "baselines": 1, "ablations": 2, "reports": 3}
FILES = sorted(path.relative_to(ROOT).as_posix() for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))
ROOF = {"tmfun/__main__.py", *(file for file in FILES if file.startswith("tmfun/cli/"))}


def parsed(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"), file)


def imports(tree: ast.AST) -> set[str]:
    """Every module that is imported anywhere, in functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def from_above(file: str, tree: ast.AST) -> set[str]:
    own = FLOORS[file.split("/")[0]]
    return {module for module in imports(tree) if FLOORS.get(module.split(".")[0], -1) > own}


def test_the_floors_are_all_there() -> None:
    assert {file.split("/")[0] for file in FILES} == set(FLOORS)
    assert {"tmfun/__main__.py", "tmfun/cli/__init__.py"} <= ROOF


@pytest.mark.parametrize("file", sorted(set(FILES) - ROOF))
def test_a_file_imports_from_its_own_floor_and_those_below(file: str) -> None:
    tree = parsed(file)
    assert not from_above(file, tree)
    assert not [module for module in imports(tree) if module.startswith(".")], "imports name their floor"
    assert not [module for module in imports(tree) if module.split(".")[0] in {"tests", "results"}]
    assert not [module for module in imports(tree) if module.startswith("tmfun.cli")]


def test_an_import_from_above_would_be_seen() -> None:
    hidden = ast.parse("def f():\n    from ablations.records import Store\n    import reports.tables as t\n")
    assert from_above("baselines/x.py", hidden) == {"ablations.records", "reports.tables"}
    assert from_above("reports/x.py", hidden) == set()


def test_the_registry_names_models_of_its_own_floor_and_the_one_below() -> None:
    for path in MODELS.values():
        module = path.partition(":")[0]
        assert FLOORS[module.split(".")[0]] <= FLOORS["baselines"]
        assert module.replace(".", "/") + ".py" in FILES


def public(tree: ast.Module) -> list[ast.FunctionDef | ast.ClassDef]:
    kinds = ast.FunctionDef, ast.ClassDef
    return [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


@pytest.mark.parametrize("file", FILES)
def test_every_file_says_what_it_is(file: str) -> None:
    assert ast.get_docstring(parsed(file))


@pytest.mark.parametrize("file", FILES)
def test_everything_public_says_what_it_is(file: str) -> None:
    """By a docstring of its own, or in the one of its file, as metrics do. A model is what its file is about."""
    tree = parsed(file)
    about = ast.get_docstring(tree) or ""
    models = {path.partition(":")[2] for path in MODELS.values()}
    silent = [
        node.name
        for node in public(tree)
        if not ast.get_docstring(node)
        and not re.search(rf"^\s*{re.escape(node.name)}\b", about, re.MULTILINE)
        and not (file.startswith("baselines/") and (node.name in models or node.name.endswith("Settings")))
    ]
    assert not silent


def test_results_are_no_package() -> None:
    assert not list((ROOT / "results").rglob("*.py"))
    with (ROOT / "pyproject.toml").open("rb") as stream:
        packages = tomllib.load(stream)["tool"]["setuptools"]["packages"]
    assert {package.split(".")[0] for package in packages} == set(FLOORS)
    on_disk = {file.rpartition("/")[0].replace("/", ".") for file in FILES if file.endswith("__init__.py")}
    assert set(packages) == on_disk, "every package is named, and is one"
