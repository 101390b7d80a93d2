"""Health checks in a row, with a real record and a real port: what counts on from one operation to the next."""

from __future__ import annotations

import json
import logging
import socket
import sqlite3
import threading
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from opsqueue.connectors.local import LocalShell
from opsqueue.model.kind import Metric
from opsqueue.operations.health_check import OPERATION
from opsqueue.pipeline.alert_tick import look as tell_alerts
from opsqueue.pipeline.telling import send_due
from opsqueue.store import alerts, samples

MINUTE, DAY = 60.0, 86_400.0


@contextmanager
def open_port(port=0):
    with socket.create_server(("127.0.0.1", port)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def watched(story, stories):
    """The story, whose host is this machine, with health checks."""

    class Watched(stories.Story):
        def world(self, worker="worker-1", **settings):
            plain = super().world(worker, **settings)
            return replace(plain, kinds={OPERATION.name: OPERATION}, connect=lambda host: LocalShell())

    return Watched(story.store, story.clock, story.machines, story.settings)


def look(story, port, **parameters):
    """One check of the port a minute later: what was found, and what is kept of it."""
    story.clock.at += MINUTE
    check = {"kind": "tcp", "name": "web", "host": "127.0.0.1", "port": port}
    operation = story.ask("health_check", parameters={"checks": [check], **parameters})
    whole = story.drive(operation)
    found = [(finding["severity"], finding["code"]) for finding in whole["findings"]]
    return found, {name: metric["value"] for name, metric in whole["targets"][0]["metrics"].items()}


def test_three_failures_make_it_down_and_two_successes_make_it_up(watched):
    with open_port() as port:
        assert look(watched, port)[0] == []
    begun = watched.clock.at + MINUTE
    told, numbers = zip(*(look(watched, port) for _ in range(4)), strict=True)
    assert {one["failing_since:web"] - begun for one in numbers} == {0}
    assert list(told) == [[("warning", "no_answer")]] * 2 + [[("critical", "no_answer")]] * 2
    with open_port(port):
        told = [look(watched, port)[0] for _ in range(3)]
    assert told == [[("warning", "check_recovering")], [("info", "check_recovered")], []]


def test_a_question_of_one_s_own_stands_for_itself_and_disturbs_no_schedule(watched):
    with open_port() as port:
        look(watched, port)
    assert look(watched, port)[1]["failures:web"] == 1
    found, numbers = look(watched, port, failure_threshold=5)
    assert (found, numbers["hard:web"]) == ([("critical", "no_answer")], 1)
    assert look(watched, port)[1]["failures:web"] == 2
    found, numbers = look(watched, port)
    assert (found, numbers["hard:web"], numbers["failures:web"]) == ([("critical", "no_answer")], 1, 3)


def test_what_was_measured_before_is_what_percentiles_are_made_of(watched):
    now = watched.clock.at

    def taken(at, took):
        numbers = {"response_time:web": took, "state:web": 0}
        return samples.Taken(
            host="h1", at=at, metrics={n: Metric(name=n, value=v, unit="") for n, v in numbers.items()}
        )

    week = [taken(now - day * DAY - minute * MINUTE, 120) for day in range(3, 8) for minute in range(30)]
    today = [taken(now - minute * MINUTE, 480) for minute in range(1, 60)]
    with watched.store.begin() as tx:
        samples.add(tx, [*week, *today])
    with open_port() as port:
        found, numbers = look(watched, port)
    assert found == [("warning", "response_slower")]
    assert (numbers["p50:web"], numbers["p95:web"], numbers["p99:web"], numbers["failed:web"]) == (480, 480, 480, 0)
    found, numbers = look(watched, port)
    assert numbers["failed:web"] == 1


@contextmanager
def parrot():
    """A server that sends back whatever it is told, and a list of what that was."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                heard.append(connection.recv(1000))
                connection.sendall(b"-ERR you said " + heard[0].replace(b"\r\n", b" ") + b"\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], heard
        thread.join(30)


def test_a_password_is_told_to_the_server_and_to_nobody_else(watched, monkeypatch, caplog):
    monkeypatch.setenv("CHECK_CANARY", "canary-in-the-mine")
    caplog.set_level(logging.DEBUG)
    with parrot() as (port, heard):
        check = {"kind": "redis", "name": "cache", "host": "127.0.0.1", "port": port, "timeout_s": 30}
        password = {"$secret": "env:CHECK_CANARY"}
        whole = watched.drive(watched.ask("health_check", parameters={"checks": [{**check, "password": password}]}))
    assert b"canary-in-the-mine" in heard[0]
    said = json.dumps(whole)
    assert "you said" in said
    assert "[secret]" in said
    with closing(sqlite3.connect(watched.store.url.removeprefix("sqlite:///"))) as record:
        kept = "\n".join(record.iterdump())
    assert "env:CHECK_CANARY" in kept
    for place in (said, kept, caplog.text, str(watched.told)):
        assert "canary-in-the-mine" not in place


def test_while_what_they_depend_on_is_down_one_alert_is_told_and_none_of_its_children(watched):
    rule = {"name": "down", "finding": "no_answer", "for_s": 0}
    watched.settings["alerts"] = {"rules": [rule], "built_in": False, "routes": [{"group_wait_s": 0}]}
    with open_port() as port:
        pass
    tcp = {"kind": "tcp", "host": "127.0.0.1", "port": port}
    checks = [
        {**tcp, "name": "db"},
        {**tcp, "name": "api", "depends_on": ["db"]},
        {**tcp, "name": "shop", "depends_on": ["api"]},
    ]
    whole = watched.drive(watched.ask("health_check", parameters={"checks": checks}))
    states = {name: metric["value"] for name, metric in whole["metrics"]["h1"].items() if name.startswith("state:")}
    assert states == {"state:db": 2, "state:api": None, "state:shop": None}
    with watched.store.read() as connection:
        assert [(one.rule, one.labels["part"]) for one in alerts.every(connection)] == [("down", "db")]
    watched.clock.at += MINUTE
    tell_alerts(watched.world())
    send_due(watched.world())
    told = [title for _channel, event, title in watched.told if event.startswith("alerts:")]
    assert told == ["[opsqueue] down on h1 (db): 1 firing"]


def test_an_alert_about_a_check_stands_while_nothing_is_known_of_it(watched):
    watched.settings["alerts"] = {"rules": [{"name": "down", "finding": "no_answer", "for_s": 0}]}

    def look_at(web, db):
        watched.clock.at += MINUTE
        checks = [
            {"kind": "tcp", "name": "web", "host": "127.0.0.1", "port": web, "depends_on": ["db"]},
            {"kind": "tcp", "name": "db", "host": "127.0.0.1", "port": db},
        ]
        watched.drive(watched.ask("health_check", parameters={"checks": checks, "success_threshold": 1}))
        with watched.store.read() as connection:
            return {one.labels["part"]: one.state.value for one in alerts.every(connection) if one.rule == "down"}

    with open_port() as web, open_port() as db:
        pass
    with open_port(db):
        assert look_at(web, db) == {"web": "firing"}
    assert look_at(web, db) == {"web": "firing", "db": "firing"}, "of web nothing is known while db is down"
    with open_port(web):
        assert look_at(web, db) == {"web": "inactive", "db": "firing"}, "that it answers is known all the same"
        with open_port(db):
            assert look_at(web, db) == {"web": "inactive", "db": "inactive"}
