"""Every command, written by hand; the file of a command is only imported when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import opsqueue
from opsqueue.cli.nearest import nearest
from opsqueue.cli.parsing import Parser, add_common, sentence
from opsqueue.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Command:
    """A word of the command line, what it does, and the file in `opsqueue.cli.commands` with `options` and `run`."""

    name: str
    summary: str
    file: str

    def module(self) -> ModuleType:
        """The file. Importing all of them for each command would cost half a second, so only this one is."""
        return import_module(f"opsqueue.cli.commands.{self.file}")


COMMANDS = (
    Command("execute", "ask for an operation, and follow it", "execute"),
    Command("plan", "what an operation would do: hosts, commands, verdicts; sends nothing", "plan"),
    Command("status", "what is active now, and what it waits for", "status"),
    Command("why", "every reason why an operation waits or was refused", "why"),
    Command("history", "operations that ended", "history"),
    Command("show", "everything about one operation", "show"),
    Command("report", "an operation as a document, with charts where it has some: HTML, JSON, text, SARIF", "report"),
    Command("logs", "what was sent to the hosts of an operation, and what they answered", "logs"),
    Command("monitor", "the system metrics of the hosts", "monitor"),
    Command("metrics", "the numbers of a host over time, as the record has them", "metrics"),
    Command("capacity", "when hosts run out of room, by the last planning of each", "capacity"),
    Command("kpi", "the key figures of a period", "kpi"),
    Command("deployments", "what was deployed, and how its check went: list, show, forget", "deployments"),
    Command("cancel", "stop an operation", "cancel"),
    Command("retry", "let an operation that waits for a person look again", "retry"),
    Command("freeze", "forbid changes for a time: add, list, lift", "freeze"),
    Command("alerts", "what fires, by which rules; acknowledge, silence, figures", "alerts"),
    Command("windows", "the maintenance windows, and when they open next", "windows"),
    Command("types", "the kinds of operations, and their parameters", "kinds"),
    Command("hosts", "the inventory: list, show, check, add, remove, trust", "hosts"),
    Command("backups", "the backups of the hosts: list, verify, restore", "backups"),
    Command("schedule", "what happens by the clock: list, run", "schedule"),
    Command("notify", "the ways to people: test, list, stats, retry", "notify"),
    Command("up", "the whole system on this machine, in the foreground", "up"),
    Command("worker", "workers alone", "worker"),
    Command("beat", "Beat alone", "beat"),
    Command("flower", "Flower alone", "flower"),
    Command("db", "the database: upgrade", "db"),
    Command("config", "the configuration: check, show", "config"),
    Command("doctor", "what is missing here, and the command that mends it", "doctor"),
    Command("completion", "the completion script of a shell", "completion"),
)
_WITH_VALUE = {"--config", "--output"}


def command_in(argv: Sequence[str]) -> str | None:
    """The first word that is neither an option nor the value of one; InvalidRequest when it is no command."""
    words = iter(argv)
    for word in words:
        if word in _WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            if word not in {command.name for command in COMMANDS}:
                near = nearest(word, [command.name for command in COMMANDS])
                raise InvalidRequest(f"there is no command {word[:80]!r}{near or '.'} `opsqueue --help` lists them.")
            return word
    return None


def build(only: str | None = None, *, everything: bool = False) -> Parser:
    """The parser, with the options of one command, or of all."""
    parser = Parser(prog="opsqueue", description="Guarded operations on hosts: run once, remembered for ever.")
    parser.add_argument("--version", action="version", version=f"opsqueue {opsqueue.__version__}")
    add_common(parser, top=True)
    parser.ends(
        (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 130),
        "opsqueue up",
        'opsqueue execute --name "restart-nginx" --type "service_restart" --systems "web-server-1" '
        """--parameters '{"service_name": "nginx"}' --priority "high\"""",
        "opsqueue history --since 7d --output json",
    )
    below = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for command in COMMANDS:
        added = below.add_parser(command.name, help=command.summary, description=sentence(command.summary))
        if everything or command.name == only:
            command.module().options(added)
            add_common(added)
    return parser


def file_of(name: str) -> ModuleType:
    """The file of a command."""
    return next(command for command in COMMANDS if command.name == name).module()
