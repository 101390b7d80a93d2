"""What people and programs see: the JSON of one operation, and the reasons why it waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opsqueue.model.advice import with_id
from opsqueue.model.names import Stage, TargetState
from opsqueue.model.record import Delivery, Event, Freeze, Operation, Target, status_of
from opsqueue.store import deliveries, events, operations
from opsqueue.store import targets as store_targets
from opsqueue.store.engine import Store
from opsqueue.telemetry import iso


def brief(operation: Operation, now: float) -> dict[str, Any]:
    """One line of a list."""
    return {
        "operation_id": operation.id,
        "name": operation.name,
        "type": operation.type,
        "priority": operation.priority.value,
        "status": status_of(operation, now),
        "outcome": operation.outcome.value if operation.outcome else None,
        "stage": operation.stage.value,
        "systems": list(operation.systems),
        "requested_by": operation.requested_by,
        "waits_for": list(operation.hold),
        "due_at": iso(operation.due_at),
        "created_at": iso(operation.created_at),
        "finished_at": iso(operation.finished_at),
        "health_score": operation.score,
    }


def whole(store: Store, operation_id: str, now: float) -> dict[str, Any]:
    """Everything about one operation, in the keys of the contract; NotFound when there is none."""
    with store.read() as connection:
        operation = operations.get(connection, operation_id)
        targets = store_targets.of(connection, operation_id)
        outbox = deliveries.of(connection, operation_id)
        lines = events.of(connection, operation_id)
    return {
        "operation_id": operation.id,
        "name": operation.name,
        "type": operation.type,
        "priority": operation.priority.value,
        "description": operation.description,
        "parameters": dict(operation.parameters),
        "status": status_of(operation, now),
        "outcome": operation.outcome.value if operation.outcome else None,
        "requested_by": operation.requested_by,
        "reason": operation.reason,
        "digest": operation.digest,
        "created_at": iso(operation.created_at),
        "finished_at": iso(operation.finished_at),
        "rollout": {} if operation.looking else dict(operation.rollout),
        "stages": stages(lines),
        "verdicts": [{**verdict, "until": iso(verdict["until"])} for verdict in operation.verdicts],
        "targets": [_target(target) for target in targets],
        "metrics": {target.host: dict(target.metrics) for target in targets if target.metrics},
        "health_score": operation.score,
        "findings": [
            {**finding, "advice": with_id(finding.get("advice", ""), operation.id)} for finding in operation.findings
        ],
        "notifications": [_delivery(delivery) for delivery in outbox],
        "stage": operation.stage.value,
        "systems": list(operation.systems),
        "waits_for": list(operation.hold),
        "due_at": iso(operation.due_at),
    }


def stages(lines: Iterable[Event]) -> list[dict[str, Any]]:
    """One entry for each time a stage was worked, in order."""
    return [
        {
            "stage": line.stage,
            "result": line.data["result"],
            "why": line.message,
            "started_at": iso(line.data["started_at"]),
            "finished_at": iso(line.at),
            "seconds": line.data["seconds"],
            "worker": line.actor,
        }
        for line in lines
        if line.kind == "stage"
    ]


def _target(target: Target) -> dict[str, Any]:
    return {
        "host": target.host,
        "status": target.state.value,
        "changed": target.changed,
        "attempts": target.attempt,
        "plan": [str(step.command) for step in target.plan.steps],
        "problems": list(target.problems),
        "steps": [dict(step) for step in target.steps],
        "before": dict(target.before),
        "after": dict(target.after),
        "metrics": dict(target.metrics),
        "started_at": iso(target.started_at),
        "finished_at": iso(target.finished_at),
        "verified_at": iso(target.verified_at),
    }


def _delivery(delivery: Delivery) -> dict[str, Any]:
    return {
        "channel": delivery.channel,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "at": iso(delivery.at),
        "error": "; ".join(word for word in (delivery.error, delivery.note) if word) or None,
    }


def freeze_json(freeze: Freeze, now: float) -> dict[str, Any]:
    """A freeze, and whether it stands now."""
    ended = freeze.lifted_at is not None or (freeze.ends_at is not None and freeze.ends_at <= now)
    state = "ended" if ended else "active" if freeze.starts_at <= now else "coming"
    return {
        "freeze_id": freeze.id,
        "state": state,
        "scope": list(freeze.scope),
        "reason": freeze.reason,
        "starts_at": iso(freeze.starts_at),
        "ends_at": iso(freeze.ends_at),
        "created_by": freeze.created_by,
        "lifted_at": iso(freeze.lifted_at),
        "lifted_by": freeze.lifted_by or None,
    }


def why(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every reason why an operation (as `whole` gives it) waits or was refused: `{who, verdict, why, until}`."""
    reasons = [
        {"who": verdict["gate"], "verdict": verdict["verdict"], "why": verdict["why"], "until": verdict["until"]}
        for verdict in data["verdicts"]
        if verdict["verdict"] != "pass"
    ]
    worked = [one for one in data["stages"] if one["result"] != "skipped" and one["stage"] not in _AFTERWARDS]
    last = worked[-1] if worked else None
    if last and last["result"] in _STANDS_STILL and not reasons:
        reasons.append({"who": last["stage"], "verdict": last["result"], "why": last["why"], "until": data["due_at"]})
    for target in data["targets"]:
        if target["status"] not in {TargetState.SUCCEEDED, TargetState.UNCHANGED, TargetState.PENDING}:
            reasons.extend(
                {"who": target["host"], "verdict": target["status"], "why": problem, "until": None}
                for problem in target["problems"]
            )
    return reasons


_AFTERWARDS = {Stage.COLLECT, Stage.ANALYZE, Stage.NOTIFY}
"""What is worked whatever became of the operation, and says nothing of why."""
_STANDS_STILL = {"failed", "denied", "retrying", "looking", "held", "cancelled", "replanned"}


def settled(data: Mapping[str, Any]) -> bool:
    """Whether one who waits has what it waits for: it is closed, or decided and every delivery was tried."""
    if data["stage"] == Stage.CLOSED:
        return True
    # What waits by a rule, such as quiet hours, was looked at as well: nobody wants to wait for the morning with it.
    tried = data["notifications"] and all(one["attempts"] or one["error"] for one in data["notifications"])
    return data["outcome"] is not None and data["stage"] == Stage.NOTIFY and bool(tried) and bool(data["waits_for"])
