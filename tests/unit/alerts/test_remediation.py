"""Acknowledging, escalating, mending by itself: all on a handed-in clock."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from opsqueue.alerts.escalation import ack_over, acknowledge, due_steps, take_back
from opsqueue.alerts.remediation import Fleet, decide, settle
from opsqueue.errors import Conflict
from opsqueue.model.alert import AlertState, Kind
from opsqueue.model.alert_rule import AlertRule, EscalationStep

AT = 1_800_000_000.0
STEPS = (EscalationStep(after_s=900, channels=("sms",)), EscalationStep(after_s=3600, channels=("boss",)))
FLEET = Fleet(allowed=("service_restart",))


def a_rule(**policy):
    return AlertRule(
        name="web",
        metric="up",
        op="<",
        threshold=1,
        for_s=0,
        actions=({"action": "run", "type": "service_restart", "parameters": {"service_name": "nginx"}},),
        remediation={"approve": "auto", "require_window": False, **policy},
    )


# Acknowledging and escalating


def test_each_step_is_due_once(firing):
    alert = firing()
    assert due_steps(alert, STEPS, (), AT + 899) == []
    assert due_steps(alert, STEPS, (), AT + 900) == [0]
    assert due_steps(alert, STEPS, (0,), AT + 3599) == []
    assert due_steps(alert, STEPS, (0,), AT + 3600) == [1]
    assert due_steps(alert, STEPS, (0, 1), AT + 99_999) == []


@pytest.mark.parametrize("change", [{"muted_by": ("silence:s",)}, {"flapping": True}, {"state": AlertState.INACTIVE}])
def test_nobody_is_called_for_what_is_not_told(firing, change):
    assert due_steps(replace(firing(), **change), STEPS, (), AT + 99_999) == []


def test_an_acknowledgement_stops_it_and_runs_out(firing):
    known, line = acknowledge(firing(), by="ann", now=AT + 600, comment="on it")
    assert (line.kind, line.actor, line.reason) == (Kind.ACKNOWLEDGED, "ann", "on it")
    assert due_steps(known, STEPS, (), AT + 14_000) == []
    assert ack_over(known, AT + 600 + 14_399) is None
    again, ended = ack_over(known, AT + 600 + 14_400)
    assert ended.kind is Kind.ACK_EXPIRED
    assert due_steps(again, STEPS, (), AT + 15_000 + 899) == [], "it counts anew"
    assert due_steps(again, STEPS, (), AT + 15_000 + 900) == [0]
    assert ack_over(again, AT + 20_000) is None, "it is said once"


def test_an_acknowledgement_that_was_taken_back_does_not_run_out_too(firing):
    known, _ = acknowledge(firing(), by="ann", now=AT + 600)
    again, line = take_back(known, by="bob", now=AT + 700)
    assert (line.kind, line.actor) == (Kind.ACK_TAKEN_BACK, "bob")
    assert ack_over(again, AT + 99_999) is None


def test_there_must_be_something_to_acknowledge(firing):
    with pytest.raises(Conflict, match="does not fire"):
        acknowledge(firing(state="pending"), by="ann", now=AT)


def test_the_end_takes_the_acknowledgement_with_it(watched):
    one = watched(for_s=0)
    one.see(0, 85)
    one.alert, _ = acknowledge(one.alert, by="ann", now=AT + 10)
    one.see(60, 10)
    one.see(120, 85)
    assert not one.alert.acked(AT + 120), "another incident, that nobody has seen"


# Mending


class Loop:
    """A rule that tries, and a service that stays down."""

    def __init__(self, alert, helps=False, **policy):
        self.rule, self.alert, self.attempts, self.helps = a_rule(**policy), alert, [], helps
        self.did = []

    def turn(self, at, window=True, wanting=1, fleet=FLEET):
        now = AT + at
        self.attempts = [
            settle(replace(one, ended_at=one.ended_at or one.at + 60), self.alert, self.rule, now)
            for one in self.attempts
        ]
        found = decide(self.rule, self.alert, self.attempts, wanting=wanting, window_open=window, fleet=fleet, now=now)
        if found.attempt:
            self.attempts.append(found.attempt)
        if not self.did or self.did[-1][1] != found.do:
            self.did.append((at, found.do))
        return found


def test_a_loop_that_does_not_help_ends_at_its_cap(firing):
    """StackStorm #3607, #5075: the same repair again and again. Here it stops, and says that a person must look."""
    loop = Loop(firing(), max_per_hour=60)
    for at in range(0, 86_400, 60):
        loop.turn(at)
    assert [one.state for one in loop.attempts] == ["failed"] * 3
    starts = [one.at - AT for one in loop.attempts]
    assert all(later - earlier >= 1800 + 60 for earlier, later in pairwise(starts)), "the cooldown"
    assert loop.did[-1][1] == "exhausted"
    assert "3 tries of web on h1 in 24 h" in loop.turn(86_000).why
    assert len({one.operation_id for one in loop.attempts}) == 3


def test_the_hourly_cap(firing):
    loop = Loop(firing(), max_per_hour=1, max_per_day=100, cooldown_s=0, verify_within_s=60)
    for at in range(0, 3600, 60):
        loop.turn(at)
    assert len(loop.attempts) == 1
    assert "in 1 h" in loop.turn(3599).why
    assert loop.turn(3600).do == "run"


def test_the_same_try_has_the_same_id(firing):
    """A worker that died between deciding and asking decides the same again."""
    one, two = Loop(firing()).turn(0), Loop(firing()).turn(50)
    assert one.attempt.operation_id == two.attempt.operation_id
    assert Loop(firing(fired=1)).turn(0).attempt.operation_id != one.attempt.operation_id


def test_what_helped_is_known_by_the_same_rule(firing):
    loop = Loop(firing())
    loop.turn(0)
    assert loop.turn(120).do == "wait"
    loop.alert = replace(loop.alert, state=AlertState.INACTIVE)
    loop.turn(180)
    assert [one.state for one in loop.attempts] == ["helped"]


def test_one_whose_operation_failed_did_not_help_and_is_not_waited_for(firing):
    attempt = replace(Loop(firing()).turn(0).attempt, ended_at=AT + 5)
    assert settle(attempt, firing(), a_rule(), AT + 6).state == "running"
    assert settle(attempt, firing(), a_rule(), AT + 6, done=False).state == "failed"
    over = replace(firing(), state=AlertState.INACTIVE)
    assert settle(attempt, over, a_rule(), AT + 6, done=False).state == "helped"


def test_it_is_not_known_before_its_operation_has_ended(firing):
    attempt = Loop(firing()).turn(0).attempt
    over = replace(firing(), state=AlertState.INACTIVE)
    assert settle(attempt, over, a_rule(), AT + 9999).state == "running"


@pytest.mark.parametrize(
    ("change", "more", "do", "why"),
    [
        ({"muted_by": ("silence:s",)}, {}, "wait", "silence:s"),
        ({"muted_by": ("window:night", "silence:s")}, {}, "wait", "it is muted by silence:s"),
        ({"flapping": True}, {}, "wait", "flaps"),
        ({"acked_by": "ann", "acked_until": AT + 999}, {}, "wait", "ann looks"),
        ({"state": AlertState.PENDING}, {}, "nothing", "nothing"),
        ({}, {"fleet": Fleet()}, "nothing", "alerts.remediation.allowed"),
        ({}, {"wanting": 4}, "brake", "common cause"),
    ],
)
def test_when_nothing_is_tried(firing, change, more, do, why):
    loop = Loop(replace(firing(), **change))
    found = loop.turn(0, **more)
    assert (found.do, found.attempt) == (do, None)
    assert why in found.why


def test_a_window_that_keeps_it_quiet_is_no_reason_not_to_mend_it(firing):
    assert Loop(firing(muted_by=("window:night",))).turn(0).do == "run"


def test_it_waits_for_the_window_of_the_host(firing):
    loop = Loop(firing(), require_window=True)
    assert loop.turn(0, window=False).do == "wait"
    assert loop.turn(60, window=True).do == "run"


def test_unless_it_is_told_to_it_only_proposes(firing):
    loop = Loop(firing(), approve="human")
    assert loop.turn(0).do == "propose"
    assert loop.turn(60).do == "wait", "once for each incident"
    assert AlertRule(name="r", metric="m", threshold=1).remediation.approve == "human"


def test_a_dry_run_tries_nothing(firing):
    loop = Loop(firing(), dry_run=True)
    assert loop.turn(0).do == "dry_run"
    assert [one.state for one in loop.attempts] == ["dry_run"]
    assert (again := loop.turn(0)).do == "wait"
    assert again.why == "it was shown as a dry run already"
