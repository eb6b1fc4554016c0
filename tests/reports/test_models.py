"""docs/models.md and the files of the models that it is made from."""

from dataclasses import dataclass
from typing import Literal

import pytest

from baselines import MODELS, model_class
from reports.models import PAGE, Model, describe, models, page, section, settings
from tmfun.dataset import Dataset
from tmfun.settings import setting

DOCSTRING = """\
Thing: what it does,
in a sentence: or two.

Doe and Roe, "On things", CONF 2020, with the part of Poe et al., "More", SOME CONF 2021. With x_i and y_i

    z = x_i * y_i

in the table of kinds:
    a    the *first*
    b    the second

Defaults are those of the authors'
code (`k`, g_u).

Deviations
1. One
   thing.
2. Another, with <marks>.

A remark at the end."""


@dataclass(frozen=True)
class Base:
    shared: int = setting(3, least=1)  # from above
    changed: float = 0.5  # before


@dataclass(frozen=True)
class Settings(Base):
    changed: float = setting(1e-5, above=0, most=1)  # after
    kind: Literal["soft", "hard"] = "soft"
    flag: bool = True  # on or off # or so
    names: Literal["all"] | tuple[str, ...] = "all"
    dimension: int = 64


by_name = pytest.mark.parametrize("model", models(), ids=lambda model: model.name)


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "tmfun models --write, and commit docs/models.md"


def test_every_registered_model_has_its_part_in_the_registrys_order() -> None:
    assert [model.name for model in models()] == list(MODELS)
    text = page()
    places = [text.index(f"\n## {name}\n") for name in MODELS]
    assert places == sorted(places)


@by_name
def test_a_file_says_method_paper_defaults_and_deviations(model: Model) -> None:
    described = model.description
    assert (
        described.method.endswith(".") and len(described.method) > 20 and not described.method.startswith(model.title)
    )
    assert described.body
    if model.name == "tmfun":
        assert described.papers, "its equations are our own: there is nothing to deviate from"
        return
    assert described.papers or model.name == "popularity"
    assert described.defaults and described.deviations


@by_name
def test_every_setting_is_in_the_table_with_its_default(model: Model) -> None:
    default = model_class(model.name).settings_type()
    assert {s.name for s in model.settings} == set(vars(default))
    for s in model.settings:
        value = getattr(default, s.name)
        shown = s.default.strip('"')
        assert shown == value if isinstance(value, str) else float(shown == "true" or shown == "false" or shown) >= 0
        assert f"| `{s.name}` | `{s.default}` |" in section(model)


@by_name
def test_modalities_are_what_the_model_does_on_data(model: Model, toys: dict[str, Dataset]) -> None:
    kind = model_class(model.name)
    chosen = kind.settings_type()
    answers = {name: kind.unusable(toys[name].card(), chosen) for name in ("none", "one", "two", "three")}
    assert answers["one"] is answers["two"] is answers["three"] is None
    assert (model.modalities == "none") == (answers["none"] is None) == (not kind.content)
    wide = toys["neighbours-only"].card()
    short = {"neighbours": 4} if "neighbours" in vars(chosen) else {}
    if kind.content:
        refused = kind.unusable(wide, kind.settings_type(**short)) is not None
        assert refused == (model.modalities == "features")


def test_a_docstring_in_its_parts() -> None:
    described = describe(DOCSTRING)
    assert described.method == "what it does, in a sentence: or two."
    assert described.papers == ('Doe and Roe, "On things", CONF 2020', 'Poe et al., "More", SOME CONF 2021')
    assert described.defaults == "Defaults are those of the authors' code (`k`, g_u)."
    assert described.deviations == ("One thing.", "Another, with <marks>.")
    assert len(described.body) == 4 and described.body[-1] == "A remark at the end."


def test_prose_is_escaped_and_equations_are_code(monkeypatch: pytest.MonkeyPatch) -> None:
    lattice = models()[list(MODELS).index("lattice")]
    monkeypatch.setattr("reports.models.models", lambda: (lattice,))
    shown = section(Model(**{**vars(lattice), "description": describe(DOCSTRING)}))
    assert "With x\\_i and y\\_i\n\n    z = x_i * y_i\n\nin the table of kinds:\n\n    a    the *first*\n" in shown
    assert "**Defaults** are those of the authors' code (`k`, g\\_u)." in shown
    assert "1. One thing.\n2. Another, with \\<marks\\>." in shown


def test_settings_come_with_limits_and_comments_from_the_class_that_declares_them() -> None:
    assert [(s.name, s.default, s.allowed, s.comment) for s in settings(Settings)] == [
        ("shared", "3", "a whole number from 1", "from above"),
        ("changed", "1e-5", "a number above 0 to 1", "after"),
        ("kind", '"soft"', '"soft", "hard"', ""),
        ("flag", "true", "true, false", "on or off # or so"),
        ("names", '"all"', '"all" or a list of names', ""),
        ("dimension", "64", "a whole number", "d, the width of the embeddings"),
    ]


def test_what_models_share_is_told_once() -> None:
    text = page()
    assert text.count("## baselines/latent_graph.py") == 1
    assert "Latent item graphs, the ground that LATTICE and MICRO share" in text
