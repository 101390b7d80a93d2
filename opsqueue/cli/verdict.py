"""How an operation ended, in the last line that is printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from opsqueue.cli import render, render_hosts, times
from opsqueue.cli.output import Out
from opsqueue.cli.text import clipped, coloured, columns_of, safe
from opsqueue.model.alike import told
from opsqueue.model.names import Outcome, Severity

_FROM_WORST = tuple(reversed(Severity))
_LEAST_MESSAGE = 60
"""Columns of the first finding that are shown on the narrowest terminal; less would say nothing."""


def verdict(out: Out, data: Mapping[str, Any]) -> str:
    """`succeeded  first-look  6f1c0de0  in 1.20 s, health score 79, 1 finding (1 warning)`.

    What succeeded and found something critical says so: `succeeded, and found 1 critical: web-1: nothing answers  …`.
    """
    word = like = data["outcome"] or data["status"]
    rest = f"  {safe(data['name'])}  {render.short(data['operation_id'])}  {_numbers(data)}"
    critical = [one for one in data["findings"] if one["severity"] == Severity.CRITICAL]
    if critical and word in {Outcome.SUCCEEDED, Outcome.UNCHANGED}:
        word, like = f"{word}, and found {len(critical)} critical: ", Severity.CRITICAL
        left = None if out.width is None else out.width - columns_of(word + rest)
        word += _about(critical[0], left)
    return coloured(word, colour=out.colour, like=like) + rest


def _about(finding: Mapping[str, Any], left: int | None) -> str:
    text = safe(told([(finding["host"] or "", finding["message"])]))
    return text if left is None else clipped(text, max(left, _LEAST_MESSAGE))


def _numbers(data: Mapping[str, Any]) -> str:
    ends = [data["finished_at"], *(stage["finished_at"] for stage in reversed(data["stages"]))]
    end = next((one for one in ends if one), data["created_at"])
    parts = [f"in {times.length(max(0.0, times.unix(end) - times.unix(data['created_at'])))}"]
    if score := render_hosts.score(data):
        parts.append(f"health score {score}")
    counts = Counter(one["severity"] for one in data["findings"])
    if total := counts.total():
        each = ", ".join(f"{counts[one]} {one}" for one in _FROM_WORST if counts[one])
        parts.append(f"{total} finding{'' if total == 1 else 's'} ({each})")
    return ", ".join(parts)
