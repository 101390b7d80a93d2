"""The limits of the control group that a process runs in, for hosts that are containers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from opsqueue.connectors.counters import percent

_NO_LIMIT = 1 << 60
"""The first version writes a number near 2**63 where nothing is limited."""

_FS = "/sys/fs/cgroup"
_PATH_MOST = 4096

TextOf = Callable[[str], str]
"""The text of a file by its path; empty when there is none."""


def read_cgroup(memory_total: int, root: Path = Path("/")) -> dict[str, Any]:
    """The limits of this process."""
    # Everybody has this file: where it cannot be read, that is an error and not "no limit".
    (root / "proc/self/cgroup").read_bytes()
    return limits(memory_total, partial(_text, root))


def read_cpu_spent(root: Path = Path("/")) -> dict[str, dict[str, float]]:
    """`cpu_spent` of the groups of this process; none where that cannot be read."""
    text_of = partial(_text, root)
    return cpu_spent(text_of, text_of)


def _text(root: Path, path: str) -> str:
    try:
        return (root / path.lstrip("/")).read_text()
    except OSError:  # the root group has no such file, and a container sees only the lower end of the path
        return ""


def limits(memory_total: int, text_of: TextOf) -> dict[str, Any]:
    """`memory_limit` and `memory_used` (bytes), `memory_percent`, `cpu_limit` (CPUs); `None`: no limit."""
    groups = _groups(text_of("/proc/self/cgroup"))
    memory = _memory_v1(text_of, groups["memory"]) if "memory" in groups else _memory_v2(text_of, groups.get("", "/"))
    limit, used = memory
    limit = limit if limit is not None and limit < min(memory_total, _NO_LIMIT) else None
    return {
        "memory_limit": limit,
        "memory_used": used if limit else None,
        "memory_percent": percent(used, limit),
        "cpu_limit": min(_cpu_limits(text_of).values(), default=None),
    }


def _groups(text: str) -> dict[str, str]:
    """The path by controller; the unified hierarchy has no controller name."""
    rows = (line.split(":", 2) for line in text.splitlines())
    return {name: path for _number, names, path in rows for name in names.split(",")}


def _memory_v2(text_of: TextOf, path: str) -> tuple[int | None, int | None]:
    folders = list(upwards(_FS, path))
    return _smallest(text_of, folders, "memory.max"), _used(text_of, folders, "memory.current")


def _memory_v1(text_of: TextOf, path: str) -> tuple[int | None, int | None]:
    folders = list(upwards(f"{_FS}/memory", path))
    return _smallest(text_of, folders, "memory.limit_in_bytes"), _used(text_of, folders, "memory.usage_in_bytes")


def _cpu_limits(text_of: TextOf) -> dict[str, float]:
    """The CPUs that a group and those above it may use, by their folders; only those that have a limit."""
    groups = _groups(text_of("/proc/self/cgroup"))
    if "cpu" in groups:
        found = {folder: _quota_v1(text_of, folder) for folder in upwards(f"{_FS}/cpu", groups["cpu"])}
    else:
        found = {folder: _quota_v2(text_of, folder) for folder in upwards(_FS, groups.get("", "/"))}
    return {folder: limit for folder, limit in found.items() if limit}


def _quota_v2(text_of: TextOf, folder: str) -> float | None:
    quota = text_of(f"{folder}/cpu.max").split()
    return int(quota[0]) / int(quota[1]) if len(quota) == 2 and quota[0] != "max" else None  # noqa: PLR2004 - QUOTA PERIOD


def _quota_v1(text_of: TextOf, folder: str) -> float | None:
    quota, period = _number(text_of(f"{folder}/cpu.cfs_quota_us")), _number(text_of(f"{folder}/cpu.cfs_period_us"))
    return quota / period if quota and period and quota > 0 else None


def cpu_spent(text_of: TextOf, used_of: TextOf) -> dict[str, dict[str, float]]:
    """Of each group with a limit, by its folder: the CPU time in seconds that it ever used, and its limit in CPUs.

    `used_of` is the text of a file at the moment that counts; a group that does not tell is left out.
    """
    used = {folder: (_used_s(used_of, folder), limit) for folder, limit in _cpu_limits(text_of).items()}
    return {folder: {"used_s": spent, "limit": limit} for folder, (spent, limit) in used.items() if spent is not None}


def _used_s(text_of: TextOf, folder: str) -> float | None:
    words = text_of(f"{folder}/cpu.stat").split()
    microseconds = dict(zip(words[::2], words[1::2], strict=False)).get("usage_usec")
    if microseconds is not None:
        return int(microseconds) / 1e6
    nanoseconds = _number(text_of(f"{folder}/cpuacct.usage"))
    return None if nanoseconds is None else nanoseconds / 1e9


def _smallest(text_of: TextOf, folders: list[str], name: str) -> int | None:
    """A limit holds for all groups below, so the smallest on the way up counts."""
    found = (_number(text_of(f"{folder}/{name}")) for folder in folders)
    return min((limit for limit in found if limit is not None), default=None)


def _used(text_of: TextOf, folders: list[str], name: str) -> int | None:
    """What is used, without the file cache that the kernel would give back first."""
    for folder in folders:
        used = _number(text_of(f"{folder}/{name}"))
        if used is not None:
            return max(0, used - _inactive(text_of(f"{folder}/memory.stat")))
    return None


def _inactive(stat: str) -> int:
    words = stat.split()
    values = dict(zip(words[::2], words[1::2], strict=False))
    return int(values.get("total_inactive_file", values.get("inactive_file", "0")))


def upwards(fs: str, path: str) -> Iterator[str]:
    """The folder of a group and all above it, up to the file system they stand in."""
    if len(path) > _PATH_MOST:
        raise ValueError(f"the path of a control group has at most {_PATH_MOST} characters; found {len(path)}")
    folder = f"{fs}/{path.strip('/')}"
    while len(folder) > len(fs):
        if not folder.endswith("/"):
            yield folder
        folder = folder.rpartition("/")[0]
    yield fs


def _number(text: str) -> int | None:
    words = text.split()
    return int(words[0]) if words and words[0] != "max" else None
