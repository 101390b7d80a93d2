"""Stage four: what the work measured, and the state of the hosts after it; samples stored."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from opsqueue.errors import HostNotTrusted, HostUnreachable
from opsqueue.facts.system import UP, system_metrics
from opsqueue.model.host import Host
from opsqueue.model.kind import Metric, OperationKind
from opsqueue.model.names import Stage, TargetState
from opsqueue.model.record import Operation, Target
from opsqueue.pipeline.move import Known, Move
from opsqueue.pipeline.submit import params_for
from opsqueue.pipeline.target import HOST_READING
from opsqueue.pipeline.world import World
from opsqueue.store import samples
from opsqueue.store import targets as store_targets
from opsqueue.store.engine import Connection
from opsqueue.telemetry import counted

_metrics_log = logging.getLogger("opsqueue.metrics")
_WORKED = frozenset({TargetState.SUCCEEDED, TargetState.UNCHANGED, TargetState.FAILED, TargetState.ROLLED_BACK})

_NAMED = 5

DOWN = Metric(name=UP, value=0.0, unit="state")
"""All that is known of a host that was not reached."""


def collect(world: World, operation: Operation, known: Known = None) -> Move:
    """Measure every target that was worked on."""
    targets = world.targets(operation, known)
    worked = [target for target in targets if target.state in _WORKED and target.started_at]
    left = [_not_begun(world, operation, target) for target in targets if not target.state.settled]
    away = [target for target in targets if target.state is TargetState.UNREACHABLE]
    if not worked:
        return Move(
            operation=operation,
            to=Stage.ANALYZE,
            result="skipped",
            write=lambda tx: _store(tx, [], left, away),
            targets=with_changed(targets, left),
        )
    kind = world.kind(operation.type)
    found = _side_by_side(world, operation, kind, worked)
    strange = [f"{target.host} {name}" for target, names in found for name in names]
    measured = [target for target, _names in found]
    count = sum(len(target.metrics) for target in measured)
    for target in measured:
        _log_metrics(operation, target)
    return Move(
        operation=operation,
        to=Stage.ANALYZE,
        result="measured",
        why=f"{counted(count, 'metric')} of {counted(len(measured), 'host')}{left_out(strange)}",
        write=lambda tx: _store(tx, measured, left, away),
        targets=with_changed(targets, [*measured, *left]),
    )


def with_changed(targets: Sequence[Target], changed: Sequence[Target]) -> tuple[Target, ...]:
    """All of these, those that changed as they are now."""
    now = {target.host: target for target in changed}
    return tuple(now.get(target.host, target) for target in targets)


def _not_begun(world: World, operation: Operation, target: Target) -> Target:
    why = f"not begun: the operation was {operation.outcome}" if operation.outcome else "not begun"
    if target.state is not TargetState.PENDING:
        return target  # in doubt: it stays so, and a person must look
    return replace(target, state=TargetState.SKIPPED, problems=target.problems or (why,), finished_at=world.now())


def _side_by_side(
    world: World, operation: Operation, kind: OperationKind, targets: Sequence[Target]
) -> list[tuple[Target, list[str]]]:
    if operation.looking or len(targets) == 1:  # nothing more is asked
        return [_measured(world, operation, kind, target) for target in targets]
    with ThreadPoolExecutor(min(world.settings.worker.side_by_side, len(targets))) as pool:
        return list(pool.map(lambda target: _measured(world, operation, kind, target), targets))


def _measured(world: World, operation: Operation, kind: OperationKind, target: Target) -> tuple[Target, list[str]]:
    """The target with its numbers, and the names of those that cannot be kept."""
    host = world.inventory.get(target.host)
    if host is None:  # it left the inventory meanwhile
        return target, []
    params = params_for(kind, operation.parameters, host)
    found = {metric.name: metric for metric in kind.measure(params, target.before, target.after)}
    if not (operation.looking or kind.desk):
        found = {**_of_host(world, host, target), **found}
    return replace(target, metrics=numbers(found.values())), unusable(found.values())


def numbers(found: Iterable[Metric]) -> dict[str, dict[str, Any]]:
    """In the form in which a target keeps them; the only way to there, and it lets through no NaN and no infinity."""
    return {one.name: {"value": one.value, "unit": one.unit} for one in found if one.usable}


def unusable(found: Iterable[Metric]) -> list[str]:
    """The names of those that are not kept."""
    return [one.name for one in found if not one.usable]


def left_out(names: Sequence[str]) -> str:
    """What is said of them behind what was measured; nothing when there are none."""
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"; left out, for they are no finite numbers: {', '.join(names[:_NAMED])}{more}"


def _of_host(world: World, host: Host, target: Target) -> dict[str, Metric]:
    """How the host itself is after the change; a host that does not answer costs these numbers, nothing else."""
    try:
        told = HOST_READING.name in target.after  # by the host's own worker
        reading = target.after if told else world.connect(host).ask([HOST_READING])
    except (HostUnreachable, HostNotTrusted):
        return {}
    after = {metric.name: metric for metric in system_metrics(reading)}
    before = {f"{m.name}:before": replace(m, name=f"{m.name}:before") for m in system_metrics(target.before)}
    return {**before, **after}


def _store(tx: Connection, targets: Sequence[Target], left: Sequence[Target], away: Sequence[Target]) -> None:
    store_targets.save(tx, left)
    store_measured(tx, targets, away)


def store_measured(tx: Connection, targets: Sequence[Target], away: Sequence[Target] = ()) -> None:
    """Write the numbers of these targets, and each known one as a sample of the moment at which it was found.

    Of a host that was `away`, not reached, that is all that is known: it is not up, and nothing of it is 0.
    """
    store_targets.save_metrics(tx, targets)
    found = [(target, target.verified_at, metrics_of(target.metrics)) for target in targets]
    found += [(target, target.finished_at, {UP: DOWN}) for target in away]
    samples.add(tx, [samples.Taken(host=t.host, at=at, metrics=known) for t, at, known in found if at is not None])


def metrics_of(stored: Mapping[str, Any]) -> dict[str, Metric]:
    """Metrics as values again, from the form in which a target keeps them."""
    return {name: Metric(name=name, value=m["value"], unit=m["unit"]) for name, m in stored.items()}


def _log_metrics(operation: Operation, target: Target) -> None:
    numbers = {name: metric["value"] for name, metric in target.metrics.items()}
    _metrics_log.info("metrics", extra={"operation_id": operation.id, "host": target.host, "fields": numbers})
