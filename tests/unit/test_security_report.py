"""The report of a scan: controls with numbers, findings by state, vulnerabilities, and what was not looked at."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from opsqueue.model.fact import read, unknown
from opsqueue.model.kind import Seen
from opsqueue.model.plan import Result
from opsqueue.model.report import Section
from opsqueue.operations.security_scan import OPERATION

CASES = Path(__file__).parents[1] / "operations/security_scan"
AT = 1_800_000_000.0


def _seen(name: str, *, at: float = AT, earlier: Any = None, **laid: Any) -> tuple[Any, Seen]:
    """The answers of a golden case, and more laid over them."""
    data = tomllib.loads((CASES / f"{name}.toml").read_text(encoding="utf-8"))
    params = OPERATION.params.model_validate(data.get("params", {}))
    rows = {row["fact"]: row for row in data["before_raw"]}
    after = {
        fact.name: read(fact, Result(exit_code=rows[fact.name].get("exit_code", 0), stdout=rows[fact.name]["stdout"]))
        for fact in OPERATION.facts(params)
    }
    before = None if earlier is None else tuple(asdict(one) for one in earlier)
    after.update(laid)
    return params, Seen(
        host="web-1", before={}, after=after, metrics={}, earlier={}, thresholds={}, at=at, earlier_findings=before
    )


def _sections(*given: Any) -> dict[str, Section]:
    return {section.title: section for section in OPERATION.report(*given)}


def test_a_sound_host_has_its_controls_and_nothing_else() -> None:
    found = _sections(*_seen("sound"))
    assert list(found) == ["CIS Debian Linux 12 Benchmark"]
    (section,) = found.values()
    assert section.text[0].startswith(
        "100.0 percent passed: 98 of the 98 that were judged. 0 could not be told, and 18"
    )
    (grid,) = section.grids
    assert grid.columns == ("control", "what should be so", "state", "why")
    assert ("5.1.20", "root does not log in over SSH", "pass", "") in grid.rows
    assert {row[2] for row in grid.rows} == {"pass", "not applicable"}


def test_a_control_that_failed_says_why() -> None:
    (grid,) = _sections(*_seen("ssh"))["CIS Debian Linux 12 Benchmark"].grids
    assert ("5.1.20", "root does not log in over SSH", "fail", "PermitRootLogin is yes for root") in grid.rows


def test_vulnerable_packages_stand_in_a_table_of_their_own() -> None:
    found = _sections(*_seen("vulnerabilities"))
    assert list(found) == ["Vulnerable packages", "New findings"]
    (grid,) = found["Vulnerable packages"].grids
    assert grid.rows[0] == ("openssl", "3.0.11-1", "3.0.15-1~deb12u1", "CVE-2030-1", 9.8, "new", None)
    assert [row[1] for row in found["New findings"].grids[0].rows] == ["security_update_pending"]


def test_what_is_fixed_and_what_was_not_looked_at_have_sections() -> None:
    params, first = _seen("accounts")
    findings = OPERATION.analyse(params, first).findings
    answers = json.loads(json.dumps(first.after))
    answers["settings"]["accounts"]["uid_zero"] = ["root"]
    answers["settings"]["passwords"] = {"unknown": "Permission denied"}
    again = _seen("accounts", at=AT + 86_400, earlier=findings, settings=answers["settings"])
    found = _sections(*again)
    assert [row[1:3] for row in found["Fixed since the last scan"].grids[0].rows] == [("security_fixed", "toor")]
    left = {row[1] for row in found["Findings of before that were not looked at"].grids[0].rows}
    assert left == {"password_empty", "password_weak_hash", "password_endless"}
    assert found["Not looked at"].grids[0].rows == (("settings.passwords", "Permission denied"),)
    metrics = {one.name: one.value for one in OPERATION.analyse(*again).metrics}
    assert (metrics["findings_fixed"], metrics["findings_unverified"], metrics["oldest_finding"]) == (1, 4, 1.0)
    assert metrics["findings_new"] == 1  # that the scan was not whole


def test_one_package_that_is_mended_changes_nothing_else() -> None:
    params, first = _seen("vulnerabilities")
    findings = OPERATION.analyse(params, first).findings
    answers = json.loads(json.dumps(first.after))
    data = answers["advisories"]["advisories"]
    data["matches"] = [one for one in data["matches"] if one["package"] != "jinja2"]
    again = OPERATION.analyse(*_seen("vulnerabilities", at=AT + 86_400, earlier=findings, **answers)).findings
    before = {one.evidence["subject"]: one for one in findings}
    fixed = [one.evidence["subject"] for one in again if one.code == "security_fixed"]
    assert fixed == ["PyPI/jinja2 CVE-2019-10906 in /opt/app/lib/python3.11/site-packages"]
    for one in again:
        if one.code != "security_fixed":
            old = before.pop(one.evidence["subject"])
            assert asdict(one) == {**asdict(old), "evidence": {**old.evidence, "status": "standing"}}
    assert list(before) == fixed


ENGINES = {
    "advisories": "vulnerabilities", "settings": "accounts", "files": "files", "lynis": "lynis",
    "integrity": "integrity",
}  # fmt: skip
"""Each fact, and a golden case in which it has something to tell."""


@pytest.mark.parametrize("lost", sorted(ENGINES))
def test_an_engine_that_fails_costs_no_other(lost: str) -> None:
    params, seen = _seen("accounts")
    checks = ("vulnerabilities", "configuration", "permissions", "lynis", "integrity")
    params = params.model_validate({"checks": checks})
    after = {fact: _seen(case)[1].after[fact] for fact, case in ENGINES.items()}
    whole = OPERATION.analyse(params, replace(seen, after=after)).findings
    gone = {fact: unknown("it did not end within its time limit") if fact == lost else after[fact] for fact in after}
    assert OPERATION.verify(params, {}, gone) == ()
    rest = OPERATION.analyse(params, replace(seen, after=gone)).findings
    of_lost = [one for one in whole if one.evidence["part"].partition(".")[0] == lost]
    assert of_lost
    assert {one.evidence["fingerprint"] for one in whole if one not in of_lost} < {
        one.evidence["fingerprint"] for one in rest
    }
    assert [one.evidence["subject"] for one in rest if one not in whole] == [lost]


def test_accepted_risks_are_listed_with_reason_owner_and_end() -> None:
    params, seen = _seen("accounts")
    entry = {"code": "uid_zero", "subject": "toor", "reason": "it is ours", "owner": "ann", "until": "2030-05-01"}
    params = params.model_validate({**params.model_dump(), "accept": [entry]})
    (grid,) = _sections(params, seen)["Accepted risks"].grids
    (row,) = [dict(zip(grid.columns, one, strict=True)) for one in grid.rows]
    assert (row["severity"], row["about"]) == ("critical", "toor")
    assert (row["reason"], row["accepted by"], row["until"]) == ("it is ours", "ann", "2030-05-01")


def test_what_is_exploited_has_a_column_where_a_catalogue_says_so() -> None:
    params, seen = _seen("vulnerabilities")
    (grid,) = _sections(params, seen)["Vulnerable packages"].grids
    assert "exploited" not in grid.columns
    told = {"path": "/srv/kev.json", "holes": 9, "named": ["CVE-2030-1"], "age_days": 1.0}
    more = _seen("vulnerabilities", advisories={**seen.after["advisories"], "exploited": told})
    (grid,) = _sections(*more)["Vulnerable packages"].grids
    marks = {row[grid.columns.index("advisory")]: row[grid.columns.index("exploited")] for row in grid.rows}
    assert marks == {"CVE-2030-1": "yes", "CVE-2030-2": "no", "CVE-2019-10906": "no"}


def test_the_same_answers_give_the_same_report() -> None:
    given = _seen("files")
    assert OPERATION.report(*given) == OPERATION.report(*given)
    assert json.dumps(asdict(OPERATION.analyse(*given))) == json.dumps(asdict(OPERATION.analyse(*given)))
    for section in OPERATION.report(*given):
        assert all(len(row) == len(grid.columns) for grid in section.grids for row in grid.rows)
