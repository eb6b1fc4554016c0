"""data prepare: a data set from raw files."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tmfun import PROJECT
from tmfun.cli.common import DONE, Commands, Progress, command, positive, prints_json
from tmfun.errors import InputError

if TYPE_CHECKING:
    from tmfun.preparing.prepare import Datasheet, Options

SPLITS = ("lattice", "mmrec", "leave-one-out", "user-time", "global-time")
RECIPES = ("lattice", "mmrec")


def declare(actions: Commands) -> None:
    """Declare the action `prepare` of `tmfun data`, and its sources."""
    text, example = "make a data set from raw files", "data prepare amazon --category Baby raw/"
    prepare = command(actions, "prepare", _prepare_amazon, text, example)
    sources = prepare.add_subparsers(title="sources", metavar="SOURCE", required=True)
    text = "make a data set from the raw files of a category of the Amazon product data of 2014"
    made = command(sources, "amazon", _prepare_amazon, text, "data prepare amazon --category Baby raw/")
    made.add_argument("folder", metavar="RAW_DIR", type=Path, help="the folder of the raw files")
    made.add_argument("--category", required=True, help="as in the files' names: Baby, Sports_and_Outdoors, ...")
    made.add_argument("--recipe", choices=RECIPES, default="lattice", help="what an item's text consists of")
    made.add_argument(
        "--as-published", action="store_true", help="the recipe's text to the letter, LATTICE's slip with it"
    )
    made.add_argument("--text-model", metavar="NAME", help="a model of sentence-transformers that embeds the texts")
    made.add_argument("--text-features", metavar="FILE.npy", type=Path, help="text features, a row per item id")
    made.add_argument("--no-text", action="store_true", help="read no metadata")
    made.add_argument("--no-images", action="store_true", help="read no image features")
    _declare_common(made)

    example = "data prepare table ratings.csv --user userId --item movieId --timestamp timestamp --k-core 5"
    made = command(sources, "table", _prepare_table, "make a data set from a CSV or TSV of interactions", example)
    made.add_argument("file", metavar="FILE", type=Path, help="one interaction a row; compressed (.gz) or not")
    for kind, what in (("user", "users"), ("item", "items")):
        made.add_argument(f"--{kind}", metavar="COLUMN", required=True, help=f"the column of {what}")
    made.add_argument("--rating", metavar="COLUMN", help="the column of ratings; they are kept, and choose nothing")
    made.add_argument("--timestamp", metavar="COLUMN", help="the column of times, as whole numbers")
    made.add_argument("--label", metavar="COLUMN", help="the column of a split that is there: 0, 1, 2 or train, ...")
    made.add_argument("--separator", metavar="S", help="one character, or tab (default: by the file's ending)")
    made.add_argument("--no-header", action="store_true", help="columns are then called 1, 2, ...")
    _declare_common(made)


def _declare_common(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--out", metavar="FOLDER", type=Path, help="where to; its name is the data set's (default: data/)"
    )
    made.add_argument("--split", choices=SPLITS, help="how to split (default: lattice)")
    made.add_argument("--seed", type=int, default=0, help="of random splits (default: 0)")
    made.add_argument("--k-core", metavar="K", type=positive, help="keep users and items with K interactions or more")
    made.add_argument("--skip-malformed", action="store_true", help="count malformed lines and go on")
    prints_json(made)


def _options(options: argparse.Namespace) -> "Options":
    from tmfun.preparing.prepare import Options

    return Options(options.split or "lattice", options.seed, options.k_core, options.skip_malformed)


def _prepare_amazon(options: argparse.Namespace) -> int:
    from tmfun.preparing.prepare import Content, prepare_amazon
    from tmfun.preparing.texts import sentence_transformer

    out = (options.out or PROJECT / "data" / options.category.lower()).resolve()
    model = options.text_model
    content = Content(
        text=not options.no_text,
        images=not options.no_images,
        recipe=options.recipe,
        as_published=options.as_published,
        embed=sentence_transformer(model) if model else None,
        model=model,
        text_features=options.text_features,
    )
    sheet = prepare_amazon(options.folder, options.category, out, _options(options), content, Progress())
    _print_datasheet(sheet, out, options.json)
    if content.text and "text" not in sheet["result"]["modalities"] and not options.json:
        print(
            f"  no text features: embed {out / 'item_text.tsv'} and start again with --text-features, or --text-model"
        )
    return DONE


def _prepare_table(options: argparse.Namespace) -> int:
    from tmfun.preparing.prepare import prepare_table
    from tmfun.preparing.table import Columns

    if options.label and options.split:
        raise InputError("--label keeps the split that is there, and --split draws one: only one of the two")
    columns = Columns(
        options.user,
        options.item,
        options.rating,
        options.timestamp,
        options.label,
        {"tab": "\t", "\\t": "\t"}.get(options.separator, options.separator),
        not options.no_header,
    )
    out = (options.out or PROJECT / "data" / options.file.name.split(".")[0].lower()).resolve()
    _print_datasheet(prepare_table(options.file, columns, out, _options(options), Progress()), out, options.json)
    return DONE


def _print_datasheet(sheet: "Datasheet", out: Path, as_json: bool) -> None:
    if as_json:
        print(json.dumps(sheet, indent=1))
        return
    from tmfun import formats

    found, options = sheet["result"], sheet["options"]
    modalities = ", ".join(f"{name} ({width}-d)" for name, width in found["modalities"].items())
    print(
        f"{sheet['name']}: {found['users']:,} users, {found['items']:,} items,"
        f" {found['train']:,} / {found['validation']:,} / {found['test']:,} interactions,"
        f" split {options['split']} (seed {options['seed']}); {modalities or 'no modalities'}"
    )
    for what, number in sheet["counts"].items():
        if number:
            print(f"  {what.replace('_', ' ')}: {number:,}")
    print(f"  {out}  (sources and options: {out / 'prepared.json'})")
    if out.parent not in [place.resolve() for place in formats.places()]:
        print(f"  set TMFUN_DATA={out.parent} to use it by its name, {out.name}")
