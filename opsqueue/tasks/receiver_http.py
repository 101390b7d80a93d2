"""The HTTP of the receiver: who may say something, how much, and how long it may take; not what it means.

One request for each connection, which ends when its time is over whatever it does meanwhile: a limit for each read
alone would keep a place for who sends a byte now and then.
"""

from __future__ import annotations

import hmac
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, cast

from opsqueue.errors import InvalidRequest, OpsqueueError

HOOK = "/alertmanager"
HEALTH = "/healthz"
_ALLOWED = {HOOK: ("POST",), HEALTH: ("GET", "HEAD")}
_MOST_DRAINED = 16_000_000
"""Bytes of a refused body that are read and forgotten, so that its sender reads why."""
_GRACE = 2.0
"""Seconds for that."""
_log = logging.getLogger("opsqueue.alerts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one caller may cost."""

    most_bytes: int = 1_000_000
    """Of a body."""
    head_seconds: float = 5.0
    """Until it has said who it is: others wait for its place."""
    seconds: float = 30.0
    """For the rest of the connection."""
    at_once: int = 16
    """Connections; others are told to come again. Fewer than the record has for us."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller is told."""

    status: HTTPStatus
    said: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


def refusal(method: str, path: str, headers: Message, *, token: str, most_bytes: int) -> Answer | None:
    """Why a request is not listened to, by its head alone; None: it is. An empty token: none is wanted."""
    if path not in _ALLOWED:
        return _no(
            HTTPStatus.NOT_FOUND, f"nothing is here: webhooks go to {HOOK}, and {HEALTH} says whether all is well"
        )
    if method not in _ALLOWED[path]:
        allow = ", ".join(_ALLOWED[path])
        return _no(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} takes {allow}", {"Allow": allow})
    if path == HEALTH:
        return None
    if headers.get("Origin") is not None:
        return _no(HTTPStatus.FORBIDDEN, "a page in a browser has nothing to say here")
    if token and not _bears(headers, token):
        words = "wanted: Authorization: Bearer TOKEN, with the token of this receiver"
        return _no(HTTPStatus.UNAUTHORIZED, words, {"WWW-Authenticate": "Bearer"})
    return _bad_length(headers, most_bytes)


def _no(status: HTTPStatus, why: str, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, {"error": why}, headers or {})


def _bears(headers: Message, token: str) -> bool:
    scheme, _, given = str(headers.get("Authorization", "")).partition(" ")
    same = hmac.compare_digest(given.strip().encode(errors="replace"), token.encode())
    return scheme.lower() == "bearer" and same


def _bad_length(headers: Message, most_bytes: int) -> Answer | None:
    lengths = headers.get_all("Content-Length", [])
    if "Transfer-Encoding" in headers or not lengths:
        return _no(HTTPStatus.LENGTH_REQUIRED, "wanted: a body with a Content-Length, in one piece")
    if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit() and len(lengths[0]) < 20):  # noqa: PLR2004  # digits
        return _no(HTTPStatus.BAD_REQUEST, "the Content-Length is no number of bytes")
    if int(lengths[0]) > most_bytes:
        why = f"a webhook has at most {most_bytes} bytes; this one has {lengths[0]}: set max_alerts in Alertmanager"
        return _no(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, why)
    return None


class Door(ThreadingMixIn, TCPServer):
    """Listens, with a thread for each of a bounded number of connections."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(
        self,
        address: tuple[Any, ...],
        family: socket.AddressFamily,
        *,
        token: str,
        take: Callable[[bytes], int],
        look: Callable[[], None],
        limits: Limits | None = None,
    ) -> None:
        self.address_family = family
        self.token, self.take, self.look = token, take, look
        self.limits = limits or Limits()
        self._room = threading.BoundedSemaphore(self.limits.at_once)
        self._until: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        super().__init__(cast("tuple[str, int]", address), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hear a caller out, if there is room."""
        if not self._room.acquire(blocking=False):
            self._turn_away(request)
            return
        with self._lock:
            self._until[request] = time.monotonic() + self.limits.head_seconds
        super().process_request(request, client_address)

    def _turn_away(self, request: Any) -> None:
        _log.warning("a webhook was told to come again: %d connections are open", self.limits.at_once)
        with suppress(OSError):
            request.settimeout(0)
            request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        super().shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Let go of a connection."""
        with self._lock:
            known = self._until.pop(request, None)
        super().shutdown_request(request)
        if known is not None:
            self._room.release()

    def give(self, request: Any, seconds: float) -> None:
        """Let a connection last so long from now on."""
        with self._lock:
            if request in self._until:
                self._until[request] = time.monotonic() + seconds

    def service_actions(self) -> None:
        """End what lasts too long; `serve_forever` calls it again and again."""
        now = time.monotonic()
        with self._lock:
            late = [one for one, until in self._until.items() if now >= until]
        for one in late:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # whoever reads from it finds its end

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is none of our errors."""
        del request
        _log.debug("the connection of %s broke", client_address, exc_info=True)

    def emptied(self, seconds: float) -> bool:
        """Wait until nobody is heard any more; False: somebody still is after that time."""
        until = time.monotonic() + seconds
        rooms = range(self.limits.at_once)
        return all(self._room.acquire(timeout=max(0.0, until - time.monotonic())) for _ in rooms)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Door

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.limits.seconds)

    def handle(self) -> None:
        self.close_connection = True
        self.handle_one_request()

    def handle_expect_100(self) -> bool:
        """Ask for a body only where it will be read."""
        if (refused := self._refusal()) is None:
            return super().handle_expect_100()
        self._answer(refused)
        return False

    def _serve(self) -> None:
        self._answer(self._refusal() or self._heard())

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815  # http.server's names

    def _refusal(self) -> Answer | None:
        door = self.server
        return refusal(self.command, self._path, self.headers, token=door.token, most_bytes=door.limits.most_bytes)

    @property
    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _heard(self) -> Answer:
        self.server.give(self.connection, self.server.limits.seconds)
        if self._path == HEALTH:
            return _answered(self.server.look, lambda _: {"status": "ok"})
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            return _no(HTTPStatus.BAD_REQUEST, f"the body ended after {len(body)} of {length} bytes")
        return _answered(lambda: self.server.take(body), lambda changed: {"changed": changed})

    def _answer(self, answer: Answer) -> None:
        if answer.status >= HTTPStatus.BAD_REQUEST:
            _log.warning("a request of %s: %d, %s", self.client_address[0], answer.status, answer.said.get("error"))
        data = json.dumps(answer.said).encode() + b"\n"
        self.send_response(answer.status)
        fixed = {"Content-Type": "application/json", "Content-Length": str(len(data)), "Connection": "close"}
        for name, value in {**fixed, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()
        if answer.status >= HTTPStatus.BAD_REQUEST:
            self._let_read()

    def _let_read(self) -> None:
        """To close while bytes are on their way would take the answer from whoever sends them."""
        self.server.give(self.connection, _GRACE)
        self.connection.shutdown(socket.SHUT_WR)
        left = _MOST_DRAINED
        while left > 0 and (got := self.rfile.read1(min(left, 65_536))):
            left -= len(got)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses, in the form of all others."""
        del explain
        status = HTTPStatus(code)
        self._answer(_no(status, message or status.phrase))

    def version_string(self) -> str:
        """Which Python runs here is nobody's business."""
        return "opsqueue"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's name
        """Its own lines hold what the caller sent; ours are written where the answer is."""
        _log.debug("%s: %r", self.client_address[0], format % args)


def _answered(do: Callable[[], Any], told: Callable[[Any], Mapping[str, Any]]) -> Answer:
    """What came of it. 4xx: do not send that again; 5xx: do. Why the record failed stands in our log alone."""
    try:
        return Answer(HTTPStatus.OK, told(do()))
    except InvalidRequest as error:
        return _no(HTTPStatus.BAD_REQUEST, error.message)
    except OpsqueueError as error:
        _log.error("FAILED to use the record: %s", error.message)
        return _no(HTTPStatus.SERVICE_UNAVAILABLE, "the record cannot be used now: try again", {"Retry-After": "5"})
    except Exception:  # noqa: BLE001  # the sender tries again, and others are heard
        _log.exception("ERROR while a webhook was taken")
        return _no(HTTPStatus.INTERNAL_SERVER_ERROR, "a fault of ours, which stands in our log: try again")
