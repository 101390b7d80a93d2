"""Settings of a host that can be tuned: values of the kernel, files that keep them, who else sets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from opsqueue.facts.tuning_scripts import LOOK
from opsqueue.model.fact import Fact, Script
from opsqueue.model.plan import Result

_LOOK_S = 30
PAIRS = {
    "/proc/sys/vm/dirty_bytes": "/proc/sys/vm/dirty_ratio",
    "/proc/sys/vm/dirty_background_bytes": "/proc/sys/vm/dirty_background_ratio",
    "/proc/sys/vm/overcommit_kbytes": "/proc/sys/vm/overcommit_ratio",
}
"""Where one is set the other becomes 0; a 0 is no value that could be written back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningWhere:
    """What to look at, as the parameters say it."""

    knobs: tuple[str, ...] = ()
    """Files of the kernel that hold one value each."""
    files: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    """Names of sysctl whose owners are looked for in `dirs`."""
    dirs: tuple[str, ...] = ()
    place: str = ""
    """Where the guard and the last report of this profile are kept."""
    room: str = ""
    units: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    sudo: bool = True


def tuning(where: TuningWhere) -> Fact:
    """Fact `tuning`: what is set, what keeps it, and what the last run left."""
    paired = [path for pair in PAIRS.items() for path in pair]
    knobs = dict.fromkeys((*where.knobs, *paired))
    properties = [word for name in where.properties for word in ("-p", name)]
    lists = (list(knobs), where.files, where.keys, where.dirs, (where.place,), (where.room,), where.units, properties)
    args = tuple("\n".join(words) for words in lists)
    return Fact(
        name="tuning",
        ask=Script(text=LOOK, args=args, sudo=where.sudo, timeout=_LOOK_S),
        parse=partial(_parse, list(where.dirs)),
    )


def _parse(dirs: Sequence[str], result: Result) -> dict[str, Any]:
    lines = result.stdout.splitlines()
    if not lines or lines[-1] != "end":
        raise ValueError(f"no whole answer: {result.output[-300:]}")
    rows: dict[str, list[Sequence[str]]] = {}
    for line in lines[:-1]:
        words = line.split("\t")
        rows.setdefault(words[0], []).append(words[1:])
    return {
        "root": rows["user"][0][0] == "0",
        "tools": sorted(row[0] for row in rows.get("tool", ())),
        "daemons": sorted({row[0] for row in rows.get("daemon", ())}),
        "memory_kb": int(rows["memory"][0][0]) if "memory" in rows else None,
        "busy": float(rows["busy"][0][0]) if "busy" in rows else None,
        "knobs": {
            row[0]: {"there": row[1] == "there", "may": row[2] == "yes", "value": row[3]} for row in rows["knob"]
        },
        "files": {row[0]: _file(row) for row in rows.get("file", ())},
        "owners": _owners(dirs, rows.get("owner", ())),
        "units": _units(rows.get("unit", ())),
        "free": int(rows["room"][0][0]) * int(rows["room"][0][1]) if "room" in rows else None,
        "loose": {row[0]: row[1] for row in rows.get("loose", ()) if row[1]},
        "guard": rows["guard"][0][0] if "guard" in rows else "none",
        "undo": [row[0] for row in rows.get("undo", ())],
        "scratch": "scratch" in rows,
        "samples": [_sample(row) for row in rows.get("sample", ())],
    }


def _file(row: Sequence[str]) -> dict[str, Any]:
    _path, what, mode, directory, content = row
    return {"what": what, "mode": mode, "dir": directory == "yes", "content": content}


def _owners(dirs: Sequence[str], rows: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Who sets what, in the order in which it is applied at boot: by name of file, the first directory wins a name."""
    taken: dict[str, str] = {}
    for at, name, *_rest in sorted(rows, key=lambda row: dirs.index(row[0])):
        taken.setdefault(name, at)
    kept = [row for row in rows if taken[row[1]] == row[0]]
    ordered = sorted(kept, key=lambda row: row[1])
    return [
        {"file": f"{at}/{name}", "key": key, "value": value, "real": real} for at, name, key, value, real in ordered
    ]


def _units(rows: Sequence[Sequence[str]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for unit, name, value in rows:
        found.setdefault(unit, {})[name] = value
    return found


def _sample(row: Sequence[str]) -> dict[str, Any]:
    name, state, number, value, late = row
    return {"name": name, "state": state, "round": int(number), "value": float(value), "late": _number(late)}


def _number(text: str) -> float | None:
    return float(text) if text else None


def value_at(answer: Mapping[str, Any], path: str) -> str | None:
    """The value of one setting of the kernel; None where there is none."""
    found = answer["knobs"].get(path)
    return found["value"] if found and found["there"] else None
