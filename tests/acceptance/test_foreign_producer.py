"""Other systems: a plain Celery client in a virtual environment of its own, which does not have opsqueue."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import venv
from pathlib import Path
from uuid import uuid4

import pytest
from place import SIX, Place, stages, until

from opsqueue.embedded.redis import running, socket_of

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("foreign")]

PRODUCER = """\
import json
import sys
from celery import Celery

try:
    import opsqueue
except ModuleNotFoundError:
    pass
else:
    raise AssertionError("opsqueue is installed here")

app = Celery(broker=sys.argv[1], backend=sys.argv[1])
for line in sys.stdin:
    wanted, asked = json.loads(line)
    receipt = app.send_task("opsqueue.submit", args=[asked], queue="intake")
    if wanted:
        print(json.dumps(receipt.get(timeout=20)), flush=True)
"""
NEEDED = ("celery", "redis", "packaging")  # as `pip install "celery[redis]"` brings them


def _with_dependencies(names):
    """The installed distributions that these need, without the optional ones."""
    found = {}
    todo = list(names)
    while todo:
        name = todo.pop()
        distribution = importlib.metadata.distribution(name)
        key = distribution.name.lower().replace("_", "-")
        if key in found:
            continue
        found[key] = distribution
        plain = (text for text in distribution.requires or () if "extra ==" not in text)
        for text in plain:
            wanted = re.match(r"[A-Za-z0-9._-]+", text).group()
            if _is_installed(wanted):
                todo.append(wanted)
    return found.values()


def _is_installed(name):
    try:
        return bool(importlib.metadata.distribution(name))
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """The python of a second virtual environment that holds Celery and redis-py, and what they need."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    for distribution in _with_dependencies(NEEDED):
        for file in distribution.files:
            source = Path(distribution.locate_file(file))
            top = file.parts[0]
            if top != ".." and not (site / top).exists():
                (site / top).symlink_to(source.parents[len(file.parts) - 2] if len(file.parts) > 1 else source)
    return str(home / "bin" / "python")


class Producer:
    """A program that sends each line as a request, and prints the receipt."""

    def __init__(self, python, place, broker):
        script = place.directory / "producer.py"
        script.write_text(PRODUCER)
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(place.home)}
        self.process = subprocess.Popen(
            [python, "-I", str(script), broker], env=environment, cwd=place.directory,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def send(self, request, *, wanted=False):
        self.process.stdin.write(json.dumps([wanted, request]) + "\n")
        self.process.stdin.flush()

    def ask(self, request):
        self.send(request, wanted=True)
        line = self.process.stdout.readline()
        assert line, "the producer ended"
        return json.loads(line)

    def end(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def city(foreign):
    """A running system, and a foreign producer."""
    place = Place(schedule={"system-monitoring": False, "health-check": False})
    try:
        up = place.start("opsqueue", "up", "--no-flower")
        until(lambda: running(place.state / "redis"), what=lambda: place.said(up))
        place.producer = Producer(foreign, place, f"redis+socket://{socket_of(place.state / 'redis')}")
        yield place
        place.producer.end()
    finally:
        place.end()


def request(**more):
    return {"name": "from-elsewhere", "type": "health_check", "target_systems": ["web-server-1"], **more}


def closed(place, operation_id):
    return until(lambda: (data := place.show(operation_id))["stage"] == "closed" and data, what="its end")


def test_a_request_and_its_receipt(city):
    receipt = city.producer.ask(request())
    assert receipt == {"operation_id": receipt["operation_id"], "accepted": True}
    data = closed(city, receipt["operation_id"])
    assert (data["status"], stages(data), data["requested_by"]) == ("succeeded", SIX, "unknown")


def test_the_same_id_is_the_same_operation(city):
    asked = request(operation_id=str(uuid4()), reason="twice", priority="high")
    first, second = city.producer.ask(asked), city.producer.ask(asked)
    assert first == second == {"operation_id": asked["operation_id"], "accepted": True}
    data = closed(city, asked["operation_id"])
    assert stages(data) == SIX
    again = city.producer.ask(asked)
    assert again == first
    assert stages(city.show(asked["operation_id"])) == SIX


def test_another_request_with_the_same_id(city):
    asked = request(operation_id=str(uuid4()))
    assert city.producer.ask(asked)["accepted"]
    receipt = city.producer.ask({**asked, "name": "another"})
    assert (receipt["accepted"], receipt["error"]["code"]) == (False, "conflict")
    assert asked["operation_id"] in receipt["error"]["message"]


def _deep(levels):
    value = {}
    for _ in range(levels):
        value = {"a": value}
    return value


HOSTILE = {
    "nothing": (None, "invalid_request", "JSON object"),
    "a number": (7, "invalid_request", "a number"),
    "a list": ([request()], "invalid_request", "a list"),
    "a text": ("{", "invalid_request", "not"),
    "an empty object": ({}, "invalid_request", "name"),
    "no type": ({"name": "x", "target_systems": ["web-server-1"]}, "invalid_request", "type"),
    "no systems": (request(target_systems=[]), "invalid_request", "target_systems"),
    "a system that is a number": (request(target_systems=[7]), "invalid_request", "target_systems"),
    "an unknown key": (request(sudo=True), "invalid_request", "sudo"),
    "an unknown type": (request(type="no_such"), "not_found", "no_such"),
    "a type that is an object": (request(type={"$ne": 1}), "invalid_request", "type"),
    "an unknown host": (request(target_systems=["elsewhere"]), "not_found", "elsewhere"),
    "a host that is an option": (request(target_systems=["-oProxyCommand=x"]), "not_found", "-oProxyCommand"),
    "control characters": (request(target_systems=["web\u001b[2J"]), "invalid_request", "target_systems"),
    "an unknown priority": (request(priority="now"), "invalid_request", "priority"),
    "a negative timeout": (request(timeout=-1), "invalid_request", "timeout"),
    "a bad id": (request(operation_id="../../etc"), "invalid_request", "operation_id"),
    "a window that is none": (request(maintenance_window="whenever"), "invalid_request", "maintenance_window"),
    "an unknown channel": (request(notification_channels=["pager"]), "invalid_request", "pager"),
    "unknown parameters": (request(parameters={"rm": "-rf"}), "invalid_request", "rm"),
    "a secret": (request(parameters={"password": "hunter2"}), "invalid_request", "password"),
    "30 levels": (request(parameters=_deep(30)), "invalid_request", "levels"),
}


@pytest.mark.parametrize("which", HOSTILE)
def test_a_hostile_request_is_refused_in_words(city, which):
    asked, code, fragment = HOSTILE[which]
    receipt = city.producer.ask(asked)
    assert receipt["accepted"] is False
    assert set(receipt["error"]) == {"code", "message", "details"}
    assert receipt["error"]["code"] == code
    assert fragment in receipt["error"]["message"]
    assert "hunter2" not in json.dumps(receipt)


def test_a_request_of_half_a_megabyte(city):
    receipt = city.producer.ask(request(description="x" * 500_000))
    assert (receipt["accepted"], receipt["error"]["code"]) == (False, "invalid_request")
    assert len(json.dumps(receipt)) < 2000


def test_a_message_of_more_than_a_megabyte_is_buried(city):
    """It is not even parsed, so there is no receipt; `doctor` tells of it, and the next request is answered."""
    city.producer.send(request(description="x" * 1_000_000))
    assert city.producer.ask(request())["accepted"]
    checks = city.ops("doctor", "--output", "json").json["checks"]
    (dead,) = [check for check in checks if check["check"] == "dead messages"]
    assert dead["state"] == "warn"
    assert "1 could not be read" in dead["message"]
    assert "at most 1048576" in dead["message"]


def test_after_all_of_that_the_workers_are_the_same(city):
    """None of them was started again, nothing was written of what was refused."""
    assert closed(city, city.producer.ask(request())["operation_id"])["status"] == "succeeded"
    assert "starts again" not in city.log()
    names = {one["name"] for one in city.ops("history", "--output", "json").json["operations"]}
    assert names == {"from-elsewhere"}
