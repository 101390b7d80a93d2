"""What other people's libraries log comes in our form, and of a broker that is away no more than is news."""

from __future__ import annotations

import io
import logging

import pytest
from redis.exceptions import ConnectionError as Refused

from opsqueue import telemetry
from opsqueue.tasks import voice
from opsqueue.tasks.voice import Outage, Voice


@pytest.fixture
def heard(caplog, monkeypatch):
    """A voice, what it wrote, what was said of the broker, and a clock."""
    clock = [100.0]
    monkeypatch.setattr(voice.time, "monotonic", lambda: clock[0])
    caplog.set_level(logging.INFO, logger="opsqueue.broker")
    speaker = Voice(Outage("beat"))
    speaker.setFormatter(telemetry.formatter("plain"))
    speaker.setStream(stream := io.StringIO())

    def log(name, level, words, *given, error=None):
        record = logging.LogRecord(name, level, "", 0, words, given, (type(error), error, None) if error else None)
        speaker.handle(record)

    return log, stream, lambda: [one.message for one in caplog.records if one.name == "opsqueue.broker"], clock


@pytest.fixture
def opened(monkeypatch):
    """The logger of opsqueue as it is before anybody configured it, so that pytest hears it."""
    monkeypatch.setattr(logging.getLogger("opsqueue"), "propagate", True)


pytestmark = pytest.mark.usefixtures("opened")
REFUSED = Refused("Error 111 connecting to 127.0.0.1:1. Connection refused.")


def _renamed():
    try:
        try:
            raise REFUSED
        except Refused as error:
            raise RuntimeError("Couldn't apply scheduled task look") from error
    except RuntimeError as error:
        return error


def test_a_broker_that_is_away_is_said_once_and_each_minute_and_when_it_is_back(heard):
    log, stream, said, clock = heard
    for _ in range(5):
        log("celery.worker.consumer.consumer", logging.ERROR, "Cannot connect to %s: %s.\n%s", "url", REFUSED, "again")
        log("celery.beat", logging.ERROR, "Message Error: %s\n%s", _renamed(), "stack", error=_renamed())
    assert len(said()) == 1
    assert "beat waits for the broker" in said()[0]
    assert "Connection refused" in said()[0]
    clock[0] += 61
    log("flower.events", logging.ERROR, "Failed to capture events: '%s', trying again in %s seconds.", REFUSED, 2)
    assert len(said()) == 2
    for _ in range(2):
        log("celery.worker.consumer.connection", logging.INFO, "Connected to %s", "url")
    assert said()[2:] == ["beat: the broker (Redis) answers again"]
    assert stream.getvalue() == ""


def test_anything_else_is_one_line_in_our_form(heard):
    log, stream, said, _clock = heard
    log("celery.worker", logging.ERROR, "Process %r\nexited with %r", "pool-1", 9, error=ValueError("told\nyou"))
    log("flower.events", logging.DEBUG, "Loading state from '%s'...", "db")
    log("opsqueue.tasks", logging.ERROR, "this has handlers of its own")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    assert " ERROR   Process 'pool-1'\\x0aexited with 9 | ValueError: told" in lines[0]
    assert said() == []
