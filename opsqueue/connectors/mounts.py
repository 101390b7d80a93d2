"""Mounted file systems: which of them count, and how full they are, without hanging on a dead one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import psutil

from opsqueue.connectors.counters import percent
from opsqueue.connectors.deadline import all_within

#: File systems on other machines; the kernel lists them as "no device", like proc and sysfs.
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "ceph", "fuse.sshfs", "fuse.glusterfs", "9p", "virtiofs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MountFilter:
    """Patterns as in a shell. What `include` names is read whatever it is; when it is given, only that is read."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ("/run*", "/dev*", "/sys*", "/proc*", "/var/lib/docker/*")
    fstypes_exclude: Sequence[str] = ("tmpfs", "devtmpfs", "overlay", "squashfs")

    def counts(self, mount: str, fstype: str, options: str, *, has_device: bool) -> bool:
        """Whether this mount is read. `/` counts even as an overlay, because in a container it is one."""
        if self.include:
            return _matches(mount, self.include)
        if _matches(mount, self.exclude):
            return False
        if mount == "/":
            return True
        real = has_device or fstype in _REMOTE
        return real and fstype not in self.fstypes_exclude and "ro" not in options.split(",")


def _matches(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def read_mounts(wanted: MountFilter, seconds: float) -> list[dict[str, Any]]:
    """One object for each device; one that does not answer in time has `unknown` with the reason."""
    parts = _mounts(wanted)
    calls = {part["mount"]: partial(os.statvfs, part["mount"]) for part in parts}
    found = all_within(seconds, calls)
    return [part | _usage(found[part["mount"]]) for part in parts]


def _mounts(wanted: MountFilter) -> list[dict[str, str]]:
    devices = {(part.mountpoint, part.device) for part in psutil.disk_partitions(all=False)}
    parts = [
        {"mount": part.mountpoint, "device": part.device, "fstype": part.fstype}
        for part in psutil.disk_partitions(all=True)
        if wanted.counts(part.mountpoint, part.fstype, part.opts, has_device=(part.mountpoint, part.device) in devices)
    ]
    return one_for_each_device(parts)


def one_for_each_device(parts: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """The shortest mount of each device: bind mounts and subvolumes would be counted again."""
    kept: dict[str, Mapping[str, str]] = {}
    for part in sorted(parts, key=lambda part: (len(part["mount"]), part["mount"])):
        # Without a path ("tmpfs", "overlay") the device is only a word that many mounts share.
        device = part["device"] if "/" in part["device"] else part["mount"]
        kept.setdefault(device, part)
    return sorted((dict(part) for part in kept.values()), key=lambda part: part["mount"])


def _usage(stat: os.statvfs_result | Exception) -> dict[str, Any]:
    if isinstance(stat, Exception):
        return {"unknown": str(stat)}
    used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    available = stat.f_bavail * stat.f_frsize
    inodes_used = stat.f_files - stat.f_ffree
    return {
        "total": stat.f_blocks * stat.f_frsize,
        "used": used,
        "available": available,
        # As df does: what only root may use is neither used nor available.
        "percent": percent(used, used + available),
        "inodes_total": stat.f_files or None,
        "inodes_percent": percent(inodes_used, stat.f_files),
    }
