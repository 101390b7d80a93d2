"""Hostile and careless requests: refused with a reason, never a crash, never a guess."""

from __future__ import annotations

import json
import math

import pytest

from opsqueue.errors import InvalidRequest
from opsqueue.model.names import OperationPriority, OperationType
from opsqueue.model.request import OperationConfig, parse_request, strict_json

GOOD = {"name": "restart", "type": "service_restart", "target_systems": ["web-1"]}


def refused(data):
    with pytest.raises(InvalidRequest) as raised:
        parse_request(data)
    assert raised.value.exit_code == 2
    assert len(raised.value.message) < 3000
    return raised.value.message


def test_the_least_request_gets_the_defaults_of_the_contract():
    request = parse_request(GOOD)
    assert (request.priority, request.timeout, request.retry_count) == (OperationPriority.NORMAL, 300, 2)
    assert (request.rollback_enabled, request.maintenance_window, request.notification_channels) == (True, None, None)
    assert (request.parameters, request.description, request.requested_by) == ({}, "", "unknown")


def test_text_bytes_and_objects_are_the_same_request():
    given = {**GOOD, "operation_id": "11111111-1111-1111-1111-111111111111"}
    text = json.dumps(given)
    assert parse_request(given) == parse_request(text) == parse_request(text.encode())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"name":"a","name":"b","type":"t","target_systems":["h"]}', "twice"),
        ('{"name":"a","type":"t","target_systems":["h"],"parameters":{"x":1,"x":2}}', "twice"),
        ('{"name":"a","type":"t","target_systems":["h"],"parameters":{"x":NaN}}', "NaN"),
        ('{"name":"a","type":"t","target_systems":["h"],"parameters":{"x":-Infinity}}', "Infinity"),
        ('{"name":"a","type":"t","target_systems":["h"],"parameters":{"x":1e400}}', "too large"),
        ('{"name":"a","type":"t","target_systems":["h"],}', "is JSON"),
        ("[" * 100_000, "at most"),
        ("[" * 60_000, "is JSON"),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, ""),
        ('{"a":' + "9" * 5000 + "}", "is JSON"),
        ("", "is JSON"),
        ("\x00", "is JSON"),
        (b"\xff\xfe{}", "is JSON"),
        (b"\x80", "is JSON"),
        ('"text"', "found a text"),
        ("null", "found nothing"),
        ("12", "found a number"),
        ("true", "found true or false"),
        ("[]", "found a list"),
        ('{"parameters":"' + "x" * 70_000 + '"}', "at most 65536 bytes"),
    ],
)
def test_text_that_is_no_request_is_refused(text, reason):
    assert reason in refused(text)


@pytest.mark.parametrize("data", [None, 1, 1.5, True, [], (), object(), {1: 2}, {"name": object()}, math.nan])
def test_what_is_no_object_is_refused(data):
    refused(data)


def test_what_is_nested_too_deep_is_refused_whatever_it_is_made_of():
    for wrap in (lambda inner: {"a": inner}, lambda inner: [inner], lambda inner: (inner,)):
        deep = 1
        for _ in range(30):
            deep = wrap(deep)
        assert "levels deep" in refused({**GOOD, "parameters": {"x": deep}})


def test_an_object_that_holds_itself_is_refused():
    parameters = {}
    parameters["again"] = parameters
    assert "levels deep" in refused({**GOOD, "parameters": parameters})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "\x1b]0;pwned\x07"}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"name": ["restart"]}, "name"),
        ({"type": None}, "type"),
        ({"type": ""}, "type"),
        ({"type": 7}, "type"),
        ({"priority": "urgent"}, "priority"),
        ({"priority": 1}, "priority"),
        ({"target_systems": []}, "target_systems"),
        ({"target_systems": "web-1"}, "target_systems"),
        ({"target_systems": [""]}, "target_systems"),
        ({"target_systems": ["web-1\n"]}, "target_systems"),
        ({"target_systems": [None]}, "target_systems"),
        ({"target_systems": {"web-1": 1}}, "target_systems"),
        ({"target_systems": ["h"] * 10_001}, "target_systems"),
        ({"parameters": []}, "parameters"),
        ({"parameters": "{}"}, "parameters"),
        ({"parameters": None}, "parameters"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": 604_801}, "timeout"),
        ({"timeout": "1e9"}, "timeout"),
        ({"timeout": 1.5}, "timeout"),
        ({"timeout": math.inf}, "timeout"),
        ({"retry_count": -1}, "retry_count"),
        ({"retry_count": 21}, "retry_count"),
        ({"rollback_enabled": "perhaps"}, "rollback_enabled"),
        ({"description": "x" * 2001}, "description"),
        ({"description": 5}, "description"),
        ({"maintenance_window": 5}, "maintenance_window"),
        ({"notification_channels": "email"}, "notification_channels"),
        ({"operation_id": "not-a-uuid"}, "operation_id"),
        ({"operation_id": "../../etc/passwd"}, "operation_id"),
        ({"requested_by": "a\nb"}, "requested_by"),
        ({"reason": "x" * 2001}, "reason"),
        ({"approved": True}, "approved"),
        ({"run_as": "root"}, "run_as"),
        ({"alg": "none"}, "alg"),
        ({"v": 2}, "v"),
    ],
)
def test_a_field_that_is_wrong_is_named(change, field):
    assert field in refused({**GOOD, **change})


def test_all_that_is_wrong_is_said_at_once():
    said = refused({"timeout": 0, "colour": "red"})
    assert all(word in said for word in ("name", "type", "target_systems", "timeout", "colour"))


def test_what_was_given_is_not_repeated_because_it_may_be_a_secret():
    assert "hunter2" not in refused({**GOOD, "timeout": "hunter2", "password": "hunter2"})


def test_types_have_their_names_and_one_alias():
    assert parse_request({**GOOD, "type": "backup"}).type == "backup_operation"
    assert parse_request({**GOOD, "type": OperationType.HEALTH_CHECK}).type == "health_check"
    assert parse_request({**GOOD, "type": "Backup"}).type == "Backup"  # exact: the catalogue will refuse it


def test_a_system_that_is_named_twice_is_one():
    assert parse_request({**GOOD, "target_systems": ["b", "a", "b"]}).target_systems == ("b", "a")


def test_the_digest_is_of_the_work_and_not_of_who_asks():
    one = parse_request({**GOOD, "parameters": {"a": 1, "b": 2}})
    same = parse_request({**GOOD, "parameters": {"b": 2, "a": 1}, "requested_by": "ann", "reason": "because"})
    assert one.operation_id != same.operation_id
    assert one.digest() == same.digest()
    for change in ({"parameters": {"a": 2}}, {"name": "x"}, {"timeout": 301}, {"target_systems": ["web-2"]}):
        assert parse_request({**GOOD, **change}).digest() != parse_request(GOOD).digest()


def test_a_request_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        OperationConfig(**GOOD).name = "other"


def test_strict_json_keeps_what_json_means():
    assert strict_json('{"a": [1, 2.5, "é", null, true, {"b": {}}]}') == {"a": [1, 2.5, "é", None, True, {"b": {}}]}
