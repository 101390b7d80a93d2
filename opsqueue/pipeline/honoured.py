"""Whether everything that the settings name is there: a window for a type that is misspelt protects nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from croniter import croniter
from pydantic import ValidationError

from opsqueue.beat_schedule import Entry, build, built_in_names
from opsqueue.errors import InvalidConfig, InvalidRequest, NotFound
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory
from opsqueue.model.kind import OperationKind
from opsqueue.model.misspelt import nearest
from opsqueue.model.names import OperationType
from opsqueue.model.request import explain
from opsqueue.pipeline.alert_rules import wrong_with
from opsqueue.pipeline.deployment_requests import filled
from opsqueue.settings import Settings

_FIELDS = 5
_MOST = 12
"""Of what is wrong, so much is told."""
_AS_IF = dict.fromkeys(("version", "previous_version", "service"), "1.0.0")
"""Stands for the words of a deployment that is not known yet."""


def honoured(settings: Settings, kinds: Mapping[str, OperationKind], inventory: Inventory) -> None:
    """Raise InvalidConfig with everything that is asked for and cannot be done."""
    wrong = [
        *_types(settings, kinds, inventory),
        *_parameters(kinds, inventory),
        *_windows(settings, inventory),
        *_schedule(settings, kinds, inventory),
        *_alerts(settings, kinds),
        *_rule_hosts(settings, inventory),
        *_deployments(settings, kinds, inventory),
    ]
    if wrong:
        more = f"; and {len(wrong) - _MOST} more" if len(wrong) > _MOST else ""
        raise InvalidConfig(f"the configuration cannot be honoured: {'; '.join(wrong[:_MOST])}{more}")


def _alerts(settings: Settings, kinds: Mapping[str, OperationKind]) -> Iterator[str]:
    known = {*kinds, *(each.value for each in OperationType)}
    for rule in settings.alerts.rules:
        yield from (f"alerts.rules.{rule.name}: {why}" for why in wrong_with(rule, settings, kinds))
    for kind in settings.alerts.remediation.allowed:
        if kind not in known:
            yield _no("alerts.remediation.allowed", "operation type", kind, known)
    channels = {"log", *settings.notification_channels, *settings.notification_urls}
    for route in settings.alerts.routes:
        for channel in (*route.channels, *(channel for step in route.escalation for channel in step.channels)):
            if channel not in channels:
                yield _no(f"alerts.routes.{route.name}", "notification channel", channel, channels)


def _rule_hosts(settings: Settings, inventory: Inventory) -> Iterator[str]:
    """Rules take hosts by name, else only what says which sort it is: each other word would match nobody."""
    sorts = {"group": inventory.groups, "tag": inventory.tags}
    exact = ["all", *inventory, *(f"{sort}:{name}" for sort, known in sorts.items() for name in known)]
    known = set(exact)
    for rule in settings.alerts.rules:
        for word in rule.hosts:
            if word not in known:
                sort = next((f"{sort}:{word}" for sort, named in sorts.items() if word in named), "")
                near = f"; it is a {sort.partition(':')[0]}: write {sort}" if sort else nearest(word, exact)
                yield f"alerts.rules.{rule.name}.hosts: there is no host {word[:80]!r}{near}"


def _types(settings: Settings, kinds: Mapping[str, OperationKind], inventory: Inventory) -> Iterator[str]:
    named = [
        (f"maintenance_windows.{window.name}.types", kind) for window in settings.windows() for kind in window.types
    ]
    named += [("max_concurrent_by_type", kind) for kind in settings.max_concurrent_by_type]
    named += [("rollout.types", kind) for kind in settings.rollout.types]
    named += [(f"hosts.{host.name}.parameters", kind) for host in inventory.values() for kind in host.parameters]
    rollbacks = ((name, given.rollback) for name, given in settings.deployments.items())
    named += [(f"deployments.{name}.rollback.type", one.type) for name, one in rollbacks if one]
    known = {*kinds, *(each.value for each in OperationType)}
    for where, kind in named:
        if kind not in known:
            yield _no(where, "operation type", kind, known)


def _parameters(kinds: Mapping[str, OperationKind], inventory: Inventory) -> Iterator[str]:
    named = [
        (host.name, kind, name)
        for host in inventory.values()
        for kind in host.parameters
        for name in host.parameters[kind]
        if kind in kinds
    ]
    for host, kind, name in named:
        if name not in (known := kinds[kind].params.model_fields):
            yield _no(f"hosts.{host}.parameters.{kind}", "parameter", name, known)


def _windows(settings: Settings, inventory: Inventory) -> Iterator[str]:
    for window in settings.windows():
        where = f"maintenance_windows.{window.name}"
        yield from (_no(f"{where}.hosts", "host", word, inventory) for word in window.hosts if word not in inventory)
        groups = inventory.groups
        yield from (_no(f"{where}.groups", "group", word, groups) for word in window.groups if word not in groups)


def _schedule(settings: Settings, kinds: Mapping[str, OperationKind], inventory: Inventory) -> Iterator[str]:
    known = built_in_names(settings)
    for name, given in settings.schedule.items():
        if isinstance(given, bool) and name not in known:
            yield _no(f"schedule.{name}", "built-in entry", name, known)
    for name in settings.schedule:
        if entry := build(settings, kinds).get(name):
            yield from _entry(entry, kinds, inventory)


def _entry(entry: Entry, kinds: Mapping[str, OperationKind], inventory: Inventory) -> Iterator[str]:
    where = f"schedule.{entry.name}"
    types = {*kinds, *(each.value for each in OperationType)}
    if entry.type not in types:
        yield _no(f"{where}.type", "operation type", entry.type, types)
    hosts: tuple[Host, ...] = ()
    try:
        hosts = inventory.select(entry.systems)
    except InvalidRequest:
        pass  # nobody is there at the moment, as in a group that is empty
    except NotFound as error:
        yield f"{where}.systems: {error.message}"
    yield from _unaccepted(kinds.get(entry.type), entry.parameters, hosts, f"{where}.parameters")
    if entry.cron is not None and (problem := _never(entry.cron)):
        yield f"{where}.cron: {problem}"


def _never(cron: str) -> str:
    """Why this is no time at which anything happens; empty when it is one."""
    if len(cron.split()) != _FIELDS:
        return f"wanted {_FIELDS} fields (minute hour day month weekday) such as `30 2 * * *`; found {cron[:80]!r}"
    try:
        croniter(cron, datetime.fromtimestamp(time.time(), UTC)).get_next(float)
    except (ValueError, KeyError) as error:
        return f"{cron[:80]!r} cannot be read, or never comes: {error}"
    return ""


def _unaccepted(
    kind: OperationKind | None, given: Mapping[str, Any], hosts: Iterable[Host], where: str
) -> Iterator[str]:
    """Why no host's operation can have these parameters, with the host's own defaults under them."""
    if kind is None:
        return  # said already
    own = {repr(defaults): defaults for host in hosts if (defaults := host.parameters.get(kind.name))}
    wrong: ValidationError | None = None
    for defaults in ({}, *own.values()):
        try:
            kind.params.model_validate({**defaults, **given})
        except ValidationError as error:
            wrong = wrong or error
        else:
            return
    if wrong:
        yield explain(wrong, where, kind.params)


def _deployments(settings: Settings, kinds: Mapping[str, OperationKind], inventory: Inventory) -> Iterator[str]:
    channels = {"log", *settings.notification_channels, *settings.notification_urls}
    health_check = kinds.get(OperationType.HEALTH_CHECK.value)
    for name, given in settings.deployments.items():
        where = f"deployments.{name}"
        yield from (
            _no(f"{where}.notify", "channel", one, channels) for one in given.notify or () if one not in channels
        )
        if health_check is not None:
            try:
                health_check.params.model_validate(dict(given.health_check))
            except ValidationError as error:
                yield explain(error, f"{where}.health_check", health_check.params)
        if back := given.rollback:
            words = filled(back.parameters, _AS_IF)
            yield from _unaccepted(kinds.get(back.type), words, inventory.values(), f"{where}.rollback.parameters")


def _no(where: str, what: str, word: str, known: Collection[str]) -> str:
    return f"{where}: there is no {what} {word[:80]!r}{nearest(word, known)}"
