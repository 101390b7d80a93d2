"""All rules, and the compliance profiles that are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from opsqueue.model.names import Severity
from opsqueue.operations.security.bounds import WORST_FIRST
from opsqueue.operations.security.rule import Judged, Rule, State
from opsqueue.operations.security.rules_accounts import ACCOUNTS
from opsqueue.operations.security.rules_files import FILES, SENSITIVE
from opsqueue.operations.security.rules_host import KERNEL, MOUNTS, UNWANTED, UPDATES
from opsqueue.operations.security.rules_listening import listening
from opsqueue.operations.security.rules_ssh import SSH, SUDO

_FIXED = (*SSH, *SUDO, *ACCOUNTS, *KERNEL, *MOUNTS, *UNWANTED, *UPDATES, *SENSITIVE, *FILES)


def rules(allowed_ports: Sequence[int] = ()) -> tuple[Rule, ...]:
    """Every rule, in the order in which they are told."""
    return (*_FIXED, listening(allowed_ports))


OTHERS: Mapping[str, tuple[str, Severity]] = {
    "vulnerable_package": ("no package has a known hole", Severity.WARNING),
    "advisories_old": ("data are not older than max_data_age_days", Severity.WARNING),
    "scan_incomplete": ("everything that was asked for could be looked at", Severity.WARNING),
    "system_ended": ("the system gets security updates, and will for 90 days more", Severity.CRITICAL),
    "lynis_warning": ("lynis does not warn; one for each of its tests", Severity.WARNING),
    "package_file_changed": (
        "files of packages are as they were installed; configuration may differ", Severity.WARNING,
    ),
    "exception_expired": ("no entry of accept has ended", Severity.WARNING),
    "findings_left_out": (
        "there are not more findings than the row of the operation holds; the rest is counted", Severity.WARNING,
    ),
}  # fmt: skip
"""Codes of findings that no rule brings: what should be so, and how bad it is for the most part."""
_TOGETHER: Mapping[str, str] = {
    "mount_missing": "directories that everybody writes to are file systems of their own",
    "mount_option": "such file systems are mounted nodev, nosuid, noexec",
    "package_insecure": "no servers and clients that send everything unencrypted, and no servers that nobody needs",
    "file_open": "files that the system believes are root's, and not more open than the benchmark says",
}
"""What several rules of one code say together."""
CODES = frozenset(rule.code for rule in rules()) | frozenset(OTHERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a code of findings is about."""

    code: str
    title: str
    """What should be so, in a sentence."""
    severity: Severity
    """The worst that its rules say; a finding may be told with another."""
    advice: str = ""
    references: tuple[str, ...] = ()


def described() -> tuple[Described, ...]:
    """Every code, sorted."""
    by_code: dict[str, list[Rule]] = {}
    for rule in rules():
        by_code.setdefault(rule.code, []).append(rule)
    others = (Described(code=code, title=title, severity=how) for code, (title, how) in OTHERS.items())
    return tuple(sorted((*map(_together, by_code.values()), *others), key=lambda one: one.code))


def _together(those: Sequence[Rule]) -> Described:
    first = those[0]
    return Described(
        code=first.code,
        title=_TOGETHER.get(first.code, first.title),
        severity=min((one.severity for one in those), key=WORST_FIRST.index),
        advice=first.advice if len({one.advice for one in those}) == 1 else "",
        references=tuple(dict.fromkeys(name for one in those for name in one.references)),
    )


PROFILES: Mapping[str, tuple[str, str, str]] = {
    "cis_debian12": ("CIS Debian Linux 12 Benchmark", "debian", "12"),
}
"""By name: the title, and the system that it is for. Only the numbers are the benchmark's; the words are ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One number of a standard on one host."""

    number: str
    title: str
    state: State
    why: str = ""


_ORDER = (State.FAIL, State.UNKNOWN, State.PASS, State.NOT_APPLICABLE)
"""The state of a control that several rules are about: the first of these that one of them is in."""


def controls(judged: Iterable[Judged]) -> tuple[Control, ...]:
    """The controls of the benchmark by their numbers."""
    by_number: dict[str, list[Judged]] = {}
    for one in judged:
        for number in one.rule.cis:
            by_number.setdefault(number, []).append(one)
    return tuple(_control(number, by_number[number]) for number in sorted(by_number, key=_sorted))


def _sorted(number: str) -> list[int]:
    return [int(word) for word in number.split(".")]


def _control(number: str, judged: Sequence[Judged]) -> Control:
    state = min((one.state for one in judged), key=_ORDER.index)
    those = [one for one in judged if one.state is state]
    why = "; ".join(dict.fromkeys(one.why or "; ".join(p.message for p in one.problems[:3]) for one in those))
    return Control(
        number=number, title="; ".join(dict.fromkeys(one.rule.title for one in judged)), state=state, why=why
    )


def percent(found: Iterable[Control]) -> float | None:
    """The share of passed controls among those that passed or failed; None when there is none of either."""
    states = [one.state for one in found]
    passed, failed = states.count(State.PASS), states.count(State.FAIL)
    return round(100 * passed / (passed + failed), 2) if passed + failed else None
