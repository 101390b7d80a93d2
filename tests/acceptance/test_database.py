"""The mission's backup on a real PostgreSQL, a worker that is killed in the middle, a secret that nobody sees."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import sys
import threading
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from dbkit import mariadb, needs, postgres, redis, run
from listeners import hook
from place import SIX, stages, until

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("database")]
postgresql = needs(("initdb", "postgresql"), ("psql", "postgresql-client"), ("runuser", "util-linux"))
mariadb_server = needs(
    ("mariadbd", "mariadb-server"), ("mariadb-install-db", "mariadb-server"), ("mariadb", "mariadb-client")
)
redis_server = needs(("redis-server", "redis-server"), ("redis-cli", "redis-tools"), ("redis-check-rdb", "redis-tools"))

BACKUP = r"""--name "db-backup" --type "database_maintenance" --systems "db-server-1" \
  --parameters '{"maintenance_type": "backup"}' --priority "critical" """


@pytest.fixture(scope="module")
def server():
    with postgres() as one:
        one.sql("create database shop")
        one.sql("create table t as select i, md5(i::text) from generate_series(1, 3000) i", "shop")
        yield one


def with_database(make_place, name="db-server-1", **parameters):
    place = make_place(worker={"lease_seconds": 3})
    place.directory.chmod(0o755)  # the owner of the database reads and writes below it
    parameters["backup_dir"] = str(place.directory / "backups")
    place.settings["hosts"][name]["parameters"] = {"database_maintenance": parameters}
    place.config.write_text(json.dumps(place.settings))
    return place


@pytest.fixture
def town(make_place, server):
    return with_database(make_place, engine="postgresql", socket=str(server.directory), port=server.port)


def kept(place) -> list[str]:
    return sorted(path.name for path in (place.directory / "backups").glob("*/*"))


@postgresql
def test_the_backup_of_the_mission(town):
    plan = town.sh(f"opsqueue plan {BACKUP} --output json").json
    assert kept(town) == []
    done = town.sh(f"opsqueue execute {BACKUP} --wait --output json")
    assert done.code == 0, done.err
    assert (done.json["status"], stages(done.json), done.json["priority"]) == ("succeeded", SIX, "critical")
    (target,) = done.json["targets"]
    assert [step["command"] for step in target["steps"]] == [s["command"] for s in plan["targets"][0]["steps"]]
    assert plan["digest"] == done.json["digest"]
    assert kept(town) == ["000001"]
    metrics = done.json["metrics"]["db-server-1"]
    assert metrics["rows_compared"]["value"] == 3000
    assert metrics["backup_bytes"]["value"] > 1000
    assert [finding["code"] for finding in done.json["findings"]] == ["not_encrypted"]


@postgresql
def test_the_setting_backup_retention_days_counts(town):
    town.config.write_text(json.dumps({**town.settings, "backup_retention_days": 7}))
    steps = town.sh(f"opsqueue plan {BACKUP} --output json").json["targets"][0]["steps"]
    assert f"-mmin +{7 * 24 * 60}" in steps[-1]["command"]


@pytest.mark.long
@postgresql
def test_a_worker_that_is_killed_in_the_middle_of_the_dump(town, server):
    """Every process of the system is killed with SIGKILL; a new one finds what was begun, and removes it."""
    town.start("opsqueue", "up")
    text = "begin; lock table t; select pg_sleep(100); commit"
    hold = threading.Thread(target=server.sql, args=(text, "shop"), kwargs={"check": False})
    hold.start()
    asked = town.sh(f"opsqueue execute {BACKUP} --no-wait --output json")
    assert asked.code == 0, asked.err
    operation_id = asked.json["operation_id"]
    until(lambda: _sending(town, operation_id, "dump shop"), what="the dump")
    for process in _system(town):
        process.kill()
    server.sql("select pg_terminate_backend(pid) from pg_stat_activity where query = 'select pg_sleep(100);'")
    hold.join()
    assert kept(town) == ["000001.partial"]
    town.start("opsqueue", "up")
    ended = until(lambda: _ended(town, operation_id), 60, what="the end of it")
    assert ended["status"] == "rolled_back"
    assert "only what was begun of it" in " ".join(ended["targets"][0]["problems"])
    assert kept(town) == []
    assert server.sql("select count(*) from pg_database where datname like 'opsqueue%'") == "0"
    again = town.sh(f"opsqueue execute {BACKUP} --wait --output json")
    assert again.json["status"] == "succeeded"


def _sending(place, operation_id, title):
    targets = place.show(operation_id)["targets"]
    return targets and any(title in step["title"] for step in targets[0]["steps"])


def _ended(place, operation_id):
    shown = place.show(operation_id)
    return shown if shown["finished_at"] and shown["stage"] == "closed" else None


def _system(place):
    """What belongs to opsqueue itself, and not what it started for the operation."""
    return [one for one in place.processes() if re.search(r"opsqueue.* up\b|celery|opsqueue", " ".join(_words(one)))]


def _words(process):
    try:
        words = process.cmdline()
    except psutil.Error:
        return []
    return words if words and "python" in Path(words[0]).name else []


SECRET = "correct-horse-battery-staple"
UNIQUE = {"maintenance_type": "index_optimization", "table": "twice", "index_columns": ["a"], "index_unique": True}


@redis_server
def test_a_password_of_redis_is_seen_nowhere(make_place):
    with redis("--requirepass", SECRET, "--repl-diskless-sync-delay", "0") as one:
        run(["redis-cli", "-p", str(one.port), "set", "k", "v"], REDISCLI_AUTH=SECRET)
        try:
            backup, _ = _seen_nowhere(make_place, {"engine": "redis", "port": one.port}, "REDISCLI_AUTH")
        finally:
            run(["redis-cli", "-p", str(one.port), "shutdown", "nosave"], REDISCLI_AUTH=SECRET, check=False)
    assert backup.code == 0


@postgresql
def test_a_password_of_postgresql_is_seen_nowhere(make_place, server):
    """Everything as before, and an index that cannot be built: what is told of it comes from the server."""
    rules = server.directory / "data" / "pg_hba.conf"
    rules.write_text(f"local all canary scram-sha-256\n{rules.read_text()}")
    server.sql(f"create role canary superuser login password '{SECRET}'; select pg_reload_conf();")
    server.sql("create table twice as select 1 as a from generate_series(1, 2)", "shop")
    where = {"engine": "postgresql", "socket": str(server.directory), "port": server.port, "user": "canary"}
    try:
        backup, built = _seen_nowhere(make_place, {**where, "databases": ["shop"]}, "PGPASSWORD", UNIQUE)
        invalid = server.sql("select count(*) from pg_index where not indisvalid", "shop")
    finally:
        server.sql("drop table twice", "shop")
        server.sql("drop role canary")
    assert (backup.code, built.json["status"], invalid) == (0, "rolled_back", "0")
    assert "DETAIL:  Key (a)=(1) is duplicated." in built.json["targets"][0]["problems"][0]


@mariadb_server
@pytest.mark.long
def test_a_password_of_mariadb_is_seen_nowhere(make_place):
    with mariadb() as one:
        one.sql(f"create user canary@localhost identified by '{SECRET}'; grant all on *.* to canary@localhost")
        one.sql("create database shop; create table shop.twice as select 1 as a union all select 1")
        where = {"engine": "mariadb", "socket": one.socket, "user": "canary", "databases": ["shop"]}
        backup, built = _seen_nowhere(make_place, where, "MYSQL_PWD", UNIQUE)
    assert (backup.code, built.json["status"]) == (0, "failed")  # MariaDB leaves nothing that had to be led back
    assert "Duplicate entry '1' for key 'twice_a_key'" in built.json["targets"][0]["problems"][0]


def _seen_nowhere(make_place, where, name, more=None):
    """A backup, and one more; the password is in no record, log, message, notification, and no list of processes."""
    with hook() as web, _watched() as seen:
        place = with_database(make_place)
        file = place.directory.with_name(f"{place.directory.name}.secret")
        file.write_text(SECRET)
        file.chmod(0o600)
        place.settings["notification_channels"] = {"slack": "#ops"}
        place.settings["notification_urls"] = {"slack": f"json://127.0.0.1:{web.server_address[1]}/slack"}
        defaults = place.settings["hosts"]["db-server-1"]["parameters"]["database_maintenance"]
        defaults.update(where, password={"$secret": f"file:{file}"})
        place.config.write_text(json.dumps(place.settings))
        place.start("opsqueue", "up")
        try:
            once = f"{BACKUP} --notify slack --retry-count 0"
            done = [place.sh(f"opsqueue execute {once} --wait --output json")]
            asked = once.replace('{"maintenance_type": "backup"}', json.dumps(more))
            done += [place.sh(f"opsqueue execute {asked} --wait --output json")] if more else []
            ids = [one.json["operation_id"] for one in done]
            until(lambda: [one for one in ids if one not in json.dumps(web.got)] == [], what="the notifications")
        finally:
            for process in _system(place):
                process.kill()
            file.unlink()
    told = "".join(one.out + one.err for one in done) + json.dumps(web.got)
    assert (SECRET in told, f"{name}=<file:{file}>" in done[0].out, seen) == (False, True, [])
    _not_in_files(place, ids)
    return done[0], done[-1]


def _not_in_files(place, ids):
    """Each of the places where it might be was written to, and it stands in none of them."""
    place.ended_by_itself()
    files = {path: path.read_bytes() for path in place.directory.rglob("*") if path.is_file()}
    for part in ("opsqueue.db", "operations.log", "appendonly"):  # the record, the logs, every message to the broker
        text = b"".join(data for path, data in files.items() if part in str(path))
        assert [one for one in ids if one.encode() not in text] == [], part
    assert [path for path, data in files.items() if SECRET.encode() in data] == []
    assert not [path for path in place.directory.rglob("*") if "secret" in os.fsencode(path.name).decode()]


@contextlib.contextmanager
def _watched():
    """Every list of arguments in which the password was seen."""
    seen: list[str] = []
    stop = threading.Event()

    def watch():
        while not stop.wait(0.02):
            for path in (one / "cmdline" for one in Path("/proc").glob("[0-9]*")):
                with contextlib.suppress(OSError):
                    words = path.read_bytes().decode(errors="replace")
                    if SECRET in words and "--requirepass" not in words:
                        seen.append(words)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        stop.set()
        watcher.join()


def test_several_databases_or_none_say_what_to_give(make_place):
    place = with_database(make_place, path="/nonexistent/shop.db")
    done = place.sh(f"opsqueue execute {BACKUP} --wait --output json")
    assert done.code == 3
    assert "there is no file /nonexistent/shop.db" in done.out


@needs(("sqlite3", "sqlite3"), ("runuser", "util-linux"))
def test_a_cleanup_sends_what_its_plan_showed_and_needs_a_yes(make_place):
    place = with_database(make_place)
    file = place.directory / "shop.db"
    with contextlib.closing(sqlite3.connect(file)) as db, db:
        db.execute("create table events (id integer primary key, note)")
        db.executemany("insert into events (note) values (?)", [("x",)] * 500)
    what = {"maintenance_type": "cleanup", "path": str(file), "table": "events", "predicate": "id <= 300",
            "max_rows": 400, "batch_size": 100, "pause_ms": 0, "archive": True}  # fmt: skip
    asked = f"--name clean --type database_maintenance --systems db-server-1 --parameters '{json.dumps(what)}'"
    plan = place.sh(f"opsqueue plan {asked} --output json").json
    assert (plan["risk"], _left(file)) == ("destructive", 500)
    assert "id` <= 300" in plan["targets"][0]["steps"][-1]["command"]
    refused = place.sh(f"opsqueue execute {asked} --wait --output json")
    assert (refused.code, _left(file)) == (2, 500)
    done = place.sh(f"opsqueue execute {asked} --yes --wait --output json")
    assert (done.code, done.json["status"], _left(file)) == (0, "succeeded", 200)
    sent = [step["command"] for step in done.json["targets"][0]["steps"]]
    assert sent == [step["command"] for step in plan["targets"][0]["steps"]]
    assert done.json["metrics"]["db-server-1"]["rows_deleted"]["value"] == 300
    again = place.sh(f"opsqueue execute {asked} --yes --wait --output json")
    assert again.json["status"] == "unchanged"


def _left(file):
    with contextlib.closing(sqlite3.connect(file)) as db:
        return db.execute("select count(*) from events").fetchone()[0]
