"""Stage five: what follows from it; findings, score, advice. What the operation held is given back."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from opsqueue.model.kind import Analysis, Finding, OperationKind, Seen
from opsqueue.model.names import Severity, Stage, TargetState
from opsqueue.model.record import Operation, Target
from opsqueue.pipeline import alerting
from opsqueue.pipeline.collect import left_out, numbers, store_measured, unusable, with_changed
from opsqueue.pipeline.move import Known, Move
from opsqueue.pipeline.seen import Looks
from opsqueue.pipeline.submit import params_for
from opsqueue.pipeline.world import World
from opsqueue.store import history, holds
from opsqueue.store.engine import Connection

_MUCH_SLOWER = 3.0
_ENOUGH = 5
_WORTH_A_LOOK = 1.0
"""Seconds; what took less is never called slow, and history is not asked."""
_NOT_BEGUN = "Nothing was sent. Put it right and ask again; `opsqueue plan` tells beforehand."
_WORST_FIRST = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)


def analyze(world: World, operation: Operation, known: Known = None) -> Move:
    """Let the type judge each target, compare with history, and free the slot and the locks."""
    targets = world.targets(operation, known)
    worked = [target for target in targets if target.verified_at is not None]
    kind = world.kind(operation.type) if worked else None
    with world.store.read() as connection:
        thresholds = world.settings.alert_thresholds.model_dump()
        looks = Looks(connection=connection, thresholds=thresholds, hosts=len(worked))
        hosts = world.inventory if worked else {}
        seen = [looks.at(kind, operation, target, hosts.get(target.host)) for target in worked if kind]
        earlier = history.durations(connection, operation) if _slowest(worked) > _WORTH_A_LOOK else []
        analyses = _analyses(world, operation, kind, seen) if kind else {}  # a host's past is read when it is looked at
        findings = _findings(targets, worked, earlier, analyses)
        told = [_with_metrics(target, analyses[target.host]) for target in worked if _tells(analyses, target)]
        changed = with_changed(targets, told)
        alerts = alerting.known(world, connection, [target.host for target in targets])
        judged = alerting.judge(world, alerts, alerting.readings(world, operation, changed, findings))
    scores = [one.score for one in analyses.values() if one.score is not None and math.isfinite(one.score)]
    strange = [f"{host} {name}" for host, one in analyses.items() for name in unusable(one.metrics)]
    analyzed = replace(
        operation, findings=tuple(asdict(finding) for finding in findings), score=min(scores) if scores else None
    )
    return Move(
        operation=analyzed,
        to=Stage.NOTIFY,
        result="analyzed" if worked else "skipped",
        why=_in_words(findings, analyzed.score) + left_out(strange) if worked else "",
        write=lambda tx: _write(tx, world, operation, told, judged),
        targets=changed,
        wake=True,
    )


def _findings(
    targets: Sequence[Target], worked: Sequence[Target], earlier: Sequence[float], analyses: Mapping[str, Analysis]
) -> list[Finding]:
    findings: list[Finding] = [*_of_targets(targets), *_of_duration(worked, earlier)]
    findings.extend(finding for analysis in analyses.values() for finding in analysis.findings)
    return sorted(findings, key=lambda finding: _WORST_FIRST.index(finding.severity))


def _analyses(world: World, operation: Operation, kind: OperationKind, seen: Sequence[Seen]) -> Mapping[str, Analysis]:
    return {
        one.host: _of_host(
            one.host, kind.analyse(params_for(kind, operation.parameters, world.inventory[one.host]), one)
        )
        for one in seen
        if one.host in world.inventory
    }


def _tells(analyses: Mapping[str, Analysis], target: Target) -> bool:
    return target.host in analyses and bool(analyses[target.host].metrics)


def _with_metrics(target: Target, analysis: Analysis) -> Target:
    return replace(target, metrics={**target.metrics, **numbers(analysis.metrics)})


def _write(
    tx: Connection, world: World, operation: Operation, told: Sequence[Target], judged: Sequence[alerting.Judged]
) -> None:
    holds.release(tx, operation.id)
    store_measured(tx, told)
    alerting.write(tx, world, judged)


def _of_host(host: str, analysis: Analysis) -> Analysis:
    """With the host in each finding: a type judges one host, and need not say which."""
    return replace(analysis, findings=tuple(replace(one, host=one.host or host) for one in analysis.findings))


def _of_targets(targets: Sequence[Target]) -> list[Finding]:
    """What the kernel itself has to say of targets that did not end well."""
    words = {
        TargetState.UNKNOWN: (
            Severity.CRITICAL,
            "outcome_unknown",
            "Log in and look; then `opsqueue cancel ID --reason …` closes it.",
        ),
        TargetState.UNREACHABLE: (
            Severity.WARNING,
            "unreachable",
            "Check the host and the way to it; `opsqueue hosts check`.",
        ),
        TargetState.ROLLED_BACK: (
            Severity.WARNING,
            "rolled_back",
            "It is as it was before; see the problems for the cause.",
        ),
        TargetState.FAILED: (Severity.CRITICAL, "target_failed", "See `opsqueue logs` for what the commands said."),
    }
    return [
        Finding(
            severity=words[target.state][0],
            code=words[target.state][1],
            host=target.host,
            message=target.problems[0] if target.problems else target.state.value,
            advice=words[target.state][2] if target.steps or target.state is not TargetState.FAILED else _NOT_BEGUN,
        )
        for target in targets
        if target.state in words
    ]


def _slowest(worked: Sequence[Target]) -> float:
    return max((t.finished_at - t.started_at for t in worked if t.finished_at and t.started_at), default=0.0)


def _of_duration(worked: Sequence[Target], earlier: Sequence[float]) -> list[Finding]:
    if len(earlier) < _ENOUGH:
        return []
    took, usual = _slowest(worked), statistics.median(earlier)
    if took <= usual * _MUCH_SLOWER:
        return []
    return [
        Finding(
            severity=Severity.INFO,
            code="slower_than_usual",
            message=f"it took {took:.1f} s; the last {len(earlier)} took {usual:.1f} s (median)",
            evidence={"seconds": round(took, 3), "median_seconds": round(usual, 3), "compared_with": len(earlier)},
            advice="Look at the load of the host at that time with `opsqueue history --system`.",
        )
    ]


def _in_words(findings: Sequence[Finding], score: float | None) -> str:
    counts = [(severity.value, sum(f.severity is severity for f in findings)) for severity in _WORST_FIRST]
    said = ", ".join(f"{number} {word}" for word, number in counts if number) or "nothing found"
    return said if score is None else f"{said}; score {score:.0f}"
