"""Where a message goes when a channel is given up: down the list of that channel, each hop a delivery of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from opsqueue.model.record import INSTEAD, Delivery


def hops(
    outbox: Sequence[Delivery],
    fallback: Callable[[str], Sequence[str]],
    recipients: Callable[[str], Sequence[str]],
    now: float,
) -> tuple[Delivery, ...]:
    """Deliveries of one event that are new, or know now where they went; empty: there is nowhere to go.

    It cannot go in a circle: a recipient has one delivery of an event, and each list is gone down once.
    """
    rows = {row.channel: row for row in outbox}
    before = dict(rows)
    for row in outbox:
        if row.status == "dead":
            _down(rows, row, fallback(row.channel), recipients, now)
    return tuple(row for row in rows.values() if row != before.get(row.channel))


def _down(
    rows: dict[str, Delivery],
    row: Delivery,
    names: Sequence[str],
    recipients: Callable[[str], Sequence[str]],
    now: float,
) -> None:
    if row.fallback and _stands(rows, row.fallback):
        return
    before = row.fallback
    for name in names[names.index(before) + 1 :] if before in names else names:
        rows[row.channel] = replace(row, fallback=name)
        _pass_on(rows, before, name)
        for recipient in recipients(name):
            note = f"{INSTEAD} {row.channel}"
            hop = Delivery(operation_id=row.operation_id, event=row.event, channel=recipient, next_at=now, note=note)
            rows.setdefault(recipient, hop)
        if _stands(rows, name):
            return
        before = name


def _pass_on(rows: dict[str, Delivery], before: str, name: str) -> None:
    """A hop that was given up too says where it went on to: nobody has to act on it when that one was told."""
    for hop in list(rows.values()):
        if hop.channel.partition("#")[0] == before and hop.status == "dead" and not hop.fallback:
            rows[hop.channel] = replace(hop, fallback=name)


def _stands(rows: dict[str, Delivery], name: str) -> bool:
    """Whether anybody of this channel was told, or may still be."""
    return any(row.status != "dead" for row in rows.values() if row.channel.partition("#")[0] == name)
