"""What operations came to: how they ended, who asked for them, and what a person had to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

from opsqueue.model.names import Outcome
from opsqueue.model.observed import Busy, Ended

SUCCEEDED = frozenset({Outcome.SUCCEEDED, Outcome.UNCHANGED})
FAILED = frozenset({Outcome.FAILED, Outcome.PARTIAL, Outcome.ROLLED_BACK, Outcome.UNKNOWN})
"""Cancelled and denied ones are neither: nobody tried to the end."""
_HOUR = 3600.0


class Initiator(StrEnum):
    """Who asked for an operation."""

    SCHEDULE = "schedule"
    ALERT = "alert"
    DEPLOYMENT = "deployment"
    API = "api"
    """A program that gives itself a name."""
    MANUAL = "manual"
    """A person at a command line, or a program that runs as one: `user@host`."""


def initiator(requested_by: str) -> Initiator:
    """Who it was, by the name that was given."""
    word, colon, _rest = requested_by.partition(":")
    if colon and word in {Initiator.SCHEDULE, Initiator.ALERT, Initiator.DEPLOYMENT}:
        return Initiator(word)
    return Initiator.MANUAL if "@" in requested_by else Initiator.API


def completed(work: Iterable[Ended]) -> list[Ended]:
    """Those that were tried to the end, well or not."""
    return [one for one in work if one.outcome in SUCCEEDED | FAILED]


def by_itself(one: Ended) -> bool:
    """Whether no person had a hand in it."""
    return not one.touched and initiator(one.requested_by) is not Initiator.MANUAL


def count(work: Iterable[Ended]) -> int:
    """How many operations."""
    return sum(one.count for one in work)


def share(part: float, whole: float) -> float | None:
    """Percent; None of nothing."""
    return 100 * part / whole if whole else None


def grouped(work: Iterable[Ended], key: Callable[[Ended], str]) -> dict[str, list[Ended]]:
    """By a word, in the order of the words."""
    found: dict[str, list[Ended]] = {}
    for one in work:
        found.setdefault(key(one), []).append(one)
    return dict(sorted(found.items()))


def available(busy: Iterable[Busy], processes: Mapping[str, int], since: float, until: float) -> float:
    """Worker-seconds that there were: in each hour all processes of every worker that did anything in it.

    `processes` is how many a worker has, by the first word of its name (`shared`, `reserved`, `host`); more that were
    seen count as well.
    """
    seen: dict[tuple[str, int], set[str]] = {}
    for one in busy:
        worker, _, _process = one.process.rpartition(":")
        seen.setdefault((worker, one.hour), set()).add(one.process)
    return sum(
        max(len(found), processes.get(worker.partition("-")[0], 1))
        * max(0.0, min((hour + 1) * _HOUR, until) - max(hour * _HOUR, since))
        for (worker, hour), found in seen.items()
    )
