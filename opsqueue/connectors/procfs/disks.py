"""The file systems of a host: its mount table, and how full each one is."""

from __future__ import annotations

import re
from typing import Any

from opsqueue.connectors.mounts import Mount, usage, wanted_mounts
from opsqueue.connectors.procfs.answer import Answer
from opsqueue.connectors.reading import Options

_ESCAPES = {"040": " ", "011": "\t", "012": "\n", "134": "\\"}
_PATH = re.compile(r"[' ]/")
_NUMBERS = 6
"""SIZE BLOCKS FREE AVAILABLE INODES INODES-FREE"""


def disk(answer: Answer, wanted: Options) -> dict[str, Any]:
    """The subject `disk`: one object for each device; one that did not answer has `unknown` with the reason."""
    mounted = _mounted(answer)
    parts = wanted_mounts(mounted, wanted.mounts())
    found, complaints = _by_df(answer) | _by_stat(answer) | _by_number(answer, mounted), _complaints(answer)
    late: dict[str, Any] = {"unknown": f"no answer within {wanted.mount_timeout_s:g} s{answer.why}"}
    return {"mounts": [part | (found.get(part["mount"]) or complaints.get(part["mount"]) or late) for part in parts]}


def _mounted(answer: Answer) -> list[Mount]:
    real, root = _on_devices(answer), _root_device(answer)
    rows = ([_unescaped(word) for word in line.split(" ")[:4]] for line in answer.lines("/proc/self/mounts"))
    return [
        Mount(
            device=_device(device, root),
            mount=mount,
            fstype=fstype,
            options=options,
            has_device=device not in {"", "none"} and fstype in real,
        )
        for device, mount, fstype, options in rows
    ]


def _on_devices(answer: Answer) -> set[str]:
    """Types of file systems that stand on a device; ZFS does, though the kernel does not know it."""
    rows = (line.split("\t") for line in answer.lines("/proc/filesystems"))
    return {fstype for device, fstype in rows if device != "nodev"} | {"zfs"}


def _device(name: str, root: str | None) -> str:
    if name == "none":
        return ""
    return root or name if name in {"/dev/root", "rootfs"} else name


def _root_device(answer: Answer) -> str | None:
    """What /dev/root is: the partition with the number of the mount at `/`."""
    mounts = (line.split(" ") for line in answer.first.get("/proc/self/mountinfo", ()))
    numbers = [row[2].split(":") for row in mounts if row[4] == "/"]
    rows = (line.split() for line in answer.first.get("/proc/partitions", ()))
    return next((f"/dev/{row[3]}" for row in rows if numbers and row[:2] == numbers[-1]), None)


def _unescaped(word: str) -> str:
    """As the kernel writes blanks in a path, and only those that the C library reads so."""
    return re.sub(r"\\(040|011|012|134)", lambda match: _ESCAPES[match[1]], word)


def _by_stat(answer: Answer) -> dict[str, dict[str, Any]]:
    rows = (line.split(" ", _NUMBERS) for line in answer.first["@stat"])
    return {row[_NUMBERS]: _usage(row) for row in rows if len(row) > _NUMBERS}


def _by_number(answer: Answer, mounted: list[Mount]) -> dict[str, dict[str, Any]]:
    """What was asked by itself, by the number of its line in the mount table."""
    rows = (line.partition(" ") for line in answer.first["@later"])
    paths = {str(number): one.mount for number, one in enumerate(mounted, 1)}
    return {paths[number]: _usage_or_error(said) for number, _space, said in rows if number in paths}


def _usage_or_error(said: str) -> dict[str, Any]:
    words = said.split()
    if len(words) == _NUMBERS and all(word.isdecimal() for word in words):
        return _usage(words)
    return {"unknown": _last(said)} if said else {}


def _usage(words: list[str]) -> dict[str, Any]:
    size, blocks, free, available, inodes, inodes_free = map(int, words[:_NUMBERS])
    return usage(size, blocks, free, available, inodes, inodes_free)


def _by_df(answer: Answer) -> dict[str, dict[str, Any]]:
    """Where `stat` cannot tell: kilobytes, and nothing about inodes."""
    rows = (re.fullmatch(r".* (\d+) +(\d+) +(\d+) +\S+ (/.*)", line) for line in answer.first["@df"])
    return {row[4]: _from_df(*map(int, row.groups()[:3])) for row in rows if row}


def _from_df(total: int, used: int, available: int) -> dict[str, Any]:
    return usage(1024, total, total - used, available, 0, 0)


def _complaints(answer: Answer) -> dict[str, dict[str, str]]:
    """What `stat` said by mount, as in `stat: cannot read file system information for '/mnt': Stale file handle`."""
    found: dict[str, dict[str, str]] = {}
    for line in answer.errors.split("\n"):
        begins = _PATH.search(line)
        path, colon, why = line[begins.start() + 1 :].rpartition(": ") if begins else ("", "", "")
        if colon and why.strip():
            found.setdefault(path.removesuffix("'"), {"unknown": why.strip()})
    return found


def _last(said: str) -> str:
    return said.rpartition(": ")[2]
