"""What people and other systems are told of one operation: pure text and JSON, made from the record.

Parameters never appear in any form of a message, for they may hold secrets. Everything that came from
outside (names, problems of hosts, findings) is put on one line with its control characters escaped.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from opsqueue.model.advice import with_id
from opsqueue.model.instant import local_text, utc_text
from opsqueue.model.names import Outcome, Severity, TargetState
from opsqueue.model.record import Operation, Target
from opsqueue.notify.text import one_line, shorten

MOST_TITLE = 250
MOST_BODY = 4000
MOST_SHORT = 160
_MOST_HOSTS = 20
_MOST_FINDINGS = 10
_MOST_PROBLEMS = 3
_MOST_PAYLOAD_FINDINGS = 50

Findings = Sequence[Mapping[str, Any]]
"""As the record keeps them: `{severity, code, host, message, evidence, advice}`."""

_MEANING = {
    Outcome.SUCCEEDED: "done, and verified on every host",
    Outcome.UNCHANGED: "every host was already as wanted; nothing was sent",
    Outcome.PARTIAL: "some hosts succeeded, some did not",
    Outcome.FAILED: "not done",
    Outcome.ROLLED_BACK: "not done; every touched host is back in its old state",
    Outcome.DENIED: "not allowed; nothing was sent",
    Outcome.CANCELLED: "stopped by a person",
    Outcome.UNKNOWN: "a person must look: the state of a host could not be told",
}

_SEVERITY = {
    Outcome.PARTIAL: Severity.WARNING,
    Outcome.ROLLED_BACK: Severity.WARNING,
    Outcome.DENIED: Severity.WARNING,
    Outcome.FAILED: Severity.CRITICAL,
    Outcome.UNKNOWN: Severity.CRITICAL,
}

_WORST_FIRST = (
    TargetState.UNKNOWN,
    TargetState.FAILED,
    TargetState.UNREACHABLE,
    TargetState.ROLLED_BACK,
    TargetState.ROLLING_BACK,
    TargetState.APPLYING,
    TargetState.PENDING,
    TargetState.SKIPPED,
    TargetState.SUCCEEDED,
    TargetState.UNCHANGED,
)

#: Characters that cost two places, or a whole other alphabet, in an SMS; and what stands for them.
_SMS = str.maketrans(
    {"[": "(", "]": ")", "{": "(", "}": ")", "~": "-", "^": "'", "`": "'", "|": "/", "\\": "/", "…": "."}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message in each of its forms."""

    title: str
    """One line of at most 250 characters."""
    body: str
    """Plain text of at most 4000 characters; its last line says how to see the rest."""
    severity: Severity
    payload: Mapping[str, Any]
    """A JSON object for other systems."""
    short: str
    """One line of at most 160 characters, for a telephone."""
    at: float | None = None
    """When it happened, UNIX seconds; shown in the recipient's time zone where one is configured."""
    alike: str = ""
    """What two messages have in common that say the same; empty: their title and body."""
    html: str = ""
    """The text in HTML, for mail; empty: the body is all there is."""


def with_time(message: Message, timezone: str) -> Message:
    """The message with the time at which it happened, in this zone and in UTC; itself where either is not known."""
    if not timezone or message.at is None:
        return message
    first, *rest = message.body.split("\n")
    line = f"Time: {local_text(message.at, timezone)} ({utc_text(message.at)})"
    return replace(message, body=shorten("\n".join((first, line, *rest)), MOST_BODY))


def compose(
    operation: Operation,
    targets: Sequence[Target],
    findings: Findings | None = None,
    *,
    why: Sequence[str] = (),
    event: str = "operation.finished",
) -> Message:
    """The message about this operation; `findings` are those of the operation unless given.

    `why` holds further reasons, each as one sentence, beside those of the gates that denied or hold it.
    """
    worst = _worst_first(_with_id(operation, operation.findings if findings is None else findings))
    reasons = tuple(dict.fromkeys(filter(None, (*why, *_objections(operation), operation.cancel_asked))))
    return Message(
        title=_title(operation, targets, worst),
        body=shorten("\n".join(_body(operation, targets, worst, reasons)), MOST_BODY),
        severity=_severity(operation, worst),
        payload=_payload(operation, targets, worst, reasons, event),
        short=_short(operation, targets, worst),
        at=_ended(operation, targets),
        alike="\n".join((_title(operation, targets, worst), *_hosts(targets), *_findings(operation.findings))),
    )


def _with_id(operation: Operation, findings: Findings) -> Findings:
    return [{**one, "advice": with_id(str(one.get("advice", "")), operation.id)} for one in findings]


def _worst_first(findings: Findings) -> tuple[Mapping[str, Any], ...]:
    return tuple(sorted(findings, key=lambda finding: -_rank(finding)))


def _rank(finding: Mapping[str, Any]) -> int:
    # A severity of another version of opsqueue is not dropped: it counts as the least.
    order = [severity.value for severity in Severity]
    word = str(finding.get("severity", ""))
    return order.index(word) if word in order else 0


def _severity(operation: Operation, worst: Findings) -> Severity:
    of_outcome = _SEVERITY.get(operation.outcome, Severity.INFO) if operation.outcome else Severity.INFO
    order = list(Severity)
    return order[max(order.index(of_outcome), _rank(worst[0]) if worst else 0)]


def _word(operation: Operation) -> str:
    if operation.outcome:
        return operation.outcome.value
    return "waiting" if operation.hold else operation.stage.value


def _objections(operation: Operation) -> Iterable[str]:
    said = "deny" if operation.outcome else "hold"
    return (str(verdict.get("why", "")) for verdict in operation.verdicts if verdict.get("verdict") in {said, "deny"})


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _title(operation: Operation, targets: Sequence[Target], worst: Findings) -> str:
    hosts = _count(len(targets) or len(operation.systems), "host")
    kind = one_line(operation.type, 60)
    text = f"[opsqueue] {one_line(operation.name, 100)}: {_word(operation)} ({kind} on {hosts})"
    return f"{text}, {_tally(worst)}" if _tally(worst) else text


def _tally(worst: Findings) -> str:
    # A scan that finds holes has succeeded; a title with only that word would hide them.
    ranks = Counter(_rank(finding) for finding in worst)
    if ranks[2]:
        return _count(ranks[2], "critical finding")
    return _count(ranks[1], "warning") if ranks[1] else ""


def _short(operation: Operation, targets: Sequence[Target], worst: Findings) -> str:
    good = sum(target.state in {TargetState.SUCCEEDED, TargetState.UNCHANGED} for target in targets)
    hosts = f", {good} of {_count(len(targets), 'host')} good" if targets else ""
    tally = f", {_tally(worst)}" if _tally(worst) else ""
    end = f": {_word(operation)}{hosts}{tally}. opsqueue show {one_line(operation.id, 40)}"
    name = one_line(operation.name, MOST_SHORT - len(end))
    return (name + end).translate(_SMS)


def _body(operation: Operation, targets: Sequence[Target], worst: Findings, reasons: Sequence[str]) -> Iterable[str]:
    meaning = f" - {_MEANING[operation.outcome]}" if operation.outcome else ""
    yield f"{one_line(operation.name, 200)}: {_word(operation)}{meaning}"
    yield from (f"Why: {one_line(reason, 300)}" for reason in reasons)
    yield from (f"Held by: {one_line(gate, 60)}" for gate in operation.hold)
    yield f"{one_line(operation.type, 60)}, priority {operation.priority}, for {one_line(operation.requested_by, 100)}"
    if operation.reason:
        yield f"Reason given: {one_line(operation.reason, 300)}"
    seconds = _seconds(operation, targets)
    if seconds is not None:
        yield f"Took {_lasting(seconds)} from request to end"
    if _number(operation.score) is not None:
        yield f"Score: {operation.score:.0f} of 100"
    yield from _hosts(targets)
    yield from _findings(worst)
    yield ""
    yield f"More: opsqueue show {one_line(operation.id, 64)}"


def _hosts(targets: Sequence[Target]) -> Iterable[str]:
    if not targets:
        return
    ordered = sorted(targets, key=lambda target: (_WORST_FIRST.index(target.state), target.position, target.host))
    yield ""
    yield f"{_count(len(targets), 'host')}: {_states(ordered)}"
    for target in ordered[:_MOST_HOSTS]:
        yield f"- {one_line(target.host, 100)}: {target.state}{', changed' if target.changed else ''}"
        yield from (f"    {_first_line(problem)}" for problem in target.problems[:_MOST_PROBLEMS])
        if len(target.problems) > _MOST_PROBLEMS:
            yield f"    … {_count(len(target.problems) - _MOST_PROBLEMS, 'more problem')}"
    if ordered[_MOST_HOSTS:]:
        yield f"… {_count(len(ordered) - _MOST_HOSTS, 'more host')}: {_states(ordered[_MOST_HOSTS:])}"


def _states(ordered: Sequence[Target]) -> str:
    return ", ".join(f"{number} {state}" for state, number in Counter(target.state for target in ordered).items())


def _first_line(text: str) -> str:
    lines = text.strip().splitlines() or [""]
    return one_line(f"{lines[0]} …" if lines[1:] else lines[0], 300)


def _findings(worst: Findings) -> Iterable[str]:
    if not worst:
        return
    yield ""
    yield f"{_count(len(worst), 'finding')}, the worst first:"
    for finding in worst[:_MOST_FINDINGS]:
        where = f" on {one_line(finding['host'], 100)}" if finding.get("host") else ""
        severity = one_line(finding.get("severity", "info"), 20)
        yield f"- {severity}{where}: {_first_line(str(finding.get('message', '')))}"
        if finding.get("advice"):
            yield f"    {_first_line(str(finding['advice']))}"
    if worst[_MOST_FINDINGS:]:
        yield f"… {_count(len(worst) - _MOST_FINDINGS, 'more finding')}"


def _payload(
    operation: Operation, targets: Sequence[Target], worst: Findings, reasons: Sequence[str], event: str
) -> dict[str, Any]:
    ended = _ended(operation, targets)
    return {
        "event": event,
        "operation_id": operation.id,
        "name": operation.name,
        "type": operation.type,
        "status": _word(operation),
        "outcome": operation.outcome.value if operation.outcome else None,
        "severity": _severity(operation, worst).value,
        "priority": operation.priority.value,
        "requested_by": operation.requested_by,
        "reason": operation.reason,
        "why": list(reasons),
        "systems": list(operation.systems),
        "hosts": {target.host: target.state.value for target in targets},
        "findings": [_said(finding) for finding in worst[:_MOST_PAYLOAD_FINDINGS]],
        "findings_total": len(worst),
        "health_score": _number(operation.score),
        "seconds": _seconds(operation, targets),
        "finished_at": None if ended is None else datetime.fromtimestamp(ended, UTC).isoformat(),
    }


def _said(finding: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(finding.get(key, "")) for key in ("severity", "code", "host", "message", "advice")}


def _ended(operation: Operation, targets: Sequence[Target]) -> float | None:
    # The message goes out before the exit gate closes the operation; its work ended with its last target.
    if operation.finished_at is not None:
        return operation.finished_at
    times = [target.finished_at for target in targets if target.finished_at is not None]
    return max(times) if operation.outcome and times else None


def _seconds(operation: Operation, targets: Sequence[Target]) -> float | None:
    ended = _ended(operation, targets)
    return None if ended is None else round(max(ended - operation.created_at, 0.0), 3)


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _lasting(seconds: float) -> str:
    minute, hour = 60, 3600
    if seconds < minute:
        return f"{seconds:.0f} s"
    if seconds < hour:
        return f"{seconds // minute:.0f} min {seconds % minute:.0f} s"
    return f"{seconds // hour:.0f} h {seconds % hour // minute:.0f} min"
