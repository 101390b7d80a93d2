"""What may lie on a queue: every way found so far in which a raw payload is no good message."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from uuid import uuid4

CENTURY = "2999-01-01T00:00:00+00:00"


def encoded(body: bytes) -> str:
    return base64.b64encode(body).decode()


def message(body=b'[["hostile", 0], {}, {}]', headers=(), properties=(), without=(), whole=()):
    """A good message of protocol 2 with some fields changed, or left out, or put in its envelope."""
    made = {
        "body": encoded(body),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "test.work", "id": str(uuid4()), **dict(headers)},
        "properties": {
            "delivery_tag": str(uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "normal"},
            "priority": 0,
            "body_encoding": "base64",
            **dict(properties),
        },
        **dict(whole),
    }
    for name in without:
        made.pop(name, None)
        made["headers"].pop(name, None) if isinstance(made.get("headers"), dict) else None
        made["properties"].pop(name, None) if isinstance(made.get("properties"), dict) else None
    return json.dumps(made).encode()


class Touch:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def nested(depth, opening="[", closing="]"):
    return (opening * depth + closing * depth).encode()


def hostile(pickle_path="/nonexistent/touched"):
    """The name and the raw payload of each; every one must be buried, and only that."""
    odd_links = b'[["hostile", 0], {}, {"chain": [5]}]'
    chord = b'[["hostile", 0], {}, {"chord": {"task": "celery.group"}}]'
    protocol_1 = {"task": "test.work", "id": "one", "args": ["hostile", 0], "kwargs": {}}
    made = {
        "empty": b"",
        "not JSON": b"this is no message",
        "half of a message": message()[:100],
        "a number": b"5",
        "a text": b'"text"',
        "a list": b"[1, 2, 3]",
        "null": b"null",
        "not UTF-8": b"\xff\xfe\x00\x80",
        "an empty object": b"{}",
        "an endless number": b"1" * 5000,
        "deep list": nested(100_000),
        "deep envelope": message(headers={"deep": json.loads(nested(60))}),
        "deep body": message(nested(5_000)),
        "deep arguments": message(b"[" + nested(45) + b", {}, {}]"),
        "huge": b" " * 2_000_000,
        "huge body": message(b'[["' + b"x" * 2_000_000 + b'"], {}, {}]'),
        "a typed value that is none": b'{"__type__": "datetime", "__value__": "yesterday"}',
        "no properties": message(without=["properties"]),
        "null properties": message(whole={"properties": None}),
        "properties are a list": message(whole={"properties": []}),
        "no delivery tag": message(without=["delivery_tag"]),
        "delivery tag is a list": message(properties={"delivery_tag": [1]}),
        "no delivery info": message(without=["delivery_info"]),
        "delivery info without a route": message(properties={"delivery_info": {}}),
        "exchange is an object": message(properties={"delivery_info": {"exchange": {}, "routing_key": "low"}}),
        "no headers, no call": message(without=["headers"]),
        "null headers": message(whole={"headers": None}),
        "headers are a list": message(whole={"headers": ["task", "test.work"]}),
        "headers are a text": message(whole={"headers": "task"}),
        "no body": message(without=["body"]),
        "body is an object": message(whole={"body": {"args": []}}),
        "bad base64": message(whole={"body": "!"}),
        "base64 cut short": message(whole={"body": "W1td"[:3]}),
        "odd body encoding": message(properties={"body_encoding": "rot13"}),
        "body is not JSON": message(b"<xml/>"),
        "body is not UTF-8": message(b"\xff\xff"),
        "body of one part": message(b"[[]]"),
        "body of two parts": message(b"[[], {}]"),
        "body of four parts": message(b"[[], {}, {}, {}]"),
        "body is a number": message(b"7"),
        "body is null": message(b"null"),
        "args are an object": message(b"[{}, {}, {}]"),
        "kwargs are a list": message(b"[[], [], {}]"),
        "embed is a text": message(b'[[], {}, "chain"]'),
        "chain of numbers": message(odd_links),
        "chord": message(chord),
        "no id": message(without=["id"]),
        "id is a number": message(headers={"id": 5}),
        "id is a list": message(headers={"id": ["a"]}),
        "id with line ends": message(headers={"id": "a\nERROR forged line"}),
        "no task": message(without=["task"]),
        "task is a number": message(headers={"task": 5}),
        "task is a list": message(headers={"task": ["test.work"]}),
        "unknown task": message(headers={"task": "backup.delete"}),
        "a task of Celery's own": message(headers={"task": "celery.chord_unlock"}),
        "eta is garbage": message(headers={"eta": "soon"}),
        "eta is an object": message(headers={"eta": {}}),
        "eta in years": message(headers={"eta": CENTURY, "retries": 10**9, "timelimit": [0, 0]}),
        "expires is garbage": message(headers={"expires": "never"}),
        "expires before time began": message(headers={"expires": "0001-01-01T00:00:00+14:00"}),
        "expires is a list": message(headers={"expires": [1]}),
        "time limit is a text": message(headers={"timelimit": "long"}),
        "time limit of one": message(headers={"timelimit": [1]}),
        "time limit of texts": message(headers={"timelimit": ["a", "b"]}),
        "time limit is negative": message(headers={"timelimit": [-1, -1]}),
        "stamps of the wrong kind": message(headers={"stamped_headers": 5, "stamps": 5}),
        "retries is a text": message(headers={"retries": "many"}),
        "shadow is a list": message(headers={"shadow": ["a"]}),
        "pickle": message(
            pickle.dumps(Touch(pickle_path)),
            whole={"content-type": "application/x-python-serialize", "content-encoding": "binary"},
        ),
        "yaml": message(b"- []\n- {}\n- {}", whole={"content-type": "application/x-yaml"}),
        "unknown content type": message(whole={"content-type": "application/x-nothing"}),
        "content type is a number": message(whole={"content-type": 5}),
        "compressed to a thousandth": message(
            zlib.compress(b" " * 500_000), headers={"compression": "application/x-gzip"}
        ),
        "compression is a list": message(headers={"compression": ["gzip"]}),
        "protocol 1 without an id": message(json.dumps({**protocol_1, "id": None}).encode(), without=["task", "id"]),
        "protocol 1, garbage eta": message(json.dumps({**protocol_1, "eta": "x"}).encode(), without=["task", "id"]),
        "protocol 1, args are a text": message(
            json.dumps({**protocol_1, "args": "x"}).encode(), without=["task", "id"]
        ),
    }
    return list(made.items())


def unusual():
    """The number each leaves behind and the raw payload: odd but honest messages of other clients, which must run."""
    protocol_1 = {"task": "test.work", "id": "one", "args": ["first-protocol", 0], "kwargs": {}, "retries": 0}
    bare = {"task": "test.work", "id": "bare"}
    return [
        ("minimal", message(b'[["minimal", 0], {}, {}]', whole={"headers": bare})),
        ("no-embed", message(b'[["no-embed", 0], {}, null]', headers={"lang": "js"})),
        ("no-priority", message(b'[["no-priority", 0], {}, {}]', properties={"priority": None})),
        ("first-protocol", message(json.dumps(protocol_1).encode(), whole={"headers": None})),
        ("plain-text", message(whole={"body": '[["plain-text", 0], {}, {}]'}, without=["body_encoding"])),
        ("limits", message(b'[["limits", 0.2], {}, {}]', headers={"timelimit": [0.01, 0.01], "retries": 10**9})),
        ("shadow", message(b'[["shadow", 0], {}, {}]', headers={"shadow": "\x1b[2J\nERROR forged" + "x" * 500})),
        ("expires", message(b'[["expires", 0], {}, {}]', headers={"expires": CENTURY})),
    ]
