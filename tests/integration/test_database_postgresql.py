"""`database_maintenance` against a real PostgreSQL, private to this test."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from database_cycle import cycle, dry_and_real, every_title, killed_at
from dbkit import Postgres, as_user, needs, place, postgres, run, until

from opsqueue.connectors.local import LocalShell
from opsqueue.facts.databases import DatabaseWhere, Server, database

pytestmark = [
    pytest.mark.service,
    pytest.mark.xdist_group("postgresql"),
    needs(("initdb", "postgresql"), ("psql", "postgresql-client"), ("runuser", "util-linux")),
]
age = needs(("age", "age"), ("age-keygen", "age"))

SHOP = """
create role app;
create schema odd;
create table customer (id serial primary key, name text not null, born date, note jsonb, photo bytea);
insert into customer (name, born, note, photo)
  select md5(i::text), date '1970-01-01' + i, jsonb_build_object('n', i), decode(md5(i::text), 'hex')
  from generate_series(1, 5000) i;
create table odd."with ""quotes"" and	tab" (a float8, at timestamptz default now());
insert into odd."with ""quotes"" and	tab" values (1.1), (1e300);
create table month (at date, n int) partition by range (at);
create table month_1 partition of month for values from ('2026-01-01') to ('2026-02-01');
insert into month values ('2026-01-05', 1);
create view adults as select * from customer where born < '1980-01-01';
create materialized view counted as select count(*) from customer;
create function twice(int) returns int language sql as 'select 2 * $1';
create index on customer (name);
grant select on customer to app;
select lo_from_bytea(0, 'a large object');
"""


@pytest.fixture(scope="module")
def server():
    with postgres() as one:
        one.sql("create database shop")
        one.sql(SHOP, "shop")
        yield one


@pytest.fixture
def kept():
    with place("root") as directory:
        yield directory


def asked(server: Postgres, kept: Path, kind: str = "backup", **more):
    where = {"engine": "postgresql", "socket": str(server.directory), "port": server.port}
    return {"maintenance_type": kind, "backup_dir": str(kept / "b"), **where, **more}


_HOLDS = "from pg_stat_activity where query = 'select pg_sleep(60);' and state = 'active'"


def holding(server: Postgres, sql: str):
    """Somebody whose transaction is open until it is let go; the thread, and what begins it."""
    thread = threading.Thread(
        target=server.sql, args=(f"begin; {sql}; select pg_sleep(60); commit", "shop"), kwargs={"check": False}
    )

    def begin():
        thread.start()
        until(lambda: server.sql(f"select 1 {_HOLDS}"), what="the lock")

    return thread, begin


def let_go(server: Postgres, thread: threading.Thread) -> None:
    server.sql(f"select pg_terminate_backend(pid) {_HOLDS}")
    thread.join()


def scratch(server: Postgres) -> str:
    return server.sql("select datname from pg_database where datname like 'opsqueue%'")


def tree(kept: Path) -> list[str]:
    return sorted(str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_dir())


def test_a_backup_is_restored_compared_and_numbered(server, kept):
    run_ = cycle(asked(server, kept))
    assert (run_.objections, run_.problems, set(run_.codes)) == ([], [], {0})
    (label,) = (kept / "b").iterdir()
    assert [path.name for path in label.iterdir()] == ["000001"]
    assert {path.name for path in (label / "000001").iterdir()} >= {"shop.dump", "globals.sql", "SHA256SUMS"}
    assert run_.after["backup"]["restored"] == run_.after["backup"]["source"]
    assert run_.metrics["rows_compared"] == 5000 + 2 + 1
    assert run_.findings == ["not_encrypted"]
    assert scratch(server) == ""
    assert (label / "000001").stat().st_mode & 0o077 == 0
    again = cycle(asked(server, kept))
    assert [path.name for path in sorted(label.iterdir())] == ["000001", "000002"]
    assert again.metrics["previous_backup_age"] >= 0


def test_what_was_kept_can_be_restored_by_hand_as_the_documentation_says(server, kept):
    cycle(asked(server, kept))
    (dump,) = kept.rglob("shop.dump")
    server.sql("create database by_hand")
    try:
        way = ["-h", str(server.directory), "-p", str(server.port), "-d", "by_hand"]
        run(as_user(server.owner, ["pg_restore", "--exit-on-error", *way, str(dump)]))
        names = "select string_agg(name, ',' order by id) from customer"
        assert server.sql(names, "by_hand") == server.sql(names, "shop")
    finally:
        server.sql("drop database by_hand with (force)")


def test_writers_do_not_disturb_the_proof(server, kept):
    """The counts come from the snapshot that is dumped, so a row more or less later makes no difference."""
    more = "insert into customer (name) select 'late' from generate_series(1, 300); select pg_sleep(0.05)"
    stop = threading.Event()

    def write():
        while not stop.is_set():
            server.sql(more, "shop")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        run_ = cycle(asked(server, kept))
    finally:
        stop.set()
        writer.join()
    server.sql("delete from customer where name = 'late'", "shop")
    assert run_.problems == []


@age
def test_encrypted_and_decrypted_again(server, kept):
    run(["age-keygen", "-o", str(kept / "key")])
    recipient = run(["age-keygen", "-y", str(kept / "key")]).strip()
    proven = cycle(asked(server, kept, encrypt_to=[recipient], identity_file=str(kept / "key")))
    assert (proven.problems, proven.findings) == ([], [])
    assert "see that decrypting gives the same" in proven.titles
    files = {path.name for path in kept.rglob("000001/*")}
    assert {"shop.dump.age", "globals.sql.age"} <= files
    assert not {"shop.dump", "globals.sql"} & files
    plain = subprocess.run(
        ["age", "-d", "-i", str(kept / "key"), str(next(kept.rglob("shop.dump.age")))], capture_output=True, check=True
    )
    assert plain.stdout.startswith(b"PGDMP")
    # Recipients may also lie on the host. Without the key there it is said that nobody decrypted it.
    (kept / "recipients").write_text(recipient + "\n")
    (kept / "recipients").chmod(0o644)
    unproven = cycle(asked(server, kept, recipients_file=str(kept / "recipients")))
    assert (unproven.problems, unproven.findings) == ([], ["encryption_unproven"])
    assert next(iter(kept.rglob("000002/shop.dump.age"))).exists()
    other = run(["age-keygen", "-o", str(kept / "other")], check=True) or ""
    wrong = cycle(asked(server, kept, encrypt_to=[recipient], identity_file=str(kept / "other")))
    assert other == ""
    assert wrong.problems
    assert wrong.restored == []
    assert not list(kept.rglob("*.partial"))


def test_required_encryption_without_a_key_is_refused(server, kept):
    run_ = cycle(asked(server, kept, encryption="required", recipients_file="/nonexistent"))
    assert "encrypt_to" in run_.objections[0]
    assert not list(kept.iterdir())


def test_old_backups_go_after_a_new_one_is_proven_and_the_newest_stay(server, kept):
    cycle(asked(server, kept))
    (label,) = (kept / "b").iterdir()
    for number in (2, 3, 4):
        shutil.copytree(label / "000001", label / f"00000{number}")
    run(["chown", "-R", server.owner, str(label)])
    for path in label.iterdir():
        run(["touch", "-d", "100 days ago", str(path)])
    cycle(asked(server, kept, backup_retention_days=90, backup_keep=3))
    assert [path.name for path in sorted(label.iterdir())] == ["000003", "000004", "000005"]


def test_a_dump_that_cannot_be_restored_is_no_backup_and_nothing_of_it_stays(server, kept):
    """A constraint that looks into another table by an unqualified name: dumps well, and never restores."""
    server.sql("create database trap")
    server.sql(
        "create table other (id int); insert into other values (1);"
        "create function there(int) returns bool language sql as 'select exists (select from other where id = $1)';"
        "create table this (a int check (there(a))); insert into this values (1)",
        "trap",
    )
    try:
        before = cycle(asked(server, kept, databases=["shop"]))
        run_ = cycle(asked(server, kept, databases=["trap"]))
    finally:
        server.sql("drop database trap with (force)")
    assert before.problems == []
    assert run_.codes[-1] != 0
    assert 'relation "other" does not exist' in run_.outputs[-1]
    assert "only what was begun of it" in run_.problems[0]
    assert run_.rolled == ["drop the scratch database opsqueue_scratch_2_0", "remove what was begun"]
    assert run_.restored == []
    assert scratch(server) == ""
    assert [path.name for path in next((kept / "b").iterdir()).iterdir()] == ["000001"]


def test_a_dump_that_is_ended_by_the_server_is_no_backup(server, kept):
    stop = threading.Event()

    def end_dumps():
        text = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pg_dump'"
        while not stop.is_set():
            server.sql(text)

    hunter = threading.Thread(target=end_dumps)
    hunter.start()
    try:
        # Whoever wants to read this table waits, so that the dump is surely met.
        locker, begin = holding(server, "lock table customer")
        run_ = cycle(asked(server, kept), meanwhile=begin)
        let_go(server, locker)
    finally:
        stop.set()
        hunter.join()
    assert run_.problems
    assert run_.restored == []
    assert not list(kept.rglob("0*"))


def test_a_flipped_byte_is_seen(server, kept):
    first = cycle(asked(server, kept))
    assert first.problems == []
    file = next(kept.rglob("shop.dump"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    from opsqueue.operations.database_maintenance import OPERATION  # noqa: PLC0415

    params = OPERATION.params.model_validate(asked(server, kept))
    file.write_bytes(data)
    after = LocalShell().ask(OPERATION.facts_after(params, first.before))
    assert "is not what was written: shop.dump: FAILED" in OPERATION.verify(params, first.before, after)[0]
    assert OPERATION.rollback(params, first.before, after).steps[0].title == "remove what is not proven"


@pytest.mark.parametrize(
    "title",
    ["dump shop", "give it its name", *(pytest.param(title, marks=pytest.mark.long) for title in (
        "begin the backup", "drop the scratch", "create the scratch", "restore shop", "count what is in it", "sum up",
        "remove backups older",
    ))],
)  # fmt: skip
def test_a_worker_that_is_killed_leaves_the_old_or_the_new(server, kept, title):
    run_ = killed_at(asked(server, kept), title)
    numbers = [path.name for path in next((kept / "b").iterdir()).iterdir()]
    if run_.problems:
        assert run_.restored == []
        assert numbers == []
    else:
        assert numbers == ["000001"]
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


def test_what_a_host_that_went_down_left_is_removed_by_the_next_backup(server, kept):
    label = f"postgresql-{server.port}"
    left = kept / "b" / label / "000007.partial"
    left.mkdir(parents=True)
    run(["chown", "-R", server.owner, str(kept / "b" / label)])
    server.sql("create database opsqueue_scratch_7_0")
    run_ = cycle(asked(server, kept))
    assert run_.titles[:2] == [
        "drop the scratch database opsqueue_scratch_7_0",
        "remove what an interrupted backup left",
    ]
    assert run_.problems == []
    assert [path.name for path in (kept / "b" / label).iterdir()] == ["000001"]
    assert scratch(server) == ""


# -- integrity, statistics, indexes -----------------------------------------------------------------------


def test_an_integrity_check_reads_everything_and_says_what_it_could_not_see(server, kept):
    run_ = cycle(asked(server, kept, "integrity_check"))
    assert (run_.problems, run_.findings) == ([], ["amcheck_missing"])
    assert run_.metrics == {"checks": 1.0, "damaged": 0.0}


def test_a_damaged_table_is_a_finding_and_no_failure(server, kept):
    server.sql("create database d")
    server.sql("create extension amcheck", "d")
    server.sql("create table t as select i, repeat('x', 500) from generate_series(1, 2000) i", "d")
    server.sql("create index on t (i)", "d")
    file = server.directory / "data" / server.sql("select pg_relation_filepath('t')", "d")

    def break_it():
        data = bytearray(file.read_bytes())
        data[8192 + 12 : 8192 + 20] = b"\xff" * 8  # the header of the second page
        file.write_bytes(data)

    server.restart(break_it)
    try:
        run_ = cycle(asked(server, kept, "integrity_check", databases=["d"]))
    finally:
        server.sql("drop database d with (force)")
    assert run_.problems == []
    # pg_amcheck reads the table as the index needs it, pg_dump as everybody does.
    assert run_.findings == ["database_damaged"] * 2


def test_a_killed_check_leaves_no_half_of_a_report(server, kept):
    run_ = killed_at(asked(server, kept, "integrity_check"), "read every row")
    assert "did not run to its end" in run_.problems[0]
    assert run_.rolled == ["remove half of a report"]
    assert run_.restored == []


def test_statistics_are_made_for_every_table(server, kept):
    run_ = cycle(asked(server, kept, "statistics"))
    assert run_.problems == []
    assert run_.metrics["tables_analyzed"] >= 4
    again = killed_at(asked(server, kept, "statistics"), "make the statistics")
    assert again.problems == []  # the command went on to its end


def _bloat(server):
    server.sql("create table big as select i as id, md5(i::text) as m from generate_series(1, 60000) i", "shop")
    server.sql("create unique index big_id on big (id)", "shop")
    server.sql("delete from big where id % 10 <> 0", "shop")
    server.sql("vacuum analyze big", "shop")


def invalid(server) -> str:
    return server.sql("select indexrelid::regclass from pg_index where not indisvalid", "shop")


def test_a_bloated_index_is_rebuilt_while_others_write(server, kept):
    _bloat(server)
    failed = []
    stop = threading.Event()

    def write():
        while not stop.is_set():
            if server.sql("insert into big select 1000000 + count(*) from big; select 1", "shop", check=False) != "1":
                failed.append(1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        run_ = cycle(asked(server, kept, "index_optimization"))
    finally:
        stop.set()
        writer.join()
    assert run_.problems == []
    assert len(run_.plan.steps) == 1
    assert run_.metrics["indexes_rebuilt"] == 1
    assert run_.metrics["bytes_given_back"] > 500_000
    assert failed == []
    assert invalid(server) == ""
    # Once more: nothing is wasted any more.
    assert not cycle(asked(server, kept, "index_optimization")).plan
    server.sql("drop table big", "shop")


def test_an_interrupted_rebuild_leaves_nothing_invalid(server, kept):
    """A writer that does not end: the rebuild gives up, and what it began is dropped."""
    server.sql("create index left_by_another on customer (born)", "shop")
    hold, begin = holding(server, "update customer set name = name where id = 1")
    more = {"bloat_percent": 0, "min_size_mb": 0, "lock_timeout_ms": 400, "databases": ["shop"]}
    waits = "select 1 from pg_stat_activity where query like 'drop index conc%' and wait_event_type = 'Lock'"

    def begin_both():
        begin()
        ender.start()

    def end():
        until(lambda: server.sql(waits), 60, "the drop that waits for the writer")
        let_go(server, hold)

    ender = threading.Thread(target=end)
    run_ = cycle(asked(server, kept, "index_optimization", **more), meanwhile=begin_both)
    ender.join()
    assert "lock timeout" in " ".join(run_.outputs)
    assert any("left the invalid index" in text for text in run_.problems)
    assert run_.rolled
    assert all(title.startswith("drop what an interrupted rebuild left: shop.public.") for title in run_.rolled)
    assert run_.restored == []
    assert invalid(server) == ""
    assert (
        server.sql("select count(*) from pg_class where relname in ('customer_pkey', 'left_by_another')", "shop") == "2"
    )


def test_an_invalid_index_of_somebody_else_is_told_and_left_alone(server, kept):
    server.sql("create table pairs as select 1 as a from generate_series(1, 2)", "shop")
    server.sql("create unique index concurrently pairs_a on pairs (a)", "shop", check=False)
    try:
        run_ = cycle(asked(server, kept, "index_optimization", bloat_percent=0, min_size_mb=0))
        assert run_.problems == []
        assert "invalid_index" in run_.findings
        assert invalid(server) == "pairs_a"
    finally:
        server.sql("drop table pairs", "shop")


def test_a_worker_that_is_killed_during_a_rebuild_leaves_valid_indexes(server, kept):
    more = {"bloat_percent": 0, "min_size_mb": 0, "databases": ["shop"]}
    run_ = killed_at(asked(server, kept, "index_optimization", **more), "rebuild shop.public.customer_name_idx")
    assert run_.restored in (None, [])
    assert invalid(server) == ""


def test_a_server_that_restarts_in_the_middle_of_a_rebuild_keeps_its_indexes(server, kept):
    """It is waited for; what was begun is dropped, and the old index serves."""
    hold, begin = holding(server, "update customer set name = name where id = 1")
    waits = "select 1 from pg_stat_progress_create_index where phase like 'waiting for writers%'"

    def crash():
        until(lambda: server.sql(waits), what="the rebuild that waits")
        server.ctl("-m", "immediate", "stop")
        server.start()

    crasher = threading.Thread(target=crash)

    def begin_both():
        begin()
        crasher.start()

    # A valid one that is called as the rebuild calls its own is not touched.
    server.sql("create index other_ccnew on customer (photo)", "shop")
    more = {"bloat_percent": 0, "min_size_mb": 0, "databases": ["shop"]}
    run_ = cycle(asked(server, kept, "index_optimization", **more), meanwhile=begin_both)
    for thread in (hold, crasher):
        thread.join()
    assert run_.codes[-1] != 0
    assert any("left the invalid index" in text for text in run_.problems)
    assert run_.rolled
    assert all(re.search("drop what an interrupted rebuild left: shop.*_ccnew", title) for title in run_.rolled)
    assert run_.restored == []
    assert invalid(server) == ""
    found = server.sql("select relname from pg_class where relname ~ '^(customer_pkey|customer_name_idx|.*_cc.*)$'"
                       " order by 1", "shop")  # fmt: skip
    assert found.split() == ["customer_name_idx", "customer_pkey", "other_ccnew"]
    assert cycle(asked(server, kept, "index_optimization", **more)).problems == []  # and nothing is locked
    server.sql("drop index other_ccnew", "shop")


# -- an index that is built, and those that nobody uses ---------------------------------------------------


def building(server, kept, **more):
    what = {"databases": ["shop"], "table": "pairs", "index_columns": ["a"], "index_unique": True}
    return {**asked(server, kept, "index_optimization"), **what, **more}


@pytest.fixture
def pairs(server):
    server.sql("create table pairs as select i as a, i % 7 as b from generate_series(1, 50000) i", "shop")
    yield server
    server.sql("drop table pairs", "shop")


def test_a_unique_index_that_cannot_be_built_says_which_row_and_leaves_nothing(pairs, kept):
    pairs.sql("insert into pairs values (777, 1)", "shop")
    run_ = cycle(building(pairs, kept))
    assert run_.outputs[-1].splitlines()[-1] == "DETAIL:  Key (a)=(777) is duplicated."
    assert "the index pairs_a_key is invalid" in run_.problems[0]
    assert run_.rolled == ["drop what the build that failed left: shop.public.pairs_a_key"]
    assert (run_.restored, invalid(pairs)) == ([], "")
    pairs.sql("delete from pairs where a = 777 and b = 1", "shop")
    done = cycle(building(pairs, kept))
    assert (done.objections, done.problems, done.metrics) == ([], [], {"indexes_built": 1})
    pairs.sql("insert into pairs values (777, 1)", "shop", check=False)
    assert pairs.sql("select count(*) from pairs where a = 777", "shop") == "1"
    again = cycle(building(pairs, kept, index_name="another"))
    assert (again.plan.steps, "has the index pairs_a_key already" in again.plan.note) == ((), True)


def test_an_index_that_somebody_else_left_under_the_name_is_not_touched(pairs, kept):
    pairs.sql("insert into pairs values (777, 1)", "shop")
    pairs.sql("create unique index concurrently pairs_a_key on pairs (a)", "shop", check=False)
    assert "is there and invalid; drop it" in cycle(building(pairs, kept)).objections[0]
    assert invalid(pairs) == "pairs_a_key"
    for more, said in (
        ({"index_columns": ["c"]}, "no column c; it has a, b"),
        ({"table": "month"}, "found p"),
        ({"table": "nosuch"}, "found absent"),
        ({"databases": []}, "one database"),
        ({"index_name": "customer_pkey"}, "another table has an index customer_pkey"),
    ):
        assert said in cycle(building(pairs, kept, **more)).objections[0]


def test_a_worker_that_is_killed_leaves_an_index_or_none(pairs, kept):
    run_ = killed_at(building(pairs, kept), "build the index pairs_a_key")
    assert run_.restored in (None, [])
    assert invalid(pairs) == ""
    there = pairs.sql("select count(*) from pg_class where relname = 'pairs_a_key'", "shop")
    assert there == ("0" if run_.problems else "1")


USELESS = """
create table used (id int primary key, parent int, name text, at date, span int4range, replica int not null, two int,
  exclude using gist (span with &&));
create table child (id int, parent int references used (id), more int);
create index child_parent on child (parent, more);
create unique index used_replica on used (replica);
alter table used replica identity using index used_replica;
create unique index used_two on used (two);
create index used_lower on used (lower(name));
create index used_name on used (name);
create index used_at on used (at);
insert into used select i, i, md5(i::text), date '2020-01-01' + i, int4range(i, i + 1), i, i
  from generate_series(1, 3000) i;
insert into child select i, i, i from generate_series(1, 3000) i;
create table whole (a int, at date) partition by range (at);
create table part partition of whole for values from ('2020-01-01') to ('2021-01-01');
create index whole_a on whole (a);
analyze used;
set enable_seqscan = off; select count(name) from used where name = 'x';
"""


def test_only_what_nobody_needs_is_called_unused_and_nothing_is_dropped(server, kept):
    server.sql("create database lazy")
    server.sql(USELESS, "lazy")
    more = {"databases": ["lazy"], "bloat_percent": 99, "min_size_mb": 0}
    try:
        before = server.sql("select count(*) from pg_index", "lazy")
        early = cycle(asked(server, kept, "index_optimization", **more))
        told = cycle(asked(server, kept, "index_optimization", min_stats_days=0, **more))
        assert server.sql("select count(*) from pg_index", "lazy") == before
    finally:
        server.sql("drop database lazy with (force)")
    assert (early.plan.steps, early.findings) == ((), ["index_statistics_young"])
    assert "the statistics of lazy are 0 days old, and min_stats_days is 30" in early.messages[0]
    assert (told.plan.steps, told.findings) == ((), ["index_unused"])
    assert "lazy.public.used_at" in told.messages[0]
    assert 'drop it yourself: drop index concurrently "public"."used_at"' in told.messages[0]


# -- what a dry run prints --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("backup", {"databases": ["shop"]}),
        ("integrity_check", {}),
        pytest.param("statistics", {}, marks=pytest.mark.long),
        ("index_optimization", {"databases": ["shop"], "bloat_percent": 0, "min_size_mb": 0}),
        pytest.param(
            "index_optimization",
            {"databases": ["shop"], "table": "dry", "index_columns": ["a", "b"]},
            marks=pytest.mark.long,
        ),
        ("cleanup", {"databases": ["shop"], "table": "dry", "predicate": "a < 50", "max_rows": 50, "archive": True}),
        pytest.param("tuning", {"apply": True, "memory_mb": 16384, "cpus": 2}, marks=pytest.mark.long),
    ],
    ids=["backup", "integrity_check", "statistics", "index_optimization", "index_build", "cleanup", "tuning"],
)
def test_what_a_dry_run_prints_is_what_is_sent(server, kept, kind, more):
    server.sql("drop table if exists dry; create table dry as select i as a, i as b from generate_series(1, 99) i",
               "shop")  # fmt: skip
    look = "select (select json_agg(c order by oid) from pg_class c), (select count(*) from dry)"

    def state():
        auto = (server.directory / "data" / "postgresql.auto.conf").read_text()
        return server.sql(look, "shop"), list(kept.rglob("*")), auto

    dry_and_real(asked(server, kept, kind, **more), state)
    server.sql("drop table dry", "shop")
    server.sql("alter system reset all")
    server.sql("select pg_reload_conf()")


# -- finding it -------------------------------------------------------------------------------------------


def test_the_one_server_of_a_host_is_found_by_itself(server):
    found = LocalShell().ask((database(DatabaseWhere(engine="postgresql", port=server.port)),))["database"]
    assert found["found"] == [{"engine": "postgresql", "socket": str(server.directory), "port": server.port}]
    assert [one["name"] for one in found["server"]["databases"]] == ["shop"]


def test_two_servers_are_named_so_that_one_can_be_chosen(server):
    with postgres() as other:
        run_ = cycle({"maintenance_type": "backup", "engine": "postgresql"})
    assert f"socket={server.directory} port={server.port}" in run_.objections[0]
    assert f"socket={other.directory} port={other.port}" in run_.objections[0]


def test_a_database_that_is_not_there_is_refused(server, kept):
    assert "no database 'nosuch'" in cycle(asked(server, kept, databases=["nosuch"])).objections[0]


def test_a_server_that_cannot_be_asked_is_refused_with_its_words(kept):
    run_ = cycle({"maintenance_type": "backup", "engine": "postgresql", "socket": str(kept), "port": 5432})
    assert "could not be asked" in run_.objections[0]
    assert "No such file" in run_.objections[0]


def test_a_second_try_after_a_failed_one_looks_for_the_same_number(server, kept):
    """The kernel keeps what was found before the first try, and plans the second from what is found then."""
    label = kept / "b" / f"postgresql-{server.port}"
    (label / "000003.partial").mkdir(parents=True)
    run(["chown", "-R", server.owner, str(label)])
    first = LocalShell().ask(
        (database(DatabaseWhere(engine="postgresql", port=server.port, backup_dir=str(kept / "b"))),)
    )
    run(["rm", "-rf", str(label / "000003.partial")])
    again = LocalShell().ask(
        (database(DatabaseWhere(engine="postgresql", port=server.port, backup_dir=str(kept / "b"))),)
    )
    numbers = [Server.of(found["database"]).next_number for found in (first, again)]
    assert numbers == [1, 1]
