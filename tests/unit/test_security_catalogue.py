"""The rules as a whole: codes, references, the page about them, and what the profile counts."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opsqueue.beat_schedule import build
from opsqueue.operations import catalogue as types
from opsqueue.operations.security import compliance
from opsqueue.operations.security.catalogue import CODES, Control, controls, described, percent, rules
from opsqueue.operations.security.params import SecurityScanParams
from opsqueue.operations.security.rule import Judged, State, judge
from opsqueue.operations.security.rules_host import KERNEL
from opsqueue.settings import Settings

PAGE = Path(__file__).parents[2] / "docs/operations/security_scan.md"


def _rows() -> dict[str, list[str]]:
    table = PAGE.read_text(encoding="utf-8").partition("## Findings\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row for row in cells}


def test_every_code_stands_on_the_page_and_no_other() -> None:
    assert set(_rows()) == CODES | {"security_fixed"}


def test_the_page_has_every_reference_of_the_rules() -> None:
    rows = _rows()
    wanted: dict[str, set[str]] = {}
    for rule in rules():
        wanted.setdefault(rule.code, set()).update(rule.cis, rule.lynis)
    for code, references in wanted.items():
        assert set(re.findall(r"[A-Z]+-\d+|\d[\d.]+\d", rows[code][3])) == references, code


def test_the_page_has_the_severity_of_every_rule() -> None:
    rows = _rows()
    for rule in rules():
        assert rule.severity.value in rows[rule.code][1], rule.code


def test_the_page_says_what_should_be_so_in_the_words_of_the_rules() -> None:
    rows = _rows()
    for rule in KERNEL:
        assert rows[rule.code][2] == rule.title
    assert not [cells[2] for cells in rows.values() if "not so that" in cells[2]]


def test_rules_are_whole() -> None:
    for rule in rules():
        assert rule.title
        assert rule.advice[0].isupper()
        assert rule.advice.endswith(".")
        assert all(re.fullmatch(r"\d+(\.\d+){2,4}", number) for number in rule.cis), rule.code


def test_without_answers_every_rule_is_unknown() -> None:
    judged = [judge(rule, {}) for rule in rules()]
    assert {one.state for one in judged} == {State.UNKNOWN}
    found = controls(judged)
    assert {one.state for one in found} == {State.UNKNOWN}
    assert percent(found) is None


STATES = [
    ([State.PASS, State.FAIL], State.FAIL),
    ([State.PASS, State.UNKNOWN], State.UNKNOWN),
    ([State.FAIL, State.UNKNOWN], State.FAIL),
    ([State.PASS, State.NOT_APPLICABLE], State.PASS),
    ([State.NOT_APPLICABLE], State.NOT_APPLICABLE),
]


@pytest.mark.parametrize(("states", "wanted"), STATES)
def test_a_control_of_several_rules_is_as_the_worst(states: list[State], wanted: State) -> None:
    rule = next(rule for rule in rules() if rule.cis)
    (control,) = controls(Judged(rule=rule, state=state) for state in states)
    assert (control.number, control.state) == (rule.cis[0], wanted)


@pytest.mark.parametrize(("profile", "missing"), [("cis_debian12", 1), ("auto", 0), ("none", 0)])
def test_a_profile_of_which_nothing_is_judged_is_not_whole(profile: str, missing: int) -> None:
    params = SecurityScanParams.model_validate({"profile": profile})
    judged = [judge(rule, {}) for rule in rules()]
    for found in ((), controls(judged)):
        gaps = list(compliance.missing(params, found))
        assert [gap.part for gap in gaps] == ["compliance"] * missing
    passed = [Control(number="1", title="x", state=State.PASS)]
    assert list(compliance.missing(params, passed)) == []


def test_every_code_is_described() -> None:
    told = {one.code: one for one in described()}
    assert list(told) == sorted(CODES)
    rows = _rows()
    for code, one in told.items():
        assert one.title
        assert one.severity.value in rows[code][1] or code == "findings_left_out", code


def test_numbers_are_in_their_order_and_only_what_was_judged_counts() -> None:
    judged = [judge(rule, {}) for rule in rules()]
    numbers = [[int(word) for word in one.number.split(".")] for one in controls(judged)]
    assert numbers == sorted(numbers)
    states = [State.PASS, State.PASS, State.FAIL, State.UNKNOWN, State.NOT_APPLICABLE]
    assert percent(Control(number="1", title="x", state=state) for state in states) == 66.67


def _system(identity: str, version: str) -> dict[str, object]:
    return {"settings": {"system": {"id": identity, "version": version, "name": "It"}}}


PROFILES = [
    ("auto", "debian", "12", True),
    ("auto", "debian", "11", False),
    ("auto", "ubuntu", "12", False),
    ("cis_debian12", "ubuntu", "24.04", True),
    ("none", "debian", "12", False),
]


@pytest.mark.parametrize(("profile", "identity", "version", "has"), PROFILES)
def test_the_profile_is_that_of_the_system(profile: str, identity: str, version: str, has: bool) -> None:
    params = SecurityScanParams.model_validate({"profile": profile})
    assert bool(compliance.title(params, _system(identity, version))) is has


ENDS = [
    ("debian", "10", "2030-01-01", ["critical"]),
    ("debian", "12", "2028-06-30", ["warning"]),
    ("debian", "12", "2028-07-01", ["critical"]),
    ("debian", "12", "2028-04-01", ["warning"]),
    ("debian", "12", "2028-03-31", []),
    ("arch", "", "2030-01-01", []),
    ("rocky", "8.10", "2029-06-01", ["critical"]),
    ("centos", "7", "2026-01-01", ["critical"]),
    ("ubuntu", "24.10", "2026-01-01", ["critical"]),
    ("ubuntu", "24", "2040-01-01", []),
]


@pytest.mark.parametrize(("identity", "version", "day", "wanted"), ENDS)
def test_a_system_without_updates_is_told(identity: str, version: str, day: str, wanted: list[str]) -> None:
    at = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
    found = list(compliance.ended(_system(identity, version), at))
    assert [one.severity.value for one in found] == wanted
    assert {one.code for one in found} <= {"system_ended"}
    assert all(one.evidence["version"] == version and one.evidence["ends"] in one.message for one in found)
    assert all("It" in one.message for one in found)


def test_the_schedule_takes_it_up() -> None:
    entry = build(Settings(), types())["security-scan"]
    assert (entry.type, entry.systems) == ("security_scan", ("all",))
    types()[entry.type].params.model_validate(entry.parameters)
