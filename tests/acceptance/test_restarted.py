"""An nginx and what stands behind it, restarted with a new configuration by the real command; killed in the middle."""

from __future__ import annotations

import json
import shutil
import urllib.request

import pytest
from place import SIX, Place, free_port, stages, until

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("restarted")]

ASKED = ("--name", "restart", "--type", "service_restart", "--systems", "web-server-1", "--output", "json")
SUPERVISOR = """\
[supervisord]
nodaemon=true
logfile={where}/s.log
pidfile={where}/s.pid
childlogdir={where}
[unix_http_server]
file={where}/s.sock
[supervisorctl]
serverurl=unix://{where}/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:app]
command=/bin/sh {where}/app.sh
autorestart=false
startsecs=0
stopwaitsecs=60
[program:web]
command=nginx -c {where}/nginx.conf -e {where}/error.log
autorestart=false
startsecs=0
"""
APP = """\
trap 'while [ -e {where}/hold ]; do sleep 0.05; done; exit 0' TERM
while :; do sleep 0.05; done
"""
"""Ends only when nobody holds it: so a restart has a middle, for as long as a test wants."""
NGINX = """\
daemon off; master_process off; pid {where}/nginx.pid; error_log {where}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {where}/t1; proxy_temp_path {where}/t2; fastcgi_temp_path {where}/t3;
  uwsgi_temp_path {where}/t4; scgi_temp_path {where}/t5;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 {word}; }} }} {more}
}}
"""


class Shop:
    """A place with a supervisor of its own, that runs nginx and a program."""

    def __init__(self, place: Place) -> None:
        self.place, self.where, self.port = place, place.directory, free_port()
        self.config, self.hold = self.where / "nginx.conf", self.where / "hold"
        self.config.write_text(self.text("old"))
        self.config.chmod(0o640)
        (self.where / "app.sh").write_text(APP.format(where=self.where))
        (self.where / "supervisord.conf").write_text(SUPERVISOR.format(where=self.where))
        place.start("supervisord", "-c", str(self.where / "supervisord.conf"))
        until(lambda: self.control("status").count("RUNNING") == 2, what="the services")
        until(lambda: (self.where / "nginx.pid").exists() and self.says() == "old", what="nginx")

    def text(self, word: str, more: str = "") -> str:
        return NGINX.format(where=self.where, port=self.port, word=word, more=more)

    def says(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=30) as answer:
            return answer.read().decode()

    def control(self, *words: str) -> str:
        return self.place.run("supervisorctl", "-c", str(self.where / "supervisord.conf"), *words).out

    def pids(self) -> list[str]:
        return [self.control("pid", name).strip() for name in ("app", "web")]

    def asked(self, word: str, *more: str, text: str = "", services=("app", "web"), **parameters):
        """Both are restarted, the second with a new configuration that is tested before anything is stopped."""
        tested = f"while [ -e {self.hold} ]; do sleep 0.05; done; exec nginx -t -q -c {self.config}"
        given = {
            "services": services,
            "manager": "supervisor",
            "supervisor_config": str(self.where / "supervisord.conf"),
            "config_files": [{"path": str(self.config), "content": text}] if text else [],
            "preflight": [["sh", "-c", tested]] if text else "none",
            "state_dir": str(self.where / "restarts"),
            "settle_seconds": 1,
            "sudo": False,
            **parameters,
        }
        return self.place.ops(word, *ASKED, "--parameters", json.dumps(given), *more)

    def file(self) -> tuple[bytes, int, int]:
        found = self.config.stat()
        return self.config.read_bytes(), found.st_mode, found.st_mtime_ns


@pytest.fixture
def shop(make_place):
    if missing := [name for name in ("supervisord", "nginx") if shutil.which(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    return lambda **settings: Shop(make_place(**settings))


def test_the_plan_is_what_is_sent_and_a_bad_configuration_is_taken_back(shop):
    one = shop()
    was, pids = one.file(), one.pids()
    check = {"health_checks": {"web": {"http": f"http://127.0.0.1:{one.port}/"}}}
    plan = one.asked("plan", text=one.text("new"), **check).json
    assert (one.file(), one.pids(), (one.where / "restarts").exists()) == (was, pids, False)
    done = one.asked("execute", "--wait", text=one.text("new"), **check)
    assert done.code == 0, done.out + done.err
    (target,) = done.json["targets"]
    assert [step["command"] for step in target["steps"]] == [step["command"] for step in plan["targets"][0]["steps"]]
    assert (plan["digest"], stages(done.json), len(target["steps"])) == (done.json["digest"], SIX, 9)
    assert (one.says(), one.file()[0]) == ("new", one.text("new").encode())
    assert not set(one.pids()) & set(pids)
    # nginx itself refuses the next one; both services go on as they are.
    good, pids = one.file(), one.pids()
    bad = one.asked("execute", "--wait", "--retry-count", "0", text=one.text("bad", "no_such_word;"), **check)
    assert (bad.code, bad.json["status"]) == (6, "rolled_back"), bad.out
    assert "no_such_word" in bad.out
    assert (one.file(), one.pids(), one.says()) == (good, pids, "new")


def test_a_worker_that_is_killed_in_the_middle(shop):
    """SIGKILL for every process of the system: before anything is stopped, and while a service is being restarted."""
    one = shop(worker={"lease_seconds": 3})
    place, was, pids = one.place, one.file(), one.pids()
    place.start("opsqueue", "up", "--no-flower")
    begun = _held(one, lambda: one.config.read_text() == one.text("new"), text=one.text("new"))
    ended = _killed(one, begun)
    assert ended["status"] == "rolled_back", ended["targets"]
    assert (one.file(), one.pids(), one.says()) == (was, pids, "old")
    # The command outlives its worker; the next one finds what it did, and sends nothing again.
    begun = _held(one, lambda: "STOPPING" in one.control("status", "app"), services=["app"])
    ended = _killed(one, begun)
    assert ended["status"] == "succeeded", ended["targets"]
    rows = (one.where / "restarts" / "log").read_text().splitlines()
    assert [row.split("\t")[5] for row in rows if "\trestart\t" in row] == ["begins"]
    now = one.pids()
    assert (now[0] != pids[0], now[1]) == (True, pids[1])
    assert not list(one.where.glob(".*opsqueue*"))


def _held(one: Shop, in_the_middle, **parameters) -> str:
    one.hold.touch()
    begun = one.asked("execute", "--no-wait", "--retry-count", "0", **parameters)
    assert begun.code == 0, begun.err
    until(in_the_middle, 60, "the middle of it")
    return begun.json["operation_id"]


def _killed(one: Shop, operation_id: str):
    for process in one.place.system():
        process.kill()
    one.hold.unlink()
    one.place.start("opsqueue", "up", "--no-flower")
    return until(lambda: one.place.ended(operation_id), 120, "the end of it")
