"""The key figures of a period, and of the one before: read once from the record, reckoned by `opsqueue.kpi`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opsqueue.beat_schedule import build
from opsqueue.connectors.inventory.directory import read_inventory, searched
from opsqueue.errors import InvalidRequest, NotFound
from opsqueue.kpi.availability import of_parts, worst_of
from opsqueue.kpi.definitions import BY_NAME
from opsqueue.kpi.incidents import FOLLOWS_WITHIN
from opsqueue.kpi.period import Period, parse
from opsqueue.kpi.reckon import Facts, Figure, Terms, reckon
from opsqueue.kpi.spans import clipped
from opsqueue.model.host import Host
from opsqueue.model.instant import local_text
from opsqueue.model.inventory import Inventory
from opsqueue.model.names import OperationType
from opsqueue.model.observed import Span
from opsqueue.model.window import Window
from opsqueue.settings import Settings
from opsqueue.store import figures as store_figures
from opsqueue.store import fired, history, looks
from opsqueue.store.engine import Connection, Store
from opsqueue.telemetry import iso

_USUAL = 300
"""Seconds between two health checks, where no schedule says otherwise."""
_INTERVALS = 3
"""So many intervals without a look, and nobody knows how a host is."""
_DIGITS = 6


Day = tuple[float, float | None, float | None]
"""The beginning of a day, and its availability, raw and without planned maintenance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The figures of a period beside those of the one before."""

    period: Period
    now: float
    systems: tuple[str, ...]
    figures: tuple[Figure, ...]
    before: tuple[Figure, ...]
    days: tuple[Day, ...]
    added_later: int
    """Operations of the period that ended after it: what they measured may not have been in an earlier report."""
    objective: float


def told(store: Store, settings: Settings, *, period: str, systems: Sequence[str] = (), now: float) -> Told:
    """Reckon with the record as it stands.

    InvalidRequest for a period that cannot be meant, NotFound for a system that nobody knows and the record has not.
    """
    wanted = parse(period, now, settings.timezone)
    hosts = tuple(dict.fromkeys(host for word in systems for host in searched(settings, word)))
    terms = _terms(settings)
    until = wanted.until(now)
    before = wanted.before
    then = min(before.end, before.start + until - wanted.start)  # as much of it as of the present one
    with store.read() as connection:
        planned = Planned(settings)
        _refuse_strangers(planned.inventory, connection, systems)
        facts = _facts(connection, planned, hosts, terms, wanted.start, until)
        earlier = _facts(connection, planned, hosts, terms, before.start, then)
        later = store_figures.added_later(connection, wanted.start, until) if until < now else 0
    return Told(
        period=wanted,
        now=now,
        systems=tuple(systems),
        figures=reckon(facts, wanted, until, terms),
        before=reckon(earlier, before, then, terms),
        days=_days(facts, wanted, now, terms),
        added_later=later,
        objective=terms.objective,
    )


def _refuse_strangers(inventory: Inventory, connection: Connection, systems: Sequence[str]) -> None:
    """No figures of a host that is only misspelt, for they would look as if all were well."""
    for word in systems:
        try:
            inventory.select([word])
        except InvalidRequest:
            continue  # a group that is empty at the moment
        except NotFound as error:
            if not history.ever(connection, host=word) and not store_figures.measured(connection, word):
                said = f"{error.message.removesuffix('.')}, and the record has nothing of it."
                raise NotFound(said, **error.details) from None


def _terms(settings: Settings) -> Terms:
    kind = OperationType.HEALTH_CHECK.value
    every = [entry.every for entry in build(settings, {kind}).values() if entry.type == kind and entry.every]
    return Terms(
        stale=float(_INTERVALS * max(every, default=_USUAL)),
        objective=settings.kpi.slo,
        least=settings.kpi.min_samples,
        processes={"shared": settings.worker.processes, "reserved": settings.worker.reserved},
    )


def _facts(
    connection: Connection, planned: Planned, hosts: Sequence[str], terms: Terms, since: float, until: float
) -> Facts:
    said = looks.observations(connection, hosts, since - terms.stale, until)
    seen = {host: worst_of(both, terms.stale) for host, both in said.items()}
    end = until + FOLLOWS_WITHIN
    incidents = (*looks.incidents(connection, since, end, hosts), *fired.incidents(connection, since, end, hosts))
    troubled = sorted({one.host for one in incidents})
    return Facts(
        seen=seen,
        planned={host: planned.of(host, since, until) for host in seen},
        incidents=incidents,
        work=store_figures.ended(connection, hosts, since, until),
        changes=store_figures.changes(connection, troubled, since, until),
        responses=store_figures.responses(connection, hosts, since, until),
        scans=store_figures.scans(connection, hosts, until),
        busy=None if hosts else store_figures.busy(connection, since, until),
    )


def _days(facts: Facts, period: Period, now: float, terms: Terms) -> tuple[Day, ...]:
    days = [(day.start, day.end) for day in period.days(now)]
    found = of_parts(facts.seen, facts.planned, days, terms.stale)
    return tuple((day[0], one.raw, one.without_planned) for day, one in zip(days, found, strict=True))


class Planned:
    """When maintenance was planned on each host: the same windows, told by the same function, as for the gates."""

    def __init__(self, settings: Settings) -> None:
        self._windows = tuple(window for window in settings.windows() if window.permit)
        self.inventory = read_inventory(settings)
        self._known: dict[tuple[Window, float, float], list[Span]] = {}

    def of(self, name: str, since: float, until: float) -> list[Span]:
        """The spans of one host; they may overlap."""
        host = self.inventory.get(name) or Host(name=name)
        return [span for window in self._of_host(host) for span in self._spans(window, since, until)]

    def _of_host(self, host: Host) -> Iterable[Window]:
        if host.windows:  # with its own no other counts for it
            return host.windows
        return [
            one for one in self._windows if any(one.covers(host.name, host.groups, kind) for kind in one.types or ("",))
        ]

    def _spans(self, window: Window, since: float, until: float) -> list[Span]:
        key = (window, since, until)
        if key not in self._known:
            self._known[key] = clipped(_open(window, since, until), since, until)
        return self._known[key]


def _open(window: Window, since: float, until: float) -> list[Span]:
    found: list[Span] = []
    opens = window.opens(since)
    while opens is not None and opens < until:
        closes = window.closes(opens)
        found.append((opens, until if closes is None else closes))
        opens = None if closes is None else window.opens(closes)
    return found


# -- for programs -------------------------------------------------------------------------------------------


def as_json(found: Told) -> dict[str, Any]:
    """The report with stable keys."""
    earlier = {one.name: one for one in found.before}
    listed = [_figure(one, earlier[one.name]) for one in found.figures]
    return {
        "period": _period(found.period),
        "compared_with": _period(found.period.before),
        "so_far": found.now < found.period.end,
        "systems": list(found.systems),
        "slo": found.objective,
        "reckoned_at": iso(found.now),
        "revision": _revision(listed),
        "added_later": found.added_later,
        "figures": listed,
    }


def _period(period: Period) -> dict[str, Any]:
    return {
        "kind": period.kind or None,
        "from": iso(period.start),
        "until": iso(period.end),
        "from_local": local_text(period.start, period.zone),
        "until_local": local_text(period.end, period.zone),
        "timezone": period.zone,
        "hours": period.seconds / 3600,
    }


def _figure(one: Figure, before: Figure) -> dict[str, Any]:
    what = BY_NAME[one.name]
    known = one.value is not None and before.value is not None
    return {
        "name": one.name,
        "group": what.group,
        "label": what.label,
        "value": _rounded(one.value),
        "unit": what.unit,
        "n": one.n,
        "previous": {"value": _rounded(before.value), "n": before.n},
        "change": _rounded((one.value or 0.0) - (before.value or 0.0)) if known else None,
        "note": one.note,
        "definition": what.meaning,
        "sample": what.sample,
        "parts": {name: {"value": _rounded(value), "n": n} for name, (value, n) in one.parts.items()},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)


def _revision(listed: Sequence[Mapping[str, Any]]) -> str:
    """The same for the same numbers: another one for the same period says that something was added since."""
    counted = [[one["name"], one["value"], one["n"]] for one in listed]
    return hashlib.sha256(json.dumps(counted).encode()).hexdigest()[:12]
