"""Rollouts: waves, canaries, where they stop, and hosts that wait for their own windows."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import pytest

from opsqueue.cli.follow import progress
from opsqueue.errors import Conflict
from opsqueue.model.names import TargetState
from opsqueue.model.request import parse_request
from opsqueue.model.rollout import Rollout, count_of
from opsqueue.pipeline.control import add_freeze, cancel, failed_hosts, lift_freeze, once_more
from opsqueue.pipeline.submit import submit
from opsqueue.pipeline.views import why
from opsqueue.store import holds, targets

SIX = ("h1", "h2", "h3", "h4", "h5", "h6")
NIGHT = datetime(2027, 1, 16, 2, 30, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def six_hosts(story):
    machine = type(story.machines["h1"])
    story.machines.update({name: machine() for name in SIX})


def states(shown):
    return {target["host"]: target["status"] for target in shown["targets"]}


@pytest.mark.parametrize(
    ("rollout", "total", "done", "size"),
    [
        ({}, 6, 0, 1),
        ({"batch": 2}, 6, 0, 2),
        ({"batch": "50%"}, 5, 0, 3),
        ({"batch": "1%"}, 5, 0, 1),
        ({"batch": 4, "canary": 1}, 6, 0, 1),
        ({"batch": 4, "canary": 1}, 6, 1, 4),
        ({"batch": 4, "canary": 3}, 6, 2, 1),
    ],
)
def test_the_size_of_the_next_wave(rollout, total, done, size):
    assert Rollout(**rollout).wave(total, done) == size


@pytest.mark.parametrize(("share", "total", "count"), [(1, 10, 1), ("10%", 10, 1), ("11%", 10, 2), ("100%", 3, 3)])
def test_a_share_is_rounded_up(share, total, count):
    assert count_of(share, total) == count
    assert Rollout(stop_at=share).stops(total, total, count)
    assert not Rollout(stop_at=share).stops(total, total, count - 1)


def test_one_failed_canary_is_enough():
    rollout = Rollout(canary=2, stop_at=5)
    assert [rollout.stops(9, tried, 1) for tried in (1, 2, 3)] == [True, True, False]
    assert not rollout.stops(9, 2, 0)


@pytest.mark.parametrize("bad", [0, -1, "0%", "101%", "x", True, 1.5, "1 %"])
def test_what_is_no_share_is_refused(bad):
    with pytest.raises(ValueError, match="number of hosts"):
        Rollout(batch=bad)


def test_hosts_of_a_wave_are_worked_on_at_the_same_time(story):
    both = threading.Barrier(2, timeout=10)
    seen = []
    for name in SIX[:4]:
        story.machines[name].during["set 1"] = lambda name=name: (both.wait(), seen.append(name))
    shown = story.drive(story.ask(systems=SIX[:4], rollout={"batch": 2}))
    assert shown["outcome"] == "succeeded"
    assert [set(seen[:2]), set(seen[2:])] == [{"h1", "h2"}, {"h3", "h4"}]


def test_after_a_canary_the_third_of_six_fails_and_the_rest_is_never_touched(story):
    story.machines["h3"].wrong = True
    shown = story.drive(story.ask(systems=SIX, rollout={"batch": 2, "canary": 1}, retry_count=0))
    assert states(shown) == {
        "h1": "succeeded", "h2": "succeeded", "h3": "rolled_back", "h4": "skipped", "h5": "skipped", "h6": "skipped",
    }  # fmt: skip
    assert shown["outcome"] == "partial"
    assert [story.machines[name].tally for name in SIX[3:]] == [[], [], []]
    assert shown["targets"][3]["problems"] == ["not begun, because it went wrong on h3"]


@pytest.mark.parametrize("away", [("h1",), ("h1", "h2")])
def test_a_host_that_nobody_reaches_is_no_canary(story, away):
    for name in away:
        story.machines[name].reachable = False
    seen = []
    for name in SIX:
        story.machines[name].during["set 1"] = lambda name=name: seen.append((name, _running(story)))
    asked = story.ask(systems=SIX, rollout={"batch": 3, "canary": 1}, retry_count=0)
    shown = story.drive(asked)
    first = next(name for name in SIX if name not in away)
    assert states(shown) == {name: "unreachable" if name in away else "succeeded" for name in SIX}
    assert next(running for name, running in seen if name == first) == {first}


def _running(story):
    with story.store.read() as connection:
        rows = connection.exec_driver_sql("SELECT host FROM targets WHERE state = 'applying'")
        return {row[0] for row in rows}


def test_a_failed_canary_stops_even_where_more_failures_are_allowed(story):
    story.machines["h1"].wrong = True
    shown = story.drive(story.ask(systems=SIX, rollout={"batch": 2, "canary": 1, "stop_at": 4}, retry_count=0))
    assert states(shown) == {"h1": "rolled_back", **dict.fromkeys(SIX[1:], "skipped")}
    assert all(story.machines[name].tally == [] for name in SIX[1:])


def test_a_broken_canary_stops_all(story):
    story.machines["h1"].wrong = True
    shown = story.drive(story.ask(systems=SIX, rollout={"batch": "100%", "canary": 1}, retry_count=0))
    assert [len(story.machines[name].tally) for name in SIX] == [2, 0, 0, 0, 0, 0]
    assert shown["outcome"] == "rolled_back"


@pytest.mark.parametrize(
    ("stop_at", "touched"), [(1, {"h1"}), (2, {"h1", "h2", "h3"}), ("50%", set(SIX)), ("100%", set(SIX)), (7, set(SIX))]
)
def test_it_stops_when_so_many_have_failed(story, stop_at, touched):
    for name in ("h1", "h3", "h5"):
        story.machines[name].wrong = True
    shown = story.drive(story.ask(systems=SIX, rollout={"batch": 2, "stop_at": stop_at}, retry_count=0))
    found = {name for name in SIX if story.machines[name].tally}
    # The other host of the last wave may have been begun before the first was seen to fail.
    assert touched - {"h6"} <= found <= touched | {"h2", "h4"} | ({"h6"} & touched)
    assert shown["outcome"] == ("partial" if found & {"h2", "h4", "h6"} else "rolled_back")


def test_a_wave_larger_than_the_threads_stops_inside_itself(story):
    story.settings |= {"worker": {"side_by_side": 1}}
    story.machines["h2"].wrong = True
    shown = story.drive(story.ask(systems=SIX, rollout={"batch": 6}, retry_count=0))
    assert states(shown)["h3"] == "skipped"
    assert [len(story.machines[name].tally) for name in SIX] == [1, 2, 0, 0, 0, 0]


def test_the_configuration_says_how_unless_the_request_does(story):
    story.settings |= {"rollout": {"batch": 3, "stop_at": 5, "types": {"redo_value": {"canary": 2}}}}
    assert story.raw(story.ask(systems=SIX)).rollout == {"batch": 3, "canary": 0, "stop_at": 5}
    assert story.raw(story.ask("redo_value")).rollout == {"batch": 1, "canary": 2, "stop_at": 1}
    assert story.raw(story.ask(rollout={"batch": "10%"})).rollout == {"batch": "10%", "canary": 0, "stop_at": 5}


def test_the_unreachable_of_a_wave_wait_while_the_others_are_done(story):
    operation_id = story.ask(systems=SIX[:3], rollout={"batch": 3}, retry_count=1)
    for _ in range(2):
        story.step(operation_id)
    story.machines["h2"].reachable = False
    story.step(operation_id)
    assert states(story.show(operation_id)) == {"h1": "succeeded", "h2": "pending", "h3": "succeeded"}
    story.machines["h2"].reachable = True
    assert story.drive(operation_id)["outcome"] == "succeeded"
    assert [story.machines[name].tally for name in SIX[:3]] == [["set 1"]] * 3


def test_a_worker_that_dies_in_a_wave_leaves_no_host_to_be_done_twice(story):
    story.machines["h2"].crash_after = "set 1"
    story.machines["h3"].crash_before = "set 1"
    shown = story.drive(story.ask(systems=SIX, rollout={"batch": 3, "stop_at": 6}, retry_count=0))
    for name in SIX:
        assert len(story.machines[name].tally) == len(set(story.machines[name].tally)), name
    assert states(shown) == {
        "h1": "succeeded", "h2": "succeeded", "h3": "failed", "h4": "succeeded", "h5": "succeeded", "h6": "succeeded",
    }  # fmt: skip


def windows(**by_host):
    return {"maintenance_windows": {host: {"spec": spec, "hosts": [host]} for host, spec in by_host.items()}}


def test_hosts_whose_window_is_open_go_and_the_others_wait(story):
    story.settings |= windows(h2="02:00-04:00", h3="Sunday 02:00-04:00")
    operation_id = story.ask(systems=("h1", "h2", "h3"))
    shown = story.drive(operation_id)
    assert states(shown) == {"h1": "succeeded", "h2": "pending", "h3": "pending"}
    assert (shown["status"], shown["waits_for"]) == ("waiting", ["maintenance_window"])
    assert shown["due_at"] == "2027-01-16T02:00:00.000Z"
    with story.store.read() as connection:  # while it waits it keeps nobody from anything
        assert not holds.running(connection, "nobody")
        assert not holds.lock_holders(connection, ["h1", "h2", "h3"], "nobody")
    story.clock.at = NIGHT
    shown = story.drive(operation_id)
    assert states(shown) == {"h1": "succeeded", "h2": "succeeded", "h3": "pending"}
    assert shown["due_at"] == "2027-01-17T02:00:00.000Z"
    story.clock.at = NIGHT + 86_400
    shown = story.drive(operation_id)
    assert (shown["outcome"], shown["stage"]) == ("succeeded", "closed")
    assert [story.machines[name].tally for name in SIX[:3]] == [["set 1"]] * 3


def test_a_window_that_closes_between_two_waves_lets_the_other_hosts_go_on(story):
    story.settings |= windows(h1="02:00-04:00", h2="02:00-04:00")
    story.clock.at = NIGHT
    story.machines["h1"].during["set 1"] = lambda: setattr(story.clock, "at", NIGHT + 6000)
    operation_id = story.ask(systems=("h1", "h2", "h3"), timeout=9000)
    shown = story.drive(operation_id)
    assert states(shown) == {"h1": "succeeded", "h2": "pending", "h3": "succeeded"}
    story.clock.at = NIGHT + 86_400
    assert story.drive(operation_id)["outcome"] == "succeeded"


def test_hosts_that_wait_are_not_locked_and_are_taken_when_their_window_opens(story):
    story.settings |= windows(h2="02:00-04:00")
    first = story.ask(systems=("h1", "h2"))
    story.drive(first)
    assert story.drive(story.ask(systems=("h1",), parameters={"to": 4}))["outcome"] == "succeeded"
    story.clock.at = NIGHT
    with story.store.begin() as tx:
        assert holds.take(tx, "another", hosts=["h2"], limits={}, now=0)
    assert story.drive(first, steps=3)["waits_for"] == ["host_lock"]
    with story.store.begin() as tx:
        holds.release(tx, "another")
    assert story.drive(first)["outcome"] == "succeeded"


def test_cancelled_while_some_hosts_wait_it_is_partial_and_says_who_was_not_begun(story):
    story.settings |= windows(h2="02:00-04:00")
    operation_id = story.ask(systems=("h1", "h2"))
    story.drive(operation_id)
    cancel(story.world(), operation_id, actor="ann", reason="enough")
    shown = story.drive(operation_id)
    assert (shown["outcome"], states(shown)) == ("partial", {"h1": "succeeded", "h2": "skipped"})
    assert shown["stage"] == "closed"


def test_a_freeze_between_two_waves_gives_back_slot_and_locks(story):
    world, frozen = story.world(), []

    def freeze():
        frozen.append(add_freeze(world, scope=("all",), reason="audit", ends_at=None, starts_at=None, actor="ann"))

    story.machines["h1"].during["set 1"] = freeze
    operation_id = story.ask(systems=SIX[:4], rollout={"batch": 2})
    shown = story.drive(operation_id)
    assert (shown["stage"], shown["waits_for"]) == ("window", ["freeze"])
    with story.store.read() as connection:
        assert not holds.running(connection, "nobody")
        assert not holds.lock_holders(connection, list(SIX), "nobody")
    lift_freeze(world, frozen[0].id, actor="ann")
    shown = story.drive(operation_id)
    assert states(shown) == dict.fromkeys(SIX[:4], "succeeded")
    assert [story.machines[name].tally for name in SIX[:4]] == [["set 1"]] * 4


def test_answers_of_many_hosts_are_kept_as_they_come_and_outlive_a_crash(story):
    story.settings |= {"worker": {"side_by_side": 2}}
    story.machines["h5"].while_asked[1] = lambda: setattr(story.clock, "at", story.clock.at + 1)
    story.machines["h6"].while_asked[1] = lambda: (time.sleep(0.3), story.crash())
    shown = story.drive(story.ask("look_value", systems=SIX))
    assert [story.machines[name].asked for name in SIX] == [1, 1, 1, 1, 1, 2]
    assert shown["outcome"] == "succeeded"


def test_a_host_whose_answers_nobody_can_judge_fails_alone(story):
    story.machines["h2"].value = None
    shown = story.drive(story.ask("look_value", systems=("h1", "h2", "h3")))
    assert states(shown) == {"h1": "succeeded", "h2": "failed", "h3": "succeeded"}
    assert "a fault of ours" in shown["targets"][1]["problems"][0]


def test_a_looking_operation_that_is_cancelled_in_the_middle_asks_no_more_hosts(story):
    def meanwhile():
        cancel(story.world(), operation_id, actor="ann", reason="enough")
        story.clock.at += 1

    story.settings |= {"worker": {"side_by_side": 1}}
    operation_id = story.ask("look_value", systems=SIX)
    story.machines["h2"].while_asked[1] = meanwhile
    story.machines["h3"].while_asked[1] = lambda: time.sleep(0.3)
    shown = story.drive(operation_id)
    assert (shown["outcome"], states(shown)["h1"], states(shown)["h6"]) == ("partial", "succeeded", "skipped")
    assert story.machines["h6"].asked == 0


def test_a_looking_operation_does_not_begin_hosts_after_its_time(story):
    story.settings |= {"worker": {"side_by_side": 1}}
    story.machines["h1"].while_asked[1] = lambda: setattr(story.clock, "at", story.clock.at + 61)
    shown = story.drive(story.ask("look_value", systems=("h1", "h2"), timeout=60))
    assert states(shown) == {"h1": "succeeded", "h2": "skipped"}
    assert shown["targets"][1]["problems"] == ["not begun within the operation's 60 s"]


def test_only_the_hosts_that_failed_are_tried_again(story):
    story.machines["h2"].wrong = True
    first = story.ask(systems=SIX[:4], retry_count=0, rollout={"batch": 2}, reason="friday")
    with story.store.read() as connection, pytest.raises(Conflict, match="goes on"):
        failed_hosts(story.raw(first), targets.of(connection, first))
    assert states(story.drive(first)) == {
        "h1": "succeeded", "h2": "rolled_back", "h3": "skipped", "h4": "skipped",
    }  # fmt: skip
    with story.store.read() as connection:
        hosts = failed_hosts(story.raw(first), targets.of(connection, first))
    assert hosts == ("h2", "h3", "h4")
    story.machines["h2"].wrong = False
    story.machines["h2"].tally.clear()
    again = submit(story.world(), parse_request(once_more(story.raw(first), hosts))).id
    assert story.drive(again)["outcome"] == "succeeded"
    assert [story.machines[name].tally for name in SIX[:4]] == [["set 1"]] * 4
    with story.store.read() as connection, pytest.raises(Conflict, match="nothing to try again"):
        failed_hosts(story.raw(again), targets.of(connection, again))


def test_how_many_hosts_are_done_can_be_counted_while_they_are_worked_on(story):
    counted = []

    def look():
        with story.store.read() as connection:
            counted.append(targets.counts(connection, operation_id))

    story.machines["h3"].during["set 1"] = look
    operation_id = story.ask(systems=SIX)
    story.drive(operation_id)
    assert counted[0][TargetState.SUCCEEDED] == 2
    assert progress(counted[0]) == "2 of 6 hosts"
    assert progress({TargetState.FAILED: 1, TargetState.PENDING: 3}) == "1 of 4 hosts, 1 failed"
    assert progress({TargetState.PENDING: 1}) == ""


@pytest.fixture
def over_ssh(story):
    story.connector = "ssh"
    story.machines["h2"].trusted = False
    return story


def test_looking_goes_on_without_a_host_that_shows_another_key(over_ssh):
    shown = over_ssh.drive(over_ssh.ask("look_value", systems=SIX[:3]))
    assert states(shown) == {"h1": "succeeded", "h2": "failed", "h3": "succeeded"}
    assert (shown["outcome"], over_ssh.machines["h2"].asked) == ("partial", 0)
    assert "opsqueue hosts trust" in shown["targets"][1]["problems"][0]
    assert shown["targets"][1]["attempts"] == 1


def test_nothing_is_changed_while_one_host_shows_another_key(over_ssh):
    operation_id = over_ssh.ask(systems=SIX[:3])
    shown = over_ssh.drive(operation_id)
    assert states(shown) == {"h1": "skipped", "h2": "failed", "h3": "skipped"}
    assert over_ssh.results(operation_id)[0] == ("verify", "failed")
    assert all(not over_ssh.machines[name].tally for name in SIX)


def test_a_host_that_shows_another_key_in_mid_rollout_fails_and_stops_the_rest(story):
    story.connector = "ssh"
    story.machines["h1"].during["set 1"] = lambda: setattr(story.machines["h2"], "trusted", False)
    shown = story.drive(story.ask(systems=SIX[:3]))
    assert states(shown) == {"h1": "succeeded", "h2": "failed", "h3": "skipped"}
    assert story.machines["h2"].tally == []


def test_looking_at_hosts_of_which_none_shows_its_key_fails_at_verify(over_ssh):
    operation_id = over_ssh.ask("look_value", systems=("h2",))
    assert over_ssh.drive(operation_id)["outcome"] == "failed"
    assert over_ssh.results(operation_id)[0] == ("verify", "failed")


def test_a_host_that_is_down_at_verify_does_not_hold_up_those_that_are_looked_at(story):
    story.connector = "ssh"
    story.machines["h2"].reachable = False
    shown = story.drive(story.ask("look_value", systems=SIX[:3], retry_count=0))
    assert states(shown) == {"h1": "succeeded", "h2": "unreachable", "h3": "succeeded"}


def test_a_host_that_left_the_inventory_meanwhile_fails_alone(story):
    operation_id = story.ask(systems=SIX[:3], rollout={"stop_at": 3})
    for _ in range(2):
        story.step(operation_id)
    gone = story.machines.pop("h2")
    shown = story.drive(operation_id)
    assert states(shown) == {"h1": "succeeded", "h2": "failed", "h3": "succeeded"}
    assert shown["targets"][1]["problems"] == ["h2 is not in the inventory any more"]
    assert (shown["stage"], gone.tally) == ("closed", [])


def test_a_host_that_is_not_trusted_has_its_reason_wherever_one_looks(story):
    story.machines["h2"].trusted = False
    shown = story.drive(story.ask(systems=("h1", "h2")))
    assert shown["outcome"] == "failed"
    problems = {target["host"]: target["problems"] for target in shown["targets"]}
    assert problems == {"h1": [], "h2": ["no key is pinned: `opsqueue hosts trust`"]}
    assert [(one["who"], one["verdict"]) for one in why(shown)] == [("verify", "failed"), ("h2", "failed")]
    assert all("no key is pinned: `opsqueue hosts trust`" in one["why"] for one in why(shown))
    (finding,) = [one for one in shown["findings"] if one["host"] == "h2"]
    assert finding["message"] == "no key is pinned: `opsqueue hosts trust`"


def test_what_nobody_knows_is_tried_again_only_after_a_person_looked(story):
    story.machines["h1"].wrong = True
    story.machines["h1"].breaks = {"back 0"}
    asked = story.ask(systems=("h1", "h2"), retry_count=0)
    assert states(story.drive(asked))["h1"] == "unknown"

    def to_try():
        with story.store.read() as connection:
            return failed_hosts(story.raw(asked), targets.of(connection, asked))

    with pytest.raises(Conflict, match="nobody knows how h1 stands"):
        to_try()
    cancel(story.world(), asked, actor="ann", reason="looked: it was put right by hand")
    story.drive(asked)
    assert to_try() == ("h1", "h2")
