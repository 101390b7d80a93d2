"""Where messages go that can never run: a bounded Redis list that people read and nothing consumes."""

from __future__ import annotations

import base64
import json
import logging
import time
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

KEY = "opsqueue.dead"
TOTAL = "opsqueue.dead.total"
KEPT = 1000
"""Entries kept; the oldest go first."""
HEAD = 2048
"""Bytes kept of each payload."""
_LONGEST = 300
"""Characters kept of a reason or a queue name."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """One buried message."""

    at: float
    """UNIX seconds."""
    queue: str
    reason: str
    size: int
    """Bytes of the whole payload."""
    encoding: str
    """`text` or `base64`: how `payload` is written."""
    payload: str
    """The first 2 kB."""


def bury(client: Redis, prefix: str, queue: str, reason: str, payload: bytes) -> None:
    """Keep one unusable message for people, log it once, count it; never raises because Redis is in trouble.

    `client` must add no key prefix of its own; `prefix` is the broker's global key prefix, or empty.
    """
    entry = _entry(queue, reason, payload)
    logger.error(
        "FAILED to read a message on queue %s, buried in %s: %s",
        entry["queue"],
        prefix + KEY,
        entry["reason"],
        extra={"event": "message_buried", "fields": {name: entry[name] for name in ("queue", "reason", "size")}},
    )
    try:
        with client.pipeline(transaction=False) as pipe:
            pipe.lpush(prefix + KEY, json.dumps(entry))
            pipe.ltrim(prefix + KEY, 0, KEPT - 1)
            pipe.incr(prefix + TOTAL)
            pipe.execute()
    except (RedisError, OSError) as exc:
        logger.warning("the buried message could not be kept in %s: %s", prefix + KEY, plain(str(exc)))


def dead_count(client: Redis, prefix: str = "") -> int:
    """How many buried messages are kept now, at most 1,000."""
    return int(_answer(client.llen(prefix + KEY)))


def dead_total(client: Redis, prefix: str = "") -> int:
    """How many messages were buried since Redis was last emptied."""
    return int(_answer(client.get(prefix + TOTAL)) or 0)


def dead_list(client: Redis, limit: int = 100, prefix: str = "") -> list[Dead]:
    """The newest buried messages, newest first; an entry that somebody else wrote is shown as such."""
    return [_read(raw) for raw in _answer(client.lrange(prefix + KEY, 0, max(limit, 1) - 1))]


def plain(text: str) -> str:
    """A text of unknown origin made fit for one log line: printable ASCII, at most 300 characters."""
    return text[:_LONGEST].encode("unicode_escape").decode("ascii")[:_LONGEST]


def _entry(queue: str, reason: str, payload: bytes) -> dict[str, Any]:
    head, encoding = payload[:HEAD], "text"
    try:
        text = head.decode()
    except UnicodeDecodeError:
        text, encoding = base64.b64encode(head).decode(), "base64"
    return {
        "at": time.time(),
        "queue": plain(queue),
        "reason": plain(reason),
        "size": len(payload),
        "encoding": encoding,
        "payload": text,
    }


def _read(raw: bytes | str) -> Dead:
    try:
        found = json.loads(raw)
        return Dead(
            at=float(found["at"]),
            queue=str(found["queue"]),
            reason=str(found["reason"]),
            size=int(found["size"]),
            encoding=str(found["encoding"]),
            payload=str(found["payload"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        text = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
        reason = "not written by opsqueue"
        return Dead(at=0.0, queue="", reason=reason, size=len(raw), encoding="text", payload=text[:HEAD])


def _answer(found: Any) -> Any:
    """The answer of a synchronous client, whose type also speaks of the asynchronous one."""
    return found
