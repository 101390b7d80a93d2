"""What a text should be is said in words, and never as a pattern."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from opsqueue.errors import InvalidRequest
from opsqueue.model.request import explain, parse_request
from opsqueue.operations import catalogue


def said(kind, **parameters):
    params = catalogue()[kind].params
    with pytest.raises(ValidationError) as refused:
        params.model_validate(parameters)
    return explain(refused.value, "parameters", params)


@pytest.mark.parametrize(
    ("kind", "parameters", "wanted"),
    [
        ("service_restart", {"service_name": "a b"}, "service_name: input should be the name of a service"),
        ("service_restart", {"service_name": "a", "services": ["a", "-x"]}, "services.1: input should be the name"),
        ("service_restart", {"service_name": "a", "pid_file": "run/a"}, "pid_file: input should be an absolute path"),
        ("log_rotation", {"paths": ["var/log"]}, "paths.0: input should be an absolute path, or a pattern"),
        ("backup_operation", {"paths": ["srv"]}, "paths.0: input should be an absolute path, such as /srv/data"),
        ("backup_operation", {"repository": "srv"}, "repository: input should be an absolute path, or a place"),
        ("backup_operation", {"snapshot": 3}, "snapshot: input should be latest, or the number of a run in quotes"),
        ("backup_operation", {"password": {"$secret": "hunter2"}}, "password.$secret: input should be file:/a/path"),
        ("performance_tuning", {"sysctl": {"x": "1"}}, "sysctl.x.[key]: input should be the name of a setting"),
        ("health_check", {"checks": [{"kind": "disk", "name": "d", "path": "srv"}]}, "path: input should be an abs"),
    ],
)
def test_a_text_that_does_not_fit_is_told_what_is_wanted(kind, parameters, wanted):
    found = said(kind, **parameters)
    assert f"parameters cannot be accepted: {wanted}" in found or f".{wanted}" in found
    assert "pattern '" not in found
    assert "hunter2" not in found


def test_what_is_no_text_of_several_sorts_is_told_once():
    assert said("backup_operation", repository=5).count("repository") == 1


def test_a_request_is_told_in_words_too():
    with pytest.raises(InvalidRequest, match="name: input should be one line, without control characters"):
        parse_request({"name": "two\nlines", "type": "health_check", "target_systems": ["web-1"]})


def test_what_is_wrong_with_the_whole_is_said_without_its_name_twice():
    assert said("performance_tuning", task="benchmark") == "parameters cannot be accepted: benchmark wants benchmarks"


def test_too_long_is_still_too_long():
    assert "at most 200 characters" in said("service_restart", service_name="a" * 201)


def test_the_schema_keeps_the_pattern():
    schema = catalogue()["service_restart"].params.model_json_schema()["properties"]["service_name"]
    assert (schema["pattern"], schema["maxLength"]) == ("^[A-Za-z0-9_][A-Za-z0-9@:._-]*$", 200)
