"""Deployments in the record, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from opsqueue.errors import Conflict, NotFound
from opsqueue.model.deployment import Deployment, DeploymentState
from opsqueue.store import deployments

AT = 1_800_000_000.0
ID = "6f1c0de0-0000-4000-8000-00000000000"
ONE = Deployment(
    id=f"{ID}1", service="shop", version="2", systems=("h1", "web"), status="succeeded", requested_by="ci",
    reason="quotes ' \" Zürich", check={"parameters": {"checks": [{"name": "a"}]}}, rollback=None, created_at=AT,
)  # fmt: skip


def create(store, *some):
    with store.begin() as tx:
        return [deployments.create(tx, one, f"digest of {one.version}") for one in some]


def read(store, what, *args, **more):
    with store.read() as connection:
        return what(connection, *args, **more)


def move(store, one, state, now=AT + 9):
    with store.begin() as tx:
        return deployments.move(tx, one, DeploymentState(state), "because", now)


def test_a_deployment_comes_back_as_it_was_written(store):
    full = replace(ONE, id=f"{ID}2", rollback={"type": "x", "parameters": {"a": [1]}}, state=DeploymentState.CHECKING)
    create(store, ONE, full)
    assert read(store, deployments.get, ONE.id) == ONE
    assert read(store, deployments.get, full.id) == full
    with pytest.raises(NotFound, match="no deployment"):
        read(store, deployments.get, "other")


def test_an_event_is_written_once_and_its_id_belongs_to_it(store):
    assert create(store, ONE) == [True]
    assert create(store, ONE) == [False]
    with pytest.raises(Conflict, match="another deployment event"):
        create(store, replace(ONE, version="3"))
    assert read(store, deployments.known, ONE.id)
    assert not read(store, deployments.known, "other")


def test_an_event_is_written_once_by_many(store):
    together, new = threading.Barrier(6), []

    def write():
        together.wait()
        new.extend(create(store, ONE))

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(new) == [False] * 5 + [True]


def test_only_one_moves_it_on_from_the_state_that_it_knows(store):
    create(store, ONE)
    assert move(store, ONE, "checking")
    assert not move(store, ONE, "failed")
    now_is = read(store, deployments.get, ONE.id)
    assert (now_is.state, now_is.why, now_is.finished_at) == ("checking", "because", None)
    assert move(store, now_is, "healthy")
    assert read(store, deployments.get, ONE.id).finished_at == AT + 9


def test_those_that_go_on_are_found_and_others_are_not(store):
    late = replace(ONE, id=f"{ID}2", created_at=AT + 1)
    create(store, late, ONE, replace(ONE, id=f"{ID}3"))
    move(store, replace(ONE, id=f"{ID}3"), "failed")
    assert [one.id for one in read(store, deployments.going_on)] == [ONE.id, late.id]
    assert [one.id for one in read(store, deployments.going_on, limit=1)] == [ONE.id]
    assert [one.id for one in read(store, deployments.going_on, after=ONE)] == [late.id]
    assert read(store, deployments.going_on, after=late) == []


def test_pages_lose_none_that_came_at_one_moment(store):
    rows = [replace(ONE, id=f"{ID}{n}") for n in range(1, 6)]
    create(store, *rows)
    seen, last = [], None
    while page := read(store, deployments.going_on, 2, after=last):
        seen, last = [*seen, *page], page[-1]
    assert seen == rows


def test_when_a_service_was_last_deployed(store):
    create(store, ONE, replace(ONE, id=f"{ID}2", created_at=AT + 5), replace(ONE, id=f"{ID}3", service="mail"))
    assert read(store, deployments.newest, {"shop", "mail", "none"}) == {"shop": AT + 5, "mail": AT}
    assert read(store, deployments.newest, set()) == {}


def test_the_list_is_of_a_service_and_the_newest_first(store):
    other = replace(ONE, id=f"{ID}2", service="mail", created_at=AT + 1)
    create(store, ONE, other)
    assert [one.id for one in read(store, deployments.listed)] == [other.id, ONE.id]
    assert [one.id for one in read(store, deployments.listed, limit=1)] == [other.id]
    assert [one.id for one in read(store, deployments.listed, service="shop")] == [ONE.id]
    assert read(store, deployments.since, ONE, AT) == []


def test_later_ones_of_the_service_and_earlier_ones(store):
    rows = [replace(ONE, id=f"{ID}{n}", version=str(n), created_at=AT + n) for n in range(2, 6)]
    create(store, *rows)
    for row, state in zip(rows, ["healthy", "healthy", "failed", "checking"], strict=True):
        move(store, row, state)
    assert [one.version for one in read(store, deployments.since, rows[1], AT + 5)] == ["5", "4"]
    assert read(store, deployments.since, rows[1], AT - 3600) == [], "of a time that has not come"
    assert [one.version for one in read(store, deployments.until, rows[2])] == ["3", "2"]
    assert [one.version for one in read(store, deployments.until, rows[2], limit=1)] == ["3"]
    assert read(store, deployments.until, replace(rows[2], service="mail")) == []


def test_an_id_may_be_short(store):
    create(store, ONE, replace(ONE, id=f"7{ID[1:]}1"))
    assert read(store, deployments.resolve, "6f1c") == ONE.id
    for prefix in ("6f1", "aaaa"):
        with pytest.raises(NotFound):
            read(store, deployments.resolve, prefix)
    create(store, replace(ONE, id=f"{ID}2"))
    with pytest.raises(Conflict):
        read(store, deployments.resolve, "6f1c")


def test_what_is_monitored_is_the_last_of_each_service_on_each_host(store):
    def monitor(one, hosts, *names):
        with store.begin() as tx:
            deployments.monitor(tx, one, hosts, [{"name": name} for name in names], AT)

    assert read(store, deployments.checks) == {}
    monitor(ONE, ["h1", "h2"], "old")
    monitor(replace(ONE, service="mail"), ["h1"], "smtp")
    monitor(ONE, ["h1"], "new", "more")
    assert read(store, deployments.checks) == {
        "h1": {"mail": ({"name": "smtp"},), "shop": ({"name": "new"}, {"name": "more"})},
        "h2": {"shop": ({"name": "old"},)},
    }


def test_what_was_over_long_ago_is_forgotten(store):
    create(store, ONE, replace(ONE, id=f"{ID}2"))
    move(store, ONE, "failed", now=AT)
    with store.begin() as tx:
        assert deployments.prune(tx, AT) == 0
        assert deployments.prune(tx, AT + 1) == 1
    assert [one.id for one in read(store, deployments.listed)] == [f"{ID}2"]


def test_what_runs_on_the_same_systems_is_not_forgotten(store):
    rows = [replace(ONE, id=f"{ID}{n}", version=str(n), created_at=AT + n) for n in range(2, 5)]
    elsewhere = replace(ONE, id=f"{ID}8", systems=("h2",))
    create(store, *rows, elsewhere)
    for row, state in zip([*rows, elsewhere], ["healthy", "healthy", "failed", "healthy"], strict=True):
        move(store, row, state, now=AT)
    with store.begin() as tx:
        assert deployments.prune(tx, AT + 1) == 2
    assert {one.id for one in read(store, deployments.listed)} == {rows[1].id, elsewhere.id}


def test_the_services_that_were_deployed_are_known(store):
    assert read(store, deployments.services) == []
    create(store, ONE, replace(ONE, id=f"{ID}2", version="3"), replace(ONE, id=f"{ID}3", service="api"))
    assert sorted(read(store, deployments.services)) == ["api", "shop"]
