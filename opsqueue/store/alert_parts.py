"""What stands beside alerts in the record: custom rules, silences, groups, escalation steps, tries to mend."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, case, delete, or_, select, update

from opsqueue.errors import Conflict, NotFound
from opsqueue.model.alert import Attempt, Group, Silence
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.matcher import parse_matchers
from opsqueue.store.gently import insert_new, put
from opsqueue.store.rows import in_parts, pack, unpack
from opsqueue.store.schema import samples, series
from opsqueue.store.schema_alerts import alert_attempts, alert_escalations, alert_groups, alert_rules, silences

_log = logging.getLogger("opsqueue.alerts")
_RULES = select(alert_rules.c.name, alert_rules.c.rule).order_by(alert_rules.c.name)

# Custom rules


def put_rule(tx: Connection, rule: AlertRule, *, by: str, now: float, new: bool = False) -> None:
    """Write a custom rule; Conflict when it should be new and there is another of this name."""
    text = rule.model_dump_json(exclude_unset=True)
    row = {"name": rule.name, "rule": text, "created_by": by, "created_at": now, "updated_at": now}
    if insert_new(tx, alert_rules, row):
        return
    known = tx.execute(select(alert_rules.c.rule).where(alert_rules.c.name == rule.name)).scalar_one()
    if known == text:
        return
    if new:
        raise Conflict(f"there is another alert rule called {rule.name!r}: update it, or choose another name")
    tx.execute(update(alert_rules).where(alert_rules.c.name == rule.name).values(rule=text, updated_at=now))


def delete_rule(tx: Connection, name: str) -> None:
    """Forget a custom rule; NotFound when there is none."""
    if not tx.execute(delete(alert_rules).where(alert_rules.c.name == name)).rowcount:
        raise NotFound(f"there is no custom alert rule called {name[:80]!r}; `opsqueue alerts rules` lists them")


def custom_rules(connection: Connection) -> list[AlertRule]:
    """The custom rules, by name; one that this version does not understand is left out, and logged."""
    found = []
    for name, text in connection.execute(_RULES):
        try:
            found.append(_rule_of(text))
        except ValidationError as error:
            _log.error("FAILED to read the alert rule %s: %s", name, error.errors(include_input=False)[0]["msg"])
    return found


@lru_cache(maxsize=1000)
def _rule_of(text: str) -> AlertRule:
    """Read once: every operation asks for all rules."""
    return AlertRule.model_validate_json(text)


# Silences


def add_silence(tx: Connection, silence: Silence) -> bool:
    """Write a silence; False when the same one is there already."""
    return insert_new(tx, silences, _silence_row(silence))


def change_silence(tx: Connection, before: Silence, after: Silence) -> bool:
    """Write another time of a silence, if it still is as `before`."""
    mine = silences.c.id == before.id, silences.c.starts_at == before.starts_at, silences.c.ends_at == before.ends_at
    times = {"starts_at": after.starts_at, "ends_at": after.ends_at, "updated_at": after.updated_at}
    return tx.execute(update(silences).where(*mine).values(times)).rowcount == 1


def get_silence(connection: Connection, beginning: str) -> Silence:
    """The silence whose id begins so; NotFound when there is none, or more than one."""
    query = select(silences).where(silences.c.id.startswith(beginning, autoescape=True)).limit(2)
    found = [_silence_of(row) for row in connection.execute(query).mappings()]
    if len(found) != 1:
        few = "none" if not found else "more than one"
        raise NotFound(f"wanted one silence whose id begins with {beginning[:80]!r}; there is {few}")
    return found[0]


def silences_until(connection: Connection, now: float) -> list[Silence]:
    """Silences that have not ended at that time; some may begin later."""
    query = select(silences).where(silences.c.ends_at > now).order_by(silences.c.starts_at, silences.c.id)
    return [_silence_of(row) for row in connection.execute(query).mappings()]


def prune_silences(tx: Connection, before: float) -> int:
    """Forget silences that ended before that; returns how many."""
    return tx.execute(delete(silences).where(silences.c.ends_at < before)).rowcount


# Groups


def groups(connection: Connection) -> dict[str, Group]:
    """All groups by key."""
    return {row["key"]: _group_of(row) for row in connection.execute(select(alert_groups)).mappings()}


def save_group(tx: Connection, before: Group, after: Group) -> bool:
    """Write a group, if it still is as `before`; False: somebody was faster, and tells what there is to tell."""
    row = _group_row(after)
    if before.version == 0:
        return insert_new(tx, alert_groups, {**row, "version": 1})
    mine = alert_groups.c.key == before.key, alert_groups.c.version == before.version
    return tx.execute(update(alert_groups).where(*mine).values({**row, "version": before.version + 1})).rowcount == 1


def mend_clock(tx: Connection, now: float, far: float) -> int:
    """Have groups looked at that wait for a future that cannot be; returns how many."""
    sent = case((alert_groups.c.sent_at > now, now), else_=alert_groups.c.sent_at)
    late = update(alert_groups).where(alert_groups.c.next_at > now + far)
    return tx.execute(late.values(next_at=now, sent_at=sent, version=alert_groups.c.version + 1)).rowcount


def forget_group(tx: Connection, group: Group) -> bool:
    """Drop a group of which nothing is left."""
    mine = alert_groups.c.key == group.key, alert_groups.c.version == group.version
    return tx.execute(delete(alert_groups).where(*mine)).rowcount == 1


# Escalation


def take_step(tx: Connection, incident: str, step: int, at: float) -> bool:
    """Be the one who takes this step of this incident; False: it was taken."""
    return insert_new(tx, alert_escalations, {"incident": incident, "step": step, "at": at})


def steps_taken(connection: Connection, incidents: Collection[str]) -> dict[str, set[int]]:
    """The steps that these incidents took."""
    found: dict[str, set[int]] = {}
    for some in in_parts(incidents):
        query = select(alert_escalations).where(alert_escalations.c.incident.in_(some))
        for row in connection.execute(query):
            found.setdefault(row.incident, set()).add(row.step)
    return found


def prune_steps(tx: Connection, before: float) -> None:
    """Forget the steps of incidents of long ago."""
    tx.execute(delete(alert_escalations).where(alert_escalations.c.at < before))


# Tries to mend


def add_attempt(tx: Connection, attempt: Attempt) -> bool:
    """Write a try; False when this one is there already."""
    return insert_new(tx, alert_attempts, _attempt_row(attempt))


def save_attempt(tx: Connection, attempt: Attempt) -> None:
    """Write how a try stands."""
    put(tx, alert_attempts, _attempt_row(attempt))


def attempts(connection: Connection, rule: str, host: str, since: float) -> list[Attempt]:
    """The tries of a rule on a host since then, and those that are still at it; oldest first."""
    recent = or_(alert_attempts.c.at >= since, alert_attempts.c.state == "running")
    mine = alert_attempts.c.rule == rule, alert_attempts.c.host == host
    query = select(alert_attempts).where(*mine, recent).order_by(alert_attempts.c.at, alert_attempts.c.number)
    return [_attempt_of(row) for row in connection.execute(query).mappings()]


def running_attempts(connection: Connection) -> list[Attempt]:
    """The tries of which it is not known yet whether they helped."""
    query = select(alert_attempts).where(alert_attempts.c.state == "running").order_by(alert_attempts.c.at)
    return [_attempt_of(row) for row in connection.execute(query).mappings()]


def hosts_wanting(connection: Connection, kind: str, since: float, until: float) -> set[str]:
    """The hosts on which an operation of this type was tried between these times."""
    tried = alert_attempts.c.state.in_(["running", "helped", "failed"]), alert_attempts.c.at.between(since, until)
    query = select(alert_attempts.c.host).where(alert_attempts.c.type == kind, *tried)
    return set(connection.execute(query.distinct()).scalars())


def prune_attempts(tx: Connection, before: float) -> int:
    """Forget tries of long ago; returns how many."""
    old = alert_attempts.c.at < before, alert_attempts.c.state != "running"
    return tx.execute(delete(alert_attempts).where(*old)).rowcount


def last_seen(connection: Connection, metric: str) -> list[tuple[str, str, float, float]]:
    """When each host last had a number of this name (`*` at its end: of all that begin so): host, metric, moment.

    And how long after the one before that, seconds; 0: it was the first.
    """
    begins = series.c.metric.startswith(metric[:-1], autoescape=True)
    wanted = begins if metric.endswith("*") else series.c.metric == metric
    # One step in the key for each series; a join would go through all of their samples.
    mine = select(samples.c.at).where(samples.c.series_id == series.c.id).order_by(samples.c.at.desc())
    newest, before = (mine.limit(1).offset(place).correlate(series).scalar_subquery() for place in (0, 1))
    rows = connection.execute(select(series.c.host, series.c.metric, newest, before).where(wanted))
    return [(host, name, at, at - (at if older is None else older)) for host, name, at, older in rows if at is not None]


def measured(connection: Connection) -> dict[str, str]:
    """The names of all numbers that any host ever had, as far as they are kept, and what they are measured in."""
    return dict(connection.execute(select(series.c.metric, series.c.unit).distinct()).all())


def _silence_of(row: Mapping[Any, Any]) -> Silence:
    data = {name: row[name] for name in Silence.__dataclass_fields__}
    return Silence(**{**data, "matchers": tuple(parse_matchers(one) for one in unpack(data["matchers"]))})


def _silence_row(silence: Silence) -> dict[str, Any]:
    data = {name: getattr(silence, name) for name in Silence.__dataclass_fields__}
    return {**data, "matchers": pack([[str(matcher) for matcher in one] for one in silence.matchers])}


def _group_of(row: Mapping[Any, Any]) -> Group:
    data = {name: row[name] for name in Group.__dataclass_fields__}
    loaded = {name: unpack(data[name]) for name in ("labels", "sent", "resolved")}
    return Group(**{**data, **loaded})


def _group_row(group: Group) -> dict[str, Any]:
    data = {name: getattr(group, name) for name in Group.__dataclass_fields__}
    return {**data, **{name: pack(data[name]) for name in ("labels", "sent", "resolved")}}


def _attempt_of(row: Mapping[Any, Any]) -> Attempt:
    return Attempt(**{name: row[name] for name in Attempt.__dataclass_fields__})


def _attempt_row(attempt: Attempt) -> dict[str, Any]:
    return {name: getattr(attempt, name) for name in Attempt.__dataclass_fields__}
