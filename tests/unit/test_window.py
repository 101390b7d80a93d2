from __future__ import annotations

import time
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsqueue.errors import InvalidRequest
from opsqueue.model.instant import local_text, utc_text
from opsqueue.model.window import Occurrence, parse_window, together
from opsqueue.model.window_left_out import left_out

HOUR = 3600.0
NEW_YORK = "America/New_York"


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def window(spec, timezone="UTC", **scope):
    return parse_window("w", spec, timezone=timezone, **scope)


def stretches(spec, timezone, begin, end):
    """What is open between two UTC instants, as (local opening, local closing, real hours)."""
    zone = ZoneInfo(timezone)
    found = []
    for each in window(spec, timezone).occurrences(utc(begin), 20):
        if each.opens < utc(end):
            opens, closes = (
                datetime.fromtimestamp(at, zone).strftime("%d %H:%M %Z") for at in (each.opens, each.closes)
            )
            found.append((opens, closes, each.seconds / HOUR))
    return found


# The measured table: New York loses 02:00-03:00 on 8 March 2026 and has 01:00-02:00 twice on 1 November.
GAP = ("2026-03-07T17:00", "2026-03-08T16:00")
FOLD = ("2026-10-31T16:00", "2026-11-01T17:00")
PLAIN = ("2026-06-06T16:00", "2026-06-07T16:00")
CLOCK_CHANGES = [
    ("02:00-04:00", NEW_YORK, PLAIN, [("07 02:00 EDT", "07 04:00 EDT", 2)]),
    ("02:00-04:00", NEW_YORK, GAP, [("08 03:00 EDT", "08 04:00 EDT", 1)]),
    ("02:00-04:00", NEW_YORK, FOLD, [("01 02:00 EST", "01 04:00 EST", 2)]),
    ("Sunday 01:00-05:00", NEW_YORK, PLAIN, [("07 01:00 EDT", "07 05:00 EDT", 4)]),
    ("Sunday 01:00-05:00", NEW_YORK, GAP, [("08 01:00 EST", "08 05:00 EDT", 3)]),
    ("Sunday 01:00-05:00", NEW_YORK, FOLD, [("01 01:00 EDT", "01 05:00 EST", 5)]),
    ("02:15-02:45", NEW_YORK, PLAIN, [("07 02:15 EDT", "07 02:45 EDT", 0.5)]),
    ("02:15-02:45", NEW_YORK, GAP, []),
    ("02:15-02:45", NEW_YORK, FOLD, [("01 02:15 EST", "01 02:45 EST", 0.5)]),
    ("22:00-02:30", NEW_YORK, PLAIN, [("06 22:00 EDT", "07 02:30 EDT", 4.5)]),
    ("22:00-02:30", NEW_YORK, GAP, [("07 22:00 EST", "08 03:00 EDT", 4)]),
    ("22:00-02:30", NEW_YORK, FOLD, [("31 22:00 EDT", "01 02:30 EST", 5.5)]),
    ("01:30-01:45", NEW_YORK, PLAIN, [("07 01:30 EDT", "07 01:45 EDT", 0.25)]),
    ("01:30-01:45", NEW_YORK, GAP, [("08 01:30 EST", "08 01:45 EST", 0.25)]),
    ("01:30-01:45", NEW_YORK, FOLD, [("01 01:30 EDT", "01 01:45 EDT", 0.25), ("01 01:30 EST", "01 01:45 EST", 0.25)]),
    # The clock goes back while it is closed, to a wall time at which it was open: it opens again by the change alone.
    ("22:00-01:30", NEW_YORK, FOLD, [("31 22:00 EDT", "01 01:30 EDT", 3.5), ("01 01:00 EST", "01 01:30 EST", 0.5)]),
    # The end of one day's occurrence and the start of the next day's lie in the hour that is there twice.
    (
        "01:30-01:15",
        NEW_YORK,
        FOLD,
        [
            ("31 12:00 EDT", "01 01:15 EDT", 13.25),
            ("01 01:30 EDT", "01 01:15 EST", 0.75),
            ("01 01:30 EST", "02 01:15 EST", 23.75),
        ],
    ),
    # The end lies in the gap: the change of the clock closes it.
    ("01:00-02:00", NEW_YORK, GAP, [("08 01:00 EST", "08 03:00 EDT", 1)]),
    (
        "Last Sunday 00:00-06:00",
        "Europe/Berlin",
        ("2026-10-24T12:00", "2026-10-25T12:00"),
        [("25 00:00 CEST", "25 06:00 CET", 7)],
    ),
    ("00:00-01:00", "America/Sao_Paulo", ("2018-11-03T12:00", "2018-11-04T12:00"), []),
    ("00:00-24:00", "Pacific/Apia", ("2011-12-31T00:00", "2011-12-31T00:00"), []),
    ("Fri 08:00-12:00", "Pacific/Apia", ("2011-12-28T12:00", "2012-01-03T00:00"), []),
    # Lord Howe moves by half an hour, at 02:00.
    (
        "02:10-02:40",
        "Australia/Lord_Howe",
        ("2026-10-03T12:00", "2026-10-03T20:00"),
        [("04 02:30 +11", "04 02:40 +11", 1 / 6)],
    ),
]


@pytest.mark.parametrize(("spec", "timezone", "between", "wanted"), CLOCK_CHANGES)
def test_changes_of_the_clock(spec, timezone, between, wanted):
    found = stretches(spec, timezone, *between)
    assert [row[:2] for row in found] == [row[:2] for row in wanted]
    assert [row[2] for row in found] == pytest.approx([row[2] for row in wanted])


MEMBERS = [
    ("02:00-04:00", "2026-03-08T02:00:00", True),
    ("02:00-04:00", "2026-03-08T03:59:59", True),
    ("02:00-04:00", "2026-03-08T04:00:00", False),
    ("02:00-04:00", "2026-03-08T01:59:59", False),
    ("20:00-24:00", "2026-03-08T23:59:59", True),
    ("20:00-24:00", "2026-03-09T00:00:00", False),
    ("22:00-00:00", "2026-03-08T23:59:59", True),
    ("22:00-00:00", "2026-03-09T00:00:00", False),
    ("Sunday 01:00-05:00", "2026-03-08T01:00:00", True),
    ("Sunday 01:00-05:00", "2026-03-09T01:00:00", False),
    ("Sunday 22:00-02:00", "2026-03-08T01:00:00", False),
    ("Sunday 22:00-02:00", "2026-03-09T01:00:00", True),
    ("First Sunday 22:00-02:00", "2026-03-02T01:00:00", True),
    ("First Sunday 22:00-02:00", "2026-03-09T01:00:00", False),
    ("First Sunday 22:00-02:00", "2026-03-01T01:00:00", False),
    ("Second Sunday 00:00-06:00", "2026-03-08T01:00:00", True),
    ("Third Sunday 00:00-06:00", "2026-03-15T01:00:00", True),
    ("Fourth Sunday 00:00-06:00", "2026-03-22T01:00:00", True),
    ("Fifth Sunday 00:00-06:00", "2026-03-29T01:00:00", True),
    ("Last Sunday 00:00-06:00", "2026-03-29T01:00:00", True),
    ("Last Sunday 00:00-06:00", "2026-03-22T01:00:00", False),
    ("Last Saturday 23:00-01:00", "2026-03-01T00:30:00", True),  # begun on 28 February
    ("Sat,Sun 00:00-24:00", "2026-03-07T12:00:00", True),
    ("Sat,Sun 00:00-24:00", "2026-03-06T12:00:00", False),
    ("Mon-Fri 12:00-13:00", "2026-03-06T12:30:00", True),
    ("Mon-Fri 12:00-13:00", "2026-03-07T12:30:00", False),
    ("Fri-Mon 12:00-13:00", "2026-03-08T12:30:00", True),
    ("Fri-Mon 12:00-13:00", "2026-03-10T12:30:00", False),
    ("sUNDAY 01:00-05:00", "2026-03-08T01:00:00", True),
    ("  FIRST   sun   00:00-06:00 ", "2026-03-01T01:00:00", True),
    ("Mon, Sun 01:00-05:00", "2026-03-08T01:00:00", True),
]


@pytest.mark.parametrize(("spec", "at", "inside"), MEMBERS)
def test_membership(spec, at, inside):
    assert window(spec).contains(utc(at)) is inside


def test_fractions_of_a_second_belong_to_their_second():
    night = window("02:00-04:00")
    assert night.contains(utc("2026-03-08T03:59:59") + 0.9999995)
    assert not night.contains(utc("2026-03-08T01:59:59") + 0.9999995)


REFUSED = [
    ("", {}, "spec", "wanted `02:00-04:00`"),
    ("every day at 02:00-04:00", {}, "spec", "found 'every day at 02:00-04:00'"),
    ("02:00-24:01", {}, "end", "found '24:01'"),
    ("0000-0400", {}, "start", "found '0000'"),
    ("25:00-26:00", {}, "start", "found '25:00'"),
    ("24:00-02:00", {}, "start", "found '24:00'"),
    ("02:00-03:60", {}, "end", "found '03:60'"),
    ("02:00", {}, "end", "found ''"),
    ("2:00-4:00", {}, "start", "found '2:00'"),
    ("0٢:00-04:00", {}, "start", "found '0٢:00'"),
    ("02:00-04:00-06:00", {}, "end", "found '04:00-06:00'"),
    ("17:31-17:31", {}, "end", "another time than the start"),
    ("00:00-00:00", {}, "end", "the whole day is 00:00-24:00"),
    ("Someday 02:00-04:00", {}, "weekday", "found 'someday'"),
    ("Mon- 02:00-04:00", {}, "weekday", "found ''"),
    ("Mon,,Tue 02:00-04:00", {}, "weekday", "found ''"),
    ("First Mon,Tue 02:00-04:00", {}, "weekday", "found 'mon,tue'"),
    ("Sixth Sunday 02:00-04:00", {}, "ordinal", "found 'sixth'"),
    ("02:00-04:00", {"policy": "maybe"}, "policy", "wanted `defer` or `reject`; found 'maybe'"),
    ("02:00-04:00", {"timezone": "Europe/Berlim"}, "timezone", "the nearest is Europe/Berlin"),
    ("02:00-04:00", {"timezone": "+02:00"}, "timezone", "IANA"),
    ("02:00-04:00", {"timezone": ""}, "timezone", "IANA"),
    ("02:00-04:00", {"timezone": "America"}, "timezone", "IANA"),
    ("02:00-04:00", {"timezone": "../../etc/passwd"}, "timezone", "IANA"),
    ("02:00-04:00", {"timezone": "Europe/Ber\0lin"}, "timezone", "IANA"),
    ("02:00-04:00", {"timezone": "right/Europe/Berlin"}, "timezone", "IANA"),
    ("02:00-04:00", {"timezone": "localtime"}, "timezone", "IANA"),
]


@pytest.mark.parametrize(("spec", "more", "field", "why"), REFUSED)
def test_what_cannot_be_honoured_is_refused_with_its_field(spec, more, field, why):
    with pytest.raises(InvalidRequest) as refused:
        parse_window("nightly", spec, **more)
    assert f"window 'nightly', {field}: " in refused.value.message
    assert why in refused.value.message
    assert refused.value.details == {"field": field}


COVERS = [
    ({}, True),
    ({"hosts": ("web-1",)}, True),
    ({"hosts": ("web-2",)}, False),
    ({"groups": ("eu",)}, True),
    ({"groups": ("us",)}, False),
    ({"hosts": ("web-2",), "groups": ("eu",)}, True),
    ({"hosts": ("web-1",), "groups": ("us",)}, True),
    ({"types": ("backup_operation",)}, True),
    ({"types": ("backup",)}, True),
    ({"types": ("log_rotation",)}, False),
    ({"hosts": ("web-1",), "types": ("log_rotation",)}, False),
]


@pytest.mark.parametrize(("scope", "covered"), COVERS)
def test_what_a_window_covers(scope, covered):
    assert window("02:00-04:00", **scope).covers("web-1", ("web", "eu"), "backup_operation") is covered


def test_months_without_a_fifth_sunday_are_left_out():
    found = window("Fifth Sunday 00:00-06:00").occurrences(utc("2026-01-01T00:00"), 4)
    assert [utc_text(each.opens)[:10] for each in found] == ["2026-03-29", "2026-05-31", "2026-08-30", "2026-11-29"]


LEFT_OUT = [
    ("Fifth Sunday 00:00-06:00", "UTC", ("2026-01-01", "2026-06-30"), ["2026-01", "2026-02", "2026-04", "2026-06"]),
    ("Last Sunday 00:00-06:00", "UTC", ("2026-01-01", "2026-12-31"), []),
    ("02:15-02:45", NEW_YORK, ("2026-03-06", "2026-03-10"), ["2026-03-08"]),
    ("02:00-03:00", NEW_YORK, ("2026-03-06", "2026-03-10"), ["2026-03-08"]),
    ("02:00-03:01", NEW_YORK, ("2026-03-06", "2026-03-10"), []),
    ("01:59-03:00", NEW_YORK, ("2026-03-06", "2026-03-10"), []),
    ("01:30-01:45", NEW_YORK, ("2026-10-30", "2026-11-03"), []),
    ("Fri 08:00-12:00", "Pacific/Apia", ("2011-12-20", "2012-01-10"), ["2011-12-30"]),
    ("Fifth Sunday 02:10-02:20", "Europe/Berlin", ("2026-03-01", "2026-05-31"), ["2026-03-29", "2026-04"]),
]


@pytest.mark.parametrize(("spec", "timezone", "between", "wanted"), LEFT_OUT)
def test_what_a_rule_names_and_the_calendar_or_the_clock_has_not(spec, timezone, between, wanted):
    asked = window(spec, timezone)
    begin, end = (utc(f"{day}T12:00") for day in between)
    assert [one.when for one in left_out(asked, begin, end)] == wanted


def test_days_that_touch_are_one_stretch():
    assert window("Sat,Sun 00:00-24:00").occurrences(utc("2026-03-02T00:00"), 1) == (
        Occurrence(opens=utc("2026-03-07T00:00"), closes=utc("2026-03-09T00:00")),
    )


def test_a_stretch_that_is_open_is_given_from_now_on():
    noon, later = window("11:00-13:00").occurrences(utc("2026-03-08T12:15"), 2)
    assert (noon.opens, noon.seconds) == (utc("2026-03-08T12:15"), 0.75 * HOUR)
    assert (later.opens, later.seconds) == (utc("2026-03-09T11:00"), 2 * HOUR)


def test_one_that_is_always_open_does_not_close():
    always = window("00:00-24:00", NEW_YORK)
    assert always.closes(utc("2026-03-08T12:00")) is None
    assert always.occurrences(utc("2026-03-08T12:00"), 3) == (Occurrence(opens=utc("2026-03-08T12:00"), closes=None),)
    assert always.occurrences(0.0, 1)[0].seconds is None


def test_a_closed_one_has_no_closing():
    assert window("02:00-04:00").closes(utc("2026-03-08T12:00")) is None


def test_it_says_when_it_never_opens():
    nowhere = window("Sunday 02:10-02:20", NEW_YORK)
    assert nowhere.opens(utc("2026-03-08T00:00")) == utc("2026-03-15T06:10")
    assert together([(window("First Sunday 00:00-06:00"),), (window("Second Sunday 00:00-06:00"),)], 0.0) is None


def test_together():
    a, b, c = window("Mon,Wed 01:00-02:00"), window("Wed 01:30-03:00"), window("Sunday 00:00-06:00")
    sunday = utc("2026-03-08T12:00")
    assert together([(a, c), (b,)], sunday) == utc("2026-03-11T01:30")
    assert together([(a, b, c)], sunday) == utc("2026-03-09T01:00")
    assert together([], sunday) == sunday
    assert together([(a,), ()], sunday) is None


def test_windows_of_two_zones_that_meet_only_in_summer():
    # 02:00 to 03:00 in New York is 06:00 to 07:00 UTC in summer, 07:00 to 08:00 in winter.
    meet = together([(window("02:00-03:00", NEW_YORK),), (window("06:00-06:30"),)], utc("2026-12-01T00:00"))
    assert utc_text(meet) == "2027-03-15T06:00:00Z"


def test_instants_are_written_to_the_second():
    assert utc_text(utc("2026-03-08T07:00:00") + 0.9) == "2026-03-08T07:00:00Z"
    assert local_text(utc("2026-03-08T07:00"), NEW_YORK) == "2026-03-08T03:00:00-04:00 America/New_York"


def test_asking_costs_little():
    asked = [window(spec, NEW_YORK) for spec in ("02:00-04:00", "Sunday 01:00-05:00", "Fifth Sunday 00:00-06:00")]
    started = time.process_time()
    for day in range(20):
        for each in asked:
            each.opens(day * 86_400.0)
    assert (time.process_time() - started) / 20 < 0.005


CLOCKS = st.integers(0, 95).map(lambda quarter: f"{quarter // 4:02}:{quarter % 4 * 15:02}")
DATES = st.sampled_from(["", "Sunday ", "Sat,Sun ", "Mon-Fri ", "First Sunday ", "Last Sunday ", "Fri "])
SPECS = st.tuples(DATES, CLOCKS, CLOCKS).filter(lambda s: s[1] != s[2]).map(lambda s: f"{s[0]}{s[1]}-{s[2]}")
# Days on which the clock of the zone changes, or a date is left out.
PLACES = st.sampled_from(
    [
        (NEW_YORK, date(2026, 3, 7)),
        (NEW_YORK, date(2026, 10, 31)),
        ("Europe/Berlin", date(2026, 3, 28)),
        ("Europe/Berlin", date(2026, 10, 24)),
        ("America/Sao_Paulo", date(2018, 11, 3)),
        ("America/Sao_Paulo", date(2018, 2, 17)),
        ("Australia/Lord_Howe", date(2026, 4, 4)),
        ("Pacific/Apia", date(2011, 12, 29)),
        ("Asia/Kathmandu", date(2026, 5, 1)),
        ("Africa/Casablanca", date(2026, 2, 14)),
        ("UTC", date(2026, 1, 1)),
    ]
)


@given(spec=SPECS, place=PLACES, minute=st.integers(0, 1440))
def test_openings_and_closings_are_those_that_membership_has(spec, place, minute):
    timezone, day = place
    asked = window(spec, timezone)
    after = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + minute * 60
    walked = range(int(after), int(after) + 3 * 86_400, 300)
    inside = [asked.contains(at) for at in walked]
    turn = next((at for at, now in zip(walked, inside, strict=True) if now is not inside[0]), None)
    found = asked.closes(after) if inside[0] else asked.opens(after)
    # Quarters of an hour begin at whole minutes everywhere, the walk goes in fives: the edge is in the last step.
    if turn is None:
        assert found is None or found > walked[-1]
    else:
        assert turn - 300 < found <= turn
    if found is not None:
        assert asked.contains(found) is not inside[0]
        assert asked.contains(found - 1) is inside[0]
    assert asked.opens(after) == (after if inside[0] else found)
