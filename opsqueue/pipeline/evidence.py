"""Gather, once, what the gates may look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opsqueue.errors import InvalidRequest
from opsqueue.gates.evidence import CoordinatorAnswer, Evidence
from opsqueue.model.host import Host
from opsqueue.model.names import Stage
from opsqueue.model.record import Delivery, Operation, Target
from opsqueue.model.verdict import Verdict
from opsqueue.model.window import Window, parse_window
from opsqueue.pipeline.world import World
from opsqueue.settings import Settings
from opsqueue.store import history, holds
from opsqueue.store.engine import Connection

_ENOUGH = 5
"""Earlier operations without which it is not known how long one takes."""
_KNOWN_FOR = 60.0
"""Seconds for which it is not looked up again."""
_MOST_KNOWN = 100


def gather(
    world: World,
    connection: Connection,
    operation: Operation,
    targets: tuple[Target, ...],
    deliveries: tuple[Delivery, ...] = (),
) -> Evidence:
    """The state of the world around an operation, read in one transaction."""
    names = [target.host for target in targets]
    desk = operation.type in world.kinds and world.kinds[operation.type].desk
    # Windows are about changes of hosts, and a desk changes none; the operation's own window counts all the same.
    hosts = tuple(_host(world, name, desk=desk) for name in names)
    windows = () if desk else tuple(window for window in world.windows if window.permit)
    own = _own_window_now(world.settings, operation.window)
    timed = not operation.looking and (own is not None or windows or any(host.windows for host in hosts))
    return Evidence(
        now=world.now(),
        operation=operation,
        hosts=hosts,
        coordinators=tuple(CoordinatorAnswer(**answer) for answer in operation.coordinators),
        windows=windows,
        desk=desk,
        own_window=own,
        takes=_takes(world, connection, operation) if timed else None,
        freezes=() if operation.looking else holds.active_freezes(connection, world.now()),
        limits=limits(world.settings, operation.type),
        # One that has its slot needs no other; a limit that was lowered since must not lock up all that run.
        running={} if _has_slot(connection, operation) else holds.running(connection, operation.id),
        locks={} if operation.looking else holds.lock_holders(connection, names, operation.id),
        targets=targets,
        deliveries=deliveries,
    )


def _takes(world: World, connection: Connection, operation: Operation) -> float | None:
    """How long the work on a host usually takes at most; of a thousand hosts that costs 40 ms to find out."""
    now = world.now()
    at, known = world.usual.get(operation.id, (-_KNOWN_FOR, None))
    if abs(now - at) < _KNOWN_FOR:
        return known
    if len(world.usual) >= _MOST_KNOWN:
        world.usual.clear()
    known = _usual(history.durations(connection, operation))
    world.usual[operation.id] = now, known
    return known


def _usual(seconds: Sequence[float]) -> float | None:
    """What nineteen of twenty of these do not exceed; None where they are too few."""
    return None if len(seconds) < _ENOUGH else sorted(seconds)[max(0, -(-len(seconds) * 95 // 100) - 1)]


def _has_slot(connection: Connection, operation: Operation) -> bool:
    return operation.stage is Stage.EXECUTE and holds.held(connection, operation.id)


def _host(world: World, name: str, *, desk: bool) -> Host:
    # A host that left the inventory after the operation was planned still counts for freezes and windows.
    host = world.inventory.get(name) or Host(name=name)
    return host.model_copy(update={"windows": ()}) if desk else host


def own_window(settings: Settings, wanted: str | None) -> Window | None:
    """The window that a request names or spells out; InvalidRequest when it is neither."""
    if wanted is None:
        return None
    named = {window.name: window for window in settings.windows()}
    if wanted in named:
        if not named[wanted].permit:
            raise InvalidRequest(f"maintenance_window {wanted!r} has `permit: false`: no change is made by it")
        return named[wanted]
    try:
        return parse_window(wanted, wanted, timezone=settings.timezone)
    except InvalidRequest as error:
        known = ", ".join(named) or "none"
        raise InvalidRequest(
            f"maintenance_window is neither a configured window (there are: {known}) nor a window: {error.message}"
        ) from None


def _own_window_now(settings: Settings, wanted: str | None) -> Window | None:
    # The configuration may have lost the window since the request; the gate then holds and says so.
    try:
        return own_window(settings, wanted)
    except InvalidRequest:
        return None


def limits(settings: Settings, operation_type: str) -> dict[str, int]:
    """How many operations may run at once, by pool, as far as this type is concerned."""
    own = settings.max_concurrent_by_type.get(operation_type)
    return {"all": settings.max_concurrent_operations, **({operation_type: own} if own else {})}


def recorded(verdicts: Iterable[tuple[str, Verdict]]) -> tuple[Mapping[str, Any], ...]:
    """Verdicts as they are kept: `{gate, verdict, why, until}`."""
    return tuple(
        {"gate": gate, "verdict": verdict.word, "why": verdict.why, "until": getattr(verdict, "until", None)}
        for gate, verdict in verdicts
    )
