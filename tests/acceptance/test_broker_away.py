"""A Redis of one's own that is not there: at the start it is waited for a while, later for as long as it takes."""

from __future__ import annotations

import json
import re
import time

import pytest
from place import free_port, until

from opsqueue.embedded.redis import EmbeddedRedis

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("broker-away")]

PARTS = ("up", "worker", "beat", "flower")
CANARY = "canary4712"
OURS = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z (WARNING|INFO   |ERROR  ) \S")


@pytest.fixture
def with_redis(make_place):
    """A place whose broker_url names a Redis that runs when the test says so."""
    place = make_place(flower={"port": free_port()}, monitoring_interval=1)
    redis = EmbeddedRedis(place.directory / "own-redis")
    place.config.write_text(json.dumps({**place.settings, "broker_url": redis.url}))
    yield place, redis
    redis.stop()


def test_where_nobody_answers_each_part_ends_and_says_so(make_place):
    url = f"redis://someone:{CANARY}@127.0.0.1:{free_port()}/0"
    place = make_place(flower={"port": free_port()})
    started = {part: place.start("opsqueue", part, OPSQUEUE_BROKER_URL=url) for part in PARTS}
    for part, process in started.items():
        assert process.wait(90) == 11, place.said(process)
        said = place.said(process).splitlines()
        assert [line.partition(" ")[0] for line in said] == ["the", "error:"], (part, said)
        assert all(url.partition("@")[2] in line for line in said), said
        assert CANARY not in "".join(said)
    assert not (place.state / "opsqueue.db").exists()


def test_one_that_is_just_starting_is_waited_for_and_one_that_goes_away_later_too(with_redis):
    place, redis = with_redis
    up = place.start("opsqueue", "up")
    until(lambda: "waiting for it" in place.said(up), what=lambda: place.said(up))
    assert "opsqueue runs" not in place.said(up)
    redis.start()
    until(lambda: "opsqueue runs" in place.said(up), what=lambda: place.said(up))
    assert place.ops("execute", "--name", "a", "--type", "health_check", "--systems", "all", "--wait").code == 0
    before = place.said(up)
    who = ("shared-", "reserved-", "beat", "flower")
    redis.stop()
    until(lambda: _each(place, up, who, "waits for the broker"), 60, lambda: place.said(up))
    time.sleep(2)  # Beat tries each second, the workers about as often
    redis.start()
    until(lambda: _each(place, up, who, "answers again"), 60, lambda: place.said(up))
    lines = place.said(up).removeprefix(before).splitlines()
    assert all(OURS.match(line) for line in lines), lines
    assert len(lines) <= 4 * len(who), lines
    assert place.ops("execute", "--name", "b", "--type", "health_check", "--systems", "all", "--wait").code == 0


def _each(place, process, who, words):
    lines = [line for line in place.said(process).splitlines() if words in line]
    return all(any(name in line for line in lines) for name in who)
