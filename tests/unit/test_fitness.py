from __future__ import annotations

import base64
import json

import pytest

from opsqueue.tasks.dead import plain
from opsqueue.tasks.fitness import DEEPEST, LARGEST, UnfitError, check_task, read_envelope, tame, too_deep

GOOD = {
    "body": base64.b64encode(b"[[], {}, {}]").decode(),
    "headers": {"task": "ours", "id": "1"},
    "properties": {
        "delivery_tag": "t",
        "delivery_info": {"exchange": "", "routing_key": "low"},
        "body_encoding": "base64",
    },
}
CALL = {"task": "ours", "id": "1"}
TASKS = {"ours", "celery.map"}
ID = "2f0c6f9e-64a5-4f0c-9a57-7c1d1f6a6e53"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON: RecursionError"),
        (b"[" * 60 + b"]" * 60, "levels deep"),
        (b"1", "an object is needed, found int"),
        (b" " * (LARGEST + 1), "bytes, at most"),
    ],
)
def test_what_is_no_object_is_refused(raw, words):
    with pytest.raises(UnfitError, match=words):
        read_envelope(raw)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"properties": None}, "properties must be an object, found nothing"),
        ({"properties": {}}, "delivery_tag"),
        ({"properties": {"delivery_tag": "t"}}, "delivery_info must be an object"),
        ({"properties": {**GOOD["properties"], "reply_to": 5}}, "reply_to"),
        ({"properties": {**GOOD["properties"], "body_encoding": "rot13"}}, "body_encoding"),
        ({"headers": []}, "headers must be an object, found list"),
        ({"headers": {"compression": "zlib"}}, "compressed"),
        ({"content-type": 5}, "content-type"),
        ({"body": None}, "body must be a text, found nothing"),
        ({"body": "abc"}, "not base64"),
    ],
)
def test_an_envelope_that_kombu_would_stumble_over_is_refused(change, words):
    with pytest.raises(UnfitError, match=words):
        read_envelope(json.dumps({**GOOD, **change}).encode())


def test_a_good_envelope_is_read():
    assert read_envelope(json.dumps(GOOD).encode()) == GOOD


@pytest.mark.parametrize(
    ("headers", "payload", "words"),
    [
        (CALL, [], "three parts"),
        (CALL, {}, "three parts"),
        (CALL, [[], []], "three parts"),
        (CALL, [{}, {}, {}], "args must be a list"),
        (CALL, [[], [], {}], "kwargs must be an object"),
        (CALL, [[], {}, "x"], "third part"),
        (CALL, [[], {}, {"callbacks": [1]}], "callbacks"),
        (CALL, [[], {}, {"chord": {"task": "x"}}], "chord is not used"),
        ({}, [], "no task header, and the body is list"),
        ({}, {"id": "1"}, "no task name"),
        ({"task": "other", "id": "1"}, [[], {}, {}], "no task 'other'"),
        ({"task": "celery.map", "id": "1"}, [[], {}, {}], "no task 'celery.map'"),
        ({"task": "ours"}, [[], {}, {}], "no id"),
        ({"task": "ours", "id": "a b"}, [[], {}, {}], "no id"),
        ({**CALL, "eta": "2999-01-01"}, [[], {}, {}], "eta is not honoured"),
        ({**CALL, "expires": 5}, [[], {}, {}], "expires"),
        ({**CALL, "expires": "0001-01-01"}, [[], {}, {}], "expires"),
        ({**CALL, "timelimit": [1, True]}, [[], {}, {}], "timelimit"),
        ({**CALL, "timelimit": [float("inf"), None]}, [[], {}, {}], "timelimit"),
        ({**CALL, "retries": "1"}, [[], {}, {}], "retries"),
        ({**CALL, "shadow": 5}, [[], {}, {}], "shadow"),
        ({**CALL, "stamps": {"a": 1}}, [[], {}, {}], "stamps"),
    ],
)
def test_a_call_that_celery_would_stumble_over_is_refused(headers, payload, words):
    with pytest.raises(UnfitError, match=words):
        check_task(headers, payload, TASKS)


@pytest.mark.parametrize(
    ("headers", "payload"),
    [
        (CALL, [[], {}, None]),
        ({**CALL, "timelimit": [None, 5], "expires": "2999-01-01T00:00:00+00:00", "eta": None}, [[1], {"a": 1}, {}]),
        ({**CALL, "stamped_headers": None, "stamps": {}, "shadow": "restart on 2 hosts"}, [[], {}, {"chain": [{}]}]),
        ({}, {**CALL, "args": [], "kwargs": {}, "callbacks": None}),
        ({}, dict(CALL)),
    ],
)
def test_calls_of_both_protocols_pass(headers, payload):
    check_task(headers, payload, TASKS)


def test_depth_is_counted_without_recursion():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert too_deep(deep)
    while deep:  # take it apart by hand: the interpreter's own way would recurse
        deep = deep[0]
    assert not too_deep(json.loads("[" * DEEPEST + "]" * DEEPEST))
    assert not too_deep([1] * 100_000)


def test_foreign_text_is_one_short_printable_line():
    assert plain("a\nb\x1b[2J\ud800é") == r"a\nb\x1b[2J\ud800\xe9"
    assert len(plain("\n" * 5000)) == 300


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {}),
        ({"timelimit": None}, {}),
        ({"timelimit": [0, 0.01]}, {}),
        ({"timelimit": [1200, 299]}, {"timelimit": [1200, None]}),
        ({"shadow": "a\x1b[2J\nb" + "x" * 500}, {"shadow": "a[2Jb" + "x" * 251}),
        ({"argsrepr": f"({ID!r},)", "kwargsrepr": "{}"}, {"argsrepr": f"({ID!r},)"}),
        ({"argsrepr": "({'password': 'hunter2'},)", "kwargsrepr": "{'token': 'x'}"}, {}),
        ({"argsrepr": None, "kwargsrepr": None}, {}),
    ],
)
def test_headers_that_must_have_no_effect_are_taken_away(before, after):
    tame(before)
    assert before == {"timelimit": [None, None], "argsrepr": "(…)", "kwargsrepr": "{}", **after}
