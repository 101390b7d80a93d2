"""The webhook of Alertmanager: read strictly, taken once, whatever is sent."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsqueue.errors import InvalidRequest
from opsqueue.pipeline import alert_intake

BEGAN = "2027-01-15T08:00:00.123456789Z"
NOW = 1_800_010_000.0
"""10:46:40 of that day."""


def parse(data, now=NOW):
    """What is said, where nothing is refused."""
    heard, refused = alert_intake.parse(data, now)
    assert refused == []
    return [one.seen for one in heard]


def names(*given):
    """The names of alerts, in the order in which they are given."""
    found = [alert_intake.parse(payload(one), NOW)[0][0].name for one in given]
    assert all(len(name) == 32 for name in found)
    return found


def payload(*alerts, **more):
    return {
        "version": "4",
        "groupKey": '{}:{alertname="x"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "opsqueue",
        "groupLabels": {"alertname": "x"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "alerts": [one(**given) for given in alerts],
        **more,
    }


def one(status="firing", **more):
    labels = {"alertname": "HighCPU", "instance": "web-1:9100", "severity": "page"}
    return {
        "status": status,
        "labels": labels,
        "annotations": {"summary": "it is hot"},
        "startsAt": BEGAN,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        **more,
    }


def test_what_it_says():
    (found,) = parse(json.dumps(payload({})))
    assert found.labels == {
        "rule": "alertmanager",
        "alertname": "HighCPU",
        "instance": "web-1:9100",
        "host": "web-1",
    }
    assert (found.holds, found.severity, found.note) == (True, "critical", "it is hot")
    assert found.at == pytest.approx(1_800_000_000.123, abs=0.001)


def test_the_end_has_its_own_moment_and_the_same_name():
    over = {"status": "resolved", "endsAt": "2027-01-15T09:00:00Z"}
    assert len(set(names({}, over))) == 1
    (ended,) = parse(payload(over))
    assert (ended.holds, ended.at) == (False, 1_800_003_600)


def test_it_is_named_as_alertmanager_names_it():
    page, warn = {"alertname": "x", "severity": "page"}, {"alertname": "x", "severity": "warning"}
    odd = {"alertname": "x", "severity": "page", "a-b": "c"}
    assert len(set(names({"labels": page}, {"labels": warn}, {"labels": odd}, {"fingerprint": "1a2b"}))) == 4
    assert len(set(names({"fingerprint": "1a2b"}, {"fingerprint": "1a2b", "annotations": {}, "labels": warn}))) == 1


@pytest.mark.parametrize(
    ("annotations", "note"),
    [
        ({"summary": "hot", "description": "it is 99 degrees", "runbook_url": "x"}, "hot; it is 99 degrees"),
        ({"summary": "hot", "description": "hot"}, "hot"),
        ({"description": " why "}, "why"),
        ({"message": "old form", "dashboard": "d"}, "dashboard: d; message: old form"),
        ({"summary": ""}, ""),
        ({}, ""),
    ],
)
def test_its_note_is_what_people_wrote(annotations, note):
    assert [one.note for one in parse(payload({"annotations": annotations}))] == [note]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"startsAt": "0001-01-01T00:00:00+23:59"}, "alerts.0.startsAt cannot be: wanted a time from 1970"),
        ({"startsAt": "0001-01-01T00:00:00Z"}, "startsAt"),
        ({"startsAt": "1969-12-31T23:59:59Z"}, "startsAt"),
        ({"startsAt": "9999-12-31T23:59:59-23:59"}, "found 9999-12-31T23:59:59-23:59"),
        ({"startsAt": "2028-01-17T00:00:00Z"}, "startsAt"),
        ({"status": "resolved", "endsAt": "9999-12-31T23:59:59-23:59"}, "endsAt"),
        ({"status": "resolved", "endsAt": "1969-01-01T00:00:00Z"}, "endsAt"),
    ],
)
def test_a_time_that_cannot_be_is_refused_alone(given, said):
    heard, refused = alert_intake.parse(payload(given, {"labels": {"alertname": "other"}}), NOW)
    assert [one.seen.labels["alertname"] for one in heard] == ["other"]
    (why,) = refused
    assert said in why


@pytest.mark.parametrize("ends", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_the_end_of_what_still_fires_is_none(ends):
    assert [one.holds for one in parse(payload({"endsAt": ends}))] == [True]


def test_what_begins_later_than_now_begins_when_it_is_heard():
    ((one,), _) = alert_intake.parse(payload({}), NOW - 86_400)
    assert (one.ahead, one.seen.at) == (True, NOW - 86_400)
    ((near,), _) = alert_intake.parse(payload({}), 1_800_000_000 - 60)
    assert (near.ahead, near.seen.at) == (False, pytest.approx(1_800_000_000.123, abs=0.001))


def test_an_end_in_the_same_webhook_is_the_last_word_and_a_later_beginning_is_too():
    over = {"status": "resolved", "endsAt": "2027-01-15T09:00:00Z"}
    assert [one.holds for one in parse(payload(over, {}))] == [False]
    assert [one.holds for one in parse(payload({"startsAt": "2027-01-15T09:30:00Z"}, over))] == [False, True]


def test_labels_that_would_take_ours_get_another_name():
    (found,) = parse(payload({"labels": {"rule": "x", "host": "h9", "bad-name": "y", "severity": "odd"}}))
    assert found.labels == {"rule": "alertmanager", "label_rule": "x", "host": "h9"}
    assert found.severity == "warning"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{", "no JSON"),
        ("[]", "JSON object"),
        (b"\xff", "no JSON"),
        ('{"version": "4", "version": "4"}', "twice"),
        ("x" * 1_000_001, "bytes"),
        (payload({}, version="3"), "version"),
        (payload({}, version=4), "version"),
        ({"version": "4"}, "alerts"),
        (payload({"status": "pending"}), "status"),
        (payload({"startsAt": "yesterday"}), "startsAt"),
        (payload({"startsAt": "2027-01-15T08:00:00"}), "startsAt"),
        (payload({"labels": {}}), "labels"),
        (payload({"labels": {"a": 1}}), "labels"),
        (payload(*[{}] * 1001), "alerts"),
    ],
)
def test_what_is_no_webhook(data, said):
    with pytest.raises(InvalidRequest, match=said):
        parse(data)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(
    _JSON,
    st.sampled_from(["alerts", "version", "labels", "startsAt", "endsAt", "status", "annotations", "fingerprint"]),
)
def test_whatever_is_sent_it_is_read_or_refused(value, where):
    data = payload({})
    place = data if where in data else data["alerts"][0]
    place[where] = value
    try:
        found, _ = alert_intake.parse(data, NOW)
    except InvalidRequest:
        return
    assert all(len(one.seen.note) <= 1000 and 0 <= one.seen.at <= NOW + 120 for one in found)
