"""Backups with a real restic through the real command: on this machine and over SSH, killed, brought back, unseen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import resticgen
from dbkit import ROOT, needs
from fleet import SOON, Fleet
from listeners import hook
from place import SIX, stages, until
from sshkit import NEEDS_SSHD, Farm
from treekit import differences, make_tree

pytestmark = [pytest.mark.service, needs(("restic", "restic")), pytest.mark.xdist_group("backup")]
CANARY = "canary-3c1d-repository-key"
BACKUP = '--name nightly --type backup --systems "db-server-1" --priority critical'
INIT = """--parameters '{"init": true}'"""


def with_backup(place, hosts, **more):
    """A source, a key outside of the place, and a repository for each host."""
    key = place.directory.with_name(f"{place.directory.name}.key")
    key.write_text(CANARY)
    key.chmod(0o600)
    for name in hosts:
        (place.directory / "hosts" / name / "source").mkdir(parents=True)
        (place.directory / "hosts" / name / "source" / "f").write_text(f"of {name}\n" * 100)
        home = place.directory / "hosts" / name
        given = {
            "repository": str(home / "repository"),
            "password": {"$secret": f"file:{key}"},
            "credentials": {"AWS_SECRET_ACCESS_KEY": {"$secret": f"file:{key}"}},  # nobody asks for it here
            "paths": [str(home / "source")],
            "work_dir": str(home / "work"),
            "host_label": name,
            "sudo": ROOT,
            "lock_wait_seconds": 10,
        }
        place.settings["hosts"][name]["parameters"] = {"backup_operation": {**given, **more}}
    place.config.write_text(json.dumps(place.settings))
    return key


@pytest.fixture
def town(make_place):
    with hook() as web:
        urls = {"slack": f"json://127.0.0.1:{web.server_address[1]}/slack"}
        told = {"notification_channels": {"slack": "#ops"}, "notification_urls": urls}
        place = make_place(worker={"lease_seconds": 3}, **told)
        place.posted = web.got
        key = with_backup(place, ["db-server-1"])
        yield place
        key.unlink()


def home(place, name="db-server-1") -> Path:
    return place.directory / "hosts" / name


def restic(place, *words, name="db-server-1"):
    env = {**os.environ, "RESTIC_PASSWORD": CANARY, "RESTIC_REPOSITORY": str(home(place, name) / "repository")}
    argv = ["restic", "--no-cache", *words]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=True, timeout=120).stdout


class Watch:
    """Looks at every list of arguments of every process, again and again."""

    def __init__(self, secret: str) -> None:
        self.secret, self.seen, self.stop = secret, [], threading.Event()
        self.thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self.stop.wait(0.005):  # else it takes a whole CPU from what it watches
            for path in (one / "cmdline" for one in Path("/proc").glob("[0-9]*")):
                try:
                    words = path.read_bytes().decode(errors="replace")
                except OSError:
                    continue
                if self.secret in words:
                    self.seen.append(words)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_why: object) -> None:
        self.stop.set()
        self.thread.join()


def untold(place, status):
    """People heard how it ended, and not the key."""
    told = json.dumps(place.posted)
    assert status in told
    assert CANARY not in told


def nowhere(place):
    """The key stands in no file: record, logs, manifests, repository."""
    everything = [path for path in place.directory.rglob("*") if path.is_file()]
    assert any(path.name == "opsqueue.db" for path in everything)
    assert [path for path in everything if CANARY.encode() in _bytes(path)] == []


def _bytes(path: Path) -> bytes:
    with suppress(FileNotFoundError):  # a pid file of the embedded system, which ends by itself
        return path.read_bytes()
    return b""


def test_from_the_first_backup_to_the_file_that_came_back(town):
    make_tree(home(town) / "source")
    if not ROOT:
        (home(town) / "source/mode000").unlink()
    listed = town.ops("backups", "list", "--systems", "db-server-1", "--output", "json")
    assert listed.code == 3
    assert listed.json["backups"][0]["error"] == "there is no repository"

    refused = town.sh(f"opsqueue plan {BACKUP} --output json")
    assert refused.code == 3
    assert "no repository" in refused.json["targets"][0]["problems"][0]
    assert not (home(town) / "repository").exists()

    with Watch(CANARY) as watch:
        plan = town.sh(f"opsqueue plan {BACKUP} {INIT} --output json").json
        assert not (home(town) / "repository").exists()  # a dry run changes nothing
        assert not (home(town) / "work").exists()
        done = town.sh(f"opsqueue execute {BACKUP} {INIT} --notify slack --wait --output json")
        assert done.code == 0, done.out + done.err
        assert (done.json["status"], stages(done.json), done.json["type"]) == ("succeeded", SIX, "backup_operation")
        (target,) = done.json["targets"]
        assert [step["command"] for step in target["steps"]] == [s["command"] for s in plan["targets"][0]["steps"]]
        assert plan["digest"] == done.json["digest"]
        metrics = {name: one["value"] for name, one in done.json["metrics"]["db-server-1"].items()}
        assert (metrics["differences"], metrics["backups_kept"]) == (0, 1)
        assert {"memory_usage", "memory_usage:before"} <= set(metrics)
        assert [one["code"] for one in done.json["findings"]] == ["same_disk"]

        verified = town.ops("backups", "verify", "db-server-1", "--full", "--wait", "--output", "json")
        assert (verified.code, verified.json["status"]) == (0, "succeeded"), verified.out
        back = home(town) / "back"
        came = town.ops("backups", "restore", "db-server-1", "--to", str(back), "--wait", "--output", "json")
        assert (came.code, came.json["status"]) == (0, "succeeded"), came.out
    assert watch.seen == []
    source = home(town) / "source"
    assert differences(source, back / source.relative_to("/"), sparse=False) == []
    assert f"RESTIC_PASSWORD=<file:{town.directory}.key>" in done.out
    for said in (done, verified, came):
        assert CANARY not in said.out + said.err
    assert CANARY not in town.ops("show", done.json["operation_id"]).out

    listed = town.ops("backups", "list", "--systems", "db-server-1", "--output", "json")
    assert listed.code == 0
    (row,) = listed.json["backups"]
    assert (row["host"], row["set"], row["run"], row["state"]) == ("db-server-1", "data", 1, "proven")
    assert "proven" in town.ops("backups", "list").out
    nowhere(town)
    untold(town, "succeeded")


@pytest.mark.long
def test_damage_fails_a_verification_and_a_restore_in_place_is_asked_about(town):
    resticgen.repository(home(town) / "repository", CANARY)
    assert town.sh(f"opsqueue execute {BACKUP} --wait --output json").code == 0
    file = home(town) / "source/f"
    file.write_text("spoilt")
    words = ("backups", "restore", "db-server-1", "--in-place", "--include", str(file))
    refused = town.ops(*words, "--wait", "--output", "json")
    assert refused.code == 2
    assert "destructive" in refused.err
    assert file.read_text() == "spoilt"
    shown = town.ops(*words, "--dry-run", "--output", "json")
    assert (shown.code, shown.json["risk"]) == (0, "destructive")
    done = town.ops(*words, "--yes", "--wait", "--output", "json")
    assert (done.code, done.json["status"]) == (0, "succeeded"), done.out
    assert file.read_text().startswith("of db-server-1")
    assert (file.with_name("f.before-restore")).read_text() == "spoilt"

    packs = [path for path in (home(town) / "repository/data").rglob("*") if path.is_file()]
    for pack in packs:
        pack.chmod(0o600)
        pack.write_bytes(pack.read_bytes()[:-40])
    broken = town.ops("backups", "verify", "db-server-1", "--read-data", "all", "--wait", "--output", "json")
    assert (broken.code, broken.json["status"]) == (3, "failed"), broken.out
    assert "backup_damaged" in [one["code"] for one in broken.json["findings"]]
    assert len(broken.json["targets"][0]["steps"]) == len({s["title"] for s in broken.json["targets"][0]["steps"]})
    assert CANARY not in broken.out + broken.err
    nowhere(town)


@pytest.mark.long
def test_a_host_without_a_backup_is_named_and_skipped_by_the_schedule(town):
    none = town.ops("backups", "verify", "web-server-1")
    assert none.code == 10
    assert "no backup is configured for web-server-1" in none.err
    entry = next(e for e in town.ops("schedule", "list", "--output", "json").json["schedule"] if e["name"] == "backup")
    assert (entry["type"], entry["systems"]) == ("backup_operation", ["all"])
    skip = """--parameters '{"when_unclear": "skip"}' --wait --output json"""
    done = town.sh(f"opsqueue execute --name n --type backup --systems web-server-1 {skip}")
    assert (done.code, done.json["status"]) == (0, "unchanged")


def test_the_setting_backup_retention_days_counts(town):
    town.config.write_text(json.dumps({**town.settings, "backup_retention_days": 7}))
    steps = town.sh(f"opsqueue plan {BACKUP} {INIT} --output json").json["targets"][0]["steps"]
    assert "--keep-within=7d" in steps[-1]["command"]


def test_a_system_that_is_killed_while_restic_runs(town):
    """Every process, restic too, dies with SIGKILL, as when the power goes; a new worker finds what was begun."""
    resticgen.repository(home(town) / "repository", CANARY)
    assert town.sh(f"opsqueue execute {BACKUP} --wait --output json").code == 0
    slow_and_large(town, "db-server-1")
    town.start("opsqueue", "up", "--no-flower")
    asked = town.sh(f"opsqueue execute {BACKUP} --no-wait --output json")
    assert asked.code == 0, asked.err
    operation_id = asked.json["operation_id"]
    until(lambda: _restic_at(town, "backup"), 60, what="restic at work")
    for process in [*_restic_at(town, "backup"), *town.processes()]:
        try:
            process.kill()
        except psutil.Error:
            continue
    town.start("opsqueue", "up", "--no-flower")
    ended = until(lambda: _closed(town, operation_id), 90, what="the end of it")
    tags = [one["tags"] for one in json.loads(restic(town, "snapshots", "--json", "--no-lock"))]
    assert ended["status"] in {"rolled_back", "succeeded"}, ended
    assert all("verified" in each for each in tags)
    assert len(tags) == (1 if ended["status"] == "rolled_back" else 2)
    assert restic(town, "list", "locks", "--no-lock").split() == []
    restic(town, "check", "--read-data")
    assert not list((home(town) / "work").glob("*/*.partial"))
    again = town.sh(f"opsqueue execute {BACKUP} --wait --output json")
    assert again.json["status"] == "succeeded"


def slow_and_large(place, host):
    """What takes five seconds to back up, however fast the machine is."""
    (home(place, host) / "source/large").write_bytes(os.urandom(40 << 20))
    place.settings["hosts"][host]["parameters"]["backup_operation"]["limit_upload_kib"] = 8192
    place.config.write_text(json.dumps(place.settings))


def _restic_at(place, word):
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if words[:1] == ["restic"] and word in words and str(place.directory) in " ".join(words):
            found.append(process)
    return found


def _closed(place, operation_id):
    shown = place.show(operation_id)
    return shown if shown["finished_at"] and shown["stage"] == "closed" else None


# -- over SSH -----------------------------------------------------------------------------------------------


@pytest.fixture
def two():
    farm = Farm(hosts=2)
    fleet = Fleet(farm, worker=SOON)
    key = with_backup(fleet, ["h1", "h2"])
    yield fleet
    fleet.end()
    farm.end()
    key.unlink()


@pytest.mark.usefixtures("two")
class TestOverSsh:
    """The same over real OpenSSH servers."""

    pytestmark = NEEDS_SSHD

    def test_two_hosts_are_backed_up_verified_and_brought_back(self, two):
        with Watch(CANARY) as watch:
            done, data = two.execute("backup_operation", "--parameters", '{"init": true}')
            assert (done.code, data["outcome"]) == (0, "succeeded"), done.out
            assert {target["host"]: target["status"] for target in data["targets"]} == dict.fromkeys(
                ("h1", "h2"), "succeeded"
            )
            listed = two.ops("backups", "list", "--output", "json").json["backups"]
            assert [(row["host"], row["state"]) for row in listed] == [("h1", "proven"), ("h2", "proven")]
            verified = two.ops("backups", "verify", "h2", "--wait", "--output", "json")
            assert (verified.code, verified.json["status"]) == (0, "succeeded"), verified.out
            back = home(two, "h2") / "back"
            came = two.ops("backups", "restore", "h2", "--to", str(back), "--wait", "--output", "json")
            assert (came.code, came.json["status"]) == (0, "succeeded"), came.out
        assert watch.seen == []
        assert (back / (home(two, "h2") / "source/f").relative_to("/")).read_text().startswith("of h2")
        nowhere(two)

    @pytest.mark.long
    def test_restic_that_is_killed_on_the_host_is_a_failure_that_leaves_nothing(self, two):
        resticgen.repository(home(two, "h1") / "repository", CANARY)
        assert two.execute("backup_operation", systems=["h1"])[0].code == 0
        slow_and_large(two, "h1")
        two.up()
        operation_id = two.ask("backup_operation", "--retry-count", "0", systems=["h1"])
        (process, *_rest) = until(lambda: _restic_at(two, "backup"), 60, what="restic at work")
        process.kill()
        data = two.closed(operation_id)
        assert data["outcome"] == "rolled_back", data["targets"]
        assert "137" in data["targets"][0]["problems"][0]
        assert restic(two, "list", "locks", "--no-lock", name="h1").split() == []
        tags = [one["tags"] for one in json.loads(restic(two, "snapshots", "--json", "--no-lock", name="h1"))]
        assert len(tags) == 1
        restic(two, "check", "--read-data", name="h1")
