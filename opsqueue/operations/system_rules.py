"""What stands out in the numbers of a host: one small rule for each subject of `system_monitoring`.

A little over the budget of lines, because limits, words and advice are one table that is read as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opsqueue.facts.system import NAME, subject
from opsqueue.model.fact import Facts, unknown, why_unknown
from opsqueue.model.kind import Finding, Seen
from opsqueue.model.names import Severity
from opsqueue.operations.system_past import in_words, lasted

_FAR_ABOVE = 95.0
"""Percent of CPU, memory, disk, inodes or files from where a breached threshold is critical."""
_GROWN = 5.0
"""Points of disk usage since the last look that are worth a word."""
_FEWEST_PACKETS = 100
"""Fewer than this say nothing about a share of errors."""
_MUCH_PRESSURE = 60.0
_MOST_SWAP_AND_MEMORY = 70.0
"""Percent of memory below which full swap is only old pages that nobody asked back."""

Found = Iterator[Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the rules look at; `limits` are the operation's own thresholds laid over the configuration's."""

    seen: Seen
    found: Facts
    limits: Mapping[str, float]

    def value(self, metric: str) -> float | None:
        """A metric of this look, if it is known."""
        found = self.seen.metrics.get(metric)
        return found.value if found else None

    def earlier(self, metric: str) -> float | None:
        """The same metric at the last look, if there was one and it was known."""
        found = self.seen.earlier.get(metric)
        return found.value if found else None

    def parts(self, metric: str) -> dict[str, float]:
        """The known values of a metric by what stands after the colon."""
        rows = {name.partition(":")[2]: self.value(name) for name in self.seen.metrics if name.startswith(f"{metric}:")}
        return {name: value for name, value in rows.items() if value is not None}

    def part(self, name: str) -> Mapping[str, Any]:
        """A subject of the reading; empty when it is not known."""
        found = subject(self.found, name)
        return {} if why_unknown(found) is not None else found

    def finding(self, severity: Severity, code: str, message: str, advice: str = "", **evidence: Any) -> Finding:
        """A finding about this host."""
        return Finding(
            severity=severity, code=code, message=message, host=self.seen.host, evidence=evidence, advice=advice
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """One limit: above it a warning, from `critical` on critical; exactly on it is still good."""

    code: str
    what: str
    limit: str
    advice: str
    critical: float | None = None
    unit: str = " %"

    def over(self, view: View, metric: str, **evidence: Any) -> Found:
        """The finding, when the metric is known and above the limit, and for how long it has been."""
        found, limit = view.value(metric), view.limits.get(self.limit)
        value = None if found is None else abs(found)  # a clock is wrong either way
        if value is None or limit is None or value <= limit:
            return
        severity = Severity.CRITICAL if self.critical is not None and value >= self.critical else Severity.WARNING
        what = self.what.format(**evidence)
        long = lasted(view.seen, metric, limit)
        message = f"{what} is {value:.4g}{self.unit}, more than {limit:.4g}{self.unit}{in_words(long)}"
        known = evidence if long is None else {**evidence, "for_s": long}
        yield view.finding(severity, self.code, message, self.advice, value=value, threshold=limit, **known)


_CPU = _Rule(
    code="cpu_usage_high", what="CPU usage", limit="cpu_usage", critical=_FAR_ABOVE,
    advice="Look at the processes in the evidence; move or limit the busiest, or give the host more CPUs.",
)  # fmt: skip
_CPU_LIMIT = _Rule(
    code="cpu_limit_high", what="CPU usage of the control group's limit", limit="cpu_usage", critical=_FAR_ABOVE,
    advice="The kernel holds its processes up when this limit is reached: raise it, or use less.",
)  # fmt: skip
_IOWAIT = _Rule(
    code="iowait_high", what="the share of time in which CPUs only waited for disks", limit="iowait",
    advice="The disks are the limit and not the CPUs: see io_utilisation and pressure_io.",
)  # fmt: skip
_STEAL = _Rule(
    code="cpu_steal_high", what="the share of CPU time that the hypervisor gave to others", limit="steal",
    advice="The physical machine is overbooked: move this guest, or ask for reserved CPUs.",
)  # fmt: skip
_MEMORY = _Rule(
    code="memory_usage_high", what="memory usage", limit="memory_usage", critical=_FAR_ABOVE,
    advice="Look at the processes in the evidence; restart one that leaks, or give the host more memory.",
)  # fmt: skip
_MEMORY_LIMIT = _Rule(
    code="memory_limit_high", what="memory usage of the control group's limit", limit="memory_usage",
    critical=_FAR_ABOVE, advice="The kernel ends a process when this limit is reached: raise it, or use less.",
)  # fmt: skip
_SWAP = _Rule(
    code="swap_usage_high", what="swap usage", limit="swap_usage",
    advice="Memory is short as well: find what uses it before the kernel ends a process.",
)  # fmt: skip
_DISK = _Rule(
    code="disk_usage_high", what="{mount} is filling up: its usage", limit="disk_usage", critical=_FAR_ABOVE,
    advice="Rotate logs and remove what is old (log_rotation), or make the file system larger.",
)  # fmt: skip
_INODES = _Rule(
    code="inode_usage_high", what="{mount} is running out of inodes: their usage", limit="inode_usage",
    critical=_FAR_ABOVE, advice="Many small files: look for session, cache or mail directories that nobody empties.",
)  # fmt: skip
_LOAD = _Rule(
    code="load_high", what="the load of the last 5 minutes for each CPU", limit="load_per_cpu", unit="",
    advice="More work waits than the CPUs or disks can do: see cpu_usage, cpu_iowait and pressure.",
)  # fmt: skip
_NETWORK = _Rule(
    code="network_errors_high", what="the share of packets with errors on {interface}", limit="network_errors",
    unit="", advice="Look at cable, port, duplex and driver: `ethtool -S` of the interface.",
)  # fmt: skip
_PRESSURE = _Rule(
    code="pressure", what="the share of the last 10 s in which work waited for {resource}", limit="pressure",
    critical=_MUCH_PRESSURE, advice="This is what users feel: give the host more of it, or take work away.",
)  # fmt: skip
_ZOMBIES = _Rule(
    code="zombies", what="the number of zombie processes", limit="zombies", unit="",
    advice="Their parents do not collect them: restart the parent service.",
)  # fmt: skip
_FILES = _Rule(
    code="open_files_high", what="the share of all open files that the kernel allows", limit="open_files",
    critical=90.0, advice="Find the process that leaks files, or raise fs.file-max.",
)  # fmt: skip
_CLOCK = _Rule(
    code="clock_skew", what="the difference between the clocks of host and worker", limit="clock_skew_s", unit=" s",
    advice="Let both follow the same time servers (chrony or systemd-timesyncd).",
)  # fmt: skip


# -- rules by subject ---------------------------------------------------------------------------------------


def _cpu(view: View) -> Found:
    if view.value("cpu_usage") is None:
        yield _not_known(view, "cpu_usage", "there are no two samples that can be compared")
    yield from _CPU.over(view, "cpu_usage", top=view.part("processes").get("top_cpu", []))
    yield from _CPU_LIMIT.over(view, "cpu_limit_usage", top=view.part("processes").get("top_cpu", []))
    yield from _IOWAIT.over(view, "cpu_iowait")
    yield from _STEAL.over(view, "cpu_steal")


def _memory(view: View) -> Found:
    top = view.part("processes").get("top_memory", [])
    yield from _MEMORY.over(view, "memory_usage", top=top, available=view.value("memory_available"))
    yield from _MEMORY_LIMIT.over(view, "memory_limit_usage", top=top)


def _swap(view: View) -> Found:
    # Old pages rest in swap for weeks while there is plenty of memory; only both together are a sign.
    if (view.value("memory_usage") or 100.0) > _MOST_SWAP_AND_MEMORY:
        yield from _SWAP.over(view, "swap_usage")


def _disk(view: View) -> Found:
    for row in view.part("disk").get("mounts", []):
        if "unknown" in row:
            message = f"the file system at {row['mount']} did not answer: {row['unknown']}"
            advice = "Look whether its server can be reached; processes that use it hang as well."
            yield view.finding(Severity.WARNING, "mount_unknown", message, advice, mount=row["mount"])
    for mount, value in view.parts("disk_usage").items():
        yield from _DISK.over(view, f"disk_usage:{mount}", mount=mount, available=view.value(f"disk_available:{mount}"))
        yield from _growth(view, mount, value)


def _growth(view: View, mount: str, value: float) -> Found:
    earlier = view.earlier(f"disk_usage:{mount}")
    if earlier is not None and value - earlier > _GROWN:
        message = f"{mount} has grown from {earlier:.4g} % to {value:.4g} % since the last look"
        advice = "Find what writes there before it is full; capacity_planning says when that will be."
        yield view.finding(Severity.WARNING, "disk_growth", message, advice, mount=mount, value=value, earlier=earlier)


def _inodes(view: View) -> Found:
    for mount in view.parts("inode_usage"):
        yield from _INODES.over(view, f"inode_usage:{mount}", mount=mount)


def _load(view: View) -> Found:
    yield from _LOAD.over(view, "load_per_cpu_5m")


def _network(view: View) -> Found:
    for name, rates in view.part("network").get("interfaces", {}).items():
        if (rates.get("packets") or 0) >= _FEWEST_PACKETS:
            yield from _NETWORK.over(view, f"network_errors:{name}", interface=name)


def _pressure(view: View) -> Found:
    for name in ("cpu", "memory", "io"):
        yield from _PRESSURE.over(view, f"pressure_{name}", resource=name)


def _processes(view: View) -> Found:
    yield from _ZOMBIES.over(view, "zombies")


def _fd(view: View) -> Found:
    yield from _FILES.over(view, "open_files_usage")


def _clock(view: View) -> Found:
    yield from _CLOCK.over(view, "clock_skew")


def _response(view: View) -> Found:
    for name, answer in view.found.items():
        kind, _, target = name.partition(":")
        if kind == "response":
            yield from _one_response(view, target, answer)


def _one_response(view: View, target: str, answer: Any) -> Found:
    reason = why_unknown(answer)
    if reason is not None:
        yield _not_known(view, f"response_time:{target}", reason)
    elif not answer.get("ok"):
        detail = answer.get("detail") or answer.get("error") or "no answer"
        advice = "Look whether its service runs and whether the way to it is open from the worker."
        evidence = {key: answer.get(key) for key in ("error", "failed_phase")}
        yield view.finding(Severity.CRITICAL, "endpoint_down", f"{target}: {detail}", advice, **evidence)
    elif answer.get("expected") is False:
        message = f"{target} answers with the status {answer.get('status')}, wanted 200 to 399"
        advice = "Look into the log of the service."
        yield view.finding(Severity.CRITICAL, "endpoint_down", message, advice, status=answer.get("status"))
    else:
        yield from _slow(view, target, answer)


def _slow(view: View, target: str, answer: Mapping[str, Any]) -> Found:
    limit = view.limits.get("response_time")
    rule = _Rule(
        code="response_time_high", what="the response time of {target}", limit="response_time", unit=" ms",
        critical=None if limit is None else 2 * limit,
        advice="The evidence says in which phase the time was lost.",
    )  # fmt: skip
    yield from rule.over(view, f"response_time:{target}", target=target, phases=answer.get("phases", {}))


_RULES: Mapping[str, Callable[[View], Found]] = {
    "cpu": _cpu,
    "memory": _memory,
    "swap": _swap,
    "disk": _disk,
    "inodes": _inodes,
    "load": _load,
    "network": _network,
    "io": lambda _view: iter(()),  # being busy is no fault of a disk; what waits for it is `pressure` and `iowait`
    "pressure": _pressure,
    "processes": _processes,
    "fd": _fd,
    "clock": _clock,
    "response": _response,
}


def judge(name: str, view: View) -> tuple[list[Finding], float | None]:
    """The findings of one subject of `metrics`, and its state: 1 good, 0.5 warning, 0 critical, None not known."""
    reason = None if name == "response" else why_unknown(_subject(view, name))
    if reason is not None:
        whole = why_unknown(view.found.get(NAME)) is not None  # then it is said once, by `unreadable`
        return ([] if whole else [_not_known(view, name, reason)]), None
    found = list(_RULES[name](view))
    return found, state(found)


def state(findings: Sequence[Finding]) -> float | None:
    """The worst of these findings as a number; `None` when all they say is that nothing is known."""
    worst = {finding.severity for finding in findings if finding.code != "metric_unknown"}
    if Severity.CRITICAL in worst:
        return 0.0
    if Severity.WARNING in worst:
        return 0.5
    return None if findings and not worst else 1.0


def unreadable(view: View) -> Found:
    """One finding when the host could not be read at all."""
    reason = why_unknown(view.found.get(NAME, unknown("nobody asked")))
    if reason is not None:
        advice = "Try again; look whether processes hang in the kernel (state D)."
        yield view.finding(Severity.WARNING, "system_unknown", f"the system could not be read: {reason}", advice)


def restarted(view: View) -> Found:
    """A word when the host was started anew since the last look: numbers before and after are not comparable."""
    now, earlier = view.value("uptime"), view.earlier("uptime")
    if now is not None and earlier is not None and now < earlier:
        message = f"the host was restarted since the last look: it has been up for {now:.0f} s"
        yield view.finding(Severity.INFO, "restarted", message, uptime=now, earlier=earlier)


def _subject(view: View, name: str) -> Any:
    return subject(view.found, "disk" if name == "inodes" else name)


def _not_known(view: View, name: str, reason: str) -> Finding:
    return view.finding(Severity.INFO, "metric_unknown", f"{name} is not known: {reason}", metric=name, reason=reason)
