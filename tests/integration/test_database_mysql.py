"""`database_maintenance` against a real MariaDB, private to this test."""

from __future__ import annotations

import re
import shutil
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from database_cycle import cycle, dry_and_real, every_title, flipped, killed_at
from dbkit import MariaDB, mariadb, needs, place, run, until

pytestmark = [
    pytest.mark.service,
    pytest.mark.xdist_group("mariadb"),
    needs(("mariadbd", "mariadb-server"), ("mariadb-install-db", "mariadb-server"), ("mariadb", "mariadb-client")),
]

SHOP = """
create database shop;
use shop;
create table customer (id int primary key auto_increment, name varchar(50), photo blob, score float, born datetime);
insert into customer (name, photo, score, born) select md5(seq), unhex(md5(seq)), seq / 3, now() from seq_1_to_3000;
create table `o``dd 'name'` (a int, `b``c` text);
insert into `o``dd 'name'` values (1, 'x\\ty'), (2, null);
create table old (a int) engine = myisam;
insert into old values (1);
create view adults as select * from customer where id < 10;
create event `ti``ck` on schedule every 1 hour starts now() + interval 1 day do insert into old values (2);
create sequence numbers;
delimiter //
create trigger born before insert on customer for each row begin /* when */ set new.born = now(); -- now
end//
create procedure nothing(a int) begin -- really
  select 1; # nothing
end//
create function twice(a int) returns int deterministic return 2 * a//
"""
CENSUS = """select table_name, length(view_definition) from information_schema.views where table_schema = '{0}'
union all select trigger_name, action_statement from information_schema.triggers where trigger_schema = '{0}'
union all select routine_name, routine_definition from information_schema.routines where routine_schema = '{0}'
union all select event_name, event_definition from information_schema.events where event_schema = '{0}'
union all select table_name, table_type from information_schema.tables where table_schema = '{0}'"""


@pytest.fixture(scope="module")
def server():
    with mariadb() as one:
        one.sql(SHOP)
        yield one


@pytest.fixture
def kept():
    with place("root") as directory:
        yield directory


def asked(server: MariaDB, kept: Path, kind: str = "backup", **more):
    return {
        "maintenance_type": kind,
        "backup_dir": str(kept / "b"),
        "engine": "mariadb",
        "socket": server.socket,
        **more,
    }


def older(server: MariaDB) -> None:
    """Wait until a table that is made now is younger than all that are there: the server keeps whole seconds."""
    newest = "select unix_timestamp() > max(unix_timestamp(create_time)) from information_schema.tables"
    until(lambda: server.sql(f"{newest} where table_schema in ('shop', 'log')") == "1")


def scratch(server: MariaDB) -> str:
    return server.sql("show databases like 'opsqueue%'")


def sleeping(server: MariaDB) -> str:
    """The connection that holds a lock meanwhile."""
    return server.sql("select id from information_schema.processlist where info = 'select sleep(60)'")


def test_a_worker_that_is_killed_leaves_the_old_settings_or_the_new(server, kept):
    """One was set, two were not: it is led back. First, while the server has made few temporary tables."""
    names = "@@global.tmp_table_size, @@global.max_heap_table_size, @@global.slow_query_log"
    disk = "select count(*) from (select distinct photo from shop.customer where id < 3) t;"
    small = "set global tmp_table_size = 1048576, global max_heap_table_size = 1048576, global slow_query_log = 0;"
    made = server.sql("show global status like 'Created_tmp_tables'").split()[1]
    server.sql(small + disk * (int(made) + 100))  # half of all temporary tables so far went to the disk
    before = server.sql(f"select {names}")
    run_ = killed_at(asked(server, kept, "tuning", apply=True), "set max_heap_table_size")
    assert any("slow_query_log did not take" in text for text in run_.problems)
    assert [title.rpartition(" to ")[0] for title in run_.rolled] == ["set max_heap_table_size"]
    assert (run_.restored, server.sql(f"select {names}")) == ([], before)
    done = cycle(asked(server, kept, "tuning", apply=True))
    assert (done.problems, len(done.titles)) == ([], 3)
    server.sql("set global slow_query_log = 0, global tmp_table_size = default, global max_heap_table_size = default")


def test_a_backup_is_restored_compared_and_numbered(server, kept):
    written = server.sql("show master status")
    run_ = cycle(asked(server, kept))
    assert (run_.objections, run_.problems, set(run_.codes)) == ([], [], {0})
    files = {path.name for path in kept.rglob("000001/*")}
    assert files >= {"shop.sql", "shop.events.sql", "users.sql", "SHA256SUMS"}
    assert run_.after["backup"]["restored"] == run_.after["backup"]["source"]
    assert run_.metrics["rows_compared"] == 3000 + 2 + 1
    assert run_.findings == ["not_encrypted", "not_transactional"]
    assert scratch(server) == ""
    # Nothing of it goes to replicas.
    assert server.sql("show master status") == written


def test_what_was_kept_can_be_restored_by_hand_as_the_documentation_says(server, kept):
    cycle(asked(server, kept))
    server.sql("create database by_hand")
    try:
        for name in ("shop.sql", "shop.events.sql"):
            (dump,) = kept.rglob(name)
            run(["mariadb", "--comments", f"--socket={server.socket}", "by_hand"], stdin=dump.read_text())
        here, there = (server.sql(CENSUS.format(name)).replace(name, "") for name in ("by_hand", "shop"))
        # A view names its database, so that only the length of its text differs.
        assert re.sub(r"adults\t\d+", "adults", here) == re.sub(r"adults\t\d+", "adults", there)
        assert {"adults", "born", "nothing", "twice", "ti`ck", "numbers"} <= {
            line.split("\t")[0] for line in here.splitlines()
        }
        rows = "select id, name, score, hex(photo) from {}.customer order by id"
        ours, theirs = (server.sql(rows.format(name)) for name in ("by_hand", "shop"))
        assert ours == theirs
        assert len(ours.splitlines()) == 3000
    finally:
        server.sql("drop database by_hand")


def test_writers_are_told_and_the_quiet_tables_are_proven(server, kept):
    stop = threading.Event()

    def write():
        while not stop.is_set():
            server.sql("insert into shop.customer (name) values ('late')")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        run_ = cycle(asked(server, kept))
    finally:
        stop.set()
        writer.join()
    server.sql("delete from shop.customer where name = 'late'")
    assert run_.problems == []
    assert "changed_meanwhile" in run_.findings


def test_a_view_that_is_broken_makes_the_dump_fail_and_nothing_stays(server, kept):
    server.sql("create database trap; create table trap.t (a int); insert into trap.t values (1);"
               "create view trap.v as select * from trap.t; alter table trap.t rename column a to b")  # fmt: skip
    try:
        run_ = cycle(asked(server, kept, databases=["trap"]))
    finally:
        server.sql("drop database trap")
    assert run_.codes[-1] not in (0, None)
    assert "only what was begun of it" in run_.problems[0]
    assert run_.rolled == ["remove what was begun"]
    assert run_.restored == []
    assert not list(kept.rglob("0*"))


LOST = {
    "INSERT INTO `old`": r"INSERT INTO `old` VALUES\s+\(1\);",
    "new.born": r"/\*!50003 CREATE\*/ /\*!50017 DEFINER=\S+\*/ /\*!50003 trigger born .*?\*/;;",
    "really": r"CREATE DEFINER=\S+ PROCEDURE `nothing`.*?;;",
    "VIEW `adults` AS select": r"/\*!50001 CREATE ALGORITHM=UNDEFINED \*/.*?;\n",
    "2 * a": r"2 \* a",
    "CREATE SEQUENCE": r"CREATE SEQUENCE .*?;\n.*?;\n",
    "EVENT `ti``ck`": r"/\*!50106 DROP EVENT .*?/;",
}
"""What is taken out of the dump: a word of it, and its whole text."""


def test_a_copy_that_lacks_anything_is_no_backup(server, kept):
    """The dump loses a row, or an object, behind our back, and still ends as a whole one does."""
    fields = asked(server, kept, databases=["shop"])
    left = dict(LOST)

    def cut(title):
        for file in kept.rglob("shop*.sql") if title.startswith("dump") else ():
            text = file.read_text(errors="surrogateescape")
            for word in [word for word in left if word in text]:
                text = re.sub(left.pop(word), "1 * a" if word == "2 * a" else "", text, flags=re.DOTALL)
            file.write_text(text, errors="surrogateescape")

    run_ = cycle(fields, after=cut)
    assert left == {}
    told = {line.partition("\t")[0].removeprefix("not in the copy: ") for line in run_.outputs[-1].splitlines()}
    lost = {"table old", "trigger born", "routine procedure nothing", "routine function twice", "event ti`ck"}
    assert told == {*lost, "view adults", "sequence numbers"}
    assert run_.problems
    assert run_.restored == []
    assert scratch(server) == ""
    assert not list(kept.rglob("0*"))


@pytest.mark.parametrize(
    "title", ["dump shop", "create the scratch", "restore shop", "drop the scratch", "give it its name"]
)
def test_a_worker_that_is_killed_leaves_the_old_or_the_new(server, kept, title):
    run_ = killed_at(asked(server, kept), title)
    numbers = [path.name for path in next((kept / "b").iterdir()).iterdir()]
    assert numbers == ([] if run_.problems else ["000001"])
    assert run_.restored in (None, [])
    assert scratch(server) == ""


@pytest.mark.long
def test_a_worker_that_is_killed_at_any_step_leaves_the_old_or_the_new(server, kept):
    titles = every_title(cycle(asked(server, kept)))
    label = next((kept / "b").iterdir())
    for title in titles:
        were = sorted(path.name for path in label.iterdir())
        run_ = killed_at(asked(server, kept), title)
        assert run_.restored in (None, [])
        now = sorted(path.name for path in label.iterdir())
        assert now == (were if run_.problems else [*were, f"{len(were) + 1:06}"]), title
        assert scratch(server) == ""


def test_integrity_statistics_and_rebuilds(server, kept):
    checked = cycle(asked(server, kept, "integrity_check"))
    assert (checked.problems, checked.findings) == ([], [])
    assert checked.metrics == {"checks": 1.0, "damaged": 0.0}
    counted = cycle(asked(server, kept, "statistics"))
    assert counted.problems == []
    assert counted.metrics["tables_analyzed"] >= 2
    older(server)
    rebuilt = cycle(asked(server, kept, "index_optimization", bloat_percent=0, min_size_mb=0))
    assert rebuilt.problems == []
    assert rebuilt.metrics["indexes_rebuilt"] == len(rebuilt.plan.steps) == 2
    older(server)
    killed = killed_at(
        asked(server, kept, "index_optimization", bloat_percent=0, min_size_mb=0), "rebuild shop.customer"
    )
    assert killed.rolled == []
    assert server.sql("check table shop.customer").endswith("OK")


def test_a_rebuild_that_waits_for_a_lock_gives_up_and_changes_nothing(server, kept):
    text = "lock tables shop.customer write; select sleep(60); unlock tables"
    hold = threading.Thread(target=server.sql, args=(text,), kwargs={"check": False})

    def begin():
        hold.start()
        until(lambda: sleeping(server))

    more = {"bloat_percent": 0, "min_size_mb": 0, "lock_timeout_ms": 1000}
    run_ = cycle(asked(server, kept, "index_optimization", **more), meanwhile=begin)
    server.sql(f"kill {sleeping(server)}")
    hold.join()
    assert "Lock wait timeout" in run_.outputs[-1]
    assert any("shop.customer was not rebuilt" in text for text in run_.problems)
    assert run_.rolled == []


def test_a_damaged_table_is_a_finding_and_no_failure(server, kept):
    server.sql("create database d; create table d.t (a int, b varchar(200)) engine = myisam;"
               "insert into d.t select seq, md5(seq) from mysql.seq_1_to_500; flush tables")  # fmt: skip
    file = server.directory / "data" / "d" / "t.MYD"
    data = bytearray(file.read_bytes())
    data[2000:2040] = b"\xff" * 40
    file.write_bytes(data)
    try:
        run_ = cycle(asked(server, kept, "integrity_check", databases=["d"]))
    finally:
        server.sql("drop database d", check=False)
        shutil.rmtree(file.parent, ignore_errors=True)  # what the damaged table leaves
    assert run_.problems == []
    assert run_.findings == ["database_damaged"]


def test_a_wrong_login_is_refused_with_the_words_of_the_server(server, kept):
    run_ = cycle(asked(server, kept, user="nobody_here"))
    assert "Access denied" in run_.objections[0]


# -- cleanup and tuning -----------------------------------------------------------------------------------

EVENTS = """
drop database if exists log; create database log;
create table log.events (id int primary key, at datetime, `no``te` text, data varbinary(20), size double,
  twice int as (id * 2) stored);
insert into log.events (id, at, `no``te`, data, size) select seq, '2020-01-01',
  if(seq % 3, concat('it''s\\n\\\\ a\\ttab ', seq), null),
  unhex(md5(seq)), seq / 3 from mysql.seq_1_to_2000;
"""


def deleting(server, kept, **more):
    what = {"table": "events", "predicate": "id <= 1200 and at < now() - interval 1 day", "max_rows": 1500}
    fields = asked(server, kept, "cleanup", databases=["log"])
    return {**fields, "batch_size": 500, "pause_ms": 0, **what, **more}


def rows(server) -> int:
    return int(server.sql("select count(*) from log.events"))


def test_rows_go_in_batches_and_their_archive_brings_them_back(server, kept):
    server.sql(EVENTS)
    before = server.sql("checksum table log.events")
    run_ = cycle(deleting(server, kept, archive=True))
    assert (run_.objections, run_.problems, set(run_.codes)) == ([], [], {0})
    assert run_.metrics["rows_deleted"] == 2000 - rows(server) == 1200
    files = sorted(kept.rglob("*.rows"))
    assert len(files) == 3
    for file in files:
        run(["mariadb", f"--socket={server.socket}", "--default-character-set=utf8mb4", "log"], stdin=file.read_text())
    assert server.sql("checksum table log.events") == before
    plain = cycle(deleting(server, kept))
    assert (plain.problems, rows(server)) == ([], 800)
    assert not cycle(deleting(server, kept)).plan


def test_a_cleanup_that_meets_a_lock_or_a_bound_stops_and_says_what_is_certain(server, kept):
    server.sql(EVENTS)
    text = "begin; update log.events set size = 0 where id = 700; select sleep(60); commit"
    hold = threading.Thread(target=server.sql, args=(text,), kwargs={"check": False})

    def begin():
        hold.start()
        until(lambda: sleeping(server))

    run_ = cycle(deleting(server, kept, lock_timeout_ms=1000, archive=True), meanwhile=begin)
    server.sql(f"kill {sleeping(server)}")
    hold.join()
    assert "Lock wait timeout" in run_.problems[0]
    assert (run_.metrics["rows_deleted"], rows(server)) == (500, 1500)
    assert [path.name for path in sorted(kept.rglob("*.rows"))] == ["000001.rows"]
    assert "max_rows is 600" in cycle(deleting(server, kept, max_rows=600)).objections[0]
    server.sql("create table log.child (e int, foreign key (e) references log.events (id) on delete cascade)")
    assert "log.child would be deleted" in cycle(deleting(server, kept)).objections[0]
    server.sql("drop table log.child; create table log.bare (id int); create table log.old (id int) engine = myisam")
    assert "no primary key" in cycle(deleting(server, kept, table="bare", predicate="id = 1")).objections[0]
    assert "found MyISAM" in cycle(deleting(server, kept, table="old", predicate="id = 1")).objections[0]


def test_a_killed_worker_lets_the_batches_go_on(server, kept):
    server.sql(EVENTS)
    run_ = killed_at(deleting(server, kept, pause_ms=200), "delete 1200 rows")
    assert (run_.problems, rows(server)) == ([], 800)


def test_tuning_sets_what_needs_no_restart_and_leads_back_what_did_not_take(server, kept):
    old = server.sql("select @@global.slow_query_log")
    told = cycle(asked(server, kept, "tuning"))
    assert (told.objections, told.plan.steps) == ([], ())
    done = cycle(asked(server, kept, "tuning", apply=True))
    assert done.problems == []
    assert "set slow_query_log to ON" in done.titles
    assert (old, server.sql("select @@global.slow_query_log")) == ("0", "1")
    assert "tuning_until_restart" in done.findings
    server.sql("set global slow_query_log = 0; create user looker@localhost; grant select on *.* to looker@localhost")

    def spoil():
        server.sql("set global max_heap_table_size = 16384")

    # Whoever may look and not set: the server refuses, and nothing is another than before.
    refused = cycle(asked(server, kept, "tuning", apply=True, user="looker"), meanwhile=spoil)
    assert "Access denied" in refused.outputs[-1]
    assert "slow_query_log did not take" in refused.problems[0]
    assert refused.restored in (None, [])
    assert server.sql("select @@global.slow_query_log") == "0"


@pytest.mark.parametrize(("kind", "title"), [("integrity_check", "check the tables"), ("statistics", "make the stat")])
def test_a_worker_that_is_killed_while_it_looks_leaves_nothing_half(server, kept, kind, title):
    run_ = killed_at(asked(server, kept, kind, databases=["shop"]), title)
    assert run_.rolled == (["remove half of a report"] if kind == "integrity_check" else [])
    assert run_.restored in (None, [])
    assert not list(kept.rglob("integrity_check"))
    server.sql("insert into shop.old values (9); delete from shop.old where a = 9")  # nothing is locked


def test_a_unique_index_that_cannot_be_built_says_which_row_and_leaves_nothing(server, kept):
    server.sql("drop database if exists log; create database log; create table log.pairs (a int, b int);"
               "insert into log.pairs select seq, seq % 7 from mysql.seq_1_to_500 union all select 77, 1")  # fmt: skip
    more = {"databases": ["log"], "table": "pairs", "index_columns": ["a"], "index_unique": True}
    names = "select count(*) from information_schema.statistics where table_name = 'pairs'"
    failed = cycle(asked(server, kept, "index_optimization", **more))
    assert "Duplicate entry '77' for key 'pairs_a_key'" in failed.outputs[-1]
    assert (failed.problems, failed.rolled) == (["the index pairs_a_key was not built"], [])
    assert server.sql(names) == "0"
    server.sql("delete from log.pairs where a = 77 and b = 1")
    killed = killed_at(asked(server, kept, "index_optimization", **more), "build the index")
    assert (killed.problems, server.sql(names)) == ([], "1")  # it goes on to its end
    assert not cycle(asked(server, kept, "index_optimization", **more)).plan
    assert (
        "no column c"
        in cycle(asked(server, kept, "index_optimization", **{**more, "index_columns": ["c"]})).objections[0]
    )


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("backup", {"databases": ["log"]}),
        ("integrity_check", {"databases": ["log"]}),
        ("statistics", {"databases": ["log"]}),
        ("index_optimization", {"databases": ["log"], "bloat_percent": 0, "min_size_mb": 0}),
        ("index_optimization", {"databases": ["log"], "table": "dry", "index_columns": ["b"]}),
        ("cleanup", {"databases": ["log"], "table": "dry", "predicate": "a < 50", "max_rows": 50, "archive": True}),
        ("tuning", {"apply": True}),
    ],
    ids=["backup", "integrity_check", "statistics", "index_optimization", "index_build", "cleanup", "tuning"],
)
def test_what_a_dry_run_prints_is_what_is_sent(server, kept, kind, more):
    server.sql("drop database if exists log; create database log; set global slow_query_log = 0;"
               "create table log.dry (a int primary key, b int);"
               "insert into log.dry select seq, seq from mysql.seq_1_to_99")  # fmt: skip
    older(server)
    tables = "select schema_name from information_schema.schemata; checksum table log.dry; show create table log.dry"
    state = f"{tables}; show global variables where variable_name not like 'gtid%'"
    dry_and_real(asked(server, kept, kind, **more), lambda: (server.sql(state), list(kept.rglob("*"))))


def test_a_flipped_byte_is_seen(server, kept):
    said = flipped(asked(server, kept), kept, "shop.sql")
    assert "is not what was written: shop.sql: FAILED" in said[0]
    assert said[1:] == ["remove what is not proven"]
