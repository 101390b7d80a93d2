"""The figures of deliveries for people and programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from opsqueue.kpi.deliveries import DEFINITIONS, reckon
from opsqueue.store import told
from opsqueue.store.engine import Connection
from opsqueue.telemetry import iso


def stats_json(connection: Connection, *, since: float, now: float) -> dict[str, Any]:
    """The figures from `since` to now, each with what it means; no recipients: nothing was told, and nothing waits."""
    found = reckon(told.since(connection, since), since=since, now=now)
    return {
        "since": iso(since),
        "until": iso(now),
        "definitions": dict(DEFINITIONS),
        "recipients": [asdict(one) for one in found],
    }
