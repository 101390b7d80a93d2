from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from opsqueue.gates import maintenance_window
from opsqueue.gates.maintenance_window import open_hosts
from opsqueue.model.host import Host
from opsqueue.model.verdict import Deny, Hold, Pass
from opsqueue.model.window import parse_window


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def window(spec, name="w", **scope):
    return parse_window(name, spec, **scope)


NIGHT = window("02:00-04:00", "night")
NOON = window("11:00-13:00", "noon")
LATER = window("16:00-17:00", "later")

# The clock stands at Sunday 2026-03-08 12:00 UTC.
ROWS = [
    ("no windows at all", {}, Pass, "no window is set", None),
    ("a desk", {"desk": True}, Pass, "it changes no host", None),
    ("none covers these hosts", {"windows": (window("02:00-04:00", hosts=("mail",)),)}, Pass, "no window is set", None),
    ("none covers this type", {"windows": (window("02:00-04:00", types=("backup",)),)}, Pass, "no window is set", None),
    ("inside", {"windows": (NOON,)}, Pass, "inside its windows", None),
    ("one of several is open", {"windows": (NIGHT, NOON)}, Pass, "inside its windows", None),
    (
        "closed",
        {"windows": (NIGHT,)},
        Hold,
        "web-1, db-1: closed now; night (02:00-04:00) next opens 2026-03-09T02:00:00Z",
        "2026-03-09T02:00:00",
    ),
    (
        "closed: the earliest of several",
        {"windows": (NIGHT, LATER)},
        Hold,
        "2026-03-08T16:00:00Z",
        "2026-03-08T16:00:00",
    ),
    (
        "told in the window's own zone",
        {"windows": (window("10:00-11:00", timezone="America/New_York"),)},
        Hold,
        "2026-03-08T14:00:00Z (2026-03-08T10:00:00-04:00 America/New_York)",
        "2026-03-08T14:00:00",
    ),
    (
        "one host closed, and never open together with the other",
        {"windows": (window("11:00-13:00", groups=("web",)), window("02:00-04:00", "night", hosts=("db-1",)))},
        Pass,
        "1 of 2 hosts may go now; db-1: closed now; night",
        None,  # one is open at noon, the other at night
    ),
    (
        "hosts open at different times of one day, and together later",
        {
            "windows": (
                window("Sunday 16:00-17:00", "a", hosts=("web-1",)),
                window("Mon,Wed 01:00-02:00", "b", hosts=("web-1",)),
                window("Wed 01:30-03:00", "c", hosts=("db-1",)),
            )
        },
        Hold,
        "the first may go at 2026-03-08T16:00:00Z",
        "2026-03-08T16:00:00",
    ),
    (
        "the host opens while the other closes",
        {"windows": (window("11:00-13:00", hosts=("web-1",)), window("12:30-13:30", hosts=("db-1",)))},
        Pass,
        "1 of 2 hosts may go now; db-1: closed now",
        None,
    ),
    (
        "never open at once",
        {
            "windows": (
                window("First Sunday 00:00-06:00", hosts=("web-1",)),
                window("Tuesday 00:00-06:00", hosts=("db-1",)),
            )
        },
        Hold,
        "the first may go at 2026-03-10T00:00:00Z",
        "2026-03-10T00:00:00",
    ),
    (
        "own window and the hosts' on different days",
        {"windows": (window("Sunday 12:30-12:45", "mine"),), "own_window": window("Monday 10:00-11:00", "own")},
        Hold,
        "the operation itself: closed now; own",
        None,
    ),
    ("refusing", {"windows": (window("02:00-04:00", policy="reject"),)}, Deny, "its policy is reject", None),
    (
        "refusing, but another would wait",
        {"windows": (window("02:00-04:00", policy="reject"), LATER)},
        Hold,
        "closed now",
        "2026-03-08T16:00:00",
    ),
    ("refusing and open", {"windows": (window("11:00-13:00", policy="reject"),)}, Pass, "inside", None),
    (
        "one host refuses",
        {"windows": (window("02:00-04:00", policy="reject", hosts=("db-1",)), window("16:00-17:00", hosts=("web-1",)))},
        Deny,
        "db-1",
        None,
    ),
    ("own window open, hosts without", {"own_window": NOON}, Pass, "inside", None),
    ("own window closed", {"own_window": LATER}, Hold, "the operation itself: closed", "2026-03-08T16:00:00"),
    ("own window narrows", {"windows": (NOON,), "own_window": window("12:30-20:00")}, Hold, "", "2026-03-08T12:30:00"),
    (
        "own window cannot widen",
        {"windows": (NIGHT,), "own_window": NOON},
        Hold,
        "no time at which one of them may go",
        None,
    ),
    (
        "own window is the host's",
        {"windows": (NIGHT,), "own_window": NIGHT},
        Hold,
        "the operation itself",
        "2026-03-09T02:00:00",
    ),
    ("own window refuses", {"own_window": window("02:00-04:00", policy="reject")}, Deny, "the operation itself", None),
    ("own window asked for, not known", {"operation": {"window": "gone"}}, Hold, "'gone' is not known here", None),
    ("no host known", {"hosts": (), "windows": (NOON,)}, Hold, "hosts of this operation are not known", None),
    ("looking", {"operation": {"looking": True}, "windows": (NIGHT,)}, Pass, "changes nothing", None),
    ("opens this second", {"windows": (window("12:00-13:00"),)}, Pass, "inside", None),
    ("closes this second", {"windows": (window("11:00-12:00"),)}, Hold, "closed now", "2026-03-09T11:00:00"),
    ("open as long as it takes", {"windows": (NOON,), "takes": 3600.0}, Pass, "inside", None),
    (
        "closes before it is over",
        {"windows": (NOON,), "takes": 3601.0},
        Hold,
        "noon (11:00-13:00) closes 2026-03-08T13:00:00Z, and this takes up to 3601 s; next 2026-03-09T11:00:00Z",
        "2026-03-09T11:00:00",
    ),
    ("takes just as long as each opening", {"windows": (NOON,), "takes": 7200.0}, Pass, "inside", None),
    ("takes longer than any opening", {"windows": (NOON,), "takes": 7201.0}, Pass, "inside", None),
    ("begins whatever it takes", {"windows": (window("11:00-13:00", overrun=True),), "takes": 3601.0}, Pass, "", None),
    ("a window follows", {"windows": (NOON, window("13:00-14:00")), "takes": 7200.0}, Pass, "inside", None),
    (
        "a longer one comes later",
        {"windows": (NOON, window("Last Friday 10:00-18:00", "long")), "takes": 4 * 3600.0},
        Hold,
        "next 2026-03-27T10:00:00Z",
        "2026-03-27T10:00:00",
    ),
    ("never closes", {"windows": (window("00:00-24:00"),), "takes": 1e7}, Pass, "inside", None),
    (
        "own window closes before it is over",
        {"windows": (window("00:00-24:00"),), "own_window": NOON, "takes": 3601.0},
        Hold,
        "web-1, db-1: w (00:00-24:00) closes 2026-03-08T13:00:00Z",
        "2026-03-09T11:00:00",
    ),
    (
        "own window and the hosts' are together open for less than each",
        {"windows": (NOON,), "own_window": window("11:30-12:30"), "takes": 2400.0},
        Hold,
        "closes 2026-03-08T12:30:00Z, and this takes up to 2400 s",
        "2026-03-09T11:30:00",
    ),
    (
        "own window and the hosts' are never together open for as long as it takes",
        {"windows": (NOON,), "own_window": window("11:30-12:30"), "takes": 3601.0},
        Pass,
        "inside",
        None,
    ),
    (
        "own window alone closes before it is over",
        {"own_window": NOON, "takes": 3601.0},
        Hold,
        "web-1, db-1: noon (11:00-13:00) closes 2026-03-08T13:00:00Z",
        "2026-03-09T11:00:00",
    ),
    (
        "own window refuses, and it closes before it is over",
        {"own_window": window("11:00-13:00", policy="reject"), "takes": 3601.0},
        Deny,
        "its policy is reject",
        None,
    ),
    (
        "refusing, and it closes before it is over",
        {"windows": (window("11:00-13:00", policy="reject"),), "takes": 3601.0},
        Deny,
        "its policy is reject",
        None,
    ),
    (
        "one host has more time",
        {"windows": (window("11:00-13:00", hosts=("db-1",)), window("11:00-15:00", hosts=("web-1",))), "takes": 6900.0},
        Pass,
        "1 of 2 hosts may go now; db-1: w (11:00-13:00) closes 2026-03-08T13:00:00Z",
        None,
    ),
]


@pytest.mark.parametrize(("change", "wanted", "why", "until"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_maintenance_window(evidence, change, wanted, why, until):
    verdict = maintenance_window(evidence(**change))
    assert isinstance(verdict, wanted)
    assert why in verdict.why
    assert getattr(verdict, "until", None) == (None if until is None else at(until))


def test_thousands_of_hosts_are_counted_not_listed(evidence):
    hosts = tuple(Host(name=f"web-{number}", groups=("web",)) for number in range(5000))
    windows = (
        NIGHT,
        window("Sunday 01:00-05:00", groups=("web",)),
        window("First Sunday 00:00-06:00", hosts=("db-1",)),
    )
    seen = evidence(hosts=hosts, windows=windows)
    verdict = maintenance_window(seen)
    assert "web-0, web-1, web-2 and 4997 more" in verdict.why
    assert verdict.until == at("2026-03-09T02:00:00")


def test_only_hosts_whose_windows_are_open_may_go(evidence):
    windows = (window("11:00-13:00", hosts=("web-1",)), window("02:00-04:00", hosts=("db-1",)))
    assert open_hosts(evidence(windows=windows)) == ("web-1",)
    assert open_hosts(evidence(windows=windows, own_window=NIGHT)) == ()
    assert open_hosts(evidence(windows=windows[:1])) == ("web-1", "db-1")


def alone(spec, **more):
    """A window as hosts have them of their own."""
    return (window(spec, "its own", **more),)


HOSTS_OF_THEIR_OWN = [
    ("no other counts", {"windows": (NIGHT,)}, {"web-1": NOON, "db-1": NOON}, Pass, "inside its windows", None),
    ("not even an open one", {"windows": (NOON,)}, {"web-1": LATER, "db-1": LATER}, Hold, "web-1, db-1: closed", 16),
    ("one has its own", {"windows": (NIGHT,)}, {"web-1": NOON}, Pass, "1 of 2 hosts may go now; db-1: closed", None),
    ("closed, the other open", {"windows": (NOON,)}, {"db-1": LATER}, Pass, "1 of 2 hosts may go now; db-1", None),
    ("the other stands under none", {}, {"db-1": LATER}, Pass, "1 of 2 hosts may go now; db-1: closed now", None),
    ("the operation's own narrows", {"own_window": LATER}, {"web-1": NOON, "db-1": NOON}, Hold, "the operation", None),
    ("the same one, for another reason", {"windows": (LATER,)}, {"db-1": LATER}, Hold, "db-1, web-1: closed", 16),
]


@pytest.mark.parametrize(
    ("change", "own", "wanted", "why", "hour"),
    [row[1:] for row in HOSTS_OF_THEIR_OWN],
    ids=[row[0] for row in HOSTS_OF_THEIR_OWN],
)
def test_a_host_with_windows_of_its_own_heeds_no_other(evidence, change, own, wanted, why, hour):
    base = evidence(**change)
    hosts = tuple(
        host.model_copy(update={"windows": (own[host.name],)} if host.name in own else {}) for host in base.hosts
    )
    verdict = maintenance_window(replace(base, hosts=hosts))
    assert isinstance(verdict, wanted)
    assert why in verdict.why
    assert getattr(verdict, "until", None) == (None if hour is None else at(f"2026-03-08T{hour}:00:00"))


def test_of_several_windows_of_its_own_one_is_enough(evidence):
    host = Host(name="web-1", windows=(NIGHT, NOON))
    assert isinstance(maintenance_window(evidence(hosts=(host,))), Pass)
    assert open_hosts(evidence(hosts=(host, Host(name="db-1", windows=(NIGHT,))))) == ("web-1",)


def test_thousands_of_hosts_with_the_same_window_of_their_own_are_told_together(evidence):
    hosts = tuple(Host(name=f"web-{number}", windows=alone("02:00-04:00")) for number in range(5000))
    verdict = maintenance_window(evidence(hosts=hosts, windows=(NOON,)))
    assert "web-0, web-1, web-2 and 4997 more: closed now; its own (02:00-04:00)" in verdict.why
