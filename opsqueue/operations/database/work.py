"""The sorts of maintenance by their name, each a module with the same functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import opsqueue.operations.database.backup as _backup
import opsqueue.operations.database.checks as _checks
import opsqueue.operations.database.cleanup as _cleanup
import opsqueue.operations.database.index_build as _index_build
import opsqueue.operations.database.indexes as _indexes
import opsqueue.operations.database.statistics as _statistics
import opsqueue.operations.database.tuning as _tuning
from opsqueue.facts.databases import Server
from opsqueue.model.fact import Fact, Facts
from opsqueue.model.kind import Finding, Metric
from opsqueue.model.plan import Plan
from opsqueue.operations.database.hand import Hand


class Work(Protocol):
    """One sort of maintenance; `now` is the server as it was found afterwards, None when it could not be asked."""

    def objections(self, hand: Hand) -> Iterator[str]:
        """Why nothing may be sent."""
        ...

    def plan(self, hand: Hand) -> Plan:
        """The steps."""
        ...

    def after(self, hand: Hand) -> Fact | None:
        """What is asked afterwards beside the server."""
        ...

    def verify(self, hand: Hand, found: Facts, now: Server | None) -> Iterator[str]:
        """Problems; none is good."""
        ...

    def rollback(self, hand: Hand, found: Facts, now: Server | None) -> Plan:
        """The way back."""
        ...

    def restored(self, hand: Hand, found: Facts, now: Server | None) -> Iterator[str]:
        """Problems after the way back."""
        ...

    def measure(self, hand: Hand, found: Facts, now: Server | None) -> Iterator[Metric]:
        """Numbers."""
        ...

    def findings(self, hand: Hand, found: Facts, now: Server | None) -> Iterator[Finding]:
        """What people should know."""
        ...


WORK: Mapping[str, Work] = {
    "backup": _backup,
    "integrity_check": _checks,
    "statistics": _statistics,
    "index_optimization": _indexes,
    "index_build": _index_build,
    "cleanup": _cleanup,
    "tuning": _tuning,
}
DETAILED = {"backup", "statistics", "index_optimization", "cleanup", "tuning"}
"""What needs to know each table or index, the settings, or whose functions would run."""
