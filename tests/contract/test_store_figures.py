"""What key figures are reckoned from, read on SQLite and PostgreSQL."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from sqlalchemy import select, text

from opsqueue.model.alert import Kind, Transition
from opsqueue.model.kind import Metric
from opsqueue.model.names import OperationPriority, Outcome, Severity, Stage, TargetState
from opsqueue.model.observed import Busy, Change, Ended
from opsqueue.model.record import Event, Operation, Target
from opsqueue.store import alerts, events, figures, fired, looks, operations, rolling, samples
from opsqueue.store import targets as store_targets
from opsqueue.store.rows import unpack

AT = 1_800_000_000.0
HOUR = 3600.0


def measured(store, host, metric, *pairs):
    with store.begin() as tx:
        taken = [
            samples.Taken(host=host, at=AT + at, metrics={metric: Metric(name=metric, value=value, unit="")})
            for at, value in pairs
        ]
        samples.add(tx, taken)


def an_ended(store, name, *, at=0.0, hosts=("h1",), changed=False, findings=(), lines=(), **more):
    """An operation that ended at AT + `at`, with its targets and events."""
    base = Operation(
        id=name,
        name="n",
        type="service_restart",
        priority=OperationPriority.NORMAL,
        stage=Stage.CLOSED,
        outcome=Outcome.SUCCEEDED,
        requested_by="schedule:x",
        findings=findings,
        created_at=AT + at - 10,
        finished_at=AT + at,
    )
    with store.begin() as tx:
        operations.create(tx, replace(base, **more), "digest")
        made = [
            Target(
                operation_id=name,
                host=host,
                state=TargetState.SUCCEEDED,
                started_at=AT + at - 6,
                changed_at=AT + at - 5 if changed else None,
                verified_at=AT + at - 4,
            )
            for host in hosts
        ]
        store_targets.replace_all(tx, name, made)
        events.append(tx, [Event(operation_id=name, at=AT + at, kind=kind, message="", **rest) for kind, rest in lines])


def read(store, what, *args, **more):
    with store.read() as connection:
        return what(connection, *args, **more)


# Samples


def test_observations_are_by_host_in_order_and_of_up_alone(store):
    measured(store, "h2", "up", (60, 0.0), (0, 1.0), (120, 1.0))
    measured(store, "h1", "up", (-1, 1.0), (0, 1.0), (300, 1.0))
    measured(store, "h1", "cpu_usage", (0, 12.0))
    found = read(store, looks.observations, (), AT, AT + 300)
    assert found == {"h1": ((), ((AT, True),)), "h2": ((), ((AT, True), (AT + 60, False), (AT + 120, True)))}
    assert read(store, looks.observations, ("h1", "h9"), AT, AT + 300) == {"h1": ((), ((AT, True),))}


def test_what_health_checks_say_stands_apart_from_what_others_say(store):
    measured(store, "h1", "up", (0, 1.0), (60, 0.0), (120, 1.0), (180, 1.0), (360, 1.0))
    measured(store, "h1", "health_score", (60, 20.0), (360, 100.0))
    (both,) = read(store, looks.observations, (), AT, AT + 600).values()
    assert both == (
        ((AT + 60, False), (AT + 360, True)),
        ((AT, True), (AT + 120, True), (AT + 180, True)),
    )
    assert spans(read(store, looks.incidents, AT, AT + 600)) == [("h1", 60, 360)]
    assert spans(read(store, looks.incidents, AT + 200, AT + 300)) == [("h1", 60, None)]


def test_answers_come_in_rising_order_and_those_that_did_not_are_counted(store):
    measured(store, "h1", "response_time:web", (0, 30.0), (60, 10.0))
    measured(store, "h1", "attempts:web", (0, 1.0), (60, 1.0), (120, 3.0))
    measured(store, "h2", "response_time:web", (0, 20.0))
    measured(store, "h2", "response_time:http://plain", (0, 5.0), (9999, 1.0))
    measured(store, "h1", "response_time", (0, 777.0))
    found = read(store, figures.responses, (), AT, AT + 300)
    assert (found.times, found.failed) == ((5.0, 10.0, 20.0, 30.0), 1)
    one = read(store, figures.responses, ("h2",), AT, AT + 300)
    assert (one.times, one.failed) == ((5.0, 20.0), 0)


def spans(found):
    return [(one.host, one.start - AT, None if one.resolved is None else one.resolved - AT) for one in found]


def test_a_host_is_down_from_the_first_failing_sample_to_the_first_good_one(store):
    measured(store, "h1", "up", (0, 1.0), (60, 0.0), (120, 0.0), (180, 1.0), (240, 0.0))
    measured(store, "h2", "up", (0, 0.0), (60, 1.0))
    measured(store, "h3", "up", (0, 1.0))
    found = read(store, looks.incidents, AT, AT + 300)
    assert spans(found) == [("h2", 0, 60), ("h1", 60, 180), ("h1", 240, None)]
    assert spans(read(store, looks.incidents, AT, AT + 300, ("h2",))) == [("h2", 0, 60)]


def test_what_began_before_is_told_from_its_beginning(store):
    measured(store, "h1", "up", (-900, 1.0), (-600, 0.0), (-300, 0.0), (100, 1.0))
    measured(store, "never-up", "up", (-500, 0.0), (-100, 0.0))
    assert spans(read(store, looks.incidents, AT, AT + 200)) == [("h1", -600, 100), ("never-up", -500, None)]
    assert spans(read(store, looks.incidents, AT, AT + 100)) == [("h1", -600, None), ("never-up", -500, None)]
    assert spans(read(store, looks.incidents, AT + 101, AT + 200)) == [("never-up", -500, None)]


def test_a_late_sample_changes_what_is_told(store):
    measured(store, "h1", "up", (0, 1.0), (300, 1.0))
    assert read(store, looks.incidents, AT, AT + 600) == ()
    measured(store, "h1", "up", (120, 0.0))
    assert spans(read(store, looks.incidents, AT, AT + 600)) == [("h1", 120, 300)]


def test_any_series_of_samples_is_told_as_one_would_by_hand(store):
    chance = random.Random(7)
    for number in range(12):
        host = f"r{number}"
        seen = [(60 * at, float(chance.random() > 0.4)) for at in range(-10, 30)]
        measured(store, host, "up", *seen)
        since, until = sorted(chance.sample(range(-900, 2000), 2))
        expected, start = [], None
        for at, value in (look for look in seen if look[0] < until):
            if value and start is not None and at >= since:
                expected.append((host, start, at))
            start = None if value else at if start is None else start
        expected += [(host, start, None)] if start is not None else []
        assert spans(read(store, looks.incidents, AT + since, AT + until, (host,))) == expected


def test_where_samples_are_forgotten_their_summaries_tell(store):
    day = 86_400
    measured(store, "h1", "up", *((60.0 * n, float(not 15 <= n < 25)) for n in range(60)))
    measured(store, "h1", "up", (3 * day, 0.0), (20 * day, 0.0), (20 * day + 60, 1.0))
    before = read(store, looks.incidents, AT, AT + 30 * day)
    assert spans(before) == [("h1", 900, 1500), ("h1", 3 * day, 20 * day + 60)]
    with store.begin() as tx:
        while rolling.roll(tx, AT + 21 * day):
            pass
        while rolling.forget_samples(tx, AT + 10 * day):
            pass
    with store.read() as connection:
        assert samples.read(connection, "h1", "up", AT) == [(AT + 20 * day, 0.0), (AT + 20 * day + 60, 1.0)]
    assert read(store, looks.incidents, AT, AT + 30 * day) == before
    assert spans(read(store, looks.incidents, AT + 19 * day, AT + 30 * day)) == [("h1", 3 * day, 20 * day + 60)]
    assert spans(read(store, looks.incidents, AT + 20 * day + 30, AT + 30 * day)) == [("h1", 3 * day, 20 * day + 60)]
    (both,) = read(store, looks.observations, (), AT, AT + 1800).values()
    assert both == ((), tuple((AT + at, not 900 <= at < 1500) for at in range(0, 1800, 300)))


# Operations


def test_operations_are_counted_by_their_end_where_they_are_alike(store):
    an_ended(store, "a")
    an_ended(store, "b", at=1)
    an_ended(store, "c", at=2, outcome=Outcome.FAILED, requested_by="ann@desk", hosts=("h2",))
    an_ended(store, "late", at=100)
    an_ended(store, "open", stage=Stage.EXECUTE, outcome=None, finished_at=None)
    usual = {"type": "service_restart", "looking": False, "touched": False}
    wanted = {
        Ended(outcome=Outcome.SUCCEEDED, requested_by="schedule:x", count=2, **usual),
        Ended(outcome=Outcome.FAILED, requested_by="ann@desk", count=1, **usual),
    }
    assert set(read(store, figures.ended, (), AT, AT + 100)) == wanted
    assert {one.count for one in read(store, figures.ended, ("h2",), AT, AT + 100)} == {1}
    assert read(store, figures.ended, (), AT + 500, AT + 600) == ()


def test_what_a_person_did_is_seen(store):
    an_ended(store, "alone", lines=[("submitted", {}), ("stage", {})])
    for number, kind in enumerate(["cancel_asked", "retry_asked", "acknowledged", "approved", "rejected"]):
        an_ended(store, f"touched-{number}", lines=[(kind, {"actor": "ann@desk"})])
    found = {one.touched: one.count for one in read(store, figures.ended, (), AT, AT + 1)}
    assert found == {False: 1, True: 5}


def test_changes_are_those_of_changing_operations_on_the_hosts_asked_for(store):
    an_ended(store, "a", hosts=("h1", "h2"), changed=True)
    an_ended(store, "nothing-to-do")
    an_ended(store, "looked", looking=True, changed=True)
    an_ended(store, "an-alert-was-acknowledged", type="alert_management", changed=True)
    assert read(store, figures.changes, ("h1", "h3"), AT, AT + 1) == (Change(operation_id="a", host="h1", at=AT - 5),)
    assert read(store, figures.changes, (), AT, AT + 1) == ()


def test_what_changed_one_host_is_counted_by_type(store):
    an_ended(store, "before", at=-100, changed=True)
    an_ended(store, "one", changed=True, hosts=("h1", "h2"))
    an_ended(store, "two", changed=True, stage=Stage.NOTIFY, finished_at=None)  # the host was changed all the same
    an_ended(store, "three", changed=True, type="log_rotation")
    an_ended(store, "nothing-to-do")
    an_ended(store, "looked", looking=True, changed=True)
    an_ended(store, "an-alert-was-acknowledged", type="alert_management", changed=True)
    an_ended(store, "after", at=100, changed=True)
    assert read(store, figures.changed, "h1", AT - 10, AT) == {"log_rotation": 1, "service_restart": 2}
    assert read(store, figures.changed, "h2", AT - 10, AT) == {"service_restart": 1}
    assert read(store, figures.changed, "h3", AT - 10, AT) == {}


def test_operations_that_ended_after_the_period_they_measured_in_are_counted(store):
    an_ended(store, "in-time", at=-1)
    an_ended(store, "late", at=2)  # looked at AT - 2
    an_ended(store, "after", at=900)
    assert read(store, figures.added_later, AT - 600, AT) == 1


def stage_line(took, actor="shared-a:1"):
    return ("stage", {"actor": actor, "data": {"seconds": took, "result": "passed"}})


def test_busy_seconds_are_by_process_and_hour(store):
    an_ended(store, "before", at=-9 * HOUR, lines=[stage_line(99.0)])
    an_ended(store, "a", lines=[stage_line(1.5), stage_line(2.0), ("submitted", {})])
    an_ended(store, "b", at=1, lines=[stage_line(0.25, "shared-a:2")])
    an_ended(store, "c", at=2 * HOUR, lines=[stage_line(4.0)])
    an_ended(store, "after", at=9 * HOUR, lines=[stage_line(99.0)])
    hour = int(AT // HOUR)
    assert read(store, figures.busy, AT, AT + 3 * HOUR) == (
        Busy(process="shared-a:1", hour=hour, seconds=3.5),
        Busy(process="shared-a:1", hour=hour + 2, seconds=4.0),
        Busy(process="shared-a:2", hour=hour, seconds=0.25),
    )
    assert read(store, figures.busy, AT + 20 * HOUR, AT + 30 * HOUR) == ()


def test_nobody_was_busy_where_nothing_happened(store):
    assert read(store, figures.busy, AT, AT + HOUR) == ()


# Scans


def finding(host, code, message="m", severity="warning", **evidence):
    return {"host": host, "code": code, "message": message, "severity": severity, "evidence": evidence}


def test_scans_have_what_is_open_on_each_host_by_fingerprint(store):
    some = (
        finding("h1", "open_port", fingerprint="abc"),
        finding("h1", "old", severity="critical", fingerprint="def", status="standing"),
        finding("h1", "security_fixed", severity="info", fingerprint="gone", status="fixed"),
        finding("h1", "weak", severity="info", fingerprint="known", status="accepted"),
        finding("h1", "findings_left_out", fingerprints=["x", "y"]),
        finding("h1", "slower_than_usual"),
        finding("h2", "old", fingerprint="ghi"),
    )
    profile = {"profile": "all", "accept": [{"code": "weak"}]}
    an_ended(store, "s", type="security_scan", hosts=("h1", "h2"), findings=some, parameters=profile)
    an_ended(store, "other", type="health_check", findings=some)
    an_ended(store, "running", type="security_scan", findings=some, stage=Stage.NOTIFY, finished_at=None)
    one, two = sorted(read(store, figures.scans, (), AT + 1), key=lambda scan: scan.host)
    assert one.findings == {"def": Severity.CRITICAL, **dict.fromkeys(["abc", "x", "y"], Severity.WARNING)}
    assert two.findings == {"ghi": Severity.WARNING}
    assert (one.at, one.scope) == (AT - 4, '{"profile":"all"}')
    assert [scan.host for scan in read(store, figures.scans, ("h2",), AT + 1)] == ["h2"]
    assert read(store, figures.scans, (), AT - 4) == ()


def test_the_findings_of_a_scan_are_read_once_however_many_hosts_it_had(store, monkeypatch):
    """All findings of an operation are one text: once for each host would be the square of their number."""
    hosts = tuple(f"h{number}" for number in range(50))
    an_ended(store, "s", type="security_scan", hosts=hosts, findings=[finding(h, "old", fingerprint=h) for h in hosts])
    read_texts = []
    monkeypatch.setattr(figures, "unpack", lambda text: read_texts.append(text) or unpack(text))
    found = read(store, figures.scans, (), AT + 1)
    assert {one.host: dict(one.findings) for one in found} == {host: {host: Severity.WARNING} for host in hosts}
    assert len(read_texts) <= 2, "its findings and its parameters"


def _line(at, kind, incident="", **more):
    known = {"fingerprint": "f1", "rule": "cpu", "host": "h1", "severity": Severity.CRITICAL}
    return Transition(at=AT + at, kind=kind, incident=incident, **{**known, **more})


def _fired(store, *lines, since=0.0, until=HOUR, hosts=()):
    with store.begin() as tx:
        alerts.append(tx, lines)
    return read(store, fired.incidents, AT + since, AT + until, hosts)


def test_an_incident_of_an_alert_begins_with_the_sample_that_made_it_pending(store):
    (first, second) = _fired(
        store,
        _line(10, Kind.PENDING),
        _line(20, Kind.DROPPED),
        _line(30, Kind.PENDING),
        _line(90, Kind.FIRING, "i1"),
        _line(100, Kind.ACKNOWLEDGED, "i1", actor="ann"),
        _line(110, Kind.ACKNOWLEDGED, "i1", actor="bob"),
        _line(150, Kind.REMEDIATED, "i1"),
        _line(200, Kind.RESOLVED, "i1"),
        _line(300, Kind.PENDING, "i1"),
        _line(360, Kind.FIRING, "i2"),
    )
    assert (first.id, first.host, first.rule) == ("i1", "h1", "cpu")
    times = first.start, first.detected, first.acknowledged, first.resolved
    assert [at - AT for at in times] == [30, 90, 100, 200]
    assert first.remedied is True
    assert (second.start - AT, second.detected - AT, second.resolved, second.remedied) == (300, 360, None, None)


def test_incidents_of_alerts_are_the_critical_ones_that_touch_the_time(store):
    everything = (
        _line(10, Kind.FIRING, "over"),
        _line(20, Kind.RESOLVED, "over"),
        _line(30, Kind.FIRING, "lasts", fingerprint="f2", host="h2"),
        _line(50, Kind.RESOLVED, "lasts", fingerprint="f2", host="h2"),
        _line(30, Kind.FIRING, "mild", fingerprint="f3", severity=Severity.WARNING),
        _line(30, Kind.FIRING, "nowhere", fingerprint="f4", host=""),
        _line(70, Kind.FIRING, "later", fingerprint="f5"),
    )
    found = _fired(store, *everything, since=40, until=60)
    assert [(one.id, one.resolved, one.remedied) for one in found] == [("lasts", AT + 50, False)]
    assert [one.id for one in _fired(store, until=45)] == ["over", "lasts"]
    assert [one.id for one in _fired(store, hosts=("h2",))] == ["lasts"]


@pytest.mark.parametrize("seed", range(6))
def test_incidents_are_told_as_by_who_goes_through_all_of_the_history(store, seed):
    chance, lines, stands = random.Random(seed), [], {}
    for number in range(300):
        name = f"f{chance.randrange(8)}"
        kinds = [Kind.ACKNOWLEDGED, Kind.SILENCED, Kind.REMEDIATED, Kind.RESOLVED] if name in stands else [Kind.DROPPED]
        kind = chance.choice([*kinds, Kind.PENDING, Kind.FIRING])
        if kind is Kind.FIRING:
            stands[name] = f"i{number}"
        grave = chance.choice([Severity.CRITICAL, Severity.WARNING])
        here = {"fingerprint": name, "host": "" if name == "f7" else f"h{int(name[1]) % 3}", "severity": grave}
        lines.append(_line(10 * number, kind, stands.get(name, ""), **here))
        if kind is Kind.RESOLVED:
            del stands[name]
    with store.begin() as tx:
        alerts.append(tx, lines)
        every = tx.execute(select(fired.table).order_by(fired.table.c.fingerprint, fired.table.c.id)).all()
    for since, until in ((0, HOUR), (1000, 2000), (2000, 2010), (2900, HOUR), (0, 500)):
        told = fired._told(one for one in every if one.at < AT + until and one.kind in fired._TOLD)
        touching = [one for one in told if one.host and (one.resolved is None or one.resolved >= AT + since)]
        found = read(store, fired.incidents, AT + since, AT + until)
        assert sorted(found, key=lambda one: one.id) == sorted(touching, key=lambda one: one.id)
        of_two = read(store, fired.incidents, AT + since, AT + until, ("h1", "h2"))
        assert of_two == tuple(one for one in found if one.host in {"h1", "h2"})


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)  # PostgreSQL goes through a small table in any case
def test_the_incidents_of_one_host_are_found_by_an_index(store):
    with store.read() as connection:
        query = str(
            fired._lines(AT, AT + HOUR, ["h1"]).compile(
                connection, compile_kwargs={"literal_binds": True, "render_postcompile": True}
            )
        )
        plan = [row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {query}"))]
    assert any("ix_alert_history_critical (host=?" in step for step in plan), plan
    assert not any(step.startswith("SCAN alert_history") for step in plan), plan
