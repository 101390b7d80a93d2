"""Workers killed with SIGKILL, one pool process or all: nothing lost, nothing stuck, nothing sent twice."""

from __future__ import annotations

import os
import signal
import time

import pytest
from rig import SIX, until
from server import slow_web_server

pytestmark = pytest.mark.service

POINTS = ("taken", "decided")
MODES = {"in one process": {}, "by six messages": {"events": True}}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_pool_process_in_any_stage(make_rig, point, mode):
    rig = make_rig(worker={"processes": 7, **MODES[mode]})
    rig.worker()
    held = _one_in_each_stage(rig, point, lambda operation_id: os.kill(rig.holder(operation_id), signal.SIGKILL))
    since = time.time()
    for operation_id, where in held.items():
        if not _in_transaction(where):
            os.kill(rig.holder(operation_id), signal.SIGKILL)
            rig.let_go(operation_id, where)
    rig.closed(*held)
    rig.recovered(f"kill -9 of a pool process, stage {point}, {mode}", held, since)
    _all_done_once(rig, held)


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_worker_in_any_stage(make_rig, point):
    """Keeper, Celery worker and pool processes at once; another worker is started, as systemd would."""
    rig = make_rig(worker={"processes": 7})
    workers = [rig.worker("a0")]

    def kill_all(_operation_id):
        workers[-1].kill()
        workers.append(rig.worker(f"a{len(workers)}"))

    held = _one_in_each_stage(rig, point, kill_all)
    since = time.time()
    workers[-1].kill()
    for operation_id, where in held.items():
        if not _in_transaction(where):
            rig.let_go(operation_id, where)
    rig.worker("b")
    rig.closed(*held)
    rig.recovered(f"kill -9 of the whole worker, stage {point}, another started at once", held, since)
    _all_done_once(rig, held)


def _one_in_each_stage(rig, point, kill):
    """Six operations on six hosts, each held in another stage. Where it would keep everybody else from writing, it is
    killed at once, and the next is asked for afterwards."""
    held = {}
    for number, stage in sorted(enumerate(SIX, 1), key=lambda pair: not _in_transaction(f"{pair[1]}.{point}")):
        where = f"{stage}.{point}"
        operation_id = rig.ask(f"h{number}", hold=[where])
        held[operation_id] = where
        assert rig.at(operation_id, where) == rig.holder(operation_id)
        if _in_transaction(where):
            kill(operation_id)
            rig.let_go(operation_id, where)
    return held


def _in_transaction(where):
    return where in {"window.decided", "notify.decided"}


def _all_done_once(rig, held):
    rig.sound(dict.fromkeys(held, "succeeded"))
    for operation_id in held:
        host = rig.row(operation_id).systems[0]
        assert rig.sent(operation_id, host) == ["1", "2"]


IN_EXECUTE = {
    # where the worker is killed: how the operation ends, and the commands that ran
    "unsent-1": ("failed", []),
    "command-1": ("rolled_back", ["1", "back"]),
    "ended-1": ("rolled_back", ["1", "back"]),
    "before-2": ("rolled_back", ["1", "back"]),
    "written-2": ("rolled_back", ["1", "back"]),
    "unsent-2": ("rolled_back", ["1", "back"]),
    "command-2": ("succeeded", ["1", "2"]),
    "ended-2": ("succeeded", ["1", "2"]),
    "before-back": ("unknown", ["1", "2"]),
    "command-back": ("rolled_back", ["1", "2", "back"]),
    "ended-back": ("rolled_back", ["1", "2", "back"]),
}


@pytest.mark.parametrize("whole", [False, True], ids=["pool process", "whole worker"])
def test_a_kill_around_and_between_the_commands_of_execute(make_rig, whole):
    """What was begun is looked at and never applied again; a command that still runs is waited for."""
    rig = make_rig(hosts=len(IN_EXECUTE), worker={"processes": len(IN_EXECUTE)})
    worker = rig.worker()
    held = {}
    for number, where in enumerate(IN_EXECUTE, 1):
        held[where] = rig.ask(f"h{number}", hold=[where], breaks="back" in where)
    for where, operation_id in held.items():
        rig.at(operation_id, where)
    since = time.time()
    for operation_id in [] if whole else held.values():
        os.kill(rig.holder(operation_id), signal.SIGKILL)
    if whole:
        worker.kill()
        rig.worker("b")
    _let_all_go(rig, held)
    _a_person_looks(rig, held.pop("before-back"))
    rig.closed(*held.values())
    who = "the whole worker" if whole else "a pool process"
    rig.recovered(f"kill -9 of {who} around and between the commands of execute", held.values(), since)
    for number, (where, (outcome, sent)) in enumerate(IN_EXECUTE.items(), 1):
        if where in held:
            assert (where, rig.row(held[where]).outcome) == (where, outcome)
            assert (where, rig.sent(held[where], f"h{number}")) == (where, sent)
    rig.sound({held[where]: outcome for where, (outcome, _) in IN_EXECUTE.items() if where in held})


def _let_all_go(rig, held):
    """Commands that outlived their worker go on only after others have looked, who must wait for them."""
    running = [where for where in held if where.startswith("command-")]
    for where in held.keys() - set(running):
        rig.let_go(held[where], where)
    for where in running:
        until(lambda where=where: _is_looked_at(rig, held[where]), what=f"that {where} is waited for")
    for where in running:
        rig.let_go(held[where], where)


def _is_looked_at(rig, operation_id):
    return ("execute", "looking") in [(stage["stage"], stage["result"]) for stage in rig.show(operation_id)["stages"]]


def _a_person_looks(rig, operation_id):
    until(lambda: rig.row(operation_id).hold == ("delivery",), what="a hold for a person")
    assert (rig.row(operation_id).outcome, rig.row(operation_id).due_at) == ("unknown", None)
    assert rig.sent(operation_id, rig.row(operation_id).systems[0]) == ["1", "2"]
    rig.opsqueue("cancel", operation_id, "--reason", "looked at", "--yes")
    rig.closed(operation_id)
    rig.sound({operation_id: "unknown"}, left=False)


def test_a_kill_on_the_second_of_three_hosts(rig):
    """What was done stays done, what was begun is led back, what was not begun is left alone."""
    rig.worker()
    asked = rig.ask("h1", "h2", "h3", hold=["on-h2"], name="rollout")
    rig.at(asked, "on-h2")
    since = time.time()
    os.kill(rig.holder(asked), signal.SIGKILL)
    rig.let_go(asked, "on-h2")
    rig.closed(asked)
    rig.recovered("kill -9 of a pool process on the second of three hosts", [asked], since)
    rig.sound({asked: "partial"})
    states = [target["status"] for target in rig.show(asked)["targets"]]
    assert states == ["succeeded", "rolled_back", "skipped"]
    assert [rig.sent(asked, host) for host in ("h1", "h2", "h3")] == [["1", "2"], ["1", "back"], []]


def test_a_kill_while_people_are_told(make_rig):
    """They may hear of it twice, with the same event id; the operation is not closed before somebody took it."""
    with slow_web_server() as web:
        rig = make_rig(notification_channels={"webhook": f"http://127.0.0.1:{web.server_port}/told"})
        rig.worker()
        asked = rig.ask("h1", channels=["webhook"])
        until(lambda: web.got, what="the first message")
        since = time.time()
        os.kill(rig.holder(asked), signal.SIGKILL)
        web.let_go.set()
        rig.closed(asked)
        rig.recovered("kill -9 of a pool process while a webhook answers", [asked], since)
        rig.sound({asked: "succeeded"})
        assert web.got == [f"{asked}:ended:webhook"] * 2
        assert [(n["status"], n["attempts"]) for n in rig.show(asked)["notifications"]] == [("accepted", 2)]
