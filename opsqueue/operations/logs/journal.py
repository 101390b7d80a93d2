"""The journal of systemd: journald rotates and removes by itself, and is told how much may stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opsqueue.facts.logs import journal
from opsqueue.model.fact import Fact, Facts, why_unknown
from opsqueue.model.kind import Finding, Metric
from opsqueue.model.names import Severity
from opsqueue.model.plan import Command, Plan, Step
from opsqueue.operations.logs.params import LogRotationParams

_MB = 1 << 20


def fact(params: LogRotationParams) -> Fact:
    """How much room it takes."""
    return journal(params.journal_directory, params.log_retention_days, sudo=params.sudo)


def _answer(found: Facts) -> Mapping[str, Any] | None:
    answer = found.get("journal")
    return None if not answer or why_unknown(answer) is not None or answer["problem"] else answer


def objections(params: LogRotationParams, before: Facts) -> Iterator[str]:
    """Why it cannot be told."""
    if _answer(before) is None and params.when_unclear == "fail":
        yield _why(before)


def _why(found: Facts) -> str:
    answer = found.get("journal")
    reason = "nobody was asked" if not answer else why_unknown(answer) or answer["problem"]
    return f"the journal could not be looked at: {reason}"


def _is_large(params: LogRotationParams, answer: Mapping[str, Any]) -> bool:
    return bool(params.max_total_mb) and answer["usage"] > params.max_total_mb * _MB


def plan(params: LogRotationParams, before: Facts) -> Plan:
    """Archive what is written now, then remove what is too old or too much."""
    answer = _answer(before)
    if answer is None:
        return Plan(note=_why(before))
    if not answer["old"] and not _is_large(params, answer) and not params.force:
        return Plan(note=f"the journal takes {answer['usage']} bytes, and nothing in it is too old")
    where = (f"--directory={params.journal_directory}",) if params.journal_directory else ()
    limits = [f"--vacuum-time={params.log_retention_days}d"]
    limits += [f"--vacuum-size={params.max_total_mb}M"] if params.max_total_mb else []
    turn = () if where else (_step(params, "let journald begin new files", "journalctl", "--rotate"),)
    gone = _step(params, "remove what is too old or too much", "journalctl", *where, *limits)
    return Plan(steps=(*turn, gone), note=f"the journal takes {answer['usage']} bytes")


def _step(params: LogRotationParams, title: str, *argv: str) -> Step:
    return Step(title=title, command=Command(argv=argv, sudo=params.sudo, timeout=params.timeout_seconds))


def verify(params: LogRotationParams, before: Facts, found: Facts) -> Iterator[str]:
    """What should not be there any more; what is written now is never removed, and counts for nothing."""
    answer = _answer(found)
    if _answer(before) is None:
        return
    if answer is None:
        yield _why(found)
    elif answer["old"]:
        yield f"{answer['old']} files of the journal are older than {params.log_retention_days} days"
    elif _is_large(params, answer) and answer["archived"]:
        yield f"the journal still takes {answer['usage']} bytes, wanted {params.max_total_mb} MB at most"


def measure(before: Facts, found: Facts) -> Iterator[Metric]:
    """Its size, and what was won."""
    was, now = _answer(before), _answer(found)
    if was and now:
        yield Metric(name="journal_bytes", value=float(now["usage"]), unit="bytes")
        yield Metric(name="bytes_freed", value=float(was["usage"] - now["usage"]), unit="bytes")
        yield Metric(name="removed", value=float(max(0, was["files"] - now["files"])), unit="count")


def findings(before: Facts) -> Iterator[Finding]:
    """That there is none."""
    if _answer(before) is None:
        advice = "Leave this host out, or install systemd's journal."
        yield Finding(severity=Severity.INFO, code="journal_unclear", message=_why(before), advice=advice)
