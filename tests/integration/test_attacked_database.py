"""`database_maintenance` where somebody who may do little in a database wants what we may do."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from database_cycle import cycle
from dbkit import ROOT, Postgres, mariadb, needs, place, postgres, run, until

from opsqueue.facts.databases import DatabaseWhere, database
from opsqueue.model.plan import Result

pytestmark = [pytest.mark.service]
has_postgres = needs(("initdb", "postgresql"), ("psql", "postgresql-client"), ("runuser", "util-linux"))
has_mariadb = needs(("mariadbd", "mariadb-server"), ("mariadb", "mariadb-client"))
FUNCTION = """
create function own.take({argument}) returns {result} language plpgsql as $$ begin
  begin execute 'alter role mallory superuser'; exception when others then null; end; return {value}; end $$;
"""
LIAR = r"""
import os, socket, sys
kind, at, told = sys.argv[1:4]
if kind == "tcp":
    with open("/proc/self/comm", "w") as name:
        name.write("redis-server")
os.setuid(65534)
if kind == "tcp":
    listening = socket.create_server(("127.0.0.1", int(at)))
else:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(at)
    listening.listen()
open(told, "w").close()
while True:
    caller, _ = listening.accept()
    with caller, open(told, "ab") as file:
        file.write(caller.recv(4096))
        if kind != "tcp":
            caller.sendall(b"R\0\0\0\x08\0\0\0\x03")
            file.write(caller.recv(4096))
"""


@pytest.fixture(scope="module")
def server():
    with postgres() as one:
        one.sql("create role mallory createdb; create database shop")
        one.sql("create schema own authorization mallory; create table t (i int); insert into t values (1)", "shop")
        yield one


@pytest.fixture
def kept():
    with place("root") as directory:
        yield directory


def asked(server: Postgres, kept: Path, kind: str, **more):
    where = {"engine": "postgresql", "socket": str(server.directory), "port": server.port}
    return {"maintenance_type": kind, "backup_dir": str(kept / "b"), **where, **more}


def is_superuser(server: Postgres) -> bool:
    return server.sql("select rolsuper from pg_roles where rolname = 'mallory'") == "t"


@has_postgres
def test_the_owner_of_a_table_is_not_run_with_our_rights_when_its_rows_are_compared(server, kept):
    function = FUNCTION.format(argument="own.mine", result="text", value="'x'")
    server.sql(
        "set role mallory; create table own.mine (i int); insert into own.mine values (1);"
        f"{function} create cast (own.mine as text) with function own.take(own.mine);",
        "shop",
    )
    try:
        found = cycle(asked(server, kept, "backup", databases=["shop"]))
        assert (found.objections, found.problems, is_superuser(server)) == ([], [], False)
    finally:
        server.sql("drop table own.mine cascade; alter role mallory nosuperuser", "shop")


@has_postgres
def test_a_view_in_the_place_of_a_table_is_not_run_when_its_rows_are_counted(server, kept):
    function = FUNCTION.format(argument="", result="bool", value="true")
    server.sql(f"set role mallory; {function} create view own.seen as select 1 as i where own.take()", "shop")
    try:
        cleanup = {"databases": ["shop"], "table": "own.seen", "predicate": "i = 1", "max_rows": 10}
        found = cycle(asked(server, kept, "cleanup", **cleanup))
        assert found.objections == ["own.seen is no table that can be cleaned up: wanted a table, found v"]
        assert not is_superuser(server)
    finally:
        server.sql("drop function own.take() cascade; alter role mallory nosuperuser", "shop")


@contextmanager
def curious() -> Iterator[tuple[int, list[bytes]]]:
    """A server that asks everybody for a password in clear text: its port, and what it was told."""
    told: list[bytes] = []

    def ask(caller: socket.socket) -> None:
        with caller:
            caller.settimeout(20)
            if caller.recv(8)[4:] == bytes([4, 210, 22, 47]):  # whether it speaks TLS
                caller.sendall(b"N")
            caller.recv(4096)
            caller.sendall(b"R\0\0\0\x08\0\0\0\x03")
            told.append(caller.recv(4096))

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                caller, _ = listening.accept()
            except OSError:
                return
            ask(caller)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1], told
        finally:
            listening.shutdown(socket.SHUT_RDWR)
    thread.join(30)


@has_postgres
def test_a_database_that_is_called_like_an_address_is_not_asked_elsewhere(server, kept):
    secret = kept / "secret"
    secret.write_text("canary-password\n")
    secret.chmod(0o600)
    with curious() as (port, told):
        name = f"host=127.0.0.1 port={port} user=x"
        server.sql(f'set role mallory; create database "{name}"')
        try:
            found = cycle(asked(server, kept, "backup", password={"$secret": f"file:{secret}"}))
            again = cycle(asked(server, kept, "statistics", password={"$secret": f"file:{secret}"}))
        finally:
            server.sql(f'drop database "{name}"')
    assert told == []
    assert "other characters" in found.objections[0]
    assert "other characters" in again.objections[0]


@has_mariadb
@pytest.mark.skipif(not ROOT, reason="needs root")
def test_a_database_whose_name_is_sql_is_not_taken_for_a_scratch_database(kept):
    name = "opsqueue_scratch_``; create table shop.taken(i int); -- x"
    with mariadb() as server:
        server.sql("create database shop; create table shop.t(i int primary key); insert into shop.t values (1)")
        server.sql(f"create database `{name}`; create database opsqueue_scratch_7_0")
        where = {"engine": "mysql", "socket": server.socket, "backup_dir": str(kept / "b"), "databases": ["shop"]}
        found = cycle({"maintenance_type": "backup", **where})
        assert (found.objections, found.problems) == ([], [])
        assert server.sql("show tables from shop") == "t"
        assert found.titles[0] == "drop the scratch database opsqueue_scratch_7_0"
        assert "opsqueue_scratch_7_0" not in server.sql("show databases")


@pytest.mark.skipif(not ROOT, reason="needs root")
@needs(("sqlite3", "sqlite3"), ("runuser", "util-linux"), ("setpriv", "util-linux"))
@pytest.mark.parametrize("kind", ["backup", "integrity_check"])
def test_no_directory_is_given_away_where_somebody_else_could_put_a_link(kind):
    with place("root") as directory, place("nobody") as home:
        file, victim = home / "x.sqlite", directory / "victim"
        victim.mkdir(mode=0o755)
        somebody = ("runuser", "-u", "nobody", "--")
        run([*somebody, "sqlite3", str(file), "create table t (i); insert into t values (1)"])
        label = f"sqlite-{file.name}-{run(['cksum'], stdin=str(file)).split()[0]}"

        def meanwhile() -> None:
            run([*somebody, "mkdir", "-p", str(home / "b")])
            run([*somebody, "ln", "-s", str(victim), str(home / "b" / label)])

        asked_ = {"maintenance_type": kind, "path": str(file), "backup_dir": str(home / "b")}
        found = cycle(asked_, meanwhile=meanwhile)
        assert (victim.stat().st_uid, list(victim.iterdir())) == (0, [])
        assert any("directory" in text or str(home) in text for text in found.problems), found.problems
        (home / "b" / label).unlink()
        assert [cycle(one).problems for one in (asked_, {**asked_, "backup_dir": str(directory / "b")})] == [[], []]
        found = cycle({**asked_, "run_as": "root"})
        assert found.objections == [f"others than root and us can change {home / 'b'}; give another backup_dir"]


@contextmanager
def liar(kind: str, at: str, *words: str, way: tuple[str, ...] = ()) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Somebody who may do nothing and listens like a database: his process, and what he was told."""
    with place("nobody") as home:
        told, script = home / "told", home / "liar"
        script.write_text(LIAR)
        argv = [*way, sys.executable, str(script), kind, at or str(home / ".s.PGSQL.5"), str(told), *words]
        with subprocess.Popen(argv) as process:
            try:
                until(told.exists, what="the liar")
                yield process, told
            finally:
                process.kill()


@pytest.mark.skipif(not ROOT, reason="needs root")
@needs(("psql", "postgresql-client"), ("runuser", "util-linux"))
def test_a_postgresql_that_anybody_started_is_told_no_password_before_it_is_named(kept):
    secret = kept / "secret"
    secret.write_text("canary-password\n")
    secret.chmod(0o600)
    with liar("unix", "") as (_process, told):
        where = {"engine": "postgresql", "port": 5, "password": {"$secret": f"file:{secret}"}}
        found = cycle({"maintenance_type": "backup", **where})
        assert "nobody runs it" in found.objections[0]
        assert told.read_bytes() == b""


@pytest.mark.skipif(not ROOT, reason="needs root")
@needs(("redis-cli", "redis-tools"), ("nsenter", "util-linux"))
def test_a_redis_that_anybody_started_is_not_asked_before_it_is_named():
    with liar("tcp", "6379", "127.0.0.1:6379", way=("unshare", "-n")) as (process, told):
        fact = database(DatabaseWhere(engine="redis"))
        words = ("nsenter", "-t", str(process.pid), "-n", "sh", "-c", fact.ask.text, "sh", *fact.ask.args)
        answer = fact.parse(Result(exit_code=0, stdout=run(words)))
        assert "nobody runs it" in answer["problem"]
        assert told.read_bytes() == b""
