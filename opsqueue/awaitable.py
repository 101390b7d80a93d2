"""The awaitable form of the client, for producers that run an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opsqueue.client import OperationResult, Operations
from opsqueue.model.request import OperationConfig
from opsqueue.settings import Settings


class OperationsMCP:
    """The awaitable form: each method runs the one of the same name of `Operations` in a thread.

    `sync` is the synchronous form itself.
    """

    def __init__(self, settings: Settings | None = None, *, config_path: str | Path | None = None) -> None:
        self.sync = Operations(settings, config_path=config_path)

    async def execute_operation(self, config: OperationConfig | Mapping[str, Any]) -> OperationResult:
        """See `Operations.execute_operation`."""
        return await asyncio.to_thread(self.sync.execute_operation, config)

    async def plan(self, config: OperationConfig | Mapping[str, Any]) -> dict[str, Any]:
        """See `Operations.plan`."""
        return await asyncio.to_thread(self.sync.plan, config)

    async def submit(self, config: OperationConfig | Mapping[str, Any], **more: Any) -> str:
        """See `Operations.submit`."""
        return await asyncio.to_thread(self.sync.submit, config, **more)

    async def wait(self, operation_id: str, timeout: float | None = None) -> dict[str, Any]:  # noqa: ASYNC109  # the name of the contract
        """See `Operations.wait`."""
        return await asyncio.to_thread(self.sync.wait, operation_id, timeout)

    async def get(self, operation_id: str) -> dict[str, Any]:
        """See `Operations.get`."""
        return await asyncio.to_thread(self.sync.get, operation_id)

    async def history(self, **wanted: Any) -> list[dict[str, Any]]:
        """See `Operations.history`."""
        return await asyncio.to_thread(self.sync.history, **wanted)

    async def kpi(self, period: str = "month", **wanted: Any) -> dict[str, Any]:
        """See `Operations.kpi`."""
        return await asyncio.to_thread(self.sync.kpi, period, **wanted)

    async def deployment_event(self, **event: Any) -> dict[str, Any]:
        """See `Operations.deployment_event`."""
        return await asyncio.to_thread(self.sync.deployment_event, **event)

    async def deployment(self, event_id: str) -> dict[str, Any]:
        """See `Operations.deployment`."""
        return await asyncio.to_thread(self.sync.deployment, event_id)

    async def cancel(self, operation_id: str, *, reason: str = "") -> None:
        """See `Operations.cancel`."""
        await asyncio.to_thread(self.sync.cancel, operation_id, reason=reason)

    async def retry(self, operation_id: str, *, reason: str = "") -> None:
        """See `Operations.retry`."""
        await asyncio.to_thread(self.sync.retry, operation_id, reason=reason)

    async def retry_failed(self, operation_id: str, *, reason: str = "") -> tuple[str, tuple[str, ...]]:
        """See `Operations.retry_failed`."""
        return await asyncio.to_thread(self.sync.retry_failed, operation_id, reason=reason)

    async def add_custom_alert_rule(self, rule_name: str, condition: Any, action: Any = "notify", **more: Any) -> str:
        """See `Operations.add_custom_alert_rule`."""
        return await asyncio.to_thread(self.sync.add_custom_alert_rule, rule_name, condition, action, **more)
