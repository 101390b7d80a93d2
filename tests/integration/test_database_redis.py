"""`database_maintenance` against a real Redis, private to this test."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from database_cycle import cycle, dry_and_real, every_title, flipped, killed_at
from dbkit import Redis, needs, place, redis, run, until

from opsqueue.connectors.local import LocalShell
from opsqueue.facts.databases import DatabaseWhere, database

pytestmark = [
    pytest.mark.service,
    pytest.mark.xdist_group("redis_maintenance"),
    needs(("redis-server", "redis-server"), ("redis-check-rdb", "redis-tools"), ("redis-cli", "redis-tools")),
]


@pytest.fixture(scope="module")
def server():
    with redis("--repl-diskless-sync-delay", "0") as one:
        for number in range(300):
            one.cli("set", f"k{number}", "v" * number)
        one.cli("-n", "3", "rpush", "list", "a", "b")
        one.cli("set", "ends", "x", "ex", "1000")
        yield one


@pytest.fixture
def kept():
    with place("root") as directory:
        yield directory


def asked(server: Redis, kept: Path, kind: str = "backup", **more):
    return {"maintenance_type": kind, "backup_dir": str(kept / "b"), "engine": "redis", "port": server.port, **more}


def names(kept: Path) -> list[str]:
    return sorted(path.name for path in (kept / "b").glob("*/0*"))


def where_it_is(process: Path) -> str:
    """The working directory of a process; of one that just ends, or says it to nobody, it is empty."""
    try:
        return str((process / "cwd").readlink())
    except OSError:
        return ""


def test_a_backup_is_loaded_compared_and_numbered(server, kept):
    run_ = cycle(asked(server, kept))
    assert (run_.objections, run_.problems, set(run_.codes)) == ([], [], {0})
    assert names(kept) == ["000001"]
    assert run_.after["backup"]["restored"] == {"db0": ["301", "1"], "db3": ["1", "0"]}
    assert {path.name for path in kept.rglob("000001/*")} >= {"dump.rdb", "SHA256SUMS", "manifest.json"}
    places = [where_it_is(one) for one in Path("/proc").glob("[0-9]*")]
    assert not [path for path in places if path.startswith(str(kept))]  # the scratch server has ended


def test_what_was_kept_can_be_loaded_by_hand_as_the_documentation_says(server, kept):
    cycle(asked(server, kept))
    (file,) = kept.rglob("dump.rdb")
    kept.chmod(0o755)
    copy = Path(f"/tmp/{kept.name}.rdb")
    copy.write_bytes(file.read_bytes())
    copy.chmod(0o644)
    try:
        with redis("--dbfilename", copy.name, "--dir", "/tmp") as other:
            assert other.cli("dbsize") == "301"
            assert other.cli("get", "k7") == "v" * 7
    finally:
        copy.unlink()


def test_a_writer_is_told(server, kept):
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            server.cli("set", f"late{number}", "x")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        run_ = cycle(asked(server, kept))
    finally:
        stop.set()
        writer.join()
    assert run_.problems == []
    assert "changed_meanwhile" in run_.findings


def test_a_snapshot_that_is_refused_leaves_nothing(server, kept):
    """A user who may look but not replicate."""
    server.cli("acl", "setuser", "looker", "on", ">looker", "~*", "+@all", "-psync", "-sync")
    (kept / "secret").write_text("looker")
    (kept / "secret").chmod(0o600)
    run_ = cycle(asked(server, kept, user="looker", password={"$secret": f"file:{kept / 'secret'}"}))
    assert "no permissions to run the 'sync' command" in run_.outputs[-1]
    assert run_.codes[-1] != 0
    assert "only what was begun of it" in run_.problems[0]
    assert run_.rolled == ["remove what was begun"]
    assert run_.restored == []
    assert names(kept) == []


@pytest.mark.parametrize("title", ["take a snapshot", "load it into a scratch", "give it its name"])
def test_a_worker_that_is_killed_leaves_the_old_or_the_new(server, kept, title):
    run_ = killed_at(asked(server, kept), title)
    assert names(kept) == ([] if run_.problems else ["000001"])
    assert run_.restored in (None, [])
    assert not list(kept.rglob("*.partial"))


@pytest.mark.long
def test_a_worker_that_is_killed_at_any_step_leaves_the_old_or_the_new(server, kept):
    for title in every_title(cycle(asked(server, kept))):
        were = sorted(names(kept))
        run_ = killed_at(asked(server, kept), title)
        assert run_.restored in (None, [])
        assert sorted(names(kept)) == (were if run_.problems else [*were, f"{len(were) + 1:06}"]), title
        assert not list(kept.rglob("*.partial"))


def test_integrity_and_what_a_redis_has_not(server, kept):
    run_ = cycle(asked(server, kept, "integrity_check"))
    assert (run_.problems, run_.findings) == ([], [])
    assert not list(kept.rglob("*.rdb"))
    for kind in ("statistics", "index_optimization"):
        assert "Redis" in cycle(asked(server, kept, kind)).objections[0]


def test_a_password_comes_from_its_reference_and_is_shown_nowhere(kept):
    secret = "hunter2-not-to-be-seen"
    with redis("--requirepass", secret, "--repl-diskless-sync-delay", "0") as one:
        run(["redis-cli", "-p", str(one.port), "set", "k", "v"], REDISCLI_AUTH=secret)
        file = kept / "secret"
        file.write_text(secret + "\n")
        file.chmod(0o600)
        seen = []
        stop = threading.Event()

        def watch():
            while not stop.is_set():
                seen.extend(_args_with(secret, str(one.port)))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            fields = asked(one, kept, password={"$secret": f"file:{file}"})
            run_ = cycle(fields)
            more = {"key_pattern": "k*", "max_rows": 5}
            others = [
                cycle({**fields, **change})
                for change in (
                    {"maintenance_type": "tuning", "apply": True},
                    {"maintenance_type": "cleanup", **more},
                )
            ]
        finally:
            stop.set()
            watcher.join()
            run(["redis-cli", "-p", str(one.port), "shutdown", "nosave"], REDISCLI_AUTH=secret, check=False)
    assert run_.problems == []
    assert seen == []
    assert [other.problems for other in others] == [[], []]
    assert others[1].metrics["rows_deleted"] == 1
    assert secret not in repr((run_, others))
    assert f"REDISCLI_AUTH=<file:{file}>" in " ".join(str(step.command) for step in run_.plan.steps)
    without = cycle(asked(one, kept))
    assert "could not be asked" in without.objections[0]


def _args_with(secret: str, port: str) -> list[str]:
    found = []
    for path in (one / "cmdline" for one in Path("/proc").glob("[0-9]*")):
        try:
            words = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if secret in words and f"--port\0{port}" not in words:  # the server's own, which this test starts
            found.append(words)
    return found


def test_a_server_is_found_by_itself(server):
    found = LocalShell().ask((database(DatabaseWhere(engine="redis", port=server.port)),))["database"]
    assert found["found"] == [{"engine": "redis", "socket": "", "port": server.port}]
    looked = LocalShell().ask((database(DatabaseWhere()),))["database"]["found"]
    assert {"engine": "redis", "socket": "", "port": server.port} in looked


# -- cleanup and tuning -----------------------------------------------------------------------------------


def deleting(server: Redis, kept: Path, **more):
    fields = asked(server, kept, "cleanup", key_pattern="session:*", redis_database=5, max_rows=2000)
    return {**fields, "batch_size": 100, "pause_ms": 0, **more}


def fill(server: Redis) -> None:
    text = "for i = 1, 1000 do redis.call('set', 'session:' .. i, 'x') redis.call('set', 'user:' .. i, 'x') end"
    server.cli("-n", "5", "eval", text, "0")


def test_keys_go_by_their_pattern_and_others_stay(server, kept):
    fill(server)
    others = server.cli("dbsize")
    assert "max_rows is 10" in cycle(deleting(server, kept, max_rows=10)).objections[0]
    run_ = cycle(deleting(server, kept))
    assert (run_.objections, run_.problems, set(run_.codes)) == ([], [], {0})
    assert (run_.metrics["rows_deleted"], server.cli("-n", "5", "dbsize")) == (1000, "1000")
    assert server.cli("dbsize") == others
    assert not cycle(deleting(server, kept)).plan
    fill(server)
    killed = killed_at(deleting(server, kept, pause_ms=20), "delete 1000 rows")
    assert (killed.problems, server.cli("-n", "5", "dbsize")) == ([], "1000")


def test_no_more_keys_than_max_rows_go(server, kept):
    server.cli("-n", "5", "flushdb")
    server.cli("-n", "5", "set", "session:0", "x")
    run_ = cycle(deleting(server, kept, max_rows=30), meanwhile=lambda: fill(server))
    assert run_.problems == []
    assert (run_.metrics["rows_deleted"], run_.findings) == (30, ["rows_left"])
    server.cli("-n", "5", "flushdb")


def test_a_replica_that_does_not_follow_stops_the_cleanup(server, kept):
    fill(server)
    with redis() as other:
        other.cli("replicaof", "127.0.0.1", str(server.port))
        until(lambda: "state=online" in server.cli("info", "replication"), what="the replica")
        process = _pid(other)
        os.kill(process, signal.SIGSTOP)
        try:
            run_ = cycle(deleting(server, kept, max_replication_lag_seconds=1))
        finally:
            os.kill(process, signal.SIGCONT)
            with contextlib.suppress(PermissionError):
                os.kill(_parent(process), signal.SIGCONT)  # runuser stops with its child
    assert run_.problems
    assert server.cli("-n", "5", "eval", "return #redis.call('keys', 'session:*')", "0") > "0"
    server.cli("-n", "5", "flushdb")


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def _pid(one: Redis) -> int:
    return int(next(line for line in one.cli("info", "server").splitlines() if "process_id" in line).split(":")[1])


def test_tuning_sets_what_needs_no_restart_and_leads_back_what_was_refused(server, kept):
    told = cycle(asked(server, kept, "tuning"))
    assert (told.objections, told.plan.steps) == ([], ())
    done = cycle(asked(server, kept, "tuning", apply=True))
    assert (done.problems, done.findings.count("tuning_until_restart")) == ([], 4)
    assert server.cli("config", "get", "latency-monitor-threshold").split()[-1] == "100"
    assert server.cli("config", "get", "maxmemory").split()[-1] == "0"  # a person decides
    for name in ("eviction", "expire", "server-del"):
        server.cli("config", "set", f"lazyfree-lazy-{name}", "no")
    server.cli("config", "set", "latency-monitor-threshold", "0")

    def forbid():
        """From now on one of them cannot be set; the others were already."""
        server.cli("acl", "setuser", "default", "-config|set")

    def allow():
        server.cli("acl", "setuser", "default", "+config|set")

    refused = cycle(asked(server, kept, "tuning", apply=True), meanwhile=forbid)
    allow()
    assert "did not take" in refused.problems[0]
    assert server.cli("config", "get", "latency-monitor-threshold").split()[-1] == "0"


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("backup", {}),
        ("integrity_check", {}),
        ("cleanup", {"key_pattern": "dry:*", "redis_database": 7, "max_rows": 5}),
        ("tuning", {"apply": True}),
    ],
    ids=["backup", "integrity_check", "cleanup", "tuning"],
)
def test_what_a_dry_run_prints_is_what_is_sent(server, kept, kind, more):
    server.cli("-n", "7", "set", "dry:1", "x")
    server.cli("config", "set", "latency-monitor-threshold", "0")

    def state():
        keys = server.cli("info", "keyspace").splitlines()
        return [line.partition(",avg_ttl")[0] for line in keys], server.cli("config", "get", "*"), [*kept.rglob("*")]

    dry_and_real(asked(server, kept, kind, **more), state)


def test_a_worker_that_is_killed_leaves_the_old_settings_or_the_new(server, kept):
    """One was set, the others were not: it is led back."""
    for name in ("eviction", "expire", "server-del"):
        server.cli("config", "set", f"lazyfree-lazy-{name}", "no")
    server.cli("config", "set", "latency-monitor-threshold", "0")
    before = server.cli("config", "get", "*")
    run_ = killed_at(asked(server, kept, "tuning", apply=True), "set latency-monitor-threshold")
    assert any("lazyfree-lazy-expire did not take" in text for text in run_.problems)
    assert (run_.rolled, run_.restored) == (["set latency-monitor-threshold to 0"], [])
    assert server.cli("config", "get", "*") == before


def test_a_check_that_is_killed_leaves_no_half_of_a_report(server, kept):
    run_ = killed_at(asked(server, kept, "integrity_check"), "take a snapshot")
    assert (run_.rolled, run_.restored) == (["remove half of a report"], [])
    assert not list(kept.rglob("*.rdb*"))


def test_a_flipped_byte_is_seen(server, kept):
    said = flipped(asked(server, kept), kept, "dump.rdb")
    assert "is not what was written: dump.rdb: FAILED" in said[0]
    assert said[1:] == ["remove what is not proven"]
