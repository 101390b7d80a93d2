"""The reference of the command line as Markdown, made from the parser, so that it cannot be out of date."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from opsqueue.cli.catalogue import build
from opsqueue.cli.exit_status import MEANING
from opsqueue.cli.parsing import Parser, subcommands

_HEAD = """# The command line

Made from the parser by `python tools/cli_reference.py`; do not edit.

`opsqueue` is also `python -m opsqueue`, and `python main.py` in the repository. stdout is for results, stderr for
the rest. `--config FILE`, `--output table|json|jsonl` and `--no-color` may stand before or after the command.
`json` prints one object with stable keys, `jsonl` one object on each line. With either of them the last line on
stderr after an error is an object with `code`, `message` and `details`. An id may be shortened to its beginning
(4 characters or more). A time is `2026-03-01`, `2026-03-01T14:30` (in the configured time zone),
`2026-03-01T14:30Z`, or how long ago: `2h`, `7d`. Ctrl-C leaves; the operation goes on.
"""


def markdown() -> str:
    """The whole page."""
    lines = [_HEAD, "## Exit status", "", "| status | means |", "|---|---|"]
    lines += [f"| {number} | {meaning} |" for number, meaning in MEANING.items()]
    for _name, parser in subcommands(build(everything=True)):
        lines += _section(parser, 2)
    return "\n".join(lines) + "\n"


def _section(parser: Parser, level: int) -> Iterator[str]:
    yield from ("", f"{'#' * level} `{parser.prog}`", "", parser.description or "")
    rows = [row for action in _actions(parser) if (row := _row(action))]
    if rows:
        yield from ("", "| argument | |", "|---|---|", *rows)
    inner = list(subcommands(parser))
    if not inner:
        statuses = ", ".join(str(number) for number in parser.statuses)
        yield from ("", f"Exit status: {statuses}.", "", "```sh", *parser.examples, "```")
    for _name, child in inner:
        yield from _section(child, level + 1)


def _actions(parser: Parser) -> list[argparse.Action]:
    groups = [group for group in parser._action_groups if group.title != "everywhere"]  # noqa: SLF001 - argparse offers no other way
    return [action for group in groups for action in group._group_actions]  # noqa: SLF001 - likewise


def _row(action: argparse.Action) -> str:
    if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):  # noqa: SLF001 - likewise
        return ""
    flags = ", ".join(f"`{flag}`" for flag in action.option_strings) or f"`{action.metavar or action.dest}`"
    value = f" `{_value(action)}`" if action.option_strings and action.nargs != 0 else ""
    needed = " **needed.**" if action.required and action.option_strings else ""
    meaning = (action.help or "").replace("|", "\\|")
    return f"| {flags}{value.replace('|', chr(92) + '|')} |{needed} {meaning} |"


def _value(action: argparse.Action) -> str:
    if action.choices is not None and action.metavar is None:
        name = "|".join(str(choice) for choice in action.choices)
    else:
        name = str(action.metavar or action.dest.upper())
    return f"{name}…" if action.nargs in {"+", "*"} else name
