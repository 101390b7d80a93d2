"""What is told of each check: what is wrong with it, and what only the comparison with earlier checks shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opsqueue.model.fact import why_unknown
from opsqueue.model.instant import utc_text
from opsqueue.model.kind import Finding, Seen
from opsqueue.model.names import Severity
from opsqueue.operations.health.problem import Problem, State
from opsqueue.operations.health.score import Judged
from opsqueue.operations.health.streak import Standing

_SHOWN = (
    "status", "error", "failed_phase", "phases", "attempts", "url", "address", "rcode", "answers", "ttl", "resolver",
    "not_after", "protocol", "issuer", "banner", "fingerprint", "version", "role", "link", "standby", "lag_s",
    "connections", "connections_most", "oldest_transaction_s", "memory_percent", "last_save",
)  # fmt: skip
NUMBERS = {State.OK: 0.0, State.WARNING: 1.0, State.CRITICAL: 2.0, State.UNKNOWN: 3.0}
"""The metric `state:NAME`."""


def answer_of(one: Judged) -> Mapping[str, Any]:
    """The answer as an object; empty when it is unknown."""
    known = isinstance(one.answer, Mapping) and why_unknown(one.answer) is None
    return one.answer if known else {}


def findings_of(one: Standing, seen: Seen) -> Iterator[Finding]:
    """All that is told of one check."""
    if one.judged.state is State.UNREACHABLE:
        yield _unreachable(one.judged, seen)
        return
    for problem in one.judged.problems:
        yield _finding(one, problem, seen)
    yield from _left_out(one.judged, seen)
    yield from _turned(one, seen)
    yield from _since_last_time(one.judged, seen)


def _finding(one: Standing, problem: Problem, seen: Seen) -> Finding:
    check = one.judged.check.name
    return Finding(
        severity=_severity(one, problem),
        code=problem.code,
        message=f"{check}: {problem.message}{_how_often(one, problem)}",
        host=seen.host,
        evidence={"check": check, "state": one.judged.state.value, **_counted(one), **_evidence(one.judged)},
        advice=problem.advice,
    )


def _down_unseen(one: Standing, problem: Problem) -> bool:
    """Whether it counts as down from before, and this is only that nobody can look now: that mends nothing."""
    return problem.state is State.UNKNOWN and one.judged.state is State.UNKNOWN and one.now is not None and one.now.down


def _severity(one: Standing, problem: Problem) -> Severity:
    if _down_unseen(one, problem):
        return Severity.CRITICAL
    if problem.state is State.UNKNOWN:
        # Not to know how the one thing is that everything hangs on is more than a remark.
        return Severity.WARNING if one.judged.check.critical else Severity.INFO
    counts = not one.soft or problem.certain
    return Severity.CRITICAL if problem.state is State.CRITICAL and counts else Severity.WARNING


def _how_often(one: Standing, problem: Problem) -> str:
    if one.now is not None and _down_unseen(one, problem):
        since = f" since {utc_text(one.now.since)}" if one.now.since else ""
        return f" (counts as down{since}, and cannot be checked now)"
    if one.now is None or not problem.down or problem.certain:
        return ""
    times = f"{one.now.failures} of {one.limits.failures}"
    if one.soft:
        return f" ({times} in a row before it counts as down)"
    if one.fell:
        return f" ({times} in a row: it counts as down now)"
    return f" (since {utc_text(one.now.since)})" if one.before and one.now.since else ""


def _counted(one: Standing) -> dict[str, Any]:
    if one.now is None or not (one.judged.down or (one.judged.state is State.UNKNOWN and one.now.down)):
        return {}
    since = {"failing_since": utc_text(one.now.since)} if one.now.since else {}
    return {"failures": one.now.failures, "hard": one.now.down, **since}


def _evidence(one: Judged) -> dict[str, Any]:
    answer = answer_of(one)
    chosen = {key: answer[key] for key in _SHOWN if answer.get(key) is not None}
    return chosen if "phases" in answer else dict(answer)


def _unreachable(one: Judged, seen: Seen) -> Finding:
    parents = ", ".join(one.because_of)
    return Finding(
        severity=Severity.INFO,
        code="check_unreachable",
        message=f"{one.check.name}: cannot be judged while {parents} is down",
        host=seen.host,
        evidence={"check": one.check.name, "state": one.state.value, "because_of": list(one.because_of)},
        advice=f"Mend {parents} first.",
    )


def _left_out(one: Judged, seen: Seen) -> Iterator[Finding]:
    """Performance data that are no numbers become no metrics; who draws them should know why there is a gap."""
    strange = answer_of(one).get("perfdata_left_out")
    if strange:
        yield Finding(
            severity=Severity.INFO,
            code="perfdata_left_out",
            message=f"{one.check.name}: no finite numbers, so no metrics: {', '.join(strange)}",
            host=seen.host,
            evidence={"check": one.check.name, "left_out": list(strange)},
            advice="Mend the plugin: label=NUMBER with an optional unit, or U for what it does not know.",
        )


def _turned(one: Standing, seen: Seen) -> Iterator[Finding]:
    """On the way up, and up again."""
    name = one.judged.check.name
    if one.recovering and one.now:
        times = f"{one.now.successes} of {one.limits.successes}"
        yield Finding(
            severity=Severity.WARNING,
            code="check_recovering",
            message=f"{name}: answers again ({times} in a row before it counts as up)",
            host=seen.host,
            evidence={"check": name, "state": one.judged.state.value, "successes": one.now.successes, "hard": True},
        )
    warned = _earlier(seen, f"state:{name}") == NUMBERS[State.WARNING] and one.judged.state is State.OK
    if one.recovered or (warned and not one.recovering):
        yield Finding(severity=Severity.INFO, code="check_recovered", message=f"{name}: is well again", host=seen.host)


def _since_last_time(one: Judged, seen: Seen) -> Iterator[Finding]:
    """What only the comparison with the last operation shows."""
    yield from _restarts(one, seen)
    yield from _processes(one, seen)


def _restarts(one: Judged, seen: Seen) -> Iterator[Finding]:
    name = one.check.name
    restarts, before = answer_of(one).get("restarts"), _earlier(seen, f"restarts:{name}")
    if restarts is not None and before is not None and restarts > before:
        yield Finding(
            severity=Severity.WARNING,
            code="service_restarts_rising",
            message=f"{name}: started anew {restarts - before:.0f} times since the last check",
            host=seen.host,
            evidence={"check": name, "restarts": restarts, "before": before},
            advice="Look in the log of the service why it ends.",
        )


def _processes(one: Judged, seen: Seen) -> Iterator[Finding]:
    """One look at a process that waits for a disk means nothing; two in a row do."""
    name, answer = one.check.name, answer_of(one)
    stuck, age, before = answer.get("stuck"), answer.get("oldest_s"), _earlier(seen, f"process_age:{name}")
    if stuck and _earlier(seen, f"process_stuck:{name}"):
        yield Finding(
            severity=Severity.WARNING,
            code="process_stuck",
            message=f"{name}: {stuck} wait for a disk or a file system that does not answer, as at the last check",
            host=seen.host,
            evidence={"check": name, "stuck": stuck, "pids": answer.get("pids", [])},
            advice="See the kernel log, and `ps -o wchan` of them; nothing ends them but an answer.",
        )
    if age is not None and before is not None and age < before:
        yield Finding(
            severity=Severity.INFO,
            code="process_restarted",
            message=f"{name}: was started anew since the last check, {age} s ago",
            host=seen.host,
            evidence={"check": name, "age_s": age, "before_s": before},
        )


def _earlier(seen: Seen, name: str) -> float | None:
    metric = seen.earlier.get(name)
    return metric.value if metric else None
