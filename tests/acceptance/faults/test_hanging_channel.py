"""A receiver that takes every message and answers none holds up what is told to it, and no other work."""

from __future__ import annotations

import pytest
from rig import until
from server import counting_servers, hanging_web_server

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("faults")]


@pytest.fixture
def listened(make_rig):
    """A rig, the receiver that hangs, and what came to the one that answers."""
    with hanging_web_server() as hang, counting_servers() as servers:
        channels = {
            "hang": f"http://127.0.0.1:{hang.server_port}/told",
            "webhook": f"http://127.0.0.1:{servers.web}/told",
        }
        yield make_rig(notification_channels=channels), hang, servers.got["webhook"]


def test_a_channel_that_hangs_leaves_room_for_the_work_of_others(listened):
    rig, hang, got = listened
    rig.worker()
    ids = [rig.ask(f"h{number}", channels=["hang"]) for number in range(1, 7)]
    other = rig.ask("h7", channels=["webhook"])
    [shown] = rig.closed(other, seconds=90)
    tried = set(hang.got)
    assert got == [f"{other}:ended:webhook"]
    assert shown["outcome"] == "succeeded"
    assert 1 <= len(tried) < len(ids), "each of them had hung a process before others had their turn"
    assert hang.most <= rig.settings.worker.processes
    until(lambda: all(rig.row(one).outcome for one in ids), 90, "the end of the work of them all")
    waits = [
        note["error"] for one in ids for note in rig.show(one)["notifications"] if f"{one}:ended:hang" not in tried
    ]
    assert all("another message to this channel" in why for why in waits), waits


def test_a_channel_that_hangs_keeps_no_other_of_the_same_operation_waiting(listened):
    rig, hang, got = listened
    rig.worker()
    asked = rig.ask(channels=["hang", "webhook"])
    until(lambda: got, 60, "the message to the other channel")
    assert (hang.got, hang.open) == ([f"{asked}:ended:hang"], 1), "it came only after the other had hung to the end"
