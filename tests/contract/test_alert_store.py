"""Alerts in the record, told once for SQLite and PostgreSQL: one of two who come at once writes, the other sees it."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from opsqueue.alerts.matching import new_silence
from opsqueue.alerts.state import Limits, begin, step
from opsqueue.errors import Conflict, NotFound
from opsqueue.model.alert import Attempt, Group, Kind, Observation, Transition
from opsqueue.model.alert_rule import AlertRule
from opsqueue.model.kind import Metric
from opsqueue.model.matcher import parse_matchers
from opsqueue.model.names import Severity
from opsqueue.store import alert_parts, alerts, samples

AT = 1_800_000_000.0
ODD = "quotes ' \" % _ \\ tabs\t lines\n Zürich 日本 🚀 \x7f"
RULE = AlertRule(name="cpu", metric="cpu_usage", threshold=80, for_s=0)


def fired(at=0.0, host="h1", value=85.0, known=None):
    labels = {"rule": "cpu", "host": host, "part": ODD}
    old = known or begin(RULE, labels)
    return old, step(RULE, old, Observation(labels=labels, at=AT + at, value=value, note=ODD), Limits())


def write(store, old, found):
    with store.begin() as tx:
        return alerts.save(tx, old, found.alert, found.transitions)


def get(store, fingerprint):
    with store.read() as connection:
        return alerts.get(connection, fingerprint)


def history(store, **more):
    with store.read() as connection:
        return alerts.history(connection, **more)


def at_once(number, work):
    together, answers, faults = threading.Barrier(number), [], []

    def run(index):
        together.wait()
        try:
            answers.append(work(index))
        except BaseException as fault:  # noqa: BLE001  # given on to the test below
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults, faults
    return answers


def test_an_alert_comes_back_as_it_was_written(store):
    old, found = fired()
    assert write(store, old, found)
    written = get(store, old.fingerprint)
    assert written == replace(found.alert, version=1)
    full = replace(
        written, flapping=True, acked_by="ann", acked_at=1.5, acked_until=2.5, muted_by=("silence:s",), kept_since=3.25
    )
    with store.begin() as tx:
        assert alerts.save(tx, written, full)
    assert get(store, old.fingerprint) == replace(full, version=2)
    with store.read() as connection:
        here = {old.fingerprint: replace(full, version=2)}
        assert alerts.of_hosts(connection, ["h1", "h2"]) == {"h1": here, "h2": {}}
        assert alerts.counts(connection) == {("cpu", "h1"): 1}
        assert alerts.active(connection) == alerts.every(connection) == list(here.values())
        assert [one.fingerprint for one in alerts.of_incidents(connection, [full.incident, "x"])] == [old.fingerprint]
        assert [one.host for one in alerts.starting_with(connection, full.incident[:6])] == ["h1"]


def test_who_saw_an_older_one_writes_nothing(store):
    old, found = fired()
    write(store, old, found)
    assert not write(store, old, found), "it was new to both"
    written = get(store, old.fingerprint)
    _, over = fired(60, value=10.0, known=written)
    assert write(store, written, over)
    assert not write(store, written, over)
    assert [line.kind.value for line in history(store)] == ["resolved", "firing"]


@pytest.mark.parametrize("_round", range(3))
def test_of_many_who_judge_at_once_one_writes_the_transition(store, _round):
    old, found = fired()
    assert sorted(at_once(8, lambda _: write(store, old, found))) == [False] * 7 + [True]
    written = get(store, old.fingerprint)
    _, over = fired(60, value=10.0, known=written)
    assert sorted(at_once(8, lambda _: write(store, written, over))) == [False] * 7 + [True]
    assert [line.kind.value for line in history(store)] == ["resolved", "firing"]


def test_history_is_appended_only_and_asked_by_time(store):
    for minute in range(4):
        write(store, *fired(60 * minute, host=f"h{minute}"))
    assert [line.host for line in history(store, since=AT + 60, until=AT + 180)] == ["h2", "h1"]
    newest = history(store, limit=1)[0]
    assert (newest.host, newest.kind, newest.severity, newest.value) == ("h3", Kind.FIRING, Severity.WARNING, 85.0)
    with pytest.raises(DBAPIError, match="appended only"), store.begin() as tx:
        tx.execute(text("UPDATE alert_history SET reason = 'x'"))
    with store.begin() as tx:
        assert alerts.prune(tx, AT + 120) == 2


def test_half_a_character_in_a_message_does_not_stop_the_history(store):
    with store.begin() as tx:
        alerts.append(tx, [Transition(at=AT, kind=Kind.FIRING, fingerprint="f", rule="r", reason="a\x00b\ud800")])
    assert history(store)[0].reason == "a\\x00b\\ud800"


def test_an_alert_that_changed_meanwhile_is_not_forgotten(store):
    old, found = fired()
    write(store, old, found)
    first = get(store, old.fingerprint)
    _, over = fired(60, value=10.0, known=first)
    write(store, first, over)
    with store.begin() as tx:
        assert not alerts.forget(tx, first)
        assert alerts.forget(tx, replace(first, version=2))
    assert get(store, old.fingerprint) is None


def test_what_ended_is_told_from_history_with_its_beginning(store):
    old, found = fired()
    write(store, old, found)
    first = get(store, old.fingerprint)
    _, over = fired(60, value=10.0, known=first)
    write(store, first, over)
    again = get(store, old.fingerprint)
    _, second = fired(120, known=again)
    write(store, again, second)
    with store.read() as connection:
        ((line, began),) = alerts.ended(connection, AT, 10)
        assert (line.incident, line.at, began) == (first.incident, AT + 60, AT)
        assert alerts.ended(connection, AT + 61, 10) == []
        assert alerts.ended(connection, AT, 0) == []
        assert [one.kind for one in alerts.named(connection, old.fingerprint[:8], 2)] == ["firing", "resolved"]
        assert {one.incident for one in alerts.named(connection, first.incident, 9)} == {first.incident}
        assert alerts.named(connection, "%", 9) == []


def test_that_a_rule_was_asked_is_no_error_of_it(store):
    with store.begin() as tx:
        alerts.note_asked(tx, {"cpu": "d1", "mem": "d1"}, AT)
        alerts.note_asked(tx, {"cpu": "d2"}, AT + 60)
        alerts.note_health(tx, "h1", ["mem"], {"cpu": "x"}, AT)
    with store.read() as connection:
        assert alerts.noted(connection, ["h1"]) == ({"h1": {"cpu"}}, {"cpu": "d2", "mem": "d1"})
        assert alerts.health(connection) == {"cpu": [("h1", "x", AT)]}
    with store.begin() as tx:
        alerts.forget_health(tx, ["mem"])
    with store.read() as connection:
        assert alerts.noted(connection, ["h1", "h2"])[1] == {"mem": "d1"}


def test_the_health_of_rules(store):
    with store.begin() as tx:
        alerts.note_health(tx, "h1", ["disk"], {"cpu": ODD, "mem": "x"}, AT)
        alerts.note_health(tx, "h1", ["mem"], {"cpu": "y"}, AT + 60)
        alerts.note_health(tx, "h2", ["cpu"], {}, AT + 60)
    with store.read() as connection:
        assert alerts.health(connection) == {"cpu": [("h1", "y", AT + 60)]}
        assert alerts.noted(connection, ["h1", "h2"])[0] == {"h1": {"cpu"}}
        assert alerts.noted(connection, ["h2"])[0] == {}
    with store.begin() as tx:
        alerts.forget_health(tx, ["disk"])
    with store.read() as connection:
        assert alerts.health(connection) == {}


def test_when_each_host_was_last_heard(store):
    metrics = {
        name: Metric(name=name, value=1.0, unit="percent") for name in ("disk_usage:/", "disk_usage_x", "cpu_usage")
    }
    with store.begin() as tx:
        for at in (0, 60):
            samples.add(tx, [samples.Taken(host="h1", at=AT + at, metrics=metrics)])
    with store.read() as connection:
        assert alert_parts.last_seen(connection, "cpu_usage") == [("h1", "cpu_usage", AT + 60, 60)]
        assert alert_parts.last_seen(connection, "disk_usage:*") == [("h1", "disk_usage:/", AT + 60, 60)]
        assert alert_parts.last_seen(connection, "nothing") == []


# Custom rules


def test_custom_rules(store):
    rule = RULE.model_copy(update={"name": ODD.replace("\t", " ").replace("\n", " ").replace("\x7f", "")})
    with store.begin() as tx:
        alert_parts.put_rule(tx, rule, by="ann", now=AT, new=True)
        alert_parts.put_rule(tx, rule, by="bob", now=AT + 1, new=True)
    with store.read() as connection:
        assert alert_parts.custom_rules(connection) == [rule]
    other = AlertRule(name=rule.name, metric="cpu_usage", threshold=90)
    with pytest.raises(Conflict, match="another alert rule"), store.begin() as tx:
        alert_parts.put_rule(tx, other, by="ann", now=AT, new=True)
    with store.begin() as tx:
        alert_parts.put_rule(tx, other, by="ann", now=AT)
    with store.read() as connection:
        assert alert_parts.custom_rules(connection) == [other]
    with store.begin() as tx:
        alert_parts.delete_rule(tx, rule.name)
    with pytest.raises(NotFound), store.begin() as tx:
        alert_parts.delete_rule(tx, rule.name)


def test_a_rule_of_another_version_does_not_stop_the_others(store, caplog):
    with store.begin() as tx:
        alert_parts.put_rule(tx, RULE, by="ann", now=AT)
        row = {"name": "later", "rule": '{"name": "later", "new_field": 1}', "by": "ann", "at": AT}
        tx.execute(text("INSERT INTO alert_rules VALUES (:name, :rule, :by, :at, :at)"), row)
    with store.read() as connection:
        assert alert_parts.custom_rules(connection) == [RULE]
    assert "FAILED to read the alert rule later" in caplog.text


# Silences


def a_silence(start=0, end=3600, host="h1"):
    sets = [parse_matchers([f'host="{host}"', 'rule=~"c.*"'])]
    return new_silence(sets, starts_at=AT + start, ends_at=AT + end, by="ann", comment=ODD, now=AT)


def test_silences(store):
    one, other = a_silence(), a_silence(host="h2", end=60)
    with store.begin() as tx:
        assert [alert_parts.add_silence(tx, each) for each in (one, one, other)] == [True, False, True]
    with store.read() as connection:
        assert alert_parts.get_silence(connection, one.id[:8]) == one
        assert [each.id for each in alert_parts.silences_until(connection, AT + 60)] == [one.id]
        with pytest.raises(NotFound, match="more than one"):
            alert_parts.get_silence(connection, "")
        with pytest.raises(NotFound, match="none"):
            alert_parts.get_silence(connection, "%")
    later = replace(one, ends_at=AT + 7200, updated_at=AT + 5)
    with store.begin() as tx:
        assert alert_parts.change_silence(tx, one, later)
        assert not alert_parts.change_silence(tx, one, later), "it is not any more as it was seen"
        assert alert_parts.prune_silences(tx, AT + 100) == 1
    with store.read() as connection:
        assert alert_parts.get_silence(connection, one.id) == later


# Groups, steps, tries


def a_group(**change):
    base = Group(key="default:1", route="default", labels={"rule": ODD}, next_at=AT, number=5)
    return replace(base, **change)


def test_one_of_many_tells_for_a_group(store):
    told = a_group(sent_at=AT, sent={"i1": "warning"}, resolved=("i0",), number=6)

    def tell(before):
        with store.begin() as tx:
            return alert_parts.save_group(tx, before, told)

    assert sorted(at_once(8, lambda _: tell(a_group()))) == [False] * 7 + [True]
    with store.read() as connection:
        found = alert_parts.groups(connection)["default:1"]
    assert found == replace(told, version=1)
    assert sorted(at_once(8, lambda _: tell(found))) == [False] * 7 + [True]
    with store.begin() as tx:
        assert not alert_parts.forget_group(tx, found)
        assert alert_parts.forget_group(tx, replace(found, version=2))


def test_each_step_of_an_incident_is_taken_once(store):
    def take(_):
        with store.begin() as tx:
            return alert_parts.take_step(tx, "i1", 0, AT)

    assert sorted(at_once(8, take)) == [False] * 7 + [True]
    with store.begin() as tx:
        assert alert_parts.take_step(tx, "i1", 1, AT + 5)
        assert alert_parts.take_step(tx, "i2", 0, AT + 9)
    with store.read() as connection:
        assert alert_parts.steps_taken(connection, ["i1", "i2", "i3"]) == {"i1": {0, 1}, "i2": {0}}
    with store.begin() as tx:
        alert_parts.prune_steps(tx, AT + 6)
        assert alert_parts.steps_taken(tx, ["i1", "i2"]) == {"i2": {0}}


def an_attempt(number=1, **change):
    base = Attempt(
        operation_id=f"op-{number}",
        rule="cpu",
        host="h1",
        incident="i1",
        number=number,
        type="service_restart",
        at=AT + number,
    )
    return replace(base, **change)


def test_a_try_is_written_once_and_kept_while_it_is_at_it(store):
    with store.begin() as tx:
        assert alert_parts.add_attempt(tx, an_attempt())
        assert not alert_parts.add_attempt(tx, an_attempt())
        assert alert_parts.add_attempt(tx, an_attempt(2, host="h2"))
        assert alert_parts.add_attempt(tx, an_attempt(3, state="proposed", host="h3"))
    with store.read() as connection:
        assert alert_parts.attempts(connection, "cpu", "h1", AT + 999) == [an_attempt()], "old, and running"
        assert alert_parts.hosts_wanting(connection, "service_restart", AT, AT + 9) == {"h1", "h2"}
        assert alert_parts.hosts_wanting(connection, "service_restart", AT + 2, AT + 9) == {"h2"}
        assert [one.number for one in alert_parts.running_attempts(connection)] == [1, 2]
    ended = an_attempt(state="failed", ended_at=AT + 70)
    with store.begin() as tx:
        alert_parts.save_attempt(tx, ended)
        assert alert_parts.attempts(tx, "cpu", "h1", AT) == [ended]
        assert alert_parts.attempts(tx, "cpu", "h1", AT + 999) == []
        assert alert_parts.prune_attempts(tx, AT + 999) == 2, "not the one that is still at it"
