"""The one place where it is decided what comes next for a deployment: no clock, no record, no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from opsqueue.model.deployment import Deployment, DeploymentState
from opsqueue.model.names import Outcome, Severity, Stage
from opsqueue.model.record import Operation

_WELL = frozenset({Outcome.SUCCEEDED, Outcome.UNCHANGED})
_NOT_TOLD = frozenset({Outcome.CANCELLED, Outcome.DENIED, Outcome.UNKNOWN})
"""Outcomes of a check that say nothing of the service."""
_SAID = 3
"""So many findings are told."""
_BAD = 2.0
"""The metric `state:CHECK` of a check that is critical."""
Measured = Mapping[str, Mapping[str, Any]]
"""By host, the metrics by name, each `{value, unit}`."""
_NOTHING: Measured = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """The state that comes next, why, and what is asked for on the way there."""

    state: DeploymentState
    why: str
    asks: Literal["check", "rollback", ""] = ""


def following(
    deployment: Deployment,
    check: Operation | None,
    rollback: Operation | None,
    *,
    measured: Measured = _NOTHING,
    later: str = "",
) -> Next | None:
    """What comes next; None: it waits for its operation, or is over.

    `check` and `rollback` are its operations as they stand, None where they were not asked for yet; `measured` is what
    the check measured on each host; `later` is the version of a later deployment of the same service on one of the
    same systems, empty when there is none.
    """
    match deployment.state:
        case DeploymentState.RECEIVED if deployment.status == "failed":
            return _not_well(deployment, "the deployment itself failed", later)
        case DeploymentState.RECEIVED | DeploymentState.CHECKING if check is None:
            return Next(state=DeploymentState.CHECKING, why="its health check was asked for", asks="check")
        case DeploymentState.RECEIVED:
            return Next(state=DeploymentState.CHECKING, why="its health check was asked for")
        case DeploymentState.CHECKING:
            return _checked(deployment, check, measured, later) if check and is_decided(check) else None
        case DeploymentState.ROLLING_BACK:
            return _rolling_back(deployment, rollback)
    return None


def _rolling_back(deployment: Deployment, rollback: Operation | None) -> Next | None:
    if rollback is None:
        return Next(state=DeploymentState.ROLLING_BACK, why=deployment.why, asks="rollback")
    return _led_back(deployment, rollback) if is_decided(rollback) else None


def is_decided(operation: Operation) -> bool:
    """Whether outcome and findings stand; that nobody could be told of them yet holds up no rollback."""
    return operation.outcome is not None and operation.stage in {Stage.NOTIFY, Stage.CLOSED}


def _checked(deployment: Deployment, check: Operation, measured: Measured, later: str) -> Next:
    outcome = check.outcome
    if outcome in _NOT_TOLD:
        return Next(state=DeploymentState.UNKNOWN, why=f"its health check was {outcome}: `opsqueue why {check.id}`")
    if bad := [one for one in check.findings if one.get("severity") == Severity.CRITICAL]:
        return _not_well(deployment, f"its health check found: {_in_words(bad)}", later)
    if outcome not in _WELL:
        return _not_well(deployment, f"its health check ended as {outcome}", later)
    if down := [f"{host}: {name}" for host, metrics in measured.items() for name in _down(metrics)]:
        return _not_well(deployment, f"its health check measured: {_first(down)}", later)
    if check.score is None:
        why = f"too much could not be checked to judge it: `opsqueue show {check.id}`"
        return Next(state=DeploymentState.UNKNOWN, why=why)
    return Next(state=DeploymentState.HEALTHY, why=f"its health check scored {check.score:g} of 100")


def _down(metrics: Mapping[str, Any]) -> Iterator[str]:
    """What was measured to be down, even where no finding says so because it failed for the first time."""
    for name, metric in metrics.items():
        if (name == "up" and metric.get("value") == 0) or (name.startswith("state:") and metric.get("value") == _BAD):
            yield f"{name} is {metric['value']:g}"


def _in_words(findings: Sequence[Mapping[str, Any]]) -> str:
    return _first([f"{one.get('host', '')}: {one.get('message', '')}" for one in findings])


def _first(said: Sequence[str]) -> str:
    told = "; ".join(said[:_SAID])
    return told if len(said) <= _SAID else f"{told}; and {len(said) - _SAID} more"


def _not_well(deployment: Deployment, why: str, later: str) -> Next:
    if later:
        return Next(state=DeploymentState.SUPERSEDED, why=f"{why}; {later} was deployed since, so nothing is led back")
    if deployment.rollback is None:
        return Next(state=DeploymentState.FAILED, why=f"{why}; there is nothing that leads back: a person must look")
    return Next(state=DeploymentState.ROLLING_BACK, why=why, asks="rollback")


def _led_back(deployment: Deployment, rollback: Operation) -> Next:
    if rollback.outcome in _WELL:
        why = f"{deployment.why}; its rollback {rollback.outcome}"
        return Next(state=DeploymentState.ROLLED_BACK, why=why)
    why = (
        f"{deployment.why}; its rollback ended as {rollback.outcome}: a person must look: `opsqueue show {rollback.id}`"
    )
    return Next(state=DeploymentState.ROLLBACK_FAILED, why=why)
