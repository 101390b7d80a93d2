"""What follows a deployment: each state with each way in which its operations can stand."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from opsqueue.deployments.following import following
from opsqueue.errors import InvalidRequest
from opsqueue.model.deployment import Deployment, DeploymentState, parse_event
from opsqueue.model.names import OperationPriority, Outcome, Stage
from opsqueue.model.record import Operation

ID = "6f1c0de0-0000-4000-8000-000000000001"
LEADS_BACK = {"type": "service_restart", "parameters": {}}
CRITICAL = {"severity": "critical", "host": "h1", "message": "web: refused"}
WARNING = {"severity": "warning", "host": "h1", "message": "web: slow"}


def deployment(state="checking", *, rollback=LEADS_BACK, status="succeeded"):
    return Deployment(
        id=ID, service="shop", version="2", systems=("h1",), status=status, requested_by="ci", reason="",
        check={}, rollback=rollback, state=DeploymentState(state),
    )  # fmt: skip


def operation(outcome="succeeded", *findings, stage="closed", score=100.0):
    return Operation(
        id="op", name="n", type="t", priority=OperationPriority.HIGH, stage=Stage(stage), score=score,
        outcome=Outcome(outcome) if outcome else None, findings=findings,
    )  # fmt: skip


def test_what_was_received_is_checked():
    comes = following(deployment("received"), None, None)
    assert (comes.state, comes.asks) == ("checking", "check")


def test_a_check_that_was_asked_for_before_a_crash_is_not_asked_for_again():
    comes = following(deployment("received"), operation(""), None)
    assert (comes.state, comes.asks) == ("checking", "")


def test_a_check_that_is_nowhere_is_asked_for_again():
    assert following(deployment(), None, None).asks == "check"


@pytest.mark.parametrize("stage", ["verify", "window", "execute", "collect", "analyze"])
@pytest.mark.parametrize("outcome", ["", "succeeded", "failed"])
def test_a_check_is_waited_for_until_it_was_analyzed(stage, outcome):
    assert following(deployment(), operation(outcome, CRITICAL, stage=stage), None) is None


@pytest.mark.parametrize("stage", ["notify", "closed"])
@pytest.mark.parametrize(
    ("check", "state", "asks"),
    [
        (operation(), "healthy", ""),
        (operation("unchanged"), "healthy", ""),
        (operation("succeeded", WARNING, score=79.0), "healthy", ""),
        (operation("succeeded", WARNING, CRITICAL, score=49.0), "rolling_back", "rollback"),
        (operation("partial"), "rolling_back", "rollback"),
        (operation("failed"), "rolling_back", "rollback"),
        (operation("succeeded", score=None), "unknown", ""),
        (operation("cancelled"), "unknown", ""),
        (operation("denied"), "unknown", ""),
        (operation("unknown", CRITICAL), "unknown", ""),
    ],
)
def test_what_a_check_leads_to(check, state, asks, stage):
    comes = following(deployment(), replace(check, stage=Stage(stage)), None)
    assert (comes.state, comes.asks) == (state, asks)
    assert comes.why


@pytest.mark.parametrize(
    ("metrics", "state"),
    [
        ({"up": 0.0}, "rolling_back"),
        ({"up": 1.0, "state:web": 2.0}, "rolling_back"),
        ({"up": 1.0, "state:web": 1.0, "state:disk": 0.0, "load": 2.0}, "healthy"),
        ({"up": None, "state:web": None}, "healthy"),
    ],
)
def test_what_was_measured_to_be_down_is_not_well_even_without_a_critical_finding(metrics, state):
    measured = {"h1": {name: {"value": value, "unit": "state"} for name, value in metrics.items()}}
    assert following(deployment(), operation("succeeded", WARNING), None, measured=measured).state == state


def test_nothing_that_leads_back_is_a_failure_that_says_so():
    comes = following(deployment(rollback=None), operation("succeeded", CRITICAL), None)
    assert (comes.state, comes.asks) == ("failed", "")
    assert "h1: web: refused" in comes.why
    assert "a person must look" in comes.why


def test_nothing_is_led_back_over_a_later_deployment():
    comes = following(deployment(), operation("succeeded", CRITICAL), None, later="3")
    assert (comes.state, comes.asks) == ("superseded", "")
    assert "3 was deployed since" in comes.why
    assert following(deployment(), operation(), None, later="3").state == "healthy"


@pytest.mark.parametrize(("led_back", "state"), [(0, "rolling_back"), (1, "rolling_back"), (2, "failed")])
def test_what_goes_round_ends_with_a_person(led_back, state):
    comes = following(deployment(), operation("failed"), None, led_back=led_back)
    assert comes.state == state
    assert ("a person must look" in comes.why) == (state == "failed")


@pytest.mark.parametrize("stage", ["verify", "window"])
def test_a_rollback_of_which_nothing_was_sent_is_cancelled_for_a_later_deployment(stage):
    waits = operation("", stage=stage)
    comes = following(deployment("rolling_back"), None, waits, later="3")
    assert (comes.state, comes.asks) == ("rolling_back", "cancel")
    assert following(deployment("rolling_back"), None, replace(waits, cancel_asked="it"), later="3") is None
    assert following(deployment("rolling_back"), None, replace(waits, stage=Stage.EXECUTE), later="3") is None


@pytest.mark.parametrize(
    ("rollback", "state"),
    [
        (None, "superseded"),
        (operation("cancelled"), "superseded"),
        (operation("denied"), "superseded"),
        (operation("partial"), "rollback_failed"),
        (operation("succeeded"), "rolled_back"),
    ],
)
def test_how_a_rollback_ends_beside_a_later_deployment(rollback, state):
    assert following(deployment("rolling_back"), None, rollback, later="3").state == state


def test_a_rollback_that_was_cancelled_in_the_middle_is_for_a_person():
    comes = following(deployment("rolling_back"), None, operation("cancelled"), later="3", touched=True)
    assert comes.state == "rollback_failed"
    assert "a person must look" in comes.why


def test_a_rollback_that_was_asked_for_before_a_crash_is_not_passed_over():
    comes = following(deployment(), operation("failed"), operation("", stage="window"), later="3")
    assert (comes.state, comes.asks) == ("rolling_back", "")


def test_a_deployment_that_failed_by_itself_is_led_back_unchecked():
    given = deployment("received", status="failed")
    assert following(given, None, None).asks == "rollback"
    assert following(replace(given, rollback=None), None, None).state == "failed"


@pytest.mark.parametrize(
    ("rollback", "state"),
    [
        (operation("succeeded"), "rolled_back"),
        (operation("unchanged", stage="notify"), "rolled_back"),
        *((operation(word), "rollback_failed") for word in ("failed", "denied", "cancelled", "partial", "unknown")),
        (operation("rolled_back"), "rollback_failed"),
    ],
)
def test_what_a_rollback_leads_to(rollback, state):
    assert following(deployment("rolling_back"), operation("failed"), rollback).state == state


@pytest.mark.parametrize("stage", ["verify", "window", "execute", "collect", "analyze"])
def test_a_rollback_is_waited_for(stage):
    assert following(deployment("rolling_back"), None, operation("", stage=stage)) is None


def test_a_rollback_that_is_nowhere_is_asked_for_again():
    assert following(deployment("rolling_back"), None, None).asks == "rollback"


def test_whatever_is_over_stays_so_and_nothing_goes_in_circles():
    operations = [None, operation(), operation("failed"), operation("", stage="execute"), operation(score=None)]
    order = list(DeploymentState)
    for state, check, rollback, later in itertools.product(DeploymentState, operations, operations, ["", "3"]):
        comes = following(deployment(state), check, rollback, later=later)
        if state.over:
            assert comes is None
        elif comes is not None:
            assert comes.state is not state or comes.asks
            assert comes.state is not DeploymentState.RECEIVED
            assert (state, comes.state) != (DeploymentState.ROLLING_BACK, DeploymentState.CHECKING)
            assert comes.state in order


EVENT = {"service": "shop", "version": "2", "systems": ["h1", "h1"], "event_id": ID}


def test_an_event_is_read():
    event = parse_event(EVENT)
    assert (event.systems, event.status, str(event.event_id)) == (("h1",), "succeeded", ID)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"service": ""}, "service"),
        ({"systems": []}, "systems"),
        ({"status": "started"}, "status"),
        ({"event_id": "x"}, "event_id"),
        ({"rollback": {"parameters": {}}}, "rollback.type"),
        ({"helth_check": {}}, "health_check"),
        ({"version": "a\nb"}, "one line"),
        ({"reason": "x" * 70_000}, "bytes"),
    ],
)
def test_an_event_that_cannot_be_meant_is_refused_with_its_field(change, says):
    with pytest.raises(InvalidRequest, match=says):
        parse_event({**EVENT, **change})


@pytest.mark.parametrize("data", [None, 7, [], "x", b"\xff", "[1]"])
def test_what_is_no_event_is_refused(data):
    with pytest.raises(InvalidRequest):
        parse_event(data)


def test_the_digest_is_of_what_the_event_says():
    same = parse_event({**EVENT, "reason": "again", "requested_by": "other"})
    assert same.digest() == parse_event(EVENT).digest()
    assert parse_event({**EVENT, "version": "3"}).digest() != same.digest()


def test_the_ids_of_its_operations_are_its_own():
    one = deployment()
    assert one.check_id == deployment("healthy").check_id
    assert len({one.id, one.check_id, one.rollback_id, replace(one, id=ID[:-1] + "2").check_id}) == 4
