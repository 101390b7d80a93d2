"""Acceptance: two workers that evaluate at once write one transition, and tell it once; on every database."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import select

from opsqueue.pipeline import alerting
from opsqueue.pipeline.alert_tick import look
from opsqueue.store import alerts, operations, schema

HOSTS = ("h1", "h2", "h3")
GIVEN = {
    "built_in": False,
    "rules": [
        {
            "name": "high",
            "metric": "value",
            "threshold": 5,
            "for_s": 0,
            "escalation": [{"after_s": 60, "channels": ["sms"]}],
        },
        {"name": "text", "condition": "value > 5", "for_s": 0},
    ],
}


def at_once(works):
    together, faults = threading.Barrier(len(works)), []

    def run(work):
        together.wait()
        try:
            work()
        except BaseException as fault:  # noqa: BLE001  # given on to the test below
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults, faults


def decided(story, values, workers):
    """What so many workers decide of one reading of three hosts, each from the same look at the record."""
    for host, value in zip(HOSTS, values, strict=True):
        story.machines[host].value = value
    operation_id = story.ask("look_value", systems=HOSTS)
    story.drive(operation_id, alerts={"built_in": False})
    world = story.world(alerts=GIVEN)
    with story.store.read() as connection:
        operation = operations.get(connection, operation_id)
        given = alerting.readings(world, operation, world.targets(operation), [])
        return world, [alerting.judge(world, alerting.known(world, connection, HOSTS), given) for _ in range(workers)]


def lines(story):
    with story.store.read() as connection:
        return sorted((line.kind.value, line.rule, line.host) for line in alerts.history(connection))


@pytest.mark.parametrize("_round", range(2))
def test_many_evaluators_write_each_transition_once(story, _round):
    def write(world, one):
        with story.store.begin() as tx:
            alerting.write(tx, world, one)

    world, found = decided(story, (9, 9, 1), 4)
    at_once([lambda one=one: write(world, one) for one in found])
    fired = [("firing", rule, host) for rule in ("high", "text") for host in ("h1", "h2")]
    assert lines(story) == sorted(fired)
    story.clock.at += 60
    world, found = decided(story, (9, 1, 1), 4)
    at_once([lambda one=one: write(world, one) for one in found])
    assert lines(story) == sorted([*fired, ("resolved", "high", "h2"), ("resolved", "text", "h2")])


def test_many_who_look_at_once_tell_and_call_once(story):
    world, found = decided(story, (9, 9, 9), 1)
    with story.store.begin() as tx:
        alerting.write(tx, world, found[0])
    story.clock.at += 600
    at_once([lambda number=number: look(story.world(f"worker-{number}", alerts=GIVEN)) for number in range(4)])
    with story.store.read() as connection:
        titles = connection.execute(select(schema.messages.c.title)).scalars()
        told = sorted(title.removeprefix("[opsqueue] ") for title in titles)
    assert told == ["high: 3 firing", *[f"not acknowledged: high on {host}" for host in HOSTS], "text: 3 firing"]
    assert [kind for kind, _, _ in lines(story)].count("escalated") == 3
