"""Deployments: taken in once for each event, and brought on from whatever state they are found in.

`step` reads how a deployment and its operations stand, lets `opsqueue.deployments` decide, asks for the operation, and
only then writes the state down. A crash in between does the same again: the operation has the same id, so it is one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from opsqueue.deployments.following import Measured, Next, following, is_decided, may_move
from opsqueue.errors import Conflict, InvalidRequest, NotFound, OpsqueueError
from opsqueue.model.deployment import Deployment, DeploymentEvent, DeploymentState
from opsqueue.model.record import Event, Operation
from opsqueue.model.request import parse_request
from opsqueue.pipeline import control
from opsqueue.pipeline.deployment_requests import (
    LED_BACK,
    as_it_would_be,
    fresh,
    hosts_of,
    leading_back,
    led_back,
    stranger,
)
from opsqueue.pipeline.submit import checked, refuse_unkept, submit
from opsqueue.pipeline.world import World
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
    new = fresh(world, event)
    for request in _first_asked(world, new):
        checked(world, parse_request(request))
    with world.store.begin() as tx:
        if deployments.create(tx, new, event.digest()):
            _note(tx, new, new.created_at, f"{new.service} {new.version} was deployed: {new.status}")
    step(world, new.id)
    with world.store.read() as connection:
        return deployments.get(connection, new.id)


def _first_asked(world: World, new: Deployment) -> list[Mapping[str, Any]]:
    """What it may ask for; nothing when this event came before: that was judged by the configuration of then."""
    with world.store.read() as connection:
        if deployments.known(connection, new.id):
            return []
        return [one for one in (new.check, as_it_would_be(world, connection, new)) if one is not None]


def step_all(world: World) -> int:
    """Bring on every deployment that is not over; returns how many moved. Safe to call from many at once."""
    moved = 0
    for one in _ready(world):
        try:
            moved += step(world, one.id)
        except OpsqueueError as error:
            _log.error("FAILED to bring on deployment %s of %s: %s", one.id, one.service, error.message)
    return moved


def _ready(world: World) -> Iterator[Deployment]:
    """Page by page, those whose operations moved on: all the others have nothing to be looked at for."""
    last: Deployment | None = None
    while True:
        with world.store.read() as connection:
            page = deployments.going_on(connection, after=last)
            ready = _of_these(connection, page) if page else []
        yield from ready
        if not page:
            return
        last = page[-1]


def _of_these(connection: Connection, page: Sequence[Deployment]) -> list[Deployment]:
    stand = operations.standing(connection, [key for one in page for key in (one.check_id, one.rollback_id)])
    back = {one.service for one in page if one.state is DeploymentState.ROLLING_BACK}
    newest = deployments.newest(connection, back)

    def worth_it(one: Deployment) -> bool:
        later = newest.get(one.service, 0.0) > one.created_at
        return may_move(one, stand.get(one.check_id), stand.get(one.rollback_id), later=later)

    return [one for one in page if worth_it(one)]


def step(world: World, deployment_id: str) -> bool:
    """Do what comes next for a deployment, if anything does; False when it waits, is over, or another was quicker."""
    with world.store.read() as connection:
        now_is = deployments.get(connection, deployment_id)
        if now_is.state.over:
            return False
        check, rollback = (_operation(connection, one) for one in (now_is.check_id, now_is.rollback_id))
        another = stranger(world, connection, now_is, check, rollback)
        if _waits_for(now_is, check) and not another[0]:
            return False
        measured, later = _measured(connection, now_is, check), _later(world, connection, now_is)
        if rollback is None:  # one that was asked for stays as it was then
            now_is = replace(now_is, rollback=leading_back(world, connection, now_is))
        often = led_back(world, connection, now_is) if rollback is None else 0
        touched = any(target.changed_at for target in targets.of(connection, now_is.rollback_id))
        comes = following(now_is, check, rollback, measured=measured, later=later, led_back=often, touched=touched)
    comes = _own(now_is, comes, *another)
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


def _own(deployment: Deployment, comes: Next | None, check: str, rollback: str) -> Next | None:
    """What comes next when an operation that it would go by is none of its own."""
    back = DeploymentState.ROLLING_BACK
    if check and deployment.status == "succeeded" and deployment.state is not back:
        return Next(state=DeploymentState.UNKNOWN, why=check)
    if rollback and (deployment.state is back or (comes and comes.state is back)):
        why = comes.why if comes and deployment.state is not back else deployment.why
        return Next(state=DeploymentState.ROLLBACK_FAILED, why=f"{why}; {rollback}")
    return comes


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


def _waits_for(deployment: Deployment, check: Operation | None) -> bool:
    return deployment.state is DeploymentState.CHECKING and check is not None and not is_decided(check)


def _measured(connection: Connection, deployment: Deployment, check: Operation | None) -> Measured:
    """What its health check measured; later nobody asks."""
    if check is None or deployment.state is not DeploymentState.CHECKING:
        return {}
    return {target.host: target.metrics for target in targets.of(connection, check.id)}


def _later(world: World, connection: Connection, deployment: Deployment) -> str:
    """The version of a later deployment of the service on one of the same hosts; empty: there is none."""
    here = hosts_of(world, deployment.systems)
    since = deployments.since(connection, deployment, world.now())
    return next((one.version for one in since if here & hosts_of(world, one.systems)), "")


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


def forget(world: World, service: str, hosts: Sequence[str], *, actor: str) -> list[str]:
    """Stop monitoring what was deployed of a service, on these hosts or everywhere; the hosts on which it was.

    Raises NotFound when it was monitored on none of them. The next healthy deployment is monitored again.
    """
    with world.store.begin() as tx:
        gone = deployments.forget(tx, service, hosts)
        if not gone:
            where = f"on {', '.join(hosts)}" if hosts else "anywhere"
            raise NotFound(f"nothing of {service} is monitored {where}; `opsqueue deployments list` shows the services")
        said = f"{service} is not monitored any more on {', '.join(gone)}"
        data = {"service": service, "hosts": gone}
        line = Event(operation_id=None, at=world.now(), kind="monitor_forgotten", actor=actor, message=said, data=data)
        events.append(tx, [line])
    return gone


# -- for people and programs --------------------------------------------------------------------------------


def as_json(deployment: Deployment) -> dict[str, Any]:
    """One deployment with stable keys."""
    asked = deployment.state is not DeploymentState.RECEIVED
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
        "rollback_id": deployment.rollback_id if deployment.state in LED_BACK else None,
        "rollback_type": deployment.rollback["type"] if deployment.rollback else None,
        "created_at": iso(deployment.created_at),
        "finished_at": iso(deployment.finished_at),
    }
