"""The one place where it is decided what comes next for a deployment: no clock, no record, no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from opsqueue.model.deployment import Deployment, DeploymentState
from opsqueue.model.names import Outcome, Severity, Stage
from opsqueue.model.record import Operation

_WELL = frozenset({Outcome.SUCCEEDED, Outcome.UNCHANGED})
_NOT_TOLD = frozenset({Outcome.CANCELLED, Outcome.DENIED, Outcome.UNKNOWN})
"""Outcomes of a check that say nothing of the service."""
_NOTHING_DONE = frozenset({Outcome.CANCELLED, Outcome.DENIED})
"""Outcomes of a rollback that sent nothing, unless it was cancelled in the middle."""
_NOTHING_SENT = frozenset({Stage.VERIFY, Stage.WINDOW})
"""Where a rollback can be cancelled before it changed anything."""
_MOST = 2
"""So many rollbacks within an hour; what leads back may report a deployment, and so go round for ever."""
_SAID = 3
"""So many findings are told."""
_BAD = 2.0
"""The metric `state:CHECK` of a check that is critical."""
Measured = Mapping[str, Mapping[str, Any]]
"""By host, the metrics by name, each `{value, unit}`."""
_NOTHING: Measured = {}


class Stands(Protocol):
    """What counts of how an operation stands."""

    @property
    def stage(self) -> Stage:
        """Where it rests."""

    @property
    def outcome(self) -> Outcome | None:
        """How it ended."""

    @property
    def cancel_asked(self) -> str:
        """Who asked to cancel it; empty when nobody did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """The state that comes next, why, and what is asked for on the way there."""

    state: DeploymentState
    why: str
    asks: Literal["check", "rollback", "cancel", ""] = ""


def following(
    deployment: Deployment,
    check: Operation | None,
    rollback: Operation | None,
    *,
    measured: Measured = _NOTHING,
    later: str = "",
    led_back: int = 0,
    touched: bool = False,
) -> Next | None:
    """What comes next; None: it waits for its operation, or is over.

    `check` and `rollback` are its operations as they stand, None where they were not asked for yet; `measured` is what
    the check measured on each host; `later` is the version of a later deployment of the same service on one of the
    same systems, empty when there is none; `led_back` is how many rollbacks there were on them within the last hour;
    `touched` is whether the rollback began to change a host.
    """
    way = _Way(deployment=deployment, rollback=rollback, later=later, led_back=led_back, touched=touched)
    match deployment.state:
        case DeploymentState.RECEIVED if deployment.status == "failed":
            return _not_well(way, "the deployment itself failed")
        case DeploymentState.RECEIVED | DeploymentState.CHECKING if check is None:
            return Next(state=DeploymentState.CHECKING, why="its health check was asked for", asks="check")
        case DeploymentState.RECEIVED:
            return Next(state=DeploymentState.CHECKING, why="its health check was asked for")
        case DeploymentState.CHECKING:
            return _checked(way, check, measured) if check and is_decided(check) else None
        case DeploymentState.ROLLING_BACK:
            return _rolling_back(way)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """What decides on the way back."""

    deployment: Deployment
    rollback: Operation | None
    later: str
    led_back: int
    touched: bool


def may_move(deployment: Deployment, check: Stands | None, rollback: Stands | None, *, later: bool) -> bool:
    """Whether it is worth a closer look: most wait for an operation that goes on. `later`: of the service, anywhere."""
    if deployment.state is DeploymentState.CHECKING:
        return check is None or is_decided(check)
    if deployment.state is DeploymentState.ROLLING_BACK:
        return rollback is None or is_decided(rollback) or (later and _can_be_cancelled(rollback))
    return True


def _can_be_cancelled(rollback: Stands) -> bool:
    return rollback.stage in _NOTHING_SENT and not rollback.cancel_asked


def _rolling_back(way: _Way) -> Next | None:
    deployment, rollback = way.deployment, way.rollback
    if rollback is None:
        return _not_well(way, deployment.why)
    if is_decided(rollback):
        return _led_back(way, rollback)
    if way.later and _can_be_cancelled(rollback):
        why = f"{deployment.why}; {way.later} was deployed since, so its rollback is cancelled"
        return Next(state=DeploymentState.ROLLING_BACK, why=why, asks="cancel")
    return None


def is_decided(stands: Stands) -> bool:
    """Whether outcome and findings stand; that nobody could be told of them yet holds up no rollback."""
    return stands.outcome is not None and stands.stage in {Stage.NOTIFY, Stage.CLOSED}


def _checked(way: _Way, check: Operation, measured: Measured) -> Next:
    outcome = check.outcome
    if outcome in _NOT_TOLD:
        return Next(state=DeploymentState.UNKNOWN, why=f"its health check was {outcome}: `opsqueue why {check.id}`")
    if bad := [one for one in check.findings if one.get("severity") == Severity.CRITICAL]:
        return _not_well(way, f"its health check found: {_in_words(bad)}")
    if outcome not in _WELL:
        return _not_well(way, f"its health check ended as {outcome}")
    if down := [f"{host}: {name}" for host, metrics in measured.items() for name in _down(metrics)]:
        return _not_well(way, f"its health check measured: {_first(down)}")
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


def _not_well(way: _Way, why: str) -> Next:
    if way.rollback is not None:  # it was asked for, and nobody wrote that down
        return Next(state=DeploymentState.ROLLING_BACK, why=why)
    if way.later:
        why = f"{why}; {way.later} was deployed since, so nothing is led back"
        return Next(state=DeploymentState.SUPERSEDED, why=why)
    if way.deployment.rollback is None:
        return Next(state=DeploymentState.FAILED, why=f"{why}; there is nothing that leads back: a person must look")
    if way.led_back >= _MOST:
        why = f"{why}; it was led back {way.led_back} times within the hour: a person must look"
        return Next(state=DeploymentState.FAILED, why=why)
    return Next(state=DeploymentState.ROLLING_BACK, why=why, asks="rollback")


def _led_back(way: _Way, rollback: Operation) -> Next:
    deployment = way.deployment
    if rollback.outcome in _WELL:
        why = f"{deployment.why}; its rollback {rollback.outcome}"
        return Next(state=DeploymentState.ROLLED_BACK, why=why)
    if way.later and rollback.outcome in _NOTHING_DONE and not way.touched:
        why = f"{deployment.why}; its rollback was {rollback.outcome}, and {way.later} was deployed since"
        return Next(state=DeploymentState.SUPERSEDED, why=why)
    why = (
        f"{deployment.why}; its rollback ended as {rollback.outcome}: a person must look: `opsqueue show {rollback.id}`"
    )
    return Next(state=DeploymentState.ROLLBACK_FAILED, why=why)
