"""An item's text, from its title, brand, categories and description; and from texts to features.

Recipes, by name: which fields, in which order, joined by a space.

    lattice    the categories of every path, title, brand, description
    mmrec      title, brand, the categories of the first path, description

By default each text is cleaned: HTML entities decoded once (tags stay), halves of surrogate pairs replaced by U+FFFD,
Unicode brought to NFC, control characters and runs of white space made one space.

`as_published` gives what the published code makes instead, uncleaned, save that control characters become spaces:

    lattice    begins with a space and joins title, brand and description without any; and by a slip it appends the
               title a second time where a brand is given, so that no brand is ever part of the text (data/build_data.py
               of the repository CRIPAC-DIG/LATTICE: the branch for 'brand' adds json['title'])
    mmrec      a missing or empty title, brand or description is a space (preprocessing/3feat-encoder.ipynb of the
               repository enoche/MMRec)
"""

import html
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmfun.errors import InputError
from tmfun.formats.raw import MalformedError
from tmfun.settings import unknown

RECIPES = ("lattice", "mmrec")

Embedder = Callable[[list[str]], NDArray]  # n texts -> (n, width) numbers


def compose(item: Mapping[str, Any], recipe: str, as_published: bool = False) -> str:
    """The text of an item, from its record in the metadata, by `recipe`.

    Raises InputError for an unknown recipe, and MalformedError for a field that is not text (categories: a list of
    lists of text).
    """
    if recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)
    title, brand, description = (_text(item, name) for name in ("title", "brand", "description"))
    paths = _paths(item)
    if not as_published:
        names = [name for path in (paths if recipe == "lattice" else paths[:1]) for name in path]
        middle = [*names, title, brand] if recipe == "lattice" else [title, brand, *names]
        return cleaned(" ".join(part for part in (*middle, description) if part))
    if recipe == "lattice":
        slip = title if brand is not None else None
        text = " " + "".join(f"{name} " for path in paths for name in path)
        text += "".join(part or "" for part in (title, slip, description))
    else:
        names = paths[0] if paths else []
        text = f"{title or ' '} {brand or ' '} {''.join(f'{name} ' for name in names)}{description or ' '}"
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", _whole_characters(text))


def cleaned(text: str) -> str:
    """`text` as the head of this file says."""
    text = unicodedata.normalize("NFC", _whole_characters(html.unescape(text)))
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).split())


def sentence_transformer(name: str) -> Embedder:
    """The model `name` of sentence-transformers as a function from texts to features, on the CPU or GPU it chooses.

    Raises InputError if the package is not installed or the model cannot be loaded.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise InputError(
            "--text-model needs the package sentence-transformers, which is not installed: python -m pip install -e"
            " '.[text]' in the clone, or embed item_text.tsv elsewhere and pass --text-features"
        ) from error
    try:
        model = SentenceTransformer(name)
    except Exception as error:  # what this raises depends on its version and on the model
        detail = " ".join(str(error).split())
        raise InputError(f"--text-model {name}: sentence-transformers cannot load this model ({detail})") from error
    return lambda texts: np.asarray(model.encode(texts, convert_to_numpy=True, show_progress_bar=False))


def _text(item: Mapping[str, Any], name: str) -> str | None:
    value = item.get(name)
    if value is not None and not isinstance(value, str):
        raise MalformedError(f"{name} is {type(value).__name__}, not text")
    return value


def _paths(item: Mapping[str, Any]) -> list[list[str]]:
    paths = item.get("categories") or []
    sound = isinstance(paths, list) and all(isinstance(path, list) for path in paths)
    if not sound or not all(isinstance(name, str) for path in paths for name in path):
        raise MalformedError("categories are not lists of texts in a list")
    return paths


def _whole_characters(text: str) -> str:
    return re.sub("[\ud800-\udfff]", "\ufffd", text)
