"""What is refused is said in words: what was wanted, of what kind it was, and nothing of how pydantic looks inside."""

from __future__ import annotations

import json
import re

import pytest
from pydantic import ValidationError

from opsqueue.errors import InvalidConfig, InvalidRequest
from opsqueue.model.deployment import parse_event
from opsqueue.model.request import explain, parse_request
from opsqueue.operations import catalogue
from opsqueue.settings import load

INSIDE = re.compile(
    r"function-|literal|lax-or|tuple|Settings|SecretRef|pydantic|parse string|instance|dictionary|\bstr\b"
)


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Why a configuration is refused."""
    monkeypatch.chdir(tmp_path)

    def why(data):
        (tmp_path / "c.json").write_text(json.dumps(data))
        with pytest.raises(InvalidConfig) as error:
            load("c.json")
        assert not INSIDE.search(error.value.message)
        return error.value.message.removeprefix("c.json cannot be accepted: ")

    return why


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (
            {"schedule": {"m": {"type": "system_monitoring", "every": -5}}},
            "schedule.m.every: input should be greater than or equal to 1, found -5",
        ),
        ({"schedule": {"m": {"type": "x"}}}, "schedule.m: give either every (seconds) or cron"),
        (
            {"schedule": {"m": {"type": "x", "evry": 5}}},
            "schedule.m.evry: there is nothing of this name; did you mean 'every'?",
        ),
        ({"schedule": {"m": 3}}, "schedule.m: input should be an object or false, found a number"),
        ({"monitoring_interval": "fast"}, "monitoring_interval: input should be a whole number, found a text"),
        ({"monitoring_interval": 1.5}, "monitoring_interval: input should be a whole number, found 1.5"),
        (
            {"maintenance_windows": {"w": 3}},
            "maintenance_windows.w: input should be a text or an object, found a number",
        ),
        (
            {"maintenance_windows": {"w": {"spc": "x"}}},
            (
                "maintenance_windows.w.spec: must be given; "
                "maintenance_windows.w.spc: there is nothing of this name; did you mean 'spec'?"
            ),
        ),
        (
            {"broker_url": {"$secre": "x"}},
            (
                "broker_url.$secret: must be given; "
                "broker_url.$secre: there is nothing of this name; did you mean '$secret'?"
            ),
        ),
        ({"database_url": 3}, "database_url: input should be a text or an object, found a number"),
        ({"inventory": 3}, "inventory: input should be a path or a list, found a number"),
        ({"hosts": {"h": 3}}, "hosts.h: input should be an object, found a number"),
        ({"flower": {"enabled": "perhaps"}}, "flower.enabled: input should be true or false, found a text"),
        (
            {"logging": {"level": "EROR"}},
            "logging.level: input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'; did you mean 'ERROR'?",
        ),
    ],
)
def test_a_setting_is_told_by_its_key_and_only_as_what_it_was_meant(config, data, why):
    assert config(data) == why


@pytest.mark.parametrize(
    ("kind", "parameters", "why"),
    [
        (
            "capacity_planning",
            {"resources": ["dsk"]},
            "resources.0: input should be 'disk', 'inodes', 'memory', 'swap' or 'cpu'; did you mean 'disk'?",
        ),
        ("capacity_planning", {"resources": []}, "resources: wanted at least 1 of them, found 0"),
        (
            "capacity_planning",
            {"resources": [3]},
            "resources.0: input should be 'disk', 'inodes', 'memory', 'swap' or 'cpu', found a number",
        ),
        ("system_monitoring", {"metrics": "cpu"}, "metrics: input should be a list, found a text"),
        ("system_monitoring", {"sample_gap_s": "many"}, "sample_gap_s: input should be a number, found a text"),
        ("health_check", {"checks": [{"name": "x"}]}, "checks.0.kind: must be given"),
    ],
)
def test_a_parameter_is_told_with_what_was_found_and_once(kind, parameters, why):
    model = catalogue()[kind].params
    with pytest.raises(ValidationError) as error:
        model.model_validate(parameters)
    assert explain(error.value, "it", model) == f"it cannot be accepted: {why}"


def test_a_kind_that_there_is_not_is_told_with_the_nearest():
    model = catalogue()["health_check"].params
    with pytest.raises(ValidationError) as error:
        model.model_validate({"checks": [{"name": "x", "kind": "htp"}]})
    said = explain(error.value, "it", model)
    assert said.startswith("it cannot be accepted: checks.0.kind: input should be 'http', 'tcp', ")
    assert said.endswith("'postgres' or 'redis', found 'htp'; did you mean 'http'?")


@pytest.mark.parametrize(
    ("field", "why"),
    [
        (
            {"version": 3},
            "version: input should be one line, without control characters; wanted a text, found a number",
        ),
        (
            {"version": None},
            "version: input should be one line, without control characters; wanted a text, found nothing",
        ),
        ({"version": "a\nb"}, "version: input should be one line, without control characters"),
        (
            {"systems": [3]},
            "systems.0: input should be one line, without control characters; wanted a text, found a number",
        ),
        ({"event_id": 3}, "event_id: input should be a UUID, found a number"),
        ({"rollback": 3}, "rollback: input should be an object, found a number"),
    ],
)
def test_a_number_where_a_text_is_wanted_is_told_so(field, why):
    with pytest.raises(InvalidRequest) as error:
        parse_event({"service": "s", "version": "1", "systems": ["h1"], **field})
    assert error.value.message == f"the deployment event cannot be accepted: {why}"


def test_an_integer_of_which_python_makes_no_text_is_refused_as_any_other():
    model = catalogue()["capacity_planning"].params
    with pytest.raises(ValidationError) as error:
        model.model_validate({"lead_days": -(10**5000)})
    assert explain(error.value, "it", model).startswith("it cannot be accepted: lead_days: input should be ")


def test_a_priority_that_there_is_not_is_told_with_the_nearest():
    with pytest.raises(
        InvalidRequest, match=r"priority: input should be 'critical', .* or 'low'; did you mean 'high'\?"
    ):
        parse_request({"name": "n", "type": "t", "target_systems": ["h"], "priority": "hihg"})


def test_no_text_that_was_given_is_repeated():
    for value in ({"password": "hunter2"}, ["hunter2"], "hunter2\n"):
        with pytest.raises(InvalidRequest) as error:
            parse_event({"service": value, "version": "1", "systems": ["h1"], "status": "hunter2", "reason": 1e400})
        assert "hunter2" not in error.value.message
