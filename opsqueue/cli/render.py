"""The JSON of one operation, or of a plan, as people read it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opsqueue.cli import foreseen, render_hosts, times
from opsqueue.cli.output import Out, dumps
from opsqueue.cli.scripts import Scripts
from opsqueue.cli.tables import Narrow
from opsqueue.cli.text import safe, safe_lines
from opsqueue.model.alike import alike
from opsqueue.model.amount import size
from opsqueue.model.instant import UNIX_TIME, utc_text
from opsqueue.model.rollout import Rollout, count_of
from opsqueue.telemetry import counted

Json = Mapping[str, Any]
Metrics = Mapping[str, Mapping[str, Json]]
"""By host and name."""

_MINUTE = 60
_THOUSAND = 1000
_BARE = frozenset({"", "count", "state", "score", "ratio", "load", "load/CPU"})
"""Units that the name of a metric says already."""
UNKNOWN = "–"  # noqa: RUF001 - a dash, so that nobody reads it as a minus or a question
"""Stands where there is no number."""
_HEADLINES = ("cpu_usage", "memory_usage", "disk_usage")
"""The metrics that stand beside many hosts."""
_FEW = 4
"""As many hosts as are easy to read beside each other."""
_WORDS = {"state": ("ok", "warning", "critical", "unknown"), "hard": ("up", "down")}
"""What the numbers of the metrics `state:CHECK` and `hard:CHECK` mean."""
_SHORT = 8
"""Characters of an id in a list; commands take the beginning of an id."""


def short(operation_id: str) -> str:
    """The beginning of an id, enough for a person."""
    return operation_id[:_SHORT]


def shorts(ids: Iterable[str]) -> dict[str, str]:
    """The beginning of each id, as `short` has it, and longer where another of them begins so too."""
    ordered = ["", *sorted(set(ids)), ""]  # what is most alike stands side by side
    return {
        one: one[: max(_SHORT, 1 + _alike(before, one), 1 + _alike(one, after))]
        for before, one, after in zip(ordered, ordered[1:], ordered[2:], strict=False)
    }


def _alike(one: str, other: str) -> int:
    """How many letters two ids begin with in common."""
    return next((place for place, two in enumerate(zip(one, other, strict=False)) if len(set(two)) > 1), 0)


def number(value: float | None, unit: str) -> str:
    """A metric with its unit; a dash where it is not known, never 0."""
    if value is None:
        return UNKNOWN
    if unit.startswith("bytes"):
        return size(value) + unit.removeprefix("bytes")
    if unit == "s" and value >= _MINUTE:
        return times.length(value)
    if unit == "percent":
        return f"{value:.1f} %"
    if unit == UNIX_TIME:
        return utc_text(value)
    digits = f"{value:.4g}" if abs(value) < _THOUSAND else f"{value:.0f}"
    return digits if unit in _BARE else f"{digits} {safe(unit)}"


def waits_for(operation: Json, now: float) -> str:
    """What holds it, and when it looks again; empty when nothing does."""
    if not operation["waits_for"]:
        return ""
    when = times.until(operation["due_at"], now)
    return ", ".join(operation["waits_for"]) + (f" until {when}" if when else " until somebody acts")


def operation(out: Out, data: Json) -> None:
    """Everything about one operation."""
    heading(out, data)
    _stages(out, data["stages"])
    verdicts(out, data["verdicts"])
    render_hosts.targets(out, data["targets"])
    steps(out, data["targets"])
    metrics(out, data["metrics"], short(data["operation_id"]))
    render_hosts.findings(out, data["findings"], short(data["operation_id"]))
    notifications(out, data["notifications"])


def waves(rollout: Mapping[str, Any], total: int) -> str:
    """How an operation goes over so many hosts, in words; empty for one host, and for one that only looks."""
    if not rollout or total < 2:  # noqa: PLR2004  # one host is one wave
        return ""
    chosen = Rollout(**rollout)
    batch, stop = min(count_of(chosen.batch, total), total), count_of(chosen.stop_at, total)
    rest = "one at a time" if batch == 1 else "all at once" if batch == total else f"{batch} at a time"
    first = f"{chosen.canary} first, the others only if that goes well: " if 0 < chosen.canary < total else ""
    return f"{first}{rest}; {counted(stop, 'failed host')} {'stops' if stop == 1 else 'stop'} the rest"


def heading(out: Out, data: Json) -> None:
    """Who asked for what, and how it stands."""
    rows = {
        "operation": data["operation_id"],
        "name": data["name"],
        "type": data["type"],
        "priority": data["priority"],
        "status": data["status"],
        "description": data["description"],
        "systems": ", ".join(data["systems"]),
        "waves": waves(data["rollout"], len(data["targets"])),
        "parameters": " ".join(f"{key}={dumps(value)}" for key, value in data["parameters"].items()),
        "asked by": data["requested_by"],
        "reason": data["reason"],
        "created": times.stamp(data["created_at"]),
        "ended": times.stamp(data["finished_at"]),
        "waits for": waits_for(data, time.time()),
        "health": render_hosts.score(data, " of 100"),
        "digest": data["digest"],
    }
    for key, value in rows.items():
        if value:
            out.line(f"{key:<12} {out.word(value) if key == 'status' else safe(value)}")


def _stages(out: Out, stages: Iterable[Json]) -> None:
    rows = [
        (one["stage"], one["result"], f"{one['seconds']:.2f} s", times.stamp(one["started_at"]), one["why"])
        for one in stages
    ]
    _part(out, "stages", ("STAGE", "RESULT", "TOOK", "BEGAN", "WHY"), rows, Narrow(beneath=("WHY",), drops=("BEGAN",)))


def verdicts(out: Out, given: Iterable[Json]) -> None:
    """What each gate said."""
    rows = [(one["gate"], one["verdict"], times.until(one["until"], time.time()), one["why"]) for one in given]
    _part(out, "gates", ("GATE", "VERDICT", "UNTIL", "WHY"), rows, Narrow(beneath=("WHY", "UNTIL")))


def steps(out: Out, given: Iterable[Json]) -> None:
    """What was sent to each host, and what it answered."""
    scripts = Scripts()
    for target in given:
        if target["steps"]:
            out.title(f"commands on {safe(target['host'])}")
        for one in target["steps"]:
            step(out, one, scripts)
    scripts.show(out)


def step(out: Out, one: Json, scripts: Scripts, host: str = "") -> None:
    """One command and its answer; its scripts are left to `scripts`."""
    code = "not known" if one["exit_code"] is None else one["exit_code"]
    took = "" if one["seconds"] is None else f", {times.length(one['seconds'])}"
    before = f"{safe(host)}: " if host else ""
    out.line(f"{before}$ {scripts.without(one['command'])}    # {safe(one['title'])}: exit code {code}{took}")
    for line in safe_lines(one["output"].rstrip("\n")) if one["output"].strip() else ():
        out.line(f"{before}  {line}")


def result(out: Out, data: Json) -> None:
    """Of one that ended what people look for first; of many hosts few numbers, and where the others are."""
    named, shown = data["metrics"], short(data["operation_id"])
    few = _side_by_side(out, named) is not None
    render_hosts.targets(out, data["targets"], data["findings"], None if few else _headlines(named))
    if few:
        metrics(out, named, shown)
    else:
        out.text(f"all metrics of {len(named)} hosts: `opsqueue show {shown}`")
    render_hosts.findings(out, data["findings"], shown)
    notifications(out, [one for one in data["notifications"] if one["status"] != "accepted"])


def _headlines(given: Metrics) -> dict[str, tuple[str, ...]]:
    """The numbers that a host's line has room for; nothing when no host has any of them."""
    found = {host: tuple(metric(named.get(name)) for name in _HEADLINES) for host, named in given.items()}
    return found if any(map(any, found.values())) else {}


def _side_by_side(out: Out, given: Metrics) -> tuple[tuple[str, ...], list[tuple[str, ...]]] | None:
    """Headers and rows with a column for each host; None when they are too many, or too wide for the terminal."""
    names = list(dict.fromkeys(name for found in given.values() for name in found))
    rows: list[tuple[str, ...]] = [
        (name, *(metric(found.get(name), name) for found in given.values())) for name in names
    ]
    headers = ("METRIC", *map(safe, given))
    # One host's name is no reason to change: its column is cut like any other text.
    fits = len(given) <= _FEW and (len(given) <= 1 or out.fits(headers, rows))
    return (headers, rows) if fits else None


def metrics(out: Out, given: Metrics, operation_id: str = "ID") -> None:
    """Numbers with their units: a column for each host where they fit, a line for each number otherwise."""
    rows: list[tuple[str, ...]]
    headers, rows = _side_by_side(out, given) or (
        ("HOST", "METRIC", "VALUE"),
        [(host, name, metric(found, name)) for host, named in given.items() for name, found in named.items()],
    )
    _part(out, "metrics", headers, rows)
    unknown(out, rows, f"opsqueue show {operation_id} --output json tells why")


def metric(found: Json | None, name: str = "") -> str:
    """A metric of our JSON; empty when it was not measured at all, a word for the state of a check."""
    if found is None:
        return ""
    value = found["value"]
    words = _WORDS.get(name.partition(":")[0], ()) if ":" in name else ()
    if value in range(len(words)):
        return words[int(value)]
    return number(value, found["unit"])


def unknown(out: Out, rows: Iterable[Sequence[object]], where: str = "") -> None:
    """The footnote of a table in which something is not known."""
    if any(UNKNOWN in row for row in rows):
        out.text(f"{UNKNOWN} not there, or not known" + (f"; {where}" if where else ""))


def notifications(out: Out, given: Iterable[Json]) -> None:
    """Who was told."""
    rows = [
        (one["channel"], one["status"], one["attempts"], times.stamp(one["at"]), one["error"] or "") for one in given
    ]
    narrow = Narrow(beneath=("WHY",), drops=("TRIES", "AT"))
    _part(out, "notifications", ("CHANNEL", "STATUS", "TRIES", "AT", "WHY"), rows, narrow)


def plan(out: Out, data: Json) -> None:
    """What an operation would do; what stands against it on several hosts is said once."""
    out.line(f"{safe(data['name'])}: {safe(data['type'])}, risk {data['risk']}, priority {data['priority']}")
    out.line(f"digest {data['digest']}")
    if goes := waves(data["rollout"], len(data["targets"])):
        out.line(goes)
    against = alike(
        [(one, problem) for one in data["targets"] for problem in one["problems"]],
        lambda pair: (pair[0]["host"], pair[1]),
        lambda pair: pair[0]["reachable"],
    )
    together, scripts = any(len(group.hosts) > 1 for _, group in against), Scripts()
    for target in data["targets"]:
        if not (together and target["problems"]):
            _planned(out, target, scripts)
    if together:
        out.title("problems")
        for (target, _problem), group in against:
            out.line(f"{_against(out, target)}  {safe(group.line)}")
    scripts.show(out)
    verdicts(out, data["verdicts"])


def _planned(out: Out, target: Json, scripts: Scripts) -> None:
    """One host of a plan: what stands against it, what would be sent, or what would be asked."""
    out.title(safe(target["host"]))
    for problem in target["problems"]:
        out.line(f"{_against(out, target)}  {safe(render_hosts.beside(target['host'], problem))}")
    if target["steps"] and target["note"]:
        out.line(safe(target["note"]))
    for one in target["steps"]:
        out.line(f"$ {scripts.without(one['command'])}    # {safe(one['title'])}")
    if not target["steps"] and not target["problems"]:
        asked = [f"asks  {one}" for one in target["asks"]]
        asked += foreseen.lines(target, scripts, number)
        for text in asked or [target["note"] or "nothing would be sent"]:
            out.line(safe(text))


def _against(out: Out, target: Json) -> str:
    return out.word("failed" if target["reachable"] else "unreachable")


def _part(
    out: Out, title: str, headers: Sequence[str], rows: Sequence[Sequence[object]], narrow: Narrow | None = None
) -> None:
    if rows:
        out.title(title)
        out.rows(headers, rows, narrow=narrow)
