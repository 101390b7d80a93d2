"""When hosts run out of room, by the last capacity planning of each."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opsqueue.cli import render, times
from opsqueue.cli.output import Out, note
from opsqueue.cli.parsing import Parser, whole_number
from opsqueue.cli.record import no_record, opened
from opsqueue.cli.tables import Narrow
from opsqueue.model.names import OperationType
from opsqueue.model.record import Target
from opsqueue.settings import Settings, load
from opsqueue.store import targets
from opsqueue.store.history import Wanted, ended
from opsqueue.telemetry import counted, iso

HEADERS = ("HOST", "WHAT", "EARLIEST", "LIKELY", "LATEST", "GROWTH", "PLANNED", "ID")
NARROW = Narrow(drops=("GROWTH", "LATEST", "ID"), last=("PLANNED",))
_LOOKED_THROUGH = 200
"""So many plannings back the last one of a host is looked for."""
_SOON = (30, 90)
_FIRST = "days_to_threshold_earliest:"
_PACE = "growth_per_day:"
_LEFT = "headroom:"
_REACHED = ("above already", "", "")


def options(parser: Parser) -> None:
    """What it takes."""
    parser.add_argument("--systems", nargs="+", metavar="SYSTEM", help="only these hosts, groups or tags")
    days = whole_number(0, 365)
    parser.add_argument("--within", type=days, metavar="DAYS", help="only what is full within so many, at the earliest")
    parser.ends((0, 2, 10, 12), "opsqueue capacity", "opsqueue capacity --systems web --within 30 --output json")


def run(given: Namespace) -> int:
    """List them, the soonest first."""
    out, settings = Out.of(given), load(given.config)
    planned = _planned(settings, given.systems)
    rows = [row for one in planned or () for row in _resources(one)]
    shown = [row for row in rows if given.within is None or _days(row) <= given.within]
    shown.sort(key=lambda row: (_days(row), row["host"], row["metric"]))
    if out.form == "json":
        unsaid = [one.host for one in unforetold(rows, planned or ())]
        out.entry({"resources": shown, "without_date": sorted(unsaid)})
    else:
        out.listing("resources", shown, HEADERS, _cells, NARROW)
    note(no_record(settings) if planned is None else said(rows, planned))
    return 0


def _days(row: Mapping[str, Any]) -> float:
    return float("inf") if row["earliest"] is None else float(row["earliest"])


def _planned(settings: Settings, systems: Sequence[str] | None) -> list[Target] | None:
    """The last planning of each host; None without a record."""
    wanted = _hosts(settings, systems) if systems else None
    with opened(settings) as store:
        if store is None:
            return None
        with store.read() as connection:
            chosen = Wanted(type=OperationType.CAPACITY_PLANNING, system=wanted, limit=_LOOKED_THROUGH)
            every = [one for planned in ended(connection, chosen) for one in targets.of(connection, planned.id)]
    last: dict[str, Target] = {}
    for one in every:  # the newest first
        if one.verified_at and (not wanted or one.host in wanted):
            last.setdefault(one.host, one)
    return list(last.values())


def _hosts(settings: Settings, systems: Sequence[str]) -> tuple[str, ...]:
    # It costs 15 ms of the 400 that a command may take, and most look at all hosts.
    from opsqueue.connectors.inventory.directory import read_inventory  # noqa: PLC0415

    return tuple(host.name for host in read_inventory(settings).select(systems))


def _resources(target: Target) -> Iterator[dict[str, Any]]:
    metrics = target.metrics
    about = {"host": target.host, "operation_id": target.operation_id, "at": iso(target.verified_at)}
    for name in metrics:
        if name.startswith(_FIRST):
            metric = name.removeprefix(_FIRST)
            parts = {"earliest": "_earliest", "likely": "", "latest": "_latest"}
            days = {key: metrics[f"days_to_threshold{part}:{metric}"]["value"] for key, part in parts.items()}
            left = metrics.get(f"{_LEFT}{metric}", {"value": None})["value"]
            reached = left is not None and left <= 0
            if reached:  # whatever a forecast says of its way on
                days = dict.fromkeys(parts, 0)
            growth = metrics.get(f"{_PACE}{metric}", {"value": None, "unit": ""})
            pace = {"growth_per_day": growth["value"], "unit": growth["unit"]}
            yield about | {"metric": metric, "reached": reached, **days, **pace}


def _cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    ahead = ("> 365" if row[key] is None else f"{row[key]:.0f} d" for key in ("earliest", "likely", "latest"))
    days = _REACHED if row["reached"] else ahead
    growth = row["growth_per_day"]
    pace = render.UNKNOWN if growth is None else f"{growth:.3g} {row['unit'].replace('percent', '%')}"
    return (row["host"], row["metric"], *days, pace, times.stamp(row["at"]), render.short(row["operation_id"]))


def said(rows: Sequence[Mapping[str, Any]], planned: Sequence[Target]) -> str:
    """How many hosts were planned for, of how many nothing can be foretold yet, and on how many it is soon."""
    if not planned:
        return "no host was planned for: `opsqueue execute --name capacity --type capacity_planning --systems all`"
    soon = [len({row["host"] for row in rows if _days(row) <= days}) for days in _SOON]
    above = len({row["host"] for row in rows if row.get("reached")})
    counts = ", ".join(f"{count} within {days} days" for count, days in zip(soon, _SOON, strict=True))
    counts = f"{above} already, {counts}" if above else counts
    reached = f"; at the earliest a threshold is reached on {counts}" if rows else ""
    return f"{counted(len(planned), 'host')} planned for{_unsaid(unforetold(rows, planned))}{reached}"


def unforetold(rows: Sequence[Mapping[str, Any]], planned: Sequence[Target]) -> list[Target]:
    """Those of whom no day can be told yet, which is not that all is well."""
    told = {row["host"] for row in rows}
    return [one for one in planned if one.host not in told]


def _unsaid(unsaid: Sequence[Target]) -> str:
    if not unsaid:
        return ""
    paced = sum(any(name.startswith(_PACE) for name in one.metrics) for one in unsaid)
    parts = ((len(unsaid) - paced, "without a forecast"), (paced, "with a growth, and no date yet"))
    counts = ", ".join(f"{count} {what}" for count, what in parts if count)
    return f", {counts} (`opsqueue report {render.short(unsaid[0].operation_id)}` says why)"
