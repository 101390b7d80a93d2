r"""Structured logs: one line per event, with the operation's id bound; JSON or plain.

`operations.log` holds what happened to operations, `system-metrics.log` the readings. Lines of failures have
the word ERROR or FAILED in them, so that `grep operation_id` and `grep "ERROR\|FAILED"` do what one expects.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, Literal

from opsqueue.errors import InvalidConfig
from opsqueue.model.instant import moment

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters of 7 and 8 bits, Unicode's own ends of lines, and the signs that turn the direction of text."""
_BYTE = 0xFF
_OWN = ("operation_id", "stage", "host", "event")


def iso(at: float | None) -> str | None:
    """A UNIX time as ISO 8601 UTC with milliseconds; None stays None. Never raises for a number."""
    if at is None:
        return None
    return moment(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def printable(text: str) -> str:
    """The text with control characters made visible, so that no host output can forge a line or colour a terminal."""
    return _CONTROL.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code <= _BYTE else f"\\u{code:04x}"


def counted(number: int, noun: str) -> str:
    """`1 host`, `2 hosts`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{key}={printable(str(value))}" for key, value in _fields(record).items())
        line = f"{iso(record.created)} {record.levelname:<7} {printable(record.getMessage())}"
        return f"{line} {fields}".rstrip() + _trace(record)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"at": iso(record.created), "level": record.levelname, "logger": record.name}
        trace = {"trace": _trace(record).strip()} if record.exc_info else {}
        message = {"message": record.getMessage()}
        text = json.dumps({**line, **message, **_fields(record), **trace}, default=str, ensure_ascii=False)
        return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    given: Mapping[str, Any] = getattr(record, "fields", {})
    bound = {key: getattr(record, key) for key in _OWN if getattr(record, key, None)}
    return {**bound, **given}


def _trace(record: logging.LogRecord) -> str:
    if not record.exc_info:
        return ""
    return " | " + printable(logging.Formatter().formatException(record.exc_info).replace("\n", " ⏎ "))


def formatter(form: Literal["json", "plain"]) -> logging.Formatter:
    """What makes one line of each event."""
    return _Json() if form == "json" else _Plain()


def configure(
    directory: Path | None,
    *,
    form: Literal["json", "plain"] = "plain",
    level: str = "INFO",
    stderr: bool = False,
) -> None:
    """Send opsqueue's logs to the files of `directory` (made with mode 0750), and to stderr if asked.

    Raises InvalidConfig when they cannot be written.
    """
    lines = formatter(form)
    root = logging.getLogger("opsqueue")
    root.setLevel(level)
    root.propagate = False
    _replace(root, [logging.StreamHandler(sys.stderr)] if stderr else [], lines)
    if directory is None:
        return
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o750)
        # Watched: a log rotation may rename the file under a running worker, and no line may be lost.
        happened, read = (
            WatchedFileHandler(directory / name, encoding="utf-8") for name in ("operations.log", "system-metrics.log")
        )
    except OSError as error:
        raise InvalidConfig(
            f"the logs cannot be written to {directory}: {error.strerror}. "
            "Mend that, or set logging.directory or state_dir"
        ) from None
    _replace(root, [*root.handlers, happened], lines)
    metrics = logging.getLogger("opsqueue.metrics")
    metrics.propagate = False
    _replace(metrics, [read], lines)


def _replace(logger: logging.Logger, handlers: list[logging.Handler], lines: logging.Formatter) -> None:
    for handler in handlers:
        handler.setFormatter(lines)
    for old in [handler for handler in logger.handlers if handler not in handlers]:
        old.close()
    logger.handlers = handlers
