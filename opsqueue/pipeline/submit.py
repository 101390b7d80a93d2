"""Take a request into the record, once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from opsqueue.errors import InvalidRequest
from opsqueue.model.host import Host
from opsqueue.model.kind import OperationKind, Params
from opsqueue.model.record import Event, Operation
from opsqueue.model.request import Request, explain
from opsqueue.pipeline.evidence import own_window
from opsqueue.pipeline.world import World
from opsqueue.secrets import literal_secrets
from opsqueue.store import events, operations


def submit(world: World, request: Request, *, schedule: str | None = None, slot: float | None = None) -> Operation:
    """Check a request, write it down and nudge a worker; the same id again gives the operation that is there.

    Raises InvalidRequest, NotFound (type, host), Conflict (the id belongs to another request). Nothing is
    recorded then.
    """
    kind, _ = checked(world, request)
    operation = replace(fresh(world, request, kind), schedule=schedule, slot=slot)
    asked = Event(
        operation_id=operation.id,
        at=operation.created_at,
        kind="submitted",
        actor=operation.requested_by,
        message=f"{operation.type} on {', '.join(operation.systems)} was asked for",
        data={"reason": operation.reason} if operation.reason else {},
    )
    with world.store.begin() as tx:
        new = operations.create(tx, operation, request.digest())
        if new:
            events.append(tx, [asked])
        elif slot is None:
            operation = operations.get(tx, operation.id)
    if new:
        world.dispatch(operation)
    return operation


def checked(world: World, request: Request) -> tuple[OperationKind, tuple[Host, ...]]:
    """The type and the hosts of a request that can be honoured; InvalidRequest or NotFound otherwise."""
    kind = world.kind(request.type)
    refuse_unkept(request.model_dump())
    if found := literal_secrets(request.parameters, "parameters"):
        raise InvalidRequest(f'{found[0]} holds a secret in plain text; give a reference: {{"$secret": "file:/path"}}')
    hosts = world.hosts(request.target_systems)
    for host in hosts:
        params_for(kind, request.parameters, host)
    own_window(world.settings, request.maintenance_window)
    known = {"log", *world.settings.notification_channels, *world.settings.notification_urls}
    for channel in request.notification_channels or ():
        if channel not in known:
            raise InvalidRequest(
                f"there is no notification channel {channel!r}; the configuration has: {', '.join(sorted(known))}"
            )
    return kind, hosts


def refuse_unkept(value: Any) -> None:
    """Raise InvalidRequest when a value of JSON holds a text that no database, or no program, would take."""
    if not all(_can_be_kept(text) for text in _texts(value)):
        raise InvalidRequest("the request holds a NUL, or half of a character (a lone surrogate): take it out")


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value of JSON, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _texts(pair)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def _can_be_kept(text: str) -> bool:
    # PostgreSQL keeps no NUL, no database a lone surrogate, and no program takes a NUL as an argument.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def params_for(kind: OperationKind, parameters: Mapping[str, Any], host: Host) -> Params:
    """The parameters of a type on one host: the host's own defaults under what the request says."""
    given = {**host.parameters.get(kind.name, {}), **parameters}
    try:
        return kind.params.model_validate(given)
    except ValidationError as error:
        said = explain(error, "parameters", kind.params)
        end = "" if said.endswith(("?", ".")) else "."
        raise InvalidRequest(f"{said}{end} `opsqueue types {kind.name}` lists them.") from None


def fresh(world: World, request: Request, kind: OperationKind) -> Operation:
    """The operation that a request becomes, due now."""
    now = world.now()
    timeout = request.timeout if "timeout" in request.model_fields_set else world.settings.default_timeout
    return Operation(
        id=str(request.operation_id),
        name=request.name,
        type=kind.name,
        priority=request.priority,
        description=request.description,
        parameters=request.parameters,
        systems=request.target_systems,
        timeout=timeout,
        retry_count=request.retry_count,
        window=request.maintenance_window,
        channels=request.notification_channels,
        rollback_enabled=request.rollback_enabled,
        rollout=_rollout(world, request, kind),
        requested_by=request.requested_by,
        reason=request.reason,
        looking=kind.looking or _only_looks(world, request, kind),
        due_at=now,
        created_at=now,
    )


def _only_looks(world: World, request: Request, kind: OperationKind) -> bool:
    hosts = world.hosts(request.target_systems)
    return bool(hosts) and all(kind.looks(params_for(kind, request.parameters, host)) for host in hosts)


def _rollout(world: World, request: Request, kind: OperationKind) -> dict[str, Any]:
    usual = world.settings.rollout.of(kind.name)
    own = request.rollout.model_dump(exclude_unset=True) if request.rollout else {}
    return {**usual.model_dump(), **own}
