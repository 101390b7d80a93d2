"""The part of the client that only reads the record."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from opsqueue.connectors.inventory.directory import searched
from opsqueue.pipeline.deployments import as_json
from opsqueue.pipeline.views import brief, whole
from opsqueue.settings import Settings
from opsqueue.store import deployments, history
from opsqueue.store.engine import Store


class Reading:
    """Operations, deployments and key figures as the record has them."""

    settings: Settings

    @cached_property
    def _store(self) -> Store:
        return Store(self.settings.database)

    def get(self, operation_id: str) -> dict[str, Any]:
        """The JSON of one operation; NotFound when there is none."""
        return whole(self._store, operation_id, time.time())

    def history(self, **wanted: Any) -> list[dict[str, Any]]:
        """Operations that ended, newest first; the fields of `store.history.Wanted` narrow it.

        `system` is a host, or a group or tag of the inventory.
        """
        if isinstance(word := wanted.get("system"), str):
            wanted["system"] = searched(self.settings, word)
        with self._store.read() as connection:
            found = history.ended(connection, history.Wanted(**wanted))
        return [brief(operation, time.time()) for operation in found]

    def kpi(self, period: str = "month", *, system: str | Sequence[str] = ()) -> dict[str, Any]:
        """The key figures of a period, in the keys of `opsqueue kpi --output json`.

        `period` is day, week, month or quarter (so far), with `last-` before it the one before, how long until now
        such as `7d`, or START..END; `system` one or several hosts, groups or tags, none: all. InvalidRequest for a
        period that cannot be meant, NotFound for a system that neither the inventory nor the record knows.
        """
        # The inventory and the reckoning cost 0.1 s to import, and most who use the client ask for no figures.
        from opsqueue.pipeline import figures  # noqa: PLC0415

        systems = (system,) if isinstance(system, str) else system
        found = figures.told(self._store, self.settings, period=period, systems=systems, now=time.time())
        return figures.as_json(found)

    def deployment(self, event_id: str) -> dict[str, Any]:
        """How a deployment stands, in the keys of `opsqueue deployments show --output json`; NotFound otherwise."""
        with self._store.read() as connection:
            return as_json(deployments.get(connection, str(event_id)))
