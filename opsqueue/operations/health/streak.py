"""Soft and hard: how often in a row something must be found before it counts as down, and as up again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from opsqueue.model.instant import UNIX_TIME
from opsqueue.model.kind import Metric, Seen
from opsqueue.operations.health.problem import State
from opsqueue.operations.health.score import Judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """What the checks of one name were until now."""

    failures: int = 0
    """In a row, up to the last one."""
    successes: int = 0
    """Likewise; one of the two is 0."""
    down: bool = False
    """Hard: it counts as down."""
    since: float | None = None
    """When the first failure was that is not made good yet, UNIX time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How often in a row."""

    failures: int = 3
    successes: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One check with what it was before and is now; None: nothing is known of it yet."""

    judged: Judged
    before: Streak | None
    now: Streak | None
    limits: Limits

    @property
    def soft(self) -> bool:
        """It failed, and does not count as down yet."""
        return self.judged.down and self.now is not None and not self.now.down

    @property
    def recovering(self) -> bool:
        """It answers, and counts as down still."""
        return self.now is not None and self.now.down and self.now.successes > 0

    @property
    def fell(self) -> bool:
        """It counts as down from now on, and did not before."""
        return self.before is not None and self.now is not None and self.now.down and not self.before.down

    @property
    def recovered(self) -> bool:
        """It counts as up from now on, and counted as down before."""
        return self.before is not None and self.now is not None and self.before.down and not self.now.down


def next_streak(
    before: Streak | None, failed: bool, limits: Limits, *, certain: bool = False, at: float | None = None
) -> Streak:
    """One more result. Without any before it, the result itself is how it stands; what is certain counts at once."""
    if before is None:
        return Streak(failures=int(failed), successes=int(not failed), down=failed, since=at if failed else None)
    if failed:
        failures = before.failures + 1
        down = before.down or certain or failures >= limits.failures
        return Streak(failures=failures, down=down, since=at if before.since is None else before.since)
    successes = before.successes + 1
    down = before.down and successes < limits.successes
    return Streak(successes=successes, down=down, since=before.since if down else None)


def standing(judged: Judged, seen: Seen, limits: Limits) -> Standing:
    """A check that could not be made, or could not be reached, leaves everything as it was."""
    before = _before(judged.check.name, seen.earlier)
    if judged.state in {State.UNKNOWN, State.UNREACHABLE}:
        return Standing(judged=judged, before=before, now=before, limits=limits)
    certain = any(problem.down and problem.certain for problem in judged.problems)
    now = next_streak(before, judged.down, limits, certain=certain, at=seen.at)
    return Standing(judged=judged, before=before, now=now, limits=limits)


def streak_metrics(one: Standing) -> Iterator[Metric]:
    """What the next operation counts on from."""
    if one.now is not None:
        name = one.judged.check.name
        yield Metric(name=f"hard:{name}", value=float(one.now.down), unit="state")
        yield Metric(name=f"failures:{name}", value=one.now.failures, unit="count")
        yield Metric(name=f"successes:{name}", value=one.now.successes, unit="count")
        if one.now.since is not None:
            yield Metric(name=f"failing_since:{name}", value=one.now.since, unit=UNIX_TIME)


def _before(name: str, earlier: Mapping[str, Metric]) -> Streak | None:
    found = [earlier.get(f"{what}:{name}") for what in ("failures", "successes", "hard")]
    values = [metric.value for metric in found if metric and metric.value is not None]
    if len(values) < len(found):
        return None
    since = earlier.get(f"failing_since:{name}")
    failures, successes, hard = values
    return Streak(
        failures=int(failures), successes=int(successes), down=bool(hard), since=since.value if since else None
    )
