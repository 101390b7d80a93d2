"""System metrics of this machine as JSON, by psutil and /proc; one small function for each subject.

What grows is read twice with a gap between, so that every percentage and rate is a difference and never the
average since boot. What could not be read is `{"unknown": reason}`; a part of a subject that is not known is null.
"""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from opsqueue.connectors.cgroup import read_cgroup
from opsqueue.connectors.counters import cpu_shares, disk_rates, network_rates, percent
from opsqueue.connectors.mounts import MountFilter, read_mounts
from opsqueue.connectors.processes import processes_between, sample_processes
from opsqueue.model.fact import unknown

ROOT = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """What `Reading.options` may say; an unknown key is a TypeError."""

    subjects: tuple[str, ...] = ()
    """Empty: all. What is not named is not read at all."""
    sample_gap_s: float = 1.0
    mounts_include: tuple[str, ...] = ()
    mounts_exclude: tuple[str, ...] = tuple(MountFilter().exclude)
    fstypes_exclude: tuple[str, ...] = tuple(MountFilter().fstypes_exclude)
    interfaces_exclude: tuple[str, ...] = ("lo", "veth*", "docker*", "br-*")
    top_processes: int = 5
    mount_timeout_s: float = 3.0

    def mounts(self) -> MountFilter:
        """The part that chooses file systems."""
        return MountFilter(
            include=self.mounts_include, exclude=self.mounts_exclude, fstypes_exclude=self.fstypes_exclude
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """The counters of the wanted subjects at one moment."""

    at: float
    counters: Mapping[str, Any] = field(default_factory=dict)


def read_system(options: Mapping[str, Any]) -> dict[str, Any]:
    """All wanted subjects by name, as JSON."""
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
    wanted = _Options(**values)
    subjects = wanted.subjects or (*_GROWING, *_STANDING)
    growing = [name for name in subjects if name in _GROWING]
    first = _sample(growing)
    if growing:
        time.sleep(wanted.sample_gap_s)
    second = _sample(growing)
    between = {name: _known(partial(_GROWING[name][1], first, second, wanted)) for name in growing}
    standing = {name: _known(partial(_STANDING[name], wanted)) for name in subjects if name in _STANDING}
    strange = {name: unknown("there is no such subject") for name in subjects if not _exists(name)}
    return between | standing | strange


def _exists(subject: str) -> bool:
    return subject in _GROWING or subject in _STANDING


def _known(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (OSError, psutil.Error, ValueError, KeyError, IndexError, RuntimeError) as error:
        return unknown(f"{type(error).__name__}: {error}")


def _sample(subjects: list[str]) -> _Sample:
    at = time.monotonic()
    return _Sample(at=at, counters={name: _known(_GROWING[name][0]) for name in subjects})


def _pair(name: str, first: _Sample, second: _Sample) -> tuple[Any, Any, float]:
    """Both readings of a subject and the seconds between them; ValueError when either failed."""
    for sample in (first, second):
        counters = sample.counters[name]
        if isinstance(counters, Mapping) and set(counters) == {"unknown"}:
            raise ValueError(counters["unknown"])
    return first.counters[name], second.counters[name], second.at - first.at


# -- what grows ---------------------------------------------------------------------------------------------


def _cpu_counters() -> dict[str, float]:
    return dict(psutil.cpu_times()._asdict())


def _cpu(first: _Sample, second: _Sample, _options: _Options) -> dict[str, Any]:
    one, two, seconds = _pair("cpu", first, second)
    return cpu_shares(one, two) | {"gap_s": round(seconds, 3)}


def _network_counters() -> dict[str, Any]:
    # nowrap=True would add up resets in a cache that all readings of this process share.
    found = psutil.net_io_counters(pernic=True, nowrap=False) or {}
    return {name: counters._asdict() for name, counters in found.items()}


def _network(first: _Sample, second: _Sample, options: _Options) -> dict[str, Any]:
    one, two, seconds = _pair("network", first, second)
    both = sorted(
        name
        for name in one.keys() & two.keys()
        if not any(fnmatchcase(name, pattern) for pattern in options.interfaces_exclude)
    )
    return {"interfaces": {name: network_rates(one[name], two[name], seconds) for name in both}}


def _disk_counters() -> dict[str, Any]:
    found = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
    return {name: counters._asdict() for name, counters in found.items() if _is_whole_disk(name)}


def _is_whole_disk(name: str, root: Path = ROOT) -> bool:
    """Whether it is a piece of hardware: partitions, LVM and RAID on it would count its work again."""
    return (root / "sys/block" / name.replace("/", "!") / "device").exists()


def _io(first: _Sample, second: _Sample, _options: _Options) -> dict[str, Any]:
    one, two, seconds = _pair("io", first, second)
    both = sorted(one.keys() & two.keys())
    return {"disks": {name: disk_rates(one[name], two[name], seconds) for name in both}}


def _processes(first: _Sample, second: _Sample, options: _Options) -> dict[str, Any]:
    one, two, seconds = _pair("processes", first, second)
    return processes_between(one, two, seconds, options.top_processes)


# -- what stands --------------------------------------------------------------------------------------------


def _memory(_options: _Options) -> dict[str, Any]:
    found = psutil.virtual_memory()
    # psutil works out `available` where the kernel is too old to say it; "used" of free(1) would count caches.
    return {
        "total": found.total,
        "available": found.available,
        "used": found.total - found.available,
        "percent": percent(found.total - found.available, found.total),
    }


def _swap(_options: _Options) -> dict[str, Any]:
    found = psutil.swap_memory()
    return {"total": found.total, "used": found.used, "percent": percent(found.used, found.total)}


def _disk(options: _Options) -> dict[str, Any]:
    return {"mounts": read_mounts(options.mounts(), options.mount_timeout_s)}


def _load(_options: _Options) -> dict[str, Any]:
    one, five, fifteen = os.getloadavg()
    cpus = psutil.cpu_count() or None
    return {
        "one": one,
        "five": five,
        "fifteen": fifteen,
        "cpus": cpus,
        "per_cpu_one": one / cpus if cpus else None,
    }


def _pressure(_options: _Options, root: Path = ROOT) -> dict[str, Any]:
    """By resource, `some` and `full` with `avg10`, `avg60`, `avg300` in percent; {} where the kernel has none."""
    return {name: rows for name in ("cpu", "memory", "io") if (rows := _stalls(root / "proc/pressure" / name))}


def _stalls(file: Path) -> dict[str, dict[str, float]]:
    try:
        lines = file.read_text().splitlines()
    except OSError:  # older than 4.20, or switched off at boot: then the file is there but cannot be read
        return {}
    rows = {kind: dict(pair.split("=") for pair in rest) for kind, *rest in map(str.split, lines)}
    return {kind: {name: float(value) for name, value in row.items() if name != "total"} for kind, row in rows.items()}


def _fd(_options: _Options, root: Path = ROOT) -> dict[str, Any]:
    opened, _free, most = map(int, (root / "proc/sys/fs/file-nr").read_text().split())
    return {"open": opened, "max": most, "percent": percent(opened, most)}


def _cgroup(_options: _Options) -> dict[str, Any]:
    return read_cgroup(psutil.virtual_memory().total)


def _host(_options: _Options) -> dict[str, Any]:
    booted = psutil.boot_time()
    return {
        "hostname": socket.gethostname(),
        "kernel": platform.release(),
        "os": _os_name(),
        "machine": platform.machine(),
        "cpus": psutil.cpu_count(),
        "memory_total": psutil.virtual_memory().total,
        "boot_time": booted,
        "uptime_s": max(0.0, time.time() - booted),
    }


def _os_name() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _clock(_options: _Options) -> dict[str, Any]:
    """The time of the host; on this machine it is the worker's own, so nothing lies between them."""
    return {"time": time.time(), "skew_s": 0.0}


_GROWING: Mapping[str, tuple[Callable[[], Any], Callable[[_Sample, _Sample, _Options], Any]]] = {
    "cpu": (_cpu_counters, _cpu),
    "network": (_network_counters, _network),
    "io": (_disk_counters, _io),
    "processes": (sample_processes, _processes),
}

_STANDING: Mapping[str, Callable[[_Options], Any]] = {
    "host": _host,
    "clock": _clock,
    "memory": _memory,
    "swap": _swap,
    "disk": _disk,
    "load": _load,
    "pressure": _pressure,
    "fd": _fd,
    "cgroup": _cgroup,
}
