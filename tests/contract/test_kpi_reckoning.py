"""The reckoning of key figures: each definition as a case, and what holds whatever was seen."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsqueue.errors import InvalidRequest
from opsqueue.kpi import availability, incidents, security, spans, work
from opsqueue.kpi.definitions import DEFINITIONS
from opsqueue.kpi.period import Period, parse
from opsqueue.kpi.reckon import Facts, Terms, reckon
from opsqueue.model.names import Outcome, Severity
from opsqueue.model.observed import Busy, Change, Ended, Incident, Responses, Scan

DAY, HOUR, MINUTE = 86_400.0, 3600.0, 60.0
BEGIN = datetime(2026, 3, 2, tzinfo=ZoneInfo("UTC")).timestamp()
A_DAY = Period(kind="day", start=BEGIN, end=BEGIN + DAY)
LATER = BEGIN + 400 * DAY


def every(minutes, *down, length=DAY, begin=BEGIN):
    """A look every so many minutes; down between each two minutes given."""
    step = minutes * MINUTE
    moments = (begin + number * step for number in range(int(length / step)))
    return tuple((at, not any(a <= (at - begin) / MINUTE < b for a, b in down)) for at in moments)


def figures(period=A_DAY, now=LATER, terms=None, **facts):
    return {one.name: one for one in reckon(Facts(**facts), period, now, terms or Terms())}


def ended(count=1, *, type="service_restart", outcome="succeeded", by="schedule:x", looking=False, touched=False):
    return Ended(type=type, outcome=Outcome(outcome), requested_by=by, looking=looking, touched=touched, count=count)


def incident(start, end, *, host="h1", **more):
    """Minutes after the beginning of the day."""
    resolved = None if end is None else BEGIN + end * MINUTE
    begun = BEGIN + start * MINUTE
    return Incident(id=f"{host}@{start}", host=host, start=begun, resolved=resolved, **more)


# -- availability -------------------------------------------------------------------------------------------


def test_twenty_minutes_down_ten_of_them_in_two_hours_of_maintenance():
    found = figures(seen={"h1": every(1, (110, 130))}, planned={"h1": [(BEGIN + 0 * HOUR, BEGIN + 2 * HOUR)]})
    assert found["availability_raw"].value == pytest.approx(98.611, abs=0.0005)
    assert found["availability"].value == pytest.approx(99.242, abs=0.0005)
    assert found["unknown_time"].value == 0
    assert found["availability"].n == 1440


def test_a_fleet_is_weighted_by_time_and_no_mean_of_percentages():
    # One host known for a day and down for half of it, another known for an hour and up.
    found = figures(seen={"a": every(1, (0, 720)), "b": every(1, length=HOUR)}, terms=Terms(stale=MINUTE))
    assert found["availability_raw"].value == pytest.approx(100 * (12 + 1) / (24 + 1))
    assert found["availability_raw"].parts["a"] == (50.0, 1440)
    assert found["availability_raw"].parts["b"] == (100.0, 60)
    assert found["unknown_time"].value == pytest.approx(100 * 23 / 48)


def test_a_look_counts_until_the_next_and_no_longer_than_three_intervals():
    up, down = availability.states(((0.0, True), (300.0, False), (2000.0, True)), 0.0, 5000.0, 900.0)
    assert (up, down) == ([(0.0, 300.0), (2000.0, 2900.0)], [(300.0, 1200.0)])


def test_two_workers_that_looked_at_once_and_disagree_saw_it_down():
    for looks in (((0.0, True), (0.0, False)), ((0.0, False), (0.0, True))):
        assert availability.states(looks, 0.0, 100.0, 50.0) == ([], [(0.0, 50.0)])


def test_a_host_that_is_reached_is_not_well_for_that():
    checks, others = ((0.0, True), (300.0, False), (600.0, True)), tuple((60.0 * n, True) for n in range(11))
    seen = availability.worst_of((checks, others), 900.0)
    assert availability.states(seen, 0.0, 660.0, 900.0) == ([(0.0, 300.0), (600.0, 660.0)], [(300.0, 600.0)])
    # A check that nobody repeats says nothing any more.
    seen = availability.worst_of((((0.0, False),), tuple((300.0 * n, True) for n in range(6))), 900.0)
    assert availability.states(seen, 0.0, 1500.0, 900.0) == ([(900.0, 1500.0)], [(0.0, 900.0)])


def test_maintenance_of_the_whole_time_leaves_no_number():
    found = figures(seen={"h1": every(5)}, planned={"h1": [(BEGIN, BEGIN + DAY)]})
    assert found["availability_raw"].value == 100
    assert found["availability"].value is None
    assert "maintenance" in found["availability"].note


def test_the_budget_of_a_month_of_thirty_days_is_43_2_minutes():
    month = Period(kind="", start=BEGIN, end=BEGIN + 30 * DAY)
    found = figures(month, seen={"h1": every(1, (100, 121.6), length=30 * DAY)})
    assert found["error_budget"].value == pytest.approx(43.2 * MINUTE)
    assert found["error_budget_used"].value == pytest.approx(100 * 22 / 43.2)  # 22 looks, a minute each
    assert found["burn_rate"].value == pytest.approx(22 / 43.2)


def test_of_two_hosts_each_has_its_budget():
    month = Period(kind="", start=BEGIN, end=BEGIN + 30 * DAY)
    looks = every(10, (0, 40), length=30 * DAY)
    one, two = (figures(month, seen=dict.fromkeys(hosts, looks)) for hosts in (["a"], ["a", "b"]))
    assert one["error_budget_used"].value == two["error_budget_used"].value == pytest.approx(100 * 40 / 43.2)


spots = st.floats(0, DAY, allow_nan=False).map(lambda at: BEGIN + round(at))
looks = st.lists(st.tuples(spots, st.booleans()), max_size=40).map(lambda found: tuple(sorted(found)))
stretches = st.lists(st.tuples(spots, spots), max_size=8)


@given(looks, stretches, st.floats(1, 7200))
def test_no_second_is_counted_twice_or_lost(seen, planned, stale):
    found = availability.of_host(seen, planned, BEGIN, BEGIN + DAY, stale)
    up, down = availability.states(seen, BEGIN, BEGIN + DAY, stale)
    assert spans.total(spans.union([*up, *down])) == pytest.approx(found.up + found.down)
    assert found.up + found.down <= DAY + 1e-6
    assert 0 <= found.up_unplanned <= found.up
    assert 0 <= found.down_unplanned <= found.down
    hidden = spans.total(spans.union(spans.clipped(planned, BEGIN, BEGIN + DAY)))
    assert found.up + found.down - found.up_unplanned - found.down_unplanned <= hidden + 1e-6


@given(looks, st.randoms())
def test_the_order_in_which_samples_came_makes_no_difference(seen, chance: random.Random):
    mixed = list(seen)
    chance.shuffle(mixed)
    assert availability.states(tuple(mixed), BEGIN, BEGIN + DAY, 600) == availability.states(
        seen, BEGIN, BEGIN + DAY, 600
    )


@given(looks, st.lists(spots, min_size=1, max_size=5))
def test_parts_of_a_time_add_up_to_the_whole(seen, cuts):
    edges = sorted({BEGIN, *cuts, BEGIN + DAY})
    parts = [availability.of_host(seen, (), a, b, 600) for a, b in pairwise(edges)]
    whole = availability.of_host(seen, (), BEGIN, BEGIN + DAY, 600)
    assert availability.together(parts).up == pytest.approx(whole.up)
    assert availability.together(parts).down == pytest.approx(whole.down)
    days = availability.of_parts({"h": seen}, {}, list(pairwise(edges)), 600)
    assert [(one.up, one.down) for one in days] == [(one.up, one.down) for one in parts]


@given(looks, st.randoms())
def test_one_kind_of_looks_is_what_it_is(seen, chance: random.Random):
    alone = availability.states(seen, BEGIN, BEGIN + DAY, 600)
    assert availability.states(availability.worst_of((seen,), 600), BEGIN, BEGIN + DAY, 600) == alone
    apart = [chance.random() < 0.5 for _ in seen]
    both = [tuple(look for look, other in zip(seen, apart, strict=True) if other is kind) for kind in (True, False)]
    _up, down = availability.states(availability.worst_of(both, 600), BEGIN, BEGIN + DAY, 600)
    assert spans.total(down) >= spans.total(alone[1]) - 1e-6


@given(stretches, stretches)
def test_spans_without_holes(some, holes):
    left = spans.without(some, holes)
    assert left == spans.union(left)
    assert spans.total(left) + spans.total(spans.union(holes)) == pytest.approx(
        spans.total(spans.union([*some, *holes]))
    )


# -- incidents ----------------------------------------------------------------------------------------------


def test_mttr_is_told_with_its_number_median_and_p90():
    some = [
        incident(60 * number, 60 * number + length) for number, length in enumerate([1, 2, 3, 4, 5, 6, 7, 8, 9, 45])
    ]
    found = figures(seen={"h1": every(1)}, incidents=tuple(some))
    assert (found["mttr"].value, found["mttr"].n) == (9 * MINUTE, 10)
    assert found["mttr_median"].value == 5 * MINUTE
    assert found["mttr_p90"].value == 9 * MINUTE
    assert found["mttr"].note == "few samples: 10 of 20"


def test_an_open_incident_is_listed_and_not_in_the_mean():
    found = figures(seen={"h1": every(1)}, incidents=(incident(10, 20), incident(60, None, host="h2")))
    assert (found["mttr"].value, found["mttr"].n) == (10 * MINUTE, 1)
    assert (found["incidents"].value, found["incidents_open"].value) == (2, 1)
    assert found["incidents_open"].note == "h2"


def test_overlapping_incidents_of_one_host_are_their_union():
    both = incidents.merged([incident(0, 30), incident(20, 50), incident(20, 50, host="h2")])
    assert [(one.host, (one.resolved - one.start) / MINUTE) for one in both] == [("h1", 50), ("h2", 30)]


@pytest.mark.parametrize(("pause", "count"), [(0, 1), (9.9, 1), (10, 1), (10.1, 2)])
def test_what_begins_anew_within_ten_minutes_is_the_same(pause, count):
    assert len(incidents.merged([incident(0, 30), incident(30 + pause, 60 + pause)])) == count


def test_what_began_anew_and_is_open_is_open():
    (one,) = incidents.merged([incident(0, 30), incident(35, None)])
    assert (one.start, one.resolved) == (BEGIN, None)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 100)), max_size=12), st.randoms())
def test_merged_incidents_lie_apart_whatever_their_order(pairs, chance: random.Random):
    some = [incident(start, start + length) for start, length in pairs]
    mixed = list(some)
    chance.shuffle(mixed)
    found = incidents.merged(some)
    assert [(a.start, a.resolved) for a in found] == [(a.start, a.resolved) for a in incidents.merged(mixed)]
    assert all(b.start - a.resolved > incidents.REOPENED_WITHIN for a, b in pairwise(found))
    assert incidents.merged(found) == found


def test_an_incident_counts_in_the_period_in_which_it_ended():
    across = incident(-30, 30)
    assert figures(incidents=(across,))["mttr"].value == 60 * MINUTE
    day_before = Period(kind="day", start=BEGIN - DAY, end=BEGIN)
    found = figures(day_before, incidents=(across,))
    assert (found["mttr"].value, found["incidents"].value, found["incidents_open"].value) == (None, 1, 1)


def test_detection_acknowledgement_and_repair_are_told_apart():
    at = BEGIN + 60 * MINUTE
    one = incident(60, 90, detected=at + 120, acknowledged=at + 300)
    found = figures(incidents=(one, incident(200, 210)))
    assert (found["mttd"].value, found["mttd"].n) == (120, 1)
    assert (found["mtta"].value, found["mtta"].n) == (180, 1)
    assert (found["repair_time"].value, found["repair_time"].n) == (30 * MINUTE - 300, 1)


def test_nobody_who_acknowledges_is_no_number():
    found = figures(incidents=(incident(0, 10),))
    assert {name: (found[name].value, found[name].n) for name in ("mttd", "mtta", "mtta_p90", "repair_time")} == {
        "mttd": (None, 0),
        "mtta": (None, 0),
        "mtta_p90": (None, 0),
        "repair_time": (None, 0),
    }


def test_mtbf_is_up_time_by_failures():
    found = figures(seen={"h1": every(1, (60, 120))}, incidents=(incident(60, 120),))
    assert found["mtbf"].value == 23 * HOUR


def test_remedied_incidents_are_a_share_of_those_of_which_it_is_known():
    some = (incident(0, 5, remedied=True), incident(60, 65, remedied=False), incident(120, 125))
    found = figures(incidents=some)
    assert (found["auto_remediation_ratio"].value, found["auto_remediation_ratio"].n) == (50, 2)


# -- changes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "host", "blamed"),
    [(-61, "h1", 0), (-60, "h1", 1), (0, "h1", 1), (1, "h1", 0), (-10, "h2", 0)],
)
def test_an_incident_is_laid_to_a_change_of_its_host_within_the_hour_before(change, host, blamed):
    made = Change(operation_id="op", host=host, at=BEGIN + (300 + change) * MINUTE)
    no_host = ended(5, type="alert_management")
    found = figures(work=(ended(4), ended(9, looking=True), no_host), changes=(made,), incidents=(incident(300, 320),))
    assert found["change_failure_rate"].n == 4
    assert found["change_failure_rate"].value == 25 * blamed
    assert found["change_recovery_time"].value == (20 * MINUTE if blamed else None)


def test_an_operation_on_many_hosts_fails_once():
    made = tuple(Change(operation_id="op", host=host, at=BEGIN) for host in ("h1", "h2"))
    found = figures(work=(ended(2),), changes=made, incidents=(incident(5, 9), incident(5, 9, host="h2")))
    assert found["change_failure_rate"].value == 50
    assert found["change_recovery_time"].n == 2


def test_a_known_cause_counts_whatever_the_time():
    made = tuple(Change(operation_id=name, host="h1", at=BEGIN) for name in ("op", "other"))
    found = figures(work=(ended(4),), changes=made, incidents=(incident(1, 9, caused_by="op"),))
    assert found["change_failure_rate"].value == 25


# -- operations ---------------------------------------------------------------------------------------------


def test_zero_operations_are_no_number():
    found = figures()
    none = {
        "automation_ratio", "error_rate", "throughput", "utilisation", "change_failure_rate", "availability",
        "response_time_p50", "response_failed", "security_open", "security_opened", "incidents", "mttr", "unknown_time",
        "mtbf",
    }  # fmt: skip
    assert {name for name in none if found[name].value is not None} == set()
    assert all(found[name].n == 0 for name in none)


def test_every_figure_is_told_with_or_without_data():
    assert list(figures()) == [one.name for one in DEFINITIONS]
    assert len({one.name for one in DEFINITIONS}) == len(DEFINITIONS)


def test_failed_by_failed_and_succeeded_per_operation():
    some = [
        ended(6), ended(2, outcome="unchanged"), ended(1, outcome="failed"), ended(1, outcome="partial"),
        ended(1, outcome="rolled_back"), ended(1, outcome="unknown"),
        ended(50, outcome="cancelled"), ended(50, outcome="denied"),
    ]  # fmt: skip
    found = figures(work=tuple(some))
    assert (found["error_rate"].value, found["error_rate"].n) == (pytest.approx(100 * 4 / 12), 12)


def test_cancelled_ones_alone_are_no_error_rate():
    assert figures(work=(ended(3, outcome="cancelled"),))["error_rate"].value is None


@pytest.mark.parametrize(
    ("by", "who"),
    [
        ("schedule:backup", "schedule"), ("alert:cpu_high", "alert"), ("deployment:shop", "deployment"),
        ("inventory-service", "api"), ("unknown", "api"), ("ann@desk", "manual"), ("root@web-1.example", "manual"),
    ],
)  # fmt: skip
def test_who_asked(by, who):
    assert work.initiator(by) == who


def test_automated_is_what_no_person_had_a_hand_in():
    some = (ended(6), ended(1, touched=True), ended(2, by="ann@desk"), ended(1, by="ci"))
    found = figures(work=some)["automation_ratio"]
    assert (found.value, found.n) == (70, 10)
    assert dict(found.parts) == {"api": (100, 1), "manual": (0, 2), "schedule": (pytest.approx(600 / 7), 7)}


def test_throughput_is_by_the_hours_so_far():
    found = figures(now=BEGIN + 6 * HOUR, work=(ended(12), ended(6, outcome="cancelled", type="backup_operation")))
    assert (found["throughput"].value, found["throughput"].n) == (3, 18)
    assert dict(found["throughput"].parts) == {"backup_operation": (1, 6), "service_restart": (2, 12)}


def test_busy_by_available_seconds_of_the_workers_that_were_there():
    hour = int(BEGIN // HOUR)
    some = (
        Busy(process="shared-a:1", hour=hour, seconds=1800),
        Busy(process="shared-a:2", hour=hour, seconds=900),
        Busy(process="shared-a:1", hour=hour + 1, seconds=900),
    )
    found = figures(busy=some, terms=Terms(processes={"shared": 2}))["utilisation"]
    assert found.value == pytest.approx(100 * 3600 / (4 * 3600))
    assert found.n == 2


def test_an_hour_that_is_not_over_offers_as_much_as_it_had_so_far():
    some = (Busy(process="shared-a:1", hour=int(BEGIN // HOUR), seconds=300),)
    assert figures(now=BEGIN + 600, busy=some)["utilisation"].value == 50


def test_utilisation_is_not_told_of_some_hosts():
    assert "whole system" in figures(busy=None)["utilisation"].note


# -- answers ------------------------------------------------------------------------------------------------


def test_percentiles_are_of_all_answers_together_and_failed_ones_apart():
    fast, slow = [float(n) for n in range(1, 91)], [1000.0] * 10
    found = figures(responses=Responses(times=tuple(sorted([*fast, *slow])), failed=25))
    assert [found[f"response_time_p{p}"].value for p in (50, 95, 99)] == [50, 1000, 1000]
    assert found["response_time_p95"].n == 100
    assert (found["response_failed"].value, found["response_failed"].n) == (20, 125)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([50, 90, 95, 99]))
def test_so_many_percent_do_not_exceed_a_percentile(values, percent):
    values.sort()
    found = spans.rank(values, percent)
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)


# -- security -----------------------------------------------------------------------------------------------


def scan(day, *prints, host="h1", scope="all", severity="warning"):
    return Scan(host=host, at=BEGIN + day * DAY, scope=scope, findings=dict.fromkeys(prints, Severity(severity)))


def test_a_rescan_does_not_count_again():
    some = (scan(0, "x"), scan(0.1, "x"), scan(0.2, "x", "y"))
    found = figures(scans=some)
    assert [found[f"security_{word}"].value for word in ("open", "opened", "closed")] == [2, 2, 0]
    assert found["security_open"].n == 3
    gone = figures(scans=(*some, scan(0.3)))
    assert [gone[f"security_{word}"].value for word in ("open", "opened", "closed")] == [0, 2, 2]


def test_the_same_thing_on_two_hosts_is_two():
    assert figures(scans=(scan(0, "x"), scan(0, "x", host="h2")))["security_open"].value == 2


def test_what_is_gone_closes_and_what_comes_back_opens_anew():
    some = (scan(-7, "x", "y"), scan(0.1, "y"), scan(0.5, "x", "y"))
    found = figures(scans=some)
    assert [found[f"security_{word}"].value for word in ("open", "opened", "closed")] == [2, 1, 1]
    assert found["security_oldest"].value == 8
    assert found["security_oldest"].n == 2


def test_another_scope_closes_nothing_and_opens_nothing_twice():
    some = (scan(-7, "x"), scan(0.1, scope="ports"), scan(0.2, "x", scope="ports"))
    found = figures(scans=some)
    assert [found[f"security_{word}"].value for word in ("open", "opened", "closed")] == [1, 0, 0]
    later = figures(scans=(*some, scan(0.3, scope="ports")))
    assert [later[f"security_{word}"].value for word in ("open", "opened", "closed")] == [1, 0, 0]
    gone = figures(scans=(*some, scan(0.3, scope="ports"), scan(0.4)))
    assert [gone[f"security_{word}"].value for word in ("open", "opened", "closed")] == [0, 0, 1]


def test_remarks_are_no_events_and_critical_ones_are_told_apart():
    found = figures(scans=(scan(0, "a", severity="info"), scan(0, "b", scope="b", severity="critical")))
    assert (found["security_open"].value, found["security_critical"].value) == (1, 1)
    assert {name: value for name, (value, _n) in found["security_open"].parts.items()} == {
        "info": 1, "warning": 0, "critical": 1,
    }  # fmt: skip


def test_no_scan_in_the_period_is_no_number_of_opened_ones():
    found = figures(scans=(scan(-3, "x"),))
    assert found["security_open"].value == 1
    assert found["security_opened"].value is None


prints = st.frozensets(st.sampled_from("abc"), max_size=3)
scans = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(["h1", "h2"]), st.sampled_from(["s", "t"]), prints),
    max_size=25,
    unique_by=lambda row: row[:3],
)


@given(scans, st.integers(1, 29))
def test_what_opened_less_what_closed_is_open(rows, cut):
    found = security.events(scan(day, *some, host=host, scope=scope) for day, host, scope, some in rows)
    at = [BEGIN - DAY, BEGIN + cut * DAY, BEGIN + 40 * DAY]
    for since, until in pairwise(at):
        before, after = (len(security.still_open(found, moment)) for moment in (since, until))
        opened, closed = security.opened(found, since, until), security.closed(found, since, until)
        assert after == before + len(opened) - len(closed)


# -- periods ------------------------------------------------------------------------------------------------


def local(text, zone="Europe/Berlin"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("text", "begins", "ends", "hours"),
    [
        ("day", "2026-03-29", "2026-03-30", 23),
        ("last-day", "2026-03-28", "2026-03-29", 24),
        ("week", "2026-03-23", "2026-03-30", 167),
        ("last-week", "2026-03-16", "2026-03-23", 168),
        ("month", "2026-03-01", "2026-04-01", 743),
        ("last-month", "2026-02-01", "2026-03-01", 672),
        ("quarter", "2026-01-01", "2026-04-01", 2159),
        ("last-quarter", "2025-10-01", "2026-01-01", 2209),
        ("2025-10-26..2025-10-27", "2025-10-26", "2025-10-27", 25),
        ("2026-01-01T06:00..2026-01-02", "2026-01-01T06:00", "2026-01-02", 18),
    ],
)
def test_a_period_is_as_long_as_the_clock_says(text, begins, ends, hours):
    found = parse(text, local("2026-03-29T15:00"), "Europe/Berlin")
    assert (found.start, found.end, found.seconds) == (local(begins), local(ends), hours * HOUR)


@pytest.mark.parametrize(
    "text", ["", "year", "..", "2026-01-01", "2026-01-02..2026-01-01", "2026-01-01..", "x..y", "last-", "day..week"]
)
def test_no_other_text_is_a_period(text):
    with pytest.raises(InvalidRequest, match="period"):
        parse(text, BEGIN, "UTC")


@pytest.mark.parametrize(
    "text", ["2026-03-30..2026-03-31", "2026-03-29T15:00:01..2026-04-01", "2030-01-01..2030-02-01"]
)
def test_a_period_that_has_not_begun_is_refused(text):
    with pytest.raises(InvalidRequest, match=r"wanted a period that has begun; '.*' lies wholly ahead: .* only at 20"):
        parse(text, local("2026-03-29T15:00"), "Europe/Berlin")
    assert parse("2026-03-29..2026-03-31", local("2026-03-29T15:00"), "Europe/Berlin").start == local("2026-03-29")


def test_the_period_before_a_stretch_of_days_has_as_many_days():
    found = parse("2026-03-28..2026-03-31", local("2026-04-01"), "Europe/Berlin")  # 71 hours
    assert (found.before.start, found.before.end) == (local("2026-03-25"), local("2026-03-28"))
    hours = parse("2026-03-29T01:00..2026-03-29T04:00", local("2026-04-01"), "Europe/Berlin")  # 2 hours
    assert (hours.before.seconds, hours.before.end) == (2 * HOUR, hours.start)


def test_the_last_days_until_now_are_as_long_as_they_say_and_compared_with_as_long_a_time_before():
    found = parse("7d", BEGIN, "Europe/Berlin")
    assert (found.start, found.end, found.kind) == (BEGIN - 7 * DAY, BEGIN, "")
    assert (found.before.start, found.before.end) == (BEGIN - 14 * DAY, BEGIN - 7 * DAY)
    assert parse("1h30m", BEGIN, "UTC").seconds == 5400
    with pytest.raises(InvalidRequest, match="7d"):
        parse("7", BEGIN, "UTC")


@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "UTC", "Australia/Lord_Howe", "America/Sao_Paulo"]),
    st.sampled_from(["day", "week", "month", "quarter"]),
    st.integers(0, 20_000),
    st.integers(0, 86_399),
)
def test_periods_follow_each_other_without_a_gap(zone, kind, day, second):
    now = (datetime(2000, 1, 1, tzinfo=ZoneInfo("UTC")) + timedelta(days=day, seconds=second)).timestamp()
    found = parse(kind, now, zone)
    assert found.start <= now < found.end
    assert found.before.end == found.start
    assert parse(kind, found.end, zone).before == found
    days = list(found.days(found.end))
    assert [one.start for one in days] == [found.start, *(one.end for one in days[:-1])]
    assert days[-1].end == found.end
    assert len(days) == {"day": [1], "week": [7], "month": [28, 29, 30, 31], "quarter": [90, 91, 92]}[kind][0] or len(
        days
    ) in {28, 29, 30, 31, 90, 91, 92}


def test_a_period_that_lasts_is_reckoned_until_now():
    assert A_DAY.until(BEGIN + 5) == BEGIN + 5
    assert A_DAY.until(LATER) == A_DAY.end
    assert figures(now=BEGIN + HOUR, seen={"h1": every(1)})["availability_raw"].n == 60
