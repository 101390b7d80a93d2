"""All checks of a host together: dependencies, the score, and whether the host is up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from opsqueue.operations.health.check import Check
from opsqueue.operations.health.judge import judge
from opsqueue.operations.health.problem import Problem, State, state_of

_WORTH: Mapping[State, float] = {State.OK: 1.0, State.WARNING: 0.5, State.CRITICAL: 0.0}
_MOST_UNKNOWN = 0.2
_CAPS: Mapping[State, float] = {State.CRITICAL: 49.0, State.WARNING: 79.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One check with its answer, its state and what is wrong."""

    check: Check
    answer: Any
    state: State
    problems: tuple[Problem, ...] = ()
    because_of: tuple[str, ...] = ()
    """The checks that are down and explain why this one fails."""

    @property
    def down(self) -> bool:
        """Whether what it looks at is down; not what is only unreachable with something else."""
        critical = self.state is State.CRITICAL
        return critical and (not self.problems or any(problem.down for problem in self.problems))


def judge_all(answers: Iterable[tuple[Check, Any]]) -> tuple[Judged, ...]:
    """Each check in its order; one that fails while something it depends on is down is `unreachable`."""
    alone = [_judged(check, answer) for check, answer in answers]
    settled: dict[str, Judged] = {}
    for one in in_order([judged.check for judged in alone]):
        judged = next(item for item in alone if item.check.name == one.name)
        settled[one.name] = _beside_parents(judged, settled)
    return tuple(settled[judged.check.name] for judged in alone)


def in_order(checks: Sequence[Check]) -> list[Check]:
    """Parents before children; ValueError when checks depend on each other in a circle or on one that is not there."""
    names = {check.name for check in checks}
    placed: list[Check] = []
    left = list(checks)
    while left:
        done = {check.name for check in placed}
        ready = [check for check in left if set(check.depends_on) <= done]
        if not ready:
            raise ValueError(_why_stuck(left, names))
        placed += ready
        left = [check for check in left if check not in ready]
    return placed


def score_of(judged: Sequence[Judged]) -> float | None:
    """0 to 100: ok counts 1, warning 1/2, critical 0, each by its weight; a bad one is never averaged away.

    Capped at 49 by any critical and at 79 by any warning. `None` when nothing could be judged, or when more than
    a fifth of the weight is unknown. Unreachable checks do not count.
    """
    counted = [one for one in judged if one.state in _WORTH]
    known = sum(one.check.weight for one in counted)
    lost = sum(one.check.weight for one in judged if one.state is State.UNKNOWN)
    if not known or lost / (known + lost) > _MOST_UNKNOWN:
        return None
    plain = 100 * sum(_WORTH[one.state] * one.check.weight for one in counted) / known
    caps = [_CAPS[one.state] for one in counted if one.state in _CAPS]
    return round(min([plain, *caps]), 1)


def is_up(judged: Sequence[Judged]) -> bool | None:
    """Down: a check marked critical is, or every check that could be judged is. `None`: none could be judged."""
    counted = [one for one in judged if one.state in _WORTH]
    if not counted:
        return None
    down = [one for one in counted if one.down]
    return not (len(down) == len(counted) or any(one.check.critical for one in down))


def _judged(check: Check, answer: Any) -> Judged:
    problems = judge(check, answer)
    return Judged(check=check, answer=answer, state=state_of(problems), problems=problems)


def _beside_parents(judged: Judged, settled: Mapping[str, Judged]) -> Judged:
    down = tuple(name for name in judged.check.depends_on if _explains(settled[name]))
    # A child that answers is plainly reachable, whatever is said of its parent; and so is one of which something was
    # seen that no parent explains, such as a changed key.
    if not down or judged.state not in {State.CRITICAL, State.UNKNOWN} or _seen_for_certain(judged):
        return judged
    return replace(judged, state=State.UNREACHABLE, because_of=down)


def _seen_for_certain(child: Judged) -> bool:
    return any(problem.state is State.CRITICAL and problem.certain for problem in child.problems)


def _explains(parent: Judged) -> bool:
    return parent.down or parent.state is State.UNREACHABLE


def _why_stuck(left: Sequence[Check], names: set[str]) -> str:
    for check in left:
        missing = sorted(set(check.depends_on) - names)
        if missing:
            return f"{check.name} depends on {missing[0]}, and there is no check of that name"
    return f"checks depend on each other in a circle: {', '.join(check.name for check in left)}"
