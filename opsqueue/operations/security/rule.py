"""A rule: one thing that a host should be like, where the advice comes from, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from opsqueue.model.fact import Facts, why_unknown
from opsqueue.model.names import Severity


class State(StrEnum):
    """How a rule stands on a host."""

    PASS = "pass"  # noqa: S105 - a word of the trade
    FAIL = "fail"
    UNKNOWN = "unknown"
    """It could not be told; never counted as passed."""
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is not as it should be."""

    subject: str
    """What it is about, and what makes it the same at the next scan: a path, an account, a setting; never a value."""
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity | None = None
    """When it is another than the rule's."""
    advice: str = ""
    """When it is another than the rule's."""


class NotKnown(Exception):
    """The answer does not tell; the reason as its text."""


class NotApplicable(Exception):
    """The host has nothing that this is about; the reason as its text."""


Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that a host should be like."""

    code: str
    title: str
    """What should be so, in a sentence."""
    part: str
    """`FACT.SECTION`, such as settings.sshd: what it is judged by."""
    severity: Severity
    judge: Callable[[Any], Iterable[Problem]]
    """Problems in the section's answer; may raise NotKnown and NotApplicable."""
    advice: str
    cis: tuple[str, ...] = ()
    """The numbers in the CIS Debian Linux 12 Benchmark."""
    lynis: tuple[str, ...] = ()
    """The tests of lynis that look at the same."""

    @property
    def references(self) -> list[str]:
        """Where to read more."""
        return [*(f"CIS {number}" for number in self.cis), *(f"lynis {test}" for test in self.lynis)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """How a rule stands on a host."""

    rule: Rule
    state: State
    why: str = ""
    """Why it is unknown or not applicable."""
    problems: tuple[Problem, ...] = ()


def section(facts: Facts, part: str) -> Any:
    """The part of an answer that a rule is judged by; raises NotKnown and NotApplicable."""
    answer: Any = facts
    for word in part.split("."):
        answer = answer.get(word) if isinstance(answer, Mapping) else None
        if answer is None:
            raise NotKnown("it was not asked, or the answer says nothing of it")
        if (reason := why_unknown(answer)) is not None:
            raise NotKnown(reason)
        if isinstance(answer, Mapping) and set(answer) == {"absent"}:
            raise NotApplicable(str(answer["absent"]))
    return answer


def judge(rule: Rule, facts: Facts) -> Judged:
    """How a rule stands by these answers."""
    try:
        problems = tuple(rule.judge(section(facts, rule.part)))
    except NotKnown as error:
        return Judged(rule=rule, state=State.UNKNOWN, why=str(error))
    except NotApplicable as error:
        return Judged(rule=rule, state=State.NOT_APPLICABLE, why=str(error))
    except ValueError as error:  # a number that is none, in a file that somebody wrote
        return Judged(rule=rule, state=State.UNKNOWN, why=f"it cannot be judged: {error}")
    return Judged(rule=rule, state=State.FAIL if problems else State.PASS, problems=problems)
