"""Deployments: taken in once for each event, and brought on from whatever state they are found in.

`step` reads how a deployment and its operations stand, lets `opsqueue.deployments` decide, asks for the operation, and
only then writes the state down. A crash in between does the same again: the operation has the same id, so it is one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opsqueue.deployments.following import Measured, Next, following, is_decided
from opsqueue.errors import Conflict, InvalidRequest, NotFound, OpsqueueError
from opsqueue.model.deployment import Deployment, DeploymentEvent, DeploymentState, Rollback
from opsqueue.model.names import OperationPriority, OperationType
from opsqueue.model.record import Event, Operation
from opsqueue.model.request import parse_request
from opsqueue.pipeline import control
from opsqueue.pipeline.submit import checked, refuse_unkept, submit
from opsqueue.pipeline.world import World
from opsqueue.settings_parts import DeploymentSettings
from opsqueue.store import deployments, events, operations, targets
from opsqueue.store.engine import Connection
from opsqueue.telemetry import iso

_log = logging.getLogger("opsqueue.deployments")
_NOBODY = (NotFound, InvalidRequest, Conflict)
"""What an operation cannot be asked for by, now or later."""


def take_in(world: World, event: DeploymentEvent) -> Deployment:
    """Write an event down and ask for its health check; the same event again gives the deployment that is there.

    Raises InvalidRequest or NotFound for an event whose health check or rollback could not be asked for, Conflict when
    its id belongs to another one. Nothing is recorded then.
    """
    refuse_unkept(event.model_dump())
    fresh = _fresh(world, event)
    for request in (fresh.check, fresh.rollback):
        if request is not None and not _is_there(world, fresh):
            checked(world, parse_request(request))
    with world.store.begin() as tx:
        if deployments.create(tx, fresh, event.digest()):
            _note(tx, fresh, fresh.created_at, f"{fresh.service} {fresh.version} was deployed: {fresh.status}")
    step(world, fresh.id)
    with world.store.read() as connection:
        return deployments.get(connection, fresh.id)


def _is_there(world: World, deployment: Deployment) -> bool:
    """Whether this event came before: what it asks for was judged then, by the configuration of then."""
    with world.store.read() as connection:
        return deployments.known(connection, deployment.id)


def step_all(world: World) -> int:
    """Bring on every deployment that is not over; returns how many moved. Safe to call from many at once."""
    with world.store.read() as connection:
        waiting = deployments.going_on(connection)
    moved = 0
    for one in waiting:
        try:
            moved += step(world, one.id)
        except OpsqueueError as error:
            _log.error("FAILED to bring on deployment %s of %s: %s", one.id, one.service, error.message)
    return moved


def step(world: World, deployment_id: str) -> bool:
    """Do what comes next for a deployment, if anything does; False when it waits, is over, or another was quicker."""
    with world.store.read() as connection:
        now_is = deployments.get(connection, deployment_id)
        if now_is.state.over:
            return False
        check, rollback = (_operation(connection, one) for one in (now_is.check_id, now_is.rollback_id))
        measured, later = _measured(connection, now_is, check), _later(world, connection, now_is)
        comes = following(now_is, check, rollback, measured=measured, later=later)
    comes = comes and _asked(world, now_is, comes)
    if comes is None:
        return False
    now = world.now()
    with world.store.begin() as tx:
        if not deployments.move(tx, now_is, comes.state, comes.why, now):
            return False
        if comes.state is DeploymentState.HEALTHY:
            _monitor(tx, world, now_is, now)
        _note(tx, replace(now_is, state=comes.state), now, comes.why)
    level = logging.INFO if comes.state in _QUIET else logging.WARNING
    word = "FAILED " if level == logging.WARNING else ""
    _log.log(level, "%sdeployment of %s %s: %s: %s", word, now_is.service, now_is.version, comes.state, comes.why)
    return True


_QUIET = frozenset({DeploymentState.RECEIVED, DeploymentState.CHECKING, DeploymentState.HEALTHY})


def _asked(world: World, deployment: Deployment, comes: Next) -> Next | None:
    """Ask for what comes next; what comes instead when it cannot be asked for, None: what is there goes on."""
    if not comes.asks:
        return comes
    if comes.asks == "cancel":
        return comes if _cancelled(world, deployment, comes.why) else None
    request = deployment.check if comes.asks == "check" else deployment.rollback
    try:
        submit(world, parse_request(request))
    except _NOBODY as error:
        ends = DeploymentState.UNKNOWN if comes.asks == "check" else DeploymentState.ROLLBACK_FAILED
        return Next(state=ends, why=f"its {comes.asks} cannot be asked for: {error.message}")
    return comes


def _cancelled(world: World, deployment: Deployment, why: str) -> bool:
    """Ask to cancel its rollback; False when it ended meanwhile."""
    try:
        control.cancel(world, deployment.rollback_id, actor=f"deployment:{deployment.service}", reason=why)
    except (Conflict, NotFound):
        return False
    return True


def _operation(connection: Connection, operation_id: str) -> Operation | None:
    try:
        return operations.get(connection, operation_id)
    except NotFound:
        return None


def _measured(connection: Connection, deployment: Deployment, check: Operation | None) -> Measured:
    """What its health check measured, once that stands; later nobody asks."""
    if check is None or deployment.state is not DeploymentState.CHECKING or not is_decided(check):
        return {}
    return {target.host: target.metrics for target in targets.of(connection, check.id)}


def _later(world: World, connection: Connection, deployment: Deployment) -> str:
    """The version of a later deployment of the service on one of the same hosts; empty: there is none."""
    here = _hosts(world, deployment.systems)
    later = (one for one in deployments.since(connection, deployment) if here & _hosts(world, one.systems))
    return next((one.version for one in later), "")


def _hosts(world: World, systems: tuple[str, ...]) -> frozenset[str]:
    """The hosts that they stand for, and the words themselves, for hosts come and go."""
    try:
        return frozenset([*systems, *(host.name for host in world.hosts(systems))])
    except (NotFound, InvalidRequest):
        return frozenset(systems)


def _monitor(tx: Connection, world: World, deployment: Deployment, now: float) -> None:
    given = world.settings.deployments.get(deployment.service)
    checks = deployment.check["parameters"].get("checks", ())
    if checks and (given is None or given.monitor):
        hosts = [target.host for target in targets.of(tx, deployment.check_id)]
        deployments.monitor(tx, deployment, hosts, checks, now)


def _note(tx: Connection, deployment: Deployment, at: float, message: str) -> None:
    data = {"id": deployment.id, "service": deployment.service, "version": deployment.version}
    line = Event(
        operation_id=None,
        at=at,
        kind="deployment",
        actor=deployment.requested_by,
        message=message,
        data={**data, "state": deployment.state.value},
    )
    events.append(tx, [line])


# -- what is asked for --------------------------------------------------------------------------------------


def _fresh(world: World, event: DeploymentEvent) -> Deployment:
    """The deployment that an event becomes, with both requests as they would be made now."""
    given = world.settings.deployments.get(event.service, DeploymentSettings())
    empty = Deployment(
        id=str(event.event_id),
        service=event.service,
        version=event.version,
        systems=event.systems,
        status=event.status,
        requested_by=event.requested_by,
        reason=event.reason,
        check={},
        rollback=None,
        created_at=world.now(),
    )
    parameters = given.health_check if event.health_check is None else event.health_check
    check = {
        **_common(empty, given, f"{event.service} {event.version}: health check"),
        "type": OperationType.HEALTH_CHECK.value,
        "priority": OperationPriority.HIGH.value,
        # The first failure counts: the failures in a row are those of the version before.
        "parameters": {"failure_threshold": 1, **parameters},
        "target_systems": list(event.systems),
        "operation_id": empty.check_id,
    }
    return replace(empty, check=check, rollback=_rollback(world, empty, given, event.rollback or given.rollback))


def _rollback(
    world: World, deployment: Deployment, given: DeploymentSettings, wanted: Rollback | None
) -> dict[str, Any] | None:
    """The request that leads back; None where there is none, or no version to lead back to."""
    if wanted is None:
        return None
    with world.store.read() as connection:
        previous = deployments.last_healthy(connection, deployment.service, deployment.version)
    if previous is None and "{previous_version}" in str(wanted.parameters):
        return None
    words = {"version": deployment.version, "previous_version": previous or "", "service": deployment.service}
    said = wanted.model_dump(mode="json", exclude={"parameters", "target_systems"}, exclude_none=True)
    return {
        **_common(deployment, given, f"{deployment.service} {deployment.version}: rollback"),
        **said,
        "parameters": _filled(wanted.parameters, words),
        "target_systems": list(wanted.target_systems or deployment.systems),
        "operation_id": deployment.rollback_id,
    }


def _common(deployment: Deployment, given: DeploymentSettings, name: str) -> dict[str, Any]:
    why = f"deployment {deployment.id} by {deployment.requested_by}"
    return {
        "name": name[:200],
        "requested_by": f"deployment:{deployment.service}"[:200],
        "reason": f"{why}: {deployment.reason}" if deployment.reason else why,
        "notification_channels": None if given.notify is None else list(given.notify),
    }


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    """A value of JSON with `{word}` filled in, in its texts."""
    if isinstance(value, str):
        for word, text in words.items():
            value = value.replace(f"{{{word}}}", text)
        return value
    if isinstance(value, Mapping):
        return {key: _filled(one, words) for key, one in value.items()}
    return [_filled(one, words) for one in value] if isinstance(value, list | tuple) else value


# -- for people and programs --------------------------------------------------------------------------------


def as_json(deployment: Deployment) -> dict[str, Any]:
    """One deployment with stable keys."""
    asked = deployment.state is not DeploymentState.RECEIVED
    led_back = {DeploymentState.ROLLING_BACK, DeploymentState.ROLLED_BACK, DeploymentState.ROLLBACK_FAILED}
    return {
        "event_id": deployment.id,
        "service": deployment.service,
        "version": deployment.version,
        "systems": list(deployment.systems),
        "status": deployment.status,
        "state": deployment.state.value,
        "why": deployment.why,
        "requested_by": deployment.requested_by,
        "reason": deployment.reason,
        "health_check_id": deployment.check_id if asked and deployment.status == "succeeded" else None,
        "rollback_id": deployment.rollback_id if deployment.state in led_back else None,
        "rollback_type": deployment.rollback["type"] if deployment.rollback else None,
        "created_at": iso(deployment.created_at),
        "finished_at": iso(deployment.finished_at),
    }
