"""argparse as opsqueue uses it: errors are ours and name the nearest word, help ends with statuses and examples."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from opsqueue.cli.exit_status import MEANING
from opsqueue.cli.nearest import nearest
from opsqueue.cli.output import put
from opsqueue.errors import InvalidRequest

FORMS = ("table", "json", "jsonl")


class Parser(argparse.ArgumentParser):
    """A parser that raises InvalidRequest instead of ending the process, and takes no abbreviated options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        defaults = {"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter}
        super().__init__(*args, **{**defaults, **kwargs})
        self.statuses: tuple[int, ...] = ()
        self.examples: tuple[str, ...] = ()
        self.forms: tuple[str, ...] = FORMS
        """How its results can be printed."""

    def error(self, message: str) -> NoReturn:
        """Raise the usage error."""
        end = "" if message.endswith(("?", ".")) else "."
        raise InvalidRequest(f"{message}{end} `{self.prog} --help` shows what it takes.")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does it, but an unknown option is answered with the nearest known one."""
        words = list(args or ())
        parsers = list(chosen(self, words))
        known = [option for parser in parsers for option in options_of(parser)]
        # Before argparse, which would first complain of the required option that a slip of the pen made missing.
        wrong = [word for word in words if is_option(word) and word.partition("=")[0] not in known]
        found, rest = (None, wrong) if wrong else self.parse_known_args(words, namespace)
        if rest:
            parsers[-1].error(f"nothing here takes {rest[0]!r}{nearest(rest[0].partition('=')[0], known)}")
        return found

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse passes over a full disk and a closed pipe in silence.
        if file is None or file is sys.stderr:
            sys.stderr.write(message)
        else:
            put(message, end="")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = "/".join(action.option_strings) or action.metavar or action.dest
            known = [str(choice) for choice in action.choices]
            near = nearest(str(value), known)
            every = f"{' Known are' if near else '; known are'}: {', '.join(known)}"
            self.error(f"{name}: there is no {value!r}{near}{every}")

    def ends(self, statuses: Sequence[int], *examples: str) -> None:
        """Let the help end with what the exit status may be, and with examples."""
        self.statuses, self.examples = tuple(statuses), examples
        meanings = " · ".join(f"{number} {MEANING[number]}" for number in statuses)
        self.epilog = "\n".join([f"EXIT STATUS: {meanings}", "", "EXAMPLES:", *(f"  {one}" for one in examples)])


def is_option(word: str) -> bool:
    """Whether argparse takes this word for a long option: a text with a space in it is a value."""
    return word.startswith("--") and len(word) > len("--") and " " not in word


def add_common(parser: argparse.ArgumentParser, *, top: bool = False) -> None:
    """The options that may stand before or after the command."""
    # Suppressed on the commands, so that what stood before the command is not overwritten by a default.
    absent: Any = None if top else argparse.SUPPRESS
    group = parser.add_argument_group("everywhere")
    group.add_argument("--config", metavar="FILE", default=absent, help="the configuration (JSON or TOML)")
    forms = parser.forms if isinstance(parser, Parser) else FORMS
    group.add_argument("--output", choices=forms, default=absent, help="how results are printed (default: table)")
    group.add_argument(
        "--no-color", action="store_true", default=False if top else absent, help="no colours; NO_COLOR does the same"
    )


def verbs(parser: Parser) -> Any:
    """The place for the verbs of a command such as `freeze add`; one of them is needed."""
    return parser.add_subparsers(dest="verb", metavar="VERB", required=True)


def add_verb(below: Any, name: str, summary: str) -> Parser:
    """One verb, which takes the common options too."""
    parser: Parser = below.add_parser(name, help=summary, description=sentence(summary))
    add_common(parser)
    return parser


def sentence(summary: str) -> str:
    """A summary with a capital letter and a full stop."""
    return f"{summary[0].upper()}{summary[1:]}."


def subcommands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, Parser]]:
    """The commands directly under a parser."""
    for action in parser._actions:  # noqa: SLF001 - argparse offers no other way, and completion tools rely on it too
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - likewise
            yield from action.choices.items()


def options_of(parser: argparse.ArgumentParser) -> list[str]:
    """Every option that a parser itself takes."""
    return list(parser._option_string_actions)  # noqa: SLF001 - likewise


def chosen(parser: Parser, args: Sequence[str]) -> Iterator[Parser]:
    """The parser and those of the commands that the words name."""
    yield parser
    below = dict(subcommands(parser))
    word = next((word for word in args if word in below), None)
    if word is not None:
        yield from chosen(below[word], args[args.index(word) + 1 :])


def whole_number(least: int, most: int) -> Any:
    """A type for argparse: an integer between two bounds."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):  # noqa: PLR2004 - digits
            raise argparse.ArgumentTypeError(f"wanted a whole number from {least} to {most}, found {text[:40]!r}")
        return int(text)

    return parse


def seconds(text: str) -> float:
    """A type for argparse: a number of seconds above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:  # noqa: PLR2004 - thirty years
        raise argparse.ArgumentTypeError(f"wanted a number of seconds above 0, found {text[:40]!r}")
    return number
