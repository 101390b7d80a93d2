"""A doubled, late or stale nudge changes nothing; a worker that lost its lease writes and sends nothing."""

from __future__ import annotations

import threading

import pytest

from opsqueue.errors import Conflict, LeaseLost
from opsqueue.model.names import WORKED, Stage
from opsqueue.model.request import parse_request
from opsqueue.pipeline.advance import advance
from opsqueue.pipeline.dispatch import reconcile
from opsqueue.pipeline.submit import submit
from opsqueue.store import events, operations
from opsqueue.store import targets as store_targets

SIX = [stage.value for stage in WORKED]


def everything(story, operation_id):
    with story.store.read() as connection:
        return (
            operations.get(connection, operation_id),
            store_targets.of(connection, operation_id),
            events.of(connection, operation_id),
        )


def until(story, operation_id, stage):
    while story.raw(operation_id).stage is not stage:
        story.step(operation_id)


@pytest.mark.parametrize("stage", WORKED)
def test_a_nudge_that_comes_again_later_does_nothing(story, stage):
    operation_id = story.ask()
    until(story, operation_id, stage)
    assert advance(story.world(), operation_id, stage) is stage.next or stage is Stage.NOTIFY
    stood, tally = everything(story, operation_id), list(story.machines["h1"].tally)
    assert advance(story.world("worker-2"), operation_id, stage) is None
    assert everything(story, operation_id) == stood
    assert story.machines["h1"].tally == tally


@pytest.mark.parametrize("stage", WORKED)
def test_two_nudges_at_the_same_moment_are_worked_once(story, stage):
    operation_id = story.ask(parameters={"to": 2, "steps": 2})
    until(story, operation_id, stage)
    worlds, together = (story.world("worker-1"), story.world("worker-2")), threading.Barrier(2)

    def work(world):
        together.wait()
        advance(world, operation_id, stage)

    threads = [threading.Thread(target=work, args=(world,)) for world in worlds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [name for name, _ in story.results(operation_id)].count(stage.value) == 1
    assert story.raw(operation_id).token == SIX.index(stage.value) + 1
    story.drive(operation_id)
    assert story.machines["h1"].tally == ["set 1", "set 2"]


def test_a_nudge_for_a_stage_where_it_does_not_rest_does_nothing(story):
    operation_id = story.ask()
    stood = everything(story, operation_id)
    for stage in WORKED[1:]:
        assert advance(story.world(), operation_id, stage) is None
    assert advance(story.world(), "no-such-operation", Stage.VERIFY) is None
    assert everything(story, operation_id) == stood


def test_a_nudge_before_it_is_due_does_nothing(story):
    story.machines["h1"].reachable = False
    operation_id = story.ask()
    story.step(operation_id)
    stood = everything(story, operation_id)
    assert stood[0].due_at > story.clock.at
    assert story.step(operation_id) is None
    assert everything(story, operation_id) == stood


def test_a_worker_that_lost_its_lease_writes_nothing_and_sends_nothing_more(story):
    operation_id = story.ask(parameters={"to": 3, "steps": 3})
    until(story, operation_id, Stage.EXECUTE)
    machine, stood = story.machines["h1"], []

    def meanwhile():
        story.clock.at += 31
        machine.running = {"set 1"}
        advance(story.world("worker-2"), operation_id, Stage.EXECUTE)
        stood.append(everything(story, operation_id))

    machine.during["set 1"] = meanwhile
    assert advance(story.world("worker-1"), operation_id, Stage.EXECUTE) is None
    assert machine.tally == ["set 1"]
    assert [everything(story, operation_id)] == stood
    assert story.results(operation_id)[-1] == ("execute", "looking")
    machine.running = set()
    assert story.drive(operation_id)["outcome"] == "rolled_back"
    assert machine.tally == ["set 1", "back 0"]


@pytest.mark.parametrize("stage", [Stage.VERIFY, Stage.COLLECT, Stage.ANALYZE, Stage.NOTIFY])
def test_a_stage_that_ends_after_its_lease_was_taken_over_writes_nothing(story, stage):
    operation_id = story.ask(notification_channels=["log"])
    until(story, operation_id, stage)
    slow, stood = story.world("worker-1"), []
    real = slow.store

    class Paused:
        """The first worker sleeps between taking its lease and its next write."""

        writes = 0

        def begin(self, *, lasting=True):
            self.writes += 1
            if self.writes == 2:
                story.clock.at += 31
                advance(story.world("worker-2"), operation_id, stage)
                stood.append(everything(story, operation_id))
            return real.begin()

        def __getattr__(self, name):
            return getattr(real, name)

    object.__setattr__(slow, "store", Paused())
    assert advance(slow, operation_id, stage) is None
    assert [everything(story, operation_id)] == stood


def test_saving_with_a_stale_token_is_a_lost_lease(story):
    operation_id = story.ask()
    now = story.clock.at
    with story.store.begin() as tx:
        first = operations.take(tx, operation_id, Stage.VERIFY, now=now, until=now + 1, holder="a")
    with story.store.begin() as tx:
        assert operations.take(tx, operation_id, Stage.VERIFY, now=now + 2, until=now + 3, holder="b")
    with pytest.raises(LeaseLost), story.store.begin() as tx:
        operations.save(tx, first, Stage.VERIFY, 0.0)
    with pytest.raises(LeaseLost), story.store.begin() as tx:
        operations.renew(tx, first, now + 100)


def test_the_heart_cannot_stretch_a_lease_that_was_given_back(story):
    story.machines["h1"].reachable = False
    operation_id = story.ask()
    now = story.clock.at
    with story.store.begin() as tx:
        taken = operations.take(tx, operation_id, Stage.VERIFY, now=now, until=now + 30, holder="worker-1")
    story.clock.at += 31
    story.step(operation_id)
    waiting = story.raw(operation_id)
    assert (waiting.stage, waiting.holder) == (Stage.VERIFY, "")
    late = type(waiting)(**{**{n: getattr(taken, n) for n in taken.__dataclass_fields__}, "token": waiting.token})
    with pytest.raises(LeaseLost), story.store.begin() as tx:
        operations.renew(tx, late, now + 500)
    assert story.raw(operation_id).due_at == waiting.due_at


def test_the_same_request_again_is_the_same_operation(story):
    asked = {
        "name": "n",
        "type": "set_value",
        "target_systems": ["h1"],
        "operation_id": "1" * 8 + "-1111" * 3 + "-" + "1" * 12,
    }
    first = submit(story.world(), parse_request(asked))
    again = submit(story.world(), parse_request({**asked, "reason": "asked twice", "requested_by": "somebody"}))
    assert again.id == first.id
    assert len(story.nudges) == 1
    story.drive(first.id)
    assert submit(story.world(), parse_request(asked)).stage is Stage.CLOSED
    with pytest.raises(Conflict, match="another request"):
        submit(story.world(), parse_request({**asked, "parameters": {"to": 9}}))
    assert story.machines["h1"].tally == ["set 1"]


def test_the_same_request_from_many_at_once_is_one_operation(story):
    asked = {
        "name": "n",
        "type": "set_value",
        "target_systems": ["h1"],
        "operation_id": "2" * 8 + "-2222" * 3 + "-" + "2" * 12,
    }
    found, together, world = [], threading.Barrier(6), story.world()

    def ask():
        together.wait()
        found.append(submit(world, parse_request(asked)).id)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == len(story.nudges) == 1


def test_going_on_in_process_gives_the_same_history(story):
    one, other = story.ask(systems=["h1"]), story.ask(systems=["h2"])
    story.drive(one)
    assert advance(story.world(), other, Stage.VERIFY, go_on=True) is None
    assert story.results(other) == story.results(one)
    shown, twin = story.show(other), story.show(one)
    for key in ("status", "outcome", "stage", "due_at", "waits_for", "health_score", "findings"):
        assert shown[key] == twin[key], key
    assert (story.raw(other).holder, story.machines["h2"].tally) == ("", ["set 1"])


def test_going_on_sees_a_cancel_that_came_meanwhile(story):
    from opsqueue.pipeline.control import cancel  # noqa: PLC0415  # beside its only use

    operation_id = story.ask("look_value")
    world = story.world()
    asked = []

    class Meddling:
        name = "meddling"

        def ask(self, kind, context):
            asked.append(cancel(world, operation_id, actor="ann", reason="no more"))
            return {"overall_status": "PASSED"}

    object.__setattr__(world, "coordinators", (Meddling(),))
    advance(world, operation_id, Stage.VERIFY, go_on=True)
    shown = story.show(operation_id)
    assert len(asked) == 1
    assert ("window", "cancelled") in story.results(operation_id)
    assert shown["outcome"] == "cancelled"


def test_the_reconciler_nudges_what_is_due_and_not_again_at_once(story):
    operation_id = story.ask()
    world = story.world()
    story.nudges.clear()
    assert reconcile(world) == 0  # it was nudged when it was asked for
    story.clock.at += 6
    assert reconcile(world) == 1
    assert story.nudges == [(operation_id, Stage.VERIFY)]
    story.clock.at += 1
    assert reconcile(world) == 0
    story.clock.at += 5
    assert (reconcile(world), reconcile(story.world("worker-2"))) == (1, 0)


def test_only_one_reconciles_at_a_time_and_a_dead_one_is_replaced(story):
    story.ask()
    story.clock.at += 6
    assert reconcile(story.world("worker-1")) == 1
    story.clock.at += 4
    assert reconcile(story.world("worker-2")) == 0
    story.clock.at += 2
    assert reconcile(story.world("worker-2")) == 1
