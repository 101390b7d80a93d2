"""deploy/redis.acl with a real Redis: each user can do its work, and the producer no more than ask."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis
from redis.exceptions import NoPermissionError

from opsqueue.embedded.leash import leashed
from opsqueue.embedded.redis import find_server

pytestmark = pytest.mark.service
ACL = Path(__file__).parents[2] / "deploy" / "redis.acl"
REQUEST = {"name": "asked", "type": "system_monitoring", "target_systems": ["localhost"]}


def url(port: int, user: str) -> str:
    return f"redis://{user}:CHANGE-ME-{user}@127.0.0.1:{port}/0"


def opsqueue(place: Path, port: int, *words: str, user: str = "opsqueue", **more: str) -> list[str] | dict[str, str]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("OPSQUEUE_")}
    environment |= {"OPSQUEUE_STATE_DIR": str(place / "state"), "OPSQUEUE_BROKER_URL": url(port, user), **more}
    return {"args": [sys.executable, "-m", "opsqueue", *words], "env": environment, "cwd": place}


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """A Redis with these users, a worker that sends events, and Flower with its own user."""
    place = tmp_path_factory.mktemp("acl")
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        port, flower = one.getsockname()[1], two.getsockname()[1]
    options = ("--port", str(port), "--bind", "127.0.0.1", "--aclfile", str(ACL), "--save", "", "--dir", str(place))
    with (place / "output").open("w") as output:
        said = {"stdout": output, "stderr": output}
        started = [subprocess.Popen(leashed([find_server(), *options]), **said)]
        try:
            until(lambda: admin(port).ping())
            subprocess.run(**opsqueue(place, port, "db", "upgrade"), check=True, **said)
            worker = opsqueue(place, port, "worker", OPSQUEUE_WORKER__EVENTS="true")
            looks = opsqueue(place, port, "flower", user="flower", OPSQUEUE_FLOWER__PORT=str(flower))
            started += [
                subprocess.Popen(leashed(one["args"]), env=one["env"], cwd=place, **said) for one in (worker, looks)
            ]
            yield port
        finally:
            for process in reversed(started):
                process.terminate()
            for process in reversed(started):
                process.wait(30)


def admin(port: int) -> Redis:
    return Redis.from_url(url(port, "admin"), socket_timeout=2)


def until(found, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found():
                return
        except OSError:
            pass
        except Exception as error:  # redis has a ConnectionError of its own
            if time.monotonic() > end - 1:
                raise AssertionError(str(error)) from error
        time.sleep(0.1)
    pytest.fail("it did not come true in time")


def test_a_producer_gets_its_receipt_and_may_send_no_nudge(port: int) -> None:
    app = Celery(broker=url(port, "producer"), backend=url(port, "producer"), set_as_current=False)
    receipt = app.send_task("opsqueue.submit", args=[REQUEST], queue="intake").get(timeout=20)
    assert receipt["accepted"] is True
    with Redis.from_url(url(port, "producer")) as client, pytest.raises(NoPermissionError):
        client.lpush("critical", "nudge")
    with Redis.from_url(url(port, "producer")) as client, pytest.raises(NoPermissionError):
        client.brpop("intake", timeout=1)
    app.close()


def test_worker_and_flower_are_refused_nothing_that_they_ask(port: int) -> None:
    time.sleep(3)  # heartbeats, a look at the queues, a question to the workers
    with admin(port) as client:
        refused = [(line["username"], line["reason"], line["object"]) for line in client.acl_log()]
    assert [line for line in refused if line[0] in {"opsqueue", "flower"}] == []


def test_nobody_comes_in_without_a_name(port: int) -> None:
    with (
        Redis(port=port) as client,
        pytest.raises(Exception, match=r"(?i)auth"),
    ):
        client.ping()
