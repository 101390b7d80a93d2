"""What people do and hear: cancel, retry, acknowledge; messages that arrive, fail, and are given up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opsqueue.errors import Conflict, InvalidRequest, NotFound
from opsqueue.model.names import WORKED, Stage
from opsqueue.notify.receipt import MOST_ATTEMPTS, Receipt
from opsqueue.pipeline.advance import advance
from opsqueue.pipeline.control import add_freeze, cancel, lift_freeze, retry
from opsqueue.store import deliveries, events, holds

SIX = [stage.value for stage in WORKED]
MAIL = {"notification_channels": {"email": "ops@example.org", "slack": "#ops"}}
FAILS = Receipt(status="failed", error="busy", permanent=False)
DEAD = Receipt(status="dead", error="no such address", permanent=True)


def until(story, operation_id, stage):
    while story.raw(operation_id).stage != stage:
        story.step(operation_id)


def notes(shown):
    return {note["channel"]: (note["status"], note["attempts"]) for note in shown["notifications"]}


@pytest.fixture
def mailing(story):
    story.settings |= MAIL
    return story


@pytest.mark.parametrize("stage", ["verify", "window", "execute"])
def test_cancelled_before_it_was_begun_it_sends_nothing(story, stage):
    operation_id = story.ask()
    until(story, operation_id, stage)
    cancel(story.world(), operation_id, actor="ann", reason="wrong host")
    shown = story.drive(operation_id)
    assert (shown["outcome"], shown["stage"], story.machines["h1"].tally) == ("cancelled", "closed", [])
    assert [one["stage"] for one in shown["stages"]] == SIX
    assert any("ann: wrong host" in one["why"] for one in shown["stages"])
    assert story.told


@pytest.mark.parametrize("stage", ["collect", "analyze"])
def test_cancelled_after_the_work_it_ends_as_the_work_did(story, stage):
    operation_id = story.ask()
    until(story, operation_id, stage)
    cancel(story.world(), operation_id, actor="ann", reason="")
    shown = story.drive(operation_id)
    assert (shown["outcome"], shown["stage"]) == ("succeeded", "closed")
    assert story.results(operation_id)[-1] == ("notify", "delivered")


def test_cancelled_in_mid_rollout_what_is_begun_is_ended_and_the_rest_is_not_begun(story):
    ids = []
    story.machines["h1"].during["set 1"] = lambda: cancel(story.world(), ids[0], actor="ann", reason="stop")
    ids.append(story.ask(systems=["h1", "h2"], parameters={"to": 2, "steps": 2}))
    shown = story.drive(ids[0])
    assert [target["status"] for target in shown["targets"]] == ["succeeded", "skipped"]
    assert shown["targets"][1]["problems"] == ["cancelled: ann: stop"]
    assert (shown["outcome"], story.machines["h2"].tally) == ("partial", [])


def test_cancelled_while_a_worker_has_it_and_nothing_was_begun_it_is_cancelled(story):
    operation_id = story.ask()
    until(story, operation_id, "execute")
    world = story.world()
    real, done = world.store, []

    class Meddled:
        """Between the lease and the first host, somebody cancels."""

        def read(self):
            if not done:
                done.append(cancel(story.world("elsewhere"), operation_id, actor="ann", reason="stop"))
            return real.read()

        def __getattr__(self, name):
            return getattr(real, name)

    object.__setattr__(world, "store", Meddled())
    advance(world, operation_id, Stage.EXECUTE)
    assert story.drive(operation_id)["outcome"] == "cancelled"
    assert story.machines["h1"].tally == []


def half_done(story, **more):
    """An operation whose first try broke at its second command, before its second try."""
    story.machines["h1"].breaks = {"set 2"}
    operation_id = story.ask("redo_value", systems=["h1", "h2"], parameters={"to": 2, "steps": 2}, **more)
    for _ in range(3):
        story.step(operation_id)
    assert story.machines["h1"].value == 1
    return operation_id


def led_back(story, operation_id, why):
    shown = story.drive(operation_id)
    first, second = shown["targets"]
    assert (first["status"], story.machines["h1"].value) == ("rolled_back", 0)
    assert "it broke" in first["problems"][0]
    assert why in first["problems"][-1]
    assert story.machines["h1"].tally == ["set 1", "set 2", "back 0"]
    assert (second["status"], story.machines["h2"].tally) == ("skipped", [])
    return shown


def test_cancelled_between_two_tries_the_changed_host_is_led_back(story):
    operation_id = half_done(story)
    cancel(story.world(), operation_id, actor="ann", reason="stop")
    assert led_back(story, operation_id, "cancelled: ann: stop")["outcome"] == "cancelled"


def test_out_of_time_between_two_tries_the_changed_host_is_led_back(story):
    operation_id = half_done(story, timeout=90)
    story.clock.at += 100
    assert led_back(story, operation_id, "within the operation's 90 s")["outcome"] == "rolled_back"


def test_frozen_between_two_tries_the_changed_host_is_led_back_and_does_not_stay_broken(story):
    operation_id = half_done(story)
    add_freeze(story.world(), scope=("all",), reason="audit", ends_at=None, starts_at=None, actor="ann")
    assert led_back(story, operation_id, "a gate closed")["outcome"] == "rolled_back"


def test_cancelled_between_two_tries_a_host_that_came_right_is_a_success(story):
    operation_id = half_done(story)
    story.machines["h1"].value = 2
    cancel(story.world(), operation_id, actor="ann", reason="stop")
    shown = story.drive(operation_id)
    assert [one["status"] for one in shown["targets"]] == ["succeeded", "skipped"]
    assert story.machines["h1"].tally == ["set 1", "set 2"]


def test_cancelled_while_it_waits_it_ends_at_once(story):
    add_freeze(story.world(), scope=("all",), reason="audit", ends_at=None, starts_at=None, actor="ann")
    operation_id = story.ask()
    story.drive(operation_id)
    story.nudges.clear()
    cancel(story.world(), operation_id, actor="ann", reason="")
    assert story.nudges == [(operation_id, Stage.WINDOW)]
    assert story.drive(operation_id)["outcome"] == "cancelled"


def test_a_cancel_that_comes_while_the_hold_is_written_is_not_lost(story):
    add_freeze(story.world(), scope=("all",), reason="audit", ends_at=None, starts_at=None, actor="ann")
    operation_id = story.ask()
    story.step(operation_id)
    world = story.world()
    real, writes = world.store, []

    class Meddled:
        def begin(self, *, lasting=True):
            writes.append(1)
            if len(writes) == 2:
                cancel(story.world("elsewhere"), operation_id, actor="ann", reason="stop")
            return real.begin()

        def __getattr__(self, name):
            return getattr(real, name)

    object.__setattr__(world, "store", Meddled())
    advance(world, operation_id, Stage.WINDOW)
    assert story.raw(operation_id).due_at == story.clock.at
    assert story.drive(operation_id)["outcome"] == "cancelled"


def test_what_has_ended_cannot_be_cancelled_or_retried(story):
    operation_id = story.ask()
    story.drive(operation_id)
    with pytest.raises(Conflict, match="has ended: succeeded"):
        cancel(story.world(), operation_id, actor="ann", reason="")
    with pytest.raises(Conflict, match="Ask for a new one"):
        retry(story.world(), operation_id, actor="ann", reason="")
    with pytest.raises(NotFound):
        cancel(story.world(), "none", actor="ann", reason="")


def test_what_is_worked_on_cannot_be_retried(story):
    ids, caught = [], []

    def meanwhile():
        with pytest.raises(Conflict, match="being worked on") as raised:
            retry(story.world(), ids[0], actor="ann", reason="")
        caught.append(raised)

    story.machines["h1"].during["set 1"] = meanwhile
    ids.append(story.ask())
    assert story.drive(ids[0])["outcome"] == "succeeded"
    assert len(caught) == 1


def test_a_retry_looks_again_at_once(story):
    story.machines["h1"].reachable = False
    operation_id = story.ask()
    story.step(operation_id)
    story.machines["h1"].reachable = True
    retry(story.world(), operation_id, actor="ann", reason="the cable is in")
    assert story.raw(operation_id).due_at == story.clock.at
    assert story.drive(operation_id)["outcome"] == "succeeded"
    assert [result for stage, result in story.results(operation_id) if stage == "verify"] == ["retrying", "passed"]


def test_a_message_that_fails_is_sent_again_later_and_only_that_one(mailing):
    mailing.receipts["email"] = FAILS
    operation_id = mailing.ask(notification_channels=["email", "slack"])
    until(mailing, operation_id, "notify")
    mailing.step(operation_id)
    shown = mailing.show(operation_id)
    assert notes(shown) == {"email": ("failed", 1), "slack": ("accepted", 1)}
    assert (shown["stage"], shown["waits_for"], shown["outcome"]) == ("notify", ["delivery"], "succeeded")
    assert 3 < mailing.raw(operation_id).due_at - mailing.clock.at < 7
    del mailing.receipts["email"]
    shown = mailing.drive(operation_id)
    assert notes(shown) == {"email": ("accepted", 2), "slack": ("accepted", 1)}
    assert [channel for channel, _, _ in mailing.told] == ["email", "slack", "email"]
    assert len({event_id for channel, event_id, _ in mailing.told if channel == "email"}) == 1
    assert shown["stage"] == "closed"


def drive_for_hours(story, operation_id):
    for _ in range(30):
        due = story.raw(operation_id).due_at
        if due is None or story.show(operation_id)["stage"] == "closed":
            break
        story.clock.at = max(story.clock.at, due)
        story.step(operation_id)
    return story.show(operation_id)


def test_a_message_that_always_fails_is_given_up_and_keeps_it_open(mailing):
    mailing.receipts["email"] = FAILS
    operation_id = mailing.ask(notification_channels=["email"])
    shown = drive_for_hours(mailing, operation_id)
    assert notes(shown) == {"email": ("dead", MOST_ATTEMPTS)}
    assert (shown["stage"], shown["due_at"], shown["outcome"]) == ("notify", None, "succeeded")
    assert "opsqueue retry" in shown["verdicts"][-1]["why"]


def test_a_dead_message_is_sent_again_by_retry(mailing):
    mailing.receipts["email"] = DEAD
    operation_id = mailing.ask(notification_channels=["email"])
    assert notes(mailing.drive(operation_id)) == {"email": ("dead", 1)}
    del mailing.receipts["email"]
    retry(mailing.world(), operation_id, actor="ann", reason="")
    shown = mailing.drive(operation_id)
    assert (notes(shown), shown["stage"]) == ({"email": ("accepted", 1)}, "closed")


def test_a_dead_message_is_acknowledged_by_cancel(mailing):
    mailing.receipts["email"] = DEAD
    operation_id = mailing.ask(notification_channels=["email"])
    mailing.drive(operation_id)
    cancel(mailing.world(), operation_id, actor="ann", reason="told by phone")
    shown = mailing.drive(operation_id)
    assert (notes(shown), shown["stage"], shown["outcome"]) == ({"email": ("acknowledged", 1)}, "closed", "succeeded")
    with mailing.store.read() as connection:
        kinds = [(line.kind, line.actor) for line in events.of(connection, operation_id)]
    assert ("acknowledged", "ann: told by phone") in kinds


def test_an_earlier_cancel_of_the_work_acknowledges_no_message(mailing):
    mailing.receipts["email"] = FAILS
    operation_id = mailing.ask(notification_channels=["email"])
    cancel(mailing.world(), operation_id, actor="ann", reason="wrong host")
    until(mailing, operation_id, "notify")
    mailing.step(operation_id)
    del mailing.receipts["email"]
    shown = mailing.drive(operation_id)
    assert (shown["outcome"], notes(shown)) == ("cancelled", {"email": ("accepted", 2)})


def test_a_crash_after_the_first_channel_does_not_forget_the_others(mailing):
    operation_id = mailing.ask(notification_channels=["email", "slack", "log"])
    until(mailing, operation_id, "notify")
    record = mailing.store
    for number in range(1, 5):
        mailing.store = record
        mailing.dying(number, kept=True)
        mailing.drive(operation_id, steps=1)
    mailing.store = record
    shown = mailing.drive(operation_id)
    assert {channel: status for channel, (status, _) in notes(shown).items()} == dict.fromkeys(
        ("email", "slack", "log"), "accepted"
    )
    assert {channel for channel, _, _ in mailing.told} == {"email", "slack", "log"}
    for channel in ("email", "slack", "log"):
        assert len({event_id for told, event_id, _ in mailing.told if told == channel}) == 1


def test_a_notifier_that_breaks_is_tried_again_then_waits_for_a_person(mailing):
    def broken(channel, message, event_id):
        raise RuntimeError("a bug in the channel")

    mailing._tell = broken
    operation_id = mailing.ask(notification_channels=["email"], retry_count=0)
    shown = drive_for_hours(mailing, operation_id)
    assert (shown["stage"], shown["due_at"], shown["waits_for"]) == ("notify", None, ["delivery"])
    assert "in vain; at last: RuntimeError: a bug in the channel" in shown["stages"][-1]["why"]
    del mailing._tell
    retry(mailing.world(), operation_id, actor="ann", reason="mended")
    assert mailing.drive(operation_id)["stage"] == "closed"


def unknown(story):
    machine = story.machines["h1"]
    machine.wrong, machine.breaks = True, {"back 0"}
    operation_id = story.ask()
    story.drive(operation_id)
    return operation_id


def test_an_unknown_outcome_stays_open_until_a_person_says_that_they_looked(story):
    operation_id = unknown(story)
    shown = story.show(operation_id)
    assert (shown["stage"], shown["outcome"], shown["due_at"]) == ("notify", "unknown", None)
    retry(story.world(), operation_id, actor="ann", reason="")
    shown = story.drive(operation_id)
    assert (shown["stage"], shown["due_at"]) == ("notify", None)
    cancel(story.world(), operation_id, actor="ann", reason="I looked: it is fine")
    shown = story.drive(operation_id)
    assert (shown["stage"], shown["status"]) == ("closed", "unknown")
    assert story.results(operation_id)[-1] == ("notify", "acknowledged")


def test_a_cancel_of_the_work_does_not_acknowledge_what_came_of_it(story):
    machine, ids = story.machines["h1"], []
    machine.wrong, machine.breaks = True, {"back 0"}
    machine.during["set 1"] = lambda: cancel(story.world(), ids[0], actor="ann", reason="stop")
    ids.append(story.ask(systems=["h1", "h2"]))
    story.drive(ids[0])
    retry(story.world(), ids[0], actor="bob", reason="look again")
    shown = story.drive(ids[0])
    assert (shown["stage"], shown["outcome"]) == ("notify", "unknown")


def test_every_operation_ends_with_somebody_told(story):
    story.settings |= {"default_channels": []}
    shown = story.drive(story.ask(notification_channels=[]))
    assert notes(shown) == {"log": ("accepted", 1)}


def test_the_outbox_holds_each_channel_once(mailing):
    operation_id = mailing.ask(notification_channels=["email", "email", "log"])
    mailing.drive(operation_id)
    with mailing.store.read() as connection:
        assert [one.channel for one in deliveries.of(connection, operation_id)] == ["email", "log"]


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"scope": ("h9",)}, NotFound, "no host, group, tag or type 'h9'"),
        ({"reason": "  "}, InvalidRequest, "needs a reason"),
        ({"ends_at": 5.0}, InvalidRequest, "ends after it begins"),
        ({"starts_at": 2e9, "ends_at": 1.9e9}, InvalidRequest, "ends after it begins"),
    ],
)
def test_a_freeze_that_makes_no_sense_is_refused(story, change, error, match):
    wanted = {"scope": ("all",), "reason": "audit", "ends_at": None, "starts_at": None, "actor": "ann"}
    with pytest.raises(error, match=match):
        add_freeze(story.world(), **{**wanted, **change})


def test_a_freeze_is_lifted_once(story):
    frozen = add_freeze(story.world(), scope=("all",), reason="audit", ends_at=None, starts_at=None, actor="ann")
    lift_freeze(story.world(), frozen.id, actor="ann")
    with pytest.raises(NotFound):
        lift_freeze(story.world(), frozen.id, actor="ann")


def test_a_freeze_is_lifted_by_the_beginning_of_its_id(story):
    world = story.world()
    frozen = add_freeze(world, scope=("all",), reason="audit", ends_at=None, starts_at=None, actor="ann")
    with pytest.raises(NotFound, match="too short for an id; write at least its first 4"):
        lift_freeze(world, frozen.id[:3], actor="ann")
    assert lift_freeze(world, frozen.id[:4].upper(), actor="ann") == frozen.id
    with story.store.begin() as tx:
        for end in "ab":
            holds.add_freeze(tx, replace(frozen, id=f"1234567{end}"))
    with pytest.raises(Conflict, match="several freezes begin with 1234: 1234567a, 1234567b"):
        lift_freeze(world, "1234", actor="ann")
    assert lift_freeze(world, "1234567b", actor="ann") == "1234567b"
