"""What a security scan found as SARIF 2.1.0, the form in which other programs take findings of any scanner.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html. One operation is one run. All that is not a finding
about a host but about the scan itself (a host that was not scanned, findings that were left out, an exception that
ended) is a notification, so that a run without results is not taken for a clean one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import opsqueue
from opsqueue.cli.text import safe
from opsqueue.errors import InvalidRequest
from opsqueue.model.advice import with_id
from opsqueue.model.names import OperationType, Outcome, Severity, TargetState
from opsqueue.model.record import Operation, Target
from opsqueue.operations.security.catalogue import Described, described
from opsqueue.telemetry import iso

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.CRITICAL: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_STATES = {"new": "new", "standing": "unchanged", "unverified": "unchanged", "fixed": "absent"}
_CONFIGURED = "exception_expired"
"""About what was asked for; other notifications are about what became of it."""
_TOLD = ("status", "since", "part", "why", "installed", "fixed", "score", "exploited", "references")
"""Of the evidence; the rest stands in the message, or is for `opsqueue show`."""

Entry = dict[str, Any]


def document(operation: Operation, targets: Sequence[Target]) -> Entry:
    """The whole log; InvalidRequest when it is no security scan."""
    if operation.type != OperationType.SECURITY_SCAN.value:
        raise InvalidRequest(
            f"SARIF is for what a security_scan found, and {operation.id[:8]} is of the type {operation.type}. "
            "`--output json` is for all types."
        )
    findings = [_whole(one, operation.id) for one in operation.findings]
    found = [one for one in findings if "fingerprint" in one["evidence"]]
    about = [one for one in findings if "fingerprint" not in one["evidence"]]
    rules = [_rule(one) for one in described()]
    index = {one["id"]: number for number, one in enumerate(rules)}
    results = sorted((_result(one, index) for one in found), key=_order)
    run: Entry = {
        "tool": {"driver": {"name": "opsqueue", "version": opsqueue.__version__, "rules": rules}},
        "automationDetails": {"id": f"{operation.type}/{quote(operation.name)}/{operation.id}"},
        "invocations": [_invocation(operation, targets, about)],
        "results": results,
        "properties": {"operation": operation.id, "score": operation.score, "hosts": sorted(t.host for t in targets)},
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _whole(one: Mapping[str, Any], operation_id: str) -> Entry:
    """A finding with all its parts: what is about the operation itself has no host, and need have no evidence."""
    advice = with_id(one.get("advice") or "", operation_id)
    return {**one, "host": one.get("host") or "", "evidence": one.get("evidence") or {}, "advice": advice}


def _order(result: Entry) -> tuple[str, str, str]:
    host = result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]
    return (result["ruleId"], host, result["partialFingerprints"]["opsqueue/v1"])


def _rule(one: Described) -> Entry:
    return {
        "id": one.code,
        "shortDescription": {"text": _text(one.title)},
        "defaultConfiguration": {"level": _LEVELS[one.severity]},
        **({"help": {"text": _text(one.advice)}} if one.advice else {}),
        "properties": {"tags": ["security", *one.references]},
    }


def _text(words: object) -> str:
    """A text in which nothing is a link or a place for a word, whatever a file on a host is called."""
    shown = re.sub(r"[\[\]]", lambda one: "\\" + one.group(), safe(words)) if "](" in str(words) else safe(words)
    return shown.replace("{", "{{").replace("}", "}}")


def _result(one: Mapping[str, Any], index: Mapping[str, int]) -> Entry:
    evidence = one["evidence"]
    code, level = _was(one)
    return {
        "ruleId": code,
        **({"ruleIndex": index[code]} if code in index else {}),
        "level": _LEVELS[level],
        "message": {"text": _text(_sentence(one))},
        "locations": [_location(one)],
        "partialFingerprints": {"opsqueue/v1": evidence["fingerprint"]},
        "baselineState": _baseline(evidence),
        "suppressions": list(_suppressions(evidence)),  # all have them or none has, says the format
        **({"rank": round(evidence["score"] * 10, 1)} if isinstance(evidence.get("score"), int | float) else {}),
        "properties": {key: evidence[key] for key in _TOLD if key in evidence},
    }


def _was(one: Mapping[str, Any]) -> tuple[str, Severity]:
    """The code by which it was found, and how bad it is when nobody accepts it."""
    evidence = one["evidence"]
    severity = Severity(evidence["severity"] if _reckoned(evidence) else one["severity"])
    return str(evidence.get("was", one["code"])), severity


def _reckoned(evidence: Mapping[str, Any]) -> bool:
    return evidence["status"] in {"fixed", "accepted"} and "severity" in evidence


def _sentence(one: Mapping[str, Any]) -> str:
    return f"{one['message']}. {one['advice']}" if one["advice"] else str(one["message"])


def _baseline(evidence: Mapping[str, Any]) -> str:
    if evidence["status"] == "accepted":
        return "unchanged" if evidence.get("known", True) else "new"
    return _STATES[evidence["status"]]


def _suppressions(evidence: Mapping[str, Any]) -> Iterator[Entry]:
    if evidence["status"] == "accepted":
        until, owner = str(evidence.get("until", "")), str(evidence.get("accepted_by", ""))
        why = f"{evidence.get('reason', '')} (accepted by {owner} until {until})"
        kept = {"owner": owner, "until": until}
        yield {"kind": "external", "status": "accepted", "justification": safe(why), "properties": kept}


def _location(one: Mapping[str, Any]) -> Entry:
    """What it is about on which host; and the file, where it is about one."""
    host, evidence = str(one["host"]), one["evidence"]
    subject = str(evidence.get("subject", ""))
    told = {"name": safe(subject), "fullyQualifiedName": safe(f"{host}::{subject}"), "kind": "resource"}
    file = _file(str(evidence.get("where", "")) or subject, str(evidence.get("part", "")))
    place = {"artifactLocation": {"uri": f"file://{quote(host, safe='')}{quote(file)}"}} if file else None
    return {"logicalLocations": [told], **({"physicalLocation": place} if place else {})}


def _file(path: str, part: str) -> str:
    """The path; empty for what is none, and for one that is not told letter by letter."""
    whole = path.startswith("/") and "\\x" not in path and "... (sha256 " not in path
    return path if whole and part != "settings.mounts" else ""


# -- about the scan -----------------------------------------------------------------------------------------


def _invocation(operation: Operation, targets: Sequence[Target], about: Sequence[Mapping[str, Any]]) -> Entry:
    times = {"startTimeUtc": iso(operation.created_at), "endTimeUtc": iso(operation.finished_at)}
    configured = [_notice(one) for one in about if one["code"] == _CONFIGURED]
    executed = [_notice(one) for one in about if one["code"] != _CONFIGURED]
    return {
        **{key: value for key, value in times.items() if value},
        "executionSuccessful": operation.outcome is Outcome.SUCCEEDED,
        "toolConfigurationNotifications": configured,
        "toolExecutionNotifications": [*executed, *_not_scanned(targets)],
    }


def _notice(one: Mapping[str, Any]) -> Entry:
    place = {"locations": [_host(one["host"])]} if one["host"] else {}
    return {
        "descriptor": {"id": one["code"]},
        "level": _LEVELS[Severity(one["severity"])],
        "message": {"text": _text(_sentence(one))},
        **place,
    }


def _not_scanned(targets: Sequence[Target]) -> Iterator[Entry]:
    for one in targets:
        if one.state is not TargetState.SUCCEEDED:
            why = "; ".join(one.problems) or "nothing was looked at"
            text = f"{one.host} is {one.state.value}: {why}"
            yield {
                "descriptor": {"id": "host_not_scanned"},
                "level": "error",
                "message": {"text": _text(text)},
                "locations": [_host(one.host)],
            }


def _host(name: str) -> Entry:
    return {"logicalLocations": [{"name": safe(name), "kind": "resource"}]}
