"""The command lines of the mission, to the letter, on hosts of the configuration; and what is told of them afterwards.

All of it happens in one place, in a mount name space of its own where it can have one: there nginx is a service that
is no other service of this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from place import HOSTS, SIX, Place, free_port, stages, until

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("commands")]

MONITORING = r"""--name "daily-monitoring" --type "system_monitoring" \
  --systems "web-server-1" "web-server-2" --priority "normal" """
RESTART = r"""--name "restart-nginx" --type "service_restart" --systems "web-server-1" \
  --parameters '{"service_name": "nginx"}' --priority "high" """
BACKUP = r"""--name "db-backup" --type "database_maintenance" --systems "db-server-1" \
  --parameters '{"maintenance_type": "backup"}' --priority "critical" """
HEALTH = r"""--name "health-check" --type "health_check" --systems "web-server-1" "api-server-1" --priority "normal" """
WAYS = {"installed": "opsqueue", "module": "python -m opsqueue", "repository": "python main.py"}
ONE_WAY = ["installed", *(pytest.param(way, marks=pytest.mark.long) for way in ("module", "repository"))]
"""All three are walked with one command line each time, and with the others in `make test-long`."""

# CONTRACT section 2, "The JSON of one operation"; after the bar what is told beside it.
OPERATION = (
    "operation_id name type priority description parameters status outcome requested_by reason digest created_at "
    "finished_at stages verdicts targets metrics health_score findings notifications | stage systems waits_for due_at "
    "rollout"
)
PARTS = {
    "stages": "stage result started_at finished_at seconds worker | why",
    "verdicts": "gate verdict why until |",
    "targets": (
        "host status changed problems steps before after metrics | attempts plan started_at finished_at verified_at"
    ),
    "findings": "severity code host message evidence advice |",
    "notifications": "channel status attempts at error |",
}
STEP = "title command exit_code seconds output |"

INIT = """#!/bin/sh
# PIDFILE={place}/nginx.pid
PIDFILE={place}/nginx.pid
case $1 in
  start) start-stop-daemon --start --quiet --pidfile $PIDFILE --exec {nginx} -- -c {place}/nginx.conf ;;
  stop) start-stop-daemon --stop --quiet --oknodo --retry 5 --remove-pidfile --pidfile $PIDFILE ;;
  restart) $0 stop; $0 start ;;
  status) [ -s $PIDFILE ] || exit 3; kill -0 $(cat $PIDFILE) 2>/dev/null ;;
esac
"""
NGINX = """
pid {place}/nginx.pid;
error_log {place}/nginx.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {place}/t1; proxy_temp_path {place}/t2; fastcgi_temp_path {place}/t3;
  uwsgi_temp_path {place}/t4; scgi_temp_path {place}/t5;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "it serves"; }} }}
}}
"""
PRIVATE = """
mount --bind "$1/init.d" /etc/init.d && mount --bind "$1/nginx.conf" /etc/nginx/nginx.conf && echo ready && exec cat
"""
NEEDED = ("unshare", "nsenter", "service", "start-stop-daemon", "nginx")


def _missing() -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if os.geteuid() != 0:
        return "needs root, for a mount name space"
    if Path("/run/systemd/system").exists():
        return "booted with systemd, which takes init scripts over"
    return f"not installed: {', '.join(absent)}" if absent else ""


@pytest.fixture(scope="module")
def town():
    """The place of this module; with nginx, not started yet, where a name space can be had."""
    place = _with_database(Place())
    place.port = free_port()
    holder = None
    try:
        if not _missing():
            holder = _name_space(place)
        yield place
    finally:
        if holder:
            place.run("service", "nginx", "stop")
        place.end()
        if holder:
            holder.stdin.close()
            holder.wait(10)
            holder.stdout.close()


def _with_database(place: Place) -> Place:
    """A file of SQLite, which the configuration gives to db-server-1."""
    with contextlib.closing(sqlite3.connect(place.directory / "shop.db")) as db, db:
        db.execute("create table customer (name text)")
        db.executemany("insert into customer values (?)", [("ann",), ("bob",), ("cem",)])
    parameters = {
        "path": str(place.directory / "shop.db"),
        "backup_dir": str(place.directory / "backups"),
        "sudo": False,
    }
    place.settings["hosts"]["db-server-1"]["parameters"] = {"database_maintenance": parameters}
    kept = {"state_dir": str(place.directory / "restarts")}
    place.settings["hosts"]["web-server-1"]["parameters"] = {"service_restart": kept}
    place.config.write_text(json.dumps(place.settings))
    return place


def _name_space(place: Place) -> subprocess.Popen[str]:
    """A process whose mounts are its own: /etc/init.d has nginx alone, and nginx has our configuration."""
    scripts = place.directory / "init.d"
    scripts.mkdir()
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    (scripts / "nginx").write_text(INIT.format(place=place.directory, nginx=nginx))
    (scripts / "nginx").chmod(0o755)
    (place.directory / "nginx.conf").write_text(NGINX.format(place=place.directory, port=place.port))
    place.directory.chmod(0o755)
    argv = ["unshare", "--mount", "sh", "-c", PRIVATE, "sh", str(place.directory)]
    holder = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "ready\n"
    place.prefix = ("nsenter", "-t", str(holder.pid), "--mount", "--")
    return holder


def exactly(data, keys):
    """That a JSON object has the keys of the contract, first and in its order, and only known ones beside them."""
    first, _, beside = (part.split() for part in keys.partition("|"))
    assert list(data)[: len(first)] == first or set(data) == set(first) | set(beside)
    assert set(data) == set(first) | set(beside)


def is_whole(data):
    """That this is the JSON of one operation, as the contract has it, of six stages."""
    exactly(data, OPERATION)
    for name, keys in PARTS.items():
        for part in data[name]:
            exactly(part, keys)
    for target in data["targets"]:
        for step in target["steps"]:
            exactly(step, STEP)
    assert stages(data) == SIX
    assert (data["status"], data["outcome"]) == ("succeeded", "succeeded")
    assert data["finished_at"].endswith("Z")
    assert all(verdict["verdict"] == "pass" for verdict in data["verdicts"])
    assert [(note["channel"], note["status"]) for note in data["notifications"]] == [("log", "accepted")]


@pytest.mark.parametrize("way", WAYS)
def test_daily_monitoring(town, way):
    done = town.sh(f"{WAYS[way]} execute {MONITORING} --wait --output json")
    assert done.code == 0, done.err
    data = done.json
    is_whole(data)
    assert (data["name"], data["type"], data["priority"]) == ("daily-monitoring", "system_monitoring", "normal")
    assert [target["host"] for target in data["targets"]] == ["web-server-1", "web-server-2"]
    for host in ("web-server-1", "web-server-2"):
        metrics = data["metrics"][host]
        assert 0 <= metrics["cpu_usage"]["value"] <= 100
        assert metrics["memory_usage"]["unit"] == "percent"
        assert metrics["memory_available"]["value"] < psutil.virtual_memory().total
        assert metrics["processes"]["value"] > 1


@pytest.mark.parametrize("way", ONE_WAY)
def test_health_check(town, way):
    done = town.sh(f"{WAYS[way]} execute {HEALTH} --wait --output json")
    assert done.code == 0, done.err
    is_whole(done.json)
    assert [target["host"] for target in done.json["targets"]] == ["web-server-1", "api-server-1"]
    assert 0 <= done.json["health_score"] <= 100


@pytest.mark.parametrize("way", ONE_WAY)
@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="not installed: sqlite3")
def test_db_backup(town, way):
    """The database is what the configuration gives to db-server-1; test_database.py has others."""
    before = len(list((town.directory / "backups").glob("*/000*")))
    plan = town.sh(f"{WAYS[way]} plan {BACKUP} --output json").json
    done = town.sh(f"{WAYS[way]} execute {BACKUP} --wait --output json")
    assert done.code == 0, done.err
    is_whole(done.json)
    (target,) = done.json["targets"]
    assert [step["command"] for step in target["steps"]] == [step["command"] for step in plan["targets"][0]["steps"]]
    assert done.json["metrics"]["db-server-1"]["rows_compared"]["value"] == 3
    (newest,) = (town.directory / "backups").glob(f"*/{before + 1:06}/shop.db.sqlite")
    with contextlib.closing(sqlite3.connect(newest)) as db:
        assert db.execute("select group_concat(name) from customer").fetchone() == ("ann,bob,cem",)


def test_a_type_that_is_not_there(town):
    done = town.sh(f"opsqueue execute {BACKUP.replace('database_maintenance', 'alert_managment')}")
    assert (done.code, done.out) == (10, "")
    assert "did you mean 'alert_management'?" in done.err
    assert all(name in done.err for name in ("health_check", "service_restart", "system_monitoring"))
    assert len(done.err.strip().splitlines()) == 1


@pytest.mark.skipif(bool(_missing()), reason=_missing() or "-")
def test_restart_nginx(town):
    """A real nginx with real init scripts: it is another one afterwards, and it serves."""
    assert town.run("service", "nginx", "start").code == 0
    old = until(lambda: _master(town), what="nginx")
    assert _served(town)
    plan = town.sh(f"opsqueue plan {RESTART} --output json").json
    assert _master(town) == old
    done = town.sh(f"opsqueue execute {RESTART} --wait --output json")
    assert done.code == 0, done.err
    is_whole(done.json)
    assert _master(town) != old
    assert not psutil.pid_exists(old)
    assert _served(town)
    (target,) = done.json["targets"]
    sent = [step["command"] for step in target["steps"]]
    assert sent[1:-1] == ["service nginx restart"]
    (*_, begins, answered) = (town.directory / "restarts" / "log").read_text().splitlines()
    assert begins.split("\t")[2] == f"{done.json['operation_id']}/web-server-1"
    assert [row.split("\t")[5] for row in (begins, answered)] == ["begins", "answered"]
    assert sent == [step["command"] for step in plan["targets"][0]["steps"]]
    assert (plan["digest"], target["changed"]) == (done.json["digest"], True)
    assert target["steps"][0]["exit_code"] == 0
    _and_afterwards(town, done.json)


def _master(town):
    with suppress(FileNotFoundError, ValueError):
        return int((town.directory / "nginx.pid").read_text())


def _served(town):
    with urllib.request.urlopen(f"http://127.0.0.1:{town.port}/", timeout=5) as answer:
        return answer.status == 200 and answer.read() == b"it serves"


def _and_afterwards(town, data):
    """What the other commands say of it."""
    operation_id = data["operation_id"]
    assert town.show(operation_id) == data
    assert town.show(operation_id[:8]) == data
    logs = town.ops("logs", operation_id, "--output", "json").json
    (target,) = data["targets"]
    assert logs == {
        "operation_id": operation_id,
        "status": "succeeded",
        "hosts": [{key: target[key] for key in ("host", "status", "problems", "steps")}],
    }


def test_history_status_why_show_and_logs(town):
    asked = town.sh(f"opsqueue execute {HEALTH} --wait --output json").json
    operation_id = asked["operation_id"]
    brief = (
        "operation_id name type priority status outcome stage systems requested_by waits_for due_at created_at "
        "finished_at health_score |"
    )
    ended = town.ops("history", "--output", "json").json["operations"]
    assert ended[0]["operation_id"] == operation_id
    for one in ended:
        exactly(one, brief)
    assert town.ops("status", "--output", "json").json == {"operations": [], "messages_buried": []}
    exactly(town.ops("status", operation_id, "--output", "json").json, brief.replace("|", "| why"))
    assert town.ops("why", operation_id, "--output", "json").json == {
        "operation_id": operation_id,
        "status": "succeeded",
        "reasons": [],
    }
    is_whole(town.show(operation_id))
    assert {key: town.show(operation_id)[key] for key in ended[0]} == ended[0]
    assert town.ops("history", "--type", "health_check", "--limit", "1", "--output", "jsonl").json == ended[0]
    people = town.ops("history")
    assert operation_id[:8] in people.out
    assert "health-check" in people.out


def test_monitor_reads_once_when_piped(town):
    done = town.sh("opsqueue monitor | cat")
    assert (done.code, done.err) == (0, "")
    assert all(done.out.count(host) == 1 for host in HOSTS)
    reading = town.ops("monitor", "--systems", "web-server-1", "--output", "json").json
    (host,) = reading["hosts"]
    assert (host["host"], host["error"]) == ("web-server-1", None)
    assert 0 < host["metrics"]["memory_usage"]["value"] < 100


def test_the_embedded_system_ends_by_itself(town):
    """Started by the first command that needed it; it goes when nothing is left to do."""
    if not _missing():
        town.run("service", "nginx", "stop")
    assert town.sh(f"opsqueue execute {MONITORING} --wait").code == 0
    town.ended_by_itself(20)
    assert town.ops("history", "--output", "json").json["operations"]
    # What people are told of goes into the log as well, and this machine may give reason for it.
    own = [line for line in town.log().splitlines() if "[opsqueue]" not in line]
    assert not [line for line in own if "ERROR" in line or "FAILED" in line]
