"""A rule over numbers of the past: what would have happened; nothing is written and nobody is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from opsqueue.alerts.evaluate import Change, covers, judged, observe
from opsqueue.alerts.fingerprint import fingerprint
from opsqueue.alerts.reading import Reading
from opsqueue.alerts.state import Limits
from opsqueue.errors import ConditionFailed
from opsqueue.model.alert import Alert, Kind, Transition
from opsqueue.model.alert_rule import AlertRule

_MINUTE = 60


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
    first_fired: Alert | None = None
    """The first that fired, as it stood then."""
    held: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By incident: since when its condition held, and the last time that it fired."""

    @property
    def fired(self) -> int:
        """How many times it would have fired."""
        return sum(line.kind is Kind.FIRING for line in self.transitions)

    @property
    def unanswered(self) -> str:
        """Why it never had an answer; other types of operation measure other things, so that some have none."""
        return next(iter(self.errors), "") if sum(self.errors.values()) == self.readings else ""

    def quiet_after(self, most: int) -> int | None:
        """Whole minutes, in seconds, that only the `most` longest would have held; None: there are not more."""
        lengths = sorted((last - since for since, last in self.held.values()), reverse=True)
        return (int(lengths[most]) // _MINUTE + 1) * _MINUTE if len(lengths) > most else None

    def add(self, change: Change) -> None:
        """One judged sample."""
        alert = change.after
        self.alerts[alert.fingerprint] = alert
        self.transitions.extend(change.transitions)
        if alert.firing and alert.active_at is not None and alert.last_at is not None:
            self.first_fired = self.first_fired or alert
            self.held[alert.incident] = (alert.active_at, alert.last_at)


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
                found.add(change)
    return found
