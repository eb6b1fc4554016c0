"""What the commands share: exit codes, how a command is declared, how things are put in words."""

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tmfun.dataset import Card

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

STUDY = "a shipped study (ablations/studies: smoke, quick, baby, controls, published, paper, ...) or a TOML file"

Commands = Any  # what argparse's add_subparsers returns


def command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], text: str, example: str
) -> argparse.ArgumentParser:
    """Declare the command `name`, which `run` carries out; `example` is a command line without its first word."""
    sub: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=f"Example: tmfun {example}"
    )
    sub.set_defaults(run=run)
    return sub


def prints_json(parser: argparse.ArgumentParser) -> None:
    """Let the command print its results for machines."""
    parser.add_argument("--json", action="store_true", help="print the results for machines")


def positive(text: str) -> int:
    """A whole number of at least 1, as an argument's type."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def count(number: int, what: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


class Progress:
    """Shares in place on a terminal; in a pipe a plain line for what is done. On stderr, beside the results."""

    def __init__(self) -> None:
        self._shown = ""

    def __call__(self, what: str, share: float) -> None:
        terminal = sys.stderr.isatty()
        line = f"{what}: {share:.0%}" if terminal else f"{what}: done"
        if line != self._shown and (terminal or share >= 1):
            self._shown = line
            start, end = ("\r", "\033[K") if terminal else ("", "\n")
            print(start + line, end=end + "\n" * (terminal and share >= 1), file=sys.stderr, flush=True)


def described(card: "Card") -> str:
    """A data set in one line."""
    modalities = ", ".join(
        f"{m.name} ({f'{m.width}-d features, {m.origin}' if m.width else 'no features'}"
        f"{', neighbours' if m.neighbours else ''})"
        for m in card.modalities
    )
    return (
        f"{card.name} [{card.content_hash[:8]}]{' (synthetic)' if card.origin == 'synthetic' else ''}: {card.users:,}"
        f" users, {card.items:,} items, {card.train:,} / {card.validation:,} / {card.test:,} interactions,"
        f" split {card.split}; {modalities or 'no modalities'}"
    )
