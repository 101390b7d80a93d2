"""Many messages to one recipient in a short time, told as one that names them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from opsqueue.model.names import Severity
from opsqueue.model.record import INSTEAD, Delivery
from opsqueue.notify.message import Message, compose
from opsqueue.notify.policy import SUMMARY
from opsqueue.notify.text import one_line
from opsqueue.pipeline.postbox import event_of, row_of
from opsqueue.pipeline.world import World
from opsqueue.store import operations, targets, tellings
from opsqueue.store.engine import Connection
from opsqueue.telemetry import counted

_LOOK_AGAIN = 60.0
_MOST_SHORT = 160
_OVER = frozenset({"accepted", "suppressed", "dead"})


def form_summaries(world: World) -> None:
    """Write the summaries that are due, and in each row that it gathers which one tells it."""
    now = world.now()
    with world.store.read() as connection:
        due = tellings.summaries_due(connection, now)
    for channel in due:
        with world.store.begin() as tx:
            _form(tx, channel, now)


def summary_ended(tx: Connection, world: World, event: str, outbox: Sequence[Delivery]) -> None:
    """What became of a summary became of all that it names, channel by channel, once it waits nowhere any more."""
    if not outbox or any(row.status not in _OVER for row in outbox):
        return
    now, members = world.now(), tellings.gathered(tx, summary=event)
    others = counted(len({event_of(row) for row in members}) - 1, "other")
    for row in members:
        for told in outbox:
            if told.channel == row.channel:
                tellings.put_back(tx, _as(row, told, others, now))
            else:
                hop = replace(row, channel=told.channel, attempts=0)
                tellings.stand_in(tx, _as(hop, told, f"{others}, {INSTEAD} {row.channel}", now))
    operations.wake(tx, [row.operation_id for row in members if row.operation_id], now)


def _as(row: Delivery, told: Delivery, others: str, now: float) -> Delivery:
    """A part of a summary as the summary itself stands with that recipient."""
    how = "told" if told.status == "accepted" else "was to be told"
    return replace(
        row,
        status=told.status,
        attempts=row.attempts + bool(told.attempts),
        at=now if told.at is None else told.at,
        error=told.error,
        fallback=told.fallback,
        note=told.note if told.status == "suppressed" else f"{how} in one summary with {others}",
    )


def _form(tx: Connection, channel: str, now: float) -> None:
    rows = tellings.gathered(tx, channel)
    if len(rows) == 1:  # the others were told by hand, or it came alone after all
        tellings.put_back(tx, replace(rows[0], status="queued", next_at=now, note=""))
        operations.wake(tx, [rows[0].operation_id], now)
        return
    if not rows:
        return
    event = f"{SUMMARY}{channel}:{now:.3f}"
    message = summarised([_said(tx, row) for row in rows], now)
    to = Delivery(operation_id="", event=event, channel=channel, next_at=now)
    if tellings.add(tx, row_of(message, event, now), [to]):
        for row in rows:
            tellings.put_back(tx, replace(row, summary=event, next_at=now + _LOOK_AGAIN))


def _said(tx: Connection, row: Delivery) -> tuple[str, str, Severity]:
    """The event, its title and how much it matters."""
    if row.operation_id:
        message = compose(operations.get(tx, row.operation_id), targets.of(tx, row.operation_id))
        return event_of(row), message.title, message.severity
    kept = tellings.message(tx, row.event)
    return row.event, kept["title"], Severity(kept["severity"])


def summarised(said: Sequence[tuple[str, str, Severity]], now: float) -> Message:
    """One message that names all of these, the worst first; its body is as long as that takes."""
    order = list(Severity)
    worst_first = sorted(said, key=lambda one: -order.index(one[2]))
    counts = ", ".join(f"{n} {one}" for one in reversed(order) if (n := sum(each[2] is one for each in said)))
    title = f"[opsqueue] {len(said)} messages: {counts}"
    lines = [f"- {severity}: {one_line(name.removeprefix('[opsqueue] '), 200)}" for _, name, severity in worst_first]
    payload = {
        "event": "summary",
        "severity": worst_first[0][2].value,
        "count": len(said),
        "messages": [{"event_id": event, "title": name, "severity": severity} for event, name, severity in worst_first],
    }
    return Message(
        title=title,
        body="\n".join((title, *lines, "", "More: opsqueue history")),
        severity=worst_first[0][2],
        payload=payload,
        short=one_line(f"{title.replace('[opsqueue]', 'opsqueue:')}. opsqueue history", _MOST_SHORT),
        at=now,
    )
