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
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from opsqueue.connectors import reading
from opsqueue.connectors.cgroup import read_cgroup, read_cpu_spent
from opsqueue.connectors.mounts import read_mounts
from opsqueue.connectors.processes import sample_processes
from opsqueue.connectors.reading import PEAKS, Options, Sample, assemble, known, options_of, or_nothing

ROOT = Path("/")


def read_system(options: Mapping[str, Any]) -> dict[str, Any]:
    """All wanted subjects by name, as JSON; an unknown option is a TypeError."""
    wanted = options_of(options)
    growing = [name for name in wanted.asked() if name in _COUNTERS]
    looks = [_sample(growing)]
    for left in reversed(range(wanted.samples if wanted.gap_s else 0)):
        time.sleep(wanted.gap_s)
        looks.append(_sample([name for name in growing if name in PEAKS] if left else growing))
    return assemble(
        wanted,
        looks if len(looks) > 1 else looks * 2,
        {name: partial(_known, partial(_STANDING[name], wanted)) for name in _STANDING},
    )


def _known(read: Callable[[], Any]) -> Any:
    return known(read, psutil.Error)


def _sample(subjects: list[str]) -> Sample:
    at = time.monotonic()
    return Sample(at=at, counters={name: _known(_COUNTERS[name]) for name in subjects})


# -- what grows ---------------------------------------------------------------------------------------------


def _cpu_counters() -> dict[str, Any]:
    return {**psutil.cpu_times()._asdict(), "groups": or_nothing(read_cpu_spent)}


def _network_counters() -> dict[str, Any]:
    # nowrap=True would add up resets in a cache that all readings of this process share.
    found = psutil.net_io_counters(pernic=True, nowrap=False) or {}
    return {name: counters._asdict() for name, counters in found.items()}


def _disk_counters() -> dict[str, Any]:
    found = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
    return {name: counters._asdict() for name, counters in found.items() if _is_whole_disk(name)}


def _is_whole_disk(name: str, root: Path = ROOT) -> bool:
    """Whether it is a piece of hardware: partitions, LVM and RAID on it would count its work again."""
    return (root / "sys/block" / name.replace("/", "!") / "device").exists()


# -- what stands --------------------------------------------------------------------------------------------


def _memory(_options: Options) -> dict[str, Any]:
    found = psutil.virtual_memory()
    # psutil works out `available` where the kernel is too old to say it.
    return reading.memory(found.total, found.available)


def _swap(_options: Options) -> dict[str, Any]:
    found = psutil.swap_memory()
    return reading.swap(found.total, found.used)


def _disk(options: Options) -> dict[str, Any]:
    return {"mounts": read_mounts(options.mounts(), options.mount_timeout_s)}


def _load(_options: Options) -> dict[str, Any]:
    return reading.load(*os.getloadavg(), cpus=psutil.cpu_count() or None)


def _pressure(_options: Options, root: Path = ROOT) -> dict[str, Any]:
    return reading.pressure(lambda name: _text(root / name.lstrip("/")))


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # older than 4.20, or switched off at boot: then the file is there but cannot be read
        return ""


def _fd(_options: Options, root: Path = ROOT) -> dict[str, Any]:
    return reading.open_files((root / "proc/sys/fs/file-nr").read_text())


def _cgroup(_options: Options) -> dict[str, Any]:
    return read_cgroup(psutil.virtual_memory().total)


def _host(_options: Options) -> dict[str, Any]:
    booted = psutil.boot_time()
    return reading.host(
        hostname=socket.gethostname(),
        kernel=platform.release(),
        os=_os_name(),
        machine=platform.machine(),
        cpus=psutil.cpu_count(),
        memory_total=psutil.virtual_memory().total,
        boot_time=booted,
        uptime_s=time.time() - booted,
    )


def _os_name() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _clock(_options: Options) -> dict[str, Any]:
    """The time of the host; on this machine it is the worker's own, so nothing lies between them."""
    return {"time": time.time(), "skew_s": 0.0}


_COUNTERS: Mapping[str, Callable[[], Any]] = {
    "cpu": _cpu_counters,
    "network": _network_counters,
    "io": _disk_counters,
    "processes": sample_processes,
}

_STANDING: Mapping[str, Callable[[Options], Any]] = {
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
