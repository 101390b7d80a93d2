"""Acknowledging, and who is told when nobody does."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from opsqueue.alerts.state import ENGINE, Step, end, told
from opsqueue.errors import Conflict, InvalidRequest
from opsqueue.model.alert import Alert, Kind, Transition
from opsqueue.model.alert_rule import EscalationStep

ACK_SECONDS = 4 * 3600.0
"""How long an acknowledgement counts, unless it says so itself."""


def acknowledge(
    alert: Alert, *, by: str, now: float, seconds: float = ACK_SECONDS, comment: str = ""
) -> tuple[Alert, Transition]:
    """Somebody looks after it: no repeats and no escalation until then; Conflict when there is nothing to look after.

    That it is over is told all the same, and the next time it fires is another incident.
    """
    if not alert.firing:
        raise Conflict(f"alert {alert.fingerprint} does not fire: there is nothing to acknowledge")
    known = replace(alert, acked_by=by, acked_at=now, acked_until=now + seconds)
    return known, told(known, Kind.ACKNOWLEDGED, now, comment, by)


def take_back(alert: Alert, *, by: str, now: float, reason: str = "") -> tuple[Alert, Transition]:
    """Nobody looks after it any more: repeats and escalation go on; Conflict when nobody did."""
    if not alert.firing or not alert.acked(now):
        raise Conflict(f"alert {alert.fingerprint} is not acknowledged: there is nothing to take back")
    # As when it runs out: from here on the escalation counts anew.
    open_again = replace(alert, acked_by="", acked_until=now)
    return open_again, told(open_again, Kind.ACK_TAKEN_BACK, now, reason, by)


def resolve(alert: Alert, *, by: str, now: float, reason: str) -> Step:
    """It is over because a person says so; Conflict when it does not fire, InvalidRequest without a reason.

    Where the condition still holds it fires again, after its `for`, as another incident.
    """
    if not alert.firing:
        raise Conflict(f"alert {alert.fingerprint} does not fire: there is nothing to resolve")
    if not reason.strip():
        raise InvalidRequest("to resolve an alert by hand needs a reason: --comment")
    return end(alert, now, reason, by)


def ack_over(alert: Alert, now: float) -> tuple[Alert, Transition] | None:
    """The alert with its acknowledgement taken off, once that has run out; None: nothing to do."""
    if not alert.firing or not alert.acked_by or alert.acked(now):
        return None
    reason = f"the acknowledgement by {alert.acked_by} ran out, and it still fires"
    # `acked_until` stays: from there on the escalation counts anew.
    open_again = replace(alert, acked_by="")
    return open_again, told(open_again, Kind.ACK_EXPIRED, now, reason, ENGINE)


def due_steps(alert: Alert, steps: Sequence[EscalationStep], done: Collection[int], now: float) -> list[int]:
    """The numbers of the steps whose time has come and that this incident did not take yet."""
    if not alert.firing or alert.fired_at is None or alert.acked(now) or alert.muted_by or alert.flapping:
        return []
    since = max(alert.fired_at, alert.acked_until or 0.0)
    return [n for n, one in enumerate(steps) if n not in done and now - since >= one.after_s]
