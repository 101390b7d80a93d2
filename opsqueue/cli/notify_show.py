"""How the figures of deliveries are printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsqueue.cli import times
from opsqueue.cli.output import Out, note
from opsqueue.cli.tables import Narrow

_FIGURES = ("RECIPIENT", "TOLD", "ACCEPTED", "LATENCY", "RETRIES", "FALLBACKS", "WAITING", "LAST ERROR")
_SHOWN = ("told", "accepted_percent", "latency", "retries", "fallbacks", "waiting")


def delivered(out: Out, found: Mapping[str, Any]) -> None:
    """The figures of all together and of each recipient, and what they mean; a dash is not known, and no zero."""
    if out.json:
        out.entry(found)
        return
    if not found["recipients"]:
        note(f"nothing was told since {times.stamp(found['since'])}, and nothing waits")
        return
    out.line(f"since {times.stamp(found['since'])}")
    narrow = Narrow(beneath=("LAST ERROR",), drops=("FALLBACKS", "RETRIES"))
    out.rows(_FIGURES, [_row(one) for one in found["recipients"]], narrow=narrow)
    out.line()
    for name in _SHOWN:
        out.text(f"{name.removesuffix('_percent').replace('_', ' ')}: {found['definitions'][name]}")


def _row(one: Mapping[str, Any]) -> tuple[object, ...]:
    accepted = "-" if one["accepted_percent"] is None else f"{one['accepted_percent']:.1f} % (of {one['settled']})"
    retries = "-" if one["retries"] is None else f"{one['retries']} (of {one['tried']} tried)"
    waiting = "" if not one["waiting"] else f"{one['waiting']}, oldest {times.length(one['oldest_waiting_s'])}"
    latency = _latency(one["latency"])
    return one["recipient"], one["told"], accepted, latency, retries, one["fallbacks"], waiting, one["last_error"] or ""


def _latency(found: Mapping[str, Any]) -> str:
    if not found["count"]:
        return "-"
    median, p90 = (times.length(found[key]) for key in ("median", "p90"))
    return f"{median} median, {p90} p90 (of {found['count']})"
