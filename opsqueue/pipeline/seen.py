"""What the analysis of one target may look at, from the record: when it is judged, and when it is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from opsqueue.model.host import Host
from opsqueue.model.kind import Metric, OperationKind, Seen
from opsqueue.model.observed import Occasions
from opsqueue.model.record import Operation, Target
from opsqueue.model.sample import Series
from opsqueue.pipeline.collect import metrics_of
from opsqueue.pipeline.submit import params_for
from opsqueue.store import figures, fired, history, rollups
from opsqueue.store import targets as store_targets
from opsqueue.store.engine import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """The record, and from where on something is too much."""

    connection: Connection
    thresholds: Mapping[str, float]
    hosts: int = 1
    """How many are judged."""
    _found: dict[str, Mapping[str, tuple[Mapping[str, Any], ...]]] = field(default_factory=dict)
    """What earlier operations found, by operation and host: most hosts have the same one, and it is read once."""

    def at(self, kind: OperationKind, operation: Operation, target: Target, host: Host | None) -> Seen:
        """All about one target; without its host in the inventory, without its past."""
        at = target.verified_at or operation.created_at
        return Seen(
            host=target.host,
            before=target.before,
            after=target.after,
            metrics=metrics_of(target.metrics),
            earlier=self._earlier(kind, operation, target),
            thresholds=self.thresholds,
            attempts=target.attempt,
            at=at,
            series=self._series(kind, operation, host, at) if host else {},
            earlier_findings=self._findings(operation, target) if kind.compares else None,
            hosts=self.hosts,
            occasions=partial(self._occasions, target.host, at),
        )

    def _occasions(self, host: str, until: float, since: float) -> Occasions:
        fires = fired.incidents(self.connection, since, until, [host])
        alerts = dict(Counter(one.rule for one in fires))
        return Occasions(changes=figures.changed(self.connection, host, since, until), alerts=alerts)

    def _earlier(self, kind: OperationKind, operation: Operation, target: Target) -> Mapping[str, Metric]:
        if not target.metrics:
            return {}
        if kind.alike:
            return metrics_of(store_targets.latest_metrics_alike(self.connection, operation, target.host))
        return metrics_of(
            store_targets.latest_metrics(self.connection, operation.type, target.host, operation.created_at)
        )

    def _series(self, kind: OperationKind, operation: Operation, host: Host, at: float) -> Mapping[str, Series]:
        wanted = kind.series(params_for(kind, operation.parameters, host))
        return rollups.Past(self.connection, host.name, wanted, at) if wanted else {}

    def _findings(self, operation: Operation, target: Target) -> tuple[Mapping[str, Any], ...] | None:
        before = history.alike_before(self.connection, operation, target)
        if before is None:
            return None
        if before not in self._found:
            self._found[before] = history.findings_of(self.connection, before)
        return self._found[before].get(target.host, ())
