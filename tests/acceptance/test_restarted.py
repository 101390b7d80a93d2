"""An nginx and what stands behind it, restarted with a new configuration by the real command; killed in the middle."""

from __future__ import annotations

import json
import shutil
import urllib.request

import pytest
from place import SIX, Place, free_port, stages, until

from opsqueue.embedded.redis import running

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


@pytest.fixture(scope="module")
def shop():
    if missing := [name for name in ("supervisord", "nginx") if shutil.which(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    place = Place(worker={"lease_seconds": 3})
    try:
        one = Shop(place)
        place.start("opsqueue", "up", "--no-flower")
        until(lambda: running(place.state / "redis"), 60, "the system")
        yield one
    finally:
        place.end()


def test_the_plan_is_what_is_sent_and_a_bad_configuration_is_taken_back(shop):
    was, pids = shop.file(), shop.pids()
    check = {"health_checks": {"web": {"http": f"http://127.0.0.1:{shop.port}/"}}}
    plan = shop.asked("plan", text=shop.text("new"), **check).json
    assert (shop.file(), shop.pids(), (shop.where / "restarts").exists()) == (was, pids, False)
    done = shop.asked("execute", "--wait", text=shop.text("new"), **check)
    assert done.code == 0, done.out + done.err
    (target,) = done.json["targets"]
    assert [step["command"] for step in target["steps"]] == [step["command"] for step in plan["targets"][0]["steps"]]
    assert (plan["digest"], stages(done.json), len(target["steps"])) == (done.json["digest"], SIX, 9)
    assert (shop.says(), shop.file()[0]) == ("new", shop.text("new").encode())
    assert not set(shop.pids()) & set(pids)
    # nginx itself refuses the next one, and goes on as it is.
    good, pids = shop.file(), shop.pids()
    text = shop.text("bad", "no_such_word;")
    bad = shop.asked("execute", "--wait", "--retry-count", "0", text=text, services=["web"])
    assert (bad.code, bad.json["status"]) == (6, "rolled_back"), bad.out
    assert "no_such_word" in bad.out
    assert (shop.file(), shop.pids(), shop.says()) == (good, pids, "new")


def test_a_worker_that_is_killed_in_the_middle(shop):
    """SIGKILL for every process of the system: before anything is stopped, and while a service is being restarted."""
    was, pids, says, text = shop.file(), shop.pids(), shop.says(), shop.text("another")
    begun = _held(shop, lambda: shop.config.read_text() == text, text=text, services=["web"])
    ended = _killed(shop, begun)
    assert ended["status"] == "rolled_back", ended["targets"]
    assert (shop.file(), shop.pids(), shop.says()) == (was, pids, says)
    # The command outlives its worker; the next one finds what it did, and sends nothing again.
    rows = len(_log(shop))
    begun = _held(shop, lambda: "STOPPING" in shop.control("status", "app"), services=["app"])
    ended = _killed(shop, begun)
    assert ended["status"] == "succeeded", ended["targets"]
    assert [row.split("\t")[5:7] for row in _log(shop)[rows:]] == [["begins", "restart"]]
    now = shop.pids()
    assert (now[0] != pids[0], now[1]) == (True, pids[1])
    assert not list(shop.where.glob(".*opsqueue*"))


def _log(shop: Shop) -> list[str]:
    path = shop.where / "restarts" / "log"
    return path.read_text().splitlines() if path.exists() else []


def _held(shop: Shop, in_the_middle, **parameters) -> str:
    shop.hold.touch()
    begun = shop.asked("execute", "--no-wait", "--retry-count", "0", **parameters)
    assert begun.code == 0, begun.err
    until(in_the_middle, 60, "the middle of it")
    return begun.json["operation_id"]


def _killed(shop: Shop, operation_id: str):
    for process in shop.place.system():
        process.kill()
    shop.hold.unlink()
    shop.place.start("opsqueue", "up", "--no-flower")
    return until(lambda: shop.place.ended(operation_id), 120, "the end of it")
