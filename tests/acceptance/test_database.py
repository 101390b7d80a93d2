"""The mission's backup on a real PostgreSQL, a worker that is killed in the middle, a secret that nobody sees."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from dbkit import needs, postgres, redis, run
from place import SIX, stages, until

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("database")]
postgresql = needs(("initdb", "postgresql"), ("psql", "postgresql-client"), ("runuser", "util-linux"))
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


@redis_server
def test_a_secret_is_seen_nowhere(make_place):
    secret = "correct-horse-battery-staple"
    seen: list[str] = []
    stop = threading.Event()

    def watch():
        while not stop.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    words = path.read_bytes().decode(errors="replace")
                except OSError:
                    continue
                if secret in words and "--requirepass" not in words:
                    seen.append(words)

    watcher = threading.Thread(target=watch)
    with redis("--requirepass", secret, "--repl-diskless-sync-delay", "0") as one:
        run(["redis-cli", "-p", str(one.port), "set", "k", "v"], REDISCLI_AUTH=secret)
        place = with_database(make_place)
        file = place.directory.with_name(f"{place.directory.name}.secret")
        file.write_text(secret)
        file.chmod(0o600)
        try:
            reference = {"engine": "redis", "port": one.port, "password": {"$secret": f"file:{file}"}}
            defaults = place.settings["hosts"]["db-server-1"]["parameters"]["database_maintenance"]
            defaults.update(reference)
            place.config.write_text(json.dumps(place.settings))
            watcher.start()
            done = place.sh(f"opsqueue execute {BACKUP} --wait --output json")
        finally:
            stop.set()
            watcher.join()
            file.unlink()
            run(["redis-cli", "-p", str(one.port), "shutdown", "nosave"], REDISCLI_AUTH=secret, check=False)
    assert done.code == 0, done.json["targets"][0]["problems"][0][-900:]
    assert f"REDISCLI_AUTH=<file:{file}>" in done.out  # so the reference is, and the value is not
    assert secret not in done.out + done.err
    assert seen == []
    time.sleep(0.5)
    everything = [path for path in place.directory.rglob("*") if path.is_file()]
    assert any(path.name == "opsqueue.db" for path in everything)
    assert [path for path in everything if secret.encode() in path.read_bytes()] == []
    assert not [path for path in place.directory.rglob("*") if "secret" in os.fsencode(path.name).decode()]


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
