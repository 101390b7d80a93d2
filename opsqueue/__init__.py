"""opsqueue runs guarded operations on hosts, once, and remembers everything.

The names below are imported when they are first used: `opsqueue history` must not pay for Celery.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opsqueue.awaitable import OperationsMCP
    from opsqueue.client import VerificationCoordinator
    from opsqueue.model.names import OperationPriority, OperationType
    from opsqueue.model.request import OperationConfig

__version__ = "0.1.0"
__all__ = ["OperationConfig", "OperationPriority", "OperationType", "OperationsMCP", "VerificationCoordinator"]

_WHERE = {
    "OperationConfig": "opsqueue.model.request",
    "OperationPriority": "opsqueue.model.names",
    "OperationType": "opsqueue.model.names",
    "OperationsMCP": "opsqueue.awaitable",
    "VerificationCoordinator": "opsqueue.client",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'opsqueue' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
