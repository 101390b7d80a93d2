"""The numbers of a host as the record has them: what is measured of it, and each of its series over time."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from opsqueue.cli import render, times
from opsqueue.cli.nearest import nearest
from opsqueue.cli.output import Out, note
from opsqueue.cli.parsing import Parser
from opsqueue.cli.record import needed
from opsqueue.cli.tables import Narrow
from opsqueue.connectors.inventory.directory import read_inventory
from opsqueue.errors import InvalidRequest, NotFound
from opsqueue.model.sample import Point, Series, SeriesWanted, merged
from opsqueue.settings import Settings, load
from opsqueue.store import rollups, samples
from opsqueue.telemetry import iso

SERIES = ("METRIC", "LAST", "AT", "LOWEST", "MEAN", "HIGHEST", "N")
POINTS = ("AT", "METRIC", "MEAN", "LOWEST", "HIGHEST", "P95", "N")
NARROW = Narrow(drops=("N", "P95", "LOWEST"), last=("HIGHEST", "MEAN"))
_STEPS: Mapping[str, float] = {"raw": 0.0, "5m": 300.0, "1h": 3600.0, "1d": 86_400.0}
_REACH = ((6 * 3600.0, "raw"), (2 * 86_400.0, "5m"), (60 * 86_400.0, "1h"))
"""Up to so many seconds the numbers are shown in this step, unless another is asked for; beyond, in days."""


def options(parser: Parser) -> None:
    """What it takes."""
    parser.add_argument("host", metavar="HOST", help="one host; the record also has those that left the inventory")
    parser.add_argument(
        "metrics",
        nargs="*",
        metavar="METRIC",
        help="its numbers over time, as cpu_usage or disk_usage:* (default: a list)",
    )
    parser.add_argument("--since", default="1h", metavar="TIME", help="from when on: 1h, 7d, 2026-03-01 (default: 1h)")
    parser.add_argument("--step", choices=list(_STEPS), help="what one line stands for (default: by how long it is)")
    parser.ends(
        (0, 2, 10, 12),
        "opsqueue metrics web-server-1",
        "opsqueue metrics web-server-1 cpu_usage --since 7d --step 1h --output json",
    )


def run(given: Namespace) -> int:
    """List the series, or the points of some."""
    out, settings, now = Out.of(given), load(given.config), time.time()
    ago = now - times.moment(given.since, now=now, zone=settings.timezone)
    if ago <= 0:
        raise InvalidRequest(f"--since {given.since[:40]} lies ahead: there is nothing from then on yet")
    step = given.step or next((name for reach, name in _REACH if ago <= reach), "1d")
    wanted = SeriesWanted(name="asked", metrics=tuple(given.metrics) or ("*",), ago=ago, step=_STEPS[step])
    with needed(settings) as store, store.read() as connection:
        units = samples.units(connection, given.host)
        found = rollups.read(connection, given.host, wanted, now)
    _refuse_strangers(settings, given.host, given.metrics, units)
    if given.metrics:
        rows = [_point(name, units[name], one) for name, points in found.items() for one in points]
        out.listing("points", rows, POINTS, _point_cells, NARROW)
    else:
        out.listing("series", _series(found, units), SERIES, _series_cells, NARROW)
    if not found:
        note(f"nothing was measured since {times.utc(now - ago)}, of what was asked for")
    return 0


def _refuse_strangers(settings: Settings, host: str, metrics: Sequence[str], units: Mapping[str, str]) -> None:
    """NotFound for a host or a metric that was never measured: a slip of the pen."""
    if not units and host not in (known := read_inventory(settings)):
        raise NotFound(f"there is no host {host[:80]!r}, here or in the record{nearest(host, known)}")
    for name in metrics if units else ():
        if not any(rollups.fits(known, name) for known in units):
            raise NotFound(
                f"no metric {name[:80]!r} was ever measured of {host}{nearest(name, units) or '.'} "
                f"`opsqueue metrics {host}` lists them",
                known=sorted(units),
            )


def _series(found: Series, units: Mapping[str, str]) -> list[dict[str, Any]]:
    """All points of each as one, without a p95, which would be no more than a bound."""
    whole = {name: (_point(name, units[name], merged(points[-1].at, points)), points) for name, points in found.items()}
    return [
        {**{key: value for key, value in row.items() if key != "p95"}, "last": points[-1].mean}
        for row, points in whole.values()
    ]


def _point(name: str, unit: str, one: Point) -> dict[str, Any]:
    numbers = {"mean": one.mean, "low": one.low, "high": one.high, "p95": one.p95, "count": one.count}
    return {"metric": name, "unit": unit, "at": iso(one.at), **numbers}


def _series_cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    last, low, mean, high = (render.number(row[key], row["unit"]) for key in ("last", "low", "mean", "high"))
    return row["metric"], last, times.stamp(row["at"]), low, mean, high, row["count"]


def _point_cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    numbers = (render.number(row[key], row["unit"]) for key in ("mean", "low", "high", "p95"))
    return times.stamp(row["at"]), row["metric"], *numbers, row["count"]
