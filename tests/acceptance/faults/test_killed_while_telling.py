"""Workers killed between deciding to tell somebody and telling them: real mail and web servers count what came."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from functools import partial
from types import SimpleNamespace

import pytest
from rig import LEASE, until
from server import counting_servers, slow_web_server

from opsqueue.model.names import Severity
from opsqueue.notify.message import Message
from opsqueue.pipeline.assemble import recipients
from opsqueue.pipeline.telling import enqueue
from opsqueue.store import tellings

pytestmark = pytest.mark.service

BOTH = ["email", "webhook"]
POINTS = {"unsent": 1, "told": 2}
"""Where the worker is killed, and how often the message comes then: what was taken and not written down comes again."""


@pytest.fixture
def servers():
    with counting_servers() as made:
        yield made


@pytest.fixture
def listened(make_rig, servers):
    """A rig whose channels are the two servers."""
    return lambda **more: make_rig(
        notification_channels={"email": "ops@company.com", "webhook": f"http://127.0.0.1:{servers.web}/told"},
        notification_urls={"email": f"mailto://127.0.0.1:{servers.mail}?from=opsqueue%40company.com&to={{to}}"},
        **more,
    )


def test_a_kill_between_deciding_and_telling_the_end_of_an_operation(listened, servers):
    """Four operations, each held before or after its mail or its webhook; then kill -9 of the process that holds it."""
    rig = listened(worker={"processes": 5})
    rig.worker()
    held = {}
    for number, (channel, where) in enumerate(((c, w) for c in BOTH for w in POINTS), 1):
        asked = rig.ask(f"h{number}", channels=BOTH, hold=[f"{channel}-{where}"])
        held[asked] = (channel, where)
    for asked, (channel, where) in held.items():
        assert rig.at(asked, f"{channel}-{where}") == rig.holder(asked)
        _until_told(lambda asked=asked: _notes(rig, asked), channel)
    since = time.time()
    for asked, (channel, where) in held.items():
        os.kill(rig.holder(asked), signal.SIGKILL)
        rig.let_go(asked, f"{channel}-{where}")
    rig.closed(*held)
    rig.recovered("kill -9 of pool processes between deciding and telling", held, since)
    rig.sound(dict.fromkeys(held, "succeeded"))
    for channel in BOTH:
        wanted = {f"{asked}:ended:{channel}": 1 for asked in held}
        wanted |= {f"{asked}:ended:{channel}": POINTS[where] for asked, (own, where) in held.items() if own == channel}
        assert Counter(servers.got[channel]) == wanted


@pytest.mark.parametrize("where", POINTS)
@pytest.mark.parametrize("channel", BOTH)
def test_a_kill_between_deciding_and_telling_what_belongs_to_no_operation(listened, servers, channel, where):
    """The whole worker, keeper and all, while its teller is there; another is started."""
    rig = listened()
    rig.hold("alert-1", f"{channel}-{where}")
    rig.worker("a")
    _say(rig, "alert-1")
    assert rig.at("alert-1", f"{channel}-{where}") == rig.parts[-1].process.pid
    _until_told(lambda: _states(rig, "alert-1"), channel)
    since = time.time()
    rig.parts[-1].kill()
    rig.let_go("alert-1", f"{channel}-{where}")
    rig.worker("b")
    until(lambda: set(_states(rig, "alert-1").values()) == {"accepted"}, what=lambda: _states(rig, "alert-1"))
    rig.report("kill -9 of the whole worker between deciding and telling", time.time() - since)
    wanted = {one: {f"alert-1:{one}": POINTS[where] if one == channel else 1} for one in BOTH}
    assert {one: Counter(servers.got[one]) for one in BOTH} == wanted


def test_a_kill_before_the_teller_saw_it_loses_nothing(listened, servers):
    rig = listened()
    _say(rig, "alert-1")  # nobody runs yet: it is only in the record
    for number in range(3):
        rig.worker(f"a{number}").kill()
    rig.worker("b")
    until(lambda: set(_states(rig, "alert-1").values()) == {"accepted"}, what=lambda: _states(rig, "alert-1"))
    assert {one: Counter(servers.got[one]) for one in BOTH} == {one: {f"alert-1:{one}": 1} for one in BOTH}


def test_many_workers_tell_each_thing_once(listened, servers):
    rig = listened()
    events = [f"alert-{number}" for number in range(30)]
    workers = [rig.worker(name) for name in "abc"]
    for event in events:
        _say(rig, event)
    until(lambda: len(servers.got["webhook"]) > 5, what=lambda: servers.got)
    workers[0].kill()
    for event in events:
        until(lambda event=event: set(_states(rig, event).values()) == {"accepted"}, what=lambda: servers.got)
    for channel in BOTH:
        counted = Counter(servers.got[channel])
        assert set(counted) == {f"{event}:{channel}" for event in events}
        assert counted.total() <= len(events) + 1  # what the killed one had sent and not written down


def test_a_server_that_is_slower_than_a_lease_is_told_once(make_rig):
    """Whoever waits for its answer keeps the try; nobody else makes it meanwhile."""
    with slow_web_server() as web:
        rig = make_rig(notification_channels={"webhook": f"http://127.0.0.1:{web.server_port}/told"})
        rig.worker("a")
        rig.worker("b")
        _say(rig, "alert-1", ["webhook"])
        until(lambda: web.got, what="the message")
        time.sleep(2.5 * LEASE)
        assert _states(rig, "alert-1") == {"webhook": "sending"}
        web.let_go.set()
        until(lambda: _states(rig, "alert-1") == {"webhook": "accepted"}, what=lambda: _states(rig, "alert-1"))
        assert web.got == ["alert-1:webhook"]


def _say(rig, event, channels=BOTH):
    world = SimpleNamespace(settings=rig.settings, now=time.time, recipients=partial(recipients, rig.settings))
    message = Message(title=event, body=event, severity=Severity.WARNING, payload={"event": event}, short=event)
    with rig.store.begin() as tx:
        assert enqueue(tx, world, message, event_id=event, channels=channels)


def _until_told(states, held):
    """Until whoever is not held was told and that is written down: in between, a kill has it told once more."""
    until(lambda: {status for one, status in states().items() if one != held} == {"accepted"}, what=states)


def _notes(rig, operation_id):
    return {note["channel"]: note["status"] for note in rig.show(operation_id)["notifications"]}


def _states(rig, event):
    with rig.store.read() as connection:
        return {row.channel: row.status for row in tellings.of(connection, event)}
