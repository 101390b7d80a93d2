"""A rule over numbers of the past: what would have happened; nothing is written and nobody is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from opsqueue.alerts.evaluate import covers, judged, observe
from opsqueue.alerts.fingerprint import fingerprint
from opsqueue.alerts.reading import Reading
from opsqueue.alerts.state import Limits
from opsqueue.errors import ConditionFailed
from opsqueue.model.alert import Alert, Kind, Transition
from opsqueue.model.alert_rule import AlertRule


@dataclass(slots=True, kw_only=True)
class Replayed:
    """What a rule would have done."""

    readings: int = 0
    first: float | None = None
    """The time of the oldest of them; None without any."""
    transitions: list[Transition] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    """Why it had no answer, and how often."""
    alerts: dict[str, Alert] = field(default_factory=dict)
    """As they would stand now, by fingerprint."""

    @property
    def fired(self) -> int:
        """How many times it would have fired."""
        return sum(line.kind is Kind.FIRING for line in self.transitions)


def replay(rule: AlertRule, readings: Iterable[Reading], limits: Limits) -> Replayed:
    """Run the rule over readings, oldest first of each host."""
    found = Replayed()
    for reading in readings:
        if not covers(rule, reading.host):
            continue
        found.readings += 1
        found.first = reading.at if found.first is None else min(found.first, reading.at)
        try:
            seen = observe(rule, reading, found.alerts)
        except ConditionFailed as error:
            found.errors[str(error)] = found.errors.get(str(error), 0) + 1
            continue
        for one in seen:
            name = fingerprint(one.labels)
            change = judged(rule, found.alerts.get(name), one, limits)
            if change is not None:
                found.alerts[name] = change.after
                found.transitions.extend(change.transitions)
    return found
