"""From raw files to a data set in the MMRec layout, with a datasheet of where it comes from.

    <name>.inter                   userID, itemID, rating and timestamp where there are any, x_label; by user and item
    image_feat.npy, text_feat.npy  float32, one row per item
    item_text.tsv                  asin, itemID, and the text behind the text features
    i_id_mapping.csv               asin, itemID (tab-separated; for a table of one's own too, where asin is any name)
    u_id_mapping.csv               user_id, userID (tab-separated)
    prepared.json                  sources with their SHA-256, options, what was left out or filled in, versions

The same sources and options give the same files, in whatever order the lines come: ids follow the code points of the
names. (Only where the raw files hold differing images of one item does the order of these decide: the first is kept.
And a text model's last bits depend on the machine.)

Order of work: duplicate interactions are merged (`raw.Collector`), the k-core is taken, ids are given, the split is
drawn. An item without an image gets the mean of the images there are, as in both published scripts (`tmfun.texts`).
"""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmfun import __version__
from tmfun.dataset import SPLITS
from tmfun.errors import InputError
from tmfun.formats import amazon, synthetic, table
from tmfun.formats.raw import Collected, Tally, Tell
from tmfun.rows import AT_ONCE, RowFile
from tmfun.splits import k_core, none_empty, split
from tmfun.texts import Embedder, compose

Datasheet = dict[str, Any]  # what prepared.json holds


@dataclass(frozen=True)
class Options:
    """What applies to every source."""

    split: str = "lattice"  # a name from `tmfun.splits`; passed over where the source has a split of its own
    seed: int = 0
    k_core: int | None = None
    skip_malformed: bool = False


@dataclass(frozen=True)
class Content:
    """What is made of an Amazon category's texts and images."""

    text: bool = True
    images: bool = True
    recipe: str = "lattice"  # a name from `tmfun.texts`
    as_published: bool = False
    embed: Embedder | None = None
    model: str | None = None  # what `embed` is called in the datasheet
    text_features: Path | None = None  # instead of `embed`: an .npy of one row per item, in the order of ids


def _silent(what: str, share: float) -> None:
    pass


def prepare_amazon(
    folder: Path,
    category: str,
    out: Path,
    options: Options = Options(),
    content: Content = Content(),
    tell: Tell = _silent,
) -> Datasheet:
    """Make the data set `out` from the raw Amazon files of `category` in `folder`; returns its datasheet.

    Raises InputError for what is wrong with the files or the options; then `out` is as it was.
    """
    if content.text_features and (content.embed or not content.text):
        raise InputError("text features are supplied, made with a text model, or left out: only one of these")
    compose({}, content.recipe)  # an unknown recipe is said before hours of reading
    files = amazon.find(folder, category, content.text, content.images)
    sources = [file for file in (files.reviews, files.meta, files.images, content.text_features) if file]
    tally = Tally(options.skip_malformed)
    with _made(out) as made:
        sheet = _datasheet(out.name, "amazon", sources, options, tell)
        sheet["options"] |= {
            "category": category,
            "recipe": content.recipe if content.text else None,
            "as_published": content.as_published,
            "text_model": content.model,
        }
        found = _cored(amazon.read_reviews(files.reviews, tally, tell), options, tally, files.reviews)
        labels = split(found.interactions, options.split, options.seed)
        items = {asin: place for place, asin in enumerate(found.items)}
        widths = {}
        if files.images:
            with RowFile(made / "image_feat.npy", len(items), amazon.IMAGE_WIDTH) as rows:
                missing = amazon.read_images(files.images, items, rows, tally, tell)
                _fill(rows, missing)
                _check_varied(rows, str(files.images))
            tally.counts["images_filled_with_the_mean"] = len(missing)
            sheet["items_without_image"] = [found.items[place] for place in missing.tolist()]
            widths["image"] = amazon.IMAGE_WIDTH
        if files.meta:
            how = partial(compose, recipe=content.recipe, as_published=content.as_published)
            texts = amazon.read_texts(files.meta, items, how, tally, tell)
            rows_of_text = ((asin, place, texts[place]) for asin, place in items.items())
            _write_table(made / "item_text.tsv", ("asin", "itemID", "text"), rows_of_text)
            blocks = None
            if content.text_features:
                blocks, where = _supplied(content.text_features, len(items)), str(content.text_features)
            elif content.embed:
                blocks, where = _embedded(texts, content.embed, tell), "the text model"
            if blocks is not None:
                widths["text"] = _write_features(made / "text_feat.npy", blocks, len(items), where)
        return _finished(made, out.name, found, labels, widths, tally, sheet)


def prepare_table(
    file: Path,
    columns: table.Columns,
    out: Path,
    options: Options = Options(),
    tell: Tell = _silent,
) -> Datasheet:
    """Make the data set `out` from a table of interactions; returns its datasheet. Raises InputError as above."""
    tally = Tally(options.skip_malformed)
    with _made(out) as made:
        options = replace(options, split="as supplied") if columns.label is not None else options
        sheet = _datasheet(out.name, "table", [file], options, tell)
        sheet["options"]["columns"] = vars(columns)
        found = _cored(table.read_table(file, columns, tally, tell), options, tally, file)
        if found.labels is None:
            labels = split(found.interactions, options.split, options.seed)
        else:
            labels = none_empty(found.labels, options.split)
        return _finished(made, out.name, found, labels, {}, tally, sheet)


@contextmanager
def _made(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when all went well, and is gone when not."""
    if synthetic.is_synthetic(out.name):
        raise InputError(f"{out}: '{out.name}' is a built-in data set; choose another name with --out")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there already and is not replaced; remove it, or choose another place with --out")
    made = out.parent / f".{out.name}.{os.getpid()}.partial"
    try:
        made.mkdir(parents=True)
        yield made
        if out.exists():
            out.rmdir()
        made.rename(out)
    except OSError as error:
        raise InputError(f"{out} was not made: {error}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _datasheet(name: str, source: str, files: list[Path], options: Options, tell: Tell) -> Datasheet:
    """The datasheet as far as it is known before anything is read."""
    packages = ("numpy", "pandas", "sentence-transformers")
    return {
        "name": name,
        "source": source,
        "files": [_fingerprint(file, tell) for file in files],
        "options": vars(options).copy(),
        "versions": {"tmfun": __version__, "python": platform.python_version()}
        | {package: found for package in packages if (found := _version(package))},
    }


def _fingerprint(file: Path, tell: Tell) -> dict[str, Any]:
    with file.open("rb") as stream:
        tell(f"hashing {file.name}", 0.0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    tell(f"hashing {file.name}", 1.0)
    return {"file": file.name, "bytes": file.stat().st_size, "sha256": digest}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cored(found: Collected, options: Options, tally: Tally, file: Path) -> Collected:
    """`found` without what the k-core leaves out."""
    if options.k_core is None:
        return found
    before = found
    found = found.kept(k_core(before.interactions, options.k_core))
    if not found.users:
        raise InputError(f"{file}: nothing is left of it after the {options.k_core}-core; take a smaller --k-core")
    for kind in ("users", "items"):
        tally.counts[f"{kind}_left_out_by_k_core"] = len(getattr(before, kind)) - len(getattr(found, kind))
    gone = len(before.interactions.user) - len(found.interactions.user)
    tally.counts["interactions_left_out_by_k_core"] = gone
    return found


def _finished(
    folder: Path,
    name: str,
    found: Collected,
    labels: NDArray[np.int8],
    widths: Mapping[str, int],
    tally: Tally,
    sheet: Datasheet,
) -> Datasheet:
    """Write what is not features, and complete the datasheet."""
    user, item, held_out = found.interactions.user, found.interactions.item, labels > 0
    trained = np.bincount(item[~held_out], minlength=len(found.items)) > 0
    tally.counts["users_in_training_only"] = len(found.users) - len(np.unique(user[held_out]))
    tally.counts["held_out_interactions_of_untrained_items"] = int((held_out & ~trained[item]).sum())
    sheet["result"] = {"users": len(found.users), "items": len(found.items)}
    sheet["result"] |= {part: int((labels == label).sum()) for label, part in enumerate(SPLITS)}
    sheet["result"]["modalities"] = dict(widths)
    sheet["counts"] = dict(sorted(tally.counts.items()))
    (folder / "prepared.json").write_text(json.dumps(sheet, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _write_mmrec(folder, name, found, labels)
    return sheet


def _write_mmrec(folder: Path, name: str, found: Collected, labels: NDArray[np.int8]) -> None:
    """The id mappings and the interactions; the latter last, as they make the folder a data set."""
    import pandas as pd  # slow to load

    _write_table(folder / "u_id_mapping.csv", ("user_id", "userID"), ((name, i) for i, name in enumerate(found.users)))
    _write_table(folder / "i_id_mapping.csv", ("asin", "itemID"), ((name, i) for i, name in enumerate(found.items)))
    given = found.interactions
    lines = pd.DataFrame({"userID": given.user, "itemID": given.item})
    for column in ("rating", "timestamp"):
        if (values := getattr(given, column)) is not None:
            lines[column] = values
    lines["x_label"] = labels
    lines.to_csv(folder / f"{name}.inter", sep="\t", index=False, lineterminator="\n")


def _write_table(file: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    """A tab-separated table without quotes: names and texts hold no control characters."""
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines("\t".join(map(str, row)) + "\n" for row in (header, *rows))


def _fill(rows: RowFile, missing: NDArray[np.int64]) -> None:
    """Give the rows `missing` the mean of the others, summed in the order of ids."""
    if not len(missing):
        return
    there = np.ones(rows.rows, dtype=bool)
    there[missing] = False
    total = np.zeros(rows.width)
    for first, block in rows.blocks():
        total += block[there[first : first + len(block)]].sum(axis=0, dtype=np.float64)
    mean = (total / there.sum()).astype(np.float32)
    for place in missing.tolist():
        rows.write(place, mean)


def _check_varied(rows: RowFile, where: str) -> None:
    first = rows.read(0)
    if rows.rows > 1 and all((block == first).all() for _, block in rows.blocks()):
        raise InputError(f"{where}: the features are the same for every item, and tell nothing; go without them")


def _supplied(file: Path, items: int) -> Iterator[NDArray]:
    """The rows of an .npy, some at a time."""
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{file}: not a complete .npy file ({' '.join(str(error).split())})") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or len(array) != items:
        shape = f"of shape {array.shape}" if isinstance(array, np.ndarray) else "an .npz archive"
        raise InputError(
            f"{file}: {shape}, but there are {items} items: one row per item is needed, in the order of"
            " i_id_mapping.csv"
        )
    return (np.asarray(array[first : first + AT_ONCE]) for first in range(0, items, AT_ONCE))


def _embedded(texts: list[str], embed: Embedder, tell: Tell) -> Iterator[NDArray]:
    for first in range(0, len(texts), AT_ONCE):
        asked = texts[first : first + AT_ONCE]
        block = np.asarray(embed(asked))
        if block.ndim != 2 or len(block) != len(asked):
            raise InputError(f"the text model made an array of shape {block.shape} of {len(asked)} texts")
        yield block
        tell("embedding texts", (first + len(asked)) / len(texts))


def _write_features(path: Path, blocks: Iterator[NDArray], items: int, where: str) -> int:
    """Write blocks of rows, which together are `items` long, as float32; returns their width."""
    first, rows = 0, None
    for block in blocks:
        if not np.issubdtype(block.dtype, np.floating) or not block.shape[1]:
            raise InputError(f"{where}: features of type {block.dtype} and shape {block.shape}, not rows of numbers")
        with np.errstate(over="ignore"):  # what does not fit becomes infinite
            block = block.astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
        if len(bad):
            raise InputError(f"{where}: the text features of item {first + bad[0]} are not finite")
        rows = rows or RowFile(path, items, block.shape[1])
        rows.write(first, block)
        first += len(block)
    assert rows is not None, "there is at least one item"
    with rows:
        _check_varied(rows, where)
    return rows.width
