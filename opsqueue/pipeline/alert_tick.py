"""What happens to alerts by the clock: silences, missing data, acknowledgements that run out, and what groups tell."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from opsqueue.alerts import grouping
from opsqueue.alerts.escalation import ack_over
from opsqueue.alerts.evaluate import covers, judged, no_data, unheard, without_data
from opsqueue.alerts.fingerprint import fingerprint
from opsqueue.alerts.matching import BY_WINDOW, Inhibitions, muted_by
from opsqueue.alerts.state import Limits, abandoned, forgettable, told
from opsqueue.model.alert import Alert, AlertState, Group, Kind, Notice, Silence, Transition
from opsqueue.model.alert_rule import AlertRule, Route
from opsqueue.model.host import Host
from opsqueue.model.window import Window
from opsqueue.notify.alert_message import MOST_SHOWN, of_group
from opsqueue.pipeline import alert_turn
from opsqueue.pipeline.alert_faults import Faults, looking
from opsqueue.pipeline.alert_intake import EXTERNAL, MOST_ALERTS
from opsqueue.pipeline.alert_people import escalate
from opsqueue.pipeline.alerting import limits_of, rules_now
from opsqueue.pipeline.remediate import remediate, standing
from opsqueue.pipeline.tell_later import tell_later
from opsqueue.pipeline.world import World
from opsqueue.store import alert_parts, alerts, tellings
from opsqueue.store.engine import Connection

_log = logging.getLogger("opsqueue.alerts")
_LONG_AGO = 7 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one look at all alerts is about."""

    now: float
    since: float
    """Since when somebody looks, without a break: silence before that says nothing about a host."""
    rules: Mapping[str, AlertRule]
    alerts: Sequence[Alert]
    silences: Sequence[Silence]
    groups: Mapping[str, Group]
    hosts: Mapping[str, Host]
    quiet: Sequence[Window] = ()
    """The windows that are open and keep alerts quiet."""


def tick(world: World) -> bool:
    """Look at all alerts, if it is our turn; whoever dies in the middle leaves nothing half done."""
    with alert_turn.taken(world) as ours:
        if ours:
            look(world)
    return ours


def look(world: World) -> None:
    """One look at all alerts, without asking whose turn it is."""
    with looking(world) as faults:
        _maintain(world, view(world), faults)
        seen = view(world)
        _tell(world, seen, faults)
        escalate(world, seen.rules, seen.alerts, faults)
        remediate(world, seen.rules, seen.alerts, faults)


def view(world: World) -> View:
    """All alerts as they stand."""
    now = world.now()
    with world.store.read() as connection:
        return View(
            now=now,
            since=alert_turn.looked_since(connection),
            rules=rules_now(world.settings, connection),
            alerts=alerts.every(connection),
            silences=alert_parts.silences_until(connection, now),
            groups=alert_parts.groups(connection),
            hosts=world.inventory,
            quiet=[window for window in world.windows if window.mute and window.contains(now)],
        )


# Each alert by itself


def _maintain(world: World, seen: View, faults: Faults) -> None:
    limits = limits_of(world.settings)
    told_of = {name for group in seen.groups.values() for name in group.sent}
    inhibitions = Inhibitions(seen.alerts, world.settings.alerts.inhibit)
    beyond = _beyond(seen)
    for alert in seen.alerts:
        with faults.apart(alert.fingerprint, "what the clock makes of it"):
            done = forgettable(alert) or _over_long_ago(alert, seen.now) or alert.fingerprint in beyond
            if done and not {alert.incident, f"flapping:{alert.fingerprint}"} & told_of:
                _forget(world, alert)
            else:
                _keep(world, alert, *_aged(seen, alert, inhibitions, limits))
    _look_for_missing(world, seen, limits, faults)


def _forget(world: World, alert: Alert) -> None:
    with world.store.begin(lasting=False) as tx:
        alerts.forget(tx, alert)


def _keep(world: World, alert: Alert, after: Alert, lines: Sequence[Transition]) -> None:
    if after != alert:
        with world.store.begin() as tx:  # somebody who was faster judged it anew: then it waits for the next look
            alerts.save(tx, alert, after, lines)


def _beyond(seen: View) -> set[str]:
    """Of the alerts of others that are over, those that are more than are remembered: the oldest."""
    over = [alert for alert in seen.alerts if alert.rule == EXTERNAL.name and alert.state is AlertState.INACTIVE]
    over.sort(key=lambda alert: alert.last_at or 0.0, reverse=True)
    return {alert.fingerprint for alert in over[MOST_ALERTS:]}


def _aged(seen: View, alert: Alert, inhibitions: Inhibitions, limits: Limits) -> tuple[Alert, list[Transition]]:
    rule = seen.rules.get(alert.rule)
    if why := _gone(seen, alert):
        found = abandoned(alert, seen.now, why)
        return found.alert, list(found.transitions)
    lines: list[Transition] = []
    after = alert
    if rule is not None and rule.name != EXTERNAL.name:  # whoever decided those says when they are over
        step = without_data(rule, alert, limits, seen.now, seen.since)
        after, lines = step.alert, list(step.transitions)
    if expired := ack_over(after, seen.now):
        after, line = expired
        lines.append(line)
    quiet = (*muted_by(after, seen.silences, inhibitions, seen.now), *_windows(seen, after)) if _heard(after) else ()
    if quiet != after.muted_by:
        after = replace(after, muted_by=quiet)
        lines.extend(_muted(alert, after, seen.now))
    return after, lines


def _over_long_ago(alert: Alert, now: float) -> bool:
    """What is judged rarely, as alerts from elsewhere, has few results; it is forgotten by its age."""
    return not alert.firing and alert.active_at is None and now - (alert.last_at or now) > _LONG_AGO


def _gone(seen: View, alert: Alert) -> str:
    """Why nobody will judge this alert any more; empty while somebody will."""
    rule = seen.rules.get(alert.labels.get("nodata", alert.rule))
    if rule is None:
        return "rule_deleted"
    if not rule.enabled:
        return "rule_disabled"
    if not alert.host or rule.name == EXTERNAL.name:  # hosts of alerts from elsewhere are none of our inventory
        return ""
    if alert.host not in seen.hosts:
        return "host_gone"
    return "" if covers(rule, seen.hosts[alert.host]) else "rule_changed"


def _windows(seen: View, alert: Alert) -> Iterator[str]:
    """The windows that keep it quiet; one of some types only is about the hosts for which these wait for it."""
    host = seen.hosts.get(alert.host)
    for window in seen.quiet if host else ():
        if host and window.covers(host.name, host.groups, next(iter(window.types), "")):
            yield f"{BY_WINDOW}{window.name}"


def _heard(alert: Alert) -> bool:
    return alert.firing or alert.flapping


def _muted(before: Alert, after: Alert, now: float) -> Iterator[Transition]:
    new = [why for why in after.muted_by if why not in before.muted_by]
    for why in new:
        yield told(after, Kind.INHIBITED if why.startswith("inhibited:") else Kind.SILENCED, now, why)
    if before.muted_by and not after.muted_by and after.firing:
        yield told(after, Kind.UNMUTED, now, ", ".join(before.muted_by))


def _look_for_missing(world: World, seen: View, limits: Limits, faults: Faults) -> None:
    by_name = {alert.fingerprint: alert for alert in seen.alerts}
    for alert in (*seen.alerts, *_unheard(world, seen, by_name)):
        with faults.apart(alert.fingerprint, "whether it is still heard of"):
            _look_for_one(world, seen, alert, by_name, limits)


def _look_for_one(world: World, seen: View, alert: Alert, by_name: Mapping[str, Alert], limits: Limits) -> None:
    rule = None if _gone(seen, alert) else seen.rules.get(alert.rule)
    found = no_data(rule, alert, limits, seen.now, seen.since) if rule else None
    if found is None:
        return
    about, observed = found
    known = by_name.get(fingerprint(observed.labels))
    if not observed.holds and (known is None or not known.firing):
        return
    if known is not None and known.firing and observed.holds:
        return  # said already
    change = judged(about, known, observed, limits)
    if change is not None:
        with world.store.begin() as tx:
            alerts.save(tx, change.before, change.after, change.transitions)


def _unheard(world: World, seen: View, known: Mapping[str, Alert]) -> list[Alert]:
    """What is well, or was, for rules to which silence is an alarm: of it nothing is written."""
    rules = [rule for rule in seen.rules.values() if rule.on_missing == "alert" and rule.metric and rule.enabled]
    found: list[Alert] = []
    for rule in rules:
        with world.store.read() as connection:
            last = alert_parts.last_seen(connection, rule.metric or "")
        here = (one for one in last if one[0] in seen.hosts)
        heard = (unheard(rule, seen.hosts[host], metric, at, every) for host, metric, at, every in here)
        found += [alert for alert in heard if alert is not None and alert.fingerprint not in known]
    return found


# Groups


def _tell(world: World, seen: View, faults: Faults) -> None:
    routes = {route.name: route for route in (Route(), *world.settings.alerts.routes)}
    groups, members = _grouped(world, seen, faults)
    by_name = {name: alert for alert in seen.alerts for name in (alert.incident, f"flapping:{alert.fingerprint}")}
    for key, group in groups.items():
        here = {alert.fingerprint for alert in members[key]}
        told_of = {by_name[name].fingerprint: by_name[name] for name in group.sent if name in by_name}
        before = [told_of[name] for name in sorted(told_of) if name not in here]
        with faults.apart(f"group {key}", "telling it"):
            _tell_group(world, seen, group, [*members[key], *before], routes.get(group.route, Route()))


def _grouped(world: World, seen: View, faults: Faults) -> tuple[dict[str, Group], dict[str, list[Alert]]]:
    members: dict[str, list[Alert]] = {key: [] for key in seen.groups}
    groups = dict(seen.groups)
    for alert in filter(_heard, seen.alerts):
        with faults.apart(alert.fingerprint, "finding its group"):
            group = grouping.group_of(alert, grouping.route_of(alert, world.settings.alerts.routes), seen.now)
            if group.key not in groups:
                groups[group.key] = _begun(world, group)
            members.setdefault(group.key, []).append(alert)
    return groups, members


def _begun(world: World, group: Group) -> Group:
    """A new group, whose messages are none of those before, though the clock be set back since."""
    with world.store.read() as connection:
        return replace(group, number=max(group.number, tellings.last_number(connection, f"alerts:{group.key}:")))


def _tell_group(world: World, seen: View, group: Group, members: Sequence[Alert], route: Route) -> None:
    if grouping.empty(group, members):
        with world.store.begin(lasting=False) as tx:
            alert_parts.forget_group(tx, group)
        return
    if not grouping.due(group, members, seen.now):
        if group.version == 0:
            with world.store.begin(lasting=False) as tx:
                alert_parts.save_group(tx, group, group)
        return
    after, notice = grouping.flush(group, members, route, seen.now)
    with world.store.begin() as tx:
        # Both or neither: who dies here has told nothing, and the next look finds it as it was.
        if alert_parts.save_group(tx, group, after) and notice is not None:
            message = of_group(notice, seen.rules, _unrepaired(tx, world, seen, notice))
            tell_later(tx, world, message, event_id=notice.event_id, channels=_channels(notice, route, seen.rules))
            _log.info("%s", message.title)


def _unrepaired(tx: Connection, world: World, seen: View, notice: Notice) -> dict[str, str]:
    """By fingerprint: why the repair of its rule is not asked for."""
    stood = {one.fingerprint: standing(tx, world, seen.rules, seen.alerts, one) for one in notice.firing[:MOST_SHOWN]}
    return {name: found.why for name, found in stood.items() if found is not None and found.hindered}


def _channels(notice: Notice, route: Route, rules: Mapping[str, AlertRule]) -> tuple[str, ...]:
    names = {alert.rule for alert in (*notice.firing, *notice.flapping, *notice.resolved)}
    return route.tells(rules[name] for name in sorted(names & set(rules)))
