"""New, standing, fixed, accepted, not looked at: the table of what is told from two scans."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

import pytest

from opsqueue.model.kind import Seen
from opsqueue.model.names import Severity
from opsqueue.operations.security import bounds, states
from opsqueue.operations.security.found import Found, Missing, fingerprint
from opsqueue.operations.security.params import SecurityScanParams

AT = datetime(2030, 5, 1, 12, tzinfo=UTC).timestamp()
DAY = 86400


def _one(code: str = "uid_zero", subject: str = "toor", part: str = "settings.accounts", **more: Any) -> Found:
    base = {"severity": Severity.CRITICAL, "message": f"{subject} is bad", "advice": "Mend it."}
    return Found(code=code, subject=subject, part=part, **{**base, **more})


def _seen(earlier: Any = None, at: float = AT, hosts: int = 1) -> Seen:
    before = None if earlier is None else tuple(asdict(one) for one in earlier.findings)
    return Seen(
        host="h", before={}, after={}, metrics={}, earlier={}, thresholds={}, at=at, earlier_findings=before,
        hosts=hosts,
    )  # fmt: skip


def _held(
    rows: list[Found], earlier: Any = None, gaps: tuple[Missing, ...] = (), at: float = AT, hosts: int = 1,
    **params: Any,
) -> Any:  # fmt: skip
    return states.held(SecurityScanParams.model_validate(params), _seen(earlier, at, hosts), rows, gaps)


def _told(found: Any) -> list[tuple[str, str]]:
    return [(one.code, one.evidence.get("status", "")) for one in found.findings]


def test_the_first_scan_finds_new_ones() -> None:
    found = _held([_one()])
    assert _told(found) == [("uid_zero", "new")]
    assert found.findings[0].evidence["fingerprint"] == fingerprint("uid_zero", "h", "toor")
    assert (found.counts["new"], found.severities[Severity.CRITICAL], found.oldest) == (1, 1, AT)


def test_a_value_or_a_sentence_makes_no_other_finding() -> None:
    first = _held([_one()], at=AT - DAY)
    again = _held([_one(message="other words", evidence={"value": 7}, severity=Severity.INFO)], first)
    assert _told(again) == [("uid_zero", "standing")]
    assert again.oldest == AT - DAY


def test_what_is_gone_is_fixed_once() -> None:
    first = _held([_one(), _one(subject="eve")])
    second = _held([_one(subject="eve")], first)
    assert _told(second) == [("uid_zero", "standing"), ("security_fixed", "fixed")]
    assert second.findings[1].severity is Severity.INFO
    assert second.findings[1].evidence["was"] == "uid_zero"
    assert _told(_held([_one(subject="eve")], second)) == [("uid_zero", "standing")]
    assert _told(_held([_one(), _one(subject="eve")], second)) == [("uid_zero", "standing"), ("uid_zero", "new")]


GAPS = [
    (Missing(part="settings.accounts", why="x"), "unverified"),
    (Missing(part="settings", why="x"), "unverified"),
    (Missing(part="settings.accounts", why="x", code="uid_zero"), "unverified"),
    (Missing(part="settings.accounts", why="x", code="uid_twice"), "fixed"),
    (Missing(part="settings.acc", why="x"), "fixed"),
    (Missing(part="files", why="x"), "fixed"),
    (Missing(part="settings.accounts", why="x", but=frozenset({"/home"})), "unverified"),
    (Missing(part="settings.accounts", why="x", but=frozenset({"toor"})), "unverified"),
]
LOOKED = [("/home/ann/.ssh/keys", "fixed"), ("/home", "fixed"), ("/homes/ann", "unverified"), ("/", "unverified")]


@pytest.mark.parametrize(("subject", "status"), LOOKED)
def test_what_lies_where_all_is_known_is_fixed(subject: str, status: str) -> None:
    first = _held([_one(subject=subject)])
    second = _held([], first, (Missing(part="settings.accounts", why="x", but=frozenset({"/home"})),))
    assert [one.evidence["status"] for one in second.findings] == [status]


@pytest.mark.parametrize(("gap", "status"), GAPS)
def test_what_nobody_looked_at_is_not_fixed(gap: Missing, status: str) -> None:
    first = _held([_one()], at=AT - DAY)
    blind = _held([], first, (gap,))
    assert [one.evidence["status"] for one in blind.findings] == [status]
    if status == "unverified":
        assert (blind.findings[0].severity, blind.oldest) == (Severity.CRITICAL, AT - DAY)
        assert _told(_held([_one()], blind)) == [("uid_zero", "standing")]


ACCEPT = {"code": "uid_zero", "subject": "toor", "reason": "it is ours", "owner": "ann", "until": "2030-05-01"}


def test_an_accepted_risk_is_listed_and_counts_no_more() -> None:
    found = _held([_one(), _one(subject="eve")], accept=[ACCEPT])
    assert _told(found) == [("uid_zero", "new"), ("uid_zero", "accepted")]
    assert found.severities[Severity.CRITICAL] == 1
    accepted = found.findings[1]
    assert (accepted.severity, accepted.evidence["accepted_by"]) == (Severity.INFO, "ann")
    assert accepted.evidence["until"] == "2030-05-01"


def test_an_exception_ends_with_its_day_in_utc() -> None:
    end = datetime(2030, 5, 2, tzinfo=UTC).timestamp()
    assert _told(_held([_one()], accept=[ACCEPT], at=end - 1)) == [("uid_zero", "accepted")]
    assert _told(_held([_one()], accept=[ACCEPT], at=end)) == [("uid_zero", "new"), ("exception_expired", "")]


def test_an_accepted_risk_that_is_mended_is_fixed() -> None:
    first = _held([_one()], accept=[ACCEPT])
    assert _told(_held([], first, accept=[ACCEPT])) == [("security_fixed", "fixed")]


def test_an_accepted_risk_stays_accepted_where_nobody_looked_until_it_ends() -> None:
    gap = Missing(part="settings.accounts", why="x")
    first = _held([_one()], accept=[ACCEPT], at=AT - DAY)
    blind = _held([], first, (gap,), accept=[ACCEPT])
    assert (_told(blind), blind.counts["accepted"]) == ([("uid_zero", "accepted")], 1)
    ended = _held([], blind, (gap,), accept=[ACCEPT], at=AT + DAY)
    assert _told(ended) == [("uid_zero", "unverified"), ("exception_expired", "")]
    back = ended.findings[0]
    assert (back.severity, back.message, ended.severities[Severity.CRITICAL]) == (Severity.CRITICAL, "toor is bad", 1)
    assert {"accepted_by", "reason", "until"}.isdisjoint(back.evidence)
    assert (back.evidence["since"], ended.oldest) == (AT - DAY, AT - DAY)


@pytest.mark.parametrize("field", ["code", "reason", "owner", "until"])
def test_an_exception_has_a_reason_an_owner_and_an_end(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        SecurityScanParams.model_validate({"accept": [{key: value for key, value in ACCEPT.items() if key != field}]})


def test_any_subject_can_be_accepted_for_a_code() -> None:
    found = _held([_one(), _one(code="uid_twice")], accept=[{**ACCEPT, "subject": "*", "until": date(2031, 1, 1)}])
    assert sorted(_told(found)) == [("uid_twice", "new"), ("uid_zero", "accepted")]


def test_more_than_can_be_told_are_counted_and_remembered() -> None:
    many = [_one(subject=f"{number:04}", severity=Severity.WARNING) for number in range(bounds.MOST + 20)]
    first = _held([*many, _one()])
    assert len(first.findings) == bounds.MOST + 1
    assert first.findings[0].evidence["subject"] == "toor"  # the worst first
    assert first.counts["new"] == bounds.MOST + 21
    again = _held([*many, _one()], first)
    assert (again.counts["new"], again.counts["standing"]) == (0, bounds.MOST + 21)


def test_many_of_one_code_hide_no_other() -> None:
    many = [_one(code="suid_foreign", subject=f"/home/ann/{number:04}") for number in range(bounds.MOST + 1)]
    found = _held([*many, _one()])
    assert len(found.findings) == bounds.MOST + 1
    assert [one.code for one in found.findings if one.evidence.get("subject") == "toor"] == ["uid_zero"]
    codes = [one.code for one in found.findings]
    assert (codes.count("suid_foreign"), codes[-1]) == (bounds.MOST - 1, "findings_left_out")


def _bytes(found: Any) -> int:
    return len(json.dumps([asdict(one) for one in found.findings]))


def _files(number: int, **more: Any) -> list[Found]:
    long = "/srv/" + "d" * 200
    return [
        _one("world_writable", f"{long}/{each:06}", "files.world_writable", severity=Severity.WARNING, **more)
        for each in range(number)
    ]


@pytest.mark.parametrize("hosts", [1, 100, 1000])
def test_all_hosts_of_an_operation_share_its_row(hosts: int) -> None:
    found = _held([*_files(6_000), _one()], hosts=hosts)
    assert _bytes(found) * hosts < 16 << 20
    assert _bytes(found) < (1 << 20) + 2000
    assert found.findings[0].code == "uid_zero"
    assert found.counts["new"] == 6_001
    (left,) = (one for one in found.findings if one.code == "findings_left_out")
    assert left.evidence["number"] == 6_001 - (len(found.findings) - 1)


@pytest.mark.parametrize("hosts", [1, 1000])
def test_what_was_beyond_every_bound_is_neither_new_nor_fixed(hosts: int) -> None:
    """Also what has not even a fingerprint in the row; a weakness of another code is new all the same."""
    first = _held(_files(6_000), hosts=hosts)
    again = _held([*_files(6_000), _one()], first, hosts=hosts)
    assert (again.counts["new"], again.counts["standing"], again.counts["fixed"]) == (1, 6_000, 0)
    told = [one for one in first.findings if one.code == "world_writable"]
    fewer = _held(_files(len(told)), first, hosts=hosts)
    assert (fewer.counts["standing"], fewer.counts["fixed"]) == (len(told), 0)
    none = _held([], first, hosts=hosts)
    assert none.counts["fixed"] == len(told)


def test_what_is_fixed_and_not_told_is_not_remembered_as_there() -> None:
    first = _held(_files(bounds.MOST), hosts=1)
    told = sum(one.code == "world_writable" for one in first.findings)
    others = [_one("suid_foreign", f"/{each}") for each in range(bounds.MOST)]
    second = _held(others, first)
    assert second.counts["fixed"] == told
    (left,) = (one for one in second.findings if one.code == "findings_left_out")
    assert left.evidence["number"] == told
    there = {fingerprint("suid_foreign", "h", one.subject) for one in others}
    assert len(left.evidence["fingerprints"]) == sum(one.code == "suid_foreign" for one in others) - sum(
        one.code == "suid_foreign" for one in second.findings
    )
    assert set(left.evidence["fingerprints"]) <= there


def test_the_worst_of_all_is_told_however_many_hosts_there_are() -> None:
    found = _held([_one(subject="/" + "d" * 4000), *_files(10)], hosts=100_000)
    assert [one.code for one in found.findings] == ["uid_zero", "findings_left_out"]


def test_a_finding_that_is_too_large_is_told_without_its_details() -> None:
    found = _held([_one(message="x" * 50_000, evidence={"binaries": ["y" * 1000] * 100})])
    (one,) = found.findings
    assert len(json.dumps(asdict(one))) < 3000
    assert (one.evidence["subject"], one.evidence["status"]) == ("toor", "new")
    assert _told(_held([_one()], found)) == [("uid_zero", "standing")]


def test_the_same_twice_is_one() -> None:
    assert len(_held([_one(), _one()]).findings) == 1


def test_findings_of_other_forms_are_no_earlier_scan() -> None:
    seen = Seen(
        host="h",
        before={},
        after={},
        metrics={},
        earlier={},
        thresholds={},
        at=AT,
        earlier_findings=({"code": "slower_than_usual", "severity": "info", "evidence": {}}, {"code": "x"}),
    )
    found = states.held(SecurityScanParams(), seen, [_one()], ())
    assert _told(found) == [("uid_zero", "new")]
