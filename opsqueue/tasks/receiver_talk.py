"""How the receiver hears one caller and answers, and how it does apart what would keep all others waiting."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus

from opsqueue.errors import InvalidRequest, OpsqueueError
from opsqueue.tasks.receiver_http import MOST_HEAD, Answer, Head, head_of, no, wire

_MOST_DRAINED = 16_000_000
"""Bytes of a refused body that are read and forgotten, so that its sender reads why."""
_GRACE = 2.0
"""Seconds for that."""
_log = logging.getLogger("opsqueue.alerts")


async def heard_head(reader: asyncio.StreamReader) -> Head | Answer:
    """The head, or what is wrong with it; EOFError: it ended before that."""
    raw = b""
    while True:
        try:
            line = await reader.readline()
        except ValueError:  # a line of more than MOST_HEAD bytes
            line = b" " * MOST_HEAD
        raw += line
        if len(raw) >= MOST_HEAD:
            return no(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a head has at most {MOST_HEAD} bytes")
        if not line.endswith(b"\n"):
            raise EOFError("it ended within its head")
        if line in {b"\r\n", b"\n"}:
            return head_of(raw)


async def say(answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, body: bool = True) -> None:
    """Send an answer; what else the caller sends is read and forgotten, so that it reads ours."""
    bad = answer.status >= HTTPStatus.BAD_REQUEST
    if bad:
        peer = (writer.get_extra_info("peername") or ("?",))[0]
        _log.warning("a request of %s: %d, %s", peer, answer.status, answer.said.get("error"))
    writer.write(wire(answer, body=body))
    async with asyncio.timeout(_GRACE):
        await writer.drain()
        if bad or answer.page:  # whose form may have sent something
            writer.write_eof()
            await _forget(reader)


async def _forget(reader: asyncio.StreamReader) -> None:
    """To close while bytes are on their way would take the answer from whoever sends them."""
    left = _MOST_DRAINED
    while left > 0 and (got := await reader.read(65_536)):
        left -= len(got)


def apart(do: Callable[[], Answer]) -> asyncio.Future[Answer]:
    """The answer, made in a thread that nobody has to wait for at the end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answer] = loop.create_future()

    def settle(answer: Answer) -> None:
        if not future.done():
            future.set_result(answer)

    def work() -> None:
        answer = _answered(do)
        with suppress(RuntimeError):  # the loop is over; who asked will try again
            loop.call_soon_threadsafe(settle, answer)

    threading.Thread(target=work, name="opsqueue-webhook", daemon=True).start()
    return future


def _answered(do: Callable[[], Answer]) -> Answer:
    """What came of it. 4xx: do not send that again; 5xx: do. Why the record failed stands in our log alone."""
    try:
        return do()
    except InvalidRequest as error:
        return no(HTTPStatus.BAD_REQUEST, error.message)
    except OpsqueueError as error:
        _log.error("FAILED to use the record: %s", error.message)
        return no(HTTPStatus.SERVICE_UNAVAILABLE, "the record cannot be used now: try again", {"Retry-After": "5"})
    except Exception:  # noqa: BLE001  # the sender tries again, and others are heard
        _log.exception("ERROR while a webhook was taken")
        return no(HTTPStatus.INTERNAL_SERVER_ERROR, "a fault of ours, which stands in our log: try again")
