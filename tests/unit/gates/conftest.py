"""One changing operation on two hosts, to which the rows of each table make their change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from opsqueue.gates.evidence import Evidence
from opsqueue.model.host import Host
from opsqueue.model.names import OperationPriority
from opsqueue.model.record import Operation

NOW = 1_772_971_200.0  # Sunday 2026-03-08 12:00:00 UTC

OPERATION = Operation(
    id="op-1",
    name="restart-nginx",
    type="service_restart",
    priority=OperationPriority.HIGH,
    systems=("web-1", "db"),
    digest="d1",
)
HOSTS = (Host(name="web-1", groups=("web",)), Host(name="db-1", groups=("db", "eu")))


def _evidence(operation: dict[str, Any] | None = None, **change: Any) -> Evidence:
    base = Evidence(now=NOW, operation=replace(OPERATION, **(operation or {})), hosts=HOSTS)
    return replace(base, **change)


@pytest.fixture
def evidence() -> Callable[..., Evidence]:
    return _evidence
