"""kombu's Redis transport, made so that nothing that lies on a queue can harm the worker.

Three things differ from kombu's: a payload that cannot become a message is buried instead of raising in the event
loop; a channel that is closed answers with redis' ConnectionError, which the worker recovers from, instead of an
AttributeError, which ends it; and messages are restored one by one, a malformed one being buried.
Nothing here decides what is fit: see `fitness`.
"""

# mypy: disable-error-code=no-untyped-call
# kombu is untyped, and this module overrides it.
from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from functools import partial
from typing import Any

from kombu import transport as names
from kombu.transport import redis as stock
from kombu.transport import virtual
from kombu.utils.encoding import bytes_to_str
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from opsqueue.tasks.dead import bury, plain
from opsqueue.tasks.fitness import LARGEST, UnfitError, check_envelope, read_envelope, require

LOST = (RedisConnectionError, RedisTimeoutError, OSError)
"""What really means that Redis is away; kombu's own list also holds KeyError, which a message can cause."""

_RESTORED_PARTS = 3

logger = logging.getLogger(__name__)


def install() -> None:
    """Put this transport under the plain names `redis` and `rediss`, for this process only."""
    for name in ("redis", "rediss"):
        names.TRANSPORT_ALIASES[name] = f"{__name__}:Transport"
        names._transport_cache.pop(name, None)  # noqa: SLF001 -- kombu remembers the class it found first


class QoS(stock.QoS):
    """The ledger of messages taken and not yet acknowledged, which lives in Redis and in this process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.unpaid: set[str] = set()
        """Acknowledged here while Redis was away; told to Redis with the next acknowledgement."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a message that was taken; a Redis that is full only costs its entry there, not the message."""
        try:
            super().append(message, delivery_tag)
        except ResponseError as exc:
            logger.warning("a message is held without its entry in %s: %s", self.unacked_key, plain(str(exc)))
            virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Note a message as done; never raises, for what is done stays done."""
        virtual.QoS.ack(self, delivery_tag)
        self.unpaid.add(delivery_tag)
        self.settle()

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Put a message back, or drop it as done."""
        if requeue:
            super().reject(delivery_tag, requeue=True)
        else:
            self.ack(delivery_tag)

    def settle(self) -> None:
        """Tell Redis what was acknowledged; what cannot be told now is told with the next one."""
        if not self.unpaid or self.channel.is_gone:
            return
        tags = tuple(self.unpaid)
        try:
            # No transaction: a full Redis refuses any, though these two only free memory.
            with self.channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
                pipe.zrem(self.unacked_index_key, *tags).hdel(self.unacked_key, *tags).execute()
        except ResponseError as exc:
            logger.warning("%d acknowledgements were refused by Redis: %s", len(tags), plain(str(exc)))
        except LOST as exc:
            logger.warning("%d acknowledgements wait for Redis: %s", len(tags), plain(str(exc)))
            return
        self.unpaid.difference_update(tags)

    def held(self) -> dict[str, Any]:
        """The messages that are not acknowledged, by tag; this ledger forgets them."""
        self._flush()
        held = dict(self._delivered)
        self._delivered.clear()
        return held

    def adopt(self, messages: dict[str, Any], unpaid: Iterable[str]) -> None:
        """Take over what a lost connection held: the work goes on here and is acknowledged here."""
        for tag, message in messages.items():
            message.channel = self.channel
            self._delivered[tag] = message
        self.unpaid.update(unpaid)
        self.settle()

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Put back what other workers left behind; a ledger in disorder never ends the worker."""
        try:
            super().restore_visible(*args, **kwargs)
        except LOST:
            raise
        except RedisError as exc:
            logger.warning("messages left behind could not be looked for: %s", plain(str(exc)))

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Put one message back on its queue, or bury it when it is malformed."""
        with self.channel.conn_or_acquire(client) as redis:
            raw = redis.hget(self.unacked_key, tag)
            try:
                if raw is not None:
                    check_restorable(raw)
                super().restore_by_tag(tag, redis, leftmost)
            except (UnfitError, ResponseError) as exc:
                self._discard_unrestorable(redis, tag, raw, exc)

    def _discard_unrestorable(self, redis: Any, tag: Any, raw: Any, exc: Exception) -> None:
        if isinstance(exc, OutOfMemoryError):
            logger.warning("Redis is full: a message left behind stays where it is")
            return
        self.channel.bury(self.unacked_key, f"cannot be restored: {exc}", raw or b"")
        self._remove_from_indices(tag, redis.pipeline()).execute()


def check_restorable(raw: bytes | str) -> None:
    """Refuse an entry of the ledger that kombu would stumble over: [envelope, exchange, routing key]."""
    require(len(raw) <= 2 * LARGEST, f"{len(raw)} bytes are too many")
    try:
        entry = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise UnfitError(f"not JSON: {type(exc).__name__}") from exc
    fine = isinstance(entry, list) and len(entry) == _RESTORED_PARTS
    require(fine and all(isinstance(part, str) for part in entry[1:]), "not an entry of the ledger")
    check_envelope(entry[0])
    require(isinstance(entry[0].get("headers"), dict), "the message to restore has no headers")


class Channel(stock.Channel):
    """A channel whose incoming payloads are sifted before kombu sees them."""

    QoS = QoS

    @property
    def is_gone(self) -> bool:
        """Whether this channel was closed, or its connection was."""
        return self.closed or self.connection is None or self.connection.client is None

    def bury(self, queue: str, reason: str, payload: bytes | str) -> None:
        """Keep an unusable message for people; never raises."""
        raw = payload if isinstance(payload, bytes) else payload.encode(errors="surrogatepass")
        try:
            # The prefixing client of kombu does not know LTRIM and INCR, so a plain one is used.
            client = Redis(connection_pool=self.pool)
        except LOST as exc:
            logger.error("FAILED to bury a message of %s (%s): %s", plain(queue), plain(reason), exc)  # noqa: TRY400 -- a lost connection needs no trace
            return
        bury(client, self.global_keyprefix, queue, reason, raw)

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("this channel is closed; its connection to Redis was lost")
        params: dict[str, Any] = super()._connparams(asynchronous)
        return params

    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous)
        if asynchronous:
            client.parse_response = partial(self._sift, client.parse_response)
        return client

    def _sift(self, read: Any, connection: Any, command: str, **options: Any) -> Any:
        """An answer of Redis; a popped payload that is unfit is buried and looks like an empty pop."""
        if command != "BRPOP":
            return read(connection, command, **options)
        try:
            found = read(connection, command, **options)
        except ResponseError as exc:
            self._clear_the_way(exc)
            return None
        if not found:
            return found
        try:
            read_envelope(found[1])
        except UnfitError as exc:
            self.bury(self._queue_of(found[0]), str(exc), found[1])
            return None
        return found

    def _queue_of(self, key: bytes | str) -> str:
        return str(bytes_to_str(key)).rsplit(self.sep, 1)[0]

    def _clear_the_way(self, exc: ResponseError) -> None:
        """Move aside a key that bears a queue's name and is no list; any other refusal is a lost connection.

        Left alone either would be asked again at once, thousands of times a second.
        """
        if not str(exc).startswith("WRONGTYPE"):
            raise RedisConnectionError(f"Redis refuses to hand out messages: {plain(str(exc))}") from exc
        client = Redis(connection_pool=self.pool)
        for queue in self.active_queues:
            for step in self.priority_steps:
                key = self.global_keyprefix + self._q_for_pri(queue, step)
                if client.type(key) not in (b"list", b"none"):
                    self.bury(queue, f"the key {key} was no list; moved to {key}.aside", b"")
                    client.rename(key, f"{key}.aside")

    def _handle_message(self, client: Any, r: Any) -> Any:
        """What Redis says on a broadcast channel; a broadcast that is unfit looks like silence."""
        found = super()._handle_message(client, r)
        if found["data"] and str(bytes_to_str(found["type"])).endswith("message"):
            try:
                read_envelope(found["data"])
            except UnfitError as exc:
                logger.warning("a broadcast on %s is not read: %s", plain(str(found["channel"])), plain(str(exc)))
                found["data"] = None
        return found

    def _deliver_fanout_message(self, message: Any, exchange: str) -> Any:
        """Hand a broadcast over; whatever others broadcast, the worker goes on."""
        try:
            return super()._deliver_fanout_message(message, exchange)
        except LOST:
            raise
        except Exception as exc:  # noqa: BLE001 -- it may hold anything, and nothing is owed to it
            logger.warning("a broadcast of %s is not understood: %s", plain(exchange), plain(repr(exc)))
            return None


class Poller(stock.MultiChannelPoller):
    """A poller that forgets the channels that were closed under it."""

    def on_poll_start(self) -> None:
        """Ask Redis for messages, for each channel that still has a connection."""
        for channel in [channel for channel in self._channels if channel.is_gone]:
            self.discard(channel)
        super().on_poll_start()


class Transport(stock.Transport):
    """The transport that `redis://`, `rediss://` and `redis+socket://` mean in a worker."""

    Channel = Channel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()  # type: ignore[assignment]  # as kombu's own Redis transport does

    def _deliver(self, message: Any, queue: str) -> None:
        """Hand a message to its consumer; the last net: what fails for the message's sake is buried."""
        try:
            super()._deliver(message, queue)
        except LOST:
            raise
        except Exception as exc:
            logger.exception("a message could not be handed over")
            for channel in self.channels[:1]:
                channel.bury(queue, f"{type(exc).__name__}: {exc}", repr(message)[:LARGEST])
                channel.qos.ack(message["properties"]["delivery_tag"])
