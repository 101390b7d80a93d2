"""A worker that stood still, as on a machine that is moved, sends nothing that others have decided without it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from sshkit import NEEDS_SSHD, Farm
from stopping_worker import drive, world_of

from opsqueue.model.request import parse_request
from opsqueue.pipeline.submit import submit
from opsqueue.pipeline.views import whole
from opsqueue.store.engine import Store
from opsqueue.store.upgrade import upgrade

pytestmark = pytest.mark.xdist_group("ssh")


@pytest.fixture
def farm():
    with Farm() as farm:
        yield farm


@pytest.fixture(params=["local", pytest.param("ssh", marks=NEEDS_SSHD)])
def config(request, tmp_path):
    """A configuration with one host, this machine or one over SSH, and leases of two seconds."""
    hosts, known = {"h1": {"connector": "local"}}, tmp_path / "known_hosts"
    if request.param == "ssh":
        farm = request.getfixturevalue("farm")
        farm.pin(known)
        hosts = farm.settings()
    settings = {"hosts": hosts, "ssh": {"known_hosts": str(known)}, "worker": {"lease_seconds": 2}}
    path = tmp_path / "opsqueue.json"
    path.write_text(json.dumps({"state_dir": str(tmp_path / "state"), **settings}))
    return path


@pytest.fixture
def heir(config):
    """Another worker, in this process."""
    (config.parent / "state").mkdir(mode=0o700)
    store = Store(f"sqlite:///{config.parent / 'state' / 'opsqueue.db'}")
    upgrade(store)
    store.close()
    world = world_of(config, "heir")
    yield world
    world.store.close()
    world.connect.ways.close()


def _stands_still(child) -> bool:
    until = time.monotonic() + 60
    while time.monotonic() < until and child.poll() is None:
        if psutil.Process(child.pid).status() == psutil.STATUS_STOPPED:
            return True
        time.sleep(0.02)
    return False


def test_what_was_closed_meanwhile_is_not_sent_when_it_goes_on(config, heir, tmp_path):
    tally = tmp_path / "tally"
    tally.touch()
    asked = {"name": "one", "type": "tallied", "target_systems": ["h1"], "retry_count": 0}
    operation_id = submit(heir, parse_request({**asked, "parameters": {"tally": str(tally)}})).id
    program = Path(__file__).with_name("stopping_worker.py")
    stopped = subprocess.Popen([sys.executable, str(program), str(config), operation_id])
    try:
        assert _stands_still(stopped)
        shown = whole(heir.store, operation_id, heir.now())
        assert shown["targets"][0]["status"] == "applying"
        assert shown["targets"][0]["steps"][0]["exit_code"] is None  # written down, and not sent
        assert drive(heir, operation_id)
        os.kill(stopped.pid, signal.SIGCONT)
        assert stopped.wait(60) == 0
    finally:
        stopped.kill()
        stopped.wait()
    after = whole(heir.store, operation_id, heir.now())
    assert tally.read_text() == ""
    assert (after["outcome"], after["targets"][0]["problems"]) == ("failed", ["there is no line more"])
