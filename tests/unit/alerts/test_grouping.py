"""Groups beside the words of Alertmanager: its dispatcher, and what its notification log lets through."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsqueue.alerts import grouping
from opsqueue.model.alert import Alert, AlertState, Group
from opsqueue.model.alert_rule import Route
from opsqueue.model.names import Severity
from opsqueue.notify.alert_message import of_group

AT = 1_800_000_000.0
ROUTE = Route()


@dataclass
class Room:
    """One group, its alerts by name, and what it told."""

    route: Route = ROUTE
    alerts: dict[str, Alert] = field(default_factory=dict)
    group: Group | None = None
    told: list = field(default_factory=list)

    def put(self, at, alert):
        self.alerts[alert.fingerprint] = alert
        self.group = self.group or grouping.group_of(alert, self.route, AT + at)
        return alert

    def look(self, at):
        """What is told at that second, as words."""
        alerts = list(self.alerts.values())
        if self.group is None or not grouping.due(self.group, alerts, AT + at):
            return None
        self.group, notice = grouping.flush(self.group, alerts, self.route, AT + at)
        if notice is None:
            return None
        self.told.append(notice)
        return notice.why, [one.host for one in notice.firing], [one.host for one in notice.resolved]


@pytest.fixture
def room():
    return Room()


def over(alert, at):
    return replace(alert, state=AlertState.INACTIVE, resolved_at=AT + at)


def test_the_first_message_waits_and_carries_everything_that_came(room, firing):
    room.put(0, firing(host="h1"))
    room.put(20, firing(host="h2", fired=20))
    assert room.look(29) is None
    assert room.look(30) == ("new", ["h1", "h2"], [])


def test_a_new_member_is_told_after_the_interval(room, firing):
    room.put(0, firing(host="h1"))
    assert room.look(30)
    room.put(60, firing(host="h2", fired=60))
    assert room.look(329) is None
    assert room.look(330) == ("changed", ["h1", "h2"], [])


def test_unchanged_it_is_repeated_after_hours_only(room, firing):
    room.put(0, firing(host="h1"))
    said = [(at, found[0]) for at in range(0, 30_000, 10) if (found := room.look(at))]
    assert said == [(30, "new"), (14_430, "repeat"), (28_830, "repeat")]


def test_what_is_over_is_told_once_and_not_again(room, firing):
    one, two = room.put(0, firing(host="h1")), room.put(0, firing(host="h2"))
    room.look(30)
    room.put(60, over(one, 60))
    assert room.look(330) == ("changed", ["h2"], ["h1"])
    assert room.look(630) is None, "fewer than before is nothing new"
    room.put(700, over(two, 700))
    assert room.look(930) == ("resolved", [], ["h2"])
    assert room.look(1230) is None
    assert grouping.empty(room.group, list(room.alerts.values()))


def test_what_was_never_told_is_not_told_to_be_over(room, firing):
    """Alertmanager: a group of which nothing was told yet does not begin with what is over."""
    one = room.put(0, firing(host="h1"))
    room.put(10, over(one, 10))
    assert [room.look(at) for at in (30, 330, 630)] == [None, None, None]


def test_it_fires_again_and_is_told_again(room, firing):
    one = room.put(0, firing(host="h1"))
    room.look(30)
    room.put(60, over(one, 60))
    room.put(120, firing(host="h1", fired=120))
    assert room.look(330) == ("changed", ["h1"], []), "another incident, though nobody heard the end of the first"


def test_what_gets_worse_is_told_at_once(room, firing):
    one = room.put(0, firing(host="h1"))
    room.look(30)
    room.put(40, replace(one, severity=Severity.CRITICAL))
    assert room.look(40) == ("worse", ["h1"], [])
    room.put(50, replace(one, severity=Severity.INFO))
    assert [room.look(at) for at in (50, 340, 640)] == [None, None, None], "what gets better is not"


def test_what_is_acknowledged_is_not_repeated_and_its_end_is_told(room, firing):
    one = room.put(0, firing(host="h1"))
    room.look(30)
    known = room.put(60, replace(one, acked_by="ann", acked_until=AT + 20_000))
    assert [at for at in range(0, 20_000, 100) if room.look(at)] == []
    assert room.look(20_300)[0] == "repeat"
    room.put(20_400, over(known, 20_400))
    assert room.look(20_600) == ("resolved", [], ["h1"])


def test_a_muted_alert_is_not_told_and_when_it_is_heard_again_it_is(room, firing):
    one = room.put(0, firing(host="h1", muted_by=("silence:s",)))
    assert room.look(30) is None
    room.put(60, replace(one, muted_by=()))
    assert room.look(330) == ("new", ["h1"], [])


def test_a_muted_alert_ends_quietly_and_is_not_over_while_it_fires(room, firing):
    one, two = room.put(0, firing(host="h1")), room.put(0, firing(host="h2"))
    room.look(30)
    quiet = room.put(60, replace(one, muted_by=("silence:s",)))
    assert room.look(330) is None, "silenced is not resolved"
    room.put(400, replace(quiet, muted_by=()))
    assert room.look(630) is None, "and it was told of before"
    assert two.incident in room.group.sent


def test_one_that_flaps_is_told_once_as_that(room, firing):
    one = room.put(0, firing(host="h1"))
    room.look(30)
    told = []
    for number in range(20):
        at = 330 + 300 * number
        state = replace(one, flapping=True, incident=f"i{number}")
        room.put(at, state if number % 2 else over(state, at))
        told += [room.look(at)]
    assert [one for one in told if one] == [("changed", [], [])]
    assert [alert.host for alert in room.told[-1].flapping] == ["h1"]
    room.put(9000, replace(one, incident="last"))
    assert room.look(9000) == ("changed", ["h1"], []), "steady, and it fires"


def test_the_first_route_that_matches_takes_it(firing):
    routes = (
        Route(name="db", match=('host=~"db-.*"',), group_by=("host",)),
        Route(name="loud", match=('severity="critical"',)),
    )
    assert grouping.route_of(firing(host="db-1", severity="critical"), routes).name == "db"
    assert grouping.route_of(firing(severity="critical"), routes).name == "loud"
    assert grouping.route_of(firing(), routes).name == "default"


def test_a_group_is_what_has_the_same_labels(firing):
    key = [
        grouping.group_of(alert, ROUTE, AT).key for alert in (firing(host="h1"), firing(host="h2"), firing(rule="disk"))
    ]
    assert key[0] == key[1] != key[2]
    by_host = Route(name="x", group_by=("host", "nothing"))
    assert grouping.group_of(firing(host="h1"), by_host, AT).labels == {"host": "h1", "nothing": ""}


@given(
    st.lists(
        st.tuples(
            st.integers(1, 2000),
            st.sampled_from(["h1", "h2", "h3"]),
            st.sampled_from(["fire", "end", "mute", "hear", "worse"]),
        ),
        max_size=40,
    )
)
def test_nothing_is_told_too_soon_or_without_a_reason(steps):
    room, at = Room(), 0
    by_host: dict[str, Alert] = {}
    last, known = None, set()
    for wait, host, what in steps:
        at += wait
        now = by_host.get(host)
        if what == "fire" and (now is None or not now.firing):
            name = {"rule": "cpu", "host": host}
            by_host[host] = Alert(
                fingerprint=host,
                rule="cpu",
                labels=name,
                severity=Severity.WARNING,
                state=AlertState.FIRING,
                fired_at=AT + at,
                incident=f"{host}@{at}",
            )
        elif now is not None:
            by_host[host] = {
                "end": over(now, at),
                "mute": replace(now, muted_by=("silence:s",)),
                "hear": replace(now, muted_by=()),
                "worse": replace(now, severity=Severity.CRITICAL),
                "fire": now,
            }[what]
        if host in by_host:
            room.put(at, by_host[host])
        found = room.look(at)
        if found is None:
            continue
        why, hosts, ended = found
        assert hosts or ended
        assert not [host for host in hosts if by_host[host].muted_by]
        assert why in {"worse", "new"} or last is None or at - last >= ROUTE.group_interval_s
        assert set(ended) <= known, "nothing ends of which nobody knew"
        known |= set(hosts)
        last = at


def test_a_message_to_a_program_holds_as_many_alerts_as_receivers_take(room, firing):
    """413 would be the end of the whole message."""
    labels = {f"label_{number}": "ü" * 1000 for number in range(20)}
    for number in range(60):
        alert = firing(host=f"h{number}")
        room.put(0, replace(alert, labels={**alert.labels, **labels}))
    assert room.look(30)
    payload = of_group(room.told[0], {}).payload
    assert payload["alerts_total"] == 60
    assert 1 <= len(payload["alerts"]) < 60
    assert len(json.dumps(payload)) < 2**20
    one = replace(room.told[0], firing=(replace(firing(), note="x" * 10**6),))
    assert len(of_group(one, {}).payload["alerts"]) == 1, "a single one is told, however long"
