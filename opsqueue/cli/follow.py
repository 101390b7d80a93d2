"""Tell of each stage as it happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from opsqueue.cli import times
from opsqueue.cli.text import coloured, safe
from opsqueue.model.names import Stage, TargetState
from opsqueue.pipeline.views import why

WAITING = "waiting for a worker …"
_MARKS = {
    **dict.fromkeys(("passed", "succeeded", "unchanged", "measured", "analyzed", "delivered", "acknowledged"), "✓"),
    **dict.fromkeys(("failed", "denied", "cancelled", "partial", "rolled_back", "unknown"), "✗"),
    **dict.fromkeys(("held", "retrying", "looking", "replanned"), "…"),
    "skipped": "-",
}


@dataclass
class Follower:
    """Called with the JSON of an operation whenever something happened; says what is new since the last time."""

    say: Callable[[str], None]
    colour: bool = False
    tell: Callable[[Mapping[str, Any]], None] | None = None
    """Gets each new stage as JSON, for programs."""
    _told: int = 0
    _last: tuple[object, ...] = ()
    _waiting: list[str] = field(default_factory=list)

    def __call__(self, data: Mapping[str, Any]) -> None:
        """Say each new stage, and each new reason why it waits."""
        new, self._told = data["stages"][self._told :], len(data["stages"])
        for stage in new:
            if self.tell:
                self.tell(stage)
            # A stage that looks each second and still has to wait is told of once.
            essence = (stage["stage"], stage["result"], stage["why"])
            if essence != self._last:
                self.say(self.line(stage))
            self._last = essence
        self._say_waiting(data)

    def line(self, stage: Mapping[str, Any]) -> str:
        """One stage: `verify   ✓  0.02 s  1 commands on 1 hosts`."""
        mark = _MARKS.get(stage["result"], "·")
        said = [] if mark == "✓" else [stage["result"]]
        why_so = safe(stage["why"])
        words = ": ".join(dict.fromkeys([*said, *([why_so] if why_so else [])]))
        shown = coloured(mark, colour=self.colour)
        return f"{stage['stage']:<8} {shown} {times.length(stage['seconds']):>7}  {words}".rstrip()

    def _say_waiting(self, data: Mapping[str, Any]) -> None:
        reasons = list(dict.fromkeys(waiting(one) for one in why(data))) if data["waits_for"] else []
        for reason in reasons:
            if reason not in self._waiting:
                self.say(f"  waits: {reason}")
        self._waiting = reasons


def doing(data: Mapping[str, Any]) -> str:
    """What is being worked on now, for the last line of a terminal: `execute  …  running`; empty at the end."""
    if data["stage"] == Stage.CLOSED:
        return ""
    if data["status"] == "pending":
        return WAITING
    words = "waiting" if data["waits_for"] else data["status"] if data["status"] == "retrying" else "running"
    return f"{data['stage']:<8} …  {words}"


def progress(counts: Mapping[TargetState, int]) -> str:
    """How far many hosts are: `120 of 200 hosts, 3 failed`; empty for one."""
    total = sum(counts.values())
    done = sum(number for state, number in counts.items() if state.settled)
    wrong = [f"{counts[state]} {state}" for state in TargetState if counts.get(state) and state in _WRONG]
    return ", ".join([f"{done} of {total} hosts", *wrong]) if total > 1 else ""


_WRONG = frozenset({TargetState.FAILED, TargetState.ROLLED_BACK, TargetState.UNREACHABLE, TargetState.UNKNOWN})


def waiting(reason: Mapping[str, Any]) -> str:
    """One reason, and when it can go on: `freeze: release week; goes on 2026-03-01 02:00:00Z (in 3 h)`."""
    when = times.until(reason["until"], time.time())
    return f"{safe(reason['who'])}: {safe(reason['why'])}" + (f"; goes on {when}" if when else "")
