"""New, standing, fixed, accepted, not looked at: what was found, held against the scan of before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opsqueue.model.kind import Finding, Metric, Seen
from opsqueue.model.names import Severity
from opsqueue.operations.security import bounds
from opsqueue.operations.security.found import Found, Missing
from opsqueue.operations.security.params import Accepted, SecurityScanParams

NEW, STANDING, FIXED, ACCEPTED, UNVERIFIED = "new", "standing", "fixed", "accepted", "unverified"
_OPEN = (NEW, STANDING, UNVERIFIED)
_REMEMBERED = (*_OPEN, ACCEPTED)
_DAY = 86400

Earlier = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What was found, with how it stands."""

    findings: tuple[Finding, ...]
    counts: Mapping[str, int]
    """By state."""
    severities: Mapping[Severity, int]
    """Of those that are open."""
    oldest: float | None
    """Since when the oldest open one is known, UNIX seconds."""


def held(params: SecurityScanParams, seen: Seen, rows: Iterable[Found], gaps: Sequence[Missing]) -> Held:
    """Every weakness with its state, those of before that are gone, and exceptions that ran out."""
    earlier = _earlier(seen)
    unique = {one.fingerprint(seen.host): one for one in rows}
    told = [_told(params, seen, print_, one, earlier) for print_, one in unique.items()]
    gone = list(_gone(params, seen, unique, earlier.told, gaps))
    states = [*told, *gone]
    live = [one for one in states if one.evidence["status"] in _OPEN]
    counts = dict.fromkeys((NEW, STANDING, FIXED, ACCEPTED, UNVERIFIED), 0)
    for one in states:
        counts[one.evidence["status"]] += 1
    return Held(
        findings=(*bounds.told(sorted(states, key=_order), seen.hosts), *_run_out(params, seen)),
        counts=counts,
        severities={severity: sum(one.severity is severity for one in live) for severity in Severity},
        oldest=min((one.evidence["since"] for one in live), default=None),
    )


def _order(finding: Finding) -> tuple[int, str, str]:
    return (bounds.WORST_FIRST.index(finding.severity), finding.code, str(finding.evidence.get("subject", "")))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """What the scan of before told, by fingerprint; and what it only counted."""

    told: Earlier
    prints: frozenset[str]
    """The fingerprints of what was only counted."""
    codes: frozenset[str]
    """Of what has not even a fingerprint there."""

    def knew(self, print_: str, code: str) -> bool:
        """Whether it was there, or may have been: nobody can call it new."""
        return print_ in self.told or print_ in self.prints or code in self.codes


def _earlier(seen: Seen) -> _Before:
    rows = [one for one in seen.earlier_findings or () if isinstance(one.get("evidence"), Mapping)]
    known = {str(one["evidence"]["fingerprint"]): one for one in rows if one["evidence"].get("status") in _REMEMBERED}
    prints = {name for one in rows for name in one["evidence"].get("fingerprints", ())}
    codes = {name for one in rows for name in one["evidence"].get("codes", ())}
    return _Before(told=known, prints=frozenset(prints), codes=frozenset(codes))


def _told(params: SecurityScanParams, seen: Seen, print_: str, one: Found, earlier: _Before) -> Finding:
    before = earlier.told.get(print_)
    since = before["evidence"].get("since", seen.at) if before else seen.at
    exception = _exception(params, one.code, one.subject, seen.at)
    known = earlier.knew(print_, one.code)
    more = _acceptance(exception, one.severity, known=known) if exception else {}
    return Finding(
        severity=Severity.INFO if exception else one.severity,
        code=one.code,
        message=f"{_accepted(exception.until.isoformat())}{one.message}" if exception else one.message,
        host=seen.host,
        evidence={
            "fingerprint": print_,
            "status": ACCEPTED if exception else STANDING if known else NEW,
            "since": since,
            "subject": one.subject,
            "part": one.part,
            "references": list(one.references),
            **one.evidence,
            **more,
        },
        advice=one.advice,
    )


def _acceptance(exception: Accepted, severity: Severity, *, known: bool) -> Mapping[str, Any]:
    """Who accepted it, why and until when; and how it would stand otherwise."""
    return {
        "accepted_by": exception.owner,
        "reason": exception.reason,
        "until": exception.until.isoformat(),
        "severity": severity.value,
        "known": known,
    }


def _accepted(until: str) -> str:
    """How the message of an accepted risk begins."""
    return f"accepted until {until}: "


def _exception(params: SecurityScanParams, code: str, subject: str, at: float) -> Accepted | None:
    return next((each for each in params.accept if _about(each, code, subject) and each.holds(at)), None)


def _about(each: Accepted, code: str, subject: str) -> bool:
    return each.code == code and each.subject in {"*", subject}


def _gone(
    params: SecurityScanParams, seen: Seen, now: Mapping[str, Found], earlier: Earlier, gaps: Sequence[Missing]
) -> Iterator[Finding]:
    """Those of before that are not found any more: mended, unless nobody looked."""
    for print_, before in earlier.items():
        if print_ in now:
            continue
        evidence = dict(before["evidence"])
        why = _not_looked(evidence, str(before["code"]), gaps)
        if why:
            yield _unseen(params, seen, before, why)
            continue
        kept = {key: evidence[key] for key in ("fingerprint", "since", "subject", "part") if key in evidence}
        yield Finding(
            severity=Severity.INFO,
            code="security_fixed",
            message=f"fixed: {before['message']}",
            host=seen.host,
            evidence={**kept, "status": FIXED, "was": before["code"], "severity": _severity(before).value},
        )


def _unseen(params: SecurityScanParams, seen: Seen, before: Mapping[str, Any], why: str) -> Finding:
    """One of before where nobody looked: it stays open, or accepted as long as the exception holds."""
    evidence, code = {**before["evidence"], "why": why}, str(before["code"])
    severity, message = Severity(before["severity"]), str(before["message"])
    if evidence["status"] != ACCEPTED:
        evidence["status"] = UNVERIFIED
    elif _exception(params, code, str(evidence.get("subject", "")), seen.at):
        evidence["known"] = True
    else:
        severity = _severity(before)
        message = message.removeprefix(_accepted(str(evidence.get("until", ""))))
        kept = {key: value for key, value in evidence.items() if key not in _OF_ACCEPTANCE}
        evidence = {**kept, "status": UNVERIFIED}
    return Finding(
        severity=severity, code=code, message=message, host=seen.host, evidence=evidence,
        advice=before.get("advice", ""),
    )  # fmt: skip


_OF_ACCEPTANCE = ("accepted_by", "reason", "until", "severity", "known")


def _severity(before: Mapping[str, Any]) -> Severity:
    """How bad one of before is, also when it was accepted."""
    evidence = before["evidence"]
    kept = evidence.get("severity") if evidence["status"] == ACCEPTED else None
    return Severity(kept or before["severity"])


def _not_looked(evidence: Mapping[str, Any], code: str, gaps: Sequence[Missing]) -> str:
    """Why nobody looked where it was found; empty when somebody did."""
    part, subject = str(evidence.get("part", "")), str(evidence.get("subject", ""))
    return next((gap.why for gap in gaps if gap.covers(part, code, subject)), "")


def _run_out(params: SecurityScanParams, seen: Seen) -> Iterator[Finding]:
    for each in params.accept:
        if not each.holds(seen.at):
            yield Finding(
                severity=Severity.WARNING,
                code="exception_expired",
                message=f"the exception for {each.code} ({each.subject}) of {each.owner} ended on {each.until}",
                host=seen.host,
                evidence={"rule": each.code, "subject": each.subject, "reason": each.reason},
                advice="Mend it, or decide anew; then change or remove the entry in `accept`.",
            )


def metrics(found: Held, at: float) -> Iterator[Metric]:
    """How many of each state, how many open of each severity, and the age of the oldest."""
    for state, number in found.counts.items():
        yield Metric(name=f"findings_{state}", value=number, unit="count")
    for severity, number in found.severities.items():
        yield Metric(name=f"findings_{severity.value}", value=number, unit="count")
    age = None if found.oldest is None else max(0.0, round((at - found.oldest) / _DAY, 2))
    yield Metric(name="oldest_finding", value=age, unit="days")
