"""What the client tells of the record as a whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from opsqueue.settings import Settings
from opsqueue.store.engine import Store


class Figures:
    """The part of the client that only reads: the record, and the key figures in it."""

    settings: Settings

    @cached_property
    def _store(self) -> Store:
        return Store(self.settings.database)

    def kpi(self, period: str = "month", *, system: str | Sequence[str] = ()) -> dict[str, Any]:
        """The key figures of a period, in the keys of `opsqueue kpi --output json`.

        `period` is day, week, month or quarter (so far), with `last-` before it the one before, or START..END;
        `system` one or several hosts, groups or tags, none: all. InvalidRequest when either cannot be meant.
        """
        # The inventory and the reckoning cost 0.1 s to import, and most who use the client ask for no figures.
        from opsqueue.pipeline.figures import as_json, told  # noqa: PLC0415

        systems = (system,) if isinstance(system, str) else system
        return as_json(told(self._store, self.settings, period=period, systems=systems, now=time.time()))
