"""One reading of one host against all rules; and the same over the past, as a dry run."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from opsqueue.alerts.cel import check
from opsqueue.alerts.evaluate import MOST_ALERTS, evaluate, judged, no_data, without_data
from opsqueue.alerts.fingerprint import fingerprint
from opsqueue.alerts.lately import fresh
from opsqueue.alerts.reading import Reading
from opsqueue.alerts.replay import replay
from opsqueue.alerts.state import Limits
from opsqueue.alerts.statistics import reckon
from opsqueue.errors import InvalidRequest
from opsqueue.model.alert import Kind, Transition
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.host import Host
from opsqueue.model.kind import Finding, Metric
from opsqueue.model.names import Severity
from opsqueue.model.sample import Last

AT = 1_800_000_000.0
HOST = Host(name="h1", address="", connector="local", groups=("web",), tags=("prod",))
LIMITS = Limits()


def reading(at=0, findings=(), host=HOST, type="system_monitoring", **metrics):
    units = {"cpu_usage": "percent", "response_time": "ms", "up": "state"}
    return Reading(
        host=host,
        at=AT + at,
        type=type,
        findings=findings,
        metrics={
            name: Metric(name=name, value=value, unit=units.get(name, "percent")) for name, value in metrics.items()
        },
    )


class Room:
    """Rules, and the alerts of one host."""

    def __init__(self, *rules):
        self.rules, self.alerts, self.lines, self.errors, self.sound = list(rules), {}, [], {}, ()

    def see(self, given, active=None):
        found = evaluate(self.rules, given, self.alerts, LIMITS, Counter(active or {}).__getitem__)
        self.errors, self.sound = dict(found.errors), found.sound
        for change in found.changes:
            self.alerts[change.after.fingerprint] = change.after
            self.lines += change.transitions
        return [(line.kind.value, line.rule) for change in found.changes for line in change.transitions]


def a_rule(**change):
    return AlertRule(**{"name": "cpu", "metric": "cpu_usage", "threshold": 80, "for_s": 0, **change})


# Line 7: the fingerprint


@given(st.dictionaries(st.text(min_size=1), st.text(min_size=1), max_size=6), st.randoms())
def test_the_order_of_labels_makes_no_difference(labels, random):
    other = list(labels.items())
    random.shuffle(other)
    assert fingerprint(labels) == fingerprint(dict(other))


def test_another_value_is_the_same_alert_and_another_mount_is_not():
    room = Room(a_rule(name="disk", metric="disk_usage:*", threshold=90))
    assert room.see(reading(0, **{"disk_usage:/": 95.0, "disk_usage:/var": 91.0, "disk_usage": 95.0})) == [
        ("firing", "disk"),
        ("firing", "disk"),
    ]
    assert room.see(reading(60, **{"disk_usage:/": 96.0, "disk_usage:/var": 92.0})) == []
    assert sorted(alert.labels["part"] for alert in room.alerts.values()) == ["/", "/var"]


# Which rules look at which host


@pytest.mark.parametrize(
    ("hosts", "wanted"),
    [(("all",), 1), (("h1",), 1), (("group:web",), 1), (("tag:prod",), 1), (("h2", "group:db"), 0), (("web",), 0)],
)
def test_a_rule_is_about_its_hosts(hosts, wanted):
    assert len(Room(a_rule(hosts=hosts)).see(reading(cpu_usage=85.0))) == wanted


def test_a_rule_that_is_off_sees_nothing():
    assert Room(a_rule(enabled=False)).see(reading(cpu_usage=85.0)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"condition": "cpu_usage > 80"}, "exactly one"),
        ({"metric": None}, "exactly one"),
        ({"threshold": None}, "belong together"),
        ({"clear": 81}, "wrong side"),
        ({"op": "<", "clear": 79}, "wrong side"),
        ({"op": "==", "clear": 79}, "clear needs"),
        ({"labels": {"host": "h2"}}, "given by the engine"),
        ({"labels": {"a-b": "x"}}, "letters"),
        ({"threshold": float("nan")}, "finite"),
        ({"for": 5}, "Extra"),
        ({"name": ""}, "at least 1"),
        ({"name": "a\nb"}, "pattern"),
    ],
)
def test_what_is_no_rule(change, said):
    with pytest.raises(ValidationError, match=said):
        a_rule(**change)


# Conditions


def test_a_condition_text():
    room = Room(a_rule(metric=None, threshold=None, condition="cpu_usage > 80 && memory_usage > 80"))
    assert room.see(reading(0, cpu_usage=85.0, memory_usage=50.0)) == []
    assert room.see(reading(60, cpu_usage=85.0, memory_usage=90.0)) == [("firing", "cpu")]


def test_an_error_leaves_the_alert_as_it_was():
    """Line 11: not knowing is neither good nor bad."""
    asked = 'cpu_usage > 80 || labels.zone == "a"'
    room = Room(a_rule(metric=None, threshold=None, condition=asked), a_rule(name="mem", metric="memory_usage"))
    room.see(reading(0, cpu_usage=85.0))
    before = dict(room.alerts)
    assert room.see(reading(60, cpu_usage=5.0, memory_usage=85.0)) == [("firing", "mem")], "other rules go on"
    assert "no such member" in room.errors["cpu"]
    assert {name: room.alerts[name] for name in before} == before
    room.see(reading(120, cpu_usage=85.0))
    assert room.errors == {}


def test_a_number_that_a_reading_has_not_is_no_data_and_no_error():
    rule = a_rule(metric=None, threshold=None, condition='cpu_usage > 80 && metrics["disk_usage:/"] > 50')
    room, both = Room(rule), {"cpu_usage": 85.0, "disk_usage:/": 60.0}
    room.see(reading(0, **both))
    (before,) = room.alerts.values()
    for minute in (1, 2, 3):
        assert room.see(reading(60 * minute, cpu_usage=85.0)) == []
        assert room.errors == {}
        assert (room.alerts[before.fingerprint], room.sound) == (before, ("cpu",)), "an old error of it is over"
    assert no_data(rule, before, LIMITS, AT + 180)[1].holds is False
    assert no_data(rule, before, LIMITS, AT + 181)[1].holds is True, "as where a metric is missing"
    assert without_data(replace_rule(rule, on_missing="ok"), before, LIMITS, AT + 181).alert.state == "inactive"
    assert room.see(reading(240, cpu_usage=5.0)) == [("resolved", "cpu")], "what is false without it has an answer"


def replace_rule(rule, **change):
    return rule.model_copy(update=change)


def test_a_condition_over_all_numbers_knows_those_that_another_type_measured():
    full = 'metrics.exists(n, n.startsWith("disk_usage:") && metrics[n] > 90)'
    room = Room(a_rule(metric=None, threshold=None, condition=full, for_s=120))
    room.see(reading(0, **{"disk_usage:/": 95.0}))
    checks = replace(reading(60, health_score=100.0), lately=lambda: {"disk_usage:/": 95.0})
    assert room.see(checks) == [], "it still holds"
    assert room.see(replace(checks, at=AT + 120)) == [("firing", "cpu")]
    assert room.see(replace(reading(150, up=0.0), lately=lambda: {"disk_usage:/": 5.0})) == [], "nothing is known of it"
    assert room.see(replace(checks, at=AT + 180, lately=dict)) == [("resolved", "cpu")], "nobody measures it any more"


def test_a_condition_may_ask_for_numbers_of_two_types():
    room = Room(a_rule(metric=None, threshold=None, condition="cpu_usage > 80 && backup_age > 86400.0"))
    others = {"lately": lambda: {"backup_age": 90_000.0, "cpu_usage": 99.0}}
    assert room.see(replace(reading(0, health_score=1.0), **others)) == [], "neither is what this reading is about"
    assert room.see(replace(reading(60, cpu_usage=85.0), **others)) == [("firing", "cpu")]
    assert room.see(replace(reading(120, cpu_usage=75.0), **others)) == [("resolved", "cpu")], "its own number counts"


@pytest.mark.parametrize(
    ("age", "every", "counts"),
    [(180, 0, True), (181, 0, False), (3600, 1200, True), (3601, 1200, False), (3 * 86_400 + 1, 9e9, False)],
)
def test_a_number_counts_for_three_of_its_intervals(age, every, counts):
    assert fresh({"a": Last(1.0, AT - age, every)}, AT, 60.0) == ({"a": 1.0} if counts else {})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('cpu_usage > "x"', "> does not go between a number and a text"),
        ("cpu_usage + 1", "this one is a number"),
        ('metrics.exists(n, metrics[n] > "x")', "between a number and a text"),
        ("sum(cpu_usage) > 1", "undeclared reference to 'sum'"),
    ],
)
def test_a_condition_that_can_have_no_answer_is_refused(text, why):
    with pytest.raises(InvalidRequest, match=re.escape(why)):
        check(text)


@pytest.mark.parametrize("text", ['labels.team == "x"', 'metrics["a:" + host] > 1', 'a > 1 || b > "x"', "a / b > 1"])
def test_a_condition_that_may_have_one_is_not(text):
    check(text)


# Findings


def a_finding(code="unreachable", severity="critical", message="refused", **evidence):
    return Finding(severity=Severity(severity), code=code, message=message, host="h1", evidence=evidence)


def test_a_finding_is_an_alert_where_a_rule_says_so():
    room = Room(a_rule(name="down", metric=None, threshold=None, finding="no_answer"))
    assert room.see(reading(0, [a_finding("no_answer"), a_finding("else")])) == [("firing", "down")]
    (alert,) = room.alerts.values()
    assert (alert.severity, alert.note) == ("critical", "refused")
    assert room.see(reading(60, [], type="backup_operation")) == [], (
        "who did not look for it cannot say that it is gone"
    )
    assert room.see(reading(120, [])) == [("resolved", "down")]


def test_whoever_reaches_a_host_ends_the_alert_that_it_is_not_reached():
    room = Room(a_rule(name="down", metric=None, threshold=None, finding="unreachable"))
    away = replace(reading(0, [a_finding()]), looked=False)
    assert room.see(away) == [("firing", "down")]
    for at, kind in ((10, "security_scan"), (20, "backup_operation")):
        assert room.see(replace(away, at=AT + at, type=kind)) == [], "one host that is away is one alert"
    assert len(room.alerts) == 1
    around = replace(reading(60, [], type="health_check"), reached=lambda: False)
    assert room.see(around) == [], "its web server answers: that says nothing of the way to the host"
    assert room.see(replace(reading(70, [], type="health_check"), looked=False)) == []
    assert room.see(reading(80, [], type="capacity_planning")) == [("resolved", "down")]


def test_who_looked_for_something_else_cannot_say_that_it_is_gone():
    room = Room(a_rule(name="down", metric=None, threshold=None, finding="no_answer"))
    found, scoped = a_finding("no_answer", "critical"), {"scope": "of-db"}
    assert room.see(replace(reading(0, [found]), **scoped)) == [("firing", "down")]
    assert room.see(reading(60)) == [], "asked for something else"
    assert room.see(replace(reading(120), scope="of-web")) == []
    assert room.see(replace(reading(180), **scoped, looked=False)) == [], "did not get so far"
    assert room.see(replace(reading(240), **scoped)) == [("resolved", "down")]


def of_check(code, name, severity="critical"):
    return a_finding(code, severity, f"{name}: {code}", check=name)


def states(room):
    return {alert.labels.get("part", ""): alert.state.value for alert in room.alerts.values()}


def test_what_is_not_known_is_not_over():
    room = Room(a_rule(name="down", metric=None, threshold=None, finding="no_answer"))
    assert room.see(reading(0, [of_check("no_answer", "web"), of_check("no_answer", "db")])) == [("firing", "down")] * 2
    for at, code in ((60, "check_unknown"), (120, "check_unreachable")):
        assert room.see(reading(at, [of_check(code, "web", "info"), of_check("no_answer", "db")])) == []
    assert room.see(reading(180, [of_check("check_unknown", "web", "info")])) == [("resolved", "down")]
    assert states(room) == {"web": "firing", "db": "inactive"}, "that nothing is known of one says nothing of another"
    (web,) = [alert for alert in room.alerts.values() if alert.firing]
    assert (web.last_at, web.note) == (AT + 180, "web: no_answer"), "somebody looks for it: it is not stale"
    assert room.see(reading(240)) == [("resolved", "down")]


def test_what_is_pending_does_not_ripen_while_nothing_is_known_of_it():
    room = Room(a_rule(name="down", metric=None, threshold=None, finding="no_answer", for_s=120))
    assert room.see(reading(0, [of_check("no_answer", "web")])) == [("pending", "down")]
    for at in range(60, 4000, 60):
        assert room.see(reading(at, [of_check("check_unknown", "web", "info")])) == []
    assert room.see(reading(4020, [of_check("no_answer", "web")])) == []
    assert room.see(reading(4140, [of_check("no_answer", "web")])) == [("firing", "down")]


def test_that_a_check_cannot_be_made_is_over_when_it_is_made_or_cannot_for_another_reason():
    room = Room(a_rule(name="blind", metric=None, threshold=None, finding="check_un*"))
    room.see(reading(0, [of_check("check_unknown", "web", "info")]))
    changed = room.see(reading(60, [of_check("check_unreachable", "web", "info")]))
    assert sorted(changed) == [("firing", "blind"), ("resolved", "blind")]
    assert room.see(reading(120)) == [("resolved", "blind")]


def test_a_host_that_could_not_be_read_ends_nothing():
    room = Room(a_rule(name="full", metric=None, threshold=None, finding="disk_usage_high"))
    room.see(reading(0, [a_finding("disk_usage_high")]))
    assert room.see(reading(60, [a_finding("system_unknown", "warning")])) == []
    assert room.see(replace(reading(120), looked=False)) == []
    assert room.see(reading(180)) == [("resolved", "full")]


@pytest.mark.parametrize(
    ("change", "every", "until"),
    [
        ({}, 0.0, 86_400),
        ({}, 60.0, 86_400),
        ({}, 86_400.0, 3 * 86_400),
        ({"interval_s": 600}, 0.0, 1800),
        ({"on_missing": "ok"}, 0.0, 86_400),
        ({"on_missing": "ok", "interval_s": 60}, 0.0, 180),
    ],
)
def test_a_finding_that_nobody_looks_for_again_ends_with_the_reason(change, every, until):
    rule = a_rule(name="down", metric=None, threshold=None, finding="unreachable", **change)
    room = Room(rule)
    room.see(replace(reading(0, [a_finding()]), every=every))
    (alert,) = room.alerts.values()
    assert without_data(rule, alert, LIMITS, AT + until).alert is alert
    gone = without_data(rule, alert, LIMITS, AT + until + 1)
    assert (gone.alert.state, [line.kind for line in gone.transitions]) == ("inactive", [Kind.RESOLVED])
    assert "stale: nobody looked for it again" in gone.transitions[0].reason
    assert no_data(rule, alert, LIMITS, AT + until + 1) is None


def test_where_silence_is_an_alarm_a_finding_stands_and_silence_is_told():
    rule = a_rule(name="down", metric=None, threshold=None, finding="unreachable", on_missing="alert")
    room = Room(rule)
    room.see(reading(0, [a_finding()]))
    (alert,) = room.alerts.values()
    for at, silent in ((86_400, False), (86_401, True)):
        assert without_data(rule, alert, LIMITS, AT + at).alert is alert
        assert no_data(rule, alert, LIMITS, AT + at)[1].holds is silent


def test_the_worst_of_many_findings_counts():
    room = Room(a_rule(name="any", metric=None, threshold=None, finding="cert_*"))
    given = [a_finding("cert_old", "warning"), a_finding("cert_old", "critical"), a_finding("cert_old", "info")]
    room.see(reading(0, given))
    assert [alert.severity.value for alert in room.alerts.values()] == ["critical"]


def test_a_rule_that_breaks_keeps_nothing_else_from_going_on(monkeypatch):
    monkeypatch.setattr("opsqueue.alerts.evaluate.condition_holds", lambda *_, **__: [].pop())
    room = Room(a_rule(name="mine", metric=None, threshold=None, condition="true"), a_rule())
    assert room.see(reading(0, cpu_usage=85.0)) == [("firing", "cpu")]
    assert room.errors == {"mine": "IndexError: pop from empty list"}


def test_that_a_host_is_reached_and_that_it_is_well_are_two_alerts():
    room = Room(a_rule(name="down", metric="up", op="<", threshold=1))
    well = {"type": "health_check", "up_means": "health_check"}
    assert room.see(replace(reading(0, up=0.0), **well)) == [("firing", "down")]
    assert room.see(reading(60, up=1.0)) == [], "reached, and still not well"
    assert room.see(replace(reading(120, up=1.0), **well)) == [("resolved", "down")]
    assert room.see(reading(180, up=0.0)) == [("firing", "down")]
    assert [alert.labels.get("type", "") for alert in room.alerts.values() if alert.firing] == [""]


def test_a_condition_about_other_numbers_is_not_asked_about_a_host_that_is_down():
    room = Room(
        a_rule(name="cpu", metric=None, threshold=None, condition="cpu_usage > 80"),
        a_rule(name="down", metric=None, threshold=None, condition="up < 1"),
    )
    assert room.see(reading(0, up=0.0)) == [("firing", "down")]
    assert room.errors == {}


def test_a_condition_about_numbers_of_another_type_is_not_asked():
    rule = a_rule(name="both", metric=None, threshold=None, condition="cpu_usage > 30 && memory_usage > 1")
    room = Room(rule)
    assert room.see(reading(0, cpu_usage=50.0, memory_usage=5.0)) == [("firing", "both")]
    checked = reading(60, up=1.0, health_score=80.0, type="health_check")
    for one in (checked, replace(checked, up_means="health_check", at=AT + 90)):
        assert room.see(one) == []
        assert (room.errors, room.sound) == ({}, ("both",))
    assert [alert.firing for alert in room.alerts.values()] == [True]


# Line 11: no data


@pytest.mark.parametrize(
    ("on_missing", "at", "alarm", "state"),
    [
        ("keep", 180, False, "firing"),
        ("keep", 181, True, "firing"),
        ("ok", 180, None, "firing"),
        ("ok", 181, None, "inactive"),
        ("alert", 120, False, "firing"),
        ("alert", 121, True, "firing"),
    ],
)
def test_when_nothing_is_heard(on_missing, at, alarm, state):
    room = Room(a_rule(on_missing=on_missing, severity="critical"))
    room.see(reading(0, cpu_usage=85.0))
    (alert,) = room.alerts.values()
    rule = room.rules[0]
    assert without_data(rule, alert, LIMITS, AT + at).alert.state == state
    found = no_data(rule, alert, LIMITS, AT + at)
    assert (found and found[1].holds) is alarm
    if alarm:
        change = judged(found[0], None, found[1], LIMITS)
        assert [line.kind for line in change.transitions] == [Kind.FIRING]
        assert (change.after.rule, change.after.severity, change.after.host) == ("NoData", "warning", "h1")


def test_what_does_not_fire_is_only_missed_where_the_rule_says_alert():
    for on_missing, wanted in (("keep", False), ("alert", True)):
        room = Room(a_rule(on_missing=on_missing, for_s=300))
        room.see(reading(0, cpu_usage=85.0))
        (alert,) = room.alerts.values()
        assert no_data(room.rules[0], alert, LIMITS, AT + 999)[1].holds is wanted


def test_a_rule_may_have_rarer_numbers():
    room = Room(a_rule(interval_s=86_400))
    room.see(reading(0, cpu_usage=85.0))
    (alert,) = room.alerts.values()
    assert no_data(room.rules[0], alert, LIMITS, AT + 3 * 86_400)[1].holds is False


def test_numbers_that_come_rarely_are_not_missed():
    room = Room(a_rule())
    for at in (0, 300):
        room.see(reading(at, cpu_usage=85.0))
    (alert,) = room.alerts.values()
    assert no_data(room.rules[0], alert, LIMITS, AT + 300 + 900)[1].holds is False
    assert no_data(room.rules[0], alert, LIMITS, AT + 300 + 901)[1].holds is True


# Lines 19, 20


def test_another_threshold_keeps_what_it_does_not_touch():
    room = Room(a_rule(name="disk", metric="disk_usage:*", threshold=80, clear=80))
    room.see(reading(0, **{"disk_usage:/": 95.0, "disk_usage:/var": 85.0}))
    kept = next(alert for alert in room.alerts.values() if alert.labels["part"] == "/")
    room.rules = [a_rule(name="disk", metric="disk_usage:*", threshold=90, clear=90)]
    assert room.see(reading(60, **{"disk_usage:/": 95.0, "disk_usage:/var": 85.0})) == [("resolved", "disk")]
    assert room.alerts[kept.fingerprint].incident == kept.incident


def test_other_labels_are_another_alert_and_end_the_old_one():
    room = Room(a_rule())
    room.see(reading(0, cpu_usage=85.0))
    room.rules = [a_rule(labels={"team": "ops"})]
    assert sorted(room.see(reading(60, cpu_usage=85.0))) == [("firing", "cpu"), ("resolved", "cpu")]
    assert [line.reason for line in room.lines if line.kind is Kind.RESOLVED] == ["rule_changed"]


def test_a_rule_with_too_many_alerts_is_an_error_and_no_more_begin():
    room = Room(a_rule(metric="x:*"))
    many = {f"x:{number}": 85.0 for number in range(MOST_ALERTS)}
    assert len(room.see(reading(0, **many))) == MOST_ALERTS
    before = dict(room.alerts)
    assert room.see(reading(60, **{**many, "x:more": 85.0})) == []
    assert "1001 alerts" in room.errors["cpu"]
    assert set(room.alerts) == set(before)
    well = dict.fromkeys(many, 1.0)
    assert Counter(room.see(reading(120, **well), {"cpu": 1})) == {("resolved", "cpu"): MOST_ALERTS}, "and they end"
    assert room.errors == {}
    assert Room(a_rule()).see(reading(0, cpu_usage=85.0), {"cpu": MOST_ALERTS}) == [], "those of other hosts count"


def test_nothing_is_kept_of_what_is_well():
    room = Room(a_rule())
    for minute in range(50):
        room.see(reading(60 * minute, cpu_usage=10.0))
    assert room.alerts == {}


# The dry run


def test_replay_says_what_would_have_happened():
    rule = a_rule(for_s=120)
    values = [10, 85, 85, 85, 85, 10, 85, 10, 85, 85, 85]
    found = replay(rule, [reading(60 * n, cpu_usage=float(value)) for n, value in enumerate(values)], LIMITS)
    assert (found.readings, found.fired) == (11, 2)
    assert [line.kind.value for line in found.transitions] == [
        *("pending", "firing", "resolved"),
        *("pending", "dropped"),
        *("pending", "firing"),
    ]


def test_replay_counts_what_had_no_answer():
    rule = a_rule(metric=None, threshold=None, condition="cpu_usage > 80")
    found = replay(rule, [reading(0, other=1.0), reading(60, other=1.0), reading(120, cpu_usage=85.0)], LIMITS)
    assert (found.fired, list(found.errors.values())) == (1, [2])


# Line 17: statistics


def lines_of(*rows):
    return [
        Transition(at=AT + at, kind=Kind(kind), fingerprint=rule, rule=rule, host=host, incident=incident, id=number)
        for number, (at, kind, rule, host, incident) in enumerate(rows)
    ]


def test_statistics():
    found = reckon(
        lines_of(
            (0, "firing", "cpu", "h1", "i1"),
            (100, "acknowledged", "cpu", "h1", "i1"),
            (200, "acknowledged", "cpu", "h1", "i1"),
            (300, "resolved", "cpu", "h1", "i1"),
            (400, "firing", "cpu", "h2", "i2"),
            (500, "silenced", "cpu", "h2", "i2"),
            (1400, "resolved", "cpu", "h2", "i2"),
            (500, "firing", "disk", "h1", "i3"),
            (600, "remediated", "disk", "h1", "i3"),
            (600, "resolved", "disk", "h1", "i3"),
            (700, "firing", "load", "h1", "i4"),
            (800, "resolved", "load", "h1", "i4"),
            (900, "firing", "load", "h1", "i5"),
            (950, "flapping", "load", "h1", "i5"),
        ),
        rules=["cpu", "disk", "load", "swap"],
    )
    assert (found.fired, found.open, found.flaps) == (5, 1, 1)
    assert found.by_rule == {"cpu": 2, "load": 2, "disk": 1}
    assert found.by_host == {"h1": 4, "h2": 1}
    assert (found.mtta.count, found.mtta.mean) == (1, 100)
    assert (found.mttr.count, found.mttr.mean, found.mttr.median, found.mttr.p90) == (4, 375, 200, 1000)
    assert (found.silenced_percent, found.remediated_percent) == (20, 20)
    assert found.noisiest[:2] == (("cpu", 2), ("load", 2))
    assert (found.never_acted_on, found.never_fired) == (("load",), ("swap",))


def test_of_each_day_it_is_said_how_many_fired_also_when_none_did():
    midnight = AT - AT % 86_400 - AT
    days = ((0, "i1"), (3600, "i2"), (3 * 86_400, "i3"))
    found = reckon(lines_of(*((midnight + at, "firing", "cpu", "h1", name) for at, name in days)))
    assert [count for _at, count in found.by_day["warning"]] == [2, 0, 0, 1]
    assert [at - midnight - AT for at, _count in found.by_day["warning"]] == [0, 86_400, 172_800, 259_200]


def test_without_anything_there_is_no_figure_rather_than_a_zero():
    found = reckon([])
    assert (found.fired, found.mttr.mean, found.silenced_percent) == (0, None, None)


@given(st.lists(st.tuples(st.integers(0, 10), st.sampled_from(list(Kind)), st.sampled_from("abc")), max_size=30))
def test_the_figures_do_not_depend_on_the_order(rows):
    lines = [
        Transition(at=AT + at, kind=kind, fingerprint=name, rule=name, incident=name, id=number)
        for number, (at, kind, name) in enumerate(rows)
    ]
    found = reckon(lines)
    assert found == reckon(lines[::-1])
    assert sum(found.by_rule.values()) == found.fired == sum(found.by_severity.values())
    assert Counter(found.by_rule).total() >= found.open
