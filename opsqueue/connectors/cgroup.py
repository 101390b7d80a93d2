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


def _text(root: Path, path: str) -> str:
    try:
        return (root / path.lstrip("/")).read_text()
    except OSError:  # the root group has no such file, and a container sees only the lower end of the path
        return ""


def limits(memory_total: int, text_of: TextOf) -> dict[str, Any]:
    """`memory_limit` and `memory_used` (bytes), `memory_percent`, `cpu_limit` (CPUs); `None`: no limit."""
    groups = _groups(text_of("/proc/self/cgroup"))
    memory = _memory_v1(text_of, groups["memory"]) if "memory" in groups else _memory_v2(text_of, groups.get("", "/"))
    cpu = _cpu_v1(text_of, groups["cpu"]) if "cpu" in groups else _cpu_v2(text_of, groups.get("", "/"))
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


def _memory_v2(text_of: TextOf, path: str) -> tuple[int | None, int | None]:
    folders = list(upwards(_FS, path))
    return _smallest(text_of, folders, "memory.max"), _used(text_of, folders, "memory.current")


def _memory_v1(text_of: TextOf, path: str) -> tuple[int | None, int | None]:
    folders = list(upwards(f"{_FS}/memory", path))
    return _smallest(text_of, folders, "memory.limit_in_bytes"), _used(text_of, folders, "memory.usage_in_bytes")


def _cpu_v2(text_of: TextOf, path: str) -> float | None:
    quotas = (text_of(f"{folder}/cpu.max").split() for folder in upwards(_FS, path))
    return min((int(q[0]) / int(q[1]) for q in quotas if len(q) == 2 and q[0] != "max"), default=None)  # noqa: PLR2004 - QUOTA PERIOD


def _cpu_v1(text_of: TextOf, path: str) -> float | None:
    folders = list(upwards(f"{_FS}/cpu", path))
    quotas = [_number(text_of(f"{folder}/cpu.cfs_quota_us")) for folder in folders]
    periods = [_number(text_of(f"{folder}/cpu.cfs_period_us")) for folder in folders]
    pairs = zip(quotas, periods, strict=True)
    return min((quota / period for quota, period in pairs if quota and period and quota > 0), default=None)


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
