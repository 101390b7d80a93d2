"""Logs of a real nginx, here and over SSH, with real requests; a worker that is killed in the middle."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
import threading
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from fleet import Fleet
from logkit import generations, lines, nothing_begun, snapshot, unpacked, writer
from place import SIX, free_port, stages, until
from sshkit import Farm, needs_sshd

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("logs")]

ROTATE = "--name rotate --type log_rotation --systems web-server-1 --priority normal"
NGINX = """\
daemon off;
pid {where}/nginx.pid;
error_log {where}/logs/error.log;
events {{}}
http {{
  log_format numbered $arg_n;
  access_log {where}/logs/access.log numbered;
  client_body_temp_path {where}/t1; proxy_temp_path {where}/t2; fastcgi_temp_path {where}/t3;
  uwsgi_temp_path {where}/t4; scgi_temp_path {where}/t5;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "well"; }} }}
}}
"""


def given(place, host="web-server-1", **parameters):
    """Parameters of the host, as the configuration holds them."""
    place.settings["hosts"][host]["parameters"] = {"log_rotation": {"logrotate_config": "", **parameters}}
    place.config.write_text(json.dumps(place.settings))


class Requests(threading.Thread):
    """Asks for one numbered page after the other, until it is told to stop."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port, self.number, self.stop = port, 0, threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/?n={self.number:06}", timeout=30) as page:
                assert page.read() == b"well"
            self.number += 1


@pytest.fixture
def nginx(make_place):
    """A place with an nginx that serves, its logs named in the configuration."""
    if shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin") is None:
        pytest.skip("not installed: nginx")
    place, port = make_place(), free_port()
    where = place.directory
    where.chmod(0o755)  # nginx's workers open the logs anew themselves
    (where / "logs").mkdir()
    (where / "nginx.conf").write_text(NGINX.format(where=where, port=port))
    place.start("/usr/sbin/nginx", "-c", str(where / "nginx.conf"), "-e", str(where / "logs" / "error.log"))
    until(lambda: (where / "nginx.pid").exists() and (where / "nginx.pid").read_text().strip(), what="nginx")
    given(
        place,
        paths=[f"{where}/logs/*.log"],
        roots=[str(where / "logs")],
        reopen={"pid_file": f"{where}/nginx.pid", "signal": "USR1"},
    )
    place.port = port
    place.access = where / "logs" / "access.log"
    return place


@pytest.mark.skipif(shutil.which("logrotate", path="/usr/sbin:/usr/bin") is None, reason="not installed: logrotate")
def test_what_logrotate_rotates_already_is_left_to_it(nginx):
    """The real logrotate tells which logs it has; nothing is sent until somebody takes one over."""
    config = nginx.directory / "logrotate.conf"
    config.write_text(f"{nginx.access} {{\n  daily\n  rotate 7\n}}\n")
    config.chmod(0o644)
    parameters = {"paths": [str(nginx.access)], "logrotate_config": str(config)}
    urllib.request.urlopen(f"http://127.0.0.1:{nginx.port}/?n=1", timeout=30).close()
    until(nginx.access.read_bytes, what="the line of the request")  # nginx writes it after its answer
    before = snapshot(nginx.access.parent)
    refused = nginx.ops("execute", *ROTATE.split(), "--wait", "--parameters", json.dumps(parameters))
    assert refused.code == 3, refused
    assert f"{nginx.access} is rotated by logrotate" in refused.out + refused.err
    assert snapshot(nginx.access.parent) == before
    taken = {**parameters, "allow_managed": True}
    done = nginx.ops("execute", *ROTATE.split(), "--wait", "--parameters", json.dumps(taken))
    assert done.code == 0, done
    assert len(generations(nginx.access)) == 1


def test_the_logs_of_nginx_while_it_serves(nginx):
    """The dry run changes nothing and prints what is then sent; each request has its line, once and in order."""
    requests = Requests(nginx.port)
    requests.start()
    try:
        until(lambda: requests.number > 50, what="requests")
        before = snapshot(nginx.directory / "logs")
        plan = nginx.sh(f"opsqueue plan {ROTATE} --output json").json
        same = [path for path in snapshot(nginx.directory / "logs") if not path.endswith("access.log")]
        assert same == [path for path in before if not path.endswith("access.log")]
        done = nginx.sh(f"opsqueue execute {ROTATE} --wait --output json")
        assert done.code == 0, done.err
        after = requests.number
        until(lambda: requests.number > after + 50, what="more requests")
    finally:
        requests.stop.set()
        requests.join()
    assert (done.json["status"], stages(done.json)) == ("succeeded", SIX)
    (target,) = done.json["targets"]
    assert [step["command"] for step in target["steps"]] == [step["command"] for step in plan["targets"][0]["steps"]]
    assert (plan["digest"], len(target["steps"])) == (done.json["digest"], 4)
    (packed,) = generations(nginx.access)
    text = unpacked(packed).decode() + nginx.access.read_text()
    assert [int(line) for line in text.split()] == list(range(requests.number))
    metrics = done.json["metrics"]["web-server-1"]
    assert metrics["logs_rotated"]["value"] == 1
    again = nginx.sh(f"opsqueue execute {ROTATE} --wait --output json").json
    assert (again["status"], again["targets"][0]["steps"]) == ("unchanged", [])


@pytest.mark.long
def test_the_setting_log_retention_days_counts(nginx):
    old = nginx.access.with_name("access.log-20200101T000000Z.gz")
    old.write_bytes(gzip.compress(b"old\n"))
    nginx.settings["log_retention_days"] = 100_000
    nginx.config.write_text(json.dumps(nginx.settings))
    assert "nothing is due" in nginx.sh(f"opsqueue plan {ROTATE}").out
    os.utime(old, (1_577_836_800, 1_577_836_800))
    nginx.settings["log_retention_days"] = 7
    nginx.config.write_text(json.dumps(nginx.settings))
    assert str(old) in nginx.sh(f"opsqueue plan {ROTATE} --output json").json["targets"][0]["steps"][-1]["command"]
    assert nginx.sh(f"opsqueue execute {ROTATE} --wait").code == 0
    assert not old.exists()


@pytest.mark.long
def test_a_worker_that_is_killed_while_it_waits(make_place):
    """Every process of the system gets SIGKILL between rename and archive; a new one looks, and leads back."""
    place = make_place(worker={"lease_seconds": 3})
    log = place.directory / "logs" / "app.log"
    log.parent.mkdir()
    pid = {"pid_file": f"{log}.pid"}
    given(place, paths=[str(log)], roots=[str(log.parent)], reopen=pid, reopen_timeout_seconds=8)
    with writer(log, "deaf") as one:
        inode = log.stat().st_ino
        place.start("opsqueue", "up")
        asked = place.sh(f"opsqueue execute {ROTATE} --retry-count 0 --no-wait --output json")
        assert asked.code == 0, asked.err
        operation_id = asked.json["operation_id"]
        until(lambda: generations(log), 60, what="the rename")
        for process in place.system():
            process.kill()
        place.start("opsqueue", "up")
        ended = until(lambda: place.ended(operation_id), 90, what="the end of it")
        assert ended["status"] == "rolled_back", ended["targets"]
        assert (log.stat().st_ino, generations(log), nothing_begun(log)) == (inode, [], True)
        total = one.stop()
    assert lines(log) == list(range(total))


@pytest.fixture
def fleet():
    with Farm(hosts=2) as farm:
        made = Fleet(farm)
        yield made
        made.end()


@needs_sshd
@pytest.mark.parametrize("method", ["rename", pytest.param("copytruncate", marks=pytest.mark.long)])
def test_two_hosts_over_ssh(fleet, method):
    """Each has a writer of its own; the one of the second never reopens its log, and gets it back."""
    with ExitStack() as stack:
        writers = {}
        for name in ("h1", "h2"):
            log = fleet.directory / name / "app.log"
            log.parent.mkdir()
            deaf = ["deaf"] if name == "h2" else []
            writers[name] = stack.enter_context(writer(log, *deaf))
            reopen = {"reopen": {"pid_file": f"{log}.pid"}, "reopen_timeout_seconds": 2} if method == "rename" else {}
            given(fleet, name, paths=[f"{log.parent}/*.log"], roots=[str(log.parent)], method=method, **reopen)
        done, data = fleet.execute("log_rotation", "--parameters", "{}", "--retry-count", "0")
        totals = {name: one.stop() for name, one in writers.items()}
    states = {target["host"]: target["status"] for target in data["targets"]}
    second = "rolled_back" if method == "rename" else "succeeded"
    assert states == {"h1": "succeeded", "h2": second}, json.dumps(data["targets"])
    assert done.code == (8 if method == "rename" else 0)
    for name, one in writers.items():
        assert lines(one.log) == list(range(totals[name]))
        assert nothing_begun(one.log)
        assert len(generations(one.log)) == (states[name] == "succeeded")
