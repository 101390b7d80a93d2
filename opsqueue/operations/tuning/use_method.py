"""The USE method: of each resource utilisation, saturation and errors, and which one is the bottleneck.

Utilisation alone is no verdict: a CPU that is busy and keeps nobody waiting is a CPU that is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from opsqueue.facts.use import number

_ELEVATED, _SATURATED = 10.0, 40.0
"""Percent of the time in which somebody waited."""
_MEMORY_FULL = 5.0
_IO_FULL = 10.0
_STEAL = 5.0
_RETRANSMITTED = 1.0
_THROTTLED = 5.0
_NEARLY_FULL = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One row of the table; `None` is not known."""

    name: str
    utilisation: float | None
    """percent"""
    saturation: float | None
    """percent of the time in which somebody waited; of a queue its length; see `saturated_by`"""
    errors: float | None
    saturated_by: str
    level: str
    """ok, elevated, saturated or unknown."""
    said: str
    confidence: str = "high"
    advice: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


def table(use: Mapping[str, Any]) -> tuple[Resource, ...]:
    """Every resource, the worst first."""
    order = {"saturated": 0, "elevated": 1, "unknown": 2, "ok": 3}
    rows = (_cpu(use), _quota(use), _steal(use), _memory(use), *_disks(use), _network(use), *_tables(use))
    return tuple(sorted(rows, key=lambda row: order[row.level]))


def bottleneck(rows: tuple[Resource, ...]) -> Resource | None:
    """The first that keeps somebody waiting; None where nobody waits."""
    return next((row for row in rows if row.level in {"saturated", "elevated"}), None)


def _by_pressure(value: float | None) -> str:
    if value is None:
        return "unknown"
    return "saturated" if value >= _SATURATED else "elevated" if value >= _ELEVATED else "ok"


def _text(value: float | None, unit: str = " percent") -> str:
    return "not known" if value is None else f"{value:.4g}{unit}"


def _psi(use: Mapping[str, Any], what: str, kind: str = "some") -> float | None:
    return number(use["pressure"].get(what, {}), kind)


def _cpu(use: Mapping[str, Any]) -> Resource:
    busy, some, running = number(use["cpu"], "busy"), _psi(use, "cpu"), number(use["cpu"], "running")
    level, confidence = _by_pressure(some), "high"
    if some is None and running is not None:  # no pressure figures in this kernel: the length of the run queue
        level = "elevated" if running > 2 * use["cpus"] and (busy or 0) >= _NEARLY_FULL else "ok"
        confidence = "low"
    waits = f"somebody waited for a CPU {_text(some)} of the time" if some is not None else "pressure is not known"
    names = ", ".join(f"{one['name']} ({one['percent']:g} percent of a CPU)" for one in use["top_cpu"][:3])
    quota = use["limits"].get("cpu.max", "max").split()[0]
    within = "" if quota == "max" else " The limit of the control group counts, not the number of CPUs."
    return Resource(
        name="cpu", utilisation=busy, saturation=some, errors=None, saturated_by="pressure some", level=level,
        said=f"{waits}; {_text(busy)} busy, {_text(running, '')} runnable on {use['cpus']} CPUs; "
        f"{names or 'nobody stands out'}",
        confidence=confidence,
        advice=f"See whether {names or 'what runs'} is wanted; move work to other hours, give it less weight "
        f"(unit_resources), or add CPUs. Expect shorter waiting; risk: what gets less becomes slower.{within}",
        evidence={"pressure": use["pressure"].get("cpu"), "top": use["top_cpu"]},
    )  # fmt: skip


def _quota(use: Mapping[str, Any]) -> Resource:
    worst: Mapping[str, Any] = next(iter(use["throttled"]), {"group": "none", "share": 0.0})
    share = float(worst["share"])
    level = "saturated" if share >= _SATURATED else "elevated" if share >= _THROTTLED else "ok"
    return Resource(
        name="cpu_quota", utilisation=None, saturation=share, errors=None, level=level,
        saturated_by="throttled periods",
        said=f"{worst['group']} was held back in {share:g} percent of its periods",
        advice=f"Raise the CPUQuota of {worst['group']} (unit_resources), or let it do less. Expect shorter answers of "
        "that service; risk: others get less of the CPU.",
        evidence={"throttled": use["throttled"]},
    )  # fmt: skip


def _steal(use: Mapping[str, Any]) -> Resource:
    steal = number(use["cpu"], "steal")
    level = "unknown" if steal is None else "elevated" if steal >= _STEAL else "ok"
    return Resource(
        name="steal", utilisation=None, saturation=steal, errors=None, saturated_by="time taken by the hypervisor",
        level=level, said=f"the hypervisor gave {_text(steal)} of the CPU time to others",
        advice="Nothing on this host changes that: ask for another machine, or for CPUs of its own.",
        evidence={"steal": steal},
    )  # fmt: skip


def _memory(use: Mapping[str, Any]) -> Resource:
    some, full = _psi(use, "memory"), _psi(use, "memory", "full")
    vm, used = use["vm"], number(use["memory"], "used")
    swapping = (number(vm, "pswpin") or 0) + (number(vm, "pswpout") or 0)
    killed = number(vm, "oom_kill")
    level = _by_pressure(some)
    if level in {"ok", "unknown"} and ((full or 0) >= _MEMORY_FULL or swapping > 0):
        level = "elevated"
    if killed or ((full or 0) >= _MEMORY_FULL and swapping > 0):
        level = "saturated"
    names = ", ".join(f"{one['name']} ({one['bytes'] >> 20} MiB)" for one in use["top_memory"][:3])
    return Resource(
        name="memory", utilisation=used, saturation=some, errors=killed, saturated_by="pressure some", level=level,
        said=f"{_text(used)} used, pressure some {_text(some)} and full {_text(full)}, {swapping:g} pages/s swapped, "
        f"{_text(killed, '')} killed each second for want of memory; {names}",
        confidence="high" if some is not None else "low",
        advice=f"See what {names or 'the largest'} need; set MemoryHigh for what may wait (unit_resources), "
        "or add memory. A lower vm.swappiness only moves the trouble. Expect fewer stalls; risk: what is "
        "limited is slowed or killed.",
        evidence={"pressure": use["pressure"].get("memory"), "vm": vm, "top": use["top_memory"]},
    )  # fmt: skip


def _disks(use: Mapping[str, Any]) -> Iterator[Resource]:
    some, full = _psi(use, "io"), _psi(use, "io", "full")
    disks = use["disks"] or {"none": {}}
    busiest = max(disks, key=lambda name: number(disks[name], "queue") or 0.0)
    for name, disk in disks.items():
        queue = number(disk, "queue")
        level = "unknown" if some is None and queue is None else "ok"
        if name == busiest and (full or 0) >= _IO_FULL and (queue or 0) > 1:
            level = "saturated" if (full or 0) >= _SATURATED else "elevated"
        yield Resource(
            name=f"disk:{name}", utilisation=number(disk, "busy"), saturation=queue, errors=None, level=level,
            saturated_by="requests waiting, and pressure full",
            said=f"{_text(number(disk, 'busy'))} busy, {_text(queue, '')} requests under way, "
            f"{_text(number(disk, 'wait_ms'), ' ms')} each; pressure of all disks some {_text(some)}, "
            f"full {_text(full)}",
            confidence="high" if len(disks) == 1 else "medium",
            advice=f"Find who reads or writes {name}; give it less IOWeight (unit_resources), try another scheduler "
            "(block) with a benchmark, or a faster disk. Expect shorter waits; risk: what is held back "
            "does less.",
            evidence={"disk": dict(disk), "pressure": use["pressure"].get("io")},
        )  # fmt: skip


def _network(use: Mapping[str, Any]) -> Resource:
    tcp = use["tcp"]
    again, overflows = number(tcp, "retransmitted"), number(tcp, "overflows_s")
    drops = sum(number(one, "drops_s") or 0 for one in use["network"].values())
    errors = sum(number(one, "errors_s") or 0 for one in use["network"].values())
    bad = bool(overflows) or (again or 0) > _RETRANSMITTED
    return Resource(
        name="network", utilisation=None, saturation=overflows, errors=errors + drops,
        level="elevated" if bad else "ok",
        saturated_by="listen queues that overflowed, each second",
        said=f"{_text(again)} of TCP segments sent again, {_text(overflows, '')} listen queues overflowed each second, "
        f"{drops:g} packets/s dropped, {errors:g} errors/s",
        confidence="high" if overflows else "medium",
        advice="Overflows: raise net.core.somaxconn and the backlog of the program, or let it accept faster "
        "(profile web). Segments sent again: look at the way there, not at this host. Expect fewer "
        "refused connections; risk: memory.",
        evidence={"tcp": dict(tcp), "network": dict(use["network"])},
    )  # fmt: skip


def _tables(use: Mapping[str, Any]) -> Iterator[Resource]:
    for name, part, what, key in (
        ("files", "files", "open files of all that may be open", "fs.file-max"),
        ("conntrack", "tracked", "entries of the table of connections", "net.netfilter.nf_conntrack_max"),
        ("ports", "ports", "local ports of those that may be given", "net.ipv4.ip_local_port_range"),
    ):
        used = number(use[part], "used")
        level = "unknown" if used is None and part == "files" else "saturated" if (used or 0) >= _NEARLY_FULL else "ok"
        yield Resource(
            name=name, utilisation=used, saturation=None, errors=None, saturated_by="nearly all taken", level=level,
            said=f"{_text(used)} of the {what} taken" if used is not None else f"{what}: not counted here",
            advice=f"Raise {key}, and see who takes so many. Expect no more refusals; risk: memory.",
            evidence={part: dict(use[part])},
        )  # fmt: skip
