"""What a deployment asks for: its health check, and the operation that leads back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from opsqueue.errors import InvalidRequest, NotFound
from opsqueue.model.deployment import Deployment, DeploymentEvent, DeploymentState, Rollback
from opsqueue.model.names import OperationPriority, OperationType
from opsqueue.model.record import Operation
from opsqueue.model.request import parse_request
from opsqueue.pipeline.world import World
from opsqueue.settings_parts import DeploymentSettings
from opsqueue.store import deployments
from opsqueue.store.engine import Connection

_PREVIOUS = "{previous_version}"
_HOUR = 3600.0
LED_BACK = frozenset({DeploymentState.ROLLING_BACK, DeploymentState.ROLLED_BACK, DeploymentState.ROLLBACK_FAILED})
"""Where a rollback was asked for."""
_NOT_WELL = LED_BACK | {DeploymentState.FAILED, DeploymentState.SUPERSEDED}


def fresh(world: World, event: DeploymentEvent) -> Deployment:
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
    return replace(empty, check=check, rollback=_rollback(empty, given, event.rollback or given.rollback))


def _rollback(deployment: Deployment, given: DeploymentSettings, wanted: Rollback | None) -> dict[str, Any] | None:
    """The request that leads back, its words not filled in yet; None where there is none."""
    if wanted is None:
        return None
    said = wanted.model_dump(mode="json", exclude={"target_systems"}, exclude_none=True)
    return {
        **_common(deployment, given, f"{deployment.service} {deployment.version}: rollback"),
        **said,
        "target_systems": list(wanted.target_systems or deployment.systems),
        "operation_id": deployment.rollback_id,
    }


def as_it_would_be(world: World, connection: Connection, deployment: Deployment) -> Mapping[str, Any] | None:
    """The request that leads back as it may come to be asked for; where there is no other version, with its own."""
    asks = deployment.rollback
    return asks and _with_words(deployment, asks, previous(world, connection, deployment) or deployment.version)


def leading_back(world: World, connection: Connection, deployment: Deployment) -> Mapping[str, Any] | None:
    """The request that leads back from where the hosts stand now; None where there is none, or no version for it."""
    asks = deployment.rollback
    if asks is None or _PREVIOUS not in str(asks["parameters"]):
        return asks and _with_words(deployment, asks, "")
    version = previous(world, connection, deployment)
    return None if version is None else _with_words(deployment, asks, version)


def stranger(
    world: World, connection: Connection, deployment: Deployment, check: Operation | None, rollback: Operation | None
) -> tuple[str, str]:
    """What is said of an operation that has the id of its check, and of one with that of its rollback, and is another.

    Empty where there is none, or where it is the one that was asked for. Whoever knows the id of the event knows these
    ids, and could say by them how a deployment ends.
    """
    asks = deployment.rollback
    return (
        "" if check is None or _is(check, deployment.check) else _other(check, "health check"),
        ""
        if rollback is None or (asks and any(_is(rollback, one) for one in _as_it_was(world, connection, deployment)))
        else _other(rollback, "rollback"),
    )


def _as_it_was(world: World, connection: Connection, deployment: Deployment) -> Iterator[Mapping[str, Any]]:
    """The requests that lead back as they may have been asked for: which version came before is not written down."""
    asks = deployment.rollback
    if asks is None:
        return
    yield asks
    yield _with_words(deployment, asks, deployment.version)
    if _PREVIOUS in str(asks["parameters"]):
        for one in _before(world, connection, deployment):
            yield _with_words(deployment, asks, one.version)


def _is(operation: Operation, asks: Mapping[str, Any]) -> bool:
    """Whether it is what was asked for; who asked, and the words about why, change nothing of that."""
    wanted = parse_request(asks)
    alike = ("name", "type", "priority", "parameters", "retry_count", "rollback_enabled")
    return (
        all(getattr(operation, name) == getattr(wanted, name) for name in alike)
        and (operation.systems, operation.window) == (wanted.target_systems, wanted.maintenance_window)
        and operation.channels == wanted.notification_channels
        and ("timeout" not in wanted.model_fields_set or operation.timeout == wanted.timeout)
    )


def _other(operation: Operation, what: str) -> str:
    who = f"{operation.type} by {operation.requested_by}"
    look = f"a person must look: `opsqueue show {operation.id}`"
    return f"the operation with the id of its {what} is another one ({who}): {look}"


def _with_words(deployment: Deployment, asks: Mapping[str, Any], version: str) -> Mapping[str, Any]:
    words = {"version": deployment.version, "previous_version": version, "service": deployment.service}
    return {**asks, "parameters": filled(asks["parameters"], words)}


def previous(world: World, connection: Connection, deployment: Deployment) -> str | None:
    """The other version of the service that was last found to be healthy on one of its hosts, and well since."""
    left = {deployment.version}
    for one in _before(world, connection, deployment):
        if one.state is DeploymentState.HEALTHY and one.version not in left:
            return one.version
        if one.state in _NOT_WELL:
            left.add(one.version)
    return None


def led_back(world: World, connection: Connection, deployment: Deployment) -> int:
    """How many rollbacks of the service there were on its hosts within the last hour, with those that go on."""
    since = world.now() - _HOUR
    asked = (one for one in _before(world, connection, deployment) if one.state in LED_BACK)
    return sum(one.finished_at is None or one.finished_at > since for one in asked)


def _before(world: World, connection: Connection, deployment: Deployment) -> Iterator[Deployment]:
    """The earlier deployments of the service on one of its hosts, the newest first."""
    here = hosts_of(world, deployment.systems)
    return (one for one in deployments.until(connection, deployment) if here & hosts_of(world, one.systems))


def _common(deployment: Deployment, given: DeploymentSettings, name: str) -> dict[str, Any]:
    why = f"deployment {deployment.id} by {deployment.requested_by}"
    return {
        "name": name[:200],
        "requested_by": f"deployment:{deployment.service}"[:200],
        "reason": f"{why}: {deployment.reason}" if deployment.reason else why,
        "notification_channels": None if given.notify is None else list(given.notify),
    }


def filled(value: Any, words: Mapping[str, str]) -> Any:
    """A value of JSON with `{word}` filled in, in its texts."""
    if isinstance(value, str):
        for word, text in words.items():
            value = value.replace(f"{{{word}}}", text)
        return value
    if isinstance(value, Mapping):
        return {key: filled(one, words) for key, one in value.items()}
    return [filled(one, words) for one in value] if isinstance(value, list | tuple) else value


def hosts_of(world: World, systems: tuple[str, ...]) -> frozenset[str]:
    """The hosts that they stand for, and the words themselves, for hosts come and go."""
    try:
        return frozenset([*systems, *(host.name for host in world.hosts(systems))])
    except (NotFound, InvalidRequest):
        return frozenset(systems)
