"""Processes: how many, in what state, and which use the most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psutil

_ATTRIBUTES = ("pid", "name", "status", "create_time", "cpu_times", "memory_info", "username")

Table = Mapping[tuple[int, float], Mapping[str, Any]]
"""What is known of each process, by pid and start time: a pid alone may have been used again."""


def sample_processes() -> Table:
    """All processes now. Names only, never command lines: those may hold secrets."""
    rows = (process.info for process in psutil.process_iter(_ATTRIBUTES))
    return {(row["pid"], row["create_time"] or 0.0): row for row in rows}


def processes_between(first: Table, second: Table, seconds: float, top: int) -> dict[str, Any]:
    """Counts from the second sample; the `top` processes by CPU (percent of one CPU) and by memory (bytes)."""
    states = [row["status"] for row in second.values()]
    rows = [_row(key, row, first.get(key), seconds) for key, row in second.items()]
    return {
        "count": len(states),
        "zombies": states.count(psutil.STATUS_ZOMBIE),
        "uninterruptible": states.count(psutil.STATUS_DISK_SLEEP),
        "top_cpu": _top(rows, "cpu_percent", top),
        "top_memory": _top(rows, "memory_bytes", top),
    }


def _row(
    key: tuple[int, float], row: Mapping[str, Any], earlier: Mapping[str, Any] | None, seconds: float
) -> dict[str, Any]:
    memory = row["memory_info"]
    return {
        "pid": key[0],
        "name": row["name"],
        "user": row["username"],
        "cpu_percent": _cpu(row, earlier, seconds),
        "memory_bytes": memory.rss if memory else None,
    }


def _cpu(row: Mapping[str, Any], earlier: Mapping[str, Any] | None, seconds: float) -> float | None:
    if earlier is None or seconds <= 0 or not row["cpu_times"] or not earlier["cpu_times"]:
        return None
    now, then = row["cpu_times"], earlier["cpu_times"]
    spent: float = now.user + now.system - then.user - then.system
    return round(100.0 * max(0.0, spent) / seconds, 1)


def _top(rows: list[dict[str, Any]], by: str, top: int) -> list[dict[str, Any]]:
    known = [row for row in rows if row[by]]
    return sorted(known, key=lambda row: (-row[by], row["pid"]))[:top]
