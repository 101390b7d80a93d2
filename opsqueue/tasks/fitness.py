"""Whether a message may be read at all: pure checks of its envelope, its headers and its body.

Celery and kombu take what they find: a header of the wrong type raises in the worker's main process, not in the
task. So every field that they look at is looked at here first, and a message that does not fit is refused in words.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Container, Mapping
from datetime import datetime
from typing import Any

from kombu.utils.json import loads

LARGEST = 1_048_576
"""Bytes of the largest message that is read."""
DEEPEST = 40
"""Levels of lists and objects, one inside the other; Python's parsers and picklers recurse."""
LONGEST_WORD = 256
"""Characters of an id, a name or a tag."""
SHORTEST_LIMIT = 300.0
"""Seconds; a shorter time limit in a message has no effect, for it could end an operation half-way."""

_ID = re.compile(r"[!-~]{1,256}")
_TOLD = re.compile(r"\('[0-9a-f-]{36}',\)")
_WORDS = ("lang", "root_id", "parent_id", "group", "origin", "meth")
_TEXTS = ("argsrepr", "kwargsrepr", "shadow")
_NUMBERS = ("retries", "group_index", "replaced_task_nesting")
_UNUSED = ("stamped_headers", "stamps", "chord", "taskset")
_LINKS = ("callbacks", "errbacks", "chain")
_BODY_PARTS = 3
_YEARS = range(2000, 9000)


class UnfitError(ValueError):
    """Why a message cannot be read; the text is for people and may hold foreign characters."""


def read_envelope(raw: bytes) -> Mapping[str, Any]:
    """The envelope in `raw`, made sure to become a kombu message; raises UnfitError."""
    require(len(raw) <= LARGEST, f"{len(raw)} bytes, at most {LARGEST} are read")
    try:
        payload = loads(raw)  # type: ignore[no-untyped-call]  # kombu's
    except Exception as exc:  # JSON, Unicode, recursion, and whatever kombu's typed values raise
        raise UnfitError(f"not JSON: {type(exc).__name__}") from exc
    require(not too_deep(payload), f"nested more than {DEEPEST} levels deep")
    check_envelope(payload)
    return dict(payload)


def check_envelope(payload: Any) -> None:
    """Refuse an envelope that kombu's message class, its acknowledgement or its restoring would stumble over."""
    require(isinstance(payload, dict), f"an object is needed, found {kind(payload)}")
    properties = payload.get("properties")
    require(isinstance(properties, dict), f"properties must be an object, found {kind(properties)}")
    require(is_word(properties.get("delivery_tag")), "properties.delivery_tag must be a short text")
    route = properties.get("delivery_info")
    require(isinstance(route, dict), f"properties.delivery_info must be an object, found {kind(route)}")
    for name in ("exchange", "routing_key"):
        require(route.get(name) == "" or is_word(route.get(name)), f"delivery_info.{name} must be a short text")
    for name in ("reply_to", "correlation_id"):
        require(properties.get(name) is None or is_word(properties[name]), f"properties.{name} must be a short text")
    for name in ("content-type", "content-encoding"):
        require(payload.get(name) is None or is_word(payload[name]), f"{name} must be a short text")
    headers = payload.get("headers")
    require(headers is None or isinstance(headers, dict), f"headers must be an object, found {kind(headers)}")
    # A small compressed body may unfold to more than the machine has.
    require(not (headers or {}).get("compression"), "compressed messages are not read")
    _check_body_text(payload.get("body"), properties.get("body_encoding"))


def _check_body_text(body: Any, encoding: Any) -> None:
    require(isinstance(body, str), f"body must be a text, found {kind(body)}")
    require(encoding in (None, "", "utf-8", "base64"), "properties.body_encoding must be base64 or utf-8")
    if encoding != "base64":
        return
    try:
        base64.b64decode(body.encode())
    except ValueError as exc:
        raise UnfitError("body is not base64") from exc


def check_task(headers: Mapping[str, Any], payload: Any, tasks: Container[str]) -> None:
    """Refuse a call that Celery's strategy or pool would stumble over, or that is none of ours.

    `payload` is the decoded body: three parts in protocol 2, the whole call in protocol 1. Celery's own tasks
    (map, chunks, chord_unlock, ...) are registered in every application; none of them is for others to send.
    """
    require(not too_deep(payload), f"the body is nested more than {DEEPEST} levels deep")
    call = _call(headers, payload)
    name = call.get("task")
    require(is_word(name), "there is no task name")
    name = str(name)
    require(name in tasks and not name.startswith("celery."), f"there is no task {name!r}")
    require(
        isinstance(call.get("id"), str) and bool(_ID.fullmatch(call["id"])), "there is no id, or it is no plain text"
    )
    _check_fields(call)
    _check_times(call)


def tame(headers: dict[str, Any]) -> None:
    """Take from the headers of a fit call what must have no effect: short time limits, and odd names for people.

    Of the arguments an operation's id alone may be told: a plain Celery client would tell Flower the parameters too.
    """
    limits = headers.get("timelimit") or (None, None)
    headers["timelimit"] = [limit if limit is not None and limit >= SHORTEST_LIMIT else None for limit in limits]
    if headers.get("shadow"):
        headers["shadow"] = "".join(letter for letter in headers["shadow"] if letter.isprintable())[:LONGEST_WORD]
    if not _TOLD.fullmatch(str(headers.get("argsrepr"))):
        headers["argsrepr"] = "(…)"
    headers["kwargsrepr"] = "{}"


def _call(headers: Mapping[str, Any], payload: Any) -> dict[str, Any]:
    """Both protocols as one flat mapping."""
    if "task" not in headers:
        require(isinstance(payload, dict), f"no task header, and the body is {kind(payload)}")
        call = {"args": [], "kwargs": {}, **payload, **headers}
        args, kwargs, embed = call["args"], call["kwargs"], {name: call.get(name) for name in _LINKS}
    else:
        found = len(payload) if isinstance(payload, list) else kind(payload)
        require(found == _BODY_PARTS, f"the body needs three parts (args, kwargs, embed), found {found}")
        args, kwargs, embed = payload
        embed = {} if embed is None else embed
        require(isinstance(embed, dict), f"the third part of the body must be an object, found {kind(embed)}")
        call = dict(headers)
    require(isinstance(args, list), f"args must be a list, found {kind(args)}")
    require(isinstance(kwargs, dict), f"kwargs must be an object, found {kind(kwargs)}")
    for name in _LINKS:
        require(_is_links(embed.get(name)), f"{name} must be a list of signatures")
    return {**call, "chord": call.get("chord") or embed.get("chord")}


def _check_fields(call: Mapping[str, Any]) -> None:
    for name in _WORDS:
        require(call.get(name) in (None, "") or is_word(call[name]), f"{name} must be a short printable text")
    for name in _TEXTS:
        require(call.get(name) is None or isinstance(call[name], str), f"{name} must be a text")
    for name in _NUMBERS:
        require(call.get(name) is None or isinstance(call[name], int), f"{name} must be a whole number")
    for name in _UNUSED:
        require(not call.get(name), f"{name} is not used here")


def _check_times(call: Mapping[str, Any]) -> None:
    # The record says when something is due. Running early what was asked for later would be worse than refusing.
    require(call.get("eta") is None, "eta is not honoured: ask for a maintenance window or a schedule")
    require(call.get("expires") is None or _is_time(call["expires"]), "expires must be an ISO 8601 time")
    limits = call.get("timelimit")
    fine = limits is None or (isinstance(limits, list) and len(limits) == len(("hard", "soft")))
    require(fine and all(_is_limit(limit) for limit in limits or ()), "timelimit must be two numbers of seconds")


def _is_limit(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_time(value: Any) -> bool:
    if not is_word(value):
        return False
    try:
        return datetime.fromisoformat(value).year in _YEARS
    except ValueError:
        return False


def _is_links(value: Any) -> bool:
    if isinstance(value, dict):  # old producers send a single callback bare
        return True
    return value is None or (isinstance(value, list) and all(isinstance(link, dict) for link in value))


def is_word(value: Any) -> bool:
    """Whether this is a text of 1 to 256 printable characters."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_WORD and value.isprintable()


def too_deep(value: Any) -> bool:
    """Whether lists and objects stand inside each other more than 40 levels deep; looks without recursion."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return True


def _children(node: Any) -> list[Any]:
    """The lists and objects directly inside one."""
    inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [child for child in inside if isinstance(child, dict | list)]


def kind(value: Any) -> str:
    """What a JSON value is, in a word."""
    return "nothing" if value is None else type(value).__name__


def require(fine: bool, otherwise: str) -> None:
    """Raise UnfitError with these words unless all is fine."""
    if not fine:
        raise UnfitError(otherwise)
