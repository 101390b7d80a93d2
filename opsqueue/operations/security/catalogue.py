"""All rules, and the compliance profiles that are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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


OTHERS = frozenset({
    "vulnerable_package", "advisories_old", "scan_incomplete", "system_ended",
    "lynis_warning", "package_file_changed", "exception_expired", "findings_left_out",
})  # fmt: skip
"""Codes of findings that no rule brings."""
CODES = frozenset(rule.code for rule in rules()) | OTHERS

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
