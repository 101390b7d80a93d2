"""The ways to people: try them, look at what was not delivered, and at how well they work."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

from opsqueue.cli import times
from opsqueue.cli.exit_status import FAILED
from opsqueue.cli.nearest import nearest
from opsqueue.cli.notify_show import delivered
from opsqueue.cli.output import Out, note
from opsqueue.cli.parsing import Parser, add_verb, verbs
from opsqueue.cli.record import needed, no_record, opened
from opsqueue.cli.tables import Narrow
from opsqueue.cli.text import safe
from opsqueue.client import actor
from opsqueue.errors import Conflict, InvalidRequest, NotFound
from opsqueue.model.instant import utc_text
from opsqueue.model.names import Severity
from opsqueue.model.record import WAITING, Delivery
from opsqueue.notify.message import Message
from opsqueue.notify.policy import quiet_until
from opsqueue.notify.sms import cost
from opsqueue.pipeline.assemble import recipients, tell
from opsqueue.pipeline.delivered import stats_json
from opsqueue.settings import Settings, load
from opsqueue.store import tellings
from opsqueue.telemetry import iso

TESTED = ("RECIPIENT", "STATUS", "SECONDS", "ERROR")
PLANNED = ("RECIPIENT", "FALLBACK", "QUIET UNTIL", "SMS PARTS")
UNTOLD = ("WRITTEN", "RECIPIENT", "STATUS", "ATTEMPTS", "NEXT", "SUBJECT", "WHY", "EVENT")
_SIDE_BY_SIDE = 16


def options(parser: Parser) -> None:
    """What it takes."""
    parser.ends((0, 2, 3, 9, 10, 12), "opsqueue notify test", "opsqueue notify list", "opsqueue notify stats")
    below = verbs(parser)
    test = add_verb(below, "test", "send a marked message now, and say what each recipient's side answered")
    test.add_argument("channels", nargs="*", metavar="CHANNEL", help="a channel, or one recipient of it (default: all)")
    test.add_argument("--dry-run", action="store_true", help="who would be told, and by which rules; sends nothing")
    test.ends((0, 2, 3), "opsqueue notify test", "opsqueue notify test email slack", "opsqueue notify test --dry-run")
    lists = add_verb(below, "list", "messages without an operation that wait, or were given up")
    lists.add_argument("--all", action="store_true", help="those that were delivered, too")
    lists.add_argument("--limit", type=int, default=50, metavar="N", help="at most (default: 50)")
    lists.ends((0, 2, 12), "opsqueue notify list --all --output json")
    stats = add_verb(below, "stats", "how much arrives, how soon, after how many tries, and what waits")
    stats.add_argument("--since", metavar="TIME", default="7d", help="from when on (default: 7d)")
    stats.ends((0, 2, 12), "opsqueue notify stats --since 30d", "opsqueue notify stats --output json")
    again = add_verb(below, "retry", "try again to deliver what was given up")
    again.add_argument("event", metavar="EVENT", help="as `notify list` shows it")
    again.ends((0, 2, 9, 10, 12), "opsqueue notify retry channel-failed:slack:0")


def run(given: Namespace) -> int:
    """Test, list, stats or retry."""
    out, settings = Out.of(given), load(given.config)
    if given.verb == "list":
        return _list(out, settings, every=given.all, limit=given.limit)
    if given.verb == "stats":
        return _stats(out, settings, given.since)
    if given.verb == "retry":
        return _retry(out, settings, given.event)
    who = _recipients(settings, given.channels)
    return _plan(out, settings, who) if given.dry_run else _test(out, settings, who)


def _recipients(settings: Settings, wanted: Sequence[str]) -> list[str]:
    known = settings.channel_names
    for name in wanted:
        if name.partition("#")[0] not in known:
            near = nearest(name, known) or f"; there are: {', '.join(known)}"
            raise InvalidRequest(f"there is no notification channel {name[:80]!r}{near}")
    return list(dict.fromkeys(one for name in wanted or known for one in recipients(settings, name)))


def marked(now: float) -> Message:
    """The message that says it is only a test."""
    title = "[opsqueue] TEST: this channel works"
    body = f"{title}\nSent by {actor()} with `opsqueue notify test` at {utc_text(now)}. Nothing has happened."
    payload = {"event": "test", "test": True, "requested_by": actor(), "at": utc_text(now), "severity": "info"}
    short = "opsqueue TEST: this channel works. Nothing has happened."
    return Message(title=title, body=body, severity=Severity.INFO, payload=payload, short=short, at=now)


def _test(out: Out, settings: Settings, who: Sequence[str]) -> int:
    message, event = marked(time.time()), f"test:{uuid4()}"
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        found = list(pool.map(lambda one: _tried(settings, one, message, f"{event}:{one}"), who))
    out.listing("recipients", found, TESTED, _tested, Narrow(beneath=("ERROR",)))
    for one in found if not out.json else ():
        if one["note"]:
            note(f"{safe(one['recipient'])}: {safe(one['note'])}")
    return 0 if all(one["status"] == "accepted" for one in found) else FAILED


def _tried(settings: Settings, recipient: str, message: Message, event_id: str) -> dict[str, Any]:
    began = time.monotonic()
    receipt = tell(settings, recipient, message, event_id)
    seconds = round(time.monotonic() - began, 3)
    said = {"error": receipt.error or None, "note": receipt.note or None}
    return {"recipient": recipient, "status": receipt.status, "seconds": seconds, **said}


def _tested(one: Mapping[str, Any]) -> tuple[object, ...]:
    return one["recipient"], one["status"], f"{one['seconds']:.2f}", one["error"] or ""


def _plan(out: Out, settings: Settings, who: Sequence[str]) -> int:
    now = time.time()
    out.listing("recipients", [_rules(settings, one, now) for one in who], PLANNED, _planned)
    return 0


def _rules(settings: Settings, recipient: str, now: float) -> dict[str, Any]:
    rules = settings.rules(recipient)
    return {
        "recipient": recipient,
        "fallback": list(rules.fallback),
        "quiet_until": iso(quiet_until(rules.windows(settings.timezone), now)),
        "sms_parts": cost(marked(now).short).parts if recipient.partition("#")[0] == "sms" else None,
    }


def _planned(one: Mapping[str, Any]) -> tuple[object, ...]:
    quiet = times.stamp(one["quiet_until"]) if one["quiet_until"] else ""
    return one["recipient"], ", ".join(one["fallback"]), quiet, one["sms_parts"] or ""


def _list(out: Out, settings: Settings, *, every: bool, limit: int) -> int:
    rows: list[dict[str, Any]] = []
    hint = "every message without an operation was delivered"
    with opened(settings) as store:
        if store is None:
            hint = no_record(settings)
        else:
            with store.read() as connection:
                rows = [_message(*found) for found in tellings.titled(connection, limit, every=every)]
    out.listing("messages", rows, UNTOLD, _untold, Narrow(beneath=("EVENT", "WHY"), drops=("ATTEMPTS", "NEXT")))
    if not rows:
        note(hint)
    return 0


def _message(row: Delivery, title: str, written: float) -> dict[str, Any]:
    return {
        "event": row.event,
        "title": title,
        "written_at": iso(written),
        "recipient": row.channel,
        "status": row.status,
        "attempts": row.attempts,
        "next_at": iso(row.next_at) if row.status in WAITING else None,
        "at": iso(row.at),
        "error": row.error or None,
        "fallback": row.fallback or None,
        "note": row.note or None,
    }


def _untold(row: Mapping[str, Any]) -> tuple[object, ...]:
    went = f"went to {row['fallback']}" if row["fallback"] else ""
    why = "; ".join(filter(None, (row["error"], went, row["note"])))
    subject = row["title"].removeprefix("[opsqueue] ")
    written, when = times.stamp(row["written_at"]), times.stamp(row["next_at"])
    return written, row["recipient"], row["status"], row["attempts"], when, subject, why, row["event"]


def _stats(out: Out, settings: Settings, since: str) -> int:
    now = time.time()
    begin = times.moment(since, now=now, zone=settings.timezone)
    with opened(settings) as store:
        if store is None:
            note(no_record(settings))
            return 0
        with store.read() as connection:
            delivered(out, stats_json(connection, since=begin, now=now))
    return 0


def _retry(out: Out, settings: Settings, event: str) -> int:
    with needed(settings) as store, store.begin() as tx:
        again, rows = tellings.revive(tx, event, time.time()), tellings.of(tx, event)
    if not rows:
        raise NotFound(f"there is no message {event[:80]!r}: `opsqueue notify list` shows those that were given up")
    if not again:
        stands = ", ".join(f"{row.channel} {row.status}" for row in rows)
        raise Conflict(f"nothing of {event[:80]!r} was given up: {stands}")
    if out.json:
        out.entry({"event": event, "again": again})
    else:
        out.line(f"{event}: tried again for {', '.join(again)} as soon as a worker runs")
    return 0
