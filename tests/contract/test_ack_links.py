"""Links to acknowledge that are pressed at once, on each database: one of them acknowledges, the others see it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from opsqueue.alerts.state import Limits, begin, step
from opsqueue.model.alert import Observation
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.record import Delivery
from opsqueue.pipeline.alert_links import ack_message
from opsqueue.store import alerts, tellings

AT = 1_800_000_000.0
RULE = AlertRule(name="cpu", metric="cpu_usage", threshold=80, for_s=0)
EVENT = "alerts:group:1"
MANY, HOSTS = 6, 20


def fire(tx, number):
    labels = {"rule": "cpu", "host": f"h{number}"}
    old = begin(RULE, labels)
    found = step(RULE, old, Observation(labels=labels, at=AT, value=85.0, note=""), Limits())
    assert alerts.save(tx, old, found.alert, found.transitions)
    return {"incident": found.alert.incident, "status": "firing", "labels": labels}


def test_of_many_who_press_at_once_one_acknowledges_each(store):
    with store.begin() as tx:
        payload = {"event": "alerts", "alerts": [fire(tx, number) for number in range(HOSTS)], "alerts_total": HOSTS}
        texts = {"title": "t", "body": "b", "short": "s", "alike": "", "severity": "warning"}
        message = {"event": EVENT, "payload": payload, "at": AT, "created_at": AT, **texts}
        assert tellings.add(tx, message, [Delivery(operation_id="", event=EVENT, channel="log")])
    together = threading.Barrier(MANY)

    def press(number):
        together.wait()
        return ack_message(store, EVENT, recipient=f"who{number}", now=AT + 1)

    with ThreadPoolExecutor(MANY) as pool:
        after = list(pool.map(press, range(MANY)))
    assert all(one.open(AT + 1) == () and len(one.firing) == HOSTS for one in after)
    with store.read() as connection:
        lines = [line for line in alerts.history(connection, limit=10_000) if line.kind == "acknowledged"]
        known = {one.host: one.acked_by for one in alerts.active(connection)}
    assert len(lines) == HOSTS
    assert known == {line.host: line.actor for line in lines}
