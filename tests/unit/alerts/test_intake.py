"""The webhook of Alertmanager: read strictly, taken once, whatever is sent."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsqueue.alerts.fingerprint import fingerprint
from opsqueue.errors import InvalidRequest
from opsqueue.pipeline.alert_intake import parse

BEGAN = "2027-01-15T08:00:00.123456789Z"


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
        "fingerprint": "1a2b",
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
    fired, ended = parse(payload({}, {"status": "resolved", "endsAt": "2027-01-15T09:00:00Z"}))
    assert fingerprint(fired.labels) == fingerprint(ended.labels)
    assert (ended.holds, ended.at) == (False, 1_800_003_600)


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


@given(_JSON, st.sampled_from(["alerts", "version", "labels", "startsAt", "status", "annotations"]))
def test_whatever_is_sent_it_is_read_or_refused(value, where):
    data = payload({})
    place = data if where in data else data["alerts"][0]
    place[where] = value
    try:
        found = parse(data)
    except InvalidRequest:
        return
    assert all(len(one.note) <= 1000 for one in found)
