"""The options of `execute` and `plan`, and the request that they make."""

from __future__ import annotations

import uuid
from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import Any

from opsqueue.cli.parsing import Parser, whole_number
from opsqueue.errors import InvalidRequest
from opsqueue.model.in_words import kind_of
from opsqueue.model.names import OperationPriority
from opsqueue.model.request import strict_json
from opsqueue.model.rollout import share

_MOST_FILE = 64 * 1024
"""Bytes; a whole request may be no larger."""


def add_request(parser: Parser) -> None:
    """What is asked for."""
    add = parser.add_argument
    add("--name", required=True, help="how people call it")
    add("--type", required=True, help="the kind of work; `opsqueue types` lists them")
    add(
        "--systems",
        required=True,
        nargs="+",
        metavar="SYSTEM",
        help="hosts, groups, tags, `web-*`, `all`; `!` before what is left out",
    )
    add("--priority", default="normal", choices=[one.value for one in OperationPriority], help="default: normal")
    add("--parameters", metavar="JSON|@FILE", help="a JSON object, or @ and the name of a file that holds one")
    add("--description", help="what it is for")
    add("--timeout", type=whole_number(1, 7 * 86_400), metavar="SECONDS", help="for the whole of the execute stage")
    add("--retry-count", type=whole_number(0, 20), metavar="N", help="how many more times a host is tried")
    add("--window", metavar="NAME|SPEC", help='a configured window, or one such as "Sunday 01:00-05:00"')
    add("--notify", nargs="+", metavar="CHANNEL", help="who is told at the end (default: `default_channels`)")
    add(
        "--batch",
        type=_share,
        metavar="N|N%",
        help="how many hosts are changed at the same time (default: `rollout.batch`)",
    )
    add("--canary", type=whole_number(0, 1000), metavar="N", help="how many hosts go first, alone")
    add(
        "--stop-at",
        type=_share,
        metavar="N|N%",
        help="how many failed hosts stop the rest (default: `rollout.stop_at`)",
    )
    add("--no-rollback", action="store_true", help="leave a host that failed as it is")
    add("--operation-id", type=_uuid, metavar="UUID", help="the id to use; the same id again is the same operation")
    add("--reason", default="", help="why it is asked for; everybody can read it")


def request_of(given: Namespace) -> dict[str, Any]:
    """The JSON of the request; what was not said is not in it. InvalidRequest for bad parameters."""
    said = {
        "description": given.description,
        "timeout": given.timeout,
        "retry_count": given.retry_count,
        "maintenance_window": given.window,
        "notification_channels": given.notify,
        "rollback_enabled": False if given.no_rollback else None,
        "parameters": None if given.parameters is None else parameters(given.parameters),
        "rollout": _rollout(given) or None,
    }
    return {
        "name": given.name,
        "type": given.type,
        "target_systems": given.systems,
        "priority": given.priority,
        **{key: value for key, value in said.items() if value is not None},
    }


def _rollout(given: Namespace) -> dict[str, Any]:
    said = {"batch": given.batch, "canary": given.canary, "stop_at": given.stop_at}
    return {key: value for key, value in said.items() if value is not None}


def parameters(text: str) -> dict[str, Any]:
    """The object in a JSON text, or in the file that `@name` names."""
    where = "--parameters"
    if text.startswith("@"):
        where, text = f"--parameters {text}", _read(Path(text[1:]))
    try:
        found = strict_json(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{where} is not JSON: {error}. Write an object such as '{_EXAMPLE}'.") from None
    if not isinstance(found, dict):
        raise InvalidRequest(f"{where} is {kind_of(found)}; wanted an object such as '{_EXAMPLE}'")
    return found


_EXAMPLE = '{"service_name": "nginx"}'


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST_FILE + 1)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InvalidRequest(f"--parameters @{path} cannot be read: {why}") from None
    if len(text) > _MOST_FILE:
        raise InvalidRequest(f"--parameters @{path} has more than {_MOST_FILE} characters")
    return text


def _share(text: str) -> int | str:
    try:
        found: int | str = share(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return found


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ArgumentTypeError(f"wanted a UUID such as {uuid.uuid4()}, found {text[:60]!r}") from None
