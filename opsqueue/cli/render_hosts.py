"""What came of each host: its state, its problems, its findings; what several have in common is said once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from opsqueue.cli.output import Out
from opsqueue.cli.tables import Narrow
from opsqueue.cli.text import safe
from opsqueue.model.alike import Alike, alike, essence, for_all
from opsqueue.model.names import Severity, TargetState
from opsqueue.telemetry import counted

Json = Mapping[str, Any]
Pair = tuple[Json, Alike]
"""The first of several findings that are alike, and what they say."""

_GOOD = frozenset({TargetState.SUCCEEDED, TargetState.UNCHANGED})
_NOT_DONE = frozenset({TargetState.SKIPPED, TargetState.PENDING})
_LOG_LINES = 5
"""So many of a log that a finding brings along are shown; the JSON has all."""
_MOST, _MOST_NEW = 30, 20
"""Findings that are shown, and how many of them are new where there are others; the report and the JSON have all."""
_NEW = "new"
_STATES = (_NEW, "standing", "unverified")
_NARROW = Narrow(beneath=("PROBLEMS",), drops=("COMMANDS", "CHANGED", "DISK", "MEMORY", "CPU"))


def targets(
    out: Out, given: Iterable[Json], told: Iterable[Json] = (), numbers: Mapping[str, Sequence[str]] | None = None
) -> None:
    """One line for each host, what failed first; a problem that one of the findings `told` says is not said here.

    `numbers`: texts of CPU, MEMORY and DISK by host, as further columns.
    """
    ordered = sorted(given, key=_worst_first)
    said = {(one["host"], one["message"]) for one in told}
    pairs = [(one["host"], text) for one in ordered for text in one["problems"] if (one["host"], text) not in said]
    beside, lines = reasons(pairs)
    more = ("CPU", "MEMORY", "DISK") if numbers else ()
    rows = [
        (
            one["host"],
            one["status"],
            "yes" if one["changed"] else "no",
            len(one["steps"]),
            *((numbers.get(one["host"]) or ("",) * len(more)) if numbers else ()),
            beside.get(one["host"], ""),
        )
        for one in ordered
    ]
    headers = ("HOST", "STATUS", "CHANGED", "COMMANDS", *more, "PROBLEMS")
    if rows:
        out.title("hosts")
        out.rows(headers[:-1] if lines else headers, [row[:-1] if lines else row for row in rows], narrow=_NARROW)
    listed(out, "problems", lines)


def _worst_first(target: Json) -> int:
    return 2 if target["status"] in _GOOD else 1 if target["status"] in _NOT_DONE else 0


def reasons(pairs: Iterable[tuple[str, str]]) -> tuple[dict[str, str], list[str]]:
    """For each host what to write beside it; or, where several have the same to say, the lines that say it for all."""
    groups = [one for _, one in alike(pairs, lambda pair: pair)]
    if any(len(one.hosts) > 1 for one in groups):
        return {}, [one.line for one in groups]
    beside: dict[str, list[str]] = {}
    for one in groups:
        beside.setdefault(one.hosts[0], []).append(one.beside)
    return {host: "; ".join(texts) for host, texts in beside.items()}, []


def beside(host: str, text: str) -> str:
    """A reason where its host stands beside it."""
    ((_, one),) = alike([(host, text)], lambda pair: pair)
    return one.beside


def listed(out: Out, title: str, lines: Sequence[str]) -> None:
    """Sentences under a heading; nothing at all when there are none."""
    if lines:
        out.title(title)
    for line in lines:
        out.line(safe(line))


def findings(out: Out, given: Iterable[Json], operation_id: str = "ID") -> None:
    """What somebody should hear of and what to do about it, what is new and worst first; of many not all."""
    found = alike(
        given,
        lambda one: (one["host"] or "", one["message"]),
        lambda one: (one["severity"], one["code"], _since_before(one), essence(one["host"] or "", one["advice"])),
    )
    shown, left = _first(sorted(found, key=lambda pair: _newest_and_worst(pair[0])))
    if shown:
        out.title("findings")
    for first, one in shown:
        state = f"  {mark}" if (mark := _since_before(first)) else ""
        out.line(f"{out.word(first['severity'])}{state}  {safe(one.line)}  [{safe(first['code'])}]")
        if first["advice"]:
            out.line(f"    {safe(for_all(one.hosts, first['advice']))}")
        for line in _end_of_log(first) if len(one.hosts) == 1 else ():
            out.line(f"    | {safe(line)}")
    if left:
        out.text(f"{_counts(left)}: `opsqueue report {operation_id}`")


def _since_before(finding: Json) -> str:
    """How it stands beside the look before: new, standing, unverified; empty when it does not say, or its text does."""
    status = finding.get("evidence", {}).get("status")
    return status if status in _STATES else ""


def _newest_and_worst(finding: Json) -> tuple[bool, int]:
    return _since_before(finding) != _NEW, -list(Severity).index(Severity(finding["severity"]))


def _first(found: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Those that are shown, and the others: much that is new does not hide the worst of what stands."""
    new = [pair for pair in found if _since_before(pair[0]) == _NEW]
    rest = found[len(new) :]
    news = len(new[: max(_MOST_NEW, _MOST - len(rest))])
    stands = _MOST - news
    return [*new[:news], *rest[:stands]], [*new[news:], *rest[stands:]]


def _counts(left: Sequence[Pair]) -> str:
    """`471 more findings (2 critical, 469 info, 12 of them new)`."""
    counts: Counter[str] = Counter()
    for first, one in left:
        counts[first["severity"]] += len(one.hosts)
        counts[_since_before(first)] += len(one.hosts)
    each = [f"{counts[one]} {one}" for one in reversed(Severity) if counts[one]]
    each += [f"{counts[_NEW]} of them new"] if counts[_NEW] else []
    return f"{counted(sum(len(one.hosts) for _, one in left), 'more finding')} ({', '.join(each)})"


def _end_of_log(finding: Json) -> list[str]:
    lines = finding.get("evidence", {}).get("log", ())
    return [line for line in lines if line.strip()][-_LOG_LINES:]


def whys(out: Out, given: Iterable[Json], when: Callable[[Json], str]) -> None:
    """Every reason why an operation waits or was refused; `when` says until when one of them stands."""
    found = alike(given, lambda one: (one["who"], one["why"]), lambda one: (one["verdict"], one["until"]))
    for first, one in found:
        out.line(f"{out.word(first['verdict'])}  {safe(one.line)}{when(first)}")


def score(data: Json, of: str = "") -> str:
    """The health score, and of how many hosts where not all were judged: `100 (4 of 5 hosts)`; empty without one."""
    if data["health_score"] is None:
        return ""
    judged, total = sum(bool(one["verified_at"]) for one in data["targets"]), len(data["targets"])
    return f"{data['health_score']:g}{of}" + (f" ({judged} of {total} hosts)" if judged < total else "")
