"""The catalogue of operation types, written by hand; other people's come through `opsqueue.operations`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points

from opsqueue.model.kind import OperationKind
from opsqueue.operations.alert_management import OPERATION as ALERT_MANAGEMENT
from opsqueue.operations.backup_operation import OPERATION as BACKUP_OPERATION
from opsqueue.operations.capacity_planning import OPERATION as CAPACITY_PLANNING
from opsqueue.operations.database_maintenance import OPERATION as DATABASE_MAINTENANCE
from opsqueue.operations.health_check import OPERATION as HEALTH_CHECK
from opsqueue.operations.log_rotation import OPERATION as LOG_ROTATION
from opsqueue.operations.performance_tuning import OPERATION as PERFORMANCE_TUNING
from opsqueue.operations.security_scan import OPERATION as SECURITY_SCAN
from opsqueue.operations.service_restart import OPERATION as SERVICE_RESTART
from opsqueue.operations.system_monitoring import OPERATION as SYSTEM_MONITORING

OWN = (
    SYSTEM_MONITORING,
    SERVICE_RESTART,
    DATABASE_MAINTENANCE,
    LOG_ROTATION,
    BACKUP_OPERATION,
    PERFORMANCE_TUNING,
    HEALTH_CHECK,
    CAPACITY_PLANNING,
    SECURITY_SCAN,
    ALERT_MANAGEMENT,
)


def catalogue() -> Mapping[str, OperationKind]:
    """Every type by name: ours, and those that installed packages bring. Ours cannot be replaced."""
    brought: list[OperationKind] = [point.load() for point in entry_points(group="opsqueue.operations")]
    return {kind.name: kind for kind in (*brought, *OWN)}
