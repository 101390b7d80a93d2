"""A rule tried over the past of one host: what it would have done and said, and what would have been quieter."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from opsqueue.alerts.evaluate import covers
from opsqueue.alerts.grouping import group_of, route_of
from opsqueue.alerts.replay import Replayed
from opsqueue.model.alert import Notice
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory
from opsqueue.model.sample import DAY, SeriesWanted
from opsqueue.notify.alert_message import of_group
from opsqueue.pipeline.alert_rules import try_rule
from opsqueue.pipeline.world import World
from opsqueue.store import rollups
from opsqueue.store.engine import Connection
from opsqueue.telemetry import iso

_MOST_LINES = 20
_ENOUGH = 100
"""Numbers from which on a percentile says something."""
_LONGEST_FOR = 6 * 3600
"""Who waits longer than this hears of it too late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One rule, one host, so many seconds of its past."""

    world: World
    connection: Connection
    host: Host
    rule: AlertRule
    now: float
    seconds: float

    def run(self) -> Replayed:
        """What it would have done; nothing is written."""
        one = Inventory({self.host.name: self.host})
        return try_rule(self.connection, self.world.settings, one, self.rule, now=self.now, seconds=self.seconds)

    def told(self) -> dict[str, Any]:
        """The same as JSON, with the first message and what would have been quieter."""
        found = self.run()
        lines = [{"at": iso(one.at), "what": one.kind.value, "value": one.value} for one in found.transitions]
        often = found.fired > self._most
        return {
            "rule": self.rule.name,
            "asks": self.rule.asks,
            "seconds": self.seconds,
            "known_s": 0.0 if found.first is None else self.now - found.first,
            "about": covers(self.rule, self.host),
            "readings": found.readings,
            "fired": found.fired,
            "unanswered": found.unanswered,
            "transitions": lines[-_MOST_LINES:],
            "left_out": max(0, len(lines) - _MOST_LINES),
            "message": self._message(found),
            "suggested": self._threshold() if often else None,
            "suggested_for": self._longer(found) if often else None,
        }

    @property
    def _most(self) -> float:
        """How often it may fire without being noise: once a day."""
        return max(1.0, self.seconds / DAY)

    def _message(self, found: Replayed) -> dict[str, Any] | None:
        """What people would have been told first, and by which channels; None: nothing."""
        alert, settings = found.first_fired, self.world.settings
        if alert is None:
            return None
        route = route_of(alert, settings.alerts.routes)
        notice = Notice(group=group_of(alert, route, alert.fired_at or self.now), why="new", firing=(alert,))
        message = of_group(notice, {self.rule.name: self.rule})
        channels = route.tells([self.rule]) or tuple(settings.default_channels)
        return {"title": message.title, "body": message.body, "channels": list(channels)}

    def _threshold(self) -> dict[str, Any] | None:
        """The threshold beyond which a hundredth of the numbers lies, and how often that one would have fired."""
        rule = self.rule
        if rule.metric is None or rule.op in {"==", "!="}:
            return None
        wanted = SeriesWanted(name="past", metrics=(rule.metric,), ago=self.seconds)
        past = rollups.read(self.connection, self.host.name, wanted, self.now)
        values = sorted(point.mean for points in past.values() for point in points)
        if len(values) < _ENOUGH:
            return None
        place = math.ceil(0.99 * len(values)) - 1 if rule.op in {">", ">="} else math.ceil(0.01 * len(values)) - 1
        return {"threshold": values[place], "fired": self._fired(threshold=values[place], clear=None)}

    def _longer(self, found: Replayed) -> dict[str, Any] | None:
        """The `for` after which it would not have been noise, and how often it would have fired with that."""
        wait = found.quiet_after(int(self._most))
        if wait is None or not self.rule.for_s < wait <= _LONGEST_FOR:
            return None
        return {"for_s": wait, "fired": self._fired(for_s=wait)}

    def _fired(self, **changes: Any) -> int:
        return replace(self, rule=self.rule.model_copy(update=changes)).run().fired
