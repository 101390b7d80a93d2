"""What every store must keep, told once for SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from sqlalchemy.exc import DBAPIError

from opsqueue.errors import Conflict, LeaseLost, NotFound
from opsqueue.model.kind import Metric
from opsqueue.model.names import OperationPriority, Outcome, Stage, TargetState
from opsqueue.model.plan import Command, Plan, Step
from opsqueue.model.record import Delivery, Event, Freeze, Operation, Target
from opsqueue.store import deliveries, events, history, holds, operations, samples, schedules
from opsqueue.store import targets as store_targets

AT = 1_800_000_000.0
ODD = "quotes ' \" % _ \\ tabs\t lines\n Zürich 日本 🚀 \x7f"


def an_operation(name="op-1", **change):
    base = Operation(
        id=name,
        name="restart",
        type="service_restart",
        priority=OperationPriority.NORMAL,
        parameters={"service": "nginx", "odd": ODD},
        systems=("h1", "web"),
        channels=("email",),
        due_at=AT,
        created_at=AT,
    )
    return replace(base, **change)


def create(store, *made):
    with store.begin() as tx:
        return [operations.create(tx, operation, "digest") for operation in made]


def get(store, name="op-1"):
    with store.read() as connection:
        return operations.get(connection, name)


def take(store, name="op-1", *, now=AT, stage=Stage.VERIFY, holder="a", lease=30.0):
    with store.begin() as tx:
        return operations.take(tx, name, stage, now=now, until=now + lease, holder=holder)


def at_once(number, work):
    """Do `work(0)` … `work(number - 1)` in as many threads, begun together; the answers in any order."""
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


# Operations


def test_an_operation_comes_back_as_it_was_written(store):
    full = an_operation(
        description=ODD,
        retry_count=0,
        window="daily",
        rollback_enabled=False,
        requested_by="ann",
        reason=ODD,
        looking=True,
        hold=("freeze",),
        digest="d",
        coordinators=({"coordinator": "c", "status": "PASSED"},),
        verdicts=({"gate": "freeze", "verdict": "hold", "why": ODD, "until": 1.5},),
        score=97.5,
        findings=({"severity": "warning"},),
        schedule="nightly",
        slot=5.25,
    )
    create(store, full)
    assert get(store) == full


def test_the_same_id_is_created_once(store):
    assert create(store, an_operation()) == [True]
    assert create(store, an_operation()) == [False]
    with pytest.raises(Conflict, match="op-1"), store.begin() as tx:
        operations.create(tx, an_operation(), "another digest")


def test_the_same_id_is_created_once_by_many(store):
    assert sorted(at_once(8, lambda _: create(store, an_operation())[0])) == [False] * 7 + [True]


def test_a_slot_of_a_schedule_is_taken_once(store):
    first = an_operation(schedule="nightly", slot=AT)
    assert create(store, first, replace(first, id="op-2"), replace(first, id="op-3", slot=AT + 1)) == [
        True,
        False,
        True,
    ]
    with pytest.raises(NotFound):
        get(store, "op-2")
    with store.read() as connection:
        assert schedules.last_slot(connection, "nightly", AT + 1) == AT + 1
        assert schedules.last_slot(connection, "nightly", AT - 3600) is None, "of a time that has not come"
        assert schedules.last_slot(connection, "weekly", AT) is None


def test_what_is_due_is_leased_to_one(store):
    create(store, an_operation())
    assert take(store, now=AT - 1) is None
    assert take(store, stage=Stage.WINDOW) is None
    taken = take(store)
    assert (taken.token, taken.holder, taken.due_at, taken.attempts) == (1, "a", AT + 30, 0)
    assert take(store, holder="b") is None
    again = take(store, now=AT + 30, holder="b")
    assert (again.token, again.holder, again.attempts) == (2, "b", 1)


def test_one_of_many_gets_the_lease(store):
    create(store, an_operation())
    taken = [one for one in at_once(8, lambda index: take(store, holder=f"w{index}")) if one]
    assert len(taken) == 1
    assert get(store) == taken[0]


def test_a_stale_token_writes_nothing(store):
    create(store, an_operation())
    stale = take(store)
    fresh = take(store, now=AT + 31, holder="b")
    for write in (
        lambda tx: operations.save(tx, replace(stale, outcome=Outcome.FAILED), Stage.VERIFY, 0.0),
        lambda tx: operations.renew(tx, stale, AT + 999),
    ):
        with pytest.raises(LeaseLost), store.begin() as tx:
            write(tx)
    assert get(store) == fresh


def test_a_lost_lease_undoes_all_of_its_transaction(store):
    create(store, an_operation())
    stale = take(store)
    take(store, now=AT + 31, holder="b")

    def write_all():
        with store.begin() as tx:
            events.append(tx, [Event(operation_id="op-1", at=AT, kind="stage", message="not so")])
            store_targets.replace_all(tx, "op-1", [Target(operation_id="op-1", host="h1")])
            operations.renew(tx, stale, AT + 60)

    with pytest.raises(LeaseLost):
        write_all()
    with store.read() as connection:
        assert events.of(connection, "op-1") == ()
        assert store_targets.of(connection, "op-1") == ()


def test_a_lease_is_stretched_and_given_back(store):
    create(store, an_operation())
    taken = take(store)
    with store.begin() as tx:
        operations.renew(tx, taken, AT + 90)
    assert get(store).due_at == AT + 90
    rested = replace(taken, stage=Stage.WINDOW, holder="", due_at=None, hold=("freeze",), digest="d")
    with store.begin() as tx:
        assert operations.save(tx, rested, Stage.VERIFY, 0.0) == ""
    assert get(store) == rested
    with pytest.raises(LeaseLost), store.begin() as tx:
        operations.renew(tx, rested, AT + 999)
    assert take(store, now=AT + 1e9, stage=Stage.WINDOW) is None  # due at no time: a person is waited for


def test_saving_tells_who_asked_to_cancel_meanwhile(store):
    create(store, an_operation())
    taken = take(store)
    with store.begin() as tx:
        operations.ask_cancel(tx, taken, "ann: stop", AT)
    assert get(store).due_at == AT + 30  # the lease stands
    with store.begin() as tx:
        assert operations.save(tx, replace(taken, holder="", due_at=None), Stage.VERIFY, 0.0) == "ann: stop"
    with store.begin() as tx:
        operations.ask_cancel(tx, taken, "bob", AT + 5)
    assert (get(store).due_at, get(store).cancel_asked) == (AT + 5, "bob")
    with store.read() as connection:
        assert operations.cancel_asked(connection, "op-1") == "bob"


def test_a_person_reopens_what_rests_and_not_what_is_held(store):
    create(store, an_operation(due_at=None, attempts=3, hold=("delivery",), stage=Stage.NOTIFY))
    rested = get(store)
    with store.begin() as tx:
        assert operations.reopen(tx, rested, Stage.NOTIFY, AT + 5)
    opened = get(store)
    assert (opened.due_at, opened.attempts, opened.hold, opened.token) == (AT + 5, 0, (), 1)
    with store.begin() as tx:
        assert not operations.reopen(tx, rested, Stage.NOTIFY, AT + 6)
    taken = take(store, now=AT + 5, stage=Stage.NOTIFY)
    with store.begin() as tx:
        assert not operations.reopen(tx, taken, Stage.NOTIFY, AT + 6)


def due(store, now, **change):
    wanted = {"nudged_before": now, "lost_before": 0.0, "busy": [], "limit": 10, **change}
    with store.read() as connection:
        return [one.id for one in operations.due(connection, now=now, **wanted)]


def test_the_due_come_most_urgent_first(store):
    create(
        store,
        an_operation("low", priority=OperationPriority.LOW),
        an_operation("younger", created_at=AT + 1),
        an_operation("older", created_at=AT - 1),
        an_operation("critical", priority=OperationPriority.CRITICAL),
        an_operation("later", due_at=AT + 60),
        an_operation("person", due_at=None),
        an_operation("closed", stage=Stage.CLOSED),
    )
    assert due(store, AT + 1) == ["critical", "older", "younger", "low"]
    assert due(store, AT + 1, limit=2) == ["critical", "older"]
    assert due(store, AT + 60) == ["critical", "older", "later", "younger", "low"]


def test_the_nudged_are_left_alone_for_a_while(store):
    create(store, an_operation("a"), an_operation("b", created_at=AT + 1))
    with store.begin() as tx:
        operations.nudged(tx, ["a"], AT + 10)
        operations.nudged(tx, [], AT + 10)
    assert due(store, AT + 12, nudged_before=AT + 5) == ["b"]
    assert due(store, AT + 15, nudged_before=AT + 10) == ["a", "b"]
    assert due(store, AT + 15, nudged_before=AT + 10, busy=["normal"]) == []
    assert due(store, AT + 99, nudged_before=AT + 90, lost_before=AT + 10, busy=["normal"]) == ["a", "b"]


def test_those_that_wait_are_found_and_woken(store):
    create(
        store,
        an_operation("frozen", due_at=None, hold=("freeze",), stage=Stage.WINDOW),
        an_operation("frozen-later", due_at=None, hold=("freeze",), stage=Stage.EXECUTE),
        an_operation("slot", due_at=AT + 30, hold=("concurrency", "freeze"), stage=Stage.WINDOW, created_at=AT + 1),
        an_operation("host", due_at=AT + 30, hold=("host_lock",), stage=Stage.WINDOW),
        an_operation("worked", hold=("freeze", "host_lock"), stage=Stage.WINDOW, holder="a", due_at=AT + 30),
        an_operation("closed", hold=("freeze",), stage=Stage.CLOSED),
    )
    with store.read() as connection:
        assert operations.waiting_for_room(connection, 10) == ["host", "slot"]
        assert operations.waiting_for_room(connection, 1) == ["host"]
        assert {one.id for one in operations.held_by(connection, "freeze")} == {"frozen", "frozen-later", "slot"}
    with store.begin() as tx:
        operations.wake(tx, ["frozen", "worked", "closed"], AT + 1)
    assert [get(store, name).due_at for name in ("frozen", "worked", "closed")] == [AT + 1, AT + 30, AT]


def test_an_id_is_found_by_its_beginning(store):
    create(store, an_operation("abcd-1"), an_operation("abcd-2"), an_operation("ab_d-3"))
    with store.read() as connection:
        assert operations.resolve(connection, "abcd-1") == "abcd-1"
        assert operations.resolve(connection, "AB_D") == "ab_d-3"
        with pytest.raises(Conflict, match="several"):
            operations.resolve(connection, "abcd")
        for nothing in ("abc", "", "%%%%", "____", "zzzz"):
            with pytest.raises(NotFound):
                operations.resolve(connection, nothing)


# Targets, events, deliveries


def a_target(host="h1", **change):
    plan = Plan(
        steps=(Step(title="restart", command=Command(argv=("systemctl", ODD), env={"A": "b"}), ok_codes=(0, 3)),)
    )
    return replace(Target(operation_id="op-1", host=host, plan=plan), **change)


def test_targets_come_back_in_their_order_and_as_they_were(store):
    create(store, an_operation())
    made = (a_target("z", position=0), a_target("a", position=1, state=TargetState.APPLYING, before={"x": [1, None]}))
    with store.begin() as tx:
        store_targets.replace_all(tx, "op-1", made)
    ended = replace(made[1], state=TargetState.UNKNOWN, problems=(ODD, "a\x00b \ud800"), changed=True, changed_at=AT)
    with store.begin() as tx:
        store_targets.save(tx, [ended])
        store_targets.save(tx, [])
    with store.read() as connection:
        assert store_targets.of(connection, "op-1") == (made[0], ended)
    with store.begin() as tx:
        store_targets.replace_all(tx, "op-1", [])
    with store.read() as connection:
        assert store_targets.of(connection, "op-1") == ()


def test_the_metrics_before_are_those_of_the_last_operation_of_the_type(store):
    for number in (1, 2, 3):
        create(store, an_operation(f"op-{number}", created_at=AT + number))
        metrics = {"n": {"value": number, "unit": "count"}}
        target = replace(a_target(), operation_id=f"op-{number}", metrics=metrics, started_at=AT + number)
        with store.begin() as tx:
            store_targets.replace_all(tx, target.operation_id, [replace(target, metrics={}) if number == 2 else target])
    with store.read() as connection:
        earlier = store_targets.latest_metrics(connection, "service_restart", "h1", AT + 3)
        assert earlier == {"n": {"value": 1, "unit": "count"}}
        assert store_targets.latest_metrics(connection, "service_restart", "h2", AT + 3) == {}
        assert store_targets.latest_metrics(connection, "backup", "h1", AT + 3) == {}


def test_the_metrics_before_may_be_those_of_the_same_parameters(store):
    for number, parameters in ((1, {"a": 1, "b": [2]}), (2, {"a": 2}), (3, {"a": 1, "b": [2]})):
        create(store, an_operation(f"op-{number}", created_at=AT + number, parameters=parameters))
        metrics = {"n": {"value": number, "unit": "count"}}
        target = replace(a_target(), operation_id=f"op-{number}", metrics=metrics, started_at=AT + number)
        with store.begin() as tx:
            store_targets.replace_all(tx, target.operation_id, [target])
    with store.read() as connection:
        last = operations.get(connection, "op-3")
        assert store_targets.latest_metrics_alike(connection, last, "h1") == {"n": {"value": 1, "unit": "count"}}
        assert store_targets.latest_metrics_alike(connection, last, "h2") == {}
        other = replace(last, parameters={"a": 3})
        assert store_targets.latest_metrics_alike(connection, other, "h1") == {}


def test_events_are_read_in_the_order_in_which_they_were_written(store):
    create(store, an_operation())
    lines = [Event(operation_id="op-1", at=AT - n, kind="stage", message=ODD, data={"n": n}) for n in range(3)]
    with store.begin() as tx:
        events.append(tx, lines)
        events.append(tx, [])
        events.append(tx, [Event(operation_id=None, at=AT, kind="freeze_added", message="audit")])
    with store.read() as connection:
        found = events.of(connection, "op-1")
        assert [replace(line, id=0) for line in found] == lines
        assert [line.data["n"] for line in events.of(connection, "op-1", after=found[0].id)] == [1, 2]
        assert events.latest(connection, "stage") == ()  # those belong to an operation
        assert [line.operation_id for line in events.latest(connection, "freeze_added")] == [None]


def test_whatever_a_host_says_can_be_kept(store):
    """PostgreSQL keeps no NUL in a text, and nobody a half of a surrogate pair."""
    create(store, an_operation())
    with store.begin() as tx:
        events.append(
            tx, [Event(operation_id="op-1", at=AT, kind="step", message="a\x00b \ud800 c", data={"o": "\x00\udcff"})]
        )
    with store.read() as connection:
        (line,) = events.of(connection, "op-1")
    assert line.message == "a\\x00b \\ud800 c"
    assert line.data == {"o": "\x00\udcff"}


def test_events_are_appended_only(store):
    with store.begin() as tx:
        events.append(tx, [Event(operation_id="op-1", at=AT, kind="step", message="so it was")])
    with pytest.raises(DBAPIError, match="appended only"), store.begin() as tx:
        tx.exec_driver_sql("UPDATE events SET message = 'otherwise'")
    with store.read() as connection:
        assert events.of(connection, "op-1")[0].message == "so it was"


def test_a_delivery_is_put_out_once(store):
    create(store, an_operation())
    first = Delivery(operation_id="op-1", event="ended", channel="email")
    sent = replace(first, status="accepted", attempts=1, at=AT)
    with store.begin() as tx:
        deliveries.add(tx, [first])
        deliveries.save(tx, sent)
        deliveries.add(tx, [first, replace(first, channel="a")])
    with store.read() as connection:
        assert deliveries.of(connection, "op-1") == (replace(first, channel="a"), sent)


def test_a_delivery_is_put_out_once_by_many(store):
    create(store, an_operation())
    outbox = [Delivery(operation_id="op-1", event="ended", channel=name) for name in ("a", "b")]

    def add(_):
        with store.begin() as tx:
            deliveries.add(tx, outbox)

    at_once(6, add)
    with store.read() as connection:
        assert len(deliveries.of(connection, "op-1")) == 2


# What keeps operations apart


def hold(store, name, hosts=(), limits=None):
    with store.begin() as tx:
        return holds.take(tx, name, hosts=hosts, limits=limits or {}, now=AT)


def test_slots_and_locks_are_taken_together_or_not_at_all(store):
    assert hold(store, "a", ["h1", "h2"], {"all": 2})
    assert not hold(store, "b", ["h3", "h2"], {"all": 2})
    with store.read() as connection:
        assert holds.running(connection, "") == {"all": 1}
        assert holds.lock_holders(connection, ["h1", "h2", "h3"], "") == {"h1": "a", "h2": "a"}
        assert holds.lock_holders(connection, ["h1"], "a") == {}
        assert holds.lock_holders(connection, [], "") == {}
        assert (holds.held(connection, "a"), holds.held(connection, "b")) == (True, False)
    assert hold(store, "b", ["h3"], {"all": 2, "backup": 1})
    assert not hold(store, "c", ["h4"], {"all": 2})
    with store.begin() as tx:
        holds.release(tx, "a")
    assert hold(store, "c", ["h1", "h2"], {"all": 2})


def test_what_is_held_already_is_taken_once(store):
    assert hold(store, "a", ["h1"], {"all": 1})
    assert hold(store, "a", ["h1", "h2"], {"all": 1})
    with store.read() as connection:
        assert holds.running(connection, "") == {"all": 1}
        assert holds.lock_holders(connection, ["h1", "h2"], "") == {"h1": "a", "h2": "a"}


def test_no_more_slots_than_the_limit_however_many_ask_at_once(store):
    taken = at_once(8, lambda index: hold(store, f"op-{index}", [f"h{index}"], {"all": 3, "backup": 5}))
    assert taken.count(True) == 3
    with store.read() as connection:
        assert holds.running(connection, "") == {"all": 3, "backup": 3}


def test_a_host_has_one_holder_however_many_ask_at_once(store):
    orders = (["h1", "h2", "h3"], ["h3", "h2", "h1"])
    taken = at_once(8, lambda index: hold(store, f"op-{index}", orders[index % 2], {"all": 100}))
    assert taken.count(True) == 1
    with store.read() as connection:
        assert len(set(holds.lock_holders(connection, orders[0], "").values())) == 1
        assert holds.running(connection, "") == {"all": 1}


def lease(store, holder, now, until):
    with store.begin() as tx:
        return holds.take_lease(tx, "reconciler", holder=holder, now=now, until=until)


def test_a_lease_has_one_holder_until_it_lapses(store):
    assert lease(store, "a", AT, AT + 5)
    assert not lease(store, "b", AT + 4, AT + 9)
    assert lease(store, "a", AT + 4, AT + 9)
    assert lease(store, "b", AT + 9, AT + 14)
    with store.read() as connection:
        assert holds.lease_of(connection, "reconciler") == ("b", AT + 14)
        assert holds.lease_of(connection, "nothing") is None
    with store.begin() as tx:
        holds.drop_leases(tx, AT + 15)
    with store.read() as connection:
        assert holds.lease_of(connection, "reconciler") is None


def test_only_its_holder_gives_a_lease_back(store):
    def give_back(holder):
        with store.begin() as tx:
            holds.give_lease_back(tx, "reconciler", holder=holder)

    assert lease(store, "a", AT, AT + 5)
    give_back("b")
    assert not lease(store, "b", AT + 1, AT + 9)
    give_back("a")
    assert lease(store, "b", AT + 1, AT + 9)


def test_one_of_many_gets_a_lease_that_nobody_had(store):
    assert at_once(8, lambda index: lease(store, f"w{index}", AT, AT + 5)).count(True) == 1


def test_freezes_stand_until_they_end_or_are_lifted(store):
    def freeze(name, **change):
        base = Freeze(id=name, scope=("all",), reason=ODD, starts_at=AT, ends_at=None, created_by="ann", created_at=AT)
        return replace(base, **change)

    made = [freeze("open"), freeze("ends", ends_at=AT + 10, created_at=AT + 1), freeze("over", ends_at=AT - 5)]
    with store.begin() as tx:
        for one in made:
            holds.add_freeze(tx, one)
    with store.read() as connection:
        assert {one.id for one in holds.active_freezes(connection, AT)} >= {"open", "ends"}
        assert "over" not in {one.id for one in holds.active_freezes(connection, AT)}
        assert next(one for one in holds.all_freezes(connection) if one.id == "open") == made[0]
        assert holds.all_freezes(connection, limit=1)[0].id == "ends"
    with store.begin() as tx:
        assert holds.lift_freeze(tx, "open", actor="bob", now=AT + 1)
        assert not holds.lift_freeze(tx, "open", actor="bob", now=AT + 2)
        assert not holds.lift_freeze(tx, "none", actor="bob", now=AT + 2)
    with store.read() as connection:
        assert {one.id for one in holds.active_freezes(connection, AT + 2)} == {"ends"}


def test_a_schedule_is_known_since_it_was_first_seen(store):
    def seen(now):
        with store.begin() as tx:
            return schedules.known_since(tx, "nightly", now)

    assert at_once(4, lambda _: seen(AT)) == [AT] * 4
    assert seen(AT + 5) == AT


# Numbers and history


def add_samples(tx, metrics, at, *hosts):
    return samples.add(tx, [samples.Taken(host=host, at=at, metrics=metrics) for host in hosts or ("h1",)])


def test_samples_of_one_moment_are_stored_once(store):
    numbers = {"cpu": Metric(name="cpu", value=1.5, unit="percent"), "none": Metric(name="none", value=None, unit="s")}
    more = {**numbers, "load": Metric(name="load", value=0, unit="load")}
    with store.begin() as tx:
        assert add_samples(tx, numbers, AT) == 1
        add_samples(tx, numbers, AT)
        add_samples(tx, more, AT)
        add_samples(tx, more, AT + 60)
        assert add_samples(tx, {}, AT) == 0
    with store.read() as connection:
        assert samples.read(connection, "h1", "cpu", AT) == [(AT, 1.5), (AT + 60, 1.5)]
        assert samples.read(connection, "h1", "cpu", AT + 1) == [(AT + 60, 1.5)]
        assert samples.read(connection, "h1", "load", 0) == [(AT, 0.0), (AT + 60, 0.0)]
        assert samples.read(connection, "h1", "none", 0) == samples.read(connection, "h2", "cpu", 0) == []


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), 10**400], ids=["nan", "inf", "-inf", "huge"]
)
def test_what_is_no_number_is_dropped_and_the_others_are_kept(store, value):
    numbers = {"lag": Metric(name="lag", value=value, unit="s"), "load": Metric(name="load", value=2, unit="load")}
    with store.begin() as tx:
        assert add_samples(tx, numbers, AT) == 1
    with store.read() as connection:
        assert [samples.read(connection, "h1", name, 0) for name in ("lag", "load")] == [[], [(AT, 2.0)]]


def test_samples_of_many_workers_at_once_share_their_series(store):
    def add(index):
        with store.begin() as tx:
            add_samples(tx, {"cpu": Metric(name="cpu", value=index, unit="percent")}, AT + index)

    at_once(6, add)
    with store.read() as connection:
        assert [value for _, value in samples.read(connection, "h1", "cpu", 0)] == [0, 1, 2, 3, 4, 5]


def test_samples_of_more_hosts_than_one_question_holds(store):
    hosts = [f"h{number}" for number in range(1100)]
    number = {"cpu": Metric(name="cpu", value=1.0, unit="percent")}
    with store.begin() as tx:
        assert add_samples(tx, number, AT, *hosts) == 1100
        assert add_samples(tx, number, AT + 1, *hosts) == 1100
    with store.read() as connection:
        read = [samples.read(connection, host, "cpu", 0) for host in ("h0", "h499", "h500", "h1099")]
    assert read == [[(AT, 1.0), (AT + 1, 1.0)]] * 4


def test_what_was_measured_is_written_beside_what_stands(store):
    create(store, an_operation())
    with store.begin() as tx:
        store_targets.replace_all(tx, "op-1", [a_target("h1"), a_target("h2")])
    measured = replace(a_target("h2"), metrics={"n": {"value": 1, "unit": "count"}}, problems=("not written",))
    with store.begin() as tx:
        store_targets.save_metrics(tx, [measured])
        store_targets.save_metrics(tx, [])
    with store.read() as connection:
        assert store_targets.of(connection, "op-1") == (
            a_target("h1"), replace(a_target("h2"), metrics=measured.metrics),
        )  # fmt: skip


def closed(name, at, **change):
    base = an_operation(
        name, stage=Stage.CLOSED, outcome=Outcome.SUCCEEDED, created_at=AT + at, finished_at=AT + at + 1
    )
    return replace(base, **{"due_at": None, **change})


def with_target(store, name, host, started=None, finished=None):
    with store.begin() as tx:
        target = replace(a_target(host), operation_id=name, started_at=started, finished_at=finished)
        store_targets.replace_all(tx, name, [target])


def test_history_is_narrowed(store):
    create(
        store,
        closed("a", 0),
        closed("b", 1, type="backup_operation", requested_by="ann"),
        closed("c", 2, outcome=Outcome.FAILED),
        an_operation("open", created_at=AT + 3),
    )
    with_target(store, "a", "h1")
    with_target(store, "c", "h2")

    def found(**wanted):
        with store.read() as connection:
            return [one.id for one in history.ended(connection, history.Wanted(**wanted))]

    assert found() == ["c", "b", "a"]
    assert found(type="backup_operation") == found(requested_by="ann") == ["b"]
    assert found(status=Outcome.FAILED) == found(system="h2") == ["c"]
    assert found(since=AT + 1) == ["c", "b"]
    assert found(until=AT + 1) == ["a"]
    assert found(limit=1) == ["c"]
    with store.read() as connection:
        assert [one.id for one in history.active(connection)] == ["open"]


def test_history_is_forgotten_by_age_and_nothing_that_is_open(store):
    create(store, closed("a", 0), closed("b", 1), closed("young", 500), an_operation("open", created_at=AT - 999))
    create(store, closed("slot-1", 0, schedule="s", slot=1.0), closed("slot-2", 1, schedule="s", slot=2.0))
    for name in ("a", "open"):
        with_target(store, name, "h1")
        with store.begin() as tx:
            deliveries.add(tx, [Delivery(operation_id=name, event="ended", channel="log")])
            events.append(tx, [Event(operation_id=name, at=AT, kind="step", message="m")])
    with store.begin() as tx:
        assert [history.prune(tx, AT + 100, limit=2) for _ in range(3)] == [2, 1, 0]
    with store.read() as connection:
        assert {one.id for one in history.ended(connection, history.Wanted())} == {"young", "slot-2"}
        for of in (store_targets.of, deliveries.of, events.of):
            assert of(connection, "a") == ()
            assert len(of(connection, "open")) == 1


def test_how_long_the_last_ones_took(store):
    for number, seconds in enumerate((3.0, 5.0, None)):
        create(store, closed(f"op-{number}", number))
        with_target(store, f"op-{number}", "h1", AT, None if seconds is None else AT + seconds)
    with store.read() as connection:
        assert sorted(history.durations(connection, an_operation("now"))) == [3.0, 5.0]
        assert history.durations(connection, an_operation("op-1")) == [3.0]
        assert history.durations(connection, replace(an_operation("now"), name="other")) == []
        assert history.durations(connection, replace(an_operation("now"), parameters={"task": "restore"})) == []


def test_what_a_worker_has_in_hand_and_what_is_due_soon(store):
    create(
        store,
        an_operation("a", holder="shared-1:77", due_at=AT + 30),
        an_operation("b", holder="shared-1:78", due_at=AT - 1),
        an_operation("c", holder="shared-11:77", due_at=AT + 30),
        an_operation("d", holder="shared_1:77", due_at=AT + 30),
        an_operation("e", due_at=None),
    )
    with store.read() as connection:
        assert history.held_by_worker(connection, "shared-1:", AT) == 1
        assert history.held_by_worker(connection, "shared_1:", AT) == 1
        assert history.due_soon(connection, AT)
        assert not history.due_soon(connection, AT - 2)
