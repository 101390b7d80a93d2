"""What a look would send to a host, and what it would keep of it: read from the record, the host is not asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsqueue.connectors.procfs import answer_bytes, reading_script, reading_text
from opsqueue.model.fact import Fact, Reading, Script
from opsqueue.model.host import Host
from opsqueue.store import targets as store_targets
from opsqueue.store.engine import Connection
from opsqueue.telemetry import iso


def foreseen(
    connection: Connection, operation_type: str, host: Host, facts: Sequence[Fact], now: float
) -> dict[str, Any]:
    """How the host is reached, what it is sent, about how much comes back, and what the last look measured.

    `script` is the whole text where a reading is all that is asked of a host over SSH, and empty elsewhere: this
    machine is read without one, a host's own worker gets the id of the operation, and the scripts of checks stand
    among what is asked.
    """
    found = store_targets.last_look(connection, operation_type, host.name, now)
    at, last = found or (None, {})
    known = {name: one for name, one in last.items() if isinstance(one, Mapping) and one["value"] is not None}
    reading = _alone(facts) if host.connector == "ssh" else None
    count = known.get("processes", {}).get("value")
    return {
        "connector": host.connector,
        "on_host": any(map(_on_host, facts)),
        "script": "" if reading is None else reading_text(reading_script(reading.options)),
        "answer_bytes": None if reading is None else answer_bytes(reading.options, count),
        "series": sorted(known),
        "last": {"at": iso(at), "metrics": known} if known else None,
    }


def _on_host(fact: Fact) -> bool:
    return isinstance(fact.ask, Reading | Script)


def _alone(facts: Sequence[Fact]) -> Reading | None:
    """The one reading, where nothing else is asked on the host."""
    asks = [fact.ask for fact in facts if _on_host(fact)]
    return asks[0] if len(asks) == 1 and isinstance(asks[0], Reading) else None
