"""The shape of a reading: its options, and every subject made of plain numbers, whoever read them on the host.

psutil reads them on this machine (`system`), a script over SSH (`procfs`); what they mean is said only here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

from opsqueue.connectors.counters import cpu_shares, disk_rates, limit_percent, network_rates, percent
from opsqueue.connectors.mounts import MountFilter, matches
from opsqueue.connectors.processes import processes_between
from opsqueue.model.fact import unknown, why_unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `Reading.options` may say."""

    subjects: tuple[str, ...] = ()
    """Empty: all. What is not named is not read at all."""
    sample_gap_s: float = 1.0
    """Zero: one sample, and no rates."""
    samples: int = 1
    """Stretches of `sample_gap_s`, one after another: rates are of all together, peaks of the highest."""
    mounts_include: tuple[str, ...] = ()
    mounts_exclude: tuple[str, ...] = tuple(MountFilter().exclude)
    fstypes_exclude: tuple[str, ...] = tuple(MountFilter().fstypes_exclude)
    interfaces_exclude: tuple[str, ...] = ("lo", "veth*", "docker*", "br-*")
    top_processes: int = 5
    mount_timeout_s: float = 3.0

    def asked(self) -> tuple[str, ...]:
        """The subjects by name, also those that there are not."""
        return self.subjects or SUBJECTS

    @property
    def gap_s(self) -> float:
        """The seconds to wait; zero when nothing that was asked is a difference."""
        differs = {name for name in self.asked() if name in GROWING and (name != "processes" or self.top_processes)}
        return self.sample_gap_s if differs else 0.0

    def mounts(self) -> MountFilter:
        """The part that chooses file systems."""
        return MountFilter(
            include=self.mounts_include, exclude=self.mounts_exclude, fstypes_exclude=self.fstypes_exclude
        )


def options_of(options: Mapping[str, Any]) -> Options:
    """The options as they came; an unknown key is a TypeError, a time that is none a ValueError."""
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
    found = Options(**values)
    for name in ("sample_gap_s", "mount_timeout_s"):
        seconds = getattr(found, name)
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"{name} is a number of seconds, not below zero; found {seconds!r}")
    if type(found.samples) is not int or found.samples < 1:
        raise ValueError(f"samples is a whole number, at least 1; found {found.samples!r}")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The counters of the wanted subjects at one moment; one that could not be read is unknown."""

    at: float
    counters: Mapping[str, Any] = field(default_factory=dict)


def assemble(wanted: Options, looks: Sequence[Sample], standing: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """All asked subjects by name, as JSON: what grew between these samples, and what `standing` reads.

    Between the first and the last sample need only be what has `PEAKS`.
    """
    growing = {name: known(partial(_over, name, looks, wanted)) for name in wanted.asked() if name in _GROWN}
    stands = {name: known(standing[name]) for name in wanted.asked() if name in standing}
    strange = {name: unknown("there is no such subject") for name in wanted.asked() if name not in SUBJECTS}
    found: dict[str, Any] = readable(growing | stands | strange)
    return found


def with_way(
    found: Mapping[str, Any], options: Mapping[str, Any], *, connect_s: float, reading_s: float
) -> dict[str, Any]:
    """The reading with the subject `way`, if that was asked for: how long the way there took, and the reading itself.

    Only whoever went there can tell; seconds, and no time at all for the connection to this machine.
    """
    if "way" not in options.get("subjects", ()):
        return dict(found)
    return {**found, "way": {"connect_s": max(0.0, connect_s), "reading_s": max(0.0, reading_s)}}


_STRANGE = (OSError, KeyError, IndexError, ArithmeticError, RuntimeError)


def known(read: Callable[[], Any], *errors: type[Exception]) -> Any:
    """What `read` answers, or unknown with the error, when it is one of those that a strange host causes."""
    strange: tuple[type[Exception], ...] = (*_STRANGE, *errors)
    try:
        return read()
    except ValueError as error:
        return unknown(str(error))
    except strange as error:
        return unknown(f"{type(error).__name__}: {error}")


def or_nothing(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `read` answers, and an empty object where a strange host has no such answer: it costs nothing else."""
    found: dict[str, Any] = known(read)
    return {} if why_unknown(found) is not None else found


def readable(value: Any) -> Any:
    """The same as JSON that any record can keep: no surrogates for bytes that are no UTF-8, no number that is none."""
    if isinstance(value, dict):
        return {readable(key): readable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [readable(one) for one in value]
    if isinstance(value, str) and not value.isascii():
        return value.encode(errors="surrogateescape").decode(errors="replace")
    return None if isinstance(value, float) and not math.isfinite(value) else value


# -- what grows ---------------------------------------------------------------------------------------------


def _over(name: str, looks: Sequence[Sample], wanted: Options) -> Any:
    """The subject from the first sample to the last, with its peaks where there are some between them."""
    whole = _between(name, looks[0], looks[-1], wanted)
    if len(looks) <= 2 or name not in PEAKS or why_unknown(whole) is not None:  # noqa: PLR2004 - first and last
        return whole
    steps = [_between(name, one, two, wanted) for one, two in pairwise(looks)]
    inner, keys = PEAKS[name]
    told = [step for step in steps if why_unknown(step) is None]
    if not inner:
        return {**whole, "peak": _highest(keys, told)}
    rows = {
        row: {**rates, "peak": _highest(keys, [step[inner][row] for step in told if row in step[inner]])}
        for row, rates in whole[inner].items()
    }
    return {**whole, inner: rows}


def _highest(keys: Sequence[str], steps: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    return {key: max((step[key] for step in steps if step[key] is not None), default=None) for key in keys}


def _between(name: str, first: Sample, second: Sample, wanted: Options) -> Any:
    """The subject between both samples; unknown when it is so in either."""
    for sample in (first, second):
        reason = why_unknown(sample.counters[name])
        if reason is not None:
            return unknown(reason)
    return _GROWN[name](first.counters[name], second.counters[name], second.at - first.at, wanted)


def _cpu(one: Mapping[str, Any], two: Mapping[str, Any], seconds: float, _wanted: Options) -> dict[str, Any]:
    limited = limit_percent(one.get("groups", {}), two.get("groups", {}), seconds)
    of_limit = {} if limited is None else {"limit_percent": limited}
    return cpu_shares(one, two) | {"gap_s": round(seconds, 3)} | of_limit


def _network(one: Mapping[str, Any], two: Mapping[str, Any], seconds: float, wanted: Options) -> dict[str, Any]:
    both = sorted(name for name in one.keys() & two.keys() if not matches(name, wanted.interfaces_exclude))
    return {"interfaces": {name: network_rates(one[name], two[name], seconds) for name in both}}


def _io(one: Mapping[str, Any], two: Mapping[str, Any], seconds: float, _wanted: Options) -> dict[str, Any]:
    both = sorted(one.keys() & two.keys())
    return {"disks": {name: disk_rates(one[name], two[name], seconds) for name in both}}


def _processes(one: Any, two: Any, seconds: float, wanted: Options) -> dict[str, Any]:
    return processes_between(one, two, seconds, wanted.top_processes)


_GROWN: Mapping[str, Callable[[Any, Any, float, Options], Any]] = {
    "cpu": _cpu,
    "network": _network,
    "io": _io,
    "processes": _processes,
}

PEAKS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "cpu": ("", ("busy", "iowait", "steal")),
    "network": ("interfaces", ("receive_bytes_s", "send_bytes_s")),
    "io": ("disks", ("utilisation", "read_bytes_s", "write_bytes_s")),
}
"""What has a `peak` where there are several stretches: in which of its parts, and which numbers."""

GROWING = tuple(_GROWN)
"""Subjects that are the difference of two samples."""

STANDING = ("host", "clock", "memory", "swap", "disk", "load", "pressure", "fd", "cgroup")
"""Subjects that are read once."""

SUBJECTS = (*GROWING, *STANDING)


# -- what stands --------------------------------------------------------------------------------------------


def memory(total: int, available: int) -> dict[str, Any]:
    """Bytes. "used" of free(1) would count caches."""
    used = total - available
    return {"total": total, "available": available, "used": used, "percent": percent(used, total)}


def swap(total: int, used: int) -> dict[str, Any]:
    """Bytes; the percentage of no swap is not known."""
    return {"total": total, "used": used, "percent": percent(used, total)}


def load(one: float, five: float, fifteen: float, cpus: int | None) -> dict[str, Any]:
    """The averages of 1, 5 and 15 minutes, and the first one for each CPU."""
    per_cpu = one / cpus if cpus else None
    return {"one": one, "five": five, "fifteen": fifteen, "cpus": cpus, "per_cpu_one": per_cpu}


def pressure(text_of: Callable[[str], str]) -> dict[str, Any]:
    """By resource, `some` and `full` with `avg10`, `avg60`, `avg300` in percent; {} where the kernel has none."""
    return {name: rows for name in ("cpu", "memory", "io") if (rows := _stalls(text_of(f"/proc/pressure/{name}")))}


def _stalls(text: str) -> dict[str, dict[str, float]]:
    rows = {kind: dict(pair.split("=") for pair in rest) for kind, *rest in map(str.split, text.splitlines())}
    return {kind: {name: float(value) for name, value in row.items() if name != "total"} for kind, row in rows.items()}


def open_files(text: str) -> dict[str, Any]:
    """Of the whole system, from /proc/sys/fs/file-nr."""
    opened, _free, most = map(int, text.split())
    return {"open": opened, "max": most, "percent": percent(opened, most)}


def host(
    *,
    hostname: str,
    kernel: str,
    os: str | None,
    machine: str,
    cpus: int | None,
    memory_total: int,
    boot_time: float,
    uptime_s: float,
) -> dict[str, Any]:
    """What seldom changes; bytes, and seconds (since the epoch, and since the host was started)."""
    return {
        "hostname": hostname,
        "kernel": kernel,
        "os": os,
        "machine": machine,
        "cpus": cpus,
        "memory_total": memory_total,
        "boot_time": boot_time,
        "uptime_s": max(0.0, uptime_s),
    }
