"""Rates from two samples of counters that only grow; one that went back (restart, replacement) gives `None`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_JIFFIES_S = 0.5
"""The kernel lets idle and iowait step back by a few ticks; that is noise and not a reset."""


def grown(first: float, second: float) -> float | None:
    """How much a counter grew; `None` when it went back."""
    return second - first if second >= first else None


def rate(first: float, second: float, seconds: float) -> float | None:
    """Growth in one second; `None` when it went back or no time went by."""
    more = grown(first, second)
    return None if more is None or seconds <= 0 else more / seconds


def ratio(part: float | None, whole: float | None) -> float | None:
    """`part / whole`; `None` when either is not known or the whole is nothing."""
    return None if part is None or not whole else part / whole


def percent(part: float | None, whole: float | None) -> float | None:
    """`part` in percent of `whole`; `None` when either is not known or the whole is nothing."""
    share = ratio(part, whole)
    return None if share is None else 100.0 * share


def cpu_shares(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float | None]:
    """Percent of all CPU time between two readings of /proc/stat.

    guest and guest_nice are parts of user and nice and are not added again; busy is all but idle and iowait.
    """
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    spent = {name: second.get(name, 0.0) - first.get(name, 0.0) for name in names}
    total = sum(max(0.0, value) for value in spent.values())
    if total <= 0 or min(spent.values()) < -_JIFFIES_S:
        return dict.fromkeys(("user", "system", "iowait", "steal", "idle", "busy"))

    def share(*parts: str) -> float:
        # Of floats the whole may be a last digit more than 100 percent of itself.
        return min(100.0, 100.0 * sum(max(0.0, spent[part]) for part in parts) / total)

    return {
        "user": share("user", "nice"),
        "system": share("system", "irq", "softirq"),
        "iowait": share("iowait"),
        "steal": share("steal"),
        "idle": share("idle"),
        "busy": share("user", "nice", "system", "irq", "softirq", "steal"),
    }


def limit_percent(first: Mapping[str, Any], second: Mapping[str, Any], seconds: float) -> float | None:
    """Percent of the CPU limit of the control group that is nearest to its own; `None` where none is known."""
    both = [(first[folder], two) for folder, two in second.items() if folder in first]
    used = (percent(rate(one["used_s"], two["used_s"], seconds), two["limit"]) for one, two in both)
    return max((share for share in used if share is not None), default=None)


def network_rates(first: Mapping[str, Any], second: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Bytes per second each way, and errors and drops as a share of all packets between the samples."""
    packets = _sum_grown(first, second, "packets_recv", "packets_sent") if seconds > 0 else None
    errors = _sum_grown(first, second, "errin", "errout")
    drops = _sum_grown(first, second, "dropin", "dropout")
    return {
        "receive_bytes_s": rate(first["bytes_recv"], second["bytes_recv"], seconds),
        "send_bytes_s": rate(first["bytes_sent"], second["bytes_sent"], seconds),
        "packets": packets,
        "errors_ratio": ratio(errors, packets),
        "drops_ratio": ratio(drops, packets),
    }


def disk_rates(first: Mapping[str, Any], second: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Bytes and requests per second, and the share of time in which the disk was busy, in percent."""
    busy_ms = rate(first["busy_time"], second["busy_time"], seconds)
    return {
        "read_bytes_s": rate(first["read_bytes"], second["read_bytes"], seconds),
        "write_bytes_s": rate(first["write_bytes"], second["write_bytes"], seconds),
        "reads_s": rate(first["read_count"], second["read_count"], seconds),
        "writes_s": rate(first["write_count"], second["write_count"], seconds),
        "utilisation": None if busy_ms is None else min(100.0, busy_ms / 10.0),
    }


def _sum_grown(first: Mapping[str, Any], second: Mapping[str, Any], *names: str) -> float | None:
    parts = [grown(first[name], second[name]) for name in names]
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
