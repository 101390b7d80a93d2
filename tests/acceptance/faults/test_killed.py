"""Workers killed with SIGKILL, one pool process or all, wherever it hurts: nothing lost, nothing stuck, nothing twice."""

from __future__ import annotations

import os
import signal
import time

import pytest
from rig import SIX

pytestmark = pytest.mark.service

POINTS = ("taken", "decided")
MODES = {"in_process": {}, "hops": {"in_process": False}, "events": {"events": True}}


def _one_in_each_stage(rig, point):
    """Six operations on six hosts, each held at this point of another stage; window last, for its point may be in a
    transaction."""
    order = [stage for stage in SIX if stage != "window"] + ["window"]
    held = {}
    for number, stage in enumerate(order, 1):
        where = f"{stage}.{point}"
        operation_id = rig.ask(f"h{number}", hold=[where])
        held[operation_id] = where
        assert rig.at(operation_id, where) == rig.holder(operation_id)
        if (stage, point) == ("notify", "decided"):
            break  # it holds the write lock of the database: nothing else can be asked for
    return held


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_pool_process_in_any_stage(make_rig, point, mode):
    rig = make_rig(worker={"processes": 7, **MODES[mode]})
    rig.worker()
    held = {}
    for number, stage in enumerate(SIX, 1):
        where = f"{stage}.{point}"
        operation_id = rig.ask(f"h{number}", hold=[where])
        held[operation_id] = where
        pid = rig.at(operation_id, where)
        assert pid == rig.holder(operation_id)
        if _in_transaction(where):  # nobody else can write while it waits there
            _kill_child(rig, operation_id, where)
    since = time.time()
    for operation_id, where in held.items():
        if not _in_transaction(where):
            _kill_child(rig, operation_id, where)
    rig.closed(*held)
    rig.recovered(f"kill -9 of a pool process, stage {point}, {mode}", held, since)
    rig.sound(dict.fromkeys(held, "succeeded"))
    assert all(rig.sent(one, f"h{n}") == ["1", "2"] for n, one in enumerate(held, 1))


def _in_transaction(where):
    return where in {"window.decided", "notify.decided"}


def _kill_child(rig, operation_id, where):
    os.kill(rig.holder(operation_id), signal.SIGKILL)
    rig.let_go(operation_id, where)
