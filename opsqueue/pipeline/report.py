"""An operation as a document: what was asked, what came of it, what was measured and found, and what its type adds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from opsqueue.errors import InvalidRequest
from opsqueue.model.advice import with_id
from opsqueue.model.amount import amount
from opsqueue.model.host import Host
from opsqueue.model.kind import OperationKind
from opsqueue.model.names import Severity
from opsqueue.model.record import Operation, Target, status_of
from opsqueue.model.report import Cell, Grid, Report, Section
from opsqueue.pipeline.collect import metrics_of
from opsqueue.pipeline.seen import Looks
from opsqueue.pipeline.submit import params_for
from opsqueue.settings import Settings
from opsqueue.store import operations
from opsqueue.store import targets as store_targets
from opsqueue.store.engine import Store
from opsqueue.telemetry import counted, iso

_MOST_NUMBERS = 2000
"""Rows of metrics in one document; `opsqueue show` has all."""
_WORST_FIRST = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """All that it takes to make one."""

    store: Store
    settings: Settings
    kinds: Mapping[str, OperationKind]
    hosts: Mapping[str, Host]

    def report(self, operation_id: str, now: float) -> Report:
        """The document of one operation, as it stands; NotFound when there is none."""
        with self.store.read() as connection:
            operation = operations.get(connection, operation_id)
            targets = store_targets.of(connection, operation_id)
            worked = [target for target in targets if target.verified_at is not None]
            thresholds = self.settings.alert_thresholds.model_dump()
            looks = Looks(connection=connection, thresholds=thresholds, hosts=len(worked))
            own = list(self._of_type(looks, operation, targets))
        general = (_asked(operation, now), _targets(targets))
        sections = (*general, *_findings(operation), *own, *_metrics(targets))
        subtitle = f"{operation.type} on {counted(len(targets), 'host')}, {status_of(operation, now)}"
        at = iso(operation.finished_at or now)
        return Report(title=operation.name, subtitle=f"{subtitle}, {at}", sections=sections)

    def _of_type(self, looks: Looks, operation: Operation, targets: Sequence[Target]) -> Iterator[Section]:
        kind = self.kinds.get(operation.type)
        if kind is None:
            said = f"The type {operation.type} is not installed here, so that nothing of its own is shown."
            yield Section(title=operation.type, text=(said,))
            return
        worked = [target for target in targets if target.verified_at is not None]
        yield from kind.overview({target.host: metrics_of(target.metrics) for target in worked})
        for target in worked:
            for section in self._of_host(looks, kind, operation, target):
                yield replace(section, title=f"{target.host}: {section.title}") if len(targets) > 1 else section

    def _of_host(self, looks: Looks, kind: OperationKind, operation: Operation, target: Target) -> tuple[Section, ...]:
        host = self.hosts.get(target.host)
        if host is None:
            return (_without("its past", f"{target.host} is not in the inventory any more."),)
        try:
            params = params_for(kind, operation.parameters, host)
        except InvalidRequest as error:  # of an older version, or the host's own parameters changed
            return (_without("its past", f"The parameters do not fit the type any more: {error.message}"),)
        return kind.report(params, looks.at(kind, operation, target, host))


def _without(title: str, why: str) -> Section:
    return Section(title=title, text=(f"Not shown. {why}",))


def _as_asked(value: Any) -> str:
    """As one would write it after --parameters."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _asked(operation: Operation, now: float) -> Section:
    rows: dict[str, Cell] = {
        "operation": operation.id,
        "type": operation.type,
        "status": status_of(operation, now),
        "priority": operation.priority.value,
        "description": operation.description,
        "systems": ", ".join(operation.systems),
        "parameters": " ".join(f"{key}={_as_asked(value)}" for key, value in operation.parameters.items()),
        "asked by": operation.requested_by,
        "reason": operation.reason,
        "asked at": iso(operation.created_at),
        "ended at": iso(operation.finished_at),
        "score": operation.score,
        "digest": operation.digest or "",
    }
    shown = tuple((key, value) for key, value in rows.items() if value not in {"", None})
    return Section(title="What was asked, and what came of it", grids=(Grid(columns=("what", "value"), rows=shown),))


def _targets(targets: Sequence[Target]) -> Section:
    rows = tuple(
        (one.host, one.state.value, "yes" if one.changed else "no", len(one.steps), "; ".join(one.problems))
        for one in targets
    )
    grid = Grid(columns=("host", "status", "changed", "commands", "problems"), rows=rows)
    return Section(title="Hosts", grids=(grid,)) if rows else Section(title="Hosts", text=("There is no target.",))


def _findings(operation: Operation) -> tuple[Section, ...]:
    worst = sorted(operation.findings, key=lambda one: _WORST_FIRST.index(Severity(one["severity"])))
    rows = tuple(_finding(operation, one) for one in worst)
    if not rows:
        return (Section(title="Findings", text=("Nothing was found that somebody should hear of.",)),)
    grid = Grid(columns=("severity", "host", "what was found", "what to do", "code"), rows=rows)
    return (Section(title="Findings", grids=(grid,)),)


def _finding(operation: Operation, one: Mapping[str, Any]) -> tuple[Cell, ...]:
    advice = with_id(one.get("advice", ""), operation.id)
    return (str(one["severity"]), one["host"] or "", one["message"], advice, one["code"])


def _metrics(targets: Sequence[Target]) -> tuple[Section, ...]:
    rows: list[tuple[Cell, ...]] = [
        (target.host, metric.name, amount(metric.value, metric.unit))
        for target in targets
        for metric in metrics_of(target.metrics).values()
    ]
    if not rows:
        return ()
    left = len(rows) - _MOST_NUMBERS
    text = (f"{left} further ones are not shown here; `opsqueue show` has all.",) if left > 0 else ()
    grid = Grid(columns=("host", "metric", "value"), rows=tuple(rows[:_MOST_NUMBERS]))
    return (Section(title="What was measured", text=text, grids=(grid,)),)
