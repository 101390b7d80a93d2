"""`tuning` against a real PostgreSQL: what takes, what does not, and a server that goes away in the middle."""

from __future__ import annotations

import sqlite3
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from database_cycle import cycle, killed_at
from dbkit import Postgres, needs, place, postgres, until, user

pytestmark = [
    pytest.mark.service,
    pytest.mark.xdist_group("database_tuning"),
    needs(("initdb", "postgresql"), ("psql", "postgresql-client"), ("runuser", "util-linux"), ("sqlite3", "sqlite3")),
]


@pytest.fixture(scope="module")
def server():
    with postgres() as one:
        yield one


@pytest.fixture
def fresh(server):
    yield server
    server.sql("alter system reset all")
    server.sql("select pg_reload_conf()")


@pytest.fixture
def kept():
    with place("root") as directory:
        yield directory


def asked(server: Postgres, kept: Path, **more):
    where = {
        "engine": "postgresql",
        "socket": str(server.directory),
        "port": server.port,
        "memory_mb": 16384,
        "cpus": 2,
    }
    return {"maintenance_type": "tuning", "backup_dir": str(kept / "b"), **where, **more}


def auto(server: Postgres) -> str:
    return (server.directory / "data" / "postgresql.auto.conf").read_text()


def test_it_recommends_and_changes_nothing(fresh, kept):
    before = auto(fresh)
    run_ = cycle(asked(fresh, kept))
    assert (run_.objections, run_.plan.steps) == ([], ())
    assert "recommendations; apply is not asked for" in run_.plan.note
    assert auto(fresh) == before


def test_what_needs_no_restart_is_set_and_the_rest_is_told(fresh, kept):
    fresh.sql("alter system set work_mem = '5MB'")
    fresh.sql("select pg_reload_conf()")
    run_ = cycle(asked(fresh, kept, apply=True, cpus=8))
    assert (run_.problems, set(run_.codes)) == ([], {0})
    assert fresh.sql("show effective_cache_size") == "12GB"
    assert fresh.sql("show random_page_cost") == "1.1"
    assert fresh.sql("show max_parallel_workers_per_gather") == "4"
    assert fresh.sql("show shared_buffers") == "128MB"
    assert "shared_buffers" not in auto(fresh)
    assert fresh.sql("select count(*) from pg_settings where pending_restart") == "0"
    assert run_.findings.count("tuning_restart") == 2  # shared_buffers, wal_buffers
    again = cycle(asked(fresh, kept, apply=True, cpus=8))
    assert again.plan.steps == ()


def test_a_value_that_does_not_take_leads_all_of_them_back(fresh, kept):
    """A line that is wrong in the server's own file makes it keep every old value, and it says nothing."""
    fresh.sql("alter system set work_mem = '5MB'")
    fresh.sql("select pg_reload_conf()")
    before = auto(fresh)
    file = fresh.directory / "data" / "postgresql.conf"
    good = file.read_text()
    try:
        run_ = cycle(
            asked(fresh, kept, apply=True), meanwhile=lambda: file.write_text(good + "deadlock_timeout == lots\n")
        )
        refused = cycle(asked(fresh, kept, apply=True))
    finally:
        file.write_text(good)
    assert any("did not take" in text for text in run_.problems)
    assert any("files of settings have an error" in text for text in run_.problems)
    assert "forget random_page_cost again" in run_.rolled
    assert "set work_mem to 5MB" in run_.rolled
    assert run_.restored == []
    assert sorted(auto(fresh).splitlines()) == sorted(before.splitlines())
    assert "have an error, mend it first" in refused.objections[0]


def test_a_server_that_goes_away_gets_its_old_file_back(kept):
    with postgres() as one:
        one.sql("alter system set work_mem = '5MB'")
        one.sql("select pg_reload_conf()")
        before = auto(one)

        def stop():
            until(lambda: "random_page_cost" in auto(one))
            one.ctl("-m", "immediate", "stop")

        stopper = threading.Thread(target=stop)
        run_ = cycle(asked(one, kept, apply=True), meanwhile=stopper.start)
        stopper.join()
        assert run_.problems == ["the server does not answer after its settings were changed"]
        assert run_.rolled == ["put its old file of settings back"]
        assert "start it" in run_.restored[0]
        assert auto(one) == before
        where = f"-c listen_addresses= -c unix_socket_directories={one.directory} -c port={one.port}"
        one.ctl("-l", str(one.directory / "log2"), "-o", f"{where} -c random_page_cost=3", "start")
        assert one.sql("show work_mem") == "5MB"
        # What stands on the command line cannot be set, and is told.
        told = cycle(asked(one, kept, apply=True))
        assert told.problems == []
        assert not [title for title in told.titles if "random_page_cost" in title]
        assert "tuning_advice" in told.findings


def test_a_worker_that_is_killed_leaves_the_old_values_or_the_new(fresh, kept):
    before = auto(fresh)
    run_ = killed_at(asked(fresh, kept, apply=True), "set effective_io_concurrency")
    assert any("did not take" in text for text in run_.problems)
    assert run_.restored == []
    assert sorted(auto(fresh).splitlines()) == sorted(before.splitlines())


def test_what_brings_a_server_down_one_day_is_found(fresh, kept):
    fresh.sql("create database watched")
    fresh.sql(
        "create table full_up (id smallint); create sequence full_up_id as smallint owned by full_up.id", "watched"
    )
    fresh.sql("select setval('full_up_id', 32000); select pg_create_physical_replication_slot('lost', true)", "watched")
    try:
        run_ = cycle(asked(fresh, kept, apply=True))
    finally:
        fresh.sql("select pg_drop_replication_slot('lost')")
        fresh.sql("drop database watched with (force)")
    assert {"database_sequence", "database_slot"} <= set(run_.findings)


def test_a_file_of_sqlite_gets_its_journal_and_keeps_its_rows(kept):
    with place(user("nobody")) as directory:
        file = directory / "shop.db"
        db = sqlite3.connect(file)
        db.execute("create table t as select 1 as a")
        db.close()
        fields = {"maintenance_type": "tuning", "path": str(file), "sudo": False, "backup_dir": str(kept / "b")}
        run_ = cycle({**fields, "apply": True})
        assert (run_.problems, run_.titles) == ([], ["set journal_mode to wal"])
        db = sqlite3.connect(file)
        assert db.execute("pragma journal_mode").fetchone() == ("wal",)
        db.execute("pragma journal_mode = delete")

        def read():
            db.execute("begin")
            db.execute("select * from t").fetchall()

        held = cycle({**fields, "apply": True, "lock_timeout_ms": 200}, meanwhile=read)
        db.close()
    assert "journal_mode did not take: wanted wal, found delete" in held.problems[0]
    assert held.restored in (None, [])
