"""How much room there is beside what is mounted: volume groups, kinds of devices, sizes of directories."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from opsqueue.model.fact import Fact, Script
from opsqueue.model.plan import Result

_VOLUMES = """\
LC_ALL=C; export LC_ALL
command -v lsblk >/dev/null && lsblk -bnro NAME,TYPE,ROTA,SIZE,MOUNTPOINT 2>/dev/null | sed 's/^/block /'
if command -v vgs >/dev/null; then
  vgs --noheadings --units b --nosuffix -o vg_name,vg_size,vg_free 2>/dev/null | sed 's/^ */group /'
  lvs --noheadings -o lv_dm_path,vg_name 2>/dev/null | sed 's/^ */volume /'
fi
echo end
"""
_DIRECTORIES = """\
LC_ALL=C; export LC_ALL
for one do
  if [ -d "$one" ]; then
    size=$(du -sxB1 -- "$one" 2>/dev/null | cut -f1)
    printf '%s %s\\n' "${size:-unknown}" "$one"
  else
    printf 'missing %s\\n' "$one"
  fi
done
echo end
"""


def volumes(*, sudo: bool, timeout: int) -> Fact:
    """Fact `volumes`: the device of each mount, and what each volume group has left; bytes."""
    return Fact(name="volumes", ask=Script(text=_VOLUMES, sudo=sudo, timeout=timeout), parse=_volumes)


def directories(paths: Sequence[str], *, sudo: bool, timeout: int) -> Fact:
    """Fact `directories`: the bytes of each, None where they could not be told."""
    ask = Script(text=_DIRECTORIES, args=tuple(paths), sudo=sudo, timeout=timeout)
    return Fact(name="directories", ask=ask, parse=_directories)


def _rows(result: Result) -> list[str]:
    lines = result.stdout.splitlines()
    if not lines or lines[-1] != "end":
        raise ValueError(f"no whole answer: {result.output[-300:]}")
    return lines[:-1]


def _volumes(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = {"devices": {}, "groups": {}, "volumes": {}}
    for line in _rows(result):
        sort, *words = line.split(" ")
        words = [word for word in words if word]
        if sort == "block" and len(words) == 5:  # noqa: PLR2004 - the columns; without a mount there are four
            name, kind, spins, size, mount = words
            told = {"device": name, "type": kind, "rotational": spins == "1", "size": int(size)}
            found["devices"][_unescaped(mount)] = told
        elif sort == "group" and len(words) == 3:  # noqa: PLR2004 - likewise
            found["groups"][words[0]] = {"size": int(words[1]), "free": int(words[2])}
        elif sort == "volume" and len(words) == 2:  # noqa: PLR2004 - likewise
            found["volumes"][words[0]] = words[1]
    return found


def _unescaped(mount: str) -> str:
    """A path as it is; lsblk writes a space and the like as numbers."""
    plain = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), mount.encode())
    return plain.decode(errors="replace")


def _directories(result: Result) -> dict[str, int | None]:
    pairs = (line.partition(" ") for line in _rows(result))
    return {path: int(size) if size.isdigit() else None for size, _, path in pairs}
