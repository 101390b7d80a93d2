"""The door of the receiver: many are heard at once in one thread, and nobody keeps others out by saying nothing.

A caller who waits costs a few KiB and no thread, so hundreds may. One request for each connection, which has a short
time for its head and one for its body, in total: a limit for each read alone would keep a place for who sends a byte
now and then. Where there are too many all the same, who has kept us waiting longest goes first: a sender of webhooks
says at once all that it has to say. Whether it may is judged by its head, before any of its body is kept. Only what
uses the record has a thread.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

from opsqueue.tasks.receiver_ack import Links
from opsqueue.tasks.receiver_http import ACK, HEALTH, MOST_HEAD, Answer, Head, no, refusal
from opsqueue.tasks.receiver_talk import apart, heard_head, say

_BACKLOG = 1024
"""Connections that may wait to be let in, if the system allows so many."""
_LET_IN = 16
"""Connections let in before those are seen to that are here: those cut off have their files until then."""
_LOOK_S = 0.1
"""Seconds between two looks at whether to end."""
_SAID_EACH_S = 60.0
"""Seconds between two lines of the log that say that it is full."""
_log = logging.getLogger("opsqueue.alerts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What callers may cost."""

    most_bytes: int = 1_000_000
    """Of a body."""
    head_seconds: float = 3.0
    """Until it has said who it is."""
    seconds: float = 30.0
    """For its body."""
    patience: float = 10.0
    """Seconds that those who are being heard have to come to their end when we end."""
    connections: int = 512
    """That are open, but for those in line; at most half of the files that the process may open."""
    bodies: int = 32
    """That come in at once: each takes memory."""
    in_line: int = 32
    """That are being written or wait for it; others are told to come again."""
    at_once: int = 16
    """That are being written at once. Fewer than the record has for us."""


class Door:
    """Listens from the beginning, and hears from `serve_forever` until `shutdown`."""

    def __init__(
        self,
        address: tuple[Any, ...],
        family: socket.AddressFamily,
        *,
        token: str,
        take: Callable[[bytes], int],
        look: Callable[[], None],
        links: Links | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._token, self._take, self._look, self._links = token, take, look, links
        self._most = min(self.limits.connections, _half_of_the_files())
        self._asked = threading.Event()
        self._all: set[asyncio.Task[Any]] = set()
        # In the order in which they came:
        self._waiting: dict[asyncio.Task[Any], None] = {}
        self._coming: dict[asyncio.Task[Any], None] = {}
        self._in_line = 0
        self._looking: asyncio.Future[Answer] | None = None
        self._said = float("-inf")
        self._socket = _listening(address, family)
        self.server_address = self._socket.getsockname()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def callers(self) -> int:
        """How many connections are open."""
        return len(self._all)

    def shutdown(self) -> None:
        """From another thread: let nobody in any more, and hear out who is here."""
        self._asked.set()

    def serve_forever(self) -> None:
        """Hear all who come."""
        with asyncio.Runner() as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._room = asyncio.Semaphore(self.limits.at_once)
        server = await asyncio.start_server(self._hear, sock=self._socket, limit=MOST_HEAD, backlog=_LET_IN)
        self._socket.listen(_BACKLOG)  # asyncio has but one number for both
        while not self._asked.is_set():  # noqa: ASYNC110  # it is set from another thread
            await asyncio.sleep(_LOOK_S)
        server.close()
        if self._all:
            await asyncio.wait(self._all, timeout=self.limits.patience)

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller = asyncio.current_task()
        if caller is None:
            return  # there is none outside of a loop
        self._all.add(caller)
        caller.add_done_callback(self._all.discard)
        self._wait_for(caller)
        try:
            await self._heard(caller, reader, writer)
        except (OSError, TimeoutError, EOFError, asyncio.CancelledError):
            _log.debug("a connection broke, or was let go", exc_info=True)  # none of our errors
        except Exception:  # noqa: BLE001  # others are heard
            _log.exception("ERROR while somebody was heard")
        finally:
            self._waiting.pop(caller, None)
            self._coming.pop(caller, None)
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    def _wait_for(self, caller: asyncio.Task[Any]) -> None:
        self._waiting[caller] = None
        if len(self._waiting) > self._most:
            self._let_go(self._waiting)

    def _let_go(self, some: dict[asyncio.Task[Any], None]) -> None:
        """Of these, who has kept us waiting longest."""
        if time.monotonic() - self._said > _SAID_EACH_S:
            self._said = time.monotonic()
            _log.warning("%d connections keep us waiting: those that have longest are cut off", len(some) - 1)
        oldest = next(iter(some))
        for known in (self._waiting, self._coming):
            known.pop(oldest, None)
        oldest.cancel()

    async def _heard(
        self, caller: asyncio.Task[Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async with asyncio.timeout(self.limits.head_seconds):
            head = await heard_head(reader)
        if isinstance(head, Answer):
            await say(head, reader, writer)
            return
        most, links = self.limits.most_bytes, self._links is not None
        answer = refusal(
            head.method, head.path, head.headers, token=self._token, most_bytes=most, links=links
        ) or await self._answer(caller, head, reader, writer)
        if caller not in self._waiting:
            self._wait_for(caller)  # until it has read that
        await say(answer, reader, writer, body=head.method != "HEAD")

    async def _answer(
        self, caller: asyncio.Task[Any], head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Answer:
        if head.path == HEALTH:
            return await self._looked()
        if head.path == ACK and self._links is not None:
            return await self._followed(self._links, caller, head)
        if head.waits:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._coming[caller] = None
        if len(self._coming) > self.limits.bodies:
            self._let_go(self._coming)
        length = int(head.headers["Content-Length"])
        try:
            async with asyncio.timeout(self.limits.seconds):
                body = await reader.readexactly(length)
        except asyncio.IncompleteReadError as ended:
            return no(HTTPStatus.BAD_REQUEST, f"the body ended after {len(ended.partial)} of {length} bytes")
        for known in (self._waiting, self._coming):
            known.pop(caller, None)
        return await self._in_turn(lambda: Answer(HTTPStatus.OK, {"changed": self._take(body)}))

    async def _followed(self, links: Links, caller: asyncio.Task[Any], head: Head) -> Answer:
        """Whoever follows a link of ours has the record asked; others cost it nothing, and have no place in line."""
        claim = links.judged(head.query)
        if isinstance(claim, Answer):
            return claim
        self._waiting.pop(caller, None)
        return await self._in_turn(lambda: links.answer(claim, acknowledge=head.method == "POST"))

    async def _in_turn(self, do: Callable[[], Answer]) -> Answer:
        if self._in_line >= self.limits.in_line:
            return no(HTTPStatus.SERVICE_UNAVAILABLE, "many others wait already: try again", {"Retry-After": "5"})
        self._in_line += 1
        try:
            async with self._room:
                return await apart(do)
        finally:
            self._in_line -= 1

    async def _looked(self) -> Answer:
        """One look is for all who ask meanwhile: that they are many costs the record nothing."""
        if self._looking is None:
            self._looking = apart(self._well)
            self._looking.add_done_callback(self._seen)
        return await asyncio.shield(self._looking)

    def _well(self) -> Answer:
        self._look()
        return Answer(HTTPStatus.OK, {"status": "ok"})

    def _seen(self, _done: object) -> None:
        self._looking = None


def _half_of_the_files() -> int:
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if most == resource.RLIM_INFINITY else most // 2


def _listening(address: tuple[Any, ...], family: socket.AddressFamily) -> socket.socket:
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(_BACKLOG)
    except BaseException:
        found.close()
        raise
    return found
