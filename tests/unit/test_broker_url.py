"""The address of the broker: what is none is refused without showing it, and where nobody answers is said so."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import pytest

from opsqueue.errors import BrokerUnreachable, InvalidConfig
from opsqueue.settings import Settings
from opsqueue.tasks import broker
from opsqueue.tasks.broker import broker_url, wait_for


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379/0", "rediss://:p%2Fw@[::1]/1", "redis://localhost"])
def test_a_url_of_a_redis_is_taken_as_it_is(url):
    assert broker_url(Settings(broker_url=url)) == url


@pytest.mark.parametrize(
    "url",
    ["amqp://u:hunter2@h/0", "redis://:hun/ter2@h:1/0", "redis://:hunter2@h:port/0", "hunter2", "redis://"],
)
def test_anything_else_is_refused_and_not_shown(url):
    with pytest.raises(InvalidConfig) as raised:
        broker_url(Settings(broker_url=url))
    assert "hun" not in raised.value.message


def test_a_redis_that_does_not_answer_is_waited_for_and_then_named(free_port, monkeypatch):
    monkeypatch.setattr(broker, "_ASK_AGAIN", 0.02)
    settings, told = Settings(broker_url=f"redis://someone:hunter2@127.0.0.1:{free_port}/3"), []
    with pytest.raises(BrokerUnreachable) as raised:
        wait_for(settings, told.append, patience=0.05)
    where = f"redis://127.0.0.1:{free_port}/3"
    assert [where in line and "waiting for it" in line for line in told] == [True]
    assert where in raised.value.message
    assert "onnection refused" in raised.value.message
    assert "broker_url" in raised.value.message
    assert "hunter2" not in " ".join((raised.value.message, *told))
    assert raised.value.exit_code == 11


def test_one_that_does_not_know_the_password_is_not_waited_for(refusing):
    told = []
    with pytest.raises(BrokerUnreachable, match="password") as raised:
        wait_for(Settings(broker_url=f"redis://:hunter2@127.0.0.1:{refusing}/0"), told.append, patience=600)
    assert told == []
    assert "hunter2" not in raised.value.message


def test_the_embedded_one_is_not_asked(tmp_path):
    wait_for(Settings(state_dir=tmp_path), pytest.fail, patience=0)


@pytest.fixture
def free_port():
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found: int = server.getsockname()[1]
    return found


@pytest.fixture
def refusing():
    """The port of a server that answers as a Redis does which has another password."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse():
            with suppress(OSError):
                peer, _ = server.accept()
                with peer:
                    while peer.recv(4096):
                        peer.sendall(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n")

        threading.Thread(target=refuse, daemon=True).start()
        yield server.getsockname()[1]
