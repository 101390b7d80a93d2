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
REMOTE = ("nfs", "nfs4", "cifs", "smb3", "ceph", "fuse.sshfs", "fuse.glusterfs", "9p", "virtiofs")


@dataclass(frozen=True, slots=True, kw_only=True)
class MountFilter:
    """Patterns as in a shell. What `include` names is read whatever it is; when it is given, only that is read."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ("/run*", "/dev*", "/sys*", "/proc*", "/var/lib/docker/*")
    fstypes_exclude: Sequence[str] = ("tmpfs", "devtmpfs", "overlay", "squashfs")

    def counts(self, mount: str, fstype: str, options: str, *, has_device: bool) -> bool:
        """Whether this mount is read. `/` counts even as an overlay, because in a container it is one."""
        if self.include:
            return matches(mount, self.include)
        if matches(mount, self.exclude):
            return False
        if mount == "/":
            return True
        real = has_device or fstype in REMOTE
        return real and fstype not in self.fstypes_exclude and "ro" not in options.split(",")


def matches(text: str, patterns: Iterable[str]) -> bool:
    """Whether it is one of these patterns as in a shell."""
    return any(fnmatchcase(text, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of the mount table."""

    device: str
    mount: str
    fstype: str
    options: str
    has_device: bool
    """Whether the kernel says that file systems of this type stand on a device."""


def read_mounts(wanted: MountFilter, seconds: float) -> list[dict[str, Any]]:
    """One object for each device; one that does not answer in time has `unknown` with the reason."""
    parts = wanted_mounts(_mounted(), wanted)
    calls = {part["mount"]: partial(os.statvfs, part["mount"]) for part in parts}
    found = all_within(seconds, calls)
    return [part | _usage(found[part["mount"]]) for part in parts]


def _mounted() -> list[Mount]:
    devices = {(part.mountpoint, part.device) for part in psutil.disk_partitions(all=False)}
    return [
        Mount(
            device=part.device,
            mount=part.mountpoint,
            fstype=part.fstype,
            options=part.opts,
            has_device=(part.mountpoint, part.device) in devices,
        )
        for part in psutil.disk_partitions(all=True)
    ]


def wanted_mounts(mounted: Iterable[Mount], wanted: MountFilter) -> list[dict[str, str]]:
    """Those that count, one for each device, by the path of their mount."""
    return one_for_each_device(
        {"mount": one.mount, "device": one.device, "fstype": one.fstype}
        for one in mounted
        if wanted.counts(one.mount, one.fstype, one.options, has_device=one.has_device)
    )


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
    return usage(stat.f_frsize, stat.f_blocks, stat.f_bfree, stat.f_bavail, stat.f_files, stat.f_ffree)


def usage(size: int, blocks: int, free: int, available: int, inodes: int, inodes_free: int) -> dict[str, Any]:
    """How full a file system of so many blocks of this size is, in bytes, inodes and percent."""
    used = (blocks - free) * size
    return {
        "total": blocks * size,
        "used": used,
        "available": available * size,
        # As df does: what only root may use is neither used nor available.
        "percent": percent(used, used + available * size),
        "inodes_total": inodes or None,
        "inodes_percent": percent(inodes - inodes_free, inodes),
    }
