"""What is busy on a host, for the USE method: utilisation, saturation and errors of each resource over some seconds.

All counters are differences of two looks; one that went backwards (a reboot, a wrap) is not known, and never a zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsqueue.facts.tuning_scripts import USE
from opsqueue.model.fact import Fact, Script
from opsqueue.model.plan import Result

_OWN_S = 30
_TICKS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_TOP = 5
_SECTOR = 512

Look = dict[str, list[list[str]]]


def use(seconds: int) -> Fact:
    """Fact `use`: the host watched for so many seconds."""
    return Fact(name="use", ask=Script(text=USE, args=(str(seconds),), timeout=seconds + _OWN_S), parse=_parse)


def _parse(result: Result) -> dict[str, Any]:
    lines = result.stdout.splitlines()
    if not lines or lines[-1] != "end":
        raise ValueError(f"no whole answer: {result.output[-300:]}")
    parts: list[Look] = [{}]
    for line in lines[:-1]:
        words = line.split()
        if words and words[0] == "@at":
            parts.append({})
        if words:
            parts[-1].setdefault(words[0], []).append(words[1:])
    head, one, two = parts
    seconds = _one(two, "@at") - _one(one, "@at")
    if seconds <= 0 or _first(one, "btime") != _first(two, "btime"):
        raise ValueError("the host was started anew meanwhile")
    cpus, tick, page = (int(word) for word in head["cpus"][0])
    return {
        "seconds": round(seconds, 2),
        "cpus": cpus,
        "limits": {row[0]: " ".join(row[1:]) for row in head.get("limit", ())},
        "pressure": _pressure(one, two, seconds),
        "cpu": _cpu(one, two) | {"running": _number(two, "procs_running"), "blocked": _number(two, "procs_blocked")},
        "context_switches": _rate(_number(one, "ctxt"), _number(two, "ctxt"), seconds),
        "memory": _memory(two),
        "vm": {name: _rate(old, new, seconds) for name, old, new in _both(one, two, "vm")},
        "disks": _disks(one, two, seconds),
        "tcp": _tcp(one, two, seconds),
        "network": _network(one, two, seconds),
        "files": _files(two),
        "tracked": _tracked(two),
        "ports": _ports(two),
        "throttled": _throttled(one, two),
        "top_cpu": _top_cpu(one, two, seconds * tick),
        "top_memory": _top_memory(two, page),
    }


def _first(look: Look, name: str) -> list[str]:
    return (look.get(name) or [[]])[0]


def _one(look: Look, name: str) -> float:
    return float(look[name][0][0])


def _number(look: Look, name: str) -> float | None:
    words = _first(look, name)
    return float(words[0]) if words else None


def _rate(old: float | None, new: float | None, seconds: float) -> float | None:
    return None if old is None or new is None or new < old else round((new - old) / seconds, 3)


def _both(one: Look, two: Look, name: str) -> list[tuple[str, float | None, float]]:
    before = {row[0]: float(row[1]) for row in one.get(name, ())}
    return [(row[0], before.get(row[0]), float(row[1])) for row in two.get(name, ())]


def _pressure(one: Look, two: Look, seconds: float) -> dict[str, dict[str, float | None]]:
    """Percent of the time in which some, or all, had to wait: over our seconds, and the kernel's own averages."""
    before = {(row[0], row[1]): row for row in one.get("psi", ())}
    found: dict[str, dict[str, float | None]] = {}
    for row in two.get("psi", ()):
        values = dict(word.split("=") for word in row[2:])
        old = before.get((row[0], row[1]))
        past = float(old[-1].split("=")[1]) if old else None
        rate = _rate(past, float(values["total"]), seconds)
        now = None if rate is None else min(100.0, round(rate / 10_000, 2))
        averages = {f"{row[1]}_{name}": float(values[name]) for name in ("avg10", "avg60", "avg300")}
        found.setdefault(row[0], {}).update({row[1]: now, **averages})
    return found


def _cpu(one: Look, two: Look) -> dict[str, float | None]:
    old, new = ([int(word) for word in _first(look, "cpu")[:8]] for look in (one, two))
    deltas = [b - a for a, b in zip(old, new, strict=True)]
    total = sum(deltas)
    if total <= 0 or min(deltas) < -1:  # iowait may go back by a tick
        return {"busy": None, **dict.fromkeys(_TICKS)}
    share = {name: round(100 * max(0, delta) / total, 2) for name, delta in zip(_TICKS, deltas, strict=True)}
    return {"busy": round(100 - share["idle"] - share["iowait"], 2), **share}


def _memory(look: Look) -> dict[str, float | None]:
    kb = {name: _number(look, f"{name}:") for name in ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")}
    total, free, swap, left = kb["MemTotal"], kb["MemAvailable"], kb["SwapTotal"], kb["SwapFree"]
    used = 100 * (1 - free / total) if total and free is not None else None
    swapped = 100 * (1 - left / swap) if swap and left is not None else None
    return {"used": _round(used), "swap_used": _round(swapped), "total_bytes": total * 1024 if total else None}


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _disks(one: Look, two: Look, seconds: float) -> dict[str, dict[str, float | None]]:
    before = {row[0]: row[1:] for row in one.get("disk", ())}
    found = {}
    for name, *words in two.get("disk", ()):
        if name not in before or len(words) < 11:  # noqa: PLR2004
            continue
        old, new = ([int(word) for word in row[:11]] for row in (before[name], words))
        rates = [_rate(a, b, seconds) for a, b in zip(old, new, strict=True)]
        reads, _, sectors_read, read_ms, writes, _, sectors_written, write_ms, _, busy, queue = rates
        requests, waited = _sum(reads, writes), _sum(read_ms, write_ms)
        found[name] = {
            "busy": None if busy is None else min(100.0, round(busy / 10, 2)),
            "queue": None if queue is None else round(queue / 1000, 3),
            "wait_ms": round(waited / requests, 3) if requests and waited is not None else None,
            "requests_s": requests,
            "bytes_s": None if (total := _sum(sectors_read, sectors_written)) is None else total * _SECTOR,
        }
    return found


def _sum(one: float | None, two: float | None) -> float | None:
    return None if one is None or two is None else one + two


def _tcp(one: Look, two: Look, seconds: float) -> dict[str, float | None]:
    old, new = _first(one, "tcp"), _first(two, "tcp")
    rates = {name: _rate(float(old[at]), float(new[at]), seconds) for name, at in (("sent", 10), ("again", 11))}
    sent, again = rates["sent"], rates["again"]
    share = round(100 * again / sent, 3) if sent and again is not None else (0.0 if sent == 0 else None)
    more = {name: _rate(before, after, seconds) for name, before, after in _both(one, two, "tcpext")}
    return {"sent_s": sent, "retransmitted": share, "overflows_s": more.get("ListenOverflows")}


def _network(one: Look, two: Look, seconds: float) -> dict[str, dict[str, float | None]]:
    before = {row[0]: row[1:] for row in one.get("net", ())}
    found = {}
    for name, *words in two.get("net", ()):
        old = before.get(name)
        rate = [_rate(float(a), float(b), seconds) for a, b in zip(old, words, strict=True)] if old else [None] * 16
        found[name] = {
            "receive_bytes_s": rate[0],
            "send_bytes_s": rate[8],
            "errors_s": _sum(rate[2], rate[10]),
            "drops_s": _sum(rate[3], rate[11]),
        }
    return found


def _files(look: Look) -> dict[str, float | None]:
    words = _first(look, "files")
    used, most = (float(words[0]), float(words[2])) if len(words) == 3 else (None, None)  # noqa: PLR2004
    return {"open": used, "used": round(100 * used / most, 3) if used is not None and most else None}


def _tracked(look: Look) -> dict[str, float | None]:
    words = _first(look, "tracked")
    count, most = (float(words[0]), float(words[1])) if len(words) == 2 else (None, None)  # noqa: PLR2004
    return {"count": count, "used": round(100 * count / most, 3) if count is not None and most else None}


def _ports(look: Look) -> dict[str, float | None]:
    words = _first(look, "ports")
    if len(words) != 4:  # noqa: PLR2004
        return {"used": None}
    inuse, waiting, low, high = map(float, words)
    return {"used": round(100 * (inuse + waiting) / max(1.0, high - low + 1), 3)}


def _throttled(one: Look, two: Look) -> list[dict[str, Any]]:
    before = {row[2]: (int(row[0]), int(row[1])) for row in one.get("throttled", ()) if len(row) > 2}  # noqa: PLR2004
    found: list[dict[str, Any]] = []
    for row in two.get("throttled", ()):
        periods, times = before.get(row[2], (0, 0))
        more, held = int(row[0]) - periods, int(row[1]) - times
        if row[2] in before and more > 0 and held >= 0:
            found.append({"group": row[2], "share": round(100 * held / more, 2)})
    return sorted(found, key=lambda each: -each["share"])[:_TOP]


def _tasks(look: Look) -> dict[tuple[str, str], tuple[int, int]]:
    return {(row[0], row[1]): (int(row[2]), int(row[3])) for row in look.get("task", ())}


def _top_cpu(one: Look, two: Look, ticks: float) -> list[dict[str, Any]]:
    before = _tasks(one)
    rows: list[dict[str, Any]] = []
    for key, (used, _pages) in _tasks(two).items():
        share = round(100 * (used - before[key][0]) / ticks, 1) if key in before else 0.0
        if share >= 1:
            rows.append({"pid": int(key[0]), "name": key[1], "percent": share})
    return sorted(rows, key=lambda each: -each["percent"])[:_TOP]


def _top_memory(two: Look, page: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"pid": int(key[0]), "name": key[1], "bytes": pages * page} for key, (_used, pages) in _tasks(two).items()
    ]
    return sorted(rows, key=lambda each: -each["bytes"])[:_TOP]


def number(part: Mapping[str, Any], name: str) -> float | None:
    """A number of the answer; None where it is not known."""
    value = part.get(name)
    return float(value) if value is not None else None
