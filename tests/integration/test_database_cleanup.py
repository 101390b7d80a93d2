"""`cleanup` against a real PostgreSQL and files of SQLite: bounded batches, archives, interruptions."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from database_cycle import cycle, killed_at
from dbkit import ROOT, Postgres, as_user, needs, place, postgres, run, until, user

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("database_cleanup")]
postgresql = needs(("initdb", "postgresql"), ("psql", "postgresql-client"), ("runuser", "util-linux"))
sqlite = needs(("sqlite3", "sqlite3"), ("runuser", "util-linux"))

TABLE = """
create table events (id int primary key, at timestamptz, note text, data bytea,
  twice int generated always as (id * 2) stored);
insert into events select i, timestamptz '2020-01-01' + i * interval '1 minute',
  case when i % 3 = 0 then null else E'tab\\tline\\n''quote'' ' || i end, decode(md5(i::text), 'hex')
  from generate_series(1, 5000) i;
create table "order" (id int primary key, event int references events);
"""
OLD = "id <= 3000 and at < now() - interval '1 day'"


@pytest.fixture(scope="module")
def server():
    with postgres() as one:
        one.sql("create database shop")
        yield one


@pytest.fixture
def shop(server):
    server.sql('drop table if exists "order", events cascade;' + TABLE, "shop")
    return server


@pytest.fixture
def kept():
    with place("root") as directory:
        yield directory


def asked(server: Postgres, kept: Path, **more):
    where = {"engine": "postgresql", "socket": str(server.directory), "port": server.port, "databases": ["shop"]}
    what = {"table": "events", "predicate": OLD, "max_rows": 4000, "batch_size": 500, "pause_ms": 0}
    return {"maintenance_type": "cleanup", "backup_dir": str(kept / "b"), **where, **what, **more}


def rows(server: Postgres, where: str = "true") -> int:
    return int(server.sql(f"select count(*) from events where {where}", "shop"))


@postgresql
def test_rows_go_in_batches_and_others_stay(shop, kept):
    run_ = cycle(asked(shop, kept))
    assert (run_.objections, run_.problems, set(run_.codes)) == ([], [], {0})
    assert run_.metrics == {"rows_matching_before": 3000, "rows_matching": 0, "rows_deleted": 3000, "batches": 7}
    assert (rows(shop), rows(shop, "id > 3000")) == (2000, 2000)
    assert "3000 rows match now" in run_.plan.note
    again = cycle(asked(shop, kept))
    assert (again.plan.steps, "no row matches" in again.plan.note) == ((), True)


@postgresql
def test_what_is_deleted_is_archived_first_and_can_be_brought_back(shop, kept):
    digest = "select count(*), sum(hashtextextended(events::text, 0)) from events"
    before = shop.sql(digest, "shop")
    run_ = cycle(asked(shop, kept, archive=True))
    assert (run_.problems, rows(shop)) == ([], 2000)
    files = sorted(kept.rglob("*.rows"))
    assert len(files) == 6
    assert sum(len(file.read_bytes().splitlines()) for file in files) == 3000
    assert files[0].stat().st_mode & 0o077 == 0 or files[0].parent.stat().st_mode & 0o077 == 0
    columns = "(id, at, note, data)"
    for file in files:
        shop.sql(f"copy events {columns} from stdin;\n{file.read_text()}\\.\n", "shop")
    assert shop.sql(digest, "shop") == before


@postgresql
def test_no_more_than_max_rows_go_whatever_comes_meanwhile(shop, kept):
    def more():
        shop.sql("insert into events (id, at) select i, '2020-01-01' from generate_series(-4999, 0) i", "shop")

    run_ = cycle(asked(shop, kept, max_rows=3000), meanwhile=more)
    assert (run_.problems, run_.findings) == ([], ["rows_left"])
    assert (run_.metrics["rows_deleted"], rows(shop)) == (3000, 7000)
    refused = cycle(asked(shop, kept, max_rows=3000))
    assert "5000 rows match, and max_rows is 3000" in refused.objections[0]


@postgresql
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"predicate": "nosuch = 1"}, "no column nosuch"),
        ({"predicate": "id = 'x'"}, "could not be counted"),
        ({"table": "nosuch"}, "no table that can be cleaned up"),
        ({"table": "pg_catalog.pg_views"}, "no table that can be cleaned up"),
        ({"databases": []}, "one database"),
    ],
)
def test_what_cannot_be_deleted_is_refused(shop, kept, more, said):
    run_ = cycle(asked(shop, kept, **more))
    assert said in run_.objections[0]
    assert rows(shop) == 5000


@postgresql
def test_other_tables_are_not_touched_behind_the_count(shop, kept):
    shop.sql('insert into "order" values (1, 1700)', "shop")
    held = cycle(asked(shop, kept))
    assert "violates foreign key" in " ".join(held.outputs)
    assert held.metrics["rows_deleted"] == 1500  # whole batches before the one that is held
    assert rows(shop) + held.metrics["rows_deleted"] == 5000
    shop.sql('alter table "order" drop constraint order_event_fkey, add foreign key (event) references events '
             "on delete cascade", "shop")  # fmt: skip
    refused = cycle(asked(shop, kept))
    assert "would be deleted or changed too" in refused.objections[0]
    assert cycle(asked(shop, kept, allow_cascade=True)).problems == []
    assert shop.sql('select count(*) from "order"', "shop") == "0"


@postgresql
def test_a_lock_of_somebody_else_stops_it_with_the_exact_count(shop, kept):
    text = "begin; update events set note = '' where id = 1700; select pg_sleep(60); commit"
    held = threading.Thread(target=shop.sql, args=(text, "shop"), kwargs={"check": False})

    sleeps = "from pg_stat_activity where query = 'select pg_sleep(60);' and state = 'active'"

    def hold():
        held.start()
        until(lambda: shop.sql(f"select 1 {sleeps}"))

    run_ = cycle(asked(shop, kept, lock_timeout_ms=200), meanwhile=hold)
    shop.sql(f"select pg_terminate_backend(pid) {sleeps}")
    held.join()
    assert "lock timeout" in run_.problems[0]
    assert run_.metrics["rows_deleted"] == 5000 - rows(shop)
    assert run_.rolled == []
    assert cycle(asked(shop, kept)).problems == []  # asked again, it goes on
    assert rows(shop) == 2000


@postgresql
def test_a_server_that_ends_the_client_leaves_whole_batches(shop, kept):
    stop = threading.Event()

    def end():
        text = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'opsqueue'"
        until(lambda: rows(shop) < 5000)
        while not stop.is_set():
            shop.sql(text)

    hunter = threading.Thread(target=end)
    try:
        run_ = cycle(asked(shop, kept, pause_ms=100, archive=True), meanwhile=hunter.start)
    finally:
        stop.set()
        hunter.join()
    assert "the cleanup stopped" in run_.problems[0]
    gone = 5000 - rows(shop)
    archived = sum(len(file.read_bytes().splitlines()) for file in kept.rglob("*.rows"))
    assert 0 < run_.metrics["rows_deleted"] <= gone <= archived <= run_.metrics["rows_deleted"] + 500


@postgresql
def test_a_worker_that_is_killed_lets_the_batches_go_on(shop, kept):
    run_ = killed_at(asked(shop, kept, pause_ms=100), "delete 3000 rows")
    assert run_.problems == []
    assert rows(shop) == 2000


@postgresql
def test_a_loop_that_is_killed_on_the_host_says_what_is_certain(shop, kept):
    """`kill -9` of the loop itself, between and within batches."""

    def kill():
        until(lambda: rows(shop) < 5000)
        for path in (one / "environ" for one in Path("/proc").glob("[0-9]*")):
            try:
                ours = f"PLACE={kept}".encode() in path.read_bytes()
            except OSError:
                continue
            if ours:
                os.kill(int(path.parent.name), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    run_ = cycle(asked(shop, kept, pause_ms=200, batch_size=100), meanwhile=killer.start)
    killer.join()
    assert "the cleanup was interrupted" in run_.problems[0]
    gone = 5000 - rows(shop)
    assert run_.metrics["rows_deleted"] <= gone <= run_.metrics["rows_deleted"] + 100
    assert f"{rows(shop, OLD)} match now; ask again to go on" in run_.problems[0]
    assert cycle(asked(shop, kept)).problems == []


@postgresql
def test_an_archive_without_room_deletes_nothing(shop, kept):
    if not ROOT:
        pytest.skip("only root can make a small file system")
    run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "t", str(kept)])
    try:
        run_ = cycle(asked(shop, kept, archive=True, batch_size=3000))
    finally:
        run(["umount", str(kept)])
    assert run_.problems
    assert rows(shop) == 5000


@postgresql
def test_it_stops_when_a_standby_does_not_follow(shop, kept):
    with place(shop.owner) as directory:
        data, programs = str(directory / "data"), Path(run(["sh", "-c", "ls -d /usr/lib/postgresql/*/bin"]).split()[-1])
        way = ["-h", str(shop.directory), "-p", str(shop.port)]
        run(
            as_user(shop.owner, [str(programs / "pg_basebackup"), "-D", data, "-R", "-X", "stream", "-c", "fast", *way])
        )
        ctl = as_user(shop.owner, [str(programs / "pg_ctl"), "-D", data, "-w"])
        options = f"-c listen_addresses= -c unix_socket_directories={directory} -c port={shop.port} -c hot_standby=on"
        run([*ctl, "-l", str(directory / "log"), "-o", options, "start"])
        standby = Postgres(directory, shop.port, shop.owner)
        try:
            assert cycle(asked(shop, kept, predicate="id <= 1000")).problems == []
            assert standby.sql("select count(*) from events where id <= 1000", "shop") == "0"
            standby.sql("select pg_wal_replay_pause()")
            run_ = cycle(asked(shop, kept, max_replication_lag_seconds=1))
            refused = cycle({**asked(standby, kept), "predicate": OLD})
        finally:
            run([*ctl, "-m", "immediate", "stop"])
    assert "standbys have not got batch 1 after 1 s" in run_.problems[0]
    assert run_.metrics["rows_deleted"] == 500
    assert rows(shop) == 3500
    assert "standby" in refused.objections[0]


# -- SQLite -----------------------------------------------------------------------------------------------


@pytest.fixture
def here():
    with place(user("nobody")) as directory:
        file = directory / "shop.db"
        with sqlite3.connect(file) as db:
            db.execute("pragma journal_mode = wal")
            db.execute("create table events (id integer primary key, at text, note, data blob, size real)")
            said = [
                (f"2020-01-01 00:{i % 60:02}", f"it's\na\ttab {i}", bytes([i % 256, 0, 39]), i / 3) for i in range(900)
            ]
            db.executemany("insert into events (at, note, data, size) values (?, ?, ?, ?)", said)
        db.close()
        if ROOT:
            run(["chown", user("nobody"), str(file)])
        yield directory


def asked_of(here: Path, **more):
    what = {"table": "events", "predicate": "id <= 700 and at < datetime('now', '-1 day')", "max_rows": 1000}
    return {"maintenance_type": "cleanup", "backup_dir": str(here / "b"), "path": str(here / "shop.db"),
            "batch_size": 200, "pause_ms": 0, **what, **more}  # fmt: skip


def everything(here: Path) -> list[tuple[object, ...]]:
    db = sqlite3.connect(here / "shop.db")
    try:
        return db.execute("select * from events order by id").fetchall()
    finally:
        db.close()


@sqlite
def test_a_file_is_cleaned_up_and_its_rows_can_be_brought_back(here):
    before = everything(here)
    run_ = cycle(asked_of(here, archive=True))
    assert (run_.objections, run_.problems, set(run_.codes)) == ([], [], {0})
    assert run_.metrics["rows_deleted"] == 700
    assert len(everything(here)) == 200
    for file in sorted(here.rglob("*.rows")):
        run(["sqlite3", "-bail", str(here / "shop.db"), f".read {file}"])
    assert everything(here) == before
    assert cycle(asked_of(here)).metrics["rows_deleted"] == 700  # and without an archive
    assert not cycle(asked_of(here)).plan


@sqlite
def test_a_file_that_somebody_writes_to_stops_it(here):
    def lock():
        db = sqlite3.connect(here / "shop.db", isolation_level=None)
        db.execute("begin immediate")
        held.append(db)

    held: list[sqlite3.Connection] = []
    run_ = cycle(asked_of(here, lock_timeout_ms=200), meanwhile=lock)
    held[0].close()
    assert "database is locked" in run_.problems[0]
    assert len(everything(here)) == 900
    assert "no column" in cycle(asked_of(here, predicate="nosuch = 1")).objections[0]


@sqlite
def test_an_archive_that_is_not_what_the_rows_are_deletes_nothing(here):
    """The client writes a text only up to a NUL in it: what it wrote is not what is there, and so it stays."""
    with sqlite3.connect(here / "shop.db") as db:
        db.execute("update events set note = 'before' || char(0) || 'behind' where id = 250")
    db.close()
    run_ = cycle(asked_of(here, archive=True))
    assert "batch 2 answered: the archive is not what the rows are" in run_.problems[0]
    assert run_.metrics["rows_deleted"] == 200
    assert len(everything(here)) == 700


@sqlite
def test_a_killed_worker_and_a_file(here):
    run_ = killed_at(asked_of(here, pause_ms=100, archive=True), "delete 700 rows")
    assert run_.problems == []
    assert len(everything(here)) == 200
