"""The parts of health_check that golden cases cannot say: what is asked, orders, caps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsqueue.model.fact import Probe, Reading, Script, read, unknown
from opsqueue.model.kind import Metric, Seen
from opsqueue.model.sample import Point
from opsqueue.operations.health.checks import TcpCheck
from opsqueue.operations.health.problem import State
from opsqueue.operations.health.score import Judged, in_order, is_up, score_of
from opsqueue.operations.health_check import OPERATION, HealthCheckParams


def facts_of(*checks: dict[str, Any]) -> dict[str, Any]:
    params = HealthCheckParams.model_validate({"checks": checks})
    return {fact.name: fact for fact in OPERATION.facts(params)}


def test_each_check_is_asked_once_and_the_reading_is_shared() -> None:
    facts = facts_of(
        {"kind": "memory", "name": "m"},
        {"kind": "http", "name": "web", "url": "http://a.test/"},
        {"kind": "load", "name": "l"},
        {"kind": "service", "name": "s", "unit": "nginx"},
    )
    assert list(facts) == ["check:web", "check:s", "system"]
    assert facts["system"].ask == Reading(options={"subjects": ["memory", "load"]}, timeout=30)


def test_values_are_arguments_of_scripts_and_never_in_the_text() -> None:
    hostile = "$(touch /tmp/x); `id`"
    facts = facts_of(
        {"kind": "process", "name": "p", "cmdline": hostile},
        {"kind": "disk", "name": "d", "path": f"/{hostile}"},
        {"kind": "command", "name": "c", "argv": ["/etc/opsqueue/checks/echo", hostile]},
    )
    for fact in facts.values():
        assert isinstance(fact.ask, Script)
        assert any(hostile in value for value in fact.ask.args)
        assert "touch" not in fact.ask.text


def test_checks_run_side_by_side_as_far_as_was_said_but_for_those_of_processes() -> None:
    checks = [
        {"kind": "tcp", "name": "t", "host": "h.test", "port": 1},
        {"kind": "service", "name": "s", "unit": "nginx"},
        {"kind": "disk", "name": "d"},
        {"kind": "command", "name": "c", "argv": ["/etc/opsqueue/checks/x"]},
        {"kind": "process", "name": "p", "process": "nginx"},
    ]
    for given_, wanted in (({}, 10), ({"concurrency": 3}, 3)):
        params = HealthCheckParams.model_validate({"checks": checks, **given_})
        assert [fact.ask.beside for fact in OPERATION.facts(params)] == [wanted] * 4 + [1]  # type: ignore[union-attr]
    for strange in (0, 51, "many"):
        with pytest.raises(ValueError, match="concurrency"):
            HealthCheckParams.model_validate({"concurrency": strange})


def test_retries_have_room_in_the_total_deadline() -> None:
    facts = facts_of({"kind": "tcp", "name": "t", "host": "h.test", "port": 1, "timeout_s": 2, "retries": 2})
    ask = facts["check:t"].ask
    assert isinstance(ask, Probe)
    assert (ask.kind, ask.timeout) == ("tcp", 6.5)
    assert (ask.options["retries"], ask.options["attempt_timeout"]) == (2, 2)


def test_a_condition_on_the_status_takes_the_place_of_the_default() -> None:
    web = {"kind": "http", "name": "w", "url": "http://a.test/"}
    about = {"conditions": ["[STATUS] == 404"]}

    def options(**more: Any) -> Any:
        return facts_of({**web, **more})["check:w"].ask.options

    assert options()["expect_status"] == "2xx"
    assert "expect_status" not in options(**about)
    assert options(**about, expect_status=[404])["expect_status"] == (404,)


def test_a_long_body_is_judged_whole_and_kept_in_part() -> None:
    fact = facts_of({"kind": "http", "name": "w", "url": "http://a.test/", "conditions": ["[BODY] == pat(*end)"]})[
        "check:w"
    ]
    kept = read(fact, {"ok": True, "status": 200, "body": "x\x00\ud800" * 20_000 + "end"})
    assert kept["failed_conditions"] == []
    assert len(kept["body"]) <= 1024
    json.dumps(kept, ensure_ascii=False).encode()
    assert "\x00" not in kept["body"]


@pytest.mark.parametrize("raw", [None, [], "text", 7, {"unknown": "no"}, {}, {"ok": 1}])
def test_a_strange_answer_is_never_an_exception(raw: Any) -> None:
    params = HealthCheckParams.model_validate({"checks": [{"kind": "tcp", "name": "t", "host": "h.test", "port": 1}]})
    [fact] = OPERATION.facts(params)
    answers = {fact.name: read(fact, raw)}
    states = {metric.name: metric.value for metric in OPERATION.measure(params, answers, answers)}
    assert states["state:t"] == 3


def test_a_fact_that_is_not_there_is_unknown() -> None:
    params = HealthCheckParams()
    metrics = {metric.name: metric.value for metric in OPERATION.measure(params, {}, {"system": unknown("no")})}
    assert metrics == {
        "up": None, "health_score": None, "state:disk": 3, "state:memory": 3, "state:load": 3,
    }  # fmt: skip


def test_times_are_wanted_of_checks_with_response_times_only_and_states_of_all() -> None:
    params = HealthCheckParams.model_validate({"checks": [{"kind": "tcp", "name": "t", "host": "h.test", "port": 1}]})
    day, week, states = OPERATION.series(params)
    assert (day.metrics, day.ago, day.step) == (("response_time:t", "state:t"), 86_400, 0)
    assert (week.metrics, week.ago, week.until, week.step) == (("response_time:t",), 691_200, 172_800, 86_400)
    assert (states.name, states.metrics, states.step) == ("states", ("state:t",), 0)
    (alone,) = OPERATION.series(HealthCheckParams())
    assert alone.metrics == ("state:disk", "state:memory", "state:load")


def test_a_report_has_a_row_for_each_check_and_charts_where_there_is_a_past() -> None:
    checks = [{"kind": "tcp", "name": "t", "host": "h.test", "port": 1}, {"kind": "disk", "name": "d"}]
    params = HealthCheckParams.model_validate({"checks": checks})
    after = {"check:t": {"ok": True, "phases": {"total": 7.0}}, "check:d": unknown("no")}
    day = {"response_time:t": tuple(Point.raw(n, 5.0) for n in range(30)), "state:t": (Point.raw(0, 0.0),)}
    metrics = {metric.name: metric for metric in OPERATION.measure(params, after, after)}
    seen = Seen(
        host="h1",
        before=after,
        after=after,
        metrics=metrics,
        earlier={},
        thresholds={},
        series={"day": day, "week": {}},
    )
    [section] = OPERATION.report(params, seen)
    [grid] = section.grids
    assert grid.rows == (
        ("t", "ok", "up", 7.0, 5.0, 5.0, 5.0, None, 0, None),
        ("d", "unknown", None, None, None, None, None, None, None, None),
    )
    assert {len(row) for row in grid.rows} == {len(grid.columns)}
    assert [chart.title.split(":")[0] for chart in section.charts] == ["t", "t"]
    assert [(mark.label, mark.value) for mark in section.charts[0].marks] == [("warn_ms", 1000), ("crit_ms", 5000)]


def test_a_report_has_a_letter_for_each_hour_of_each_check_and_says_which_certificate_ends_first() -> None:
    checks = [
        {"kind": "disk", "name": "d"},
        *({"kind": "tls", "name": name, "host": f"{name}.test"} for name in ("t1", "t2")),
    ]
    params = HealthCheckParams.model_validate({"checks": checks})
    now = 1_700_000_000.0
    states = [
        (23.5, 0),
        (22.5, 1),
        (22.2, 0),
        (21.5, 3),
        (21.2, 1),
        (20.5, 2),
        (20.4, 3),
        (1.5, 3),
        (0.5, 0),
        (24.5, 2),
    ]
    points = tuple(Point.raw(now - 3600 * ago, float(value)) for ago, value in states)
    metrics = {f"cert_days_left:t{n}": Metric(name="", value=days, unit="days") for n, days in ((1, 40.0), (2, 12.3))}
    seen = Seen(
        host="h1",
        before={},
        after={},
        metrics=metrics,
        earlier={},
        thresholds={},
        at=now,
        series={"states": {"state:d": points}},
    )
    table, timeline = OPERATION.report(params, seen)
    assert "The certificate that ends first is that of t2, in 12 days." in table.text
    assert timeline.grids[0].rows[0] == ("d", "owwC" + "-" * 18 + "?o", 42.9)
    assert timeline.grids[0].rows[1] == ("t1", "-" * 24, None)


def test_a_password_reaches_a_probe_as_a_reference_only() -> None:
    check = {"kind": "redis", "name": "r", "host": "h.test", "password": {"$secret": "env:CHECK_R"}}
    [fact] = facts_of(check).values()
    assert fact.ask.secrets == {"password": "env:CHECK_R"}
    assert "password" not in fact.ask.options


def check(name: str, weight: float = 1, *depends_on: str, critical: bool = False) -> TcpCheck:
    return TcpCheck(
        kind="tcp", name=name, host="h.test", port=1, weight=weight, depends_on=depends_on, critical=critical
    )


def test_parents_come_before_children() -> None:
    order = in_order([check("c", 1, "b"), check("b", 1, "a"), check("a")])
    assert [one.name for one in order] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("states", "critical", "up"),
    [
        ([State.OK, State.CRITICAL], False, True),
        ([State.OK, State.CRITICAL], True, False),
        ([State.CRITICAL, State.CRITICAL], False, False),
        ([State.CRITICAL, State.UNKNOWN], False, False),
        ([State.WARNING, State.UNKNOWN], True, True),
        ([State.UNKNOWN, State.UNKNOWN], True, None),
        ([], False, None),
    ],
)
def test_up(states: list[State], critical: bool, up: bool | None) -> None:
    judged = [Judged(check=check(f"c{n}", critical=critical), answer=None, state=s) for n, s in enumerate(states)]
    assert is_up(judged) is up


weighted = st.lists(st.tuples(st.sampled_from(list(State)), st.floats(0.1, 100)), max_size=12)


@given(weighted)
def test_a_score_is_never_better_than_its_worst_check_allows(rows: list[tuple[State, float]]) -> None:
    score = score_of([Judged(check=check("c", weight), answer=None, state=state) for state, weight in rows])
    states = {state for state, _ in rows}
    if score is None:
        assert State.UNKNOWN in states or not states - {State.UNREACHABLE}
        return
    assert 0 <= score <= 100
    assert State.CRITICAL not in states or score <= 49
    assert State.WARNING not in states or score <= 79
    assert states & {State.WARNING, State.CRITICAL} or score == 100
