"""The JSON of one operation, or of a plan, as people read it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opsqueue.cli import times
from opsqueue.cli.output import Out
from opsqueue.cli.tables import Narrow
from opsqueue.cli.text import safe, safe_lines

Json = Mapping[str, Any]

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_MINUTE = 60
_MILLION = 1e6
_BARE = frozenset({"", "count", "state", "score", "ratio", "load", "load/CPU"})
"""Units that the name of a metric says already."""
UNKNOWN = "–"  # noqa: RUF001 - a dash, so that nobody reads it as a minus or a question
"""Stands where there is no number."""
_STATES = ("ok", "warning", "critical", "unknown")
"""What the numbers of the metrics `state:CHECK` mean."""
_SHORT = 8
"""Characters of an id in a list; commands take the beginning of an id."""


def short(operation_id: str) -> str:
    """The beginning of an id, enough for a person."""
    return operation_id[:_SHORT]


def number(value: float | None, unit: str) -> str:
    """A metric with its unit; a dash where it is not known, never 0."""
    if value is None:
        return UNKNOWN
    if unit.startswith("bytes"):
        return _size(value) + unit.removeprefix("bytes")
    if unit == "s" and value >= _MINUTE:
        return times.length(value)
    if unit == "percent":
        return f"{value:.1f} %"
    digits = f"{value:.4g}" if abs(value) < _MILLION else f"{value:.0f}"
    return digits if unit in _BARE else f"{digits} {safe(unit)}"


def _size(value: float) -> str:
    for unit in _SIZES:
        if abs(value) < 1024 or unit == _SIZES[-1]:  # noqa: PLR2004 - of binary units
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


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
    targets(out, data["targets"])
    steps(out, data["targets"])
    metrics(out, data["metrics"], short(data["operation_id"]))
    findings(out, data["findings"])
    notifications(out, data["notifications"])


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
        "parameters": " ".join(f"{key}={value!r}" for key, value in data["parameters"].items()),
        "asked by": data["requested_by"],
        "reason": data["reason"],
        "created": times.stamp(data["created_at"]),
        "ended": times.stamp(data["finished_at"]),
        "waits for": waits_for(data, time.time()),
        "health": None if data["health_score"] is None else f"{data['health_score']:g} of 100",
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


def targets(out: Out, given: Iterable[Json]) -> None:
    """One line for each host."""
    rows = [
        (one["host"], one["status"], "yes" if one["changed"] else "no", len(one["steps"]), "; ".join(one["problems"]))
        for one in given
    ]
    narrow = Narrow(beneath=("PROBLEMS",), drops=("COMMANDS", "CHANGED"))
    _part(out, "hosts", ("HOST", "STATUS", "CHANGED", "COMMANDS", "PROBLEMS"), rows, narrow)


def steps(out: Out, given: Iterable[Json]) -> None:
    """What was sent to each host, and what it answered."""
    for target in given:
        if target["steps"]:
            out.title(f"commands on {safe(target['host'])}")
        for one in target["steps"]:
            step(out, one)


def step(out: Out, one: Json, host: str = "") -> None:
    """One command and its answer."""
    code = "not known" if one["exit_code"] is None else one["exit_code"]
    took = "" if one["seconds"] is None else f", {times.length(one['seconds'])}"
    before = f"{safe(host)}: " if host else ""
    out.line(f"{before}$ {safe(one['command'])}    # {safe(one['title'])}: exit code {code}{took}")
    for line in safe_lines(one["output"].rstrip("\n")) if one["output"].strip() else ():
        out.line(f"{before}  {line}")


def metrics(out: Out, given: Mapping[str, Mapping[str, Json]], operation_id: str = "ID") -> None:
    """Numbers with their units: a column for each host where they fit, a line for each number otherwise."""
    hosts = list(given)
    names = list(dict.fromkeys(name for found in given.values() for name in found))
    rows: list[tuple[str, ...]] = [(name, *(metric(given[host].get(name), name) for host in hosts)) for name in names]
    headers: tuple[str, ...] = ("METRIC", *(safe(host) for host in hosts))
    # One host's name is no reason to change: its column is cut like any other text.
    if len(hosts) > 4 or (len(hosts) > 1 and not out.fits(headers, rows)):  # noqa: PLR2004 - as many as are easy to read
        headers = ("HOST", "METRIC", "VALUE")
        rows = [(host, name, metric(found, name)) for host, named in given.items() for name, found in named.items()]
    _part(out, "metrics", headers, rows)
    unknown(out, rows, f"opsqueue show {operation_id} --output json tells why")


def metric(found: Json | None, name: str = "") -> str:
    """A metric of our JSON; empty when it was not measured at all, a word for the state of a check."""
    if found is None:
        return ""
    value = found["value"]
    if name.startswith("state:") and value in range(len(_STATES)):
        return _STATES[int(value)]
    return number(value, found["unit"])


def unknown(out: Out, rows: Iterable[Sequence[object]], where: str = "") -> None:
    """The footnote of a table in which something is not known."""
    if any(UNKNOWN in row for row in rows):
        out.text(f"{UNKNOWN} not there, or not known" + (f"; {where}" if where else ""))


def findings(out: Out, given: Iterable[Json]) -> None:
    """What somebody should hear of, and what to do about it."""
    listed = list(given)
    if listed:
        out.title("findings")
    for one in listed:
        where = f"{safe(one['host'])}: " if one["host"] else ""
        out.line(f"{out.word(one['severity'])}  {where}{safe(one['message'])}  [{safe(one['code'])}]")
        if one["advice"]:
            out.line(f"    {safe(one['advice'])}")


def notifications(out: Out, given: Iterable[Json]) -> None:
    """Who was told."""
    rows = [
        (one["channel"], one["status"], one["attempts"], times.stamp(one["at"]), one["error"] or "") for one in given
    ]
    narrow = Narrow(beneath=("ERROR",), drops=("TRIES", "AT"))
    _part(out, "notifications", ("CHANNEL", "STATUS", "TRIES", "AT", "ERROR"), rows, narrow)


def plan(out: Out, data: Json) -> None:
    """What an operation would do."""
    out.line(f"{safe(data['name'])}: {safe(data['type'])}, risk {data['risk']}, priority {data['priority']}")
    out.line(f"digest {data['digest']}")
    for target in data["targets"]:
        out.title(f"{safe(target['host'])}{'' if target['reachable'] else ': cannot be reached'}")
        for problem in target["problems"]:
            out.line(f"{out.word('failed')}  {safe(problem)}")
        for one in target["steps"]:
            out.line(f"$ {safe(one['command'])}    # {safe(one['title'])}")
        if not target["steps"] and not target["problems"]:
            out.line(safe(target["note"]) or "nothing would be sent")
    verdicts(out, data["verdicts"])


def _part(
    out: Out, title: str, headers: Sequence[str], rows: Sequence[Sequence[object]], narrow: Narrow | None = None
) -> None:
    if rows:
        out.title(title)
        out.rows(headers, rows, narrow=narrow)
