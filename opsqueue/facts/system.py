"""The system metrics of a host: one fact that every type and the kernel share, and its numbers by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from opsqueue.model.fact import Fact, Facts, Reading, unknown, why_unknown
from opsqueue.model.kind import Metric

NAME = "system"
UP = "up"
"""The metric that is 1 where a host answered, and 0, with no other beside it, where it could not be reached."""

SUBJECTS = (
    "host", "clock", "cpu", "memory", "swap", "disk", "load",
    "network", "io", "pressure", "processes", "fd", "cgroup",
)  # fmt: skip
"""All that can be read; each is an object, or `{"unknown": reason}`. `way`, how long it took to get there and to read,
is told beside them when it is named among the subjects."""


def system_reading(*, timeout: int = 30, **options: Any) -> Fact:
    """The fact `system`: an object by subject.

    Options: `subjects` (default all; others are not read at all), `sample_gap_s` (default 1.0), `samples` (default 1:
    so many gaps one after another, and then cpu, network and io have a `peak`), `mounts_include`, `mounts_exclude`,
    `fstypes_exclude`, `interfaces_exclude` (shell patterns), `top_processes` (default 5), `mount_timeout_s`
    (default 3.0, until a mount that does not answer is given up).
    """
    return Fact(name=NAME, ask=Reading(options=options, timeout=timeout), parse=_checked)


def _checked(answer: Any) -> Any:
    if not isinstance(answer, dict):
        raise ValueError(f"a reading is an object by subject, found {type(answer).__name__}")  # noqa: TRY004 - a fact's parse raises ValueError
    return answer


def subject(facts: Facts, name: str) -> Any:
    """One subject of the reading in these facts; unknown with a reason when there is none."""
    reading = facts.get(NAME, unknown("the system was not read"))
    if why_unknown(reading) is not None:
        return reading
    return reading.get(name, unknown("it was not asked for"))


def system_metrics(facts: Facts) -> tuple[Metric, ...]:
    """The numbers of the reading in these facts; what was asked for and is not known has the value `None`.

    A part of a host is named after a colon: `disk_usage:/var`, `network_receive:eth0`.
    """
    reading = facts.get(NAME, {})
    if why_unknown(reading) is not None:
        reading = {}
    rows = (row for name, make in _MAKERS.items() if name in reading for row in make(_known(reading[name])))
    return tuple(Metric(name=name, value=value, unit=unit) for name, value, unit in rows)


Rows = Iterator[tuple[str, float | None, str]]


def _known(part: Any) -> Mapping[str, Any]:
    return {} if why_unknown(part) is not None else part


def _worst(values: list[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _host(part: Mapping[str, Any]) -> Rows:
    yield "uptime", part.get("uptime_s"), "s"


def _clock(part: Mapping[str, Any]) -> Rows:
    yield "clock_skew", part.get("skew_s"), "s"


def _way(part: Mapping[str, Any]) -> Rows:
    for name, key in (("connect_time", "connect_s"), ("reading_time", "reading_s")):
        seconds = part.get(key)
        yield name, None if seconds is None else seconds * 1000, "ms"


def _peaks(part: Mapping[str, Any], unit: str, of: str = "", **names: str) -> Rows:
    """What was highest of several stretches, `cpu_usage_peak`; nothing where there was only one."""
    for key, name in names.items() if "peak" in part else ():
        yield f"{name}_peak{':' if of else ''}{of}", part["peak"].get(key), unit


def _cpu(part: Mapping[str, Any]) -> Rows:
    yield "cpu_usage", part.get("busy"), "percent"
    for name in ("user", "system", "iowait", "steal"):
        yield f"cpu_{name}", part.get(name), "percent"
    if part.get("limit_percent") is not None:
        yield "cpu_limit_usage", part["limit_percent"], "percent"
    yield from _peaks(part, "percent", busy="cpu_usage", iowait="cpu_iowait", steal="cpu_steal")


def _memory(part: Mapping[str, Any]) -> Rows:
    yield "memory_usage", part.get("percent"), "percent"
    yield "memory_available", part.get("available"), "bytes"


def _swap(part: Mapping[str, Any]) -> Rows:
    yield "swap_usage", part.get("percent"), "percent"
    yield "swap_used", part.get("used"), "bytes"


def _disk(part: Mapping[str, Any]) -> Rows:
    mounts = part.get("mounts", [])
    yield "disk_usage", _worst([mount.get("percent") for mount in mounts]), "percent"
    yield "inode_usage", _worst([mount.get("inodes_percent") for mount in mounts]), "percent"
    for mount in mounts:
        yield f"disk_usage:{mount['mount']}", mount.get("percent"), "percent"
        yield f"disk_available:{mount['mount']}", mount.get("available"), "bytes"
        yield f"inode_usage:{mount['mount']}", mount.get("inodes_percent"), "percent"


def _load(part: Mapping[str, Any]) -> Rows:
    cpus = part.get("cpus")
    for minutes, name in ((1, "one"), (5, "five"), (15, "fifteen")):
        load = part.get(name)
        yield f"load_per_cpu_{minutes}m", load / cpus if cpus and load is not None else None, "load/CPU"


def _network(part: Mapping[str, Any]) -> Rows:
    for name, rates in part.get("interfaces", {}).items():
        yield f"network_receive:{name}", rates.get("receive_bytes_s"), "bytes/s"
        yield f"network_send:{name}", rates.get("send_bytes_s"), "bytes/s"
        yield f"network_errors:{name}", rates.get("errors_ratio"), "ratio"
        yield f"network_drops:{name}", rates.get("drops_ratio"), "ratio"
        yield from _peaks(rates, "bytes/s", name, receive_bytes_s="network_receive", send_bytes_s="network_send")


def _io(part: Mapping[str, Any]) -> Rows:
    for name, rates in part.get("disks", {}).items():
        yield f"io_utilisation:{name}", rates.get("utilisation"), "percent"
        yield f"io_read:{name}", rates.get("read_bytes_s"), "bytes/s"
        yield f"io_write:{name}", rates.get("write_bytes_s"), "bytes/s"
        yield from _peaks(rates, "percent", name, utilisation="io_utilisation")
        yield from _peaks(rates, "bytes/s", name, read_bytes_s="io_read", write_bytes_s="io_write")


def _pressure(part: Mapping[str, Any]) -> Rows:
    for name, rows in part.items():
        yield f"pressure_{name}", rows.get("some", {}).get("avg10"), "percent"


def _processes(part: Mapping[str, Any]) -> Rows:
    yield "processes", part.get("count"), "count"
    yield "zombies", part.get("zombies"), "count"
    yield "processes_uninterruptible", part.get("uninterruptible"), "count"


def _fd(part: Mapping[str, Any]) -> Rows:
    yield "open_files", part.get("open"), "count"
    yield "open_files_usage", part.get("percent"), "percent"


def _cgroup(part: Mapping[str, Any]) -> Rows:
    if part.get("memory_limit"):
        yield "memory_limit_usage", part.get("memory_percent"), "percent"
        yield "memory_limit", part["memory_limit"], "bytes"
    if part.get("cpu_limit"):
        yield "cpu_limit", part["cpu_limit"], "CPUs"


_MAKERS: Mapping[str, Callable[[Mapping[str, Any]], Rows]] = {
    "cpu": _cpu,
    "memory": _memory,
    "swap": _swap,
    "disk": _disk,
    "load": _load,
    "network": _network,
    "io": _io,
    "pressure": _pressure,
    "processes": _processes,
    "fd": _fd,
    "cgroup": _cgroup,
    "clock": _clock,
    "host": _host,
    "way": _way,
}
