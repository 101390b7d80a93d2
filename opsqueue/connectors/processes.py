"""Processes: how many, in what state, and which use the most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

_ATTRIBUTES = ("pid", "name", "status", "create_time", "cpu_times", "memory_info", "username")

NAME_MOST = 15
"""Bytes that the kernel keeps of a name."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process; what is not ours to see of it is `None`."""

    name: str | None
    state: str | None
    """`Z` for a zombie, `D` for one that waits in the kernel and cannot be ended; no other letter matters."""
    user: str | None = None
    spent_s: float | None = None
    """CPU seconds since it was started."""
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """All processes at one moment."""

    rows: Mapping[tuple[int, float], Process]
    """By pid and start time: a pid alone may have been used again."""
    count: int
    """Those whose rows nobody may read are counted too."""


def sample_processes() -> Table:
    """All processes now. Names only, never command lines: those may hold secrets."""
    found = [process.info for process in psutil.process_iter(_ATTRIBUTES)]
    return Table({(row["pid"], row["create_time"] or 0.0): _process(row) for row in found}, len(found))


_LETTERS = {psutil.STATUS_ZOMBIE: "Z", psutil.STATUS_DISK_SLEEP: "D"}


def _process(row: Mapping[str, Any]) -> Process:
    times, memory = row["cpu_times"], row["memory_info"]
    return Process(
        name=None if row["name"] is None else shown_name(row["name"]),
        state=_LETTERS.get(row["status"]),
        user=row["username"],
        spent_s=times.user + times.system if times else None,
        memory_bytes=memory.rss if memory else None,
    )


def shown_name(name: str) -> str:
    """Its first 15 bytes: psutil takes the rest of a long name from the command line, which may hold secrets."""
    return name.encode(errors="surrogateescape")[:NAME_MOST].decode(errors="replace")


def processes_between(first: Table, second: Table, seconds: float, top: int) -> dict[str, Any]:
    """Counts from the second sample; the `top` processes by CPU (percent of one CPU) and by memory (bytes)."""
    states = [process.state for process in second.rows.values()]
    rows = [_row(key, process, first.rows.get(key), seconds) for key, process in second.rows.items()] if top else []
    return {
        "count": second.count,
        "zombies": states.count("Z"),
        "uninterruptible": states.count("D"),
        "top_cpu": _top(rows, "cpu_percent", top),
        "top_memory": _top(rows, "memory_bytes", top),
    }


def _row(key: tuple[int, float], process: Process, earlier: Process | None, seconds: float) -> dict[str, Any]:
    return {
        "pid": key[0],
        "name": process.name,
        "user": process.user,
        "cpu_percent": _cpu(process.spent_s, earlier.spent_s if earlier else None, seconds),
        "memory_bytes": process.memory_bytes,
    }


def _cpu(now: float | None, then: float | None, seconds: float) -> float | None:
    if now is None or then is None or seconds <= 0:
        return None
    return round(100.0 * max(0.0, now - then) / seconds, 1)


def _top(rows: list[dict[str, Any]], by: str, top: int) -> list[dict[str, Any]]:
    known = [row for row in rows if row[by]]
    return sorted(known, key=lambda row: (-row[by], row["pid"]))[:top]
