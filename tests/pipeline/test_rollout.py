"""Many hosts, second tries, hosts that change or cannot be reached: what is sent, and how it ends."""

from __future__ import annotations

import pytest

from opsqueue.pipeline.control import add_freeze, cancel, lift_freeze

THREE = ("h1", "h2", "h3")


def states(shown):
    return {target["host"]: target["status"] for target in shown["targets"]}


def until(story, operation_id, stage):
    while story.raw(operation_id).stage != stage:
        story.step(operation_id)


def test_hosts_are_changed_one_after_the_other(story):
    order = []
    for name in THREE:
        machine = story.machines[name]
        machine.during["set 1"] = lambda name=name: order.append((name, [story.machines[n].value for n in THREE]))
    shown = story.drive(story.ask(systems=THREE))
    assert shown["outcome"] == "succeeded"
    assert order == [("h1", [0, 0, 0]), ("h2", [1, 0, 0]), ("h3", [1, 1, 0])]


def test_a_failure_stops_the_rest_and_says_so(story):
    story.machines["h2"].breaks = {"set 1"}
    shown = story.drive(story.ask(systems=THREE, retry_count=0))
    assert states(shown) == {"h1": "succeeded", "h2": "failed", "h3": "skipped"}
    assert shown["targets"][2]["problems"] == ["not begun, because it went wrong on h2"]
    assert (shown["outcome"], story.machines["h3"].tally) == ("partial", [])
    assert "it broke" in shown["targets"][1]["problems"][0]


def test_a_host_that_does_not_come_out_right_is_rolled_back_and_tried_again_then_given_up(story):
    machine = story.machines["h1"]
    machine.wrong = True
    began = story.clock.at
    shown = story.drive(story.ask(retry_count=2))
    assert machine.tally == ["set 1", "back 0"] * 3
    assert (shown["outcome"], shown["targets"][0]["attempts"], machine.value) == ("rolled_back", 3, 0)
    assert [result for _, result in story.results(shown["operation_id"])].count("retrying") == 2
    assert story.clock.at - began == 2 + 4
    assert shown["targets"][0]["problems"] == ["the value is -1"]


@pytest.mark.parametrize("name", ["set_value", "redo_value"])
def test_an_answer_that_was_cut_off_says_nothing_of_the_host_and_is_asked_for_anew(story, name):
    machine = story.machines["h1"]
    machine.cut = {3}
    shown = story.drive(story.ask(name))
    assert (shown["outcome"], machine.tally) == ("succeeded", ["set 1"])
    assert machine.asked == 5  # at verify, at execute, twice after it, at collect


class Odd:
    """What no type foresaw."""

    def __eq__(self, other):
        raise ValueError("odd")

    __hash__ = None


@pytest.mark.parametrize(("at", "state", "told"), [(2, "failed", []), (3, "unknown", ["set 1"])])
def test_an_answer_that_nobody_foresaw_is_a_matter_of_its_host_alone(story, at, state, told):
    machine = story.machines["h2"]
    machine.while_asked[at] = lambda: setattr(machine, "value", Odd())
    shown = story.drive(story.ask(systems=THREE, rollout={"stop_at": 3}))
    assert states(shown) == {"h1": "succeeded", "h2": state, "h3": "succeeded"}
    assert shown["targets"][1]["problems"] == ["a fault of ours, ValueError: odd"]
    assert (machine.tally, machine.asked) == (told, at + 3)


def test_without_retries_it_is_rolled_back_at_once(story):
    story.machines["h1"].wrong = True
    shown = story.drive(story.ask(retry_count=0))
    assert story.machines["h1"].tally == ["set 1", "back 0"]
    assert shown["outcome"] == "rolled_back"


def test_a_type_that_may_be_redone_is_rolled_back_only_after_its_last_try(story):
    machine = story.machines["h1"]
    machine.breaks = {"set 2"}
    shown = story.drive(story.ask("redo_value", parameters={"to": 2, "steps": 2}, retry_count=2))
    assert machine.tally[-1] == "back 0"
    assert machine.tally.count("set 2") == 3
    assert machine.tally.count("back 0") == 1
    assert (shown["outcome"], machine.value) == ("rolled_back", 0)


def test_a_second_try_that_works_is_a_success(story):
    machine = story.machines["h1"]
    machine.breaks = {"set 1"}
    operation_id = story.ask("redo_value")
    for _ in range(3):
        story.step(operation_id)
    assert story.results(operation_id)[-1] == ("execute", "retrying")
    machine.breaks = set()
    shown = story.drive(operation_id)
    assert (shown["outcome"], shown["targets"][0]["attempts"]) == ("succeeded", 2)
    assert machine.tally == ["set 1", "set 1"]


def test_a_host_that_came_right_between_two_tries_is_no_unchanged_host(story):
    machine = story.machines["h1"]
    machine.wrong = True
    operation_id = story.ask("redo_value")
    for _ in range(3):
        story.step(operation_id)
    machine.value = 1
    shown = story.drive(operation_id)
    assert machine.tally == ["set 1"]
    assert (shown["outcome"], states(shown)) == ("succeeded", {"h1": "succeeded"})


def test_a_second_try_that_is_refused_does_not_leave_what_the_first_one_left(story):
    machine = story.machines["h1"]
    machine.wrong = True
    operation_id = story.ask("redo_value")
    for _ in range(3):
        story.step(operation_id)
    machine.value = 13  # which the type objects to
    shown = story.drive(operation_id)
    assert machine.tally == ["set 1", "back 0"]
    assert (shown["outcome"], machine.value) == ("rolled_back", 0)
    assert "the value is cursed" in shown["targets"][0]["problems"]


def test_as_many_tries_as_were_asked_for_are_made(story):
    machine = story.machines["h1"]
    machine.breaks = {"set 1"}
    shown = story.drive(story.ask("redo_value", retry_count=12, timeout=9000))
    assert machine.tally == ["set 1"] * 13
    assert shown["outcome"] == "failed"


def test_rollback_that_is_switched_off_leaves_the_host_as_it_is_and_fails(story):
    machine = story.machines["h1"]
    machine.wrong = True
    shown = story.drive(story.ask(rollback_enabled=False, retry_count=0))
    assert (shown["outcome"], machine.tally) == ("failed", ["set 1"])


def test_a_rollback_that_does_not_lead_back_is_unknown_and_stays_open(story):
    machine = story.machines["h1"]
    machine.wrong = True
    machine.breaks = {"back 0"}
    shown = story.drive(story.ask(retry_count=3))
    assert (shown["outcome"], shown["stage"], shown["status"]) == ("unknown", "notify", "waiting")
    assert machine.tally == ["set 1", "back 0"]
    assert shown["targets"][0]["problems"][-1] == "it is not as it was"


def test_an_unreachable_host_is_tried_again_and_is_not_failed(story):
    story.machines["h2"].reachable = False
    operation_id = story.ask(systems=THREE)
    began = story.clock.at
    shown = story.drive(operation_id)
    assert states(shown) == {"h1": "succeeded", "h2": "unreachable", "h3": "succeeded"}
    assert shown["outcome"] == "partial"
    assert story.results(operation_id)[:3] == [("verify", "retrying"), ("verify", "retrying"), ("verify", "passed")]
    assert story.clock.at - began == 2 + 4
    assert shown["findings"][0]["code"] == "unreachable"


def test_a_host_that_comes_back_is_planned_and_changed(story):
    story.machines["h2"].reachable = False
    operation_id = story.ask(systems=["h1", "h2"])
    story.step(operation_id)
    story.machines["h2"].reachable = True
    shown = story.drive(operation_id)
    assert (shown["outcome"], story.machines["h2"].tally) == ("succeeded", ["set 1"])


def test_no_reachable_host_is_a_failure_with_six_stages(story):
    story.machines["h1"].reachable = False
    operation_id = story.ask(retry_count=1)
    shown = story.drive(operation_id)
    assert shown["outcome"] == "failed"
    assert story.results(operation_id)[-5:-1] == [(s, "skipped") for s in ("window", "execute", "collect", "analyze")]
    assert "no target can be reached" in story.show(operation_id)["stages"][1]["why"]


def test_a_host_that_goes_away_in_mid_rollout_is_unreachable_and_the_rest_goes_on(story):
    story.machines["h1"].during["set 1"] = lambda: setattr(story.machines["h2"], "reachable", False)
    shown = story.drive(story.ask(systems=THREE))
    assert states(shown) == {"h1": "succeeded", "h2": "unreachable", "h3": "succeeded"}
    assert [story.machines[name].tally for name in THREE] == [["set 1"], [], ["set 1"]]


def test_a_changed_host_that_goes_away_before_its_second_try_has_failed(story):
    machine = story.machines["h1"]
    machine.breaks = {"set 2"}
    operation_id = story.ask("redo_value", systems=["h1", "h2"], parameters={"to": 2, "steps": 2}, retry_count=1)
    for _ in range(3):
        story.step(operation_id)
    machine.reachable = False
    shown = story.drive(operation_id)
    assert states(shown) == {"h1": "failed", "h2": "skipped"}
    assert shown["outcome"] == "failed"


def test_looking_retries_the_unreachable_only(story):
    story.machines["h2"].reachable = False
    shown = story.drive(story.ask("look_value", systems=THREE))
    assert states(shown) == {"h1": "succeeded", "h2": "unreachable", "h3": "succeeded"}
    assert [story.machines[name].asked for name in THREE] == [1, 0, 1]
    assert shown["outcome"] == "partial"
    assert shown["targets"][1]["attempts"] == 4


def test_a_host_that_changed_since_its_plan_is_planned_anew_and_everybody_is_asked_again(story):
    asked = []

    class Witness:
        name = "witness"

        def ask(self, kind, context):
            asked.append((context["digest"], context["plans"]))
            return {"overall_status": "PASSED"}

    story.coordinators = (Witness(),)
    operation_id = story.ask(parameters={"to": 5, "steps": 1})
    until(story, operation_id, "execute")
    first = story.show(operation_id)["digest"]
    story.machines["h1"].value = 5
    shown = story.drive(operation_id)
    assert ("execute", "replanned") in story.results(operation_id)
    assert len(asked) == 2
    assert asked[0][0] == first != asked[1][0] == shown["digest"]
    assert (shown["outcome"], story.machines["h1"].tally) == ("unchanged", [])


def replanned_after_h1(story, change, **more):
    """h1 was changed; h2 is found otherwise than planned, so that all is planned anew."""
    story.machines["h1"].during["set 2"] = lambda: change(story.machines["h2"])
    operation_id = story.ask(systems=["h1", "h2"], parameters={"to": 2, "steps": 1}, **more)
    return operation_id, story.drive(operation_id)


def test_planned_anew_no_host_gets_its_plan_twice(story):
    operation_id, shown = replanned_after_h1(story, lambda machine: setattr(machine, "value", 2))
    assert ("execute", "replanned") in story.results(operation_id)
    assert states(shown) == {"h1": "succeeded", "h2": "unchanged"}
    assert story.machines["h1"].tally == ["set 2"]


def test_planned_anew_while_a_host_is_away_the_done_ones_stay_done(story):
    machine = story.machines["h3"]

    def change():
        story.machines["h2"].value = 2
        machine.reachable = False

    story.machines["h1"].during["set 2"] = change
    operation_id = story.ask(systems=THREE, parameters={"to": 2, "steps": 1})
    for _ in range(4):
        story.step(operation_id)
    assert story.results(operation_id)[-2:] == [("execute", "replanned"), ("verify", "retrying")]
    assert states(story.show(operation_id)) == {"h1": "succeeded", "h2": "pending", "h3": "pending"}
    story.machines["h1"].value = 7  # whatever happens to it now is no matter of this operation
    machine.reachable = True
    shown = story.drive(operation_id)
    assert states(shown) == {"h1": "succeeded", "h2": "unchanged", "h3": "succeeded"}
    assert story.machines["h1"].tally == ["set 2"]


def test_planned_anew_and_refused_the_done_ones_stay_done(story):
    _, shown = replanned_after_h1(story, lambda machine: setattr(machine, "value", 13))
    assert states(shown) == {"h1": "succeeded", "h2": "failed"}
    assert shown["outcome"] == "partial"


@pytest.mark.parametrize("how", ["coordinator", "cancel"])
def test_planned_anew_and_stopped_nobody_is_told_that_nothing_was_done(story, how):
    class Second:
        name = "second-thoughts"
        asked = 0

        def ask(self, kind, context):
            self.asked += 1
            return {"overall_status": "FAILED" if self.asked > 1 and how == "coordinator" else "PASSED"}

    story.coordinators = (Second(),)

    def change(machine):
        machine.value = 2
        if how == "cancel":
            machine.value = 1
            cancel(story.world(), operation_ids[0], actor="ann", reason="enough")

    operation_ids = []
    story.machines["h1"].during["set 2"] = lambda: change(story.machines["h2"])
    operation_ids.append(story.ask(systems=["h1", "h2"], parameters={"to": 2, "steps": 1}))
    shown = story.drive(operation_ids[0])
    assert shown["outcome"] == "partial"
    assert states(shown)["h1"] == "succeeded"


def test_a_precondition_that_fails_at_verify_fails_and_sends_nothing(story):
    story.machines["h2"].value = 13
    operation_id = story.ask(systems=["h1", "h2"])
    shown = story.drive(operation_id)
    assert states(shown) == {"h1": "skipped", "h2": "failed"}
    assert shown["outcome"] == "failed"
    assert "h2: the value is cursed" in shown["stages"][0]["why"]
    assert [stage["stage"] for stage in shown["stages"]] == [
        "verify",
        "window",
        "execute",
        "collect",
        "analyze",
        "notify",
    ]


def test_a_freeze_in_mid_rollout_holds_the_rest_and_lifting_it_goes_on(story):
    world, frozen = story.world(), []

    def freeze():
        frozen.append(add_freeze(world, scope=("h2",), reason="audit", ends_at=None, starts_at=None, actor="ann"))

    story.machines["h1"].during["set 1"] = freeze
    operation_id = story.ask(systems=THREE)
    shown = story.drive(operation_id)
    assert states(shown) == {"h1": "succeeded", "h2": "pending", "h3": "pending"}
    assert (shown["status"], shown["waits_for"], shown["due_at"]) == ("waiting", ["freeze"], None)
    assert any("audit" in verdict["why"] for verdict in shown["verdicts"])
    story.clock.at += 7200  # longer than the operation's own time limit, which is for work
    story.nudges.clear()
    lift_freeze(world, frozen[0].id, actor="ann")
    assert [nudged for nudged, _ in story.nudges] == [operation_id]
    assert states(story.drive(operation_id)) == dict.fromkeys(THREE, "succeeded")
    assert [story.machines[name].tally for name in THREE] == [["set 1"]] * 3


def test_a_freeze_that_is_lifted_while_the_hold_is_written_is_not_waited_for(story):
    world, real = story.world(), story.store
    frozen = add_freeze(world, scope=("all",), reason="audit", ends_at=None, starts_at=None, actor="ann")
    operation_id = story.ask()
    with real.begin() as tx:
        tx.exec_driver_sql("UPDATE freezes SET starts_at = starts_at + 1000")
    until(story, operation_id, "execute")
    with real.begin() as tx:
        tx.exec_driver_sql("UPDATE freezes SET starts_at = starts_at - 1000")
    writes = []

    class Meddled:
        def begin(self, *, lasting=True):
            writes.append(1)
            if len(writes) == 2:  # the lease is taken, the freeze was seen; now the hold is to be written
                lift_freeze(story_world, frozen.id, actor="ann")
            return real.begin()

        def __getattr__(self, name):
            return getattr(real, name)

    story_world = story.world()
    story.store = Meddled()
    story.step(operation_id)
    story.store = real
    assert len(writes) == 2
    assert story.drive(operation_id)["outcome"] == "succeeded"


def test_a_host_that_is_begun_too_late_is_skipped(story):
    story.machines["h1"].during["set 1"] = lambda: setattr(story.clock, "at", story.clock.at + 70)
    shown = story.drive(story.ask(systems=["h1", "h2"], timeout=60))
    assert states(shown) == {"h1": "succeeded", "h2": "skipped"}
    assert shown["targets"][1]["problems"] == ["not begun within the operation's 60 s"]
    assert shown["outcome"] == "partial"


def test_a_host_that_never_keeps_still_fails_instead_of_being_planned_for_ever(story):
    class Restless(type(story.machines["h1"])):
        """Another state at every look."""

        @property
        def value(self):
            return 1 if self.asked % 2 else 0

        @value.setter
        def value(self, _value):
            pass

    story.machines["h1"] = Restless()
    shown = story.drive(story.ask())
    assert (shown["outcome"], story.machines["h1"].tally) == ("failed", [])
    assert sum(stage["result"] == "replanned" for stage in shown["stages"]) == 5
    assert "something else keeps changing it" in shown["targets"][0]["problems"][0]


def test_a_denied_operation_says_that_no_target_was_begun(story):
    class No:
        name = "no"

        def ask(self, kind, context):
            return {"overall_status": "FAILED", "reason": "no"}

    story.coordinators = (No(),)
    shown = story.drive(story.ask())
    assert shown["outcome"] == "denied"
    assert [(t["status"], t["problems"]) for t in shown["targets"]] == [
        ("skipped", ["not begun: the operation was denied"])
    ]


def test_a_command_whose_connection_was_lost_is_judged_only_when_it_has_ended(story):
    machine = story.machines["h1"]
    machine.lost = {"set 2"}
    operation_id = story.ask(parameters={"to": 3, "steps": 3})
    for _ in range(5):
        story.clock.at = max(story.clock.at, story.raw(operation_id).due_at)
        story.step(operation_id)
    assert story.results(operation_id)[-1] == ("execute", "looking")
    assert (machine.tally, machine.value) == (["set 1", "set 2"], 1)
    machine.running.clear()
    shown = story.drive(operation_id)
    assert machine.tally == ["set 1", "set 2", "back 0"]
    assert (shown["outcome"], shown["targets"][0]["steps"][1]["exit_code"]) == ("rolled_back", None)
