"""Whether everything that the settings name is there: a window for a type that is misspelt protects nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime

from croniter import croniter

from opsqueue.beat_schedule import Entry, build, built_in_names
from opsqueue.errors import InvalidConfig
from opsqueue.model.kind import OperationKind
from opsqueue.model.names import OperationType
from opsqueue.settings import Settings, nearest

_FIELDS = 5


def honoured(settings: Settings, kinds: Mapping[str, OperationKind]) -> None:
    """Raise InvalidConfig with everything that is asked for and cannot be done."""
    if wrong := [*_types(settings, kinds), *_parameters(settings, kinds), *_schedule(settings, kinds)]:
        raise InvalidConfig(f"the configuration cannot be honoured: {'; '.join(wrong)}")


def _types(settings: Settings, kinds: Mapping[str, OperationKind]) -> Iterator[str]:
    named = [
        (f"maintenance_windows.{window.name}.types", kind) for window in settings.windows() for kind in window.types
    ]
    named += [("max_concurrent_by_type", kind) for kind in settings.max_concurrent_by_type]
    named += [(f"hosts.{host}.parameters", kind) for host, given in settings.hosts.items() for kind in given.parameters]
    known = {*kinds, *(each.value for each in OperationType)}
    for where, kind in named:
        if kind not in known:
            yield _no(where, "operation type", kind, known)


def _parameters(settings: Settings, kinds: Mapping[str, OperationKind]) -> Iterator[str]:
    named = [
        (host, kind, name)
        for host, given in settings.hosts.items()
        for kind in given.parameters
        for name in given.parameters[kind]
        if kind in kinds
    ]
    for host, kind, name in named:
        if name not in (known := kinds[kind].params.model_fields):
            yield _no(f"hosts.{host}.parameters.{kind}", "parameter", name, known)


def _schedule(settings: Settings, kinds: Mapping[str, OperationKind]) -> Iterator[str]:
    known = built_in_names(settings)
    for name, given in settings.schedule.items():
        if isinstance(given, bool) and name not in known:
            yield _no(f"schedule.{name}", "built-in entry", name, known)
    for name in settings.schedule:
        if entry := build(settings, kinds).get(name):
            yield from _entry(settings, entry, kinds)


def _entry(settings: Settings, entry: Entry, kinds: Mapping[str, OperationKind]) -> Iterator[str]:
    where = f"schedule.{entry.name}"
    types = {*kinds, *(each.value for each in OperationType)}
    if entry.type not in types:
        yield _no(f"{where}.type", "operation type", entry.type, types)
    places = {"all", *settings.inventory(), *settings.groups}
    for system in entry.systems:
        if system not in places:
            yield _no(f"{where}.systems", "host or group", system, places)
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


def _no(where: str, what: str, word: str, known: Collection[str]) -> str:
    return f"{where}: there is no {what} {word[:80]!r}{nearest(word, known)}"
