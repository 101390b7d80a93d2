"""Where Redis is, and a plain client of it for those who only count; no Celery here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

from opsqueue.embedded.redis import EmbeddedRedis
from opsqueue.errors import BrokerUnreachable, InvalidConfig
from opsqueue.settings import Settings, revealed

QUEUES = ("intake", "critical", "high", "normal", "low")
"""In the order in which they are served."""
_SHORT = 2.0
_PATIENCE = 10.0
"""Seconds that a Redis which is just starting may take."""
_ASK_AGAIN = 0.5
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


def wait_for(settings: Settings, tell: Callable[[str], None], patience: float = _PATIENCE) -> None:
    """Return once the Redis of `broker_url` answers, and `tell` that it is waited for; the embedded one is not asked.

    Raises BrokerUnreachable when it does not answer for so many seconds, and at once when it refuses us.
    """
    if settings.broker_url is None:
        return
    began, told, shown = time.monotonic(), False, _without_secrets(broker_url(settings))
    while (error := _silence(settings)) is not None:
        refuses = isinstance(error, (AuthenticationError, ResponseError))
        if refuses or time.monotonic() - began > patience:
            raise _in_vain(shown, error, 0 if refuses else patience)
        if not told:
            tell(f"the broker (Redis) at {shown} does not answer yet; waiting for it, {patience:.0f} s at most ...")
        told = True
        time.sleep(_ASK_AGAIN)


def _silence(settings: Settings) -> Exception | None:
    """Why Redis does not answer; None: it does."""
    try:
        with connect(settings) as client:
            client.ping()
    except NoPermissionError:
        return None  # it answers, though we may not ask this
    except (RedisError, OSError) as error:
        return error
    return None


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _in_vain(shown: str, error: Exception, seconds: float) -> BrokerUnreachable:
    tried = f" for {seconds:.0f} s" if seconds else ""
    return BrokerUnreachable(
        f"the broker (Redis) at {shown} was asked{tried} and cannot be used: {str(error).rstrip('.')}. "
        "Start that Redis, or mend broker_url (`opsqueue config show`); without one `opsqueue up` brings its own."
    )


def queue_lengths(client: Redis, settings: Settings, others: Iterable[str] = ()) -> dict[str, int]:
    """How many messages wait in each of the five queues, and in `others`."""
    return {queue: int(client.llen(settings.broker_prefix + queue)) for queue in dict.fromkeys((*QUEUES, *others))}
