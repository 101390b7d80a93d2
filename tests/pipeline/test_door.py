"""What is refused when it is asked for: nothing is recorded, nobody is nudged, the reason is said."""

from __future__ import annotations

import pytest

from opsqueue.errors import InvalidRequest, NotFound, OpsqueueError
from opsqueue.model.request import parse_request
from opsqueue.pipeline.submit import submit
from opsqueue.store import history

GOOD = {"name": "n", "type": "set_value", "target_systems": ["h1"]}

SYSTEMS = [
    "web-01;reboot",
    "$(id)",
    "`id`",
    "-oProxyCommand=touch /tmp/pwn",
    "h1 h2",
    "h1\u202e",
    "127.0.0.1",
    "localhost",
    "*",
    "H1",
    "h1,h2",
    "../h1",
]


def refused(story, change, error=OpsqueueError):
    with pytest.raises(error) as raised:
        submit(story.world(), parse_request({**GOOD, **change}))
    with story.store.read() as connection:
        assert history.active(connection) == []
    assert story.nudges == []
    return raised.value.message


@pytest.mark.parametrize("system", SYSTEMS)
def test_only_what_the_inventory_names_is_a_target(story, system):
    refused(story, {"target_systems": ["h1", system]}, NotFound)


@pytest.mark.parametrize("kind", ["shell", "SET_VALUE", "set.value", "set_value ", "../set_value", "set_valu"])
def test_types_are_exact(story, kind):
    assert "opsqueue types" in refused(story, {"type": kind}, NotFound)


@pytest.mark.parametrize(
    "parameters", [{"to": "soon"}, {"to": [1]}, {"to": 1.5}, {"to": None}, {"cmd": "id"}, {"to": 1, "TO": 2}, {"": 1}]
)
def test_parameters_are_those_of_the_type(story, parameters):
    assert "opsqueue types set_value" in refused(story, {"parameters": parameters}, InvalidRequest)


@pytest.mark.parametrize("parameters", [{"password": "hunter2"}, {"to": {"url": "https://ann:hunter2@host/"}}])
def test_a_secret_in_plain_text_is_refused_and_not_repeated(story, parameters):
    assert "hunter2" not in refused(story, {"parameters": parameters}, InvalidRequest)


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"to": "\ud800"}},
        {"name": "\ud800"},
        {"type": "free_text", "parameters": {"any": "\ud800"}},
        {"type": "free_text", "parameters": {"any": {"\ud800": 1}}},
        {"type": "free_text", "parameters": {"any": ["a\x00b"]}},
        {"parameters": {"\udcff": 1}},
        {"parameters": {"deep": [{"x": "a\x00b"}]}},
        {"description": "a\x00b"},
        {"reason": "a\x00b"},
        {"maintenance_window": "a\x00b"},
        {"notification_channels": ["a\u0000b"]},
    ],
)
def test_text_that_no_database_keeps_is_refused(story, change):
    refused(story, change, InvalidRequest)


def test_strange_text_that_can_be_kept_is_kept(story):
    submitted = submit(
        story.world(), parse_request({**GOOD, "type": "free_text", "parameters": {"any": "\u202e🚀\n'%_"}})
    )
    assert story.show(submitted.id)["parameters"] == {"any": "\u202e🚀\n'%_"}


def test_a_channel_or_a_window_that_is_not_there_is_refused(story):
    assert "'pager'" in refused(story, {"notification_channels": ["log", "pager"]}, InvalidRequest)
    assert "weekly" in refused(story, {"maintenance_window": "weekly"}, InvalidRequest)
    assert "no host" in refused(story, {"target_systems": ["all", "h9"]}, NotFound)


def test_numbers_that_are_huge_are_kept_or_refused_but_harm_nobody(story):
    submitted = submit(story.world(), parse_request({**GOOD, "parameters": {"to": 10**18}}))
    assert story.show(submitted.id)["parameters"] == {"to": 10**18}
