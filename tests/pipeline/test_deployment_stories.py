"""Deployments as stories: healthy, led back, told twice, and with a worker that is gone at any moment."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from uuid import UUID, uuid5

import pytest
from pydantic import Field

from opsqueue.errors import Conflict, InvalidRequest, NotFound
from opsqueue.model.deployment import parse_event
from opsqueue.model.host import Host
from opsqueue.model.inventory import Inventory
from opsqueue.model.kind import Analysis, Finding
from opsqueue.model.names import Severity, Stage
from opsqueue.notify.receipt import Receipt
from opsqueue.operations import catalogue
from opsqueue.pipeline import control, deployments
from opsqueue.pipeline.monitored import Monitored
from opsqueue.pipeline.submit import params_for
from opsqueue.pipeline.upkeep import upkeep
from opsqueue.store import deployments as store_deployments
from opsqueue.store import events as store_events
from opsqueue.store import history

ID = "6f1c0de0-0000-4000-8000-000000000001"
CHECKS = {"checks": [{"kind": "tcp", "name": "shop", "host": "127.0.0.1", "port": 80}]}
LEADS_BACK = {"type": "set_value", "parameters": {"to": 1}}


@pytest.fixture
def shop(story):
    """Hosts whose value is the version that runs there; 5 and what is not known are critical."""
    plain = story.world

    def world(worker="worker-1", **settings):
        made = plain(worker, **settings)
        looks = made.kinds["look_value"]

        class Params(looks.params):
            checks: tuple[dict, ...] = Field(default=())
            failure_threshold: int = 3

        check = replace(looks, name="health_check", params=Params, analyse=_judge, verify=lambda *_all: ())
        return replace(made, kinds={**made.kinds, "health_check": check})

    story.world = world
    story.settings["deployments"] = {"shop": {"health_check": CHECKS, "rollback": LEADS_BACK}}
    return story


def _judge(params, seen):
    bad = seen.after["value"]["value"] == 5
    found = [Finding(severity=Severity.CRITICAL, code="bad", host=seen.host, message="it is 5")] if bad else []
    return Analysis(findings=tuple(found), score=0 if bad else 100)


def tell(story, **more):
    event = parse_event(
        {"service": "shop", "version": "2", "systems": ["h1"], "event_id": ID, "requested_by": "ci", **more}
    )
    return deployments.take_in(story.world(), event)


def stands(story, deployment_id=ID):
    with story.store.read() as connection:
        return store_deployments.get(connection, deployment_id)


def go_on(story, turns=8, deployment_id=ID):
    """What a reconciler and workers do, until nothing moves any more."""
    for _ in range(turns):
        deployments.step_all(story.world())
        now_is = stands(story, deployment_id)
        for operation_id in (now_is.check_id, now_is.rollback_id):
            if _is_there(story, operation_id):
                story.drive(operation_id)
        if now_is.state.over:
            break
    return stands(story, deployment_id)


def _is_there(story, operation_id):
    try:
        story.raw(operation_id)
    except NotFound:
        return False
    return True


def operations_of(story):
    with story.store.read() as connection:
        found = [*history.active(connection), *history.ended(connection, history.Wanted())]
    return sorted((one.type, one.id) for one in found)


def states(story):
    with story.store.read() as connection:
        lines = store_events.latest(connection, "deployment")
    return [line.data["state"] for line in reversed(lines) if line.data["id"] == ID]


def monitored(story):
    with story.store.read() as connection:
        return store_deployments.checks(connection)


def test_a_healthy_deployment_is_checked_once_and_monitored(shop):
    received = tell(shop, reason="release 2")
    assert received.state == "checking"
    asked = shop.raw(received.check_id)
    assert (asked.type, asked.systems, asked.requested_by) == ("health_check", ("h1",), "deployment:shop")
    assert asked.reason == f"deployment {ID} by ci: release 2"
    assert asked.parameters == {"failure_threshold": 1, **CHECKS}
    assert monitored(shop) == {}
    ended = go_on(shop)
    assert (ended.state, ended.why) == ("healthy", "its health check scored 100 of 100")
    assert states(shop) == ["received", "checking", "healthy"]
    assert operations_of(shop) == [("health_check", received.check_id)]
    assert monitored(shop) == {"h1": {"shop": tuple(CHECKS["checks"])}}


ANSWERS = {
    True: {"ok": True, "status": 200, "phases": {"total": 5.0}},
    False: {
        "ok": False, "error": "refused", "detail": "refused", "failed_phase": "connect", "phases": {"total": 1.0}
    },
}  # fmt: skip
"""What a probe says of a web server that is there, and of one that is not."""


@pytest.fixture
def probed(story):
    """The real health check, of a web server that answers as long as the value of its host is not 5."""
    plain, shell = story.world, story._connect
    check = {"kind": "http", "name": "shop", "url": "http://127.0.0.1:1/health", "critical": True}

    def connect(host, worker):
        inner, machine = shell(host, worker), story.machines[host.name]
        return SimpleNamespace(
            greet=inner.greet,
            run=inner.run,
            busy=inner.busy,
            close=inner.close,
            ask=lambda facts: inner.ask(facts) | {one.name: ANSWERS[machine.value != 5] for one in facts if _web(one)},
        )

    def world(worker="worker-1", **settings):
        made = plain(worker, **settings)
        return replace(made, kinds={**made.kinds, "health_check": catalogue()["health_check"]})

    story._connect, story.world = connect, world
    story.settings["deployments"] = {"shop": {"health_check": {"checks": [check]}, "rollback": LEADS_BACK}}
    return story


def _web(fact):
    return fact.name == "check:shop"


def deployed(story, number, **more):
    """The n-th deployment, brought to its end or to where it waits; each is later than the one before."""
    story.clock.at += 60
    event_id = f"{ID[:-4]}{number:04d}"
    tell(story, event_id=event_id, **{"version": str(number), **more})
    return go_on(story, deployment_id=event_id)


@pytest.mark.parametrize("threshold", [None, 3])
def test_a_service_that_was_well_before_fails_at_the_first_failure(probed, threshold):
    """What was counted of the version before says nothing of this one."""
    given = dict(probed.settings["deployments"]["shop"]["health_check"])
    given |= {"failure_threshold": threshold} if threshold else {}
    for number in (1, 2):
        assert deployed(probed, number, health_check=given).state == "healthy"
    probed.machines["h1"].value = 5
    ended = deployed(probed, 3, health_check=given)
    assert ended.state == "rolled_back"
    assert ("shop" if threshold is None else "h1: up is 0") in ended.why
    assert deployed(probed, 4, health_check=given).state == "healthy"


def test_a_failed_check_leads_back(shop):
    shop.machines["h1"].value = 5
    ended = go_on(shop, deployment_id=tell(shop).id)
    assert ended.state == "rolled_back"
    assert states(shop) == ["received", "checking", "rolling_back", "rolled_back"]
    assert (shop.machines["h1"].value, shop.machines["h1"].tally) == (1, ["set 1"])
    assert monitored(shop) == {}
    back = shop.raw(ended.rollback_id)
    assert (back.requested_by, back.priority, back.systems) == ("deployment:shop", "high", ("h1",))


def test_nothing_that_leads_back_leaves_it_to_a_person(shop):
    shop.settings["deployments"] = {}
    shop.machines["h1"].value = 5
    tell(shop, health_check=CHECKS)
    assert go_on(shop).state == "failed"
    assert shop.machines["h1"].tally == []


def test_the_event_may_bring_its_own_check_and_rollback(shop):
    shop.machines["h1"].value = 5
    tell(shop, rollback={"type": "set_value", "parameters": {"to": 3}, "priority": "critical"})
    ended = go_on(shop)
    assert ended.state == "rolled_back"
    assert shop.machines["h1"].value == 3
    assert shop.raw(ended.rollback_id).priority == "critical"


def test_a_rollback_that_fails_is_a_persons(shop):
    machine = shop.machines["h1"]
    machine.value, machine.breaks = 5, {"set 1"}
    tell(shop)
    ended = go_on(shop, turns=30)
    assert ended.state == "rollback_failed"
    assert "a person must look" in ended.why


def _squat(story, what, type="look_value", **other):
    """Somebody's own operation, under the id that belongs to the check or the rollback of the event."""
    story.ask(type, operation_id=uuid5(UUID(ID), what), requested_by="mallory", **other)
    story.drive(str(uuid5(UUID(ID), what)))


@pytest.mark.parametrize("early", [True, False])
def test_an_operation_that_only_has_the_id_of_the_rollback_led_nothing_back(shop, early):
    shop.machines["h1"].value = 5
    if early:
        _squat(shop, "rollback")
    tell(shop)
    if not early:
        _squat(shop, "rollback")
    ended = go_on(shop)
    assert ended.state == "rollback_failed"
    assert "it is 5" in ended.why
    assert "is another one (look_value by mallory)" in ended.why
    assert shop.machines["h1"].value == 5


def test_an_operation_that_has_the_id_of_a_rollback_that_nobody_needs_changes_nothing(shop):
    _squat(shop, "rollback")
    tell(shop)
    assert go_on(shop).state == "healthy"


@pytest.mark.parametrize("other", [{}, {"type": "health_check"}, {"type": "health_check", "parameters": CHECKS}])
def test_an_operation_that_only_has_the_id_of_the_check_says_nothing_of_the_service(shop, other):
    _squat(shop, "health_check", **other)
    shop.machines["h1"].value = 5
    tell(shop)
    ended = go_on(shop)
    assert (ended.state, "is another one" in ended.why) == ("unknown", True)
    assert monitored(shop) == {}


def test_the_rollback_passes_the_gates_like_any_other(shop):
    shop.machines["h1"].value = 5
    tell(shop)
    freeze = control.add_freeze(shop.world(), scope=("h1",), reason="quiet", ends_at=None, starts_at=None, actor="ann")
    assert go_on(shop).state == "rolling_back"
    assert shop.show(stands(shop).rollback_id)["waits_for"] == ["freeze"]
    assert shop.machines["h1"].tally == []
    control.lift_freeze(shop.world(), freeze.id, actor="ann")
    assert go_on(shop).state == "rolled_back"


def test_a_rollback_that_waits_does_not_undo_a_later_deployment(shop):
    machine = shop.machines["h1"]
    freeze = control.add_freeze(shop.world(), scope=("h1",), reason="quiet", ends_at=None, starts_at=None, actor="ann")
    machine.value = 5
    assert deployed(shop, 2).state == "rolling_back"
    machine.value = 3
    assert deployed(shop, 3).state == "healthy"
    ended = go_on(shop, deployment_id=f"{ID[:-4]}0002")
    assert ended.state == "superseded"
    assert "3 was deployed since" in ended.why
    assert shop.raw(ended.rollback_id).outcome == "cancelled"
    control.lift_freeze(shop.world(), freeze.id, actor="ann")
    shop.drive(ended.rollback_id)
    assert (machine.value, machine.tally) == (3, [])


def test_a_message_that_nobody_takes_holds_up_no_rollback(shop):
    shop.settings["notification_channels"] = {"email": "a@b.c"}
    shop.settings["deployments"]["shop"] = {**shop.settings["deployments"]["shop"], "notify": ["email"]}
    shop.receipts["email"] = Receipt(status="refused", error="nobody is there", permanent=True)
    shop.machines["h1"].value = 5
    tell(shop)
    ended = go_on(shop)
    assert shop.raw(ended.check_id).stage is Stage.NOTIFY
    assert ended.state == "rolled_back"


def test_a_deployment_that_failed_by_itself_is_led_back_at_once(shop):
    shop.machines["h1"].value = 7
    assert tell(shop, status="failed").state == "rolling_back"
    ended = go_on(shop)
    assert ended.state == "rolled_back"
    assert [kind for kind, _id in operations_of(shop)] == ["set_value"]


def test_a_doubled_event_does_nothing(shop):
    shop.machines["h1"].value = 5
    first, again = tell(shop), tell(shop, reason="sent twice")
    assert again == first
    ended = go_on(shop)
    assert tell(shop) == ended == stands(shop)
    assert len(operations_of(shop)) == 2
    assert shop.machines["h1"].tally == ["set 1"]
    with pytest.raises(Conflict, match="another deployment event"):
        tell(shop, version="3")


def test_a_doubled_event_is_judged_by_the_configuration_of_the_first(shop):
    first = tell(shop)
    shop.settings["deployments"] = {"shop": {"rollback": {"type": "no_such_type"}}}
    assert tell(shop) == first


def test_two_who_look_at_once_ask_once(shop):
    shop.machines["h1"].value = 5
    tell(shop)
    shop.drive(stands(shop).check_id)
    moved = [deployments.step_all(shop.world(worker)) for worker in ("a", "b")]
    assert moved == [1, 0]
    assert states(shop) == ["received", "checking", "rolling_back"]


def test_the_newest_of_many_is_looked_at_and_those_that_wait_are_not(shop, monkeypatch):
    started = tell(shop)
    with shop.store.begin() as tx:
        for number in range(1000, 1210):
            one = replace(started, id=f"{ID[:-4]}{number:04d}")
            asks = {**started.check, "operation_id": one.check_id}
            store_deployments.create(tx, replace(one, service=f"s{number}", check=asks), one.id)
    last = f"{ID[:-4]}9999"
    shop.clock.at += 1
    tell(shop, event_id=last, service="last", health_check=CHECKS)
    deployments.step_all(shop.world())  # asks for the checks that nobody asked for yet
    shop.drive(stands(shop, last).check_id)
    looked, real = [], deployments.step
    monkeypatch.setattr(deployments, "step", lambda world, one: looked.append(one) or real(world, one))
    assert deployments.step_all(shop.world()) == 1
    assert looked == [last]
    assert stands(shop, last).state == "healthy"


def test_what_was_deployed_before_the_clock_was_set_back_is_no_later_deployment(shop):
    assert deployed(shop, 1).state == "healthy"
    shop.clock.at -= 3600
    shop.machines["h1"].value = 5
    assert deployed(shop, 2).state == "rolled_back"


def test_nothing_is_led_back_over_a_later_deployment_of_the_same_hosts(shop):
    tell(shop)
    shop.clock.at += 1
    elsewhere = tell(shop, version="3", systems=["h2"], event_id=ID[:-1] + "2")
    shop.machines["h1"].value = 5
    shop.drive(stands(shop).check_id)
    shop.clock.at += 1
    tell(shop, version="4", systems=["h2", "h1"], event_id=ID[:-1] + "3", health_check={})
    ended = go_on(shop)
    assert (ended.state, ended.rollback_id in [one for _type, one in operations_of(shop)]) == ("superseded", False)
    assert "4 was deployed since" in ended.why
    assert elsewhere.state == "checking"


def leads_to_version(shop):
    told = {"type": "free_text", "parameters": {"any": ["{service}-{previous_version}", {"to": "{version}"}]}}
    shop.settings["deployments"] = {"shop": {"health_check": CHECKS, "rollback": told}}


def test_the_version_before_is_filled_in_when_the_rollback_is_asked_for(shop):
    leads_to_version(shop)
    assert deployed(shop, 1).state == "healthy"
    second = tell(shop, version="2", event_id=f"{ID[:-4]}0002", systems=["h1", "h2"])
    assert deployed(shop, 3, systems=["h3"]).state == "healthy"  # nothing of it was ever on h1 or h2
    shop.machines["h1"].value = 5
    ended = go_on(shop, deployment_id=second.id)
    assert ended.state == "rolled_back"
    assert shop.raw(ended.rollback_id).parameters == {"any": ["shop-1", {"to": "2"}]}


def test_a_version_that_turned_out_well_meanwhile_is_led_back_to(shop):
    leads_to_version(shop)
    slow = tell(shop, version="1", event_id=f"{ID[:-4]}0001", systems=["h1", "h2"])
    shop.clock.at += 1
    bad = tell(shop, version="2", event_id=f"{ID[:-4]}0002")
    assert go_on(shop, deployment_id=slow.id).state == "healthy"
    shop.machines["h1"].value = 5
    ended = go_on(shop, deployment_id=bad.id)
    assert shop.raw(ended.rollback_id).parameters == {"any": ["shop-1", {"to": "2"}]}


def test_what_leads_back_again_and_again_is_left_to_a_person(shop):
    """Such as a rollback that itself reports a deployment, which is not well either."""
    states = []
    for number in (1, 2, 3, 4):
        shop.machines["h1"].value = 5
        states.append(deployed(shop, number).state)
    assert states == ["rolled_back", "rolled_back", "failed", "failed"]
    shop.machines["h2"].value = 5
    assert deployed(shop, 5, systems=["h2"]).state == "rolled_back"
    shop.clock.at += 3601
    assert deployed(shop, 6).state == "rolled_back"


def test_a_version_that_was_led_back_from_since_is_not_led_back_to(shop):
    leads_to_version(shop)
    for number, version in ((1, "1"), (2, "2")):
        assert deployed(shop, number, version=version).state == "healthy"
    shop.machines["h1"].value = 5
    for number, version in ((3, "2"), (4, "3")):
        ended = deployed(shop, number, version=version)
        assert shop.raw(ended.rollback_id).parameters["any"][0] == "shop-1"


def test_where_no_version_was_healthy_nothing_leads_back(shop):
    leads_to_version(shop)
    assert deployed(shop, 1, systems=["h2"]).state == "healthy"
    shop.machines["h1"].value = 5
    ended = deployed(shop, 2)
    assert (ended.state, shop.machines["h1"].tally) == ("failed", [])
    assert "there is nothing that leads back" in ended.why


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"systems": ["nowhere"]}, NotFound),
        ({"health_check": {"checks": "x"}}, InvalidRequest),
        ({"rollback": {"type": "no_such_type"}}, NotFound),
        ({"rollback": {"type": "set_value", "parameters": {"too": 1}}}, InvalidRequest),
        ({"version": "\ud800"}, InvalidRequest),
        ({"reason": "a\x00b"}, InvalidRequest),
    ],
)
def test_what_could_not_be_asked_for_is_refused_at_the_door(shop, change, error):
    with pytest.raises(error):
        tell(shop, **change)
    with shop.store.read() as connection:
        assert store_deployments.listed(connection) == []
    assert operations_of(shop) == []


def test_a_host_that_left_meanwhile_is_told(shop):
    shop.machines["h1"].value = 5
    tell(shop)
    shop.drive(stands(shop).check_id)
    del shop.machines["h1"]
    ended = go_on(shop)
    assert ended.state == "rollback_failed"
    assert "cannot be asked for" in ended.why


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("value", [2, 5])
def test_a_worker_that_is_gone_at_any_write_loses_and_doubles_nothing(shop, value, kept):
    """Every write from the event to the end, in turn: whatever was lost is caught up, and each operation is one."""
    whole, crashes = {2: "healthy", 5: "rolled_back"}[value], 0
    for at in range(1, 60):
        number = ID[:-4] + f"{at:04d}"
        shop.machines["h1"].value, shop.machines["h1"].tally = value, []
        real = shop.store
        counting = shop.dying(at, kept=kept)
        crashed = _told_and_driven(shop, number)
        shop.store = real
        if not crashed and counting.writes < at:
            break
        crashes += crashed
        if not _told(shop, number):  # the message is there as long as nobody acknowledged it
            tell(shop, event_id=number)
        shop.clock.at += 4000  # more than the hour within which only so many are led back
        ended = go_on(shop, turns=20, deployment_id=number)
        assert ended.state == whole, at
        mine = [one for one in operations_of(shop) if one[1] in {ended.check_id, ended.rollback_id}]
        assert len(mine) == (2 if value == 5 else 1)
        assert shop.machines["h1"].tally == (["set 1"] if value == 5 else [])
    assert crashes == {2: 4, 5: 5}[value]


def _told(shop, number):
    with shop.store.read() as connection:
        return store_deployments.known(connection, number)


def _told_and_driven(shop, number):
    """Whether the worker that takes the event, and whoever looks after it, is gone on the way."""
    try:
        tell(shop, event_id=number)
        now_is = stands(shop, number)
        deployments.step_all(shop.world())
        shop.drive(now_is.check_id)
        deployments.step_all(shop.world())
    except BaseException as gone:  # the crash of a story is no Exception
        if type(gone).__name__ != "Crash":
            raise
        return True
    return False


def test_what_was_over_long_ago_is_forgotten_and_stays_monitored(shop):
    for number in (1, 2):
        assert deployed(shop, number).state == "healthy"
    shop.clock.at += 366 * 86_400
    upkeep(shop.world())
    with shop.store.read() as connection:
        assert [one.version for one in store_deployments.listed(connection)] == ["2"]
    assert set(monitored(shop)) == {"h1"}


# -- what is monitored --------------------------------------------------------------------------------------


@pytest.fixture
def seen(story):
    """The inventory with what is monitored, by a clock of its own."""
    kinds = catalogue()
    own = {"health_check": {"checks": [{"kind": "disk", "name": "disk"}, {"kind": "load", "name": "shop"}]}}
    hosts = {"h1": Host(name="h1"), "h2": Host(name="h2", parameters=own), "h3": Host(name="h3")}
    plain, clock = Inventory(hosts), SimpleNamespace(at=0.0)
    directory = Monitored(lambda: plain, story.store, kinds, clock=lambda: clock.at)

    def names(host):
        params = params_for(kinds["health_check"], {}, directory()[host])
        return [(check.kind, check.name) for check in params.effective]

    return SimpleNamespace(names=names, clock=clock, directory=directory, plain=plain, store=story.store)


def monitor(seen, *hosts, service="shop", checks=CHECKS["checks"]):
    one = SimpleNamespace(service=service, id=ID, created_at=0.0)
    with seen.store.begin() as tx:
        store_deployments.monitor(tx, one, hosts, checks, 0.0)
    seen.clock.at += 10


USUAL = [("disk", "disk"), ("memory", "memory"), ("load", "load")]


def test_without_deployments_the_inventory_is_what_it_was(seen):
    assert seen.directory() is seen.plain
    assert seen.names("h1") == USUAL


def test_the_checks_of_a_healthy_deployment_stand_beside_those_of_the_host(seen):
    monitor(seen, "h1", "h2")
    assert seen.names("h1") == [*USUAL, ("tcp", "shop")]
    assert seen.names("h2") == [("disk", "disk"), ("tcp", "shop")]  # of one name: what was deployed counts
    assert seen.names("h3") == USUAL
    assert seen.directory() is seen.directory()


def ports(*names, **more):
    return [{"kind": "tcp", "name": name, "host": "127.0.0.1", "port": 80, **more} for name in names]


def test_checks_of_different_services_may_have_one_name(seen):
    monitor(seen, "h1", service="a:b", checks=[*ports("db"), *ports("web", depends_on=["db"])])
    monitor(seen, "h1", service="mail", checks=[*ports("web"), *ports("db", depends_on=["web"])])
    monitor(seen, "h1", service="x" * 200, checks=ports("web", "y" * 64))
    assert [name for _kind, name in seen.names("h1")][3:] == [
        "a-b/db", "a-b/web", "mail/web", "mail/db", "x" * 60 + "/web", "y" * 64
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("web", ports("db")), ("web/db", ports("web/db"))),
        (("a-b", ports("db")), ("a:b", ports("db"))),
        (("one", ports("y" * 64)), ("two", ports("y" * 64))),
        (("a-b", ports("x", "db", depends_on=[])), ("a:b", [*ports("x"), *ports("db", depends_on=["x"])])),
    ],
)
def test_no_service_takes_the_place_of_anothers_check(seen, first, second):
    for service, checks in (first, second):
        monitor(seen, "h1", service=service, checks=checks)
    given = seen.directory()["h1"].parameters["health_check"]["checks"][3:]
    names = [one["name"] for one in given]
    assert len(set(names)) == len(names) == len(first[1]) + len(second[1])
    assert all(need in names for one in given for need in one.get("depends_on") or ())


@pytest.mark.parametrize(
    "checks",
    [
        ports(*(f"p{number}" for number in range(97))),
        [*ports("stack/one", depends_on=["stack"]), *ports("stack", depends_on=["stack/one"])],
        [{"kind": "no_such_kind", "name": "old"}],
    ],
)
def test_what_no_health_check_could_be_made_with_is_left_out_and_all_else_is_checked(seen, checks, caplog):
    monitor(seen, "h1")
    monitor(seen, "h1", service="stack", checks=checks)
    assert seen.names("h1") == [*USUAL, ("tcp", "shop")]
    assert "FAILED to monitor stack on h1" in caplog.text
    assert "opsqueue deployments forget stack h1" in caplog.text


def test_a_service_is_monitored_no_more_once_it_is_forgotten(seen, shop):
    monitor(seen, "h1", "h2", "h3")
    monitor(seen, "h1", service="mail")
    assert deployments.forget(shop.world(), "shop", ["h3", "h9"], actor="ann") == ["h3"]
    assert deployments.forget(shop.world(), "shop", [], actor="ann") == ["h1", "h2"]
    seen.clock.at += 10
    assert seen.names("h1") == [*USUAL, ("tcp", "mail/shop")]
    assert seen.names("h2") == [("disk", "disk"), ("load", "shop")]
    with pytest.raises(NotFound, match="nothing of shop is monitored on h1"):
        deployments.forget(shop.world(), "shop", ["h1"], actor="ann")
    with shop.store.read() as connection:
        (line, _) = store_events.latest(connection, "monitor_forgotten")
    assert (line.actor, line.data) == ("ann", {"service": "shop", "hosts": ["h1", "h2"]})


def test_an_earlier_deployment_that_is_found_well_late_changes_nothing(shop):
    newer = [{**CHECKS["checks"][0], "port": 81}]
    late = tell(shop, version="1", event_id=f"{ID[:-4]}0001", systems=["h1", "h2"])
    assert deployed(shop, 2, health_check={"checks": newer}).state == "healthy"
    assert go_on(shop, deployment_id=late.id).state == "healthy"
    assert monitored(shop) == {"h1": {"shop": tuple(newer)}, "h2": {"shop": tuple(CHECKS["checks"])}}


def test_a_request_with_checks_of_its_own_asks_for_those_alone(seen):
    monitor(seen, "h1")
    kind = catalogue()["health_check"]
    asked = params_for(kind, {"checks": [{"kind": "load", "name": "mine"}]}, seen.directory()["h1"])
    assert [check.name for check in asked.effective] == ["mine"]


def test_a_record_that_does_not_answer_leaves_what_was_known(seen):
    monitor(seen, "h1")
    assert ("tcp", "shop") in seen.names("h1")
    with seen.store.begin() as tx:
        tx.exec_driver_sql("ALTER TABLE monitored RENAME TO gone")
    seen.clock.at += 10
    assert ("tcp", "shop") in seen.names("h1")
