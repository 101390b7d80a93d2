"""Where Redis is, and a plain client of it for those who only count; no Celery here."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from opsqueue.embedded.redis import EmbeddedRedis
from opsqueue.errors import InvalidConfig
from opsqueue.settings import Settings, revealed

QUEUES = ("intake", "critical", "high", "normal", "low")
"""In the order in which they are served."""
_SHORT = 2.0
_SOCKET = "redis+socket"


def broker_url(settings: Settings) -> str:
    """Where messages go, in Celery's form: the configured Redis, or the embedded one's socket.

    Raises InvalidConfig for what is no such URL; never shows it, for it may hold a password.
    """
    if settings.broker_url is not None:
        return _redis_url(revealed(settings.broker_url))
    return EmbeddedRedis(settings.state_dir / "redis").url


def _redis_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        there = bool(parts.hostname) and parts.port != 0
        fine = (parts.scheme in {"redis", "rediss"} and there) or (parts.scheme == _SOCKET and len(parts.path) > 1)
    except ValueError:
        fine = False
    if not fine:
        raise InvalidConfig(
            "broker_url is no URL of a Redis: wanted redis://host:port/number, rediss://… or "
            "redis+socket:///path?virtual_host=number; in a password, signs such as / : @ # are written as "
            "%2F %3A %40 %23"
        )
    return url


def connect(settings: Settings) -> Redis:
    """A client that answers or fails within two seconds; close it after use. Adds no prefix to keys."""
    url = broker_url(settings)
    if url.startswith(_SOCKET):  # Celery's word for what redis-py calls unix
        url = url.replace(_SOCKET, "unix", 1).replace("virtual_host=", "db=", 1)
    return Redis.from_url(url, socket_timeout=_SHORT, socket_connect_timeout=_SHORT, retry=Retry(NoBackoff(), 0))


def queue_lengths(client: Redis, settings: Settings, others: Iterable[str] = ()) -> dict[str, int]:
    """How many messages wait in each of the five queues, and in `others`."""
    return {queue: int(client.llen(settings.broker_prefix + queue)) for queue in dict.fromkeys((*QUEUES, *others))}
