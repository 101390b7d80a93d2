"""The limits of the control group that this process runs in, for hosts that are containers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opsqueue.connectors.counters import percent

_NO_LIMIT = 1 << 60
"""The first version writes a number near 2**63 where nothing is limited."""


def read_cgroup(memory_total: int, root: Path = Path("/")) -> dict[str, Any]:
    """`memory_limit` and `memory_used` (bytes), `memory_percent`, `cpu_limit` (CPUs); `None`: no limit."""
    groups = _groups((root / "proc/self/cgroup").read_text())
    fs = root / "sys/fs/cgroup"
    memory = _memory_v1(fs, groups["memory"]) if "memory" in groups else _memory_v2(fs, groups.get("", "/"))
    cpu = _cpu_v1(fs, groups["cpu"]) if "cpu" in groups else _cpu_v2(fs, groups.get("", "/"))
    limit, used = memory
    limit = limit if limit is not None and limit < min(memory_total, _NO_LIMIT) else None
    return {
        "memory_limit": limit,
        "memory_used": used if limit else None,
        "memory_percent": percent(used, limit),
        "cpu_limit": cpu,
    }


def _groups(text: str) -> dict[str, str]:
    """The path by controller; the unified hierarchy has no controller name."""
    rows = (line.split(":", 2) for line in text.splitlines())
    return {name: path for _number, names, path in rows for name in names.split(",")}


def _memory_v2(fs: Path, path: str) -> tuple[int | None, int | None]:
    return _smallest(fs, path, "memory.max"), _used(fs, path, "memory.current")


def _memory_v1(fs: Path, path: str) -> tuple[int | None, int | None]:
    fs = fs / "memory"
    return _smallest(fs, path, "memory.limit_in_bytes"), _used(fs, path, "memory.usage_in_bytes")


def _cpu_v2(fs: Path, path: str) -> float | None:
    quotas = (_words(folder / "cpu.max") for folder in _upwards(fs, path))
    return min((int(q[0]) / int(q[1]) for q in quotas if len(q) == 2 and q[0] != "max"), default=None)  # noqa: PLR2004 - QUOTA PERIOD


def _cpu_v1(fs: Path, path: str) -> float | None:
    folders = list(_upwards(fs / "cpu", path))
    pairs = [(_number(f / "cpu.cfs_quota_us"), _number(f / "cpu.cfs_period_us")) for f in folders]
    return min((quota / period for quota, period in pairs if quota and period and quota > 0), default=None)


def _smallest(fs: Path, path: str, name: str) -> int | None:
    """A limit holds for all groups below, so the smallest on the way up counts."""
    limits = (_number(folder / name) for folder in _upwards(fs, path))
    return min((limit for limit in limits if limit is not None), default=None)


def _used(fs: Path, path: str, name: str) -> int | None:
    """What is used, without the file cache that the kernel would give back first."""
    for folder in _upwards(fs, path):
        used = _number(folder / name)
        if used is not None:
            return max(0, used - _inactive(folder / "memory.stat"))
    return None


def _inactive(stat: Path) -> int:
    words = _words(stat)
    values = dict(zip(words[::2], words[1::2], strict=False))
    return int(values.get("total_inactive_file", values.get("inactive_file", "0")))


def _upwards(fs: Path, path: str) -> Iterator[Path]:
    folder = fs / path.lstrip("/")
    while folder != fs:
        yield folder
        folder = folder.parent
    yield fs


def _number(file: Path) -> int | None:
    words = _words(file)
    return int(words[0]) if words and words[0] != "max" else None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:  # the root group has no such file, and a container sees only the lower end of the path
        return []
