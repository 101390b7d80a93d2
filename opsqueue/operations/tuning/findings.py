"""What a tuning came to: numbers, findings, advice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opsqueue.model.kind import Finding, Metric
from opsqueue.model.names import Severity
from opsqueue.operations.tuning import judge
from opsqueue.operations.tuning.hand import Hand
from opsqueue.operations.tuning.statistics import Compared, short
from opsqueue.operations.tuning.use_method import Resource, bottleneck, table


def of_use(use: Mapping[str, Any], suffix: str = "") -> Iterator[Metric]:
    """What the host was busy with, in numbers."""
    for what, part in use["pressure"].items():
        for kind in ("some", "full"):
            yield Metric(name=f"pressure_{what}_{kind}{suffix}", value=part.get(kind), unit="percent")
    rows: dict[str, tuple[float | None, str]] = {
        "cpu_busy": (use["cpu"]["busy"], "percent"),
        "cpu_steal": (use["cpu"]["steal"], "percent"),
        "runnable": (use["cpu"]["running"], "count"),
        "context_switches": (use["context_switches"], "1/s"),
        "memory_used": (use["memory"]["used"], "percent"),
        "major_faults": (use["vm"].get("pgmajfault"), "1/s"),
        "listen_overflows": (use["tcp"]["overflows_s"], "1/s"),
        "tcp_retransmitted": (use["tcp"]["retransmitted"], "percent"),
        "open_files_used": (use["files"]["used"], "percent"),
        "sampled": (use["seconds"], "s"),
    }
    yield from (Metric(name=f"{name}{suffix}", value=value, unit=unit) for name, (value, unit) in rows.items())
    for disk, part in use["disks"].items():
        yield Metric(name=f"disk_busy:{disk}{suffix}", value=part["busy"], unit="percent")
        yield Metric(name=f"disk_queue:{disk}{suffix}", value=part["queue"], unit="count")
        yield Metric(name=f"disk_wait:{disk}{suffix}", value=part["wait_ms"], unit="ms")


def of_benchmarks(hand: Hand, now: Mapping[str, Any]) -> Iterator[Metric]:
    """Every benchmark in short, old and new."""
    for one in hand.params.benchmarks:
        for state, word in (("old", "before"), ("new", "after")):
            values = judge.samples(now, one.label, state)
            if not values:
                continue
            row, name = short(values), f"{one.label}:{word}"
            late = [each["late"] for each in now["samples"] if (each["name"], each["state"]) == (one.label, state)]
            known = [value for value in late if value is not None]
            yield Metric(name=f"benchmark:{name}", value=row.median, unit=_UNITS.get(one.tool, "number"))
            yield Metric(name=f"benchmark_mad:{name}", value=row.mad, unit=_UNITS.get(one.tool, "number"))
            yield Metric(name=f"benchmark_cv:{name}", value=row.cv if row.cv != float("inf") else None, unit="ratio")
            if known:
                yield Metric(name=f"benchmark_p95:{name}", value=short(known).median, unit="ms")
    for found in judge.comparisons(hand, now):
        yield Metric(name=f"benchmark_effect:{found.name}", value=found.effect, unit="percent")
        yield Metric(name=f"benchmark_chance:{found.name}", value=found.chance, unit="probability")


_UNITS = {
    "sysbench_cpu": "events/s",
    "sysbench_memory": "MiB/s",
    "sysbench_threads": "events/s",
    "fio_randread": "IOPS",
    "fio_randwrite": "IOPS",
}


def of_state(hand: Hand, now: Mapping[str, Any] | None) -> Iterator[Finding]:
    """What was set, what was measured, and what an operator should know of it."""
    if now is not None and hand.params.task == "apply":
        yield from (_difference(found) for found in judge.comparisons(hand, now))
    if now is not None and hand.params.task == "apply" and hand.changing and now["guard"] == "confirmed":
        yield from _told(hand)
    if hand.params.task == "analyse":
        yield from _wanted(hand)
    if hand.params.task in {"apply", "analyse"}:
        for text in judge.kept_over_boot(hand):
            yield Finding(
                severity=Severity.WARNING, code="overridden_at_boot", message=f"{text}, which wins at the next boot",
                advice="Change it there, or remove that line.",
            )  # fmt: skip


_VERDICTS = {
    "improved": "benchmark_improved",
    "same": "benchmark_same",
    "worse": "benchmark_worse",
    "inconclusive": "benchmark_inconclusive",
}
_SHORT = {
    "cpu": "bottleneck_cpu",
    "cpu_quota": "bottleneck_cpu_quota",
    "steal": "bottleneck_steal",
    "memory": "bottleneck_memory",
    "disk": "bottleneck_disk",
    "network": "bottleneck_network",
    "files": "bottleneck_files",
    "conntrack": "bottleneck_conntrack",
    "ports": "bottleneck_ports",
}


def _difference(found: Compared) -> Finding:
    severity = Severity.WARNING if found.verdict in {"worse", "inconclusive"} else Severity.INFO
    advice = {
        "worse": "It was led back; try one setting at a time.",
        "inconclusive": "It varies too much to tell: measure on a quiet host, longer, or with more pairs.",
    }
    evidence = {"effect_percent": found.effect, "interval": [found.low, found.high], "p": found.chance}
    code = _VERDICTS[found.verdict]
    return Finding(
        severity=severity, code=code, message=f"{found}", advice=advice.get(found.verdict, ""), evidence=evidence
    )


def _told(hand: Hand) -> Iterator[Finding]:
    sources = judge.sources(hand)
    rows = [
        {"name": one.name, "before": one.found, "now": one.wanted, "set_by": sources.get(one.path, "kernel")}
        for one in hand.knobs
    ]
    files = [one.path for one in hand.files]
    message = "; ".join(f"{one['name']} {one['before']} -> {one['now']} (was set by {one['set_by']})" for one in rows)
    yield Finding(
        severity=Severity.INFO, code="tuned", message=message or f"written: {', '.join(files)}",
        evidence={"settings": rows, "files": files},
    )  # fmt: skip
    if hand.params.limits:
        yield Finding(
            severity=Severity.INFO, code="limits_later", message="limits hold for sessions that begin from now on",
            advice="Restart what should have them; services of systemd take theirs from LimitNOFILE (unit_resources).",
        )  # fmt: skip


def _wanted(hand: Hand) -> Iterator[Finding]:
    differing = [one for one in (*hand.knobs,) if one.changes and one.found is not None]
    if differing:
        text = "; ".join(f"{one.name} is {one.found}, {hand.params.profile} has {one.wanted}" for one in differing)
        yield Finding(
            severity=Severity.INFO, code="profile_differs", message=text,
            advice="Apply it with benchmarks of the work that counts here; it is kept where it is not worse.",
        )  # fmt: skip


# -- the USE method ---------------------------------------------------------------------------------------


def of_bottleneck(use: Mapping[str, Any]) -> Iterator[Finding]:
    """The table of the USE method, and the one resource that everybody waits for."""
    rows = table(use)
    first = bottleneck(rows)
    evidence = {"seconds": use["seconds"], "table": [_row(row) for row in rows]}
    if first is None:
        yield Finding(
            severity=Severity.INFO, code="no_bottleneck", evidence=evidence,
            message=f"nobody waited for anything in {use['seconds']:g} s: {rows[-1].said}",
            advice="Do nothing: what is not saturated is not made faster by tuning it.",
        )  # fmt: skip
    for row in rows:
        if row.level in {"saturated", "elevated"}:
            word = "is the bottleneck" if row is first else "is short as well"
            yield Finding(
                severity=Severity.WARNING,
                code=_SHORT[row.name.partition(":")[0]],
                message=f"{row.name} {word} ({row.level}, confidence {row.confidence}): {row.said}",
                advice=row.advice,
                evidence={**row.evidence, **(evidence if row is first else {})},
            )
    unknown = [row.name for row in rows if row.level == "unknown"]
    if unknown:
        message = f"could not be measured here: {', '.join(unknown)}"
        yield Finding(severity=Severity.INFO, code="not_measured", message=message)


def _row(row: Resource) -> dict[str, Any]:
    return {
        "resource": row.name,
        "utilisation": row.utilisation,
        "saturation": row.saturation,
        "saturated_by": row.saturated_by,
        "errors": row.errors,
        "level": row.level,
    }
