"""What to do about it, the cheapest first: clean, rotate, move, expand; and by how much."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from statistics import NormalDist
from typing import Any

from opsqueue.facts.system import subject
from opsqueue.model.amount import size
from opsqueue.model.fact import why_unknown
from opsqueue.model.kind import Seen
from opsqueue.model.sample import Point
from opsqueue.operations.capacity.days import DAY
from opsqueue.operations.capacity.outlook import Outlook, found_in
from opsqueue.operations.capacity.params import CapacityPlanningParams

GIB = 1 << 30
BUYS = 180
"""Days for which an expansion should do."""
_TWO = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """GiB that a volume needs so that its threshold is not reached within `BUYS` days."""

    likely: int
    """At the likely pace."""
    most: int
    """At the top of the range."""


def expansion(one: Outlook, interval: float) -> Expansion | None:
    """How much more room is needed; None where it is not known how much there is, or none is needed."""
    if one.found is None or not one.total:
        return None
    total, at = one.total, one.found.reach(BUYS, _z(interval))
    likely, most = (max(0, math.ceil((value / one.threshold * total - total) / GIB)) for value in (at.likely, at.high))
    return Expansion(likely=likely, most=most) if most else None


def _z(interval: float) -> float:
    return NormalDist().inv_cdf((1 + interval) / 2)


def advice(params: CapacityPlanningParams, one: Outlook, seen: Seen) -> str:
    """What to do, in this order, until it is enough."""
    steps = {"disk": _disk, "inodes": _inodes, "memory": _memory, "swap": _swap, "cpu": _cpu}
    make = steps.get(one.resource)
    return " ".join(f"{place}. {text}" for place, text in enumerate(make(params, one, seen), 1)) if make else ""


def _disk(params: CapacityPlanningParams, one: Outlook, seen: Seen) -> Sequence[str]:
    largest = grown(seen, one.place)
    told = f" (of those measured, {largest} grew most)" if largest else ""
    return (
        f"Clean: `du -xh --max-depth=2 {quote(one.place)} | sort -h | tail` shows what is large{told}.",
        f"Rotate: `opsqueue execute --type log_rotation --name rotate --systems {seen.host}` packs old logs.",
        "Move what must stay but is seldom read to another volume.",
        _expand(params, one, seen),
    )


def _expand(params: CapacityPlanningParams, one: Outlook, seen: Seen) -> str:
    needed = expansion(one, params.interval)
    if needed is None:
        return f"More room is not needed for {BUYS} days, if it goes on like this."
    most = f" to {needed.most}" if needed.most > needed.likely else ""
    return f"Expand by {needed.likely}{most} GiB: that does for {BUYS} days{_price(params, needed)}.{_group(one, seen)}"


def _price(params: CapacityPlanningParams, needed: Expansion) -> str:
    """What the room costs a month, where a price was given."""
    prices = params.prices
    if prices is None or prices.disk_gib is None:
        return ""
    return f" and costs about {needed.likely * prices.disk_gib:.2f} {prices.currency} a month by the price given"


def _group(one: Outlook, seen: Seen) -> str:
    """What the volume group of this mount has left, where that is known."""
    volumes: Mapping[str, Any] = found_in(seen).get("volumes", {})
    if why_unknown(volumes) is not None or not volumes.get("groups"):
        return ""
    disk = subject(found_in(seen), "disk")
    device = next((m["device"] for m in disk.get("mounts", ()) if m["mount"] == one.place), "")
    group = volumes["volumes"].get(device)
    if group not in volumes["groups"]:
        return ""
    return f" Its volume group {group} has {size(volumes['groups'][group]['free'])} left."


def _inodes(_params: CapacityPlanningParams, one: Outlook, _seen: Seen) -> Sequence[str]:
    return (
        f"Clean: `du --inodes -x --max-depth=2 {quote(one.place)} | sort -n | tail` shows where many small files are.",
        "Move or pack directories of many small files.",
        "More room does not always bring more inodes: on ext4 it does in proportion; XFS makes them as needed.",
    )


def _memory(params: CapacityPlanningParams, one: Outlook, _seen: Seen) -> Sequence[str]:
    more = ""
    if one.found and one.total:
        needed = one.found.reach(BUYS, _z(params.interval)).likely
        gib = max(1, math.ceil((needed / one.threshold - 1) * one.total / GIB))
        more = f" {gib} GiB more would do for {BUYS} days." if needed > one.threshold else ""
    return (
        "Look which process grows: `system_monitoring` with top_processes tells; a leak ends with a restart.",
        "Limit caches and workers, or move a service to another host.",
        f"Add memory.{more}",
    )


def _swap(_params: CapacityPlanningParams, _one: Outlook, _seen: Seen) -> Sequence[str]:
    return ("Find what does not fit into memory; more swap only makes it slower.", "Add memory, or move a service.")


def _cpu(params: CapacityPlanningParams, one: Outlook, seen: Seen) -> Sequence[str]:
    cpus = subject(found_in(seen), "host").get("cpus")
    more = ""
    if cpus and one.found:
        needed = math.ceil(cpus * one.found.reach(BUYS, _z(params.interval)).likely / one.threshold)
        more = f" {needed} instead of {cpus} would do for {BUYS} days." if needed > cpus else ""
    return (
        "Find the cause: `performance_tuning` with task analyse names the resource that everybody waits for.",
        "Move work to quieter hours or hosts.",
        f"Add cores.{more}",
    )


# -- directories ----------------------------------------------------------------------------------------------


def growth_of(points: Sequence[Point]) -> float | None:
    """Bytes a day that a directory grew between its first and its last measurement; None when that is not known."""
    if len(points) < _TWO or points[-1].at <= points[0].at:
        return None
    return (points[-1].high - points[0].high) / ((points[-1].at - points[0].at) / DAY)


def grown(seen: Seen, below: str) -> str:
    """The measured directory under a mount that grew most; empty without one."""
    known = {
        name.partition(":")[2]: growth
        for name, points in seen.series.get("days", {}).items()
        if name.startswith("directory_size:") and (growth := growth_of(points)) and growth > 0
    }
    inside = {path: growth for path, growth in known.items() if path.startswith(below.rstrip("/") + "/")}
    return max(inside, key=inside.__getitem__) if inside else ""
