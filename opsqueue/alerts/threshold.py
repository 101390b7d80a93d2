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
"""Percentages end so many points inside the threshold."""
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
    """Where a firing alert ends; None where there is no inside: with equality, and with states, as `up`."""
    if rule.clear is not None or rule.threshold is None or rule.op in {"==", "!="} or unit == "state":
        return rule.clear
    width = _POINTS if unit == "percent" else abs(rule.threshold) * _SHARE
    return rule.threshold - width if rule.op in {">", ">="} else rule.threshold + width
