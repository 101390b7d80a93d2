"""The address of the broker: what is none is refused without showing it."""

from __future__ import annotations

import pytest

from opsqueue.errors import InvalidConfig
from opsqueue.settings import Settings
from opsqueue.tasks.broker import broker_url


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
