"""The exit statuses of CONTRACT section 2, and which of them the outcome of an operation is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsqueue.model.names import Outcome, Severity

DONE = 0
FAULT = 1
USAGE = 2
FAILED = 3
DENIED = 4
WAITING = 5
INTERRUPTED = 130
PIPE_CLOSED = 141
"""128 + SIGPIPE, as the shell says of a program whose reader went away; never taken for success."""

MEANING: Mapping[int, str] = {
    0: "done",
    1: "a fault of ours",
    2: "usage or invalid request",
    3: "failed",
    4: "denied",
    5: "still waiting when --wait-timeout ended (it goes on)",
    6: "rolled back",
    7: "outcome unknown, a person must look",
    8: "partly failed",
    9: "conflict",
    10: "no such operation, host, type",
    11: "broker not reachable",
    12: "database not reachable",
    130: "interrupted (the operation goes on)",
}

_OF_OUTCOME: Mapping[Outcome, int] = {
    Outcome.SUCCEEDED: 0,
    Outcome.UNCHANGED: 0,
    Outcome.FAILED: 3,
    Outcome.CANCELLED: 3,
    Outcome.DENIED: 4,
    Outcome.ROLLED_BACK: 6,
    Outcome.UNKNOWN: 7,
    Outcome.PARTIAL: 8,
}


def of(operation: Mapping[str, Any], fail_on: str | None = None) -> int:
    """The exit status for the JSON of an operation; still waiting while nothing is decided.

    What is done counts as failed when it found something of the severity `fail_on` or worse.
    """
    if operation["outcome"] is None:
        return WAITING
    status = _OF_OUTCOME[Outcome(operation["outcome"])]
    return FAILED if status == DONE and fail_on and _found(operation, Severity(fail_on)) else status


def _found(operation: Mapping[str, Any], least: Severity) -> bool:
    enough = list(Severity)[list(Severity).index(least) :]
    return any(one["severity"] in enough for one in operation["findings"])


def of_plan(plan: Mapping[str, Any]) -> int:
    """The exit status for the JSON of a plan: would it be refused, would it fail, or could it go on."""
    if plan["targets"] and not any(target["reachable"] for target in plan["targets"]):
        return FAILED  # the denial says the same: there is no target
    if any(verdict["verdict"] == "deny" for verdict in plan["verdicts"]):
        return DENIED
    return FAILED if any(target["problems"] or not target["reachable"] for target in plan["targets"]) else DONE
