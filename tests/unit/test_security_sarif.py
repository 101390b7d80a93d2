"""SARIF of a scan: the structure of the standard, every finding with its state, and nothing that only looks clean."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from opsqueue.cli import sarif
from opsqueue.errors import InvalidRequest
from opsqueue.model.fact import read
from opsqueue.model.kind import Finding, Seen
from opsqueue.model.names import OperationPriority, Outcome, Severity, TargetState
from opsqueue.model.plan import Result
from opsqueue.model.record import Operation, Target
from opsqueue.operations.security.catalogue import CODES
from opsqueue.operations.security_scan import OPERATION

CASES = Path(__file__).parents[1] / "operations/security_scan"
AT = 1_800_000_000.0
DAY = 86_400
ID = "11111111-2222-4333-8444-555555555555"


def _said(row: dict[str, Any]) -> Result:
    return Result(exit_code=row.get("exit_code", 0), stdout=row.get("stdout", ""), stderr=row.get("stderr", ""))


def _found(name: str, at: float = AT, earlier: Any = None, **more: Any) -> tuple[Finding, ...]:
    """What a golden case finds on the host web-1."""
    data = tomllib.loads((CASES / f"{name}.toml").read_text(encoding="utf-8"))
    params = OPERATION.params.model_validate({**data.get("params", {}), **more})
    rows = {row["fact"]: row for row in data["before_raw"]}
    after = {fact.name: read(fact, _said(rows.get(fact.name, {"exit_code": 1}))) for fact in OPERATION.facts(params)}
    before = None if earlier is None else tuple(json.loads(json.dumps(asdict(one))) for one in earlier)
    seen = Seen(
        host="web-1", before={}, after=after, metrics={}, earlier={}, thresholds={}, at=at, earlier_findings=before
    )
    return OPERATION.analyse(params, seen).findings


def _operation(*findings: Finding, **more: Any) -> Operation:
    told = tuple(json.loads(json.dumps(asdict(one))) for one in findings)
    base: dict[str, Any] = {
        "id": ID, "name": "weekly scan", "type": "security_scan", "priority": OperationPriority.NORMAL,
        "findings": told, "created_at": AT - 60, "finished_at": AT, "outcome": Outcome.SUCCEEDED, "score": 50.0,
    }  # fmt: skip
    return Operation(**{**base, **more})


def _target(host: str = "web-1", state: TargetState = TargetState.SUCCEEDED, *problems: str) -> Target:
    return Target(operation_id=ID, host=host, state=state, problems=problems)


def _run(*findings: Finding, targets: tuple[Target, ...] = (_target(),), **more: Any) -> Any:
    document = sarif.document(_operation(*findings, **more), targets)
    _checked(document, "log")
    (run,) = document["runs"]
    return run


# What the standard wants of each object (required, further); a name leads to the shape of what is inside.
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "log": ({"version": str, "runs": ["run"]}, {"$schema": str}),
    "run": (
        {"tool": "tool"},
        {"automationDetails": "automation", "invocations": ["invocation"], "results": ["result"], "properties": dict},
    ),
    "tool": ({"driver": "driver"}, {}),
    "driver": ({"name": str}, {"version": str, "rules": ["rule"]}),
    "rule": (
        {"id": str},
        {"shortDescription": "message", "defaultConfiguration": "level", "help": "message", "properties": dict},
    ),
    "level": ({}, {"level": str}),
    "automation": ({}, {"id": str}),
    "invocation": (
        {"executionSuccessful": bool},
        {
            "startTimeUtc": str, "endTimeUtc": str,
            "toolConfigurationNotifications": ["notice"], "toolExecutionNotifications": ["notice"],
        },
    ),
    "notice": ({"message": "message"}, {"descriptor": "descriptor", "level": str, "locations": ["location"]}),
    "descriptor": ({}, {"id": str}),
    "message": ({"text": str}, {}),
    "result": (
        {"message": "message"},
        {
            "ruleId": str, "ruleIndex": int, "level": str, "locations": ["location"], "partialFingerprints": dict,
            "baselineState": str, "suppressions": ["suppression"], "rank": float, "properties": dict,
        },
    ),
    "location": ({}, {"logicalLocations": ["logical"], "physicalLocation": "physical"}),
    "logical": ({}, {"name": str, "fullyQualifiedName": str, "kind": str}),
    "physical": ({"artifactLocation": "artifact"}, {}),
    "artifact": ({}, {"uri": str}),
    "suppression": ({"kind": str}, {"status": str, "justification": str, "properties": dict}),
}  # fmt: skip
LEVELS = {"none", "note", "warning", "error"}
STATES = {"new", "unchanged", "updated", "absent"}


def _checked(value: Any, shape: Any) -> None:
    """That a part of the log has what it must have, and nothing that the standard does not know."""
    if isinstance(shape, list):
        assert isinstance(value, list)
        for one in value:
            _checked(one, shape[0])
    elif isinstance(shape, str):
        wanted, further = SHAPES[shape]
        assert set(wanted) <= set(value) <= {*wanted, *further}, shape
        for key, inside in value.items():
            _checked(inside, {**wanted, **further}[key])
    else:
        assert type(value) is shape, value


@pytest.mark.parametrize("name", sorted(one.stem for one in CASES.glob("*.toml") if "invalid" not in one.stem))
def test_every_case_is_a_log_of_the_standard(name: str) -> None:
    findings = _found(name)
    run = _run(*findings)
    rules = run["tool"]["driver"]["rules"]
    assert [one["id"] for one in rules] == sorted(CODES)
    assert {one["defaultConfiguration"]["level"] for one in rules} <= LEVELS
    results = run["results"]
    assert len(results) == len([one for one in findings if "fingerprint" in one.evidence])
    for one in results:
        assert rules[one["ruleIndex"]]["id"] == one["ruleId"]
        assert (one["level"] in LEVELS, one["baselineState"] in STATES, one["suppressions"]) == (True, True, [])
        assert one["message"]["text"]
    prints = [one["partialFingerprints"]["opsqueue/v1"] for one in results]
    assert len(set(prints)) == len(prints)
    assert {one.evidence["fingerprint"] for one in findings if "fingerprint" in one.evidence} == set(prints)


def _by_rule(run: Any, rule: str) -> list[Any]:
    return [one for one in run["results"] if one["ruleId"] == rule]


def test_a_file_has_an_address_on_its_host_and_all_else_a_name() -> None:
    run = _run(*_found("files"), *_found("accounts"), *_found("vulnerabilities"), *_found("host"))
    files = {
        one["locations"][0]["logicalLocations"][0]["name"]: one["locations"][0]
        for one in _by_rule(run, "world_writable")
    }
    for subject, place in files.items():
        assert place["physicalLocation"]["artifactLocation"]["uri"] == f"file://web-1{subject}"
        assert place["logicalLocations"][0]["fullyQualifiedName"] == f"web-1::{subject}"
    assert files
    for rule in ("uid_zero", "mount_option"):
        assert _by_rule(run, rule)
        assert not [one for one in _by_rule(run, rule) if "physicalLocation" in one["locations"][0]]
    places = [one["locations"][0].get("physicalLocation") for one in _by_rule(run, "vulnerable_package")]
    address = "file://web-1/opt/app/lib/python3.11/site-packages"
    assert [place["artifactLocation"]["uri"] for place in places if place] == [address]


def test_a_score_is_a_rank() -> None:
    run = _run(*_found("vulnerabilities"))
    ranks = {
        one["locations"][0]["logicalLocations"][0]["name"]: (one["level"], one.get("rank"))
        for one in _by_rule(run, "vulnerable_package")
    }
    assert ranks["Debian:12/openssl CVE-2030-1"] == ("error", 98.0)
    assert ranks["Debian:12/openssl CVE-2030-2"] == ("note", None)


def _states(run: Any) -> dict[str, str]:
    return {
        f"{one['ruleId']} {one['locations'][0]['logicalLocations'][0]['name']}": one["baselineState"]
        for one in run["results"]
    }


def test_new_standing_and_fixed_are_states_of_the_baseline() -> None:
    first = _found("accounts")
    assert set(_states(_run(*first)).values()) == {"new"}
    again = _found("accounts", AT + DAY, first)
    assert set(_states(_run(*again)).values()) == {"unchanged"}
    mended = _states(_run(*_found("sound", AT + DAY, first)))
    assert mended["uid_zero toor"] == "absent"  # by the rule that it was found by, with its own severity
    levels = {one["ruleId"]: one["level"] for one in _run(*_found("sound", AT + DAY, first))["results"]}
    assert levels["uid_zero"] == "error"
    assert "security_fixed" not in levels


ACCEPT = {"code": "uid_zero", "subject": "toor", "reason": "it is ours", "owner": "ann", "until": "2030-05-01"}


def test_an_accepted_risk_is_a_suppression_with_its_reason_its_owner_and_its_end() -> None:
    first = _found("accounts", accept=[ACCEPT])
    run = _run(*first)
    (one,) = _by_rule(run, "uid_zero")
    (why,) = one["suppressions"]
    assert (why["kind"], why["status"]) == ("external", "accepted")
    assert why["justification"] == "it is ours (accepted by ann until 2030-05-01)"
    assert (one["level"], one["baselineState"]) == ("error", "new")
    assert {len(other["suppressions"]) for other in run["results"] if other is not one} == {0}
    again = _run(*_found("accounts", AT + DAY, first, accept=[ACCEPT]))
    assert _states(again)["uid_zero toor"] == "unchanged"


def test_what_is_about_the_scan_is_a_notification() -> None:
    ended = {**ACCEPT, "until": "2020-01-01"}
    left = Finding(severity=Severity.WARNING, code="findings_left_out", message="7 more", evidence={"number": 7})
    run = _run(*_found("accounts", accept=[ended]), replace(left, host="web-1"))
    (invocation,) = run["invocations"]
    (configured,) = invocation["toolConfigurationNotifications"]
    assert configured["descriptor"]["id"] == "exception_expired"
    (executed,) = invocation["toolExecutionNotifications"]
    assert (executed["descriptor"]["id"], executed["level"]) == ("findings_left_out", "warning")
    assert executed["locations"][0]["logicalLocations"][0]["name"] == "web-1"
    assert _by_rule(run, "uid_zero")[0]["suppressions"] == []


def test_what_is_about_the_operation_itself_has_no_place() -> None:
    advice = "See `opsqueue show ID`."
    slow = {"severity": "info", "code": "slower_than_usual", "message": "slow", "host": None, "advice": advice}
    run = sarif.document(_operation(findings=(slow,)), (_target(),))["runs"][0]
    (notice,) = run["invocations"][0]["toolExecutionNotifications"]
    assert notice["message"]["text"] == f"slow. See `opsqueue show {ID[:8]}`."
    assert "locations" not in notice
    assert run["results"] == []


def test_a_scan_that_saw_nothing_is_not_a_clean_one() -> None:
    gone = _target("web-2", TargetState.UNREACHABLE, "no route to host")
    (invocation,) = _run(targets=(_target(), gone), outcome=Outcome.PARTIAL)["invocations"]
    assert invocation["executionSuccessful"] is False
    (notice,) = invocation["toolExecutionNotifications"]
    assert (notice["level"], notice["message"]["text"]) == ("error", "web-2 is unreachable: no route to host")
    waiting = _run(targets=(_target(state=TargetState.PENDING),), outcome=None, finished_at=None)["invocations"][0]
    assert waiting["executionSuccessful"] is False
    assert "endTimeUtc" not in waiting
    assert len(waiting["toolExecutionNotifications"]) == 1


HOSTILE = ["/srv/[here](http://evil.invalid)", "/srv/{0}", "/srv/a\u202eb", "/srv/a b%2f?#c"]


@pytest.mark.parametrize("path", HOSTILE)
def test_no_name_of_a_file_is_a_link_a_place_or_another_address(path: str) -> None:
    one = next(one for one in _found("files") if one.code == "world_writable")
    evil = replace(one, message=f"{path} is open", evidence={**one.evidence, "subject": path})
    (result,) = _run(evil)["results"]
    text = result["message"]["text"]
    assert "](" not in text.replace("\\](", "")
    assert "{0}" not in text.replace("{{0}}", "")
    assert "\u202e" not in json.dumps(result, ensure_ascii=False)
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri.startswith("file://web-1/srv/")
    assert not set(uri) & set(" []{}?#\u202e")


@pytest.mark.parametrize("path", ["/srv/a\\x0ab", "/srv/aaa... (sha256 0123456789abcdef)"])
def test_a_path_that_is_not_told_letter_by_letter_has_no_address(path: str) -> None:
    one = next(one for one in _found("files") if one.code == "world_writable")
    (result,) = _run(replace(one, evidence={**one.evidence, "subject": path}))["results"]
    assert "physicalLocation" not in result["locations"][0]


def test_the_same_scan_gives_the_same_bytes_in_whatever_order_it_was_written() -> None:
    findings = _found("files")
    one, two = (json.dumps(_run(*rows)) for rows in (findings, tuple(reversed(findings))))
    assert one == two


def test_a_second_scan_differs_by_its_time_and_states_only() -> None:
    first = _found("files")
    second, third = _found("files", AT + DAY, first), _found("files", AT + 2 * DAY, first)
    assert json.dumps(_run(*second)) == json.dumps(_run(*third))


def test_other_types_have_none() -> None:
    with pytest.raises(InvalidRequest, match="is of the type health_check"):
        sarif.document(_operation(type="health_check"), ())
