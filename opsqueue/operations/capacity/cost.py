"""Where less would do: with history enough, the evidence and the risk, and no money without a price that was given."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from opsqueue.facts.system import subject
from opsqueue.model.amount import size
from opsqueue.model.kind import Finding, Seen
from opsqueue.model.names import Severity
from opsqueue.operations.capacity.days import DAY
from opsqueue.operations.capacity.loads import LOOKED_AT, Load, load
from opsqueue.operations.capacity.outlook import found_in
from opsqueue.operations.capacity.params import CapacityPlanningParams
from opsqueue.telemetry import counted

_LEAST_DAYS = 14
_LEAST_A_DAY = 20
"""Means of five minutes that a day needs to count: a look now and then sees no busy hour. Once an hour is enough."""
_IDLE_CPU, _IDLE_MEMORY = 10.0, 20.0
"""Percent that an idle host does not exceed, save in the rarest moments."""
_HALF = 2
GIB = 1 << 30


def why_none(params: CapacityPlanningParams, seen: Seen) -> str:
    """Why there can be no cost advice, in words; empty when there can."""
    for name in ("cpu_usage", "memory_usage"):
        days = len(seen.series.get("days", {}).get(name, ()))
        if days < _LEAST_DAYS:
            return f"{name} is known of {days} days, {_LEAST_DAYS} are needed"
        if load(seen, name, params.percentile, params.cost_percentile) is None:
            return f"{name} was not measured in the last weeks"
        if (often := _days_often(seen, name)) < _LEAST_DAYS:
            least = f"{_LEAST_DAYS} such days are needed"
            return f"{name} was measured at least {_LEAST_A_DAY} times a day on {often} of the last days, {least}"
    host = subject(found_in(seen), "host")
    return "" if host.get("cpus") and host.get("memory_total") else "the size of the host is not known"


def _days_often(seen: Seen, name: str) -> int:
    points = seen.series.get("minutes", {}).get(name, ())
    return sum(times >= _LEAST_A_DAY for times in Counter(point.at // DAY for point in points).values())


def cost(params: CapacityPlanningParams, seen: Seen) -> Iterator[Finding]:
    """What the host could do without."""
    cpu, memory = (
        load(seen, name, params.percentile, params.cost_percentile) for name in ("cpu_usage", "memory_usage")
    )
    if not params.cost_advice or why_none(params, seen) or cpu is None or memory is None:
        return
    host = subject(found_in(seen), "host")
    cpus, total = int(host["cpus"]), float(host["memory_total"])
    more = 1 + params.headroom_pct / 100
    cores = max(1, math.ceil(cpus * cpu.cost / 100 * more))
    gib = max(1, math.ceil(total / GIB * memory.peak / 100 * more))  # never below what was ever used
    evidence = _evidence(params, cpu, memory) | {"cores": cpus, "cores_needed": cores, "memory_gib_needed": gib}
    if cpu.cost < _IDLE_CPU and memory.peak < _IDLE_MEMORY:
        text = f"the host is idle: {_used(params, cpu, memory)}{_network(seen)}"
        worth = _worth(params, cpus, total / GIB)
        advice = f"Give it up, or put its services on another host{worth}. {_risk(seen, cpu)}"
        yield Finding(severity=Severity.INFO, code="host_idle", message=text, evidence=evidence, advice=advice)
    elif cores * _HALF <= cpus or gib * _HALF <= total / GIB:
        text = f"the host is larger than it needs: {_used(params, cpu, memory)}{_network(seen)}"
        room = f"{params.headroom_pct:g} % headroom included"
        need = f"{cores} of {cpus} cores and {gib} of {total / GIB:.0f} GiB would do, {room}"
        worth = _worth(params, cpus - cores, max(0.0, total / GIB - gib))
        advice = f"{need}{worth}. {_risk(seen, cpu)}"
        yield Finding(severity=Severity.INFO, code="host_oversized", message=text, evidence=evidence, advice=advice)


def _evidence(params: CapacityPlanningParams, cpu: Load, memory: Load) -> dict[str, Any]:
    return {
        "days": min(cpu.days, memory.days),
        "percentile": params.cost_percentile,
        "cpu_percentile": round(cpu.cost, 2),
        "memory_percentile": round(memory.cost, 2),
        "memory_peak": round(memory.peak, 2),
    }


def _used(params: CapacityPlanningParams, cpu: Load, memory: Load) -> str:
    return (
        f"CPU at most {cpu.cost:.0f} % in {params.cost_percentile:g} % of the time, "
        f"memory never above {memory.peak:.0f} %, in {min(cpu.days, memory.days)} days"
    )


def _network(seen: Seen) -> str:
    """The busiest interface, as a further sign."""
    rates = [
        (max(point.p95 for point in points), name.partition(":")[2])
        for name, points in seen.series.get("days", {}).items()
        if name.startswith(("network_receive:", "network_send:")) and points
    ]
    return f", network at most {size(max(rates)[0])}/s on {max(rates)[1]} (95th percentile of a day)" if rates else ""


def _worth(params: CapacityPlanningParams, cores: float, gib: float) -> str:
    """What that saves a month, where there are prices; nothing is made up where there are none."""
    prices = params.prices
    if prices is None:
        return ""
    parts = [(prices.cpu_core, cores), (prices.memory_gib, gib)]
    known = [price * count for price, count in parts if price is not None]
    return f": about {sum(known):.2f} {prices.currency} a month by the prices given" if known else ""


def incidents(seen: Seen) -> str:
    """What was not usual in that time, in words; empty when nothing is known of."""
    since = seen.at - LOOKED_AT
    daily = seen.series.get("days", {})
    uptime, up = ([point for point in daily.get(name, ()) if point.at >= since] for name in ("uptime", "up"))
    restarts = sum(after.low < before.low for before, after in pairwise(uptime))
    down = sum(point.low < 1 for point in up)
    lately = seen.occasions(since)
    parts = [counted(restarts, "restart")] if restarts else []
    parts += [f"{counted(down, 'day')} on which a health check found it down"] if down else []
    parts += _of_each("operation", "that changed it", lately.changes)
    parts += _of_each("critical alert", "about it", lately.alerts)
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _of_each(noun: str, rest: str, numbers: Mapping[str, int]) -> list[str]:
    """`3 operations that changed it (log_rotation 2, service_restart)`."""
    named = ", ".join(name if number == 1 else f"{name} {number}" for name, number in sorted(numbers.items()))
    return [f"{counted(sum(numbers.values()), noun)} {rest} ({named})"] if numbers else []


def _risk(seen: Seen, cpu: Load) -> str:
    seldom = f"What happens more seldom than every {cpu.days} days, such as a yearly run, has not been seen."
    unusual = incidents(seen)
    return f"{seldom} In these weeks there were {unusual}: what it needs then may not show." if unusual else seldom
