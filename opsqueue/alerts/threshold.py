"""Structured conditions: a number beside a threshold, and where a firing alert ends again."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping

from opsqueue.model.alert_rule import AlertRule

_OPS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_POINTS = 5.0
"""Percentages end so many points inside the threshold, or half way to the end of the scale."""
_SHARE = 0.05
"""Everything else, this share of the threshold."""


def fires(rule: AlertRule, value: float) -> bool:
    """Whether the value is beyond the threshold, at `op` to the letter; what is no number is not."""
    if rule.threshold is None or math.isnan(value):
        return False
    return _OPS[rule.op](value, rule.threshold)


def still(rule: AlertRule, value: float, unit: str = "") -> bool:
    """Whether an alert that fires goes on: until the value is beyond `clear`; exactly at it, it fires on."""
    if math.isnan(value):
        return False
    clear = clear_of(rule, unit)
    if clear is None:
        return fires(rule, value)
    return value >= clear if rule.op in {">", ">="} else value <= clear


def clear_of(rule: AlertRule, unit: str = "") -> float | None:
    """Where a firing alert ends; None where there is no inside: with equality, at 0, and with states, as `up`."""
    if rule.clear is not None or rule.threshold is None or rule.op in {"==", "!="} or unit == "state":
        return rule.clear
    above = rule.op in {">", ">="}
    width = _points(rule.threshold if above else 100 - rule.threshold)
    if unit != "percent":
        width = abs(rule.threshold) * _SHARE
    if not width:  # beside 0 nothing is inside, and exactly at it an alert would fire for ever
        return None
    return rule.threshold - width if above else rule.threshold + width


def _points(room: float) -> float:
    """So many points inside, where `room` is left until the end of the scale: beyond it no alert would ever end."""
    return min(_POINTS, room / 2) if room >= 0 else _POINTS
