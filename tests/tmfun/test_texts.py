import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmfun.errors import InputError
from tmfun.formats.raw import MalformedError
from tmfun.texts import RECIPES, cleaned, compose, sentence_transformer

ITEM = {
    "title": "Soft &amp; warm",
    "brand": "Bébé",
    "categories": [["Baby", "Feeding"], ["Toys"]],
    "description": "For\nnights. ",
}


@pytest.mark.parametrize(
    "recipe, as_published, text",
    [
        ("lattice", False, "Baby Feeding Toys Soft & warm Bébé For nights."),
        ("mmrec", False, "Soft & warm Bébé Baby Feeding For nights."),
        ("lattice", True, " Baby Feeding Toys Soft &amp; warmSoft &amp; warmFor nights. "),
        ("mmrec", True, "Soft &amp; warm Bébé Baby Feeding For nights. "),
    ],
)
def test_a_text_follows_its_recipe(recipe: str, as_published: bool, text: str) -> None:
    assert compose(ITEM, recipe, as_published) == text


@pytest.mark.parametrize(
    "recipe, as_published, text",
    [("lattice", False, "T"), ("mmrec", False, "T"), ("lattice", True, " T"), ("mmrec", True, "T    ")],
)
def test_fields_that_are_missing_leave_nothing_or_what_is_published(recipe: str, as_published: bool, text: str) -> None:
    assert compose({"title": "T"}, recipe, as_published) == text
    assert compose({"title": "T", "brand": None, "categories": []}, recipe, as_published) == text


def test_the_published_mmrec_text_has_three_spaces_where_a_brand_is_missing() -> None:
    """As in the sentences that the notebook prints."""
    item = {"title": "5 LED Light", "categories": [["Sports", "Cycling"], ["Toys"]], "description": "This"}
    assert compose(item, "mmrec", as_published=True) == "5 LED Light   Sports Cycling This"


def test_by_the_published_slip_a_brand_repeats_the_title() -> None:
    assert compose({"title": "T", "brand": ""}, "lattice", as_published=True) == " TT"
    assert compose({"brand": "B"}, "lattice", as_published=True) == " "
    assert compose({"title": "T", "brand": "B"}, "lattice") == "T B"


@pytest.mark.parametrize(
    "text, clean",
    [
        ("  a\t\tb\r\n\u2028c\u00a0 ", "a b c"),
        ("Caf&eacute; &amp;amp; Co", "Café &amp; Co"),
        ("cafe\u0301", "café"),
        ("half \ud83d of a pair", "half \ufffd of a pair"),
        ("<b>bold</b>&#39;s \x00end", "<b>bold</b>'s end"),
        ("№™ﬁ", "№™ﬁ"),
    ],
)
def test_cleaning_is_what_it_says(text: str, clean: str) -> None:
    assert cleaned(text) == clean


@given(
    st.fixed_dictionaries({}, optional={name: st.text() for name in ("title", "brand", "description")}),
    st.lists(st.lists(st.text())),
    st.sampled_from(RECIPES),
    st.booleans(),
)
def test_any_text_fits_into_one_field_of_one_line(
    item: dict[str, Any], categories: list[list[str]], recipe: str, as_published: bool
) -> None:
    text = compose({**item, "categories": categories}, recipe, as_published)
    assert "\t" not in text and len(text.splitlines()) <= 1
    assert text.encode().decode() == text
    if not as_published:
        assert text == " ".join(text.split())


@pytest.mark.parametrize(
    "item, reason",
    [
        ({"title": 3}, "title is int, not text"),
        ({"categories": "Baby"}, "categories are not lists"),
        ({"categories": ["Baby"]}, "categories are not lists"),
        ({"categories": [["Baby", 1]]}, "categories are not lists"),
    ],
)
def test_fields_of_another_type_are_malformed(item: dict[str, Any], reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        compose(item, "mmrec")


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(InputError, match="unknown recipe 'latice'"):
        compose({}, "latice")


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match=r"needs the package sentence-transformers.*pip install -e '\.\[text\]'"):
        sentence_transformer("all-MiniLM-L6-v2")


def test_the_package_is_asked_for_the_model_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        def __init__(self, name: str) -> None:
            if name != "known":
                raise OSError("no such\nmodel")

        def encode(self, texts: list[str], **options: bool) -> np.ndarray:
            assert options == {"convert_to_numpy": True, "show_progress_bar": False}
            return np.array([[len(text)] for text in texts], dtype=np.float32)

    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Model))
    assert sentence_transformer("known")(["a", "bcd"]).tolist() == [[1], [3]]
    with pytest.raises(InputError, match=r"--text-model other: .* cannot load this model .no such model"):
        sentence_transformer("other")
