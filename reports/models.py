"""docs/models.md from the code: what each registered model is, by its docstring, its settings and its own answers.

A model's file opens with "Title: what the method is", then the paper and the equations; a paragraph that begins with
"Defaults", and under the line "Deviations" a numbered list. Comments beside the fields of a settings class say what
they are. What a model does with a data set's modalities is asked of the model (`unusable`, `reads`).
"""

import ast
import dataclasses
import inspect
import re
import sys
import tokenize
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from baselines import MODELS, model_class
from tmfun import PROJECT
from tmfun.dataset import Card, ModalityCard
from tmfun.recommender import Recommender

PAGE = PROJECT / "docs" / "models.md"
COMMON = {"dimension": "d, the width of the embeddings", "l2": "the weight of the L2 term"}  # that fields rarely repeat
PAPER = re.compile(
    r"(?:[A-Z][\w-]+(?: [A-Z][\w-]+)*(?:, | and ))*[A-Z][\w-]+(?: [A-Z][\w-]+)*(?: et al\.)?[,:]"
    r' "[^"]+", [A-Z][A-Za-z ]+ \d{4}'
)
HEAD = """\
# The models

Written by `tmfun models --write` from the files of the models; a test holds it to them. A deviation is from the paper
or, where the paper is silent, from its authors' code. All models are trained, stopped and ranked in the same way
([architecture.md](architecture.md)). TMFUN is a reconstruction: [reconstruction.md](reconstruction.md) says what is
the paper's.

*Modalities*: what of a data set's content the model can use; a modality has features, nearest neighbours, or both.
*Learned*: trained in epochs, with seeds; the others count or solve. What a model cannot use is skipped in the plan,
with the reason."""


@dataclass(frozen=True)
class Setting:
    """One field of a settings class: its default and what it may be, as TOML would say them, and its comment."""

    name: str
    default: str
    allowed: str
    comment: str


@dataclass(frozen=True)
class Description:
    """A file's docstring in its parts: `method` in a sentence, the papers, `body` (sources, equations, remarks)."""

    method: str
    papers: tuple[str, ...]
    body: tuple[str, ...]
    defaults: str
    deviations: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """What there is to say of a registered model.

    `modalities`  "none", "features", or "features or neighbours"
    `reads`       which of them where a modality has both; "" for a model that cannot use neighbours
    `skipped`     why, by the kind of data set that it skips
    `shared`      modules of `baselines` that it is built on
    """

    name: str
    title: str
    file: str
    learned: bool
    modalities: str
    reads: str
    skipped: dict[str, str]
    description: Description
    settings: tuple[Setting, ...]
    shared: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dictionaries and texts."""
        return dataclasses.asdict(self)


@cache
def models() -> tuple[Model, ...]:
    """Every registered model, in the order of the registry."""
    return tuple(_model(name) for name in MODELS)


def page() -> str:
    """docs/models.md."""
    rows = [
        [
            f"[{model.name}](#{model.name})",
            _prose(model.title),
            _prose(model.description.method),
            "<br>".join(map(_prose, model.description.papers)) or "none",
            "yes" if model.learned else "no",
            model.modalities,
        ]
        for model in models()
    ]
    parts = [HEAD, _table(["name", "title", "method", "paper", "learned", "modalities"], rows)]
    parts += [section(model) for model in models()]
    for module in dict.fromkeys(module for model in models() for module in model.shared):
        file, docstring = module.replace(".", "/") + ".py", _docstring(module)
        opening = _prose(_joined(docstring.split("\n\n")[0]))
        parts.append(f"## {file}\n\n[{file}](../{file}): {opening}\n\n{_body(describe(docstring))}")
    return "\n\n".join(parts) + "\n"


def section(model: Model) -> str:
    """One model's part of the page."""
    skipped = "; ".join(f"{situation} ({reason})" for situation, reason in model.skipped.items())
    facts = [
        f"**Modalities**: {model.modalities}" + (f"; where there are both: {model.reads}" if model.reads else ""),
        f"**Skipped**: {_prose(skipped or 'never')}",
        f"**Learned**: {'yes' if model.learned else 'no'}",
    ]
    parts = [
        f"## {model.name}",
        f"**{_prose(model.title)}** ([{model.file}](../{model.file})): {_prose(model.description.method)}",
        "\n".join(f"* {fact}" for fact in facts),
        _body(model.description),
    ]
    rows = [[f"`{s.name}`", f"`{s.default}`", _prose(s.allowed), _prose(s.comment)] for s in model.settings]
    parts.append(_table(["setting", "default", "allowed", "what it is"], rows) if rows else "No settings.")
    return "\n\n".join(parts)


def describe(docstring: str) -> Description:
    """The parts of a model's docstring, which is taken as `inspect.getdoc` gives it."""
    first, *rest = docstring.split("\n\n")
    joined = _joined(first)
    method = re.split(r"[:,] ", joined, maxsplit=1)[-1]
    body, defaults, deviations = [], "", []
    for paragraph in rest:
        if paragraph.startswith("Defaults"):
            defaults = _joined(paragraph)
        elif paragraph.startswith("Deviations\n"):
            deviations = [_joined(item) for item in re.split(r"^\d+\. ", paragraph, flags=re.MULTILINE)[1:]]
        else:
            body.append(paragraph)
    return Description(method, tuple(PAPER.findall(_joined(docstring))), tuple(body), defaults, tuple(deviations))


def settings(kind: type) -> tuple[Setting, ...]:
    """The fields of a settings class; a comment stands at the end of a field's line, in whichever class declares it."""
    hints, comments = get_type_hints(kind), _comments(kind)
    return tuple(
        Setting(
            field.name,
            _toml(field.default),
            _allowed(hints[field.name], field.metadata),
            comments.get(field.name) or COMMON.get(field.name, ""),
        )
        for field in dataclasses.fields(kind)
    )


def _model(name: str) -> Model:
    kind = model_class(name)
    usable = {situation: kind.unusable(card, kind.settings_type()) for situation, card in SITUATIONS.items()}
    modalities, reads = "none", ""
    if kind.content and usable[NEIGHBOURS]:
        modalities = "features"
    elif kind.content:
        both = kind.reads(SITUATIONS[BOTH], kind.settings_type())
        modalities, reads = "features or neighbours", "both" if both else "the neighbours alone"
    return Model(
        name=name,
        title=kind.title,
        file=kind.__module__.replace(".", "/") + ".py",
        learned=kind.learned,
        modalities=modalities,
        reads=reads,
        skipped={situation: reason for situation, reason in usable.items() if reason},
        description=describe(_docstring(kind.__module__)),
        settings=settings(kind.settings_type),
        shared=_shared(kind),
    )


def _shared(kind: type[Recommender]) -> tuple[str, ...]:
    modules = dict.fromkeys(base.__module__ for base in kind.__mro__ if base.__module__.startswith("baselines."))
    return tuple(module for module in modules if module != kind.__module__)


def _docstring(module: str) -> str:
    return inspect.getdoc(sys.modules[module]) or ""


# -- data sets to ask the models about -------------------------------------------------------------------------------


def _card(width: int | None, neighbours: int | None, items: int = 1000) -> Card:
    text = (ModalityCard("text", "original", width, neighbours),) if width or neighbours else ()
    return Card("asked", "", "files", "lattice", 1000, items, 8000, 1000, 1000, text)


NEIGHBOURS, BOTH = "modalities with neighbours but no features", "modalities with both"
SITUATIONS = {
    "data sets without modalities": _card(None, None),
    NEIGHBOURS: _card(None, 10),
    BOTH: _card(384, 10),
    "100,000 items": _card(384, 10, 100_000),
}


# -- settings --------------------------------------------------------------------------------------------------------


def _comments(kind: type) -> dict[str, str]:
    """Of each field the comment at the end of its line."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            path = Path(inspect.getfile(base))
            by_line = _comments_by_line(path)
            tree = ast.parse(path.read_text(encoding="utf-8"))
            (body,) = [n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == base.__name__]
            for node in body:
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    found[node.target.id] = by_line.get(node.end_lineno or 0, "")
    return found


@cache
def _comments_by_line(path: Path) -> dict[int, str]:
    with path.open("rb") as stream:
        tokens = [token for token in tokenize.tokenize(stream.readline) if token.type == tokenize.COMMENT]
    return {token.start[0]: token.string.removeprefix("#").strip() for token in tokens}


def _toml(value: Any) -> str:
    """A default as a study would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return f"{value:g}".replace("e-0", "e-") if isinstance(value, float) and value else str(value)


def _allowed(hint: Any, limits: Any) -> str:
    """What a setting may be."""
    if hint is bool:
        return "true, false"
    if get_origin(hint) is Literal:
        return ", ".join(map(_toml, get_args(hint)))
    if get_origin(hint) is tuple:
        return "a list of names"
    if get_args(hint):
        return " or ".join(_allowed(option, limits) for option in get_args(hint))
    words = [{int: "a whole number", float: "a number", str: "a text"}[hint]]
    for key, word in (("above", "above"), ("least", "from"), ("most", "to")):
        if limits.get(key) is not None:
            words.append(f"{word} {limits[key]:g}")
    return " ".join(words)


# -- Markdown --------------------------------------------------------------------------------------------------------


def _body(description: Description) -> str:
    parts = [_blocks(paragraph) for paragraph in description.body]
    if description.defaults:
        parts.append(re.sub(r"^Defaults", "**Defaults**", _prose(description.defaults)))
    if description.deviations:
        items = [f"{i}. {_prose(text)}" for i, text in enumerate(description.deviations, start=1)]
        parts += ["**Deviations**", "\n".join(items)]
    return "\n\n".join(parts)


def _blocks(paragraph: str) -> str:
    """A paragraph of prose, of equations (indented lines), or of both in turn."""
    grouped: list[str] = []
    for line in paragraph.splitlines():
        if grouped and grouped[-1].startswith("    ") == line.startswith("    "):
            grouped[-1] += "\n" + line
        else:
            grouped.append(line)
    return "\n\n".join(group if group.startswith("    ") else _prose(_joined(group)) for group in grouped)


def _joined(text: str) -> str:
    return " ".join(text.split())


def _prose(text: str) -> str:
    """`text` with what Markdown would take for markup escaped, but for code in backticks."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(part if i % 2 else re.sub(r"([\\*_<>~|\[\]])", r"\\\1", part) for i, part in enumerate(parts))


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
