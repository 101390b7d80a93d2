"""What `opsqueue monitor` shows of the past: the last hour where the record has it, else what it read itself."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opsqueue.cli.record import opened
from opsqueue.cli.sparklines import Past, cells, sparkline
from opsqueue.errors import OpsqueueError
from opsqueue.model.sample import SeriesWanted
from opsqueue.settings import Settings
from opsqueue.store import rollups
from opsqueue.store.engine import Store

MANY = 20
"""Letters in a sparkline: 3 minutes of the last hour each, or one reading."""
_HOUR_S = 3600.0
_STALE = 3
"""So many readings that did not come make a gap."""
_AGAIN_S = 60.0
"""Seconds after which the record is read again."""
TOPS: Mapping[str, float] = {"cpu_usage": 100.0, "memory_usage": 100.0, "load_per_cpu_1m": 2.0}
"""The metrics that have a sparkline, and what its highest letter stands for."""

_Values = list[tuple[float, float]]


@dataclass(slots=True)
class MonitorPast:
    """The readings since the command began, and what the record had a minute ago at most."""

    settings: Settings
    _own: dict[tuple[str, str], deque[float | None]] = field(default_factory=dict)
    _kept: dict[tuple[str, str], _Values] = field(default_factory=dict)
    _asked: float = float("-inf")

    def add(self, at: float, hosts: Sequence[Mapping[str, Any]]) -> None:
        """Keep a reading, and read the record when that was long ago."""
        for host in hosts:
            for metric in TOPS:
                found = host["metrics"].get(metric)
                ring = self._own.setdefault((host["host"], metric), deque(maxlen=MANY))
                ring.append(found["value"] if found else None)
        if at - self._asked >= _AGAIN_S:
            self._asked = at
            self._kept = self._read(at, [host["host"] for host in hosts])

    def _read(self, at: float, hosts: Sequence[str]) -> dict[tuple[str, str], _Values]:
        """Of the last hour; nothing when there is no record, or it cannot be read: the readings are shown anyway."""
        try:
            with opened(self.settings) as store:
                return _last_hour(store, at, hosts) if store else {}
        except OpsqueueError:
            return {}

    def shown(self, host: str, metric: str, at: float) -> str:
        """The sparkline of a metric of a host."""
        return sparkline(self._past(host, metric, at), TOPS[metric])

    def _past(self, host: str, metric: str, at: float) -> Past:
        own = self._own.get((host, metric), deque())
        kept = self._kept.get((host, metric))
        if not kept:
            return [None] * (MANY - len(own)) + list(own)  # the newest at the right edge, so that columns do not move
        newest = [(at, own[-1])] if own and own[-1] is not None else []
        stale = _STALE * max(_HOUR_S / MANY, self.settings.monitoring_interval)
        return cells([*kept, *newest], since=at - _HOUR_S, until=at, many=MANY, stale=stale)

    @property
    def words(self) -> str:
        """What the sparklines show."""
        return "the last hour" if self._kept else f"the last {MANY} readings"


def _last_hour(store: Store, at: float, hosts: Sequence[str]) -> dict[tuple[str, str], _Values]:
    wanted = SeriesWanted(name="monitor", metrics=tuple(TOPS), ago=_HOUR_S)
    with store.read() as connection:
        found = {host: rollups.read(connection, host, wanted, at) for host in hosts}
    return {
        (host, metric): [(point.at, point.mean) for point in points]
        for host, series in found.items()
        for metric, points in series.items()
    }


def drawn() -> bool:
    """Whether stdout can show the letters."""
    try:
        "▁█".encode(sys.stdout.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True
