"""The rules that every installation has: the thresholds of the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from opsqueue.alerts.evaluate import UP
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.names import Severity

#: Name: metric, `for` in seconds, and where it clears: so many points, or this share, inside the threshold.
_RULES: Mapping[str, tuple[str, int, float, float]] = {
    "cpu_usage": ("cpu_usage", 300, 5.0, 0.0),
    "memory_usage": ("memory_usage", 300, 5.0, 0.0),
    "disk_usage": ("disk_usage:*", 600, 2.0, 0.0),
    "response_time": ("response_time:*", 180, 0.0, 0.2),
}


_DOWN = AlertRule(name="down", metric=UP, op="==", threshold=0.0, for_s=120, severity=Severity.CRITICAL)


def built_in(thresholds: Mapping[str, float]) -> tuple[AlertRule, ...]:
    """That a host is down, and `alert_thresholds`: each mount and each response target is an alert of its own."""
    return (_DOWN, *_limits(thresholds))


def _limits(thresholds: Mapping[str, float]) -> Iterator[AlertRule]:
    return (
        AlertRule(
            name=name,
            metric=metric,
            threshold=thresholds[name],
            for_s=for_s,
            clear=thresholds[name] - points - share * thresholds[name],
        )
        for name, (metric, for_s, points, share) in _RULES.items()
        if name in thresholds
    )
