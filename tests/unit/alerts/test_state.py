"""The state machine beside the words of Prometheus: for, keep_firing_for, and what a restart does to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsqueue.alerts.flapping import change, flaps, remember
from opsqueue.alerts.state import Limits, begin, end, step
from opsqueue.alerts.statistics import reckon
from opsqueue.alerts.threshold import clear_of, fires, still
from opsqueue.model.alert import AlertState, Kind, Observation
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.names import Severity

AT = 1_800_000_000.0


# Line 1: for


def test_it_is_pending_until_it_held_for_its_time(watched):
    """Prometheus: an alert is pending until `for` has passed since the first evaluation in which it was active."""
    one = watched(for_s=300)
    assert one.every_minute([79, 85, 85, 85, 85, 85, 85, 70]) == [
        "inactive",
        *["pending"] * 5,
        "firing",
        "inactive",
    ]
    assert one.kinds == ["pending", "firing", "resolved"]
    assert one.lines[1].at == AT + 360


def test_a_single_false_evaluation_begins_the_time_anew(watched):
    one = watched(for_s=120)
    assert one.every_minute([85, 85, 70, 85, 85, 85]) == [
        "pending",
        "pending",
        "inactive",
        "pending",
        "pending",
        "firing",
    ]
    assert one.kinds == ["pending", "dropped", "pending", "firing"]


@pytest.mark.parametrize(("every", "fires"), [(0, 900), (300, 600)])
def test_numbers_that_come_rarely_are_no_downtimes(watched, every, fires):
    """Every five minutes; known from the schedule, or after the second one."""
    one = watched(for_s=600)
    states = {at: one.see(at, 85, every=every) for at in range(0, 3600, 300)}
    assert min(at for at, state in states.items() if state == "firing") == fires
    assert one.kinds == ["pending", "firing"]


def test_for_zero_fires_at_once(watched):
    one = watched(for_s=0)
    assert one.see(0, 85) == "firing"
    assert one.kinds == ["firing"]


# Line 2: keep_firing_for


def test_it_is_kept_firing_over_a_short_pause(watched):
    """Prometheus: keep_firing_for counts from the first evaluation in which it was not active any more."""
    one = watched(for_s=0, keep_firing_for_s=180)
    assert one.every_minute([85, 10, 10, 85, 10, 10, 10, 10]) == ["firing"] * 7 + ["inactive"]
    assert one.kinds == ["firing", "resolved"], "the same incident all the while"


def test_a_pending_alert_is_never_kept(watched):
    one = watched(for_s=300, keep_firing_for_s=3600)
    assert one.every_minute([85, 85, 10]) == ["pending", "pending", "inactive"]


# Line 3: another `for`


def test_a_longer_for_puts_a_firing_alert_back_and_a_shorter_one_fires(watched):
    one = watched(for_s=60)
    assert one.every_minute([85, 85]) == ["pending", "firing"]
    first = one.alert.incident
    one.rule = one.rule.model_copy(update={"for_s": 600})
    assert one.see(180, 85) == "pending"
    one.rule = one.rule.model_copy(update={"for_s": 120})
    assert one.see(240, 85) == "firing"
    assert one.alert.incident != first, "it is told as new"
    assert one.kinds == ["pending", "firing", "resolved", "pending", "firing"]
    assert one.lines[2].incident == first


# Line 4: restart


@pytest.mark.parametrize(
    ("for_s", "held", "down", "fires_after"),
    [
        # more than the grace is left: it is shifted by the downtime
        (3600, 600, 1800, 3000),
        # less than the grace would be left: it waits the grace
        (3600, 3540, 1800, 600),
        # `for` is shorter than the grace: Prometheus does not restore such an alert, it waits its `for` anew
        (300, 240, 1800, 300),
        # the downtime is longer than the tolerance: it starts anew
        (3600, 600, 3601, 3600),
    ],
)
def test_a_restart_keeps_since_when_it_was_active(watched, for_s, held, down, fires_after):
    """Prometheus, RestoreForState: outage tolerance 1 h, for-grace-period 10 m."""
    one = watched(for_s=for_s)
    for at in range(0, held + 1, 60):
        assert one.see(at, 85) == "pending"
    back = held + down
    states = [(at, one.see(back + at, 85)) for at in range(0, fires_after + 60, 60)]
    assert next(at for at, state in states if state == "firing") == fires_after


def test_a_firing_alert_goes_on_after_a_restart_within_the_tolerance(watched):
    one = watched(for_s=60)
    one.every_minute([85, 85])
    incident = one.alert.incident
    assert one.see(60 + 3600, 85) == "firing"
    assert one.alert.incident == incident
    assert one.see(60 + 3600 + 3601, 85) == "pending", "nobody knows whether it lasted: anew, as Prometheus"


def test_a_firing_that_nobody_saw_go_on_is_over_in_the_figures(watched):
    """Else its incident would be open for ever, and with it each later one of the host."""
    one = watched(for_s=60)
    one.every_minute([85, 85])
    one.every_minute([85, 85, 10], start=60 + 3601)
    assert one.kinds == ["pending", "firing", "resolved", "pending", "firing", "resolved"]
    assert (reckon(one.lines).fired, reckon(one.lines).open) == (2, 0)


def test_a_usual_pause_between_samples_is_no_restart(watched):
    one = watched(for_s=300)
    assert [one.see(at, 85) for at in (0, 150, 300)] == ["pending", "pending", "firing"]


# Line 5: hysteresis, and the boundary


@pytest.mark.parametrize(
    ("op", "value", "wanted"),
    [(">", 80, False), (">", 80.01, True), (">=", 80, True), ("<", 80, False), ("<=", 80, True), ("==", 80, True)],
)
def test_the_boundary_belongs_to_the_operator(op, value, wanted):
    assert fires(AlertRule(name="r", metric="m", op=op, threshold=80), value) is wanted


def test_it_clears_only_inside_the_threshold(watched):
    """As Zabbix's recovery expression: it fires at 80 and ends below 75, and the one value at 75 fires on."""
    one = watched(for_s=0)
    assert one.every_minute([80, 76, 75, 74.9, 79.9, 80]) == [
        "firing",
        "firing",
        "firing",
        "inactive",
        "inactive",
        "firing",
    ]


def test_hysteresis_holds_no_pending_alert(watched):
    assert watched(for_s=300).every_minute([80, 76, 80]) == ["pending", "inactive", "pending"]


def test_where_it_clears_unless_said():
    rule = AlertRule(name="r", metric="m", threshold=5000)
    assert clear_of(rule, "ms") == 4750
    assert clear_of(rule, "percent") == 4995
    assert clear_of(AlertRule(name="r", metric="m", op="<", threshold=20), "percent") == 25
    assert clear_of(AlertRule(name="r", metric="m", op="==", threshold=0), "state") is None
    assert clear_of(AlertRule(name="r", metric="m", threshold=-100), "ms") == -105


@pytest.mark.parametrize(
    ("op", "threshold", "unit", "clear", "good"),
    [
        (">", 2, "percent", 1, 0),
        (">", 0, "percent", None, 0),
        ("<", 99, "percent", 99.5, 100),
        ("<", 100, "percent", None, 100),
        (">", 0, "count", None, 0),
        (">", -3, "percent", -8, -9),
    ],
)
def test_every_threshold_has_a_value_at_which_it_ends(op, threshold, unit, clear, good):
    rule = AlertRule(name="r", metric="m", op=op, threshold=threshold)
    assert (clear_of(rule, unit), still(rule, good, unit)) == (clear, False)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.sampled_from([">", ">=", "<", "<="]))
def test_what_fires_does_not_clear_by_the_same_value(threshold, value, op):
    rule = AlertRule(name="r", metric="m", op=op, threshold=threshold)
    assert still(rule, value, "percent") or not fires(rule, value)


# Line 12: an incident


def test_it_fires_again_as_another_incident(watched):
    one = watched(for_s=0)
    one.see(0, 85)
    first = one.alert.incident
    one.every_minute([10, 85], start=60)
    assert one.alert.incident != first
    assert one.lines[1].incident == first, "the end belongs to what ended"
    again = watched(for_s=0)
    again.see(0, 85)
    assert again.alert.incident == first, "two who judge the same sample name it alike"


# Line 14


def test_a_severity_that_changes_is_history(watched):
    one = watched(for_s=0)
    one.see(0, 85)
    one.rule = one.rule.model_copy(update={"severity": Severity.CRITICAL})
    one.see(60, 85)
    assert one.kinds == ["firing", "severity"]
    assert one.alert.severity == "critical"


# Line 16: the time of the sample


def test_a_late_sample_changes_nothing(watched):
    one = watched(for_s=300)
    one.see(60, 85)
    before = one.alert
    assert one.see(0, 10) == "pending"
    assert one.see(60, 10) == "pending", "nor does the same once more"
    assert one.alert == before


def test_samples_that_come_all_at_once_count_by_their_own_time(watched):
    one = watched(for_s=300)
    assert one.see(0, 85) == "pending"
    assert one.see(150, 85) == "pending", "however late it is now"
    assert one.see(300, 85) == "firing"


# Lines 6: flapping


def test_the_weights_are_those_of_sensu():
    """Sensu's own vector of 21 results (its two kinds of trouble are one here) gives 34 to it, weighted 0.8 … 1.18."""
    statuses = [0, 0, 0, 1, 2, 3, 3, 3, 3, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 2, 2]
    assert change("".join(map(str, statuses))) == pytest.approx(35, abs=0.6)


def test_without_21_results_nothing_flaps():
    assert change("01" * 10) == 0
    assert change("01" * 10 + "0") == pytest.approx(100)


@pytest.mark.parametrize(
    ("history", "was_steady", "was_flapping"),
    [
        ("01" * 10 + "0", True, True),
        ("0101" + "0" * 17, False, True),  # 12 %: between the limits
        ("01" + "0" * 19, False, False),  # 8 %
    ],
)
def test_between_the_limits_it_stays_as_it_was(history, was_steady, was_flapping):
    assert flaps(history, now=False) is was_steady
    assert flaps(history, now=True) is was_flapping


def test_it_is_said_once_that_it_flaps_and_once_that_it_is_steady(watched):
    one = watched(for_s=0, clear=80)
    one.every_minute([85, 10] * 15 + [85] * 25)
    assert one.kinds.count("flapping") == 1
    assert one.kinds.count("steady") == 1
    assert one.alert.flapping is False


@given(st.lists(st.booleans(), max_size=80))
def test_flapping_has_two_limits(results):
    history, flapping = "", False
    for result in results:
        history = remember(history, result)
        found, before = change(history), flapping
        flapping = flaps(history, now=flapping)
        assert 0 <= found <= 100.0001
        assert len(history) <= 21
        if flapping and not before:
            assert found >= 30
        if before and not flapping:
            assert found < 10


# What holds of every course of samples


@given(
    st.lists(st.tuples(st.integers(1, 7200), st.floats(0, 100)), max_size=60),
    st.integers(0, 900),
    st.integers(0, 900),
)
def test_every_course_of_states_is_one_of_prometheus(samples, for_s, keep):
    rule = AlertRule(name="r", metric="m", threshold=50, for_s=for_s, keep_firing_for_s=keep)
    alert, at, allowed = begin(rule, {"rule": "r"}), 0, {
        ("inactive", "inactive"), ("inactive", "pending"), ("inactive", "firing"),
        ("pending", "pending"), ("pending", "firing"), ("pending", "inactive"),
        ("firing", "firing"), ("firing", "inactive"), ("firing", "pending"),
    }  # fmt: skip
    for wait, value in samples:
        at += wait
        found = step(rule, alert, Observation(labels={"rule": "r"}, at=AT + at, value=value), Limits())
        assert (alert.state.value, found.alert.state.value) in allowed
        moved = {Kind.PENDING, Kind.FIRING, Kind.RESOLVED, Kind.DROPPED}
        told = [line for line in found.transitions if line.kind in moved]
        back = alert.firing and found.alert.state is AlertState.PENDING  # the end of one incident, and a beginning
        assert len(told) == (alert.state is not found.alert.state) + back, "each change is one line, each line a change"
        if found.alert.firing and not alert.firing:
            assert found.alert.fired_at - found.alert.active_at >= for_s
            assert found.alert.incident
        if not found.alert.firing and found.alert.state is not AlertState.PENDING:
            assert value <= 50 or for_s, "what holds is not inactive"
        alert = found.alert
        assert step(rule, alert, Observation(labels={"rule": "r"}, at=AT + at, value=99), Limits()).alert == alert


def test_an_end_from_outside(watched):
    """Line 19: a rule that is deleted ends its alerts, with that reason."""
    one = watched(for_s=0)
    one.see(0, 85)
    found = end(one.alert, AT + 60, "rule_deleted")
    assert (found.alert.state, [line.reason for line in found.transitions]) == ("inactive", ["rule_deleted"])
    assert end(found.alert, AT + 61, "rule_deleted").transitions == ()
