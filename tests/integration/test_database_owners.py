"""`database_maintenance` as superuser of a PostgreSQL, where others own tables, and the functions that these run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from database_cycle import cycle
from dbkit import ROOT, Postgres, needs, place, postgres

pytestmark = [
    pytest.mark.service,
    pytest.mark.xdist_group("database_owners"),
    needs(("initdb", "postgresql"), ("psql", "postgresql-client"), ("runuser", "util-linux")),
]

# `imm` says that it never changes anything, so that it may stand in an index; what it calls does.
TAKES = """
create function own.take() returns int language plpgsql as $$ begin
  begin execute 'alter role mallory superuser'; exception when others then null; end; return 1; end $$;
create function own.imm(int) returns int language plpgsql immutable as $$ begin perform own.take(); return $1; end $$;
"""
OURS = "reset role;"
BACKUPS = {
    "check": "create table own.t (i int check (own.take() = 1)); insert into own.t values (1)",
    "domain": "create domain own.d as int check (own.take() = 1); create table own.t (i own.d); insert into own.t "
    "values (1)",
    "generated": "create table own.t (i int, j int generated always as (own.imm(i)) stored); insert into own.t "
    "values (1)",
    "predicate": "create table own.t (i int); create index on own.t (i) where own.imm(1) = 1",
    "expression": "create table own.t (i int); create index on own.t ((i + own.imm(1)))",
    "partition": "create table own.t (i int) partition by list (own.imm(i)); create table own.t1 partition of own.t "
    "for values in (1); insert into own.t values (1)",
    "statistics": "create table own.t (i int, j int); create statistics own.s on (i + own.imm(1)), j from own.t",
    "operator": "create function own.same(int, int) returns bool language sql immutable as 'select own.imm($1) = $2';"
    "create operator own.=== (leftarg = int, rightarg = int, function = own.same);"
    "create table own.t (i int check (i operator(own.===) 1)); insert into own.t values (1)",
    "cast": "create type own.e as enum ('a'); create function own.number(own.e) returns int language plpgsql immutable "
    "as $$ begin return own.imm(1); end $$; create cast (own.e as int) with function own.number as implicit;"
    "create table own.k (i int primary key); insert into own.k values (1);"
    "create table own.t (e own.e references own.k); insert into own.t values ('a')",
    "any_sql": "create table own.t (i int check (query_to_xml('select own.take()', true, true, '') is not null)); "
    "insert into own.t values (1)",
    "view": f"create view own.v as select own.take() as i; {OURS} create materialized view public.m as select * "
    "from own.v",
}
CLEANUPS = {
    "trigger": "create trigger g after delete on own.t for each row execute function own.fire()",
    "statement": "create trigger g before delete on own.t execute function own.fire()",
    "when": "create trigger g before delete on own.t for each row when (own.take() = 2) execute function "
    "suppress_redundant_updates_trigger()",
    "cascade": "create table own.c (i int references own.t on delete cascade); insert into own.c values (1);"
    "create trigger g after delete on own.c for each row execute function own.fire()",
    "set_null": "create table own.c (i int references own.t on delete set null); insert into own.c values (1);"
    "create trigger g after update on own.c for each row execute function own.fire()",
    "child": "create table own.c () inherits (own.t); insert into own.c values (1);"
    "create trigger g after delete on own.c for each row execute function own.fire()",
    "rule": "create table own.u (i int); insert into own.u values (1); create rule r as on delete to own.t do instead "
    "delete from own.u where own.take() = 1 returning u.*",
    "predicate": "create index on own.t (i) where own.imm(1) = 1",
}
FIRE = """
create function own.fire() returns trigger language plpgsql as $$ begin perform own.take(); return old; end $$;
create table own.t (i int primary key); insert into own.t values (1);
"""

# What any application has: nothing of it is run with the rights of a superuser, or it came with the server.
REALISTIC = """
set role app;
create type app.mood as enum ('well', 'ill');
create domain app.mail as text check (value ~ '^[^@]+@[^@]+$' and length(value) < 200);
create table app.person (id serial primary key, name text not null check (name <> '' and lower(name) = lower(name)),
  mail app.mail, mood app.mood default 'well', at timestamptz check (at > '2000-01-01' and at < now() + interval '9 d'),
  code uuid default gen_random_uuid() check (code <> '00000000-0000-0000-0000-000000000000'),
  tags text[] check (array_length(tags, 1) < 9 or 'x' = any (tags)), data jsonb check (jsonb_typeof(data) = 'object'),
  full_name text generated always as (upper(name) || '!') stored, span tstzrange, exclude using gist (span with &&));
create index on app.person (lower(name)) where at is not null;
create statistics app.both on (lower(name)), mood from app.person;
create table app.visit (id bigint generated always as identity, person int references app.person on delete cascade,
  day date not null) partition by range (day);
create table app.visit_1 partition of app.visit for values from ('2026-01-01') to ('2027-01-01');
create table app.spread (a int) partition by hash ((a + 1));
create table app.spread_1 partition of app.spread for values with (modulus 1, remainder 0);
create function app.touch() returns trigger language plpgsql as $$ begin new.at = '2026-01-01'; return new; end $$;
create trigger touched before insert or update on app.person for each row execute function app.touch();
create function app.later() returns timestamptz language sql stable as 'select now()';
alter table app.visit add column noted timestamptz default app.later();
create view app.ill as select * from app.person where mood = 'ill';
create function app.shout(text) returns text language sql immutable as 'select upper($1)';
create materialized view app.loud as select app.shout(name) as name, count(*) from app.person group by 1;
create unique index on app.loud (name);
insert into app.person (name, mail, tags, data) select 'n' || i, 'n@x', '{a}', '{}' from generate_series(1, 50) i;
insert into app.visit (person, day) select i, '2026-02-01' from generate_series(1, 50) i;
insert into app.spread select generate_series(1, 50);
reset role;
create function public.even(int) returns bool language plpgsql as 'begin return $1 % 2 = 0; end';
create table public.ours (i int check (public.even(i))); insert into public.ours values (2);
create materialized view public.totals as select mood, count(*) from app.ill group by 1;
"""


@pytest.fixture(scope="module")
def server():
    with postgres() as one:
        one.sql("create role mallory; create role app; create role nobody login createdb in role pg_read_all_data")
        yield one


@pytest.fixture
def shop(server: Postgres):
    """A database in which mallory may do what he likes, within a schema of his own."""
    server.sql("create database shop")
    server.sql("create schema own authorization mallory; create schema app authorization app", "shop")
    server.sql("create table seen (i int primary key); insert into seen values (1)", "shop")
    yield server
    server.sql("drop database if exists shop with (force)")
    server.sql("alter role mallory nosuperuser")


@pytest.fixture
def kept():
    with place("root") as directory:
        yield directory


def asked(server: Postgres, kept: Path, kind: str = "backup", **more):
    where = {"engine": "postgresql", "socket": str(server.directory), "port": server.port}
    return {"maintenance_type": kind, "backup_dir": str(kept / "b"), "databases": ["shop"], **where, **more}


def cleanup(server: Postgres, kept: Path, **more):
    what = {"table": "own.t", "predicate": "i = 1", "max_rows": 10, "allow_cascade": True}
    return asked(server, kept, "cleanup", **what, **more)


def write(server: Postgres, *texts: str) -> None:
    """What mallory writes; to have tried it out himself gave him nothing."""
    server.sql(f"set role mallory; {';'.join(texts)}", "shop")
    assert not is_superuser(server)


def is_superuser(server: Postgres) -> bool:
    return server.sql("select rolsuper from pg_roles where rolname = 'mallory'") == "t"


@pytest.mark.parametrize("way", BACKUPS)
def test_a_backup_that_would_run_the_code_of_others_is_refused(shop, kept, way):
    write_ = f"set role mallory; {TAKES} {BACKUPS[way]}"
    shop.sql(write_, "shop")
    shop.sql("alter role mallory nosuperuser")  # whoever wrote the test was superuser
    found = cycle(asked(shop, kept))
    assert not is_superuser(shop)
    assert len(found.objections) == 1, found.objections
    assert "trust_owners" in found.objections[0]
    called = {"any_sql": "query_to_xml", "cast": "own.number", "operator": "own.same"}.get(way, "own.")
    assert called in found.objections[0]
    assert not (kept / "b").exists()


def test_what_it_is_refused_for_would_have_come_about(shop, kept):
    write(shop, TAKES, "create table own.t (i int check (own.take() = 1))")
    shop.sql("set role mallory; insert into own.t values (1)", "shop")
    shop.sql("alter role mallory nosuperuser")
    found = cycle(asked(shop, kept))
    wanted = (
        "to prove this backup as a superuser runs what others wrote, with all rights: own.take() of mallory (by the "
        "constraint t_check of own.t, in shop); whoever owns them could become superuser; give user, a role that is "
        "no superuser, give the functions to a superuser who has read them (alter function … owner to), or say "
        "trust_owners"
    )
    assert found.objections == [wanted]
    trusted = cycle(asked(shop, kept, trust_owners=True))
    assert (trusted.objections, trusted.problems, is_superuser(shop)) == ([], [], True)


def test_a_harmless_function_of_others_is_run_where_its_owner_is_trusted(shop, kept):
    write(shop, "create function own.even(int) returns bool language sql as 'select $1 % 2 = 0'")
    write(shop, "create table own.t (i int check (own.even(i))); insert into own.t values (2)")
    assert "own.even(integer) of mallory" in cycle(asked(shop, kept)).objections[0]
    found = cycle(asked(shop, kept, trust_owners=True))
    assert (found.objections, found.problems) == ([], [])
    assert found.after["backup"]["restored"]["own.t"][0] == "1"


def test_nothing_is_refused_where_nobody_elses_code_would_run(shop, kept):
    shop.sql(REALISTIC, "shop")
    if shop.sql("select count(*) from pg_available_extensions where name in ('citext', 'pg_trgm')") == "2":
        shop.sql("grant create on database shop to app; set role app; create extension citext schema app", "shop")
        shop.sql("create extension pg_trgm; set role app; create table app.c (a app.citext check (a = 'x'))", "shop")
        shop.sql("create index on app.c using gist ((a::text) public.gist_trgm_ops)", "shop")
    found = cycle(asked(shop, kept))
    assert (found.objections, found.problems, set(found.codes)) == ([], [], {0})
    assert found.after["backup"]["restored"]["app.person"][0] == "50"
    deleted = cycle(asked(shop, kept, "cleanup", table="app.person", predicate="id < 11", max_rows=10,
                          allow_cascade=True))  # fmt: skip
    assert (deleted.objections, deleted.problems, deleted.metrics["rows_deleted"]) == ([], [], 10)


def test_code_that_came_after_it_was_looked_at_is_not_run_either(shop, kept):
    write(shop, TAKES, "create table own.t (i int primary key)")

    def meanwhile() -> None:
        shop.sql("set role mallory; create index on own.t (i) where own.imm(1) = 1", "shop")
        shop.sql("alter role mallory nosuperuser")

    found = cycle(asked(shop, kept), meanwhile=meanwhile)
    assert found.objections == []
    assert "others have functions here" in found.outputs[-1]
    assert (is_superuser(shop), found.restored) == (False, [])
    assert found.problems
    assert not list(kept.rglob("0*"))


def test_whoever_owns_the_database_puts_nothing_before_the_catalogue(shop, kept):
    views = ("pg_extension", "pg_class", "pg_constraint", "pg_namespace", "pg_stat_replication", "pg_proc")
    made = ";".join(f"create view own.{name} as select * from pg_catalog.{name} where own.take() = 1" for name in views)
    hidden = "create function own.pg_export_snapshot() returns text language sql as 'select own.take()::text'"
    write(shop, TAKES, made, hidden, "create table own.t (i int primary key, j int)", "insert into own.t values (1)")
    shop.sql("alter database shop owner to mallory; set role mallory;"
             "alter database shop set search_path = own, pg_catalog")  # fmt: skip
    for kind in ("backup", "integrity_check", "statistics", "tuning"):
        found = cycle(asked(shop, kept, kind))
        assert (found.objections, found.problems, is_superuser(shop)) == ([], [], False), kind
    found = cycle(asked(shop, kept, "index_optimization", table="own.t", index_columns=["j"], index_name="more"))
    assert (found.objections, found.problems, is_superuser(shop)) == ([], [], False)
    found = cycle(cleanup(shop, kept))
    assert (found.objections, found.problems, is_superuser(shop)) == ([], [], False)


@pytest.mark.skipif(not ROOT, reason="needs root")
def test_a_login_that_is_no_superuser_is_refused_nothing(shop, kept):
    write(shop, TAKES, "create table own.t (i int check (own.take() = 1))")
    shop.sql("insert into own.t values (1)", "shop")
    shop.sql("alter role mallory nosuperuser; grant usage on schema own to nobody", "shop")
    shop.sql("grant execute on all functions in schema own to nobody", "shop")
    with place("nobody") as directory:
        found = cycle(asked(shop, directory, run_as="nobody"))
    assert (found.objections, found.problems, is_superuser(shop)) == ([], [], False)


@pytest.mark.parametrize("way", CLEANUPS)
def test_a_cleanup_that_would_run_the_code_of_others_is_refused_and_counts_nothing(shop, kept, way):
    shop.sql(f"set role mallory; {TAKES} {FIRE} {CLEANUPS[way]}", "shop")
    shop.sql("alter role mallory nosuperuser")
    found = cycle(cleanup(shop, kept))
    assert not is_superuser(shop)
    assert "to delete these rows as a superuser runs what others wrote" in found.objections[0]
    assert found.objections[1:] == [
        "the rows could not be counted, so none is deleted: to count them would run functions of others"
    ]
    trusted = cycle(cleanup(shop, kept, trust_owners=True))
    assert trusted.objections == []
    assert is_superuser(shop), "the test shows nothing: this code is not run with our rights"


def test_a_trigger_of_others_that_no_delete_fires_hinders_no_cleanup(shop, kept):
    shop.sql(f"set role mallory; {TAKES} {FIRE}", "shop")
    write(shop, "create trigger g after insert or update on own.t for each row execute function own.fire()")
    write(shop, "create trigger h after delete on own.t execute function own.fire()",
          "alter table own.t disable trigger h")  # fmt: skip
    found = cycle(cleanup(shop, kept))
    assert (found.objections, found.problems, is_superuser(shop)) == ([], [], False)
    assert found.metrics["rows_deleted"] == 1
