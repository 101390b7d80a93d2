"""Groups: what is told together, when, and when again; as Alertmanager's dispatcher and deduplication do it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from opsqueue.alerts.fingerprint import fingerprint
from opsqueue.model.alert import Alert, Group, Notice
from opsqueue.model.alert_rule import Route
from opsqueue.model.matcher import all_match
from opsqueue.model.names import Severity

_FLAPPING = "flapping:"


def route_of(alert: Alert, routes: Sequence[Route]) -> Route:
    """The first route that takes the alert; one that takes everything stands behind them all."""
    labels = alert.all_labels()
    return next((route for route in routes if all_match(route.match, labels)), Route())


def group_of(alert: Alert, route: Route, now: float) -> Group:
    """The group in which this alert is told, as it begins: `group_wait` after it fired."""
    labels = {name: alert.all_labels().get(name, "") for name in route.group_by}
    key = f"{route.name}:{fingerprint({'route': route.name, 'labels': json.dumps(labels, sort_keys=True)})[:16]}"
    # A group that is forgotten and begins again must not use the ids of its old messages.
    first = min(now, alert.fired_at if alert.fired_at is not None else now)
    return Group(key=key, route=route.name, labels=labels, next_at=first + route.group_wait_s, number=int(now))


def member(alert: Alert) -> str:
    """By what a group knows an alert: each firing anew, all of a flapping one as one."""
    return f"{_FLAPPING}{alert.fingerprint}" if alert.flapping else alert.incident


def due(group: Group, alerts: Sequence[Alert], now: float) -> bool:
    """Whether the group must be looked at: its time has come, or one of its alerts is worse than was told."""
    return now >= group.next_at or bool(_worse(group, _telling(alerts)))


def flush(group: Group, alerts: Sequence[Alert], route: Route, now: float) -> tuple[Group, Notice | None]:
    """Look at a group that is due: how it stands after that, and what it has to tell.

    `alerts` are those of the group that fire or flap, and those that were told of and do not fire any more.
    """
    members = _telling(alerts)
    over = _over(group, alerts, members)
    why = _why(group, members, over, route, now)
    # What ended quietly, while it was muted, is not told of later.
    heard = {*members, *over, *_muted(alerts)}
    kept = {name: word for name, word in group.sent.items() if name in heard}
    later = replace(group, next_at=now + route.group_interval_s, sent=kept)
    if why is None:
        return later, None
    number = group.number + 1
    told = replace(
        later,
        sent_at=now,
        sent={name: alert.severity.value for name, alert in members.items()},
        resolved=tuple(over),
        number=number,
    )
    firing = tuple(alert for name, alert in members.items() if not name.startswith(_FLAPPING))
    flapping = tuple(alert for name, alert in members.items() if name.startswith(_FLAPPING))
    return told, Notice(group=told, why=why, firing=firing, resolved=tuple(over.values()), flapping=flapping)


def empty(group: Group, alerts: Sequence[Alert]) -> bool:
    """Whether nothing of the group is left that could be told."""
    return not group.sent and not any(alert.firing or alert.flapping for alert in alerts)


def _telling(alerts: Sequence[Alert]) -> dict[str, Alert]:
    heard = (alert for alert in alerts if (alert.firing or alert.flapping) and not alert.muted_by)
    return {member(alert): alert for alert in sorted(heard, key=lambda one: (one.fired_at or 0.0, one.fingerprint))}


def _muted(alerts: Sequence[Alert]) -> set[str]:
    return {member(alert) for alert in alerts if (alert.firing or alert.flapping) and alert.muted_by}


def _over(group: Group, alerts: Sequence[Alert], members: Mapping[str, Alert]) -> dict[str, Alert]:
    """What was told to fire, and fires no more. One that now flaps, or did, is told as what it is now."""
    by_name = {alert.incident: alert for alert in alerts if alert.incident}
    by_name |= {f"{_FLAPPING}{alert.fingerprint}": alert for alert in alerts}
    gone = (name for name in group.sent if name not in members and name in by_name)
    found = {name: by_name[name] for name in gone}
    return {name: alert for name, alert in found.items() if not alert.firing and not alert.flapping}


def _worse(group: Group, members: Mapping[str, Alert]) -> list[str]:
    order = list(Severity)
    return [
        name
        for name, alert in members.items()
        if name in group.sent and order.index(alert.severity) > order.index(Severity(group.sent[name]))
    ]


def _why(
    group: Group,
    members: Mapping[str, Alert],
    over: Mapping[str, Alert],
    route: Route,
    now: float,
) -> Literal["new", "changed", "worse", "resolved", "repeat"] | None:
    if group.sent_at is None or not group.sent:
        return "new" if members else None
    if _worse(group, members):
        return "worse"
    if any(name not in group.sent for name in members):
        return "changed"
    if over:
        return "changed" if members else "resolved"
    acked = all(alert.acked(now) for alert in members.values())
    if members and not acked and now - group.sent_at >= route.repeat_interval_s:
        return "repeat"
    return None
