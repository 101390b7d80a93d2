"""The raw texts of a host made into the same JSON that psutil gives on this machine; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from opsqueue.connectors import reading
from opsqueue.connectors.cgroup import cpu_spent, limits
from opsqueue.connectors.procfs.answer import Answer, Lines, answer_of
from opsqueue.connectors.procfs.disks import disk
from opsqueue.connectors.procfs.tasks import TICKS_S, table_of
from opsqueue.connectors.reading import GROWING, PEAKS, Options, Sample, assemble, known, options_of, or_nothing
from opsqueue.model.fact import unknown
from opsqueue.model.plan import Result

_TICK_S = 0.02
"""/proc/uptime is cut off to hundredths, twice."""
_SECTOR = 512
"""Bytes, whatever the device says of itself."""


def reading_of(
    result: Result, options: Mapping[str, Any], *, between: tuple[float, float] | None = None
) -> dict[str, Any]:
    """All asked subjects by name; one that the host did not tell is unknown.

    `between` is when the script was sent and when its answer was here, in seconds of the worker's clock; without it
    the skew of the host's clock is `None`. ValueError and TypeError only for options that `reading_script` refuses.
    """
    wanted = options_of(options)
    try:
        answer = answer_of(result)
    except ValueError as error:
        return {name: unknown(str(error)) for name in wanted.asked()}
    looks = _samples(answer, wanted)
    standing: dict[str, Callable[[], Any]] = {name: partial(read, answer) for name, read in _STANDING.items()}
    standing["disk"] = partial(disk, answer, wanted)
    standing["clock"] = partial(_clock, answer, between)
    return assemble(wanted, looks, standing)


# -- what grows ---------------------------------------------------------------------------------------------


def _samples(answer: Answer, wanted: Options) -> tuple[Sample, ...]:
    asked = [name for name in wanted.asked() if name in GROWING]
    if not wanted.gap_s:
        only = Sample(at=0.0, counters=_counters(answer, answer.first, asked))
        return only, only
    times = _times(answer, wanted.gap_s)
    steps = [
        _counters(answer, lines, [name for name in asked if name in PEAKS])
        for lines in answer.between[: wanted.samples - 1]
    ]
    between = [Sample(at=at, counters=counters) for at, counters in zip(times[1:], steps, strict=False)]
    first, second = _counters(answer, answer.first, asked), _counters(answer, answer.second, asked)
    if not wanted.top_processes and "processes" in second:
        # Nobody needs their first sample, so it was not taken.
        first["processes"] = second["processes"]
    return Sample(at=0.0, counters=first), *between, Sample(at=times[-1], counters=second)


def _counters(answer: Answer, lines: Lines, asked: list[str]) -> dict[str, Any]:
    return {name: known(partial(_COUNTERS[name], answer, lines)) for name in asked}


def _times(answer: Answer, gap: float) -> list[float]:
    """When each sample was taken, in seconds after the first."""
    labelled = (("@first", answer.first), *(("@between", one) for one in answer.between), ("@second", answer.second))
    began, *later = (_number(lines.get(label, ())) for label, lines in labelled)
    return [0.0, *(_seconds(began, ended, gap * number) for number, ended in enumerate(later, 1))]


def _seconds(began: float | None, ended: float | None, gap: float) -> float:
    """Between two samples; `sleep` never takes less than it was told, and the clock may well say so."""
    if began is None or ended is None:
        return 0.0
    return max(ended - began, gap) if ended - began >= gap - _TICK_S else max(0.0, ended - began)


def _number(contents: Any) -> float | None:
    try:
        return float(contents[0])
    except (ValueError, IndexError):
        return None


def _cpu(answer: Answer, lines: Lines) -> dict[str, Any]:
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    values = answer.lines("@cpu", lines)[0].split()[1:]
    ticks: dict[str, Any] = {name: int(value) / TICKS_S for name, value in zip(names, values, strict=False)}
    spent = partial(cpu_spent, answer.text_or_empty, lambda path: "\n".join(lines.get(path, ())))
    return ticks | {"groups": or_nothing(spent)}


def _network(answer: Answer, lines: Lines) -> dict[str, dict[str, int]]:
    rows = (line.rpartition(":") for line in answer.lines("/proc/net/dev", lines)[2:])
    return {name.strip(): _interface(values.split()) for name, _colon, values in rows}


def _interface(values: list[str]) -> dict[str, int]:
    names = ("bytes_recv", "packets_recv", "errin", "dropin", "bytes_sent", "packets_sent", "errout", "dropout")
    return dict(zip(names, map(int, values[:4] + values[8:12]), strict=True))


def _io(answer: Answer, lines: Lines) -> dict[str, dict[str, int]]:
    whole = {path.split("/")[3].replace("!", "/") for path in answer.lines("@disk")}
    rows = (line.split() for line in answer.lines("/proc/diskstats", lines))
    return {row[2]: _disk(row[3:]) for row in rows if len(row) > 2 and row[2] in whole}  # noqa: PLR2004 - MAJOR MINOR NAME


def _disk(values: list[str]) -> dict[str, int]:
    reads, _merged, read, _ms, writes, _merged, written, _ms, _now, busy = map(int, values[:10])
    return {
        "read_count": reads,
        "read_bytes": read * _SECTOR,
        "write_count": writes,
        "write_bytes": written * _SECTOR,
        "busy_time": busy,
    }


_COUNTERS: Mapping[str, Callable[[Answer, Lines], Any]] = {
    "cpu": _cpu,
    "network": _network,
    "io": _io,
    "processes": table_of,
}


# -- what stands --------------------------------------------------------------------------------------------


def _meminfo(answer: Answer) -> dict[str, int]:
    """Bytes by name."""
    rows = (line.split() for line in answer.lines("/proc/meminfo"))
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows}


def _memory(answer: Answer) -> dict[str, Any]:
    found = _meminfo(answer)
    total, free = found["MemTotal"], found["MemFree"]
    # Kernels before 3.14 do not say it, and some containers say zero or more than there is.
    available = found.get("MemAvailable") or free + found.get("Buffers", 0) + found.get("Cached", 0)
    return reading.memory(total, available if available <= total else free)


def _swap(answer: Answer) -> dict[str, Any]:
    found = _meminfo(answer)
    return reading.swap(found["SwapTotal"], found["SwapTotal"] - found["SwapFree"])


def _load(answer: Answer) -> dict[str, Any]:
    one, five, fifteen = map(float, answer.text("/proc/loadavg").split()[:3])
    return reading.load(one, five, fifteen, _cpus(answer))


def _cpus(answer: Answer) -> int | None:
    """How many are in use."""
    online = answer.text_or_empty("/sys/devices/system/cpu/online").strip()
    if online:
        ends = ((*map(int, part.split("-")),) for part in online.split(","))
        return sum(end[-1] - end[0] + 1 for end in ends)
    return len(re.findall(r"^cpu\d+ ", answer.text_or_empty("/proc/stat"), flags=re.MULTILINE)) or None


def _pressure(answer: Answer) -> dict[str, Any]:
    return reading.pressure(answer.text_or_empty)


def _fd(answer: Answer) -> dict[str, Any]:
    return reading.open_files(answer.text("/proc/sys/fs/file-nr"))


def _cgroup(answer: Answer) -> dict[str, Any]:
    answer.text("/proc/self/cgroup")
    return limits(_meminfo(answer)["MemTotal"], answer.text_or_empty)


def _host(answer: Answer) -> dict[str, Any]:
    (booted,) = (line.split()[1] for line in answer.lines("/proc/stat") if line.startswith("btime "))
    return reading.host(
        hostname=answer.text("/proc/sys/kernel/hostname"),
        kernel=answer.text("/proc/sys/kernel/osrelease"),
        os=_os_name(answer),
        machine=answer.word("/proc/sys/kernel/arch") or answer.word("@machine"),
        cpus=_cpus(answer),
        memory_total=_meminfo(answer)["MemTotal"],
        boot_time=float(booted),
        uptime_s=float(answer.lines("@first")[0]),
    )


def _os_name(answer: Answer) -> str | None:
    text = answer.text_or_empty("/etc/os-release") or answer.text_or_empty("/usr/lib/os-release")
    if not text:
        return None
    found = re.findall(r"""^PRETTY_NAME=(["']?)(.*)\1\s*$""", text, flags=re.MULTILINE)
    return re.sub(r"""\\([\\$"'`])""", r"\1", found[-1][1]) if found else "Linux"


def _clock(answer: Answer, between: tuple[float, float] | None) -> dict[str, Any]:
    match = re.match(r"\d+(\.\d+)?", answer.lines("@time")[0])
    if match is None:
        raise ValueError(f"the host's date is no number: {answer.lines('@time')[0]!r}")
    # A date that knows only whole seconds means any moment of that second.
    time, width = float(match[0]), 0.0 if match[1] else 1.0
    return {"time": time, "skew_s": None if between is None else _skew(answer, time, width, between)}


def _skew(answer: Answer, time: float, width: float, between: tuple[float, float]) -> float:
    """The smallest difference of the clocks that explains what was seen.

    When exactly the host looked at its clock is not known; but it was not before the script was sent, and from then
    to the end of the script the time is known that went by there.
    """
    began, ended = (_number(answer.first.get(label, ())) for label in ("@clock", "@end"))
    after = max(0.0, ended - began - _TICK_S) if began is not None and ended is not None else 0.0
    lowest, highest = time - (between[1] - after), time + width - between[0]
    return round(min(max(0.0, lowest), highest) if lowest <= highest else (lowest + highest) / 2, 6)


_STANDING: Mapping[str, Callable[[Answer], Any]] = {
    "host": _host,
    "memory": _memory,
    "swap": _swap,
    "load": _load,
    "pressure": _pressure,
    "fd": _fd,
    "cgroup": _cgroup,
}
